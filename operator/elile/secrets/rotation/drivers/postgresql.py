"""Speaks to one PostgreSQL server. The driver is at home here and nowhere else; its errors end here.

It is pg8000: it takes a socket that the dialer has connected, and tells the SQLSTATE of a login that was refused, which
libpq keeps to itself.
"""

import base64
import contextlib
import secrets
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO, TypeAlias

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretBackendMissingError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.cutoff import Cutoff
from elile.secrets.rotation.drivers.tls import secured, trusting
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.generators import RandBytes

try:
    import pg8000.native
    import scramp
except ModuleNotFoundError as e:
    raise SecretBackendMissingError(
        f"the package {e.name!r} is not installed; install elile[rotation]", backend="postgresql"
    ) from None

__all__ = [
    "PostgreSQLEndpoint",
    "PostgreSQLSession",
    "PostgreSQLStatementError",
    "identifier",
    "literal",
    "postgresql_session",
    "scram_verifier",
]

BACKEND = "postgresql"
APPLICATION = "elile"
# That a server may send us in one session: what we ask for is short.
MOST_BYTES = 1 << 20
# As many as PostgreSQL makes by itself (scram_iterations).
_ITERATIONS = 4096
_SALT = 16  # bytes
# SQLSTATEs, PostgreSQL's appendix A.
WRONG_PASSWORD = "28P01"  # noqa: S105 - a code
NOT_AUTHORIZED = "28000"
NO_PRIVILEGE = "42501"
READ_ONLY = "25006"
_NOT_READY = frozenset({"08", "40", "53", "55", "57", "58"})
# 28000 is also for a host that pg_hba.conf does not list; where in the server it was raised tells the two apart.
_NO_LOGIN = "InitializeSessionUserId"

# Int32 length, Int32 code; what AuthenticationOk begins with.
_SSL_REQUEST = b"\x00\x00\x00\x08\x04\xd2\x16\x2f"
_LET_IN = b"\x00\x00\x00\x00"
# AuthenticationOk, CleartextPassword, MD5Password, and the three of SASL.
_WAYS_IN = {bytes([0, 0, 0, code]) for code in (0, 3, 5, 10, 11, 12)}

Row: TypeAlias = list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLEndpoint:
    """One server and one database.

    It proves who it is by `ca_pem` instead of the system's authorities, for `server_name` instead of `host`.
    `allow_plain` does without TLS: a peer may then ask for the password in clear text.
    """

    host: str
    port: int = 5432
    database: str = "postgres"
    ca_pem: str | None = None
    server_name: str | None = None
    allow_plain: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}/{self.database}"


class PostgreSQLStatementError(SecretsError):
    """The server refuses a statement. Only its SQLSTATE is kept: the text may quote a value."""

    def __init__(self, detail: str, *, sqlstate: str) -> None:
        super().__init__(detail, backend=BACKEND)
        self.sqlstate = sqlstate


class PostgreSQLSession:
    """A connection that has logged in."""

    def __init__(self, endpoint: PostgreSQLEndpoint, connection: "_Connection") -> None:
        self._endpoint = endpoint
        self._connection = connection

    def run(self, statement: str, **values: Any) -> list[Row]:
        """Run one statement and return its rows. `:name` in it stands for one of `values`.

        Raises SecretAccessDeniedError (42501), PostgreSQLStatementError, and outages, after which it has ended.
        """
        with _converted(self._endpoint, login=False):
            rows: list[Row] | None = self._connection.run(statement, **values)
            return rows or []

    def is_true(self, query: str) -> bool:
        """Ask what somebody else wrote: a query of one column, true where it has one row and that is true.

        It is put where nothing but a query can be, and sent so that the server takes no second statement, which could
        end the transaction that bounds it. Raises as `run` does.
        """
        with _converted(self._endpoint, login=False):
            found = self._connection.execute_unnamed(f"SELECT (\n{query.rstrip().rstrip(';')}\n) IS TRUE")
            return bool(found.rows == [[True]])


