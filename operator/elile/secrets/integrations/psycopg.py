"""Connections and pools of psycopg 3 that log in with what a secret says now. Needs `elile[sql]`."""

import asyncio
import time
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from elile.secrets.integrations.retry import COOLDOWN, Manager, Renewal, is_first, is_refused_login, missing
from elile.secrets.managed import as_typed
from elile.secrets.protocol import SecretPath
from elile.secrets.types import DatabaseCredentials, SecretChange, SecretValue

if TYPE_CHECKING:
    import psycopg
    import psycopg_pool

__all__ = ["async_pool", "connect", "connect_async", "pool"]

Clock = Callable[[], float]


def connect(
    manager: Manager,
    path: str = SecretPath.DATABASE,
    conninfo: str = "",
    *,
    cooldown: float = COOLDOWN,
    clock: Clock = time.monotonic,
    **options: Any,
) -> "psycopg.Connection[Any]":
    """Connect as `psycopg.connect` does, with the user and password of an entry.

    Host, port and database come from the entry as well where neither `conninfo` nor `host` is given. A login that is
    refused is tried once more if the entry has changed; that is asked for at most once in `cooldown` seconds of
    `clock` for a value that turns out to be the current one. Raises SecretBackendMissingError without psycopg,
    SecretsError when there is no usable entry, and what psycopg raises.
    """
    driver = _psycopg()
    renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
    made: psycopg.Connection[Any] = _connection_class(driver.Connection, renewal).connect(conninfo, **options)
    return made


async def connect_async(
    manager: Manager,
    path: str = SecretPath.DATABASE,
    conninfo: str = "",
    *,
    cooldown: float = COOLDOWN,
    clock: Clock = time.monotonic,
    **options: Any,
) -> "psycopg.AsyncConnection[Any]":
    """As `connect`, with asyncio."""
    driver = _psycopg()
    renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
    following = _async_connection_class(driver.AsyncConnection, renewal)
    made: psycopg.AsyncConnection[Any] = await following.connect(conninfo, **options)
    return made


def pool(
    manager: Manager,
    path: str = SecretPath.DATABASE,
    *,
    cooldown: float = COOLDOWN,
    clock: Clock = time.monotonic,
    **options: Any,
) -> "psycopg_pool.ConnectionPool[Any]":
    """Make a ConnectionPool whose connections log in as `connect` does; `options` are the pool's own.

    After a change idle connections are replaced at once and those in use when they come back. Raises
    SecretBackendMissingError without psycopg and psycopg_pool.
    """
    driver, pools = _psycopg(), _psycopg_pool()
    renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
    options["connection_class"] = _connection_class(options.get("connection_class", driver.Connection), renewal)
    made: psycopg_pool.ConnectionPool[Any] = pools.ConnectionPool(**options)
    known = weakref.ref(made)

    def changed(change: SecretChange) -> None:
        if (found := known()) is not None and not found.closed and not is_first(change):
            found.drain()

    weakref.finalize(made, renewal.manager.on_change(renewal.path, changed).cancel)
    return made


def async_pool(
    manager: Manager,
    path: str = SecretPath.DATABASE,
    *,
    cooldown: float = COOLDOWN,
    clock: Clock = time.monotonic,
    **options: Any,
) -> "psycopg_pool.AsyncConnectionPool[Any]":
    """As `pool`, an AsyncConnectionPool. Call it in the event loop that uses the pool: RuntimeError without one."""
    asyncio.get_running_loop()
    driver, pools = _psycopg(), _psycopg_pool()
    renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
    given = options.get("connection_class", driver.AsyncConnection)
    options["connection_class"] = _async_connection_class(given, renewal)
    made: psycopg_pool.AsyncConnectionPool[Any] = pools.AsyncConnectionPool(**options)
    known = weakref.ref(made)

    async def changed(change: SecretChange) -> None:
        if (found := known()) is not None and not found.closed and not is_first(change):
            await found.drain()

    weakref.finalize(made, renewal.manager.on_change(renewal.path, changed).cancel)
    return made


# ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# The login is in the class, not in the pool's `kwargs`: there nobody would learn which generation was refused.


def _connection_class(base: Any, renewal: Renewal) -> Any:
    class Following(base):  # type: ignore[misc]
        @classmethod
        def connect(cls, conninfo: str = "", **options: Any) -> Any:
            def dial(value: SecretValue) -> Any:
                # Not super(): a class made from this one would log in twice.
                connection = super(Following, cls).connect(conninfo, **_login(value, conninfo, options))
                if not _is_replaced(renewal, value):
                    return connection
                # A pool takes what comes after its `drain` for new.
                connection.close()
                newest = renewal.manager.get_secret_blocking(renewal.path)
                return super(Following, cls).connect(conninfo, **_login(newest, conninfo, options))

            return renewal.attempt(dial, is_refused_login)

    return _named(Following, base)


def _async_connection_class(base: Any, renewal: Renewal) -> Any:
    class Following(base):  # type: ignore[misc]
        @classmethod
        async def connect(cls, conninfo: str = "", **options: Any) -> Any:
            async def dial(value: SecretValue) -> Any:
                connection = await super(Following, cls).connect(conninfo, **_login(value, conninfo, options))
                if not _is_replaced(renewal, value):
                    return connection
                await connection.close()
                newest = await renewal.manager.get_secret(renewal.path)
                return await super(Following, cls).connect(conninfo, **_login(newest, conninfo, options))

            return await renewal.attempt_async(dial, is_refused_login)

    return _named(Following, base)


def _named(made: Any, base: Any) -> Any:
    # psycopg shows the class's name in reprs and in its warnings.
    made.__name__, made.__qualname__, made.__module__ = base.__name__, base.__qualname__, base.__module__
    return made


def _is_replaced(renewal: Renewal, value: SecretValue) -> bool:
    known = renewal.manager.cache.peek(renewal.path)
    return known is not None and known.generation != value.generation


def _login(value: SecretValue, conninfo: str, options: dict[str, Any]) -> dict[str, Any]:
    login = as_typed(DatabaseCredentials, value)
    if conninfo or "host" in options:
        return {**options, "user": login.username, "password": login.password.reveal()}
    found = login.psycopg_kwargs()
    return {**found, **options, "user": found["user"], "password": found["password"]}


def _psycopg() -> Any:
    try:
        import psycopg
    except ImportError:
        raise missing("psycopg", "sql") from None
    return psycopg


def _psycopg_pool() -> Any:
    try:
        import psycopg_pool
    except ImportError:
        raise missing("psycopg_pool", "sql") from None
    return psycopg_pool
