"""Calls go at once until the burst is used up, then evenly spaced, in the order in which they came."""

import asyncio
from itertools import pairwise

import pytest

from elile_operator.sources.rate import RateLimit
from tests.fakes.clock import FakeClock


async def passed(clock: FakeClock, limit: RateLimit, callers: int, *, seconds: float) -> list[tuple[int, float]]:
    """Who was let through within `seconds`, and when, in seconds from now to the microsecond."""
    began, through = clock.monotonic(), []

    async def caller(number: int) -> None:
        await limit.wait()
        through.append((number, round(clock.monotonic() - began, 6)))

    tasks = [asyncio.create_task(caller(n), name=f"caller-{n}") for n in range(callers)]
    await clock.advance(seconds)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return through


@pytest.mark.parametrize("idle", [0.0, 1.0, 3600.0])
async def test_a_burst_goes_at_once_and_the_rest_evenly_spaced(idle: float) -> None:
    clock = FakeClock()
    limit = RateLimit(10.0, burst=3, clock=clock)
    await clock.advance(idle)  # no idle time saves up more than the burst
    assert await passed(clock, limit, 6, seconds=10.0) == [
        (0, 0.0),
        (1, 0.0),
        (2, 0.0),
        (3, 0.1),
        (4, 0.2),
        (5, 0.3),
    ]


async def test_a_burst_comes_back_with_time() -> None:
    clock = FakeClock()
    limit = RateLimit(10.0, burst=4, clock=clock)
    await passed(clock, limit, 4, seconds=0.0)
    await clock.advance(0.2)
    assert [when for _, when in await passed(clock, limit, 3, seconds=1.0)] == [0.0, 0.0, 0.1]


async def test_no_second_has_more_calls_than_the_rate_once_the_burst_is_over() -> None:
    clock = FakeClock()
    limit = RateLimit(20.0, burst=5, clock=clock)
    times = [when for _, when in await passed(clock, limit, 200, seconds=60.0)]
    assert len(times) == 200
    late = times[5:]
    assert all(later - earlier == pytest.approx(0.05) for earlier, later in pairwise(late))


async def test_a_caller_who_gives_up_takes_nothing_from_the_others() -> None:
    clock = FakeClock()
    limit = RateLimit(1.0, burst=1, clock=clock)
    await limit.wait()
    given_up = asyncio.create_task(limit.wait(), name="given-up")
    await clock.settle()
    given_up.cancel()
    assert [when for _, when in await passed(clock, limit, 1, seconds=5.0)] == [2.0]
    assert clock.timers == 0