@contextlib.contextmanager
def postgresql_session(
    endpoint: PostgreSQLEndpoint, username: str, password: SecretStr, dialer: Dialer, *, timeout: float
) -> Iterator[PostgreSQLSession]:
    """Connect and log in; all that is done inside ends after `timeout` seconds.

    Raises SecretsAuthenticationError for a wrong password, and a role that is not there or may not log in;
    SecretAccessDeniedError for one that may not connect to the database; SecretsUnavailableError when there is no
    usable answer, SecretsTLSError for whom we do not trust, SecretsConfigurationError for what cannot be sent,
    EgressRefusedError.
    """
    if not username or not password or any("\0" in text for text in (username, password.reveal(), endpoint.database)):
        raise SecretsConfigurationError("a role of PostgreSQL has a name and a password, and no zero bytes in them")
    tls = None if endpoint.allow_plain else trusting(endpoint.ca_pem, peer=str(endpoint), backend=BACKEND)
    with Cutoff(timeout) as cutoff:
        sock = _open(endpoint, tls, dialer, cutoff)
        connection = None
        try:
            with _converted(endpoint, login=True):
                connection = _Connection(endpoint, username, password, sock)
            if not connection.asked:
                raise SecretsUnavailableError(
                    f"{endpoint} lets {username!r} in without a password, so that none can be proved: have pg_hba.conf "
                    "ask for scram-sha-256",
                    backend=BACKEND,
                )
            yield PostgreSQLSession(endpoint, connection)
        finally:
            if connection is not None:
                connection.close()
            sock.close()


def scram_verifier(password: SecretStr, *, randbytes: RandBytes = secrets.token_bytes) -> str:
    """Return what PostgreSQL stores for a password with SCRAM-SHA-256 (RFC 5803), which cannot be logged in with."""
    try:
        salt, stored, server, rounds = scramp.ScramMechanism("SCRAM-SHA-256").make_auth_info(
            password.reveal(), iteration_count=_ITERATIONS, salt=randbytes(_SALT)
        )
    except scramp.ScramException:
        raise SecretsConfigurationError(
            "the password holds characters that SASLprep forbids (RFC 4013), and cannot be one of PostgreSQL's",
            backend=BACKEND,
        ) from None
    return f"SCRAM-SHA-256${rounds}:{_base64(salt)}${_base64(stored)}:{_base64(server)}"


def identifier(name: str) -> str:
    """Quote a name. Raises SecretsConfigurationError for one that cannot be."""
    try:
        quoted: str = pg8000.native.identifier(name)
    except pg8000.native.InterfaceError:
        raise SecretsConfigurationError(f"{name!r} is no name of PostgreSQL's", backend=BACKEND) from None
    return quoted


def literal(text: str) -> str:
    """Quote a text, for statements that take no parameters; standard_conforming_strings has to be on."""
    quoted: str = pg8000.native.literal(text)
    return quoted


class _Connection(pg8000.native.Connection):  # type: ignore[misc] # it ships no types
    """A connection over a socket of ours; `asked` is whether the server wanted the password."""

    def __init__(self, endpoint: PostgreSQLEndpoint, username: str, password: SecretStr, sock: socket.socket) -> None:
        self.asked = False
        self._endpoint = endpoint
        self._bounded: _Bounded | None = None
        super().__init__(
            username,
            # JSON may hold half a surrogate pair; the error of a plain encode would carry the whole value.
            password=password.reveal().encode("utf-8", "surrogatepass"),
            database=endpoint.database,
            sock=sock,
            ssl_context=False,  # the socket has it already
            application_name=APPLICATION,
            startup_params={"client_encoding": "UTF8"},
        )

    @property
    def _sock(self) -> "_Bounded | None":
        return self._bounded

    @_sock.setter
    def _sock(self, opened: BinaryIO | None) -> None:
        # The connection stays open as long as its file does, and that is in every traceback.
        if self._bounded is not None:
            with contextlib.suppress(Exception):
                self._bounded.close()
        self._bounded = None if opened is None else _Bounded(opened)

    def handle_AUTHENTICATION_REQUEST(self, data: bytes, context: Any) -> None:  # noqa: N802 - of pg8000
        self.asked = self.asked or data[:4] != _LET_IN
        if data[:4] not in _WAYS_IN:
            raise SecretsUnavailableError(
                f"{self._endpoint} asks for another login than a password: have pg_hba.conf ask for scram-sha-256",
                backend=BACKEND,
            )
        super().handle_AUTHENTICATION_REQUEST(data, context)

    def close(self) -> None:
        # It says good-bye first, and the error of that would take the place of the one that tells why.
        with contextlib.suppress(Exception):
            super().close()


