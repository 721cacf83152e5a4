"""Database servers for the tests of a session, with TLS from an authority of their own."""

import shutil
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

import pytest

from lab import pki
from lab.mariadb import MariaDB
from lab.postgresql import PostgreSQL

__all__ = ["Secured", "mariadb", "peer", "postgresql_tls"]

Server = TypeVar("Server", PostgreSQL, MariaDB)


@dataclass(frozen=True)
class Secured(Generic[Server]):
    """A server whose certificate is for 127.0.0.1 and localhost, and the authority to trust."""

    server: Server
    ca_pem: str


@pytest.fixture(scope="session")
def postgresql_tls() -> Iterator[Secured[PostgreSQL]]:
    """A PostgreSQL server that writes every statement into its log."""
    with _folder("elile-postgresql-tls-") as folder:
        pair = pki.issue(folder, "server", hosts=["127.0.0.1", "localhost"])
        with PostgreSQL(folder / "server", tls=pair) as server:
            server.sql("ALTER SYSTEM SET log_statement = 'all'; SELECT pg_reload_conf()")
            yield Secured(server, pki.ca(folder).read_text())


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Secured[MariaDB]]:
    """A MariaDB server that writes every statement into its log."""
    with _folder("elile-mariadb-") as folder:
        pair = pki.issue(folder, "server", hosts=["127.0.0.1", "localhost"])
        with MariaDB(folder / "server", tls=pair) as server:
            server.sql(f"SET GLOBAL general_log_file = '{server.folder / 'general.log'}'; SET GLOBAL general_log = ON")
            yield Secured(server, pki.ca(folder).read_text())


@contextmanager
def _folder(prefix: str) -> Iterator[Path]:
    # The folders of pytest are closed to the users that servers run as.
    folder = Path(tempfile.mkdtemp(prefix=prefix))
    folder.chmod(0o711)
    try:
        pki.create_authority(folder, prefix)
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def peer(script: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[int]]]:
    """Listen on loopback, run `script` on each connection; yields the port, and a list that grows with each of them."""
    seen: list[int] = []
    threads: list[threading.Thread] = []
    listener = socket.create_server(("127.0.0.1", 0))
    ended = threading.Event()

    def serve(sock: socket.socket) -> None:
        # The other side hangs up whenever it likes.
        with sock, suppress(OSError):
            sock.settimeout(20)
            script(sock)

    def listen() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                sock, _ = listener.accept()
                seen.append(1)
                threads.append(threading.Thread(target=serve, args=[sock], daemon=True))
                threads[-1].start()

    listener.settimeout(0.05)
    accepting = threading.Thread(target=listen, daemon=True)
    accepting.start()
    try:
        yield listener.getsockname()[1], seen
    finally:
        ended.set()
        accepting.join()
        listener.close()
        for thread in threads:
            thread.join(25)
