"""A gate before OpenBao that can be closed, or answer in its place: what networks and proxies do to an operator."""

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from urllib.parse import urlsplit

HUGE = 10 * 1024 * 1024


class Mode(StrEnum):
    """What the gate does with a new connection."""

    OPEN = "open"  # a tunnel: TLS goes through
    HELD = "held"  # the tunnel stands still
    CLOSED = "closed"
    THROTTLING = "throttling"
    GARBAGE = "garbage"
    HUGE = "huge"
    SLOW = "slow"


class Gate:
    """Listens on loopback; `certificate` and `key` are for the answers it gives itself."""

    def __init__(self, target: str, certificate: Path, key: Path) -> None:
        self.mode = Mode.OPEN
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.load_cert_chain(certificate, key)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._stopping = False
        self._thread = threading.Thread(target=self._accept, name="gate", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._stopping = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(5)

    def _accept(self) -> None:
        while not self._stopping:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        mode = self.mode  # as it was when the client came: a test changes it while the hands are shaken
        with contextlib.suppress(OSError), client:
            if mode in (Mode.OPEN, Mode.HELD):
                self._tunnel(client)
            elif mode is not Mode.CLOSED:
                with self._context.wrap_socket(client, server_side=True) as secure:
                    secure.recv(65536)
                    ANSWERS[mode](secure)

    def _tunnel(self, client: socket.socket) -> None:
        with socket.create_connection(self._target, timeout=10) as server:
            server.settimeout(None)
            back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
            back.start()
            self._pump(client, server)
            back.join()

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        source.settimeout(0.1)
        with contextlib.suppress(OSError):
            # Kept-alive connections end with the mode: a closed gate must not go on serving them.
            while self.mode in (Mode.OPEN, Mode.HELD) and not self._stopping:
                if self.mode is Mode.HELD:
                    time.sleep(0.05)
                    continue
                try:
                    data = source.recv(65536)
                except TimeoutError:
                    continue
                if not data:
                    break
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


def _answer(status: str, kind: str, body: bytes, *headers: str) -> bytes:
    size = f"Content-Length: {len(body)}"
    head = [f"HTTP/1.1 {status}", f"Content-Type: {kind}", size, "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def _drip(client: ssl.SSLSocket) -> None:
    client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(120):
        client.sendall(b" ")
        time.sleep(0.5)


ANSWERS: dict[Mode, Callable[[ssl.SSLSocket], None]] = {
    Mode.THROTTLING: lambda c: c.sendall(
        _answer("429 Too Many Requests", "application/json", b'{"errors":["rate limit"]}', "Retry-After: 1")
    ),
    Mode.GARBAGE: lambda c: c.sendall(_answer("200 OK", "text/html", b"<html>It works!</html>")),
    Mode.HUGE: lambda c: c.sendall(_answer("200 OK", "application/json", b'{"data":"' + b"x" * HUGE + b'"}')),
    Mode.SLOW: _drip,
}
