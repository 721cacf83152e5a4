"""JSON over one kept-alive TLS connection: how the lab itself talks to its API server and its OpenBao.

Not requests or hvac: the lab must not depend on what it is there to test, nor on proxy variables of the environment.
"""

import http.client
import json
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lab.errors import LabError


class RefusedError(LabError):
    """The server answered, and not with 2xx."""

    def __init__(self, method: str, url: str, status: int, answer: str) -> None:
        super().__init__(f"{method} {url}: {status} {answer[:500]}")
        self.status = status
        self.answer = answer


class UnreachableError(LabError):
    """No answer: nothing listens, the connection broke, or it took too long."""


def tls(ca: Path, client_certificate: Path | None = None, client_key: Path | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(ca))
    if client_certificate:
        context.load_cert_chain(client_certificate, client_key)
    return context


_CLOSED_BY_SERVER = (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError, ssl.SSLEOFError)


@dataclass(slots=True)
class Client:
    """One connection, for one thread. `context` None means plain HTTP."""

    url: str
    context: ssl.SSLContext | None = None
    headers: dict[str, str] = field(default_factory=dict)
    timeout: float = 10
    _connection: http.client.HTTPConnection | None = None

    def get(self, path: str, **headers: str) -> Any:
        return self.request("GET", path, None, headers)

    def request(self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
        """The decoded answer, or None if it has no body. Raises RefusedError or UnreachableError."""
        text = self._answer(method, path, body, headers or {})
        return json.loads(text) if text else None

    def text(self, path: str) -> str:
        """The answer as it came. Raises as `request`."""
        return self._answer("GET", path, None, {"Accept": "*/*"})

    def status(self, path: str) -> int:
        """Only the status code: health endpoints say with it what they have to say."""
        return self._exchange("GET", path, None, {})[0]

    def _answer(self, method: str, path: str, body: object, headers: dict[str, str]) -> str:
        status, text = self._exchange(method, path, body, headers)
        if not 200 <= status < 300:
            raise RefusedError(method, self.url + path, status, text)
        return text

    def _exchange(self, method: str, path: str, body: object, headers: dict[str, str]) -> tuple[int, str]:
        data = None if body is None else json.dumps(body).encode()
        sent = {"Accept": "application/json", "Content-Type": "application/json", **self.headers, **headers}
        reused = self._connection is not None
        try:
            connection = self._connection = self._connection or self._connect()
            connection.request(method, path, data, sent)
            # Closed in any case: an answer that breaks off in its middle keeps the socket open beside its connection.
            with connection.getresponse() as response:
                return response.status, response.read().decode(errors="replace")
        except (http.client.HTTPException, OSError) as error:
            self.close()
            # A server closes idle connections when it likes; a second try on a new one tells that from a dead server.
            if reused and isinstance(error, _CLOSED_BY_SERVER):
                return self._exchange(method, path, body, headers)
            raise UnreachableError(f"{method} {self.url}{path}: {error}") from error

    def _connect(self) -> http.client.HTTPConnection:
        parts = urlsplit(self.url)
        if parts.hostname is None:
            raise LabError(f"{self.url!r} names no host")
        if self.context is None:
            return http.client.HTTPConnection(parts.hostname, parts.port, timeout=self.timeout)
        return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=self.timeout, context=self.context)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        # Many clients ask one thing and are dropped; the socket must not wait for the garbage collector's warning.
        self.close()
