"""Database clients keep working while the users and passwords they log in with are replaced, on a real PostgreSQL."""

import asyncio
import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import sqlalchemy
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from elile.secrets.integrations import asyncpg as following_asyncpg
from elile.secrets.integrations import psycopg as following_psycopg
from elile.secrets.integrations.sqlalchemy import attach
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading
from lab.postgresql import PostgreSQL

PATH = "app/database"
PERIOD = 2.0  # seconds between two switches
OVERLAP = 1.0  # seconds that the old user's password is good for after a switch
WORKERS = 4
PAUSE = 0.055  # seconds between a worker's queries, so that each client makes 50 a second, the long ones included
QUERY = "SELECT current_user::text"

names = itertools.count(1)


class CountingBackend(MemoryBackend):
    """Counts what was asked of it."""

    def __init__(self) -> None:
        super().__init__({})
        self.reads = 0

    def read(self, path: str, *, version: str | None = None) -> Reading:
        self.reads += 1
        return super().read(path, version=version)


class Rotation:
    """Two roles that take turns: the idle one gets a new password and becomes the one that the entry names."""

    def __init__(self, server: PostgreSQL) -> None:
        self.server = server
        number = next(names)
        self.users = (f"app{number}_a", f"app{number}_b")
        self.database = f"app{number}"
        self.backend = CountingBackend()
        self.switches = 0
        self.left = 0  # the most sessions that a role had when its login ended
        for user in self.users:
            server.sql(f"CREATE ROLE {user} LOGIN PASSWORD '{secrets.token_hex(16)}'")
        server.sql(f"CREATE DATABASE {self.database}")
        self.switch()

    def switch(self) -> str:
        """Make the other role the current one; the role that was."""
        user, old = self.users if self.switches % 2 == 0 else self.users[::-1]
        password = secrets.token_hex(16)
        self.server.sql(f"ALTER ROLE {user} LOGIN PASSWORD '{password}'")
        entry = {"host": self.server.host, "port": self.server.port, "database": self.database}
        self.backend.write(PATH, {**entry, "username": user, "password": password})
        self.switches += 1
        return old

    def scramble(self, user: str) -> None:
        """End what a role's login is good for, in one of the two ways that PostgreSQL tells apart."""
        login = "NOLOGIN" if self.switches % 2 else "LOGIN"
        self.server.sql(f"ALTER ROLE {user} {login} PASSWORD '{secrets.token_hex(16)}'")

    def sessions_of(self, user: str) -> int:
        """Sessions in the application's database that a role still has."""
        users = "SELECT usename FROM pg_stat_activity WHERE datname = current_database()"
        return self.server.sql(users, database=self.database).count([user])

    def run(self, until: float, stop: threading.Event) -> None:
        """Switch and scramble until the clock says so."""
        while time.monotonic() < until and not stop.is_set():
            began = time.monotonic()
            old = self.switch()
            stop.wait(began + OVERLAP - time.monotonic())
            self.left = max(self.left, self.sessions_of(old))
            self.scramble(old)
            stop.wait(max(0.0, began + PERIOD - time.monotonic()))


@dataclass
class Load:
    """What one client did."""

    name: str
    users: Counter[str] = field(default_factory=Counter)
    errors: list[BaseException] = field(default_factory=list)
    slowest: float = 0.0

    def did(self, user: str, began: float) -> None:
        self.users[user] += 1
        self.slowest = max(self.slowest, time.monotonic() - began)

    def __str__(self) -> str:
        shares = " + ".join(str(count) for _, count in sorted(self.users.items()))
        return f"{self.name}: {shares} queries, {len(self.errors)} errors, slowest {self.slowest * 1000:.0f} ms"


def ask_blocking(load: Load, query: Callable[[bool], str], until: float) -> None:
    """One worker of a client that blocks; every tenth query holds its connection for a while."""
    for n in itertools.count():
        if (began := time.monotonic()) >= until:
            return
        try:
            load.did(query(n % 10 == 0), began)
        except Exception as e:
            load.errors.append(e)
        time.sleep(max(0.0, began + PAUSE - time.monotonic()))


async def ask(load: Load, query: Callable[[bool], Awaitable[str]], until: float) -> None:
    """As `ask_blocking`, with asyncio."""
    for n in itertools.count():
        if (began := time.monotonic()) >= until:
            return
        try:
            load.did(await query(n % 10 == 0), began)
        except Exception as e:
            load.errors.append(e)
        await asyncio.sleep(max(0.0, began + PAUSE - time.monotonic()))


