"""Time as an argument: what the engine may ask of a clock, the real clock, and two ways to wait on one."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """A callback that has been asked for and can be called off."""

    def cancel(self) -> None:
        """Call it off. Harmless after it fired, and twice."""


class Clock(Protocol):
    """The only source of time in the engine. `monotonic` orders and measures; `now` is for people and schedules."""

    def monotonic(self) -> float:
        """Seconds since some fixed moment; never goes back."""

    def now(self) -> datetime:
        """The time of day, aware, in UTC."""

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`; zero or less only lets other tasks run."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` in the event loop once `monotonic()` reached `when`; never from within this call."""


class SystemClock:
    """The clock of the machine and of the running event loop."""

    __slots__ = ()

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """As the protocol says. Raises RuntimeError without a running loop."""
        # By difference: an event loop is free to count from another moment than time.monotonic() does.
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), callback)


@asynccontextmanager
async def deadline(clock: Clock, seconds: float) -> AsyncIterator[asyncio.Timeout]:
    """Cancel the body after `seconds` of `clock` and raise TimeoutError; `expired()` of what is yielded tells whose.

    Not `asyncio.wait_for`: on 3.11 that spawns a task, and Kopf waits at exit for every task younger than itself.
    """
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as scope:
        timer = clock.call_at(clock.monotonic() + seconds, lambda: scope.reschedule(loop.time()))
        try:
            yield scope
        finally:
            # Before the scope ends: to reschedule a finished scope is an error.
            timer.cancel()


class Alarm:
    """A sleep that can be cut short, for one waiter at a time."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = False
        self._waiter: asyncio.Future[None] | None = None

    def ring(self) -> None:
        """End the present `wait`, or the next one if nobody waits now."""
        self._rung = True
        self._wake()

    async def wait(self, seconds: float) -> bool:
        """Return True as soon as the alarm rings, False after `seconds`."""
        if not self._rung:
            self._waiter = asyncio.get_running_loop().create_future()
            timer = self._clock.call_at(self._clock.monotonic() + seconds, self._wake)
            try:
                await self._waiter
            finally:
                timer.cancel()
                self._waiter = None
        rung, self._rung = self._rung, False
        return rung

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