class _Bounded:
    """What pg8000 uses of a file, of which no more than `MOST_BYTES` are read."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._left = MOST_BYTES

    def read(self, size: int) -> bytes:
        self._left -= size
        # A length below zero would mean all that there will ever be.
        if self._left < 0 or size < 0:
            raise ValueError("too long")
        return self._file.read(size)

    def write(self, data: bytes) -> int:
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _open(endpoint: PostgreSQLEndpoint, tls: ssl.SSLContext | None, dialer: Dialer, cutoff: Cutoff) -> socket.socket:
    """Connect, and have TLS before anything else is said. Not by pg8000, which shakes hands without a deadline."""
    sock = dialer.connect(endpoint.host, endpoint.port, timeout=cutoff.left)
    cutoff.watch(sock)
    sock.settimeout(cutoff.left)
    if tls is None:
        return sock
    try:
        sock.sendall(_SSL_REQUEST)
        answer = sock.recv(1)
    except OSError:
        answer = b""
    if answer == b"S":
        name = endpoint.server_name or endpoint.host
        return secured(sock, tls, name, cutoff, peer=str(endpoint), backend=BACKEND)
    sock.close()
    if answer == b"N":
        raise SecretsTLSError(f"{endpoint} does not speak TLS: turn ssl on there", backend=BACKEND)
    raise SecretsUnavailableError(f"{endpoint} does not answer in time, or hangs up", backend=BACKEND)


@contextlib.contextmanager
def _converted(endpoint: PostgreSQLEndpoint, *, login: bool) -> Iterator[None]:
    try:
        yield
    except SecretsError:
        raise
    except pg8000.native.DatabaseError as e:
        fields = e.args[0] if e.args and isinstance(e.args[0], dict) else {}
        raise _meant(endpoint, str(fields.get("C", "")), str(fields.get("R", "")), login=login) from None
    except (pg8000.native.InterfaceError, OSError):
        raise SecretsUnavailableError(f"{endpoint} does not answer in time, or hangs up", backend=BACKEND) from None
    except scramp.ScramException:
        raise SecretsUnavailableError(
            f"{endpoint} cannot prove that it knows the password, or that cannot be sent: it may be another server, or "
            "the password holds what SASLprep forbids (RFC 4013)",
            backend=BACKEND,
        ) from None
    except Exception as e:
        # What a driver does with an answer that is none has no type of its own.
        raise SecretsMalformedResponseError(
            f"{endpoint} answers what PostgreSQL does not ({type(e).__name__})", backend=BACKEND
        ) from None


def _meant(endpoint: PostgreSQLEndpoint, sqlstate: str, routine: str, *, login: bool) -> SecretsError:
    if login and (sqlstate == WRONG_PASSWORD or (sqlstate == NOT_AUTHORIZED and routine == _NO_LOGIN)):
        return SecretsAuthenticationError(
            f"{endpoint} refuses the password, or the role is not there or may not log in ({sqlstate})",
            backend=BACKEND,
        )
    if login and sqlstate == NOT_AUTHORIZED:
        return SecretsUnavailableError(
            f"{endpoint} lets nobody in from here: add this host, or TLS, to pg_hba.conf ({sqlstate})", backend=BACKEND
        )
    if sqlstate == NO_PRIVILEGE:
        return SecretAccessDeniedError(f"{endpoint} does not permit it ({sqlstate})", backend=BACKEND)
    # Of the server's state, not of what was asked: connections, resources, locks, an operator, the system, a standby;
    # and with a login all else, such as a database that is not there.
    if login or sqlstate[:2] in _NOT_READY or sqlstate == READ_ONLY or not sqlstate:
        return SecretsUnavailableError(f"{endpoint} is not ready ({sqlstate or 'no code'})", backend=BACKEND)
    return PostgreSQLStatementError(f"{endpoint} does not carry the statement out ({sqlstate})", sqlstate=sqlstate)


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
