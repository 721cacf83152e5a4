"""One connection to one address of the operator, kept open from request to request."""

import http.client
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from elile.secrets.deadline import DeadlineResponse
from elile_operator.hints.options import Target

__all__ = ["Address", "Answer", "Channel", "Connection", "UnreachableError", "resolve"]

Address = tuple[str, int]

CONNECT = 2.0  # seconds, for TCP and for TLS each
ANSWER = 5.0  # seconds for a whole answer
MAX_ANSWER = 65_536  # bytes that are read of a body that nobody looks at


class UnreachableError(Exception):
    """No answer. `code` is one of resolve, connect, timeout, tls, broken; the text is ours but for system errors."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


@dataclass(frozen=True, slots=True)
class Answer:
    """`retry_after` in seconds, where the answer says so."""

    status: int
    retry_after: float | None = None


class Channel(Protocol):
    """What the sender needs of a connection."""

    address: Address

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer: ...

    def close(self) -> None: ...


def resolve(host: str, port: int) -> list[Address]:
    """Return every address of a host, each once; the system's resolver bounds how long it takes.

    Raises UnreachableError.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UnreachableError("resolve", f"the host {host} cannot be resolved") from None
    return list(dict.fromkeys((str(address[0]), port) for *_, address in found))


class _HTTPConnection(http.client.HTTPConnection):
    """To an address of the target, verified for the target's name."""

    response_class = DeadlineResponse

    def __init__(self, target: Target, address: Address, context: ssl.SSLContext | None) -> None:
        super().__init__(target.host, target.port)
        self._address = address
        self._context = context

    def connect(self) -> None:
        connection = socket.create_connection(self._address, CONNECT)
        try:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                connection = self._context.wrap_socket(connection, server_hostname=self.host)
        except BaseException:
            connection.close()
            raise
        self.sock = connection


class Connection:
    """A `Channel` by HTTP, over TLS unless `context` is None; connects with the first request."""

    def __init__(self, target: Target, address: Address, context: ssl.SSLContext | None) -> None:
        if target.tls is (context is None):
            raise ValueError("a target with TLS needs a context, and only that")
        self.address = address
        self._http = _HTTPConnection(target, address, context)

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Send and read the answer. Raises UnreachableError, after which it is closed."""
        try:
            if self._http.sock is None:
                self._http.connect()
            self._http.sock.settimeout(ANSWER)
            self._http.request("POST", path, body, dict(headers))
            response = self._http.getresponse()
            response.read(MAX_ANSWER)
            if not response.isclosed():
                self.close()
            return Answer(response.status, _seconds(response.headers.get("Retry-After")))
        except (OSError, http.client.HTTPException) as e:
            self.close()
            raise _unreachable(e, self.address) from None

    def close(self) -> None:
        self._http.close()


def _seconds(text: str | None) -> float | None:
    """Only seconds: a date would need clocks that agree."""
    return float(text) if text and text.isascii() and text.isdigit() and len(text) < 10 else None


def _unreachable(error: OSError | http.client.HTTPException, address: Address) -> UnreachableError:
    where = f"{address[0]} port {address[1]}"
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableError("tls", f"the certificate of {where} is refused: {error.verify_message}")
    if isinstance(error, TimeoutError):
        return UnreachableError("timeout", f"{where} does not answer in time")
    if isinstance(error, (ssl.SSLEOFError, ssl.SSLZeroReturnError, http.client.HTTPException, ConnectionResetError)):
        return UnreachableError("broken", f"{where} closed the connection, or answers by no HTTP")
    if isinstance(error, ssl.SSLError):
        return UnreachableError("tls", f"there is no TLS with {where}: {error.reason}")
    return UnreachableError("connect", f"{where} cannot be reached: {error.strerror}")
