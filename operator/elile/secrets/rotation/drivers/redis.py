"""Speaks to one Redis server. The library is at home here and nowhere else; its errors end here.

Of redis-py one connection is used, and none of what it does by itself: it does not connect again, does not try again,
and sends nothing that was not asked for. It ships half of its types, hence the `no-untyped-call`.
"""

import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretBackendMissingError,
    SecretsAuthenticationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.cutoff import Cutoff
from elile.secrets.rotation.drivers.tls import secured, trusting
from elile.secrets.rotation.egress import Dialer

try:
    import redis
    from redis.connection import Connection
except ModuleNotFoundError:
    raise SecretBackendMissingError(
        "the package 'redis' is not installed; install elile[rotation]", backend="redis"
    ) from None

__all__ = ["Complaint", "RedisNode", "RedisReplyError", "RedisSession", "RedisTls", "redis_session"]

BACKEND = "redis"
# Bytes of all answers of a session. A user with all that may be said of one takes some thousands.
MOST = 1024 * 1024

Word = str | SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisTls:
    """How servers prove who they are: by `ca_pem` instead of the system's authorities, for `server_name` instead of
    their host. `allow_plain` does without TLS: passwords then cross the network in clear text."""

    ca_pem: str | None = None
    server_name: str | None = None
    allow_plain: bool = False


@dataclass(frozen=True, slots=True)
class RedisNode:
    """One server."""

    host: str
    port: int
    tls: RedisTls = RedisTls()

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class Complaint(StrEnum):
    """What a server has against a command, as far as we tell it apart."""

    NO_ACL_FILE = "no ACL file"
    UNKNOWN_COMMAND = "unknown command"
    OTHER = "other"


class RedisReplyError(SecretsError):
    """The server does not carry the command out. Its text stays behind: some hold hashes of passwords."""

    def __init__(self, detail: str, *, complaint: Complaint = Complaint.OTHER) -> None:
        super().__init__(detail, backend=BACKEND)
        self.complaint = complaint


class RedisSession:
    """A connection that has logged in."""

    def __init__(self, node: RedisNode, connection: "_Connection") -> None:
        self._node = node
        self._connection = connection

    def run(self, *words: Word) -> Any:
        """Send a command and return the answer: bytes, numbers, None, and lists of these.

        Raises SecretAccessDeniedError, RedisReplyError, and outages, after which the connection has ended.
        """
        return _exchange(self._node, self._connection, words)


@contextmanager
def redis_session(
    node: RedisNode, username: str, password: SecretStr, dialer: Dialer, *, timeout: float
) -> Iterator[RedisSession]:
    """Connect and log in; all that is done inside ends after `timeout` seconds.

    Raises SecretsAuthenticationError for a wrong password, an account that is not there or is off (the server does not
    say which); SecretsUnavailableError when there is no usable answer, SecretsTLSError for whom we do not trust,
    SecretsConfigurationError for what cannot be sent, EgressRefusedError.
    """
    tls = None if node.tls.allow_plain else trusting(node.tls.ca_pem, peer=str(node), backend=BACKEND)
    with Cutoff(timeout) as cutoff:
        connection = _Connection(node, lambda: _open(node, tls, dialer, cutoff), timeout)
        try:
            # Not by redis-py: it would keep the password, and would send it alone to a server without accounts.
            _exchange(node, connection, ("AUTH", username, password))
            yield RedisSession(node, connection)
        finally:
            connection.disconnect()  # type: ignore[no-untyped-call]


class _Measured:
    """A socket that takes no more than `MOST` bytes: the library believes whatever length it is told."""

    def __init__(self, node: RedisNode, sock: socket.socket) -> None:
        self._node = node
        self._sock = sock
        self._left = MOST

    def recv(self, size: int) -> bytes:
        data = self._sock.recv(size)
        self._count(len(data))
        return data

    def recv_into(self, buffer: Any) -> int:  # pragma: no cover - hiredis asks so, where it is installed
        size = self._sock.recv_into(buffer)
        self._count(size)
        return size

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sock, name)

    def _count(self, size: int) -> None:
        self._left -= size
        if self._left < 0:
            raise SecretsMalformedResponseError(f"{self._node} answers with more than {MOST} bytes", backend=BACKEND)


