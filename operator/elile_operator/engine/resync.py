"""The level trigger of one kind: list everything now and then, and repair what watch events left wrong."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from elile_operator.engine.backoff import Backoff, asked_wait
from elile_operator.engine.body import Body
from elile_operator.engine.cancellation import being_cancelled
from elile_operator.engine.clock import Alarm, Clock, deadline
from elile_operator.engine.observer import Observer
from elile_operator.engine.store import ObjectStore
from elile_operator.obs.failure import describe

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

log = logging.getLogger(__name__)

RESTARTS = 3  # of one list, because its continue token expired; then it counts as failed


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, as the API server cut it."""

    items: Sequence[Body]
    token: str = ""  # continue token of the next page, empty after the last
    version: str = ""  # metadata.resourceVersion of the list: the same on all pages of one list


class ListExpiredError(Exception):
    """The continue token is too old (410 Gone). The list must begin anew, which Resync does."""


class Lister(Protocol):
    """Lists one kind, all of it that the operator may see."""

    async def list_page(self, token: str) -> Page:
        """The page that `token` names, the first one if it is empty. Raises ListExpiredError for 410, else anything."""


class Resync(Generic[K, V]):
    """Lists one kind into its store: at once, then every `period` seconds ± 10 %, and whenever asked.

    A failed list is logged by its reason and tried again with backoff, capped at one minute. `page_deadline` in
    seconds bounds each request, because a page that hangs must not end the repairs. `rand` answers in [0, 1).
    """

    def __init__(
        self,
        *,
        store: ObjectStore[K, V],
        lister: Lister,
        clock: Clock,
        rand: Callable[[], float],
        period: float = 600.0,
        page_deadline: float = 60.0,
        observer: Observer | None = None,
    ) -> None:
        self.kind = store.kind
        self.period = period
        self._store = store
        self._lister = lister
        self._clock = clock
        self._rand = rand
        self._page_deadline = page_deadline
        self._observer = observer
        self._backoff = Backoff(base=1.0, cap=min(60.0, period))
        self._alarm = Alarm(clock)
        self._first = asyncio.Event()
        self._since = clock.monotonic()  # of the last success, or of the creation
        self._failures = 0
        self._task: asyncio.Task[None] | None = None

    # ── for the composition root ─────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> asyncio.Task[None]:
        """Begin listing in a task of its own, named after the kind. Call it before kopf.operator()."""
        self._task = asyncio.create_task(self.run(), name=f"elile-resync-{self.kind}")
        return self._task

    async def stop(self) -> None:
        """End the task and wait for it. Harmless if it never started."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    def run_now(self) -> None:
        """List as soon as possible, also if backing off. If a list is under way, another one follows it."""
        self._alarm.ring()

    async def wait_ready(self) -> None:
        """Return once the first list was complete."""
        await self._first.wait()

    # ── for health and metrics ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def ready(self) -> bool:
        """Whether a list was ever complete."""
        return self._first.is_set()

    @property
    def failures(self) -> int:
        """Lists that failed since the last one that was complete."""
        return self._failures

    def age(self) -> float:
        """Seconds since the last complete list, or since this object was made if there was none."""
        return self._clock.monotonic() - self._since

    def alive(self) -> bool:
        """Whether the task runs."""
        return self._task is not None and not self._task.done()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def run(self) -> None:
        """Never returns; cancel it. No failure of the lister ends it."""
        while True:
            began = self._clock.monotonic()
            try:
                repaired = await self._list_all()
            except (Exception, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and being_cancelled():
                    raise
                self._failures += 1
                delay = max(asked_wait(error), self._backoff.delay(self._failures, self._rand))
                fields = {"kind": self.kind, "error": describe(error), "failures": self._failures}
                log.warning("list failed, next try in %.1f s", delay, extra={"fields": fields})
                self._report("error", self._clock.monotonic() - began, 0)
            else:
                self._failures = 0
                self._since = self._clock.monotonic()
                self._first.set()
                delay = self.period * (0.9 + 0.2 * self._rand())  # replicas and kinds drift apart
                self._report("ok", self._since - began, repaired)
            await self._alarm.wait(delay)

    async def _list_all(self) -> int:
        for _ in range(RESTARTS):
            try:
                return await self._list_once()
            except ListExpiredError:
                log.info("list expired on the way, it begins anew", extra={"fields": {"kind": self.kind}})
        return await self._list_once()

    async def _list_once(self) -> int:
        listing = self._store.begin_listing()
        token, version = "", ""
        while True:
            async with deadline(self._clock, self._page_deadline):
                page = await self._lister.list_page(token)
            version = version or page.version
            for body in page.items:
                listing.observe(body)
            if not page.token:
                break
            token = page.token
        vanished = listing.complete(version)
        if vanished:
            log.info("%d objects had vanished unnoticed", len(vanished), extra={"fields": {"kind": self.kind}})
        return listing.repaired

    def _report(self, outcome: str, seconds: float, repaired: int) -> None:
        if self._observer is None:
            return
        try:
            self._observer.resynced(kind=self.kind, outcome=outcome, seconds=seconds, repaired=repaired)
        except Exception as error:
            log.warning("the observer failed", extra={"fields": {"kind": self.kind, "error": describe(error)}})
