"""A credential was refused: is there a newer one? Many ask that at once, one asks the backend."""

import asyncio
import functools
import logging
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import TypeVar

from elile.secrets.errors import SecretBackendMissingError, SecretsError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.sync import SyncSecrets
from elile.secrets.types import SecretChange, SecretValue

__all__ = ["COOLDOWN", "Manager", "Renewal", "is_first", "is_refused_login", "missing"]

log = logging.getLogger(__name__)

T = TypeVar("T")
Manager = BackendSecretsManager | SyncSecrets
Refused = Callable[[Exception], bool]

COOLDOWN = 30.0  # seconds

# invalid_password and invalid_authorization_specification: wrong password, no such role, NOLOGIN, past VALID UNTIL.
_REFUSED = frozenset({"28P01", "28000"})
_REFUSED_TEXTS = ("password authentication failed", "is not permitted to log in")


def missing(package: str, extra: str) -> SecretBackendMissingError:
    """Return the error to raise where a library is not installed."""
    return SecretBackendMissingError(f"{package} is not installed: install elile[{extra}]", backend=package)


def is_first(change: SecretChange) -> bool:
    """Whether the manager has never seen anything else at the path, so that nobody can be using anything older."""
    return change.previous is None and change.current.generation == 1


def is_refused_login(error: Exception) -> bool:
    """Whether PostgreSQL may have refused a login, by what psycopg, asyncpg or psycopg2 raised when connecting."""
    state = getattr(error, "sqlstate", None) or getattr(error, "pgcode", None)
    if state is not None:
        return state in _REFUSED
    if (connection := getattr(error, "pgconn", None)) is not None:
        # libpq tells no code for a connection that failed, and the text is in the server's language. What else fails
        # after a password was sent is rare, and costs one question.
        return bool(connection.used_password or connection.needs_password)
    return any(text in str(error) for text in _REFUSED_TEXTS)


@dataclass
class _Asking:
    """What is known of one path's refusals: who is being asked now, by the generation refused, and who was last."""

    running: dict[int, "Future[SecretValue | None]"] = field(default_factory=dict)
    last: tuple[int, float] | None = None


class _Shared:
    """What all that renew in this process share."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.asking: weakref.WeakKeyDictionary[BackendSecretsManager, dict[str, _Asking]] = weakref.WeakKeyDictionary()


_shared = _Shared()
# In a child nobody would answer who was asked before the fork, and the lock may have been held.
os.register_at_fork(after_in_child=_shared.__init__)  # type: ignore[misc]


class Renewal:
    """Tries something with a secret and, if that was refused, once more with a newer one.

    All of them for one manager and path share what they know: of many that are refused at the same time one asks the
    backend, and for a value that turned out to be the current one nobody asks again for `cooldown` seconds of `clock`.
    May be used by several threads and event loops.
    """

    def __init__(
        self,
        manager: Manager,
        path: str,
        *,
        cooldown: float = COOLDOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.manager = manager.manager if isinstance(manager, SyncSecrets) else manager
        self.path = str(path)
        self._cooldown = cooldown
        self._clock = clock

    def attempt(self, action: Callable[[SecretValue], T], refused: Refused) -> T:
        """Return what `action` does with the secret. Raises what it raises, and SecretsError when there is none."""
        value = self.manager.get_secret_blocking(self.path)
        try:
            return action(value)
        except Exception as e:
            newer = self.renew(value.generation) if refused(e) else None
            if newer is None:
                raise
        return action(newer)

    async def attempt_async(self, action: Callable[[SecretValue], Awaitable[T]], refused: Refused) -> T:
        """As `attempt`, in an event loop."""
        value = await self.manager.get_secret(self.path)
        try:
            return await action(value)
        except Exception as e:
            newer = await self.renew_async(value.generation) if refused(e) else None
            if newer is None:
                raise
        return await action(newer)

    def renew(self, used: int) -> SecretValue | None:
        """Return a value of another generation than the one that was used, None when there is none or no answer."""
        answer, mine = self._claim(used)
        if mine is not None:
            mine()
        try:
            value = answer.result() if answer else self.manager.get_secret_blocking(self.path)
        except SecretsError:
            return None
        return value if value is not None and value.generation != used else None

    async def renew_async(self, used: int) -> SecretValue | None:
        """As `renew`, in an event loop. Cancelling one does not cancel what others wait for."""
        answer, mine = self._claim(used)
        if mine is not None:
            threading.Thread(target=mine, name="elile-secrets-renew", daemon=True).start()
        try:
            if answer is not None:
                value = await asyncio.shield(asyncio.wrap_future(answer))
            else:
                value = await self.manager.get_secret(self.path)
        except SecretsError:
            return None
        return value if value is not None and value.generation != used else None

    def _claim(self, used: int) -> "tuple[Future[SecretValue | None] | None, Callable[[], None] | None]":
        """Return the answer to wait for, None within the cooldown, and what gets it if that is this caller's task."""
        now = self._clock()
        with _shared.lock:
            asking = _shared.asking.setdefault(self.manager, {}).setdefault(self.path, _Asking())
            if (running := asking.running.get(used)) is not None:
                return running, None
            if asking.last is not None and asking.last[0] == used and now - asking.last[1] < self._cooldown:
                return None, None
            asking.last = (used, now)
            answer: Future[SecretValue | None] = Future()
            asking.running[used] = answer
        return answer, functools.partial(self._ask, used, answer, asking)

    def _ask(self, used: int, answer: "Future[SecretValue | None]", asking: _Asking) -> None:
        try:
            answer.set_result(self.manager.refresh_blocking(self.path, if_generation=used))
        except SecretsError as e:
            log.warning("%s was refused and a newer value cannot be asked for: %s", self.path, type(e).__name__)
            answer.set_result(None)
        except BaseException as e:
            answer.set_exception(e)
            raise
        finally:
            with _shared.lock:
                asking.running.pop(used, None)
