"""Every way a reconcile can end becomes the next look, and nothing ends a worker but `stop`."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from elile_operator.engine import ObjectKey, Priority, Reconciler, Result, Runner, WorkQueue
from elile_operator.engine.runner import key_fields
from tests.fakes.clock import FakeClock


class SafeError(Exception):
    safe_text = "VaultServer default is sealed; unseal it"


class Scripted:
    """A Reconciler that does for each key what `script` says, and remembers the order."""

    def __init__(self) -> None:
        self.script: dict[str, Callable[[], Awaitable[Result]]] = {}
        self.began: list[str] = []
        self.running: set[str] = set()

    async def reconcile(self, key: str) -> Result:
        self.began.append(key)
        assert key not in self.running
        self.running.add(key)
        try:
            return await self.script.get(key, answer(Result.done()))()
        finally:
            self.running.discard(key)


class Seen:
    """An Observer that remembers."""

    def __init__(self) -> None:
        self.reconciles: list[tuple[str, str, float, str | None]] = []

    def reconciled(self, *, kind: str, outcome: str, seconds: float, error: str | None) -> None:
        self.reconciles.append((kind, outcome, seconds, error))

    def resynced(self, *, kind: str, outcome: str, seconds: float, repaired: int) -> None:
        raise AssertionError(kind, outcome, seconds, repaired)


def answer(result: Result) -> Callable[[], Awaitable[Result]]:
    async def reconcile() -> Result:
        return result

    return reconcile


def fail(error: BaseException) -> Callable[[], Awaitable[Result]]:
    async def reconcile() -> Result:
        raise error

    return reconcile


async def forever() -> Result:
    await asyncio.Event().wait()
    raise AssertionError


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(monotonic=0.0)


@pytest.fixture
def queue(clock: FakeClock) -> WorkQueue[str]:
    return WorkQueue(clock=clock, rand=lambda: 1.0)


@pytest.fixture
def scripted() -> Scripted:
    return Scripted()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def runner(clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, seen: Seen) -> AsyncIterator[Runner[str]]:
    runner = Runner(
        name="secrets", queue=queue, reconciler=scripted, clock=clock, workers=2, reconcile_deadline=60.0, observer=seen
    )
    yield runner
    stopping = asyncio.create_task(runner.stop(0), name="stopping")
    await clock.advance(0)  # no grace at all, but it takes this clock's word for it
    await stopping
    assert clock.timers == 0


# ── results ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("result", "outcome", "due", "failures"),
    [
        pytest.param(Result.done(), "done", 500.0, 0, id="done leaves what is planned"),
        pytest.param(Result.after(timedelta(seconds=60)), "requeue", 60.0, 0, id="after plans anew"),
        pytest.param(Result.retry(), "retry", 2.0, 2, id="retry backs off"),
        pytest.param(Result.absent(), "gone", None, 0, id="gone leaves nothing"),
    ],
)
async def test_what_a_result_does(
    clock: FakeClock,
    queue: WorkQueue[str],
    scripted: Scripted,
    runner: Runner[str],
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    result: Result,
    outcome: str,
    due: float | None,
    failures: int,
) -> None:
    scripted.script["a"] = answer(result)
    queue.add("a")
    queue.get_nowait()
    queue.backoff("a")  # it failed once before
    queue.done("a")
    queue.forget("a") if outcome == "done" else None  # so that the refresh is all that is planned
    queue.add_after("a", 500)
    if outcome == "done":
        assert queue.due("a") == 500.0
    queue.add("a")
    runner.start()
    await clock.settle()
    assert (queue.due("a"), queue.failures("a")) == (due, failures)
    assert seen.reconciles == [("secrets", outcome, 0.0, None)]
    assert caplog.records == []


@pytest.mark.parametrize(
    "wrong",
    [
        {"requeue_after": timedelta(seconds=-1)},
        {"requeue_after": timedelta(seconds=1), "backoff": True},
        {"gone": True, "backoff": True},
    ],
)
def test_a_result_is_one_thing(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="Result"):
        Result(**wrong)


async def test_requeue_after_zero_runs_again(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str]
) -> None:
    results = [Result.after(timedelta(0)), Result.done()]

    async def next_result() -> Result:
        return results.pop(0)

    scripted.script["a"] = next_result
    queue.add("a")
    runner.start()
    await clock.advance(0)
    assert scripted.began == ["a", "a"]


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param(ValueError("token hvs.hunter2"), "ValueError", id="foreign: class only"),
        pytest.param(SafeError("token hvs.hunter2"), f"SafeError: {SafeError.safe_text}", id="ours: its safe text"),
        pytest.param(
            ExceptionGroup("hunter2", [OSError("hunter2"), SafeError()]),
            f"ExceptionGroup(OSError, SafeError: {SafeError.safe_text})",
            id="group",
        ),
        pytest.param(asyncio.CancelledError("hunter2"), "CancelledError", id="a stray cancellation"),
        pytest.param(TimeoutError("hunter2"), "TimeoutError", id="a timeout of its own"),
    ],
)
async def test_an_exception_backs_off_and_is_logged_without_its_text(
    clock: FakeClock,
    queue: WorkQueue[str],
    scripted: Scripted,
    runner: Runner[str],
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
    error: BaseException,
    shown: str,
) -> None:
    scripted.script["a"] = fail(error)
    queue.add("a")
    runner.start()
    await clock.settle()
    assert (queue.failures("a"), queue.due("a")) == (1, 1.0)
    [record] = caplog.records
    fields = record.__dict__["fields"]
    assert (fields["key"], fields["error"], fields["failures"]) == ("a", shown, 1)
    assert fields["where"].startswith("engine/test_runner.py:")
    assert "hunter2" not in repr(record.__dict__) + record.getMessage()
    assert seen.reconciles == [("secrets", "error", 0.0, type(error).__name__)]
    assert runner.alive()
    await clock.advance(1)
    assert scripted.began == ["a", "a"]


async def test_success_after_failures_resets_the_backoff(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str]
) -> None:
    scripted.script["a"] = fail(ValueError())
    queue.add("a")
    runner.start()
    await clock.advance(3)
    assert queue.failures("a") == 3
    del scripted.script["a"]
    await clock.advance(4)
    assert (queue.failures("a"), queue.due("a")) == (0, None)


async def test_a_stuck_reconcile_gives_its_worker_back(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str], seen: Seen
) -> None:
    scripted.script["a"] = scripted.script["b"] = forever  # one for each of the two workers
    for key in "abc":
        queue.add(key)
    runner.start()
    await clock.advance(59.9)
    assert scripted.began == ["a", "b"]
    assert queue.stats().longest_running == pytest.approx(59.9)
    await clock.advance(0.1)
    assert scripted.began == ["a", "b", "c"]
    assert sorted((outcome, error) for _, outcome, _, error in seen.reconciles) == [
        ("deadline", "TimeoutError"),
        ("deadline", "TimeoutError"),
        ("done", None),
    ]
    assert queue.failures("a") == 1


async def test_twenty_failing_objects_do_not_delay_a_healthy_one(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str]
) -> None:
    for i in range(20):
        scripted.script[f"bad{i}"] = fail(ValueError())
        queue.add(f"bad{i}")
    runner.start()
    await clock.advance(30)
    queue.add("good", priority=Priority.URGENT)
    await clock.settle()
    assert scripted.began[-1] == "good"


async def test_dropped_while_it_failed_stays_dropped(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str]
) -> None:
    async def drop_and_fail() -> Result:
        queue.drop("a")
        raise ValueError

    scripted.script["a"] = drop_and_fail
    queue.add("a")
    runner.start()
    await clock.advance(1000)
    assert scripted.began == ["a"]


async def test_a_broken_observer_does_not_end_a_worker(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted
) -> None:
    class Broken(Seen):
        def reconciled(self, *, kind: str, outcome: str, seconds: float, error: str | None) -> None:
            raise ValueError(kind, outcome, seconds, error)

    runner = Runner(name="x", queue=queue, reconciler=scripted, clock=clock, workers=1, observer=Broken())
    runner.start()
    for key in "ab":
        queue.add(key)
        await clock.settle()
    assert scripted.began == ["a", "b"]
    assert runner.alive()
    await runner.stop(1)


# ── life of the workers ──────────────────────────────────────────────────────────────────────────────────────────────


async def test_workers_are_named_and_run_side_by_side(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str]
) -> None:
    scripted.script = dict.fromkeys("abc", forever)
    assert not runner.alive()
    tasks = runner.start()
    assert [task.get_name() for task in tasks] == ["elile-worker-secrets-0", "elile-worker-secrets-1"]
    for key in "abc":
        queue.add(key)
    await clock.settle()
    assert scripted.running == {"a", "b"}
    assert runner.alive()


async def test_reconciling_spawns_no_task_and_says_nothing(
    clock: FakeClock, queue: WorkQueue[str], caplog: pytest.LogCaptureFixture
) -> None:
    tasks: list[set[asyncio.Task[Any]]] = []

    class Counting:
        async def reconcile(self, key: str) -> Result:
            assert key == "a"
            tasks.append(asyncio.all_tasks())
            return Result.after(timedelta(seconds=1))

    runner = Runner(name="x", queue=queue, reconciler=Counting(), clock=clock, workers=1)
    runner.start()
    before = asyncio.all_tasks()
    queue.add("a")
    await clock.advance(2)
    assert tasks == [before] * 3
    assert caplog.records == []
    await runner.stop(1)


async def test_a_worker_that_died_is_named(clock: FakeClock, queue: WorkQueue[str], runner: Runner[str]) -> None:
    first, _ = runner.start()
    await clock.settle()
    first.cancel()
    await clock.settle()
    assert runner.dead() == ("elile-worker-secrets-0",)
    assert not runner.alive()


async def test_stop_lets_running_ones_finish_and_begins_no_more(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str]
) -> None:
    finished = []

    async def slow() -> Result:
        await clock.sleep(5)
        finished.append("a")
        return Result.done()

    scripted.script["a"] = scripted.script["b"] = slow
    for key in "abc":
        queue.add(key)
    runner.start()
    await clock.settle()
    stopping = asyncio.create_task(runner.stop(10), name="stopping")
    await clock.advance(6)
    assert stopping.result() == 0
    assert finished == ["a", "a"]
    assert scripted.began == ["a", "b"]
    assert runner.dead() == ()


async def test_stop_cancels_what_is_late(
    clock: FakeClock, queue: WorkQueue[str], scripted: Scripted, runner: Runner[str], seen: Seen
) -> None:
    scripted.script["a"] = forever
    queue.add("a")
    runner.start()
    await clock.settle()
    stopping = asyncio.create_task(runner.stop(10), name="stopping")
    await clock.advance(9.9)
    assert not stopping.done()
    await clock.advance(0.1)
    assert stopping.result() == 1
    assert scripted.running == set()
    assert seen.reconciles == []
    assert queue.stats().running == 0


async def test_stop_without_start(runner: Runner[str]) -> None:
    assert await runner.stop(10) == 0


async def test_keys_of_several_kinds_share_workers(
    clock: FakeClock, seen: Seen, caplog: pytest.LogCaptureFixture
) -> None:
    queue: WorkQueue[tuple[str, ObjectKey]] = WorkQueue(clock=clock, rand=lambda: 1.0)

    class Failing:
        async def reconcile(self, key: tuple[str, ObjectKey]) -> Result:
            raise ValueError(key)

    reconciler: Reconciler[tuple[str, ObjectKey]] = Failing()
    runner = Runner(
        name="all",
        queue=queue,
        reconciler=reconciler,
        clock=clock,
        observer=seen,
        kind_of=lambda key: key[0],
        fields_of=lambda key: {"kind": key[0], **key[1]._asdict()},
    )
    runner.start()
    queue.add(("ElileSecret", ObjectKey("shop", "db")))
    await clock.settle()
    assert seen.reconciles[0][0] == "ElileSecret"
    fields = caplog.records[0].__dict__["fields"]
    assert (fields["kind"], fields["namespace"], fields["name"]) == ("ElileSecret", "shop", "db")
    await runner.stop(1)


def test_key_fields() -> None:
    assert key_fields(ObjectKey("shop", "db")) == {"namespace": "shop", "name": "db"}
    assert key_fields(7) == {"key": "7"}
