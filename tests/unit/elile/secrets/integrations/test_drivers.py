"""psycopg and asyncpg without a server: what they are asked to connect with, and what becomes of refusals."""

import asyncio
import gc
import sys
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import asyncpg
import psycopg
import pytest

from elile.secrets.errors import SecretBackendMissingError
from elile.secrets.integrations import asyncpg as our_asyncpg
from elile.secrets.integrations import psycopg as our_psycopg
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import SecretPath

PATH = SecretPath.DATABASE
ENTRY = {"host": "db", "port": 5433, "database": "app", "username": "a", "password": "first"}
SECOND = {**ENTRY, "username": "b", "password": "second"}
WHERE = {"host": "db", "port": 5433, "dbname": "app"}


class RefusedError(Exception):
    sqlstate = "28P01"


class Server:
    def __init__(self) -> None:
        self.accepts = "first"
        self.seen: list[tuple[Any, dict[str, Any]]] = []
        self.during: Any = lambda: None

    def connect(self, where: Any, options: dict[str, Any]) -> SimpleNamespace:
        self.seen.append((where, options))
        if options["password"] != self.accepts:
            raise RefusedError
        during, self.during = self.during, lambda: None
        during()
        return SimpleNamespace(user=options["user"], close=lambda: None)

    @property
    def users(self) -> list[str]:
        return [options["user"] for _, options in self.seen]


@pytest.fixture
def backend() -> MemoryBackend:
    return MemoryBackend({PATH: ENTRY})


@pytest.fixture
def manager(backend: MemoryBackend) -> Iterator[BackendSecretsManager]:
    manager = BackendSecretsManager(backend)
    manager.get_secret_blocking(PATH)
    yield manager
    manager.close_blocking()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    """Stands in for the server of both drivers."""
    server = Server()

    class Connection:
        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> Any:
            return server.connect(conninfo, options)

    class AsyncConnection:
        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> Any:
            found = server.connect(conninfo, options)

            async def close() -> None: ...

            found.close = close
            return found

    async def connect(dsn: str | None = None, **options: Any) -> Any:
        return server.connect(dsn, options)

    monkeypatch.setattr(psycopg, "Connection", Connection)
    monkeypatch.setattr(psycopg, "AsyncConnection", AsyncConnection)
    monkeypatch.setattr(asyncpg, "connect", connect)
    return server


async def with_psycopg(manager: BackendSecretsManager, *args: Any, **options: Any) -> Any:
    return our_psycopg.connect(manager, PATH, *args, **options)


async def with_psycopg_async(manager: BackendSecretsManager, *args: Any, **options: Any) -> Any:
    return await our_psycopg.connect_async(manager, PATH, *args, **options)


async def with_asyncpg(manager: BackendSecretsManager, *args: Any, **options: Any) -> Any:
    return await our_asyncpg.connect(manager, PATH, *args, **options)


every = pytest.mark.parametrize("connect", [with_psycopg, with_psycopg_async, with_asyncpg])


@every
async def test_the_entry_says_all(connect: Any, manager: BackendSecretsManager, server: Server) -> None:
    await connect(manager, connect_timeout=3)
    options = server.seen[0][1]
    database = options.pop("dbname", None) or options.pop("database")
    assert database == "app"
    assert options == {"host": "db", "port": 5433, "user": "a", "password": "first", "connect_timeout": 3}


@every
async def test_an_address_of_ones_own_is_kept(connect: Any, manager: BackendSecretsManager, server: Server) -> None:
    await connect(manager, "postgresql://other/db", user="root", password="x")
    await connect(manager, host="other")
    assert server.seen[0] == ("postgresql://other/db", {"user": "a", "password": "first"})
    assert server.seen[1][1] == {"host": "other", "user": "a", "password": "first"}


@every
async def test_a_refused_login_is_tried_with_what_is_new(
    connect: Any, manager: BackendSecretsManager, backend: MemoryBackend, server: Server
) -> None:
    backend.write(PATH, SECOND)
    server.accepts = "second"
    assert (await connect(manager)).user == "b"
    assert server.users == ["a", "b"]


@every
async def test_a_login_that_stays_refused_is_told(connect: Any, manager: BackendSecretsManager, server: Server) -> None:
    server.accepts = "other"
    for _ in range(3):
        with pytest.raises(RefusedError):
            await connect(manager)
    assert server.users == ["a"] * 3


@pytest.mark.parametrize("connect", [with_psycopg, with_psycopg_async])
async def test_what_was_replaced_while_it_connected_is_not_given_to_a_pool(
    connect: Any, manager: BackendSecretsManager, server: Server
) -> None:
    def change() -> None:
        manager.set_secret_blocking(PATH, SECOND)
        server.accepts = "second"

    server.during = change
    assert (await connect(manager)).user == "b"
    assert server.users == ["a", "b"]


def test_a_pool_of_ones_own_connections_keeps_their_class(manager: BackendSecretsManager) -> None:
    class Mine(psycopg.Connection[Any]):
        pass

    pool = our_psycopg.pool(manager, PATH, connection_class=Mine, open=False)
    assert issubclass(pool.connection_class, Mine)
    assert pool.connection_class.__name__ == "Mine"


async def test_a_pool_that_is_gone_is_not_followed(manager: BackendSecretsManager) -> None:
    pools: list[Any] = [
        our_psycopg.pool(manager, PATH, open=False),
        our_psycopg.async_pool(manager, PATH, open=False),
    ]
    assert len(manager._followers._by_path[PATH]) == 2
    pools.clear()
    gc.collect()
    assert not manager._followers._by_path


async def test_a_closed_pool_of_asyncpg_is_let_go_at_the_next_change(
    manager: BackendSecretsManager, server: Server
) -> None:
    pool = our_asyncpg.create_pool(manager, PATH, min_size=0)
    async with pool:
        pass
    await manager.set_secret(PATH, SECOND)
    for _ in range(2000):
        if not manager._followers._by_path:
            return
        await asyncio.sleep(0.005)
    pytest.fail("it is still followed")


def test_pools_with_asyncio_need_a_loop(manager: BackendSecretsManager) -> None:
    for make in (our_psycopg.async_pool, our_asyncpg.create_pool):
        with pytest.raises(RuntimeError, match="no running event loop"):
            make(manager, PATH)


@pytest.mark.parametrize("package", ["psycopg", "psycopg_pool", "asyncpg"])
async def test_without_a_driver_the_extra_is_named(
    manager: BackendSecretsManager, monkeypatch: pytest.MonkeyPatch, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    make: Any = our_asyncpg.create_pool if package == "asyncpg" else our_psycopg.pool
    with pytest.raises(SecretBackendMissingError, match=rf"{package} .*elile\[sql\]"):
        make(manager, PATH)
