"""A deadline for a whole conversation. Timeouts of sockets are for each piece that arrives: who sends a byte now and
then could hold us for ever."""

import contextlib
import socket
import threading
import time
from types import TracebackType
from typing import Self

__all__ = ["Cutoff"]


class Cutoff:
    """Ends the connections it was given once `seconds` are over, and does nothing more once it is left."""

    def __init__(self, seconds: float) -> None:
        self._ends = time.monotonic() + seconds
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._over = False
        self._timer = threading.Timer(seconds, self._cut)
        self._timer.daemon = True

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._timer.cancel()
        with self._lock:
            self._sockets.clear()  # a file descriptor that is closed may be somebody else's next

    @property
    def left(self) -> float:
        """Seconds that are left, never less than a thousandth: 0 means no waiting to some, and for ever to others."""
        return max(0.001, self._ends - time.monotonic())

    def watch(self, sock: socket.socket, instead_of: socket.socket | None = None) -> None:
        """Take a connection, `instead_of` the one that it has taken over. It ends at once when the time is over."""
        with self._lock:
            self._sockets = [one for one in self._sockets if one is not instead_of]
            self._sockets.append(sock)
            if self._over:
                _end(sock)

    def _cut(self) -> None:
        with self._lock:
            self._over = True
            for sock in self._sockets:
                _end(sock)


def _end(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        socket.socket.shutdown(sock, socket.SHUT_RDWR)  # below TLS, which would want to say good-bye first
