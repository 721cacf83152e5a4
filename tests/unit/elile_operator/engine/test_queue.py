"""What a work queue promises, one promise per test; all of them at once are in tests/property/test_queue.py."""

import asyncio
from collections.abc import Callable

import pytest

from elile_operator.engine import Backoff, Priority, QueueClosedError, WorkQueue
from elile_operator.engine.ready import URGENT_RUN
from tests.fakes.clock import FakeClock

URGENT, ROUTINE = Priority.URGENT, Priority.ROUTINE
Queue = WorkQueue[str]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(monotonic=0.0)


@pytest.fixture
def queue(clock: FakeClock) -> Queue:
    return WorkQueue(clock=clock, rand=lambda: 1.0)


def drain(queue: Queue) -> list[str]:
    """Take and finish all that is ready."""
    taken = []
    while (key := queue.get_nowait()) is not None:
        taken.append(key)
        queue.done(key)
    return taken


# ── once, and one at a time ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_key_is_queued_once_in_order_of_arrival(queue: Queue) -> None:
    for key in "abab":
        queue.add(key)
    assert len(queue) == 2
    assert drain(queue) == ["a", "b"]


def test_a_running_key_is_not_given_out_again_until_done(queue: Queue) -> None:
    queue.add("a")
    assert queue.get_nowait() == "a"
    queue.add("a")
    assert queue.get_nowait() is None
    queue.done("a")
    assert queue.get_nowait() == "a"


def test_many_adds_while_running_are_one_more_run(queue: Queue) -> None:
    queue.add("a")
    queue.get_nowait()
    for _ in range(5):
        queue.add("a")
    queue.done("a")
    assert drain(queue) == ["a"]


@pytest.mark.parametrize("method", [Queue.done, Queue.backoff, Queue.discard_due])
def test_what_is_not_running_cannot_be_finished(queue: Queue, method: Callable[[Queue, str], object]) -> None:
    with pytest.raises(KeyError):
        method(queue, "a")


# ── priorities ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_urgent_overtakes_routine(queue: Queue) -> None:
    queue.add("r")
    queue.add("u", priority=URGENT)
    assert drain(queue) == ["u", "r"]


def test_a_queued_key_can_become_urgent_but_not_less_so(queue: Queue) -> None:
    for key in "abc":
        queue.add(key)
    queue.add("c", priority=URGENT)
    queue.add("c", priority=ROUTINE)
    assert len(queue) == 3
    assert drain(queue) == ["c", "a", "b"]


def test_urgency_asked_for_while_running_counts_afterwards(queue: Queue) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.add("a")
    queue.add("b")
    queue.add("a", priority=URGENT)
    queue.done("a")
    assert drain(queue) == ["a", "b"]


def test_a_flood_of_urgent_keys_does_not_starve_routine_ones(queue: Queue) -> None:
    queue.add("r")
    for i in range(3 * URGENT_RUN):
        queue.add(f"u{i}", priority=URGENT)
    assert drain(queue).index("r") == URGENT_RUN


def test_each_routine_key_lets_as_many_urgent_ones_pass(queue: Queue) -> None:
    queue.add("r0")
    queue.add("r1")
    for i in range(3 * URGENT_RUN):
        queue.add(f"u{i}", priority=URGENT)
    order = drain(queue)
    assert (order.index("r0"), order.index("r1")) == (URGENT_RUN, 2 * URGENT_RUN + 1)


# ── due times ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_due_times_are_kept_to_the_moment(clock: FakeClock, queue: Queue) -> None:
    queue.add_after("a", 10)
    queue.add_at("b", 5.0)
    clock.tick(4.999)
    assert drain(queue) == []
    clock.tick(0.001)
    assert drain(queue) == ["b"]
    clock.tick(5)
    assert drain(queue) == ["a"]


@pytest.mark.parametrize("delay", [0.0, -3.0])
def test_what_is_due_already_is_ready_at_once(queue: Queue, delay: float) -> None:
    queue.add_after("a", delay, priority=URGENT)
    assert drain(queue) == ["a"]


