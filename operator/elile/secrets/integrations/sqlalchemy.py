"""Engines of SQLAlchemy that log in with what a secret says now. Needs `elile[sql]`."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar, cast

from elile.secrets.integrations.retry import COOLDOWN, Manager, Renewal, is_first, is_refused_login, missing
from elile.secrets.managed import as_typed
from elile.secrets.protocol import SecretPath
from elile.secrets.types import DatabaseCredentials, SecretChange, SecretValue

if TYPE_CHECKING:
    from sqlalchemy.engine import Dialect, Engine
    from sqlalchemy.engine.interfaces import DBAPIConnection
    from sqlalchemy.ext.asyncio import AsyncEngine
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["Attached", "attach"]

log = logging.getLogger(__name__)

T = TypeVar("T")
_MADE_WITH, _JUST_MADE = "elile.secrets.made_with", "elile.secrets.just_made"


def attach(
    engine: "Engine | AsyncEngine",
    manager: Manager,
    path: str = SecretPath.DATABASE,
    *,
    address: bool = False,
    cooldown: float = COOLDOWN,
    clock: Callable[[], float] = time.monotonic,
) -> "Attached":
    """Have an engine for PostgreSQL log in with the user and password of an entry, whichever they are at that moment.

    A login that is refused is tried once more if the entry has changed meanwhile; that is asked for once for all of
    them, and not again for `cooldown` seconds of `clock`. After a change connections that are in use go on to the end
    of their use, all others are replaced. With `address` host, port and database come from the entry, too.

    For an engine with asyncio call it in the event loop that uses the engine, so that idle connections are replaced at
    once, not when they are used next. An engine made with `creator=` never asks. Raises SecretBackendMissingError
    without SQLAlchemy; connecting raises what the driver raises, and SecretsError when there is no usable entry.
    """
    try:
        from sqlalchemy import event
    except ImportError:
        raise missing("sqlalchemy", "sql") from None
    attached = Attached(engine, Renewal(manager, path, cooldown=cooldown, clock=clock), address=address)
    for name, listener in attached.listeners().items():
        event.listen(attached.engine, name, listener)
    return attached


class Attached:
    """An engine that follows a secret, until `close`."""

    def __init__(self, engine: "Engine | AsyncEngine", renewal: Renewal, *, address: bool) -> None:
        """Made by `attach`."""
        self._async_engine = cast("AsyncEngine", engine) if hasattr(engine, "sync_engine") else None
        self.engine: Engine = self._async_engine.sync_engine if self._async_engine else cast("Engine", engine)
        self._renewal = renewal
        self._address = address
        self._closed = False
        # A connection is old when it was made before the last change, with another generation than that one's. Both
        # are needed: the news of a change may come after the first login with it.
        self._changes = 0
        self._told: int | None = None
        told = self._changed if self._async_engine is None or not _in_loop() else self._changed_async
        self._followed = renewal.manager.on_change(renewal.path, told)

    def close(self) -> None:
        """Leave the engine as it is: new connections log in as its URL says."""
        self._closed = True
        self._followed.cancel()

    # ── what SQLAlchemy calls ────────────────────────────────────────────────────────────────────────────────────────

    def listeners(self) -> dict[str, Callable[..., Any]]:
        """What is called at which event. They stay with the engine's pools, and do nothing after `close`."""
        return {"do_connect": self._connect, "checkout": self._checkout, "checkin": self._checkin}

    def _connect(
        self, dialect: "Dialect", entry: "ConnectionPoolEntry | None", arguments: list[Any], parameters: dict[str, Any]
    ) -> "DBAPIConnection | None":
        if self._closed:
            return None

        def dial(value: SecretValue) -> "DBAPIConnection":
            made_with = (self._changes, value.generation)
            connection = dialect.connect(*arguments, **self._parameters(value, parameters, dialect.driver))
            if entry is not None:
                entry.info.update({_MADE_WITH: made_with, _JUST_MADE: True})
            return connection

        if not dialect.is_async:
            return self._renewal.attempt(dial, is_refused_login)
        # The driver waits in the same way, so nothing of this may be inside another coroutine.
        value = _wait_for(self._renewal.manager.get_secret(self._renewal.path))
        try:
            return dial(value)
        except Exception as e:
            newer = _wait_for(self._renewal.renew_async(value.generation)) if is_refused_login(e) else None
            if newer is None:
                raise
        return dial(newer)

    def _checkout(self, _: "DBAPIConnection", entry: "ConnectionPoolEntry", __: object) -> None:
        # Two in a row would be one too many for SQLAlchemy: what was made for this very checkout is good enough.
        just_made = entry.info.pop(_JUST_MADE, False)
        if self._is_old(entry) and not just_made:
            from sqlalchemy.exc import DisconnectionError

            raise DisconnectionError("made with credentials that have been replaced")

    def _checkin(self, connection: "DBAPIConnection | None", entry: "ConnectionPoolEntry") -> None:
        if connection is not None and self._is_old(entry):
            entry.close()

    def _is_old(self, entry: "ConnectionPoolEntry") -> bool:
        made_with = entry.info.get(_MADE_WITH)
        if made_with is None or self._closed:
            return False
        changes, generation = made_with
        return bool(changes < self._changes and generation != self._told)

    def _parameters(self, value: SecretValue, given: dict[str, Any], driver: str) -> dict[str, Any]:
        login = as_typed(DatabaseCredentials, value)
        found = {**given, "user": login.username, "password": login.password.reveal()}
        if self._address:
            name = "dbname" if driver.startswith("psycopg") else "database"
            address = {"host": login.host, "port": login.port, name: login.database or None}
            found.update({key: part for key, part in address.items() if part is not None})
        return found

    # ── news ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _note(self, change: SecretChange) -> bool:
        if is_first(change):
            return False
        self._told = change.current.generation
        self._changes += 1
        return True

    def _changed(self, change: SecretChange) -> None:
        if self._note(change) and self._async_engine is None:
            # Not in this thread: others wait to be told.
            threading.Thread(target=self._replace_idle, name="elile-secrets-replace", daemon=True).start()

    async def _changed_async(self, change: SecretChange) -> None:
        engine = self._async_engine
        for _ in range(self._idle() if self._note(change) else 0):
            if engine is None or self._closed:
                return
            try:
                async with engine.connect():
                    pass
            except Exception as e:
                _not_replaced(e)
                return

    def _replace_idle(self) -> None:
        for _ in range(self._idle()):
            if self._closed:
                return
            try:
                with self.engine.connect():
                    pass
            except Exception as e:
                _not_replaced(e)
                return

    def _idle(self) -> int:
        # Pools that keep no connections have no such number.
        count = getattr(self.engine.pool, "checkedin", None)
        return int(count()) if count is not None else 0


def _not_replaced(error: Exception) -> None:
    # They are replaced when they are used next. Only the class: the text may name the user.
    log.info("idle connections were not replaced for now: %s", type(error).__name__)


def _in_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _wait_for(awaitable: Awaitable[T]) -> T:
    """Wait inside SQLAlchemy's greenlet while the event loop goes on."""
    from sqlalchemy import util

    wait = getattr(util, "await_", None) or util.await_only  # the first is 2.1's name, the second 2.0's
    return cast("T", wait(awaitable))