SLEEP = "SELECT pg_sleep(0.3)"
Settings = Mapping[str, Any]


@contextmanager
def sqlalchemy_client(rotation: Rotation, manager: BackendSecretsManager) -> Iterator[Callable[[bool], str]]:
    server = rotation.server
    url = f"postgresql+psycopg://{server.host}:{server.port}/{rotation.database}?application_name=sqlalchemy"
    engine = sqlalchemy.create_engine(url, pool_size=WORKERS)
    attached = attach(engine, manager, PATH)

    def query(hold: bool) -> str:
        with engine.connect() as connection:
            if hold:
                connection.execute(sqlalchemy.text(SLEEP))
            return str(connection.execute(sqlalchemy.text(QUERY)).scalar_one())

    try:
        yield query
    finally:
        attached.close()
        engine.dispose()


@asynccontextmanager
async def sqlalchemy_async_client(
    rotation: Rotation, manager: BackendSecretsManager
) -> AsyncIterator[Callable[[bool], Awaitable[str]]]:
    server = rotation.server
    url = f"postgresql+asyncpg://{server.host}:{server.port}/{rotation.database}"
    settings = {"server_settings": {"application_name": "sqlalchemy-asyncpg"}}
    engine = create_async_engine(url, pool_size=WORKERS, connect_args=settings)
    attached = attach(engine, manager, PATH)

    async def query(hold: bool) -> str:
        async with engine.connect() as connection:
            if hold:
                await connection.execute(sqlalchemy.text(SLEEP))
            return str((await connection.execute(sqlalchemy.text(QUERY))).scalar_one())

    try:
        yield query
    finally:
        attached.close()
        await engine.dispose()


@contextmanager
def psycopg_client(_: Rotation, manager: BackendSecretsManager) -> Iterator[Callable[[bool], str]]:
    settings = {"application_name": "psycopg"}
    with following_psycopg.pool(manager, PATH, kwargs=settings, min_size=WORKERS, open=True) as pool:

        def query(hold: bool) -> str:
            with pool.connection() as connection:
                if hold:
                    connection.execute(SLEEP)
                return str(connection.execute(QUERY).fetchone()[0])

        yield query


@asynccontextmanager
async def psycopg_async_client(
    _: Rotation, manager: BackendSecretsManager
) -> AsyncIterator[Callable[[bool], Awaitable[str]]]:
    settings = {"application_name": "psycopg-async"}
    async with following_psycopg.async_pool(manager, PATH, kwargs=settings, min_size=WORKERS, open=False) as pool:

        async def query(hold: bool) -> str:
            async with pool.connection() as connection:
                if hold:
                    await connection.execute(SLEEP)
                return str((await (await connection.execute(QUERY)).fetchone())[0])

        yield query


@asynccontextmanager
async def asyncpg_client(
    _: Rotation, manager: BackendSecretsManager
) -> AsyncIterator[Callable[[bool], Awaitable[str]]]:
    settings = {"application_name": "asyncpg"}
    async with following_asyncpg.create_pool(
        manager, PATH, server_settings=settings, min_size=WORKERS, max_size=WORKERS
    ) as pool:

        async def query(hold: bool) -> str:
            async with pool.acquire() as connection:
                if hold:
                    await connection.execute(SLEEP)
                return str(await connection.fetchval(QUERY))

        yield query


async def see_sessions(rotation: Rotation, until: float) -> dict[str, set[str]]:
    """Users by application, of the sessions that the server has had."""
    seen: dict[str, set[str]] = {}
    # Of this database alone: the administrator asks from within it.
    select = "SELECT application_name, usename FROM pg_stat_activity WHERE datname = current_database()"
    while time.monotonic() < until:
        for application, user in await asyncio.to_thread(rotation.server.sql, select, database=rotation.database):
            seen.setdefault(application, set()).add(user)
        await asyncio.sleep(0.5)
    return seen