def test_a_due_time_brings_its_priority(clock: FakeClock, queue: Queue) -> None:
    queue.add_after("u", 10, priority=URGENT)
    queue.add("r")
    clock.tick(10)
    assert drain(queue) == ["u", "r"]


def test_a_due_time_that_passes_while_the_key_is_queued_adds_no_second_run(clock: FakeClock, queue: Queue) -> None:
    queue.add("a")
    queue.add_after("a", 5)
    clock.tick(10)
    assert drain(queue) == ["a"]
    clock.tick(100)
    assert drain(queue) == []


def test_a_due_time_that_passes_while_running_runs_the_key_afterwards(clock: FakeClock, queue: Queue) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.add_after("a", 5)
    clock.tick(5)
    assert queue.get_nowait() is None
    queue.done("a")
    assert drain(queue) == ["a"]


def run(queue: Queue, clock: FakeClock, *, after: float | None = None, meanwhile: float | None = None) -> None:
    """One reconcile of "a", woken by a plain add."""
    queue.add("a")
    assert queue.get_nowait() == "a"
    if meanwhile is not None:
        queue.add_after("a", meanwhile)
    queue.done("a", after=after)


@pytest.mark.parametrize(
    ("before", "meanwhile", "after", "due"),
    [
        pytest.param(50, None, None, 50.0, id="a worker that sets none leaves it"),
        pytest.param(50, None, 90, 90.0, id="a later one of the worker replaces it"),
        pytest.param(50, None, 20, 20.0, id="an earlier one of the worker replaces it"),
        pytest.param(None, 30, 60, 30.0, id="set meanwhile, and earlier, wins"),
        pytest.param(None, 70, 60, 60.0, id="set meanwhile, and later, loses"),
        pytest.param(50, 70, None, 50.0, id="the earliest wins"),
        pytest.param(50, 70, 60, 60.0, id="the worker replaces what was before, not what was set meanwhile"),
        pytest.param(50, 70, 90, 70.0, id="what was set meanwhile remains"),
        pytest.param(None, None, None, None, id="nobody sets any"),
    ],
)
def test_which_due_time_survives_a_run(
    clock: FakeClock,
    queue: Queue,
    before: float | None,
    meanwhile: float | None,
    after: float | None,
    due: float | None,
) -> None:
    if before is not None:
        queue.add_after("a", before)
    run(queue, clock, after=after, meanwhile=meanwhile)
    assert queue.due("a") == due


def test_a_due_time_from_before_that_passes_while_running_is_kept_or_replaced(clock: FakeClock, queue: Queue) -> None:
    for after, ready in ((None, ["a"]), (60.0, [])):
        queue.add_after("a", 5)
        queue.add("a")
        queue.get_nowait()
        assert queue.due("a") == clock.monotonic() + 5
        clock.tick(10)
        queue.done("a", after=after)
        assert drain(queue) == ready


def test_discard_due_spares_what_was_set_meanwhile(queue: Queue) -> None:
    queue.add_after("a", 50)
    queue.add("a")
    queue.get_nowait()
    queue.discard_due("a")
    assert queue.due("a") is None
    queue.add_after("a", 30)
    queue.discard_due("a")
    assert queue.due("a") == 30.0


# ── backoff ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def fail(queue: Queue, key: str = "a") -> float | None:
    queue.add(key)
    assert queue.get_nowait() == key
    delay = queue.backoff(key)
    queue.done(key)
    return delay


def test_backoff_grows_with_each_failure_and_is_reset_by_forget(clock: FakeClock, queue: Queue) -> None:
    assert [fail(queue) for _ in range(4)] == [1.0, 2.0, 4.0, 8.0]
    assert queue.failures("a") == 4
    queue.forget("a")
    assert queue.failures("a") == 0
    assert fail(queue) == 1.0


def test_the_retry_comes_when_backoff_said(clock: FakeClock, queue: Queue) -> None:
    fail(queue)
    fail(queue)
    clock.tick(1.9)
    assert drain(queue) == []
    clock.tick(0.1)
    assert drain(queue) == ["a"]


