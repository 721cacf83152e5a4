"""The work queue: one key once, never twice at a time, with priorities, due times and backoff.

    add ─────────────────────────────► ready ──get──► running ──done──► (nothing)
     │                                   ▲                │ added meanwhile
     └─ add_at/add_after ─► scheduled ───┘ due            └──────────────► ready again
                               ▲
                               └── backoff (retry), done(after=…)

A key may be scheduled and at the same time ready or running; it has at most one due time:

* The earliest of several due times wins: whoever looks then looks at everything.
* A plain `add` leaves a due time alone.
* A worker that sets a new one (`done(after=…)`, `backoff`) replaces what was set before it got the key, because it has
  looked since. What others set while it was working competes with it: the earlier wins.
* A worker that sets none leaves it: one look too many is cheap, one too few is lost.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

from elile_operator.engine.backoff import Backoff
from elile_operator.engine.clock import Clock
from elile_operator.engine.ready import Ready
from elile_operator.engine.schedule import Due, Priority, Schedule

K = TypeVar("K", bound=Hashable)


class QueueClosedError(Exception):
    """The queue was closed: there will be no more keys."""


@dataclass(frozen=True, slots=True)
class QueueStats:
    """The queue at one moment. Times in seconds."""

    ready: int
    running: int
    scheduled: int  # keys with a due time in the future, not counting those of running keys from before their run
    oldest_ready: float  # how long the oldest ready key has been waiting; 0 if none is
    longest_running: float  # how long the slowest worker has had its key; 0 if none has one


@dataclass(slots=True)
class _Run:
    since: float
    planned: Due | None  # the due time from before: void if the worker sets one, back in force if it does not
    again: tuple[Priority, float] | None = None  # added meanwhile: priority, since when
    dropped: bool = False


class WorkQueue(Generic[K]):
    """Keys to look at, for any number of workers in one event loop. Not thread-safe. None is no key.

    `rand` answers in [0, 1). Keys with the same `lane_of` are in one lane, of which at most `width` keys run at one
    time: what is slow then holds up its own lane, and no other as long as there are more workers than that. Every
    operation is O(log n) at worst, but `stats`, which is O(ready).
    """

    def __init__(
        self,
        *,
        clock: Clock,
        rand: Callable[[], float],
        backoff: Backoff | None = None,
        lane_of: Callable[[K], Hashable] = lambda _: None,
        width: float = math.inf,
    ) -> None:
        self._clock = clock
        self._rand = rand
        self._backoff = backoff or Backoff()
        self._ready: Ready[K] = Ready(lane_of, width)
        self._running: dict[K, _Run] = {}
        self._schedule: Schedule[K] = Schedule(clock, self._fire)
        self._failures: dict[K, int] = {}
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._closed = False

    # ── for everybody ────────────────────────────────────────────────────────────────────────────────────────────────

    def add(self, key: K, *, priority: Priority = Priority.ROUTINE) -> None:
        """Have `key` looked at soon. If it is ready, it may become urgent; if it is running, it comes again afterwards.

        After `close` this and its siblings do nothing.
        """
        self._add(key, priority, self._clock.monotonic())

    def add_at(self, key: K, due: float, *, priority: Priority = Priority.ROUTINE) -> None:
        """Have `key` looked at when `clock.monotonic()` reaches `due`, or earlier if an earlier due time is known."""
        # Due in the past is ready since now: a delay of nothing is no lateness.
        self._ask(key, Due(max(due, self._clock.monotonic()), priority))

    def add_after(self, key: K, delay: float, *, priority: Priority = Priority.ROUTINE) -> None:
        """`add_at` in `delay` seconds from now."""
        self.add_at(key, self._clock.monotonic() + delay, priority=priority)

    def retry_now(self, keys: Iterable[K], spread: float = 1.0) -> None:
        """What held `keys` up is over: no backoff is left, and all are due within `spread` seconds, evenly spaced."""
        batch = list(keys)
        now = self._clock.monotonic()
        for i, key in enumerate(batch):
            self.forget(key)
            if key not in self._ready:
                self.add_at(key, now + spread * i / len(batch))

    def drop(self, key: K) -> None:
        """Forget everything about `key`. A worker that has it may finish, and what it asks for then is ignored."""
        self._wake(self._ready.discard(key))
        self._schedule.cancel(key)
        self._failures.pop(key, None)
        if run := self._running.get(key):
            run.planned = run.again = None
            run.dropped = True

    def close(self) -> None:
        """No more keys: every `get` raises QueueClosedError, now and later. Running keys may still be `done`."""
        self._closed = True
        self._schedule.clear()
        while self._waiters:
            self._wake_one()

    # ── for workers ──────────────────────────────────────────────────────────────────────────────────────────────────

    async def get(self) -> K:
        """The next key, as soon as there is one. It is running until `done`. Raises QueueClosedError after `close`."""
        while True:
            if self._closed:
                raise QueueClosedError
            if (key := self.get_nowait()) is not None:
                return key
            waiter = asyncio.get_running_loop().create_future()
            self._waiters.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                # Woken and cancelled in one turn of the loop: the key that woke this worker needs another one.
                if waiter.done() and not waiter.cancelled():
                    self._wake_one()
                elif waiter in self._waiters:
                    self._waiters.remove(waiter)
                raise

    def get_nowait(self) -> K | None:
        """The next key if one is ready, else None. It is running until `done`."""
        if self._closed:
            return None
        if (key := self._ready.take()) is None:
            return None
        self._running[key] = _Run(self._clock.monotonic(), self._schedule.cancel(key))
        return key

    def done(self, key: K, *, after: float | None = None) -> None:
        """The worker is finished with `key`; look again `after` seconds, if given. KeyError if it was not running."""
        run = self._running.pop(key)
        self._wake(self._ready.give_back(key))
        if after is not None and not run.dropped:
            self.add_after(key, after)
        elif run.planned is not None:
            self._ask(key, run.planned)
        if run.again is not None and not self._closed:
            self._push(key, *run.again)

    def backoff(self, key: K, *, at_least: float = 0.0, at_most: float = math.inf) -> float | None:
        """Count a failure of the running `key` and schedule its retry within these seconds; call `done` next.

        Answers the delay in seconds, None if the key was dropped meanwhile. Raises KeyError if it is not running.
        """
        run = self._running[key]
        if run.dropped:
            return None
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = max(at_least, self._backoff.delay(failures, self._rand, at_most))
        run.planned = None
        self._ask(key, Due(self._clock.monotonic() + delay, Priority.ROUTINE, retry=True))
        return delay

    def forget(self, key: K) -> None:
        """`key` succeeded: reset its backoff, and call off the retry that only backoff had asked for."""
        self._failures.pop(key, None)
        if (due := self._schedule.get(key)) and due.retry:
            self._schedule.cancel(key)
        if (run := self._running.get(key)) and run.planned and run.planned.retry:
            run.planned = None

    def discard_due(self, key: K) -> None:
        """Call off the due time of the running `key` that was set before the worker got it. KeyError if not running."""
        self._running[key].planned = None

    # ── for metrics and health ───────────────────────────────────────────────────────────────────────────────────────

    def failures(self, key: K) -> int:
        """How often `key` failed in a row."""
        return self._failures.get(key, 0)

    def due(self, key: K) -> float | None:
        """When `key` is due, in `clock.monotonic()` seconds; None if it is not scheduled."""
        run = self._running.get(key)
        dues = (self._schedule.get(key), run.planned if run else None)
        return min((due.when for due in dues if due), default=None)

    def stats(self) -> QueueStats:
        """Counts and ages now. Walks over the ready keys."""
        now = self._clock.monotonic()
        ages = [now - since for since in self._ready.ages()]
        return QueueStats(
            ready=len(ages),
            running=len(self._running),
            scheduled=len(self._schedule),
            oldest_ready=max(ages, default=0.0),
            longest_running=max((now - run.since for run in self._running.values()), default=0.0),
        )

    def __len__(self) -> int:
        """How many keys are ready."""
        return len(self._ready)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _add(self, key: K, priority: Priority, since: float) -> None:
        if self._closed:
            return
        if (run := self._running.get(key)) is None:
            self._push(key, priority, since)
        elif run.again is None:
            run.again = (priority, since)
        else:
            run.again = (min(priority, run.again[0]), min(since, run.again[1]))

    def _push(self, key: K, priority: Priority, since: float) -> None:
        if self._ready.push(key, priority, since):
            self._wake_one()

    def _ask(self, key: K, due: Due) -> None:
        if due.when <= self._clock.monotonic():
            self._add(key, due.priority, due.when)
        elif not self._closed:
            self._schedule.ask(key, due)

    def _fire(self, key: K, due: Due) -> None:
        self._add(key, due.priority, due.when)  # since it was due, not since the loop found the time

    def _wake(self, workers: int) -> None:
        for _ in range(workers):
            self._wake_one()

    def _wake_one(self) -> None:
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return
