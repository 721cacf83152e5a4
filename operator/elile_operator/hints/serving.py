"""Serves /metrics and /livez over HTTP, with no more than the standard library: the forwarder is to be small."""

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from elile_operator.hints.metrics import CONTENT_TYPE

__all__ = ["MetricsServer"]

READ_WITHIN = 5.0  # seconds for a request: a connection that says nothing holds a thread
TEXT = "text/plain; charset=utf-8"


class MetricsServer:
    """GET /metrics answers what `render` returns; GET /livez 200, or 503 with what `ill` says."""

    def __init__(self, *, host: str, port: int, render: Callable[[], bytes], ill: Callable[[], str | None]) -> None:
        """Bind; port 0 takes any free one. Raises OSError."""

        class Handler(_Handler):
            def answer(self, path: str) -> tuple[int, str, bytes]:
                if path == "/metrics":
                    return 200, CONTENT_TYPE, render()
                if path == "/livez":
                    why = ill()
                    return (503, TEXT, why.encode()) if why else (200, TEXT, b"ok")
                return 404, TEXT, b"/metrics and /livez are here"

        self._server = ThreadingHTTPServer((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, name="elile-hints-metrics", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Close the port; harmless if it never started."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    timeout = READ_WITHIN

    def answer(self, path: str) -> tuple[int, str, bytes]:
        raise NotImplementedError

    def do_GET(self) -> None:
        status, kind, body = self.answer(self.path.partition("?")[0])
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def version_string(self) -> str:
        return "elile"

    def log_message(self, *_: Any) -> None:
        """Say nothing: whoever asks could write into the log."""