@pytest.mark.parametrize(("at_least", "delay"), [(0.0, 1.0), (0.5, 1.0), (5.0, 5.0)])
def test_backoff_waits_as_long_as_was_asked(clock: FakeClock, queue: Queue, at_least: float, delay: float) -> None:
    queue.add("a")
    queue.get_nowait()
    assert queue.backoff("a", at_least=at_least) == delay
    queue.done("a")
    assert queue.due("a") == delay


def test_backoff_replaces_an_earlier_refresh(clock: FakeClock) -> None:
    queue: Queue = WorkQueue(clock=clock, rand=lambda: 1.0, backoff=Backoff(base=100.0))
    queue.add_after("a", 5)
    fail(queue)
    assert queue.due("a") == 100.0


def test_success_calls_off_a_retry_that_only_backoff_wanted(clock: FakeClock, queue: Queue) -> None:
    fail(queue)
    queue.add("a")
    queue.get_nowait()
    queue.forget("a")
    queue.done("a")
    assert queue.due("a") is None


def test_success_spares_a_due_time_that_somebody_else_wanted_too(clock: FakeClock, queue: Queue) -> None:
    fail(queue)
    queue.add_after("a", 20)
    queue.forget("a")
    assert queue.due("a") == 1.0


def test_retry_now_spreads_keys_and_leaves_no_backoff(clock: FakeClock) -> None:
    queue: Queue = WorkQueue(clock=clock, rand=lambda: 1.0, backoff=Backoff(base=100.0))
    for key in "abcd":
        fail(queue, key)
    queue.retry_now("abcd", spread=1.0)
    assert drain(queue) == ["a"]
    clock.tick(0.5)
    assert drain(queue) == ["b", "c"]
    clock.tick(0.5)
    assert drain(queue) == ["d"]
    assert [queue.failures(key) for key in "abcd"] == [0] * 4
    assert [queue.due(key) for key in "abcd"] == [None] * 4


def test_retry_now_does_not_run_twice_what_is_ready(clock: FakeClock, queue: Queue) -> None:
    queue.add("x")
    queue.add("a")
    queue.retry_now(["x", "a"])
    assert drain(queue) == ["x", "a"]
    clock.tick(10)
    assert drain(queue) == []


def test_retry_now_reaches_a_run_that_began_before_and_fails(clock: FakeClock) -> None:
    queue: Queue = WorkQueue(clock=clock, rand=lambda: 1.0, backoff=Backoff(base=100.0))
    queue.add("b")
    queue.add("a")
    assert (queue.get_nowait(), queue.get_nowait()) == ("b", "a")
    queue.retry_now(["b", "a"])
    for key in "ba":
        queue.backoff(key)
        queue.done(key)
    assert drain(queue) == ["b"]
    clock.tick(1)
    assert drain(queue) == ["a"]


def test_retry_now_of_nothing_is_nothing(queue: Queue) -> None:
    queue.retry_now([])
    assert queue.stats().scheduled == 0


# ── drop ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_drop_forgets_everything(clock: FakeClock, queue: Queue) -> None:
    fail(queue)
    queue.add("a")
    queue.add_after("a", 5)
    queue.drop("a")
    clock.tick(1000)
    assert drain(queue) == []
    assert queue.failures("a") == 0


def test_a_run_that_was_dropped_asks_in_vain(clock: FakeClock, queue: Queue) -> None:
    for ask in ("after", "backoff"):
        queue.add("a")
        queue.get_nowait()
        queue.add("a")
        queue.drop("a")
        if ask == "backoff":
            assert queue.backoff("a") is None
            queue.done("a")
        else:
            queue.done("a", after=5)
        clock.tick(1000)
        assert drain(queue) == [], ask
        assert queue.failures("a") == 0


def test_what_is_added_after_drop_is_a_new_life(queue: Queue) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.drop("a")
    queue.add("a")
    queue.done("a", after=5)
    assert drain(queue) == ["a"]


# ── waiting and closing ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_get_waits_for_a_key(clock: FakeClock, queue: Queue) -> None:
    getter = asyncio.create_task(queue.get(), name="getter")
    await clock.settle()
    assert not getter.done()
    queue.add("a")
    await clock.settle()
    assert getter.result() == "a"


