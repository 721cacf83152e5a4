"""A server that is bad for those who wait for it: it accepts, and answers late or never."""

import contextlib
import socket
import threading
import time
from urllib.parse import urlsplit


class SlowDoor:
    """A way to a server by plain http on which each piece of an answer takes `delay` seconds; None is for ever."""

    def __init__(self, target: str, delay: float | None) -> None:
        parts = urlsplit(target)
        self._target = (parts.hostname or "", parts.port or 0)
        self._delay = delay
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self._stopping = threading.Event()
        self.accepted = 0
        threading.Thread(target=self._accept, name="slow-door", daemon=True).start()

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def close(self) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            if self._delay is None:
                self._stopping.wait()
                return
            with socket.create_connection(self._target, timeout=10) as server:
                server.settimeout(None)
                threading.Thread(target=self._pump, args=(client, server, 0.0), daemon=True).start()
                self._pump(server, client, self._delay)

    def _pump(self, source: socket.socket, sink: socket.socket, delay: float) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay)
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
