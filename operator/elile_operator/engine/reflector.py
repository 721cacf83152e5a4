"""List and watch of one kind into its store, for as long as the API server allows it."""

import logging
from collections.abc import AsyncIterator, Callable, Hashable
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

from elile_operator.engine.backoff import Backoff, asked_wait
from elile_operator.engine.body import Body
from elile_operator.engine.clock import Alarm, Clock, deadline
from elile_operator.engine.resync import ListExpiredError, Page
from elile_operator.engine.store import ObjectStore
from elile_operator.obs.failure import describe

__all__ = ["DeniedError", "Following", "Reflector", "Watcher"]

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")
log = logging.getLogger(__name__)

PAGE_DEADLINE = 60.0
# A right that is missing is asked for again this often, if nobody says before that it was given.
ASK_AGAIN = 60.0


class DeniedError(Exception):
    """The API server does not allow to list or watch; waiting is all there is."""


class Watcher(Protocol):
    """Lists and watches one kind, as much of it as is to be followed; both may be denied."""

    async def list_page(self, token: str) -> Page:
        """One page. Raises ListExpiredError, DeniedError, or anything else."""

    def watch(self, version: str) -> AsyncIterator[tuple[str, Body]]:
        """(ADDED, MODIFIED, DELETED or BOOKMARK, body) after `version`, until the server ends it.

        Raises ListExpiredError when the version is too old, DeniedError, or anything else.
        """


class Following(StrEnum):
    """How far a reflector has come."""

    STARTING = "starting"  # nothing is known yet
    CURRENT = "current"  # listed, and watching or about to
    DENIED = "denied"  # not allowed; what is in the store is not to be trusted


class Reflector(Generic[K, V]):
    """Keeps one store current: a list, then watches, a new list when a version is too old and every `period` seconds.

    `on_change` is called when `following` became another. No failure ends it; cancel `run`.
    """

    def __init__(
        self,
        *,
        store: ObjectStore[K, V],
        watcher: Watcher,
        clock: Clock,
        rand: Callable[[], float],
        on_change: Callable[[], None],
        period: float = 600.0,
    ) -> None:
        self.following = Following.STARTING
        self._store = store
        self._watcher = watcher
        self._clock = clock
        self._rand = rand
        self._on_change = on_change
        self._period = period
        self._backoff = Backoff(base=1.0, cap=30.0)
        self._alarm = Alarm(clock)
        self._listed = clock.monotonic()

    def age(self) -> float:
        """Seconds since the last complete list, or since this was made."""
        return self._clock.monotonic() - self._listed

    def nudge(self) -> None:
        """A right may have been given: do not wait any longer."""
        self._alarm.ring()

    async def run(self) -> None:
        """List and watch for ever."""
        failures = 0
        version = ""
        while True:
            try:
                if not version or self.age() >= self._period:
                    version = await self._list()
                    self._be(Following.CURRENT)
                failures = 0
                version = await self._watch(version)
            except ListExpiredError:
                version = ""
            except DeniedError:
                version = ""
                self._be(Following.DENIED)
                await self._alarm.wait(ASK_AGAIN * (0.9 + 0.2 * self._rand()))
            except Exception as error:
                failures += 1
                delay = max(asked_wait(error), self._backoff.delay(failures, self._rand))
                fields = {"kind": self._store.kind, "error": describe(error), "failures": failures}
                log.warning("watch failed, next try in %.1f s", delay, extra={"fields": fields})
                # What was missed meanwhile is not worth guessing: a list tells.
                version = ""
                await self._alarm.wait(delay)

    async def _list(self) -> str:
        listing = self._store.begin_listing()
        token, version = "", ""
        while True:
            async with deadline(self._clock, PAGE_DEADLINE):
                page = await self._watcher.list_page(token)
            version = version or page.version
            for body in page.items:
                listing.observe(body)
            if not page.token:
                break
            token = page.token
        listing.complete(version)
        self._listed = self._clock.monotonic()
        return version

    async def _watch(self, version: str) -> str:
        """Follow one stream to its end; answer the version to go on from."""
        async for kind, body in self._watcher.watch(version):
            version = body["metadata"].get("resourceVersion") or version
            if kind != "BOOKMARK":
                self._store.observe(body, deleted=kind == "DELETED")
        # A server that ends streams at once must not be asked in a tight loop.
        await self._clock.sleep(0.1)
        return version

    def _be(self, following: Following) -> None:
        if following is not self.following:
            self.following = following
            self._on_change()
