import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.pool import QueuePool

from elile.secrets.errors import SecretBackendMissingError, SecretsError, SecretValidationError
from elile.secrets.integrations.sqlalchemy import Attached, attach
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import SecretPath
from elile.secrets.types import SecretChange

PATH = SecretPath.DATABASE
ENTRY = {"host": "db", "port": 5433, "database": "app", "username": "a", "password": "first"}
SECOND = {**ENTRY, "username": "b", "password": "second"}


class Server:
    """What stands for the driver: accepts the logins it knows, and gives connections of SQLite."""

    def __init__(self, *logins: tuple[str, str]) -> None:
        self.logins = set(logins)
        self.seen: list[dict[str, Any]] = []
        self.open: list[sqlite3.Connection] = []

    def connect(self, *_: Any, **parameters: Any) -> sqlite3.Connection:
        self.seen.append(parameters)
        if (parameters["user"], parameters["password"]) not in self.logins:
            error = sqlite3.OperationalError("refused")
            error.sqlstate = "28P01"  # type: ignore[attr-defined]
            raise error
        # Threads of the library close what the test's thread made.
        self.open.append(connection := sqlite3.connect(":memory:", check_same_thread=False))
        return connection

    @property
    def users(self) -> list[str]:
        return [parameters["user"] for parameters in self.seen]


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend({PATH: ENTRY})


@pytest.fixture
def manager(backend: MemoryBackend) -> Iterator[BackendSecretsManager]:
    manager = BackendSecretsManager(backend)
    yield manager
    manager.close_blocking()


@pytest.fixture
def server() -> Server:
    return Server(("a", "first"), ("b", "second"))


@pytest.fixture
def engine(server: Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine("sqlite://", poolclass=QueuePool, pool_size=3)
    monkeypatch.setattr(engine.dialect, "connect", server.connect)
    yield engine
    engine.dispose()


@pytest.fixture
def attached(engine: sqlalchemy.Engine, manager: BackendSecretsManager) -> Iterator[Attached]:
    attached = attach(engine, manager)
    yield attached
    attached.close()


def wait_for(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def use(engine: sqlalchemy.Engine) -> None:
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("SELECT 1"))


def test_logs_in_as_the_entry_says(engine: sqlalchemy.Engine, attached: Attached, server: Server) -> None:
    use(engine)
    assert server.seen[0]["user"] == "a"
    assert server.seen[0]["password"] == "first"
    assert not {"host", "port", "database"} & (server.seen[0].keys() - {"database"})


def test_takes_the_address_if_asked(engine: sqlalchemy.Engine, manager: BackendSecretsManager, server: Server) -> None:
    attached = attach(engine, manager, address=True)
    use(engine)
    found = server.seen[0]
    assert (found["host"], found["port"], found["database"]) == ("db", 5433, "app")
    attached.close()


def test_a_refused_login_is_tried_with_what_is_new(
    engine: sqlalchemy.Engine, attached: Attached, backend: MemoryBackend, server: Server
) -> None:
    attached._renewal.manager.get_secret_blocking(PATH)
    backend.write(PATH, SECOND)
    server.logins = {("b", "second")}
    use(engine)
    assert server.users == ["a", "b"]


def test_a_login_that_stays_refused_is_told(engine: sqlalchemy.Engine, attached: Attached, server: Server) -> None:
    server.logins = set()
    for _ in range(3):
        with pytest.raises(sqlalchemy.exc.OperationalError, match="refused"):
            use(engine)
    assert server.users == ["a"] * 3


def test_idle_connections_are_replaced_at_once(
    engine: sqlalchemy.Engine, attached: Attached, manager: BackendSecretsManager, server: Server
) -> None:
    connections = [engine.connect() for _ in range(3)]
    for connection in connections:
        connection.close()
    manager.set_secret_blocking(PATH, SECOND)
    wait_for(lambda: server.users == ["a"] * 3 + ["b"] * 3)
    use(engine)
    assert len(server.seen) == 6


def test_a_connection_in_use_goes_on_and_is_closed_after(
    engine: sqlalchemy.Engine, attached: Attached, manager: BackendSecretsManager, server: Server
) -> None:
    with engine.connect() as connection:
        manager.set_secret_blocking(PATH, SECOND)
        wait_for(lambda: attached._changes == 1)
        assert connection.execute(sqlalchemy.text("SELECT 1")).scalar_one() == 1
        assert server.users == ["a"]
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        server.open[0].execute("SELECT 1")
    use(engine)
    assert server.users == ["a", "b"]


def test_a_connection_made_before_its_news_arrive_stays(
    engine: sqlalchemy.Engine, attached: Attached, manager: BackendSecretsManager, server: Server
) -> None:
    told = attached._changed
    use(engine)
    attached._followed.cancel()
    manager.set_secret_blocking(PATH, SECOND)
    first, second = engine.connect(), engine.connect()
    assert server.users == ["a", "b"]
    told(SecretChange(PATH, manager.get_secret_blocking(PATH)))
    first.close()
    second.close()
    assert attached.engine.pool.checkedin() == 2  # type: ignore[attr-defined]
    use(engine)
    use(engine)
    wait_for(lambda: server.users == ["a", "b", "b"])


def test_after_close_the_engine_is_as_before(
    engine: sqlalchemy.Engine, attached: Attached, manager: BackendSecretsManager, server: Server
) -> None:
    use(engine)
    attached.close()
    manager.set_secret_blocking(PATH, SECOND)
    use(engine)
    assert server.users == ["a"]
    engine.dispose()
    with pytest.raises(KeyError, match="user"):
        use(engine)


def test_an_entry_that_is_no_database_is_told_without_its_values(
    engine: sqlalchemy.Engine, attached: Attached, backend: MemoryBackend
) -> None:
    backend.write(PATH, {"password": "hunter2"})
    with pytest.raises(SecretsError) as caught:
        use(engine)
    assert isinstance(caught.value, SecretValidationError)
    assert "hunter2" not in str(caught.value)


def test_without_sqlalchemy_the_extra_is_named(
    engine: sqlalchemy.Engine, manager: BackendSecretsManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sqlalchemy", None)
    with pytest.raises(SecretBackendMissingError, match=r"elile\[sql\]"):
        attach(engine, manager)
