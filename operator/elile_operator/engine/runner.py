"""The workers: take keys from the queue, have them reconciled, and turn every way that can end into the next look."""

import asyncio
import logging
from collections.abc import Callable, Hashable, Mapping
from typing import Any, Generic, TypeVar

from elile_operator.engine.backoff import asked_wait, longest_wait
from elile_operator.engine.cancellation import being_cancelled
from elile_operator.engine.clock import Clock, deadline
from elile_operator.engine.observer import Observer
from elile_operator.engine.queue import QueueClosedError, WorkQueue
from elile_operator.engine.result import Reconciler, Result
from elile_operator.obs.failure import describe, where

K = TypeVar("K", bound=Hashable)

log = logging.getLogger(__name__)

CANCEL_GRACE = 2.0  # seconds for a cancelled reconcile to let go; one that swallows its cancellation is left behind


def key_fields(key: object) -> Mapping[str, Any]:
    """How a key looks in a log line: the fields of a named tuple by name, anything else as text."""
    as_dict = getattr(key, "_asdict", None)
    return as_dict() if callable(as_dict) else {"key": str(key)}


class Runner(Generic[K]):
    """`workers` tasks that reconcile the keys of one queue.

    A reconcile has `reconcile_deadline` seconds; then it is cancelled and counts as failed, so that one that is stuck
    does not hold its worker for good. `kind_of` names a key in metrics, where it must have few values.
    """

    def __init__(
        self,
        *,
        name: str,
        queue: WorkQueue[K],
        reconciler: Reconciler[K],
        clock: Clock,
        workers: int = 16,
        reconcile_deadline: float = 120.0,
        observer: Observer | None = None,
        kind_of: Callable[[K], str] | None = None,
        fields_of: Callable[[K], Mapping[str, Any]] = key_fields,
    ) -> None:
        self.name = name
        self._queue = queue
        self._reconciler = reconciler
        self._clock = clock
        self._workers = workers
        self._deadline = reconcile_deadline
        self._observer = observer
        self._kind_of = kind_of or (lambda _: name)
        self._fields_of = fields_of
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False

    def start(self) -> tuple[asyncio.Task[None], ...]:
        """Start the workers. Call it before kopf.operator(), which waits at exit for every task younger than itself."""
        self._tasks = [
            asyncio.create_task(self._work(), name=f"elile-worker-{self.name}-{i}") for i in range(self._workers)
        ]
        return tuple(self._tasks)

    async def stop(self, grace: float) -> int:
        """Close the queue, give running reconciles `grace` seconds, then cancel them. Answers how many it cancelled."""
        self._stopping = True
        self._queue.close()
        if not self._tasks:
            return 0
        try:
            async with deadline(self._clock, grace):
                await asyncio.wait(self._tasks)
        except TimeoutError:
            pass
        late = [task for task in self._tasks if not task.done()]
        for task in late:
            task.cancel()
        if late:
            log.warning(
                "%d reconciles were cancelled after %.0f s", len(late), grace, extra={"fields": {"runner": self.name}}
            )
            await asyncio.wait(late, timeout=CANCEL_GRACE)
        return len(late)

    def dead(self) -> tuple[str, ...]:
        """Names of the workers that ended though nobody stopped them: a bug, which only a new process mends."""
        return () if self._stopping else tuple(task.get_name() for task in self._tasks if task.done())

    def alive(self) -> bool:
        """Whether the workers were started and none has died."""
        return bool(self._tasks) and not self.dead()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _work(self) -> None:
        while True:
            try:
                key = await self._queue.get()
            except QueueClosedError:
                return
            after: float | None = None
            try:
                after = await self._process(key)
            finally:
                self._queue.done(key, after=after)

    async def _process(self, key: K) -> float | None:
        """Reconcile `key`, tell queue and observer, answer when to look again. Raises only if we are cancelled."""
        began = self._clock.monotonic()
        outcome, error = "error", None
        scope: asyncio.Timeout | None = None
        after: float | None = None
        try:
            async with deadline(self._clock, self._deadline) as scope:
                result = await self._reconciler.reconcile(key)
            outcome, after = self._settle(key, result)
        except asyncio.CancelledError as cancelled:
            if being_cancelled():
                raise
            error = type(cancelled).__name__
            self._failed(key, cancelled)
        except Exception as failure:
            if scope is not None and scope.expired():
                outcome = "deadline"
            error = type(failure).__name__
            self._failed(key, failure)
        self._report(key, outcome, self._clock.monotonic() - began, error)
        return after

    def _settle(self, key: K, result: Result) -> tuple[str, float | None]:
        """Outcome for the metrics, and seconds until the next look."""
        if result.backoff:
            self._queue.backoff(key)
            return "retry", None
        self._queue.forget(key)
        if result.gone:
            self._queue.discard_due(key)
            return "gone", None
        if result.requeue_after is not None:
            return "requeue", result.requeue_after.total_seconds()
        return "done", None

    def _failed(self, key: K, error: BaseException) -> None:
        """The one place where exceptions become backoff. Their text stops here: it may quote a secret."""
        # First: whatever becomes of the log line, the key has its retry.
        delay = self._queue.backoff(key, at_least=asked_wait(error), at_most=longest_wait(error))
        again = "it was dropped" if delay is None else f"next try in {delay:.1f} s"
        fields = {
            **self._fields_of(key),
            "error": describe(error),
            "where": where(error),
            "failures": self._queue.failures(key),
        }
        log.warning("reconcile failed, %s", again, extra={"fields": fields})

    def _report(self, key: K, outcome: str, seconds: float, error: str | None) -> None:
        if self._observer is None:
            return
        try:
            self._observer.reconciled(kind=self._kind_of(key), outcome=outcome, seconds=seconds, error=error)
        except Exception as failure:
            log.warning("the observer failed", extra={"fields": {"runner": self.name, "error": describe(failure)}})
