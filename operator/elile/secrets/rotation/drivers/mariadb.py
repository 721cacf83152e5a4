"""Speaks to one MariaDB server. The driver, PyMySQL, is at home here and nowhere else; its errors end here."""

import contextlib
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha1
from typing import Any, TypeAlias, cast

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

try:
    import pymysql
    from pymysql.connections import Connection
except ModuleNotFoundError:
    raise SecretBackendMissingError(
        "the package 'pymysql' is not installed; install elile[rotation]", backend="mariadb"
    ) from None

__all__ = ["MariaDBEndpoint", "MariaDBSession", "MariaDBStatementError", "mariadb_session", "native_hash"]

BACKEND = "mariadb"
# Bytes that a server may send us in one session: what we ask for is short, and a stranger speaks before TLS.
MOST_BYTES = 1 << 20

# Codes of errors, https://mariadb.com/kb/en/mariadb-error-code-reference/.
WRONG_PASSWORD = 1045
SOCKET_ONLY = 1698
LOCKED = 4151
EXPIRED = frozenset({1820, 1862})
NO_SUCH_ACCOUNT = 1396
_REFUSED = frozenset({WRONG_PASSWORD, SOCKET_ONLY, LOCKED}) | EXPIRED
# No such privilege: for a database, a table, a column, a routine, a statement, another's session.
_DENIED = frozenset({1044, 1095, 1142, 1143, 1227, 1370})
# Too many connections, a server that ends, locks that somebody else holds, a statement that took too long.
_NOT_READY = frozenset({1040, 1041, 1053, 1077, 1129, 1130, 1152, 1203, 1205, 1213, 1226, 1317, 1927, 1969})
_OF_THE_CLIENT = range(2000, 3000)
_NO_TLS = 2026

Row: TypeAlias = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBEndpoint:
    """One server, and the database that a session begins with ("": none).

    It proves who it is by `ca_pem` instead of the system's authorities, for `server_name` instead of `host`.
    `allow_plain` does without TLS: a peer may then ask for the password in clear text.
    """

    host: str
    port: int = 3306
    database: str = ""
    ca_pem: str | None = None
    server_name: str | None = None
    allow_plain: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class MariaDBStatementError(SecretsError):
    """The server refuses a statement. Only its code is kept: the text may quote a value."""

    def __init__(self, detail: str, *, code: int) -> None:
        super().__init__(detail, backend=BACKEND)
        self.code = code


class MariaDBSession:
    """A connection that has logged in. Each statement is a transaction."""

    def __init__(self, endpoint: MariaDBEndpoint, connection: "Connection[Any]") -> None:
        self._endpoint = endpoint
        self._connection = connection

    def run(self, statement: str, *values: str) -> list[Row]:
        """Run one statement and return its rows. Each `%s` in it stands for one of `values`, quoted as a text.

        Raises SecretAccessDeniedError, MariaDBStatementError, and outages, after which it has ended.
        """
        with _converted(self._endpoint, login=False), self._connection.cursor() as cursor:
            # Without values nothing is filled in, and a percent sign is one.
            cursor.execute(statement, values or None)
            return list(cursor.fetchall())


@contextlib.contextmanager
def mariadb_session(
    endpoint: MariaDBEndpoint, username: str, password: SecretStr, dialer: Dialer, *, timeout: float
) -> Iterator[MariaDBSession]:
    """Connect and log in; all that is done inside ends after `timeout` seconds.

    Raises SecretsAuthenticationError for a wrong password, and an account that is not there, is locked, or whose
    password has expired; SecretAccessDeniedError for one that may not use the database; SecretsUnavailableError when
    there is no usable answer, SecretsTLSError for whom we do not trust, SecretsConfigurationError for what cannot be
    sent, EgressRefusedError.
    """
    if not username or any("\0" in text for text in (username, endpoint.database)):
        raise SecretsConfigurationError("a user of MariaDB has a name, and no zero bytes", backend=BACKEND)
    tls = None if endpoint.allow_plain else trusting(endpoint.ca_pem, peer=str(endpoint), backend=BACKEND)
    with Cutoff(timeout) as cutoff:
        sock = dialer.connect(endpoint.host, endpoint.port, timeout=cutoff.left)
        cutoff.watch(sock)
        connection: Connection[Any] | None = None
        try:
            with _converted(endpoint, login=True):
                connection = _Connection(endpoint, username, password, timeout, _tls(endpoint, tls, cutoff))
                connection.connect(sock)
                # With an expired password one is let in, and may do nothing.
                connection.query("SELECT 1")
            yield MariaDBSession(endpoint, connection)
        finally:
            if connection is not None and connection.open:
                connection.close()
            sock.close()


