"""The PostgreSQL server that tests and the lab start."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from lab.errors import LabError
from lab.postgresql import PostgreSQL


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="elile-postgresql-"))
    folder.chmod(0o711)
    yield folder / "server"
    shutil.rmtree(folder)


def test_starts_again_with_what_it_had_and_lets_in_by_password_only(folder: Path) -> None:
    with PostgreSQL(folder) as server:
        server.start()  # does nothing where it is up
        server.sql("CREATE ROLE app LOGIN PASSWORD 'right'")
    assert not server.is_up()
    server.stop()
    with server:
        where = {"host": server.host, "port": server.port, "user": "app", "dbname": "postgres"}
        connection = psycopg.connect(**where, password="right")
        assert connection.execute("SHOW listen_addresses").fetchone() == ("127.0.0.1",)
        # A client that stays does not keep the server from ending.
        server.stop()
        assert not server.is_up()
        connection.close()
        server.start()
        for password in ("wrong", None):
            with pytest.raises(psycopg.OperationalError):
                psycopg.connect(**where, password=password)
        assert server.sql("SELECT 1, 'a,b'; SELECT 2") == [["1", "a,b"], ["2"]]


def test_a_statement_that_fails_is_told_without_the_statement(postgresql: PostgreSQL) -> None:
    with pytest.raises(LabError, match="unrecognized role option") as caught:
        postgresql.sql("ALTER ROLE postgres PASSWORT 'hunter2'")
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="the server runs as the user who starts it")
def test_a_folder_that_the_server_cannot_reach_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(LabError, match="cannot reach"):
        PostgreSQL(tmp_path / "server").start()
