"""Deadlines and alarms, on a clock that stands still."""

import asyncio
import time
from datetime import UTC, timedelta

import pytest

from elile_operator.engine import Alarm, SystemClock, deadline
from tests.fakes.clock import START, FakeClock


async def test_system_clock_tells_and_keeps_time() -> None:
    clock = SystemClock()
    assert clock.monotonic() == pytest.approx(time.monotonic(), abs=5)
    assert clock.now().tzinfo is UTC
    rang = asyncio.Event()
    before = clock.monotonic()
    clock.call_at(before + 0.01, rang.set)
    assert not rang.is_set()
    await rang.wait()
    assert clock.monotonic() - before >= 0.009
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.019


async def test_system_clock_calls_back_at_once_for_the_past_but_not_from_within() -> None:
    rang = asyncio.Event()
    SystemClock().call_at(0.0, rang.set)
    assert not rang.is_set()
    await rang.wait()


async def test_fake_clock_fires_in_due_order_and_sets_the_time_of_each() -> None:
    clock = FakeClock(monotonic=0.0)
    seen: list[tuple[str, float]] = []
    for name, when in (("c", 3.0), ("a", 1.0), ("b", 2.0), ("late", 9.0)):
        clock.call_at(when, lambda name=name: seen.append((name, clock.monotonic())))  # type: ignore[misc]
    cancelled = clock.call_at(1.5, lambda: seen.append(("never", 0.0)))
    cancelled.cancel()
    await clock.advance(5.0)
    assert seen == [("a", 1.0), ("b", 2.0), ("c", 3.0)]
    assert clock.monotonic() == 5.0
    assert clock.now() == START + timedelta(seconds=5)
    assert clock.timers == 1


async def test_fake_sleep_ends_when_time_came_and_leaves_no_timer_when_cancelled() -> None:
    clock = FakeClock()
    sleeper = asyncio.create_task(clock.sleep(10), name="sleeper")
    await clock.advance(9.9)
    assert not sleeper.done()
    await clock.advance(0.1)
    assert sleeper.done()
    other = asyncio.create_task(clock.sleep(10), name="other")
    await clock.settle()
    other.cancel()
    await clock.settle()
    assert clock.timers == 0


async def test_deadline_cancels_the_body_and_tells_that_it_was_this_one() -> None:
    clock = FakeClock()
    scopes: list[asyncio.Timeout] = []

    async def stuck() -> None:
        async with deadline(clock, 30) as scope:
            scopes.append(scope)
            await asyncio.Event().wait()

    task = asyncio.create_task(stuck(), name="stuck")
    await clock.advance(29.9)
    assert not task.done()
    await clock.advance(0.1)
    with pytest.raises(TimeoutError):
        await task
    assert scopes[0].expired()


async def test_deadline_that_is_kept_leaves_no_timer_and_no_cancellation() -> None:
    clock = FakeClock()
    async with deadline(clock, 30) as scope:
        await clock.settle()
    assert not scope.expired()
    assert clock.timers == 0
    await clock.advance(60)  # a timer left behind would reschedule a scope that has ended


async def test_foreign_timeout_inside_a_deadline_is_not_its_own() -> None:
    clock = FakeClock()
    with pytest.raises(TimeoutError):
        async with deadline(clock, 30) as scope:
            raise TimeoutError
    assert not scope.expired()


async def test_deadline_spawns_no_task() -> None:
    before = asyncio.all_tasks()
    async with deadline(FakeClock(), 30):
        assert asyncio.all_tasks() == before


async def test_alarm_sleeps_its_time() -> None:
    clock = FakeClock()
    waiting = asyncio.create_task(Alarm(clock).wait(10), name="waiting")
    await clock.advance(9)
    assert not waiting.done()
    await clock.advance(1)
    assert waiting.result() is False


async def test_alarm_that_rings_ends_the_sleep_at_once() -> None:
    clock = FakeClock()
    alarm = Alarm(clock)
    waiting = asyncio.create_task(alarm.wait(10), name="waiting")
    await clock.settle()
    alarm.ring()
    await clock.settle()
    assert waiting.result() is True
    assert clock.timers == 0


async def test_alarm_that_rang_before_is_not_lost_and_counts_once() -> None:
    clock = FakeClock()
    alarm = Alarm(clock)
    alarm.ring()
    alarm.ring()
    assert await alarm.wait(10) is True
    again = asyncio.create_task(alarm.wait(10), name="again")
    await clock.settle()
    assert not again.done()
    again.cancel()