def native_hash(password: SecretStr) -> str:
    """Return what the server stores for a password with mysql_native_password, which cannot be logged in with."""
    # JSON may hold half a surrogate pair; the error of a plain encode would carry the whole value.
    once = sha1(_bytes(password)).digest()  # noqa: S324 - the protocol's, over what is random
    return f"*{sha1(once).hexdigest().upper()}"  # noqa: S324


class _Tls:
    """Stands for a context of TLS, of which PyMySQL uses this method alone."""

    def __init__(self, endpoint: MariaDBEndpoint, context: ssl.SSLContext, cutoff: Cutoff) -> None:
        self._endpoint = endpoint
        self._context = context
        self._cutoff = cutoff

    def wrap_socket(self, sock: socket.socket, *, server_hostname: str) -> ssl.SSLSocket:
        peer = str(self._endpoint)
        return secured(sock, self._context, server_hostname, self._cutoff, peer=peer, backend=BACKEND)


class _Connection(Connection):
    """A connection that takes TLS from us, and no more than so many bytes."""

    def __init__(
        self, endpoint: MariaDBEndpoint, username: str, password: SecretStr, timeout: float, tls: _Tls | None
    ) -> None:
        self._received = 0
        super().__init__(
            host=endpoint.server_name or endpoint.host,
            port=endpoint.port,
            user=username,
            # It would encode a text as Latin-1.
            password=_bytes(password),
            database=endpoint.database or None,
            charset="utf8mb4",
            ssl=cast(Any, tls),
            # Or it would take TLS where the server has it, and trust whoever that is.
            ssl_disabled=tls is None,
            local_infile=False,
            autocommit=True,
            read_timeout=timeout,
            write_timeout=timeout,
            defer_connect=True,
        )

    def _create_ssl_ctx(self, sslp: Any) -> Any:
        return sslp

    def _read_bytes(self, num_bytes: int) -> bytes:
        self._received += num_bytes
        if self._received > MOST_BYTES:
            raise ValueError("too long")
        data: bytes = super()._read_bytes(num_bytes)  # type: ignore[misc] # not in its stubs
        return data


def _tls(endpoint: MariaDBEndpoint, context: ssl.SSLContext | None, cutoff: Cutoff) -> _Tls | None:
    return None if context is None else _Tls(endpoint, context, cutoff)


@contextlib.contextmanager
def _converted(endpoint: MariaDBEndpoint, *, login: bool) -> Iterator[None]:
    try:
        yield
    except SecretsError:
        raise
    except pymysql.err.MySQLError as e:
        code = e.args[0] if e.args and isinstance(e.args[0], int) else 0
        raise _meant(endpoint, code, login=login) from None
    except Exception as e:
        # What a driver does with an answer that is none has no type of its own.
        raise SecretsMalformedResponseError(
            f"{endpoint} answers what MariaDB does not ({type(e).__name__})", backend=BACKEND
        ) from None


def _meant(endpoint: MariaDBEndpoint, code: int, *, login: bool) -> SecretsError:
    if code == _NO_TLS:
        return SecretsTLSError(f"{endpoint} does not speak TLS: turn ssl on there", backend=BACKEND)
    if code in _OF_THE_CLIENT:
        return SecretsUnavailableError(f"{endpoint} does not answer in time, or hangs up ({code})", backend=BACKEND)
    if code in _NOT_READY:
        return SecretsUnavailableError(f"{endpoint} is not ready ({code})", backend=BACKEND)
    if login and code in _REFUSED:
        return SecretsAuthenticationError(
            f"{endpoint} refuses the password, or the account is not there or is locked ({code})", backend=BACKEND
        )
    if code in _DENIED:
        return SecretAccessDeniedError(f"{endpoint} does not permit it ({code})", backend=BACKEND)
    if login:
        # Such as a database that is not there, or a way to log in that the driver does not know.
        return SecretsUnavailableError(f"{endpoint} ends the login ({code or 'no code'})", backend=BACKEND)
    return MariaDBStatementError(f"{endpoint} does not carry the statement out ({code})", code=code)


def _bytes(password: SecretStr) -> bytes:
    return password.reveal().encode("utf-8", "surrogatepass")
