"""A clock that stands still until a test moves it."""

import asyncio
import heapq
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

START = datetime(2030, 1, 1, tzinfo=UTC)
SETTLE = 30  # turns of the loop after each timer: deeper than any chain of awaits between two timers here


class FakeTimer:
    """What `FakeClock.call_at` answers."""

    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class FakeClock:
    """An `engine.Clock` whose time passes by `advance` or `tick` alone. It begins at 1000 s, on 2030-01-01."""

    def __init__(self, *, monotonic: float = 1000.0, now: datetime = START) -> None:
        self._start = monotonic
        self._time = monotonic
        self._now = now
        self._timers: list[tuple[float, int, FakeTimer]] = []
        self._count = 0

    def monotonic(self) -> float:
        return self._time

    def now(self) -> datetime:
        return self._now + timedelta(seconds=self._time - self._start)

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not done.done():  # cancelled, and has not had its turn yet
                done.set_result(None)

        timer = self.call_at(self._time + seconds, wake)
        try:
            await done
        finally:
            timer.cancel()

    def call_at(self, when: float, callback: Callable[[], None]) -> FakeTimer:
        timer = FakeTimer(callback)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    @property
    def timers(self) -> int:
        """How many callbacks are waited for: what a clean stop leaves at zero."""
        return sum(timer.callback is not None for _, _, timer in self._timers)

    def tick(self, seconds: float) -> None:
        """Let time pass and call what becomes due, in order, without giving other tasks a turn."""
        end = self._time + seconds
        while self._fire_next(end):
            pass
        self._time = max(self._time, end)

    async def advance(self, seconds: float) -> None:
        """Let time pass; after each callback, in due order, every task runs until it waits again."""
        end = self._time + seconds
        await self.settle()
        while self._fire_next(end):
            await self.settle()
        self._time = max(self._time, end)
        await self.settle()

    async def settle(self) -> None:
        """Let every task run until it waits, without any time passing."""
        for _ in range(SETTLE):
            await asyncio.sleep(0)

    def _fire_next(self, end: float) -> bool:
        while self._timers and self._timers[0][0] <= end:
            when, _, timer = heapq.heappop(self._timers)
            callback, timer.callback = timer.callback, None
            if callback is not None:
                self._time = max(self._time, when)
                callback()
                return True
        return False