@pytest.mark.parametrize("seconds", [10, pytest.param(120, marks=pytest.mark.chaos)])
async def test_clients_follow_a_user_that_alternates(postgresql: PostgreSQL, figure: list[str], seconds: int) -> None:
    rotation = await asyncio.to_thread(Rotation, postgresql)
    manager = BackendSecretsManager(rotation.backend, follow_interval=0.2)
    stop = threading.Event()
    loads: list[Load] = []
    async with AsyncExitStack() as stack:
        stack.push_async_callback(manager.close)
        until = time.monotonic() + seconds
        tasks = [asyncio.create_task(asyncio.to_thread(rotation.run, until, stop))]
        stack.callback(stop.set)
        for name, client in (("SQLAlchemy", sqlalchemy_client), ("psycopg pool", psycopg_client)):
            query = stack.enter_context(client(rotation, manager))
            loads.append(load := Load(name))
            for _ in range(WORKERS):
                thread = threading.Thread(target=ask_blocking, args=(load, query, until))
                thread.start()
                stack.callback(thread.join)
        for name, async_client in (
            ("SQLAlchemy, asyncpg", sqlalchemy_async_client),
            ("psycopg pool, asyncio", psycopg_async_client),
            ("asyncpg pool", asyncpg_client),
        ):
            async_query = await stack.enter_async_context(async_client(rotation, manager))
            loads.append(load := Load(name))
            tasks += [asyncio.create_task(ask(load, async_query, until)) for _ in range(WORKERS)]
        seen = await see_sessions(rotation, until)
        await asyncio.gather(*tasks)
    figure += [f"{seconds} s, {rotation.switches} switches of the user, {load}" for load in loads]
    figure.append(f"{seconds} s, sessions of the old user when its login ended: {rotation.left} at most")
    assert [load.errors for load in loads] == [[] for _ in loads]
    for load in loads:
        assert set(load.users) == set(rotation.users), load
        # A tenth of the queries takes 0.3 s longer: a bit over half of the rate is left.
        assert load.users.total() > seconds * 15, load
    clients = ("sqlalchemy", "psycopg", "sqlalchemy-asyncpg", "psycopg-async", "asyncpg")
    assert {name: seen[name] for name in clients} == {name: set(rotation.users) for name in clients}


async def test_a_refused_login_brings_the_news_and_all_ask_once(postgresql: PostgreSQL, figure: list[str]) -> None:
    """Nobody is told of changes here, each query makes a connection, and the old password ends at once."""
    rotation = await asyncio.to_thread(Rotation, postgresql)
    manager = BackendSecretsManager(rotation.backend, follow_interval=3600)
    address = f"{postgresql.host}:{postgresql.port}/{rotation.database}"
    engine = sqlalchemy.create_engine(f"postgresql+psycopg://{address}", poolclass=NullPool)
    async_engine = create_async_engine(f"postgresql+asyncpg://{address}", poolclass=NullPool)
    attached = [attach(engine, manager, PATH), attach(async_engine, manager, PATH)]

    def psycopg_connect(_: bool) -> str:
        with following_psycopg.connect(manager, PATH) as connection:
            row = connection.execute(QUERY).fetchone()
            return str(row and row[0])

    def sqlalchemy_connect(_: bool) -> str:
        with engine.connect() as connection:
            return str(connection.execute(sqlalchemy.text(QUERY)).scalar_one())

    async def asyncpg_connect(_: bool) -> str:
        connection = await following_asyncpg.connect(manager, PATH)
        try:
            return str(await connection.fetchval(QUERY))
        finally:
            await connection.close()

    async def sqlalchemy_connect_async(_: bool) -> str:
        async with async_engine.connect() as connection:
            return str((await connection.execute(sqlalchemy.text(QUERY))).scalar_one())

    until = time.monotonic() + 6
    loads: list[Load] = []
    tasks: list[asyncio.Task[None]] = []
    for query in (psycopg_connect, sqlalchemy_connect):
        loads.append(load := Load(query.__name__))
        tasks += [asyncio.create_task(asyncio.to_thread(ask_blocking, load, query, until)) for _ in range(2)]
    for async_query in (asyncpg_connect, sqlalchemy_connect_async):
        loads.append(load := Load(async_query.__name__))
        tasks += [asyncio.create_task(ask(load, async_query, until)) for _ in range(2)]
    while time.monotonic() < until - 1.6:
        rotation.scramble(await asyncio.to_thread(rotation.switch))
        await asyncio.sleep(1.5)
    await asyncio.gather(*tasks)
    for one in attached:
        one.close()
    await manager.close()
    figure += [f"{rotation.switches} switches, {rotation.backend.reads} questions, {load}" for load in loads]
    assert [load.errors for load in loads] == [[] for _ in loads]
    assert rotation.backend.reads == rotation.switches
    assert all(set(load.users) == set(rotation.users) for load in loads)
