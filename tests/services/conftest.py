"""Real servers that need no cluster, one of each for the whole run."""

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.postgresql import PostgreSQL
from tests.services.servers import mariadb, postgresql_tls

__all__ = ["mariadb", "postgresql", "postgresql_tls"]


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgreSQL]:
    """A PostgreSQL server; the folders of pytest are closed to the user that it runs as."""
    folder = Path(tempfile.mkdtemp(prefix="elile-postgresql-"))
    folder.chmod(0o711)
    try:
        with PostgreSQL(folder / "server") as server:
            yield server
    finally:
        shutil.rmtree(folder)