class _Connection(Connection):
    """A connection over a socket of ours, once: a second one would be past the first one's deadline."""

    def __init__(self, node: RedisNode, opened: Callable[[], socket.socket], timeout: float) -> None:
        super().__init__(  # type: ignore[no-untyped-call]
            host=node.host, port=node.port, protocol=2, socket_timeout=timeout
        )
        self._node = node
        self._opened: Callable[[], socket.socket] | None = opened

    def _connect(self) -> _Measured:
        opened, self._opened = self._opened, None
        if opened is None:
            raise redis.ConnectionError("ended")
        return _Measured(self._node, opened())

    def on_connect_check_health(self, check_health: bool = True) -> None:  # noqa: ARG002 - of redis-py
        """Say nothing: by default the name of the library is told to the server."""
        self._parser.on_connect(self)


def _open(node: RedisNode, tls: ssl.SSLContext | None, dialer: Dialer, cutoff: Cutoff) -> socket.socket:
    sock = dialer.connect(node.host, node.port, timeout=cutoff.left)
    cutoff.watch(sock)
    sock.settimeout(cutoff.left)
    if tls is None:
        return sock
    return secured(sock, tls, node.tls.server_name or node.host, cutoff, peer=str(node), backend=BACKEND)


def _exchange(node: RedisNode, connection: _Connection, words: tuple[Word, ...]) -> Any:
    plain = [word.reveal() if isinstance(word, SecretStr) else word for word in words]
    try:
        # JSON may hold half a surrogate pair; the error of a plain encode would carry the whole value.
        sent = [word.encode("utf-8", "surrogatepass") for word in plain]
        connection.send_command(*sent)  # type: ignore[no-untyped-call]
        return connection.read_response()
    except SecretsError:
        raise
    except redis.AuthenticationError:
        raise SecretsAuthenticationError(
            f"{node} refuses the password, or the account is not there or is off", backend=BACKEND
        ) from None
    except redis.exceptions.NoPermissionError:
        raise SecretAccessDeniedError(f"{node} does not permit {_name(plain)}", backend=BACKEND) from None
    except redis.exceptions.TryAgainError:
        raise SecretsUnavailableError(f"{node} is busy", backend=BACKEND) from None
    except redis.exceptions.ClusterError:
        raise SecretsUnavailableError(f"{node} is without its cluster or its primary", backend=BACKEND) from None
    except redis.ResponseError as e:
        text = str(e)
        if text.startswith("DENIED"):
            raise SecretsUnavailableError(f"{node} is in protected mode", backend=BACKEND) from None
        raise RedisReplyError(f"{node} does not carry out {_name(plain)}", complaint=_complaint(text)) from None
    except redis.BusyLoadingError:
        raise SecretsUnavailableError(f"{node} is starting up", backend=BACKEND) from None
    except redis.TimeoutError:
        raise SecretsUnavailableError(f"{node} does not answer in time", backend=BACKEND) from None
    except redis.ConnectionError:
        raise SecretsUnavailableError(f"{node} ends the connection", backend=BACKEND) from None
    # Nested without end, a number that is none, a length that no memory has.
    except (redis.RedisError, OSError, ValueError, RecursionError, MemoryError, OverflowError) as e:
        raise SecretsMalformedResponseError(
            f"{node} answers what Redis does not ({type(e).__name__})", backend=BACKEND
        ) from None


def _complaint(text: str) -> Complaint:
    told = text.lower()
    if "not configured to use an acl file" in told:
        return Complaint.NO_ACL_FILE
    if "unknown command" in told or "unknown subcommand" in told:
        return Complaint.UNKNOWN_COMMAND
    return Complaint.OTHER


def _name(words: list[str]) -> str:
    """Return what may be shown of a command: its name, and none of its arguments."""
    return " ".join(words[:2]) if words[0] in ("ACL", "CLIENT", "CONFIG") else words[0]
