"""A server that the hooks of rotations ask: it answers what a test wants just then, and so holds a run where it is."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.e2e.support.cluster import eventually

PASSES, UNDECIDED, FAILS = 200, 503, 401


class Asked:
    """Each path has an answer of its own, and none is asked for the value that comes with the request."""

    def __init__(self, host: str, port: int) -> None:
        self._url = f"http://{host}:{port}"
        self._answers: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._server = ThreadingHTTPServer((host, port), self._handler())
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def hook(self, path: str, stage: str, *, answer: int = UNDECIDED, **more: Any) -> dict[str, Any]:
        """Return a hook of a schedule that asks for `path`, and goes on asking until it is told something."""
        self._answers[path] = answer
        return {
            "name": "asked",
            "stage": stage,
            "http": {"url": f"{self._url}/{path}", "tls": {"allowPlainHTTP": True}},
            "attempts": 1,
            "onInconclusive": "Retry",
            **more,
        }

    def answer(self, path: str, status: int) -> None:
        """Answer this from now on."""
        self._answers[path] = status

    def wait_asked(self, path: str) -> None:
        """Return once there was a request after this call."""
        before = self._times.get(path, 0)
        eventually(f"{path} is asked for", lambda: self._times.get(path, 0) > before, within=60)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        asked = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.lstrip("/")
                asked._times[path] = asked._times.get(path, 0) + 1
                self.send_response(asked._answers.get(path, UNDECIDED))
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                """Nothing of a request is kept: it has the value."""

        return Handler


@contextmanager
def asked_server(host: str, port: int) -> Iterator[Asked]:
    """Serve for the time of some tests."""
    asked = Asked(host, port)
    try:
        yield asked
    finally:
        asked.close()
