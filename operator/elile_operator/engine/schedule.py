"""Due times by key: the earliest asked for wins, and one timer serves them all."""

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from enum import IntEnum
from typing import Generic, TypeVar

from elile_operator.engine.clock import Clock, Timer

K = TypeVar("K", bound=Hashable)

COMPACT_AT = 64  # heaps smaller than this are not worth tidying


class Priority(IntEnum):
    """Who goes first among the keys that are ready."""

    URGENT = 0  # somebody is waiting: new and edited objects
    ROUTINE = 1  # refreshes, retries, resync


@dataclass(slots=True)
class Due:
    """When a key is due, in `clock.monotonic()` seconds, and what is known of who asked."""

    when: float
    priority: Priority
    retry: bool = False  # asked for by backoff alone: void once the key succeeds
    ticket: int = 0  # which entry of the heap speaks for this


class Schedule(Generic[K]):
    """At most one due time per key. Calls `fire(key, due)` from the event loop when it comes. O(log n) amortised."""

    def __init__(self, clock: Clock, fire: Callable[[K, Due], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._due: dict[K, Due] = {}
        # Never searched: an entry that was cancelled or replaced stays until it comes up, and is skipped then.
        self._heap: list[tuple[float, int, K]] = []
        self._tickets = 0
        self._timer: Timer | None = None
        self._timer_at = 0.0

    def get(self, key: K) -> Due | None:
        """What is scheduled for `key`."""
        return self._due.get(key)

    def ask(self, key: K, asked: Due) -> None:
        """Schedule `key`, or merge with what is scheduled: the earlier time, the higher priority."""
        if due := self._due.get(key):
            due.priority = min(due.priority, asked.priority)
            due.retry = due.retry and asked.retry
            if due.when <= asked.when:
                return
            due.when = asked.when
        else:
            due = self._due[key] = asked
        self._tickets += 1
        due.ticket = self._tickets
        heapq.heappush(self._heap, (due.when, due.ticket, key))
        if len(self._heap) > max(COMPACT_AT, 2 * len(self._due)):
            self._heap = [(d.when, d.ticket, k) for k, d in self._due.items()]
            heapq.heapify(self._heap)
        self._arm()

    def cancel(self, key: K) -> Due | None:
        """Nothing is scheduled for `key` from here on. Answers what was."""
        return self._due.pop(key, None)

    def clear(self) -> None:
        """Nothing is scheduled for any key, and no timer is left."""
        self._due.clear()
        self._heap.clear()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def __len__(self) -> int:
        return len(self._due)

    def _speaks(self, entry: tuple[float, int, K]) -> bool:
        due = self._due.get(entry[2])
        return due is not None and due.ticket == entry[1]

    def _ring(self) -> None:
        self._timer = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            entry = heapq.heappop(self._heap)
            if self._speaks(entry):
                self._fire(entry[2], self._due.pop(entry[2]))
        self._arm()

    def _arm(self) -> None:
        while self._heap and not self._speaks(self._heap[0]):
            heapq.heappop(self._heap)
        if not self._heap:
            return  # a timer that is left over will find nothing to do
        when = self._heap[0][0]
        if self._timer is not None:
            if self._timer_at <= when:
                return
            self._timer.cancel()
        self._timer, self._timer_at = self._clock.call_at(when, self._ring), when
