"""One due time per key, one timer for all."""

import pytest

from elile_operator.engine import Priority
from elile_operator.engine.schedule import COMPACT_AT, Due, Schedule
from tests.fakes.clock import FakeClock

Fired = list[tuple[str, float]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(monotonic=0.0)


@pytest.fixture
def fired() -> Fired:
    return []


@pytest.fixture
def schedule(clock: FakeClock, fired: Fired) -> Schedule[str]:
    return Schedule(clock, lambda key, _: fired.append((key, clock.monotonic())))


def due(when: float, *, priority: Priority = Priority.ROUTINE, retry: bool = False) -> Due:
    return Due(when, priority, retry)


def test_fires_in_order_of_time_whatever_the_order_of_asking(
    clock: FakeClock, fired: Fired, schedule: Schedule[str]
) -> None:
    for key, when in (("b", 2.0), ("c", 3.0), ("a", 1.0)):
        schedule.ask(key, due(when))
    clock.tick(2.5)
    assert fired == [("a", 1.0), ("b", 2.0)]
    assert len(schedule) == 1
    clock.tick(10)
    assert fired[-1] == ("c", 3.0)
    assert len(schedule) == 0


@pytest.mark.parametrize("times", [(5.0, 9.0), (9.0, 5.0)])
def test_the_earliest_wins_and_fires_once(
    clock: FakeClock, fired: Fired, schedule: Schedule[str], times: tuple[float, float]
) -> None:
    for when in times:
        schedule.ask("a", due(when))
    clock.tick(20)
    assert fired == [("a", 5.0)]


def test_merging_keeps_the_higher_priority_and_stays_a_retry_only_if_all_were(schedule: Schedule[str]) -> None:
    schedule.ask("a", due(5.0, retry=True))
    schedule.ask("a", due(9.0, priority=Priority.URGENT, retry=False))
    merged = schedule.get("a")
    assert merged is not None
    assert (merged.when, merged.priority, merged.retry) == (5.0, Priority.URGENT, False)


def test_cancelled_does_not_fire_and_can_be_asked_for_again(
    clock: FakeClock, fired: Fired, schedule: Schedule[str]
) -> None:
    schedule.ask("a", due(5.0))
    cancelled = schedule.cancel("a")
    assert cancelled is not None
    assert cancelled.when == 5.0
    assert schedule.cancel("a") is None
    schedule.ask("a", due(7.0))
    clock.tick(20)
    assert fired == [("a", 7.0)]


def test_one_timer_serves_many_keys(clock: FakeClock, schedule: Schedule[str]) -> None:
    for i in range(100, 0, -1):
        schedule.ask(str(i), due(float(i)))
    assert clock.timers == 1


def test_keys_that_keep_moving_do_not_grow_the_heap(schedule: Schedule[str]) -> None:
    for i in range(10_000):
        schedule.ask("a", due(20_000.0 - i))
    assert len(schedule._heap) <= COMPACT_AT + 1


def test_many_keys_that_move_still_fire_in_order(clock: FakeClock, fired: Fired, schedule: Schedule[str]) -> None:
    for round_ in range(4):
        for i in range(100):
            schedule.ask(str(i), due(10_000.0 - 1000 * round_ - i * 37 % 101))
    assert len(schedule._heap) <= 2 * 100 + 1
    clock.tick(20_000)
    assert [when for _, when in fired] == sorted(7000.0 - i * 37 % 101 for i in range(100))
    assert len(fired) == 100


def test_clear_leaves_nothing_behind(clock: FakeClock, fired: Fired, schedule: Schedule[str]) -> None:
    schedule.ask("a", due(5.0))
    schedule.clear()
    schedule.clear()
    assert clock.timers == len(schedule) == len(schedule._heap) == 0
    clock.tick(20)
    assert fired == []
    schedule.ask("b", due(30.0))
    clock.tick(10)
    assert fired == [("b", 30.0)]
