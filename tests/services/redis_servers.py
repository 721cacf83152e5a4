"""Redis servers for the tests of a session: two that speak TLS alone, with an authority of their own."""

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import pki
from lab.redis import Redis, Tls

__all__ = ["Servers", "redis_servers"]


@dataclass(frozen=True)
class Servers:
    """`folder` is one that the user `redis` can enter, for servers that a test starts for itself."""

    folder: Path
    nodes: tuple[Redis, Redis]
    ca_pem: str

    def run(self, *words: str) -> list[str]:
        """Run a command on every node."""
        return [node.run(*words) for node in self.nodes]


@pytest.fixture(scope="session")
def redis_servers() -> Iterator[Servers]:
    """Two servers; the folders of pytest are closed to the user that they run as."""
    folder = Path(tempfile.mkdtemp(prefix="elile-redis-"))
    folder.chmod(0o711)
    pki.create_authority(folder, "elile redis")
    tls = Tls(pki.issue(folder, "server", hosts=["127.0.0.1", "localhost"]), pki.ca(folder))
    try:
        with Redis(folder / "one", tls=tls) as one, Redis(folder / "two", tls=tls) as two:
            yield Servers(folder, (one, two), tls.ca.read_text())
    finally:
        shutil.rmtree(folder)