async def test_get_waits_for_a_due_time(clock: FakeClock, queue: Queue) -> None:
    getter = asyncio.create_task(queue.get(), name="getter")
    queue.add_after("a", 60)
    await clock.advance(59)
    assert not getter.done()
    await clock.advance(1)
    assert getter.result() == "a"


async def test_every_waiting_worker_gets_a_key(clock: FakeClock, queue: Queue) -> None:
    getters = [asyncio.create_task(queue.get(), name=f"getter-{i}") for i in range(3)]
    await clock.settle()
    for key in "abc":
        queue.add(key)
    await clock.settle()
    assert sorted(getter.result() for getter in getters) == ["a", "b", "c"]


async def test_a_worker_cancelled_as_it_is_woken_passes_the_key_on(clock: FakeClock, queue: Queue) -> None:
    first = asyncio.create_task(queue.get(), name="first")
    await clock.settle()
    second = asyncio.create_task(queue.get(), name="second")
    await clock.settle()
    queue.add("a")  # wakes the first
    first.cancel()  # before it had its turn
    await clock.settle()
    assert first.cancelled()
    assert second.result() == "a"


async def test_a_cancelled_waiter_is_forgotten(clock: FakeClock, queue: Queue) -> None:
    getter = asyncio.create_task(queue.get(), name="getter")
    await clock.settle()
    getter.cancel()
    await clock.settle()
    assert not queue._waiters


async def test_close_wakes_all_and_gives_out_nothing_more(clock: FakeClock, queue: Queue) -> None:
    getters = [asyncio.create_task(queue.get(), name=f"getter-{i}") for i in range(3)]
    await clock.settle()
    queue.close()
    await clock.settle()
    for getter in getters:
        with pytest.raises(QueueClosedError):
            getter.result()
    queue.add("a")
    queue.add_after("b", 1)
    with pytest.raises(QueueClosedError):
        await queue.get()
    assert queue.get_nowait() is None
    assert clock.timers == 0


async def test_close_holds_back_what_was_ready_or_due(clock: FakeClock, queue: Queue) -> None:
    queue.add("ready")
    queue.add_after("due", 5)
    queue.add("running")
    assert queue.get_nowait() == "ready"
    queue.add("ready")
    queue.close()
    assert clock.timers == 0
    queue.done("ready")
    clock.tick(10)
    queue.add("new")
    assert queue.get_nowait() is None
    with pytest.raises(QueueClosedError):
        await queue.get()
    assert len(queue) == 1  # what was ready then: "running", which never ran


def test_a_running_key_can_be_finished_after_close(clock: FakeClock, queue: Queue) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.add("a")
    queue.close()
    assert queue.backoff("a") == 1.0
    queue.done("a", after=5)
    assert queue.stats().running == 0
    assert clock.timers == 0


# ── figures ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stats(clock: FakeClock, queue: Queue) -> None:
    queue.add("old")
    queue.add("young")
    queue.add_after("later", 500)
    clock.tick(3)
    queue.add("running", priority=URGENT)
    queue.get_nowait()
    clock.tick(4)
    queue.add("old", priority=URGENT)  # keeps its age
    stats = queue.stats()
    assert (stats.ready, stats.running, stats.scheduled) == (2, 1, 1)
    assert (stats.oldest_ready, stats.longest_running) == (7.0, 4.0)


def test_age_counts_from_the_due_time_and_from_the_add_while_running(clock: FakeClock, queue: Queue) -> None:
    queue.add("a")
    queue.get_nowait()
    queue.add_after("a", 2)
    clock.tick(10)
    queue.done("a")
    assert queue.stats().oldest_ready == 8.0


def test_adding_again_does_not_make_a_key_younger(clock: FakeClock, queue: Queue) -> None:
    queue.add("a")
    clock.tick(3)
    queue.add("a")
    assert queue.stats().oldest_ready == 3.0


def test_an_empty_queue_has_no_age(queue: Queue) -> None:
    assert queue.stats().oldest_ready == queue.stats().longest_running == 0.0
