"""What takes hints in tests: the operator's side of the wire over real TLS, with answers that a test may script."""

import contextlib
import socket
import ssl
import threading
from collections import deque
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from elile_operator.decide.hints import Batch, Hint, decode

__all__ = ["PATH", "TOKEN", "Receiver"]

TOKEN = "token-one"
PATH = "/v1/hints/default"


class Receiver:
    """Answers what `answers` holds, then `status` if it is set, then as the operator does: 401, 404 or 204.

    `taken` are the batches that were answered by 204, `asked` all statuses, `bodies` and `headers` of all requests.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, port: int = 0) -> None:
        self.token = TOKEN
        self.answers: deque[tuple[int, Mapping[str, str]]] = deque()
        self.status: int | None = None
        self.taken: list[Batch] = []
        self.asked: list[int] = []
        self.bodies: list[bytes] = []
        self.headers: list[Mapping[str, str]] = []
        self._tls = tls
        self._port = port

    def __enter__(self) -> "Receiver":
        self._server = _Server(self, self._tls, self._port)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), name="hint-receiver")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self.cut()
        self._server.server_close()

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def connections(self) -> int:
        return len(self._server.accepted)

    def cut(self) -> None:
        """End every connection there is."""
        for connection in self._server.accepted:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    @property
    def hints(self) -> list[Hint]:
        return [hint for batch in self.taken for hint in batch.hints]

    @property
    def latest(self) -> dict[tuple[str, str, str], int | None]:
        """What was told last of each path."""
        return {(hint.namespace, hint.mount, hint.path): hint.version for hint in self.hints}

    @property
    def gaps(self) -> int:
        return sum(batch.gap for batch in self.taken)

    def answer(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        status, extra = self._decided(path, headers, body)
        self.bodies.append(body)
        self.headers.append(headers)
        self.asked.append(status)
        return status, extra

    def _decided(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        if self.answers:
            return self.answers.popleft()
        if self.status is not None:
            return self.status, {}
        if headers["Authorization"] != f"Bearer {self.token}":
            return 401, {}
        if path != PATH or headers["Content-Type"] != "application/json":
            return 404, {}
        self.taken.append(decode(body))
        return 204, {}


class _Server(ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, receiver: Receiver, tls: ssl.SSLContext | None, port: int) -> None:
        self.accepted: list[socket.socket] = []
        self._tls = tls

        class Handler(_Handler):
            to = receiver

        super().__init__(("127.0.0.1", port), Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        if self._tls is not None:
            # The handshake is made by the first read, on the thread of the connection.
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.accepted.append(connection)
        return connection, address

    def handle_error(self, *_: object) -> None:
        """Say nothing of a client that went away."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    to: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, extra = self.to.answer(self.path, self.headers, body)  # type: ignore[arg-type] # a Message is one
        self.send_response(status)
        for name, value in {**extra, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""
