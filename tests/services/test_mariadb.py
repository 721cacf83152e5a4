"""The MariaDB server that tests and the lab start."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pymysql
import pytest

from lab.errors import LabError
from lab.mariadb import MariaDB
from tests.services.servers import Secured


@pytest.fixture
def folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="elile-mariadb-"))
    folder.chmod(0o711)
    yield folder / "server"
    shutil.rmtree(folder)


def test_starts_again_with_what_it_had_and_lets_in_by_password_only(folder: Path) -> None:
    with MariaDB(folder) as server:
        server.start()  # does nothing where it is up
        server.sql("CREATE USER app IDENTIFIED BY 'right'")
    assert not server.is_up()
    server.stop()
    with server:
        where = {"host": server.host, "port": server.port, "ssl_disabled": True}
        connection = pymysql.connect(**where, user="app", password="right")
        # A client that stays does not keep the server from ending.
        server.stop()
        assert not server.is_up()
        with pytest.raises(pymysql.err.Error):
            connection.query("SELECT 1")
        server.start()
        for user, password in (("app", "wrong"), ("app", ""), ("root", ""), ("mysql", ""), ("", "")):
            with pytest.raises(pymysql.err.OperationalError):
                pymysql.connect(**where, user=user or None, password=password)
        assert server.sql("SELECT 1, 'a,b'; SELECT @@bind_address") == [["1", "a,b"], ["127.0.0.1"]]


def test_a_statement_that_fails_is_told_without_the_statement(mariadb: Secured[MariaDB]) -> None:
    with pytest.raises(LabError, match="ERROR 1064") as caught:
        mariadb.server.sql("ALTER USER app IDENTIFIED BYY 'hunter2'")
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="the server runs as the user who starts it")
def test_a_folder_that_the_server_cannot_reach_is_told(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    with pytest.raises(LabError, match="cannot reach"):
        MariaDB(tmp_path / "server").start()
