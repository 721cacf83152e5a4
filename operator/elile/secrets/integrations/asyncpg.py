"""Connections and pools of asyncpg that log in with what a secret says now. Needs `elile[sql]`."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from elile.secrets.integrations.retry import COOLDOWN, Manager, Renewal, is_first, is_refused_login, missing
from elile.secrets.managed import as_typed
from elile.secrets.protocol import SecretPath
from elile.secrets.types import DatabaseCredentials, SecretChange, SecretValue

if TYPE_CHECKING:
    import asyncpg

__all__ = ["connect", "create_pool"]


async def connect(
    manager: Manager,
    path: str = SecretPath.DATABASE,
    dsn: str | None = None,
    *,
    cooldown: float = COOLDOWN,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> "asyncpg.Connection":
    """Connect as `asyncpg.connect` does, with the user and password of an entry.

    Host, port and database come from the entry as well where neither `dsn` nor `host` is given. A login that is
    refused is tried once more if the entry has changed; that is asked for at most once in `cooldown` seconds of
    `clock` for a value that turns out to be the current one. Raises SecretBackendMissingError without asyncpg,
    SecretsError when there is no usable entry, and what asyncpg raises.
    """
    renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
    return await _following(renewal, _asyncpg().connect)(dsn, **options)


def create_pool(
    manager: Manager,
    path: str = SecretPath.DATABASE,
    dsn: str | None = None,
    *,
    cooldown: float = COOLDOWN,
    clock: Callable[[], float] = time.monotonic,
    **options: Any,
) -> "asyncpg.Pool":
    """Make what `asyncpg.create_pool` makes, to be awaited or entered, whose connections log in as `connect` does.

    After a change connections in use are replaced when they come back, idle ones when they are used next. Call it in
    the event loop that uses the pool: RuntimeError without one. Raises SecretBackendMissingError without asyncpg.
    """
    asyncio.get_running_loop()
    driver = _asyncpg()
    renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
    made: asyncpg.Pool = driver.create_pool(
        dsn, connect=_following(renewal, options.pop("connect", None) or driver.connect), **options
    )

    async def changed(change: SecretChange) -> None:
        # asyncpg's pools cannot be referred to weakly: one that was closed is let go at the next change.
        if made.is_closing():
            followed.cancel()
        elif not is_first(change):
            await made.expire_connections()

    followed = renewal.manager.on_change(renewal.path, changed)
    return made


def _following(renewal: Renewal, dial: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    async def connect(dsn: str | None = None, **options: Any) -> Any:
        def attempt(value: SecretValue) -> Awaitable[Any]:
            return dial(dsn, **_login(value, dsn, options))

        return await renewal.attempt_async(attempt, is_refused_login)

    return connect


def _login(value: SecretValue, dsn: str | None, options: dict[str, Any]) -> dict[str, Any]:
    login = as_typed(DatabaseCredentials, value)
    if dsn or options.get("host"):
        return {**options, "user": login.username, "password": login.password.reveal()}
    found = login.asyncpg_kwargs()
    return {**found, **options, "user": found["user"], "password": found["password"]}


def _asyncpg() -> Any:
    try:
        import asyncpg
    except ImportError:
        raise missing("asyncpg", "sql") from None
    return asyncpg
