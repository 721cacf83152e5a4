"""Resync lists at once, on time and on demand, repairs, and survives every lister."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from elile_operator.engine import Body, ListExpiredError, ObjectKey, ObjectStore, Page, Resync, object_key
from tests.fakes.clock import FakeClock


def body(name: str, version: int = 1) -> Body:
    return {"metadata": {"namespace": "shop", "name": name, "resourceVersion": str(version)}}


class FakeLister:
    """Serves `objects` two by two; `fail` is asked before each page, with the number of the call from 1 on."""

    def __init__(self) -> None:
        self.objects: list[Body] = []
        self.version = "100"
        self.fail: Callable[[int], Awaitable[None]] | None = None
        self.calls = 0
        self.tokens: list[str] = []

    async def list_page(self, token: str) -> Page:
        self.calls += 1
        self.tokens.append(token)
        if self.fail is not None:
            await self.fail(self.calls)
        at = int(token or 0)
        rest = str(at + 2) if at + 2 < len(self.objects) else ""
        return Page(items=self.objects[at : at + 2], token=rest, version=self.version)


class Seen:
    """An Observer that remembers."""

    def __init__(self) -> None:
        self.resyncs: list[tuple[str, str, float, int]] = []

    def reconciled(self, *, kind: str, outcome: str, seconds: float, error: str | None) -> None:
        raise AssertionError(kind, outcome, seconds, error)

    def resynced(self, *, kind: str, outcome: str, seconds: float, repaired: int) -> None:
        self.resyncs.append((kind, outcome, seconds, repaired))


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lister() -> FakeLister:
    return FakeLister()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
def store() -> ObjectStore[ObjectKey, Body]:
    return ObjectStore(kind="ElileSecret", key_of=object_key, project=lambda b: b)


@pytest.fixture
async def resync(
    clock: FakeClock, lister: FakeLister, store: ObjectStore[ObjectKey, Body], seen: Seen
) -> AsyncIterator[Resync[ObjectKey, Body]]:
    resync = Resync(store=store, lister=lister, clock=clock, rand=lambda: 0.5, period=600.0, observer=seen)
    yield resync
    await resync.stop()
    assert clock.timers == 0


async def test_lists_all_pages_at_once_and_is_ready(
    clock: FakeClock,
    lister: FakeLister,
    store: ObjectStore[ObjectKey, Body],
    resync: Resync[ObjectKey, Body],
    seen: Seen,
) -> None:
    lister.objects = [body(name) for name in "abcde"]
    assert (resync.ready, resync.alive()) == (False, False)
    task = resync.start()
    assert task.get_name() == "elile-resync-ElileSecret"
    await resync.wait_ready()
    assert lister.tokens == ["", "2", "4"]
    assert len(store) == 5
    assert (resync.ready, resync.alive()) == (True, True)
    assert seen.resyncs == [("ElileSecret", "ok", 0.0, 5)]


@pytest.mark.parametrize(("rand", "period"), [(0.0, 540.0), (0.5, 600.0), (0.999, 659.88)])
async def test_lists_again_every_period_give_or_take_a_tenth_and_says_nothing(
    clock: FakeClock,
    lister: FakeLister,
    store: ObjectStore[ObjectKey, Body],
    caplog: pytest.LogCaptureFixture,
    rand: float,
    period: float,
) -> None:
    caplog.set_level("DEBUG", logger="elile_operator")
    resync = Resync(store=store, lister=lister, clock=clock, rand=lambda: rand)
    resync.start()
    await clock.advance(period - 0.1)
    assert lister.calls == 1
    await clock.advance(0.2)
    assert lister.calls == 2
    await resync.stop()
    assert caplog.records == []


async def test_repairs_what_vanished_and_what_was_missed(
    clock: FakeClock,
    lister: FakeLister,
    store: ObjectStore[ObjectKey, Body],
    resync: Resync[ObjectKey, Body],
    seen: Seen,
) -> None:
    lister.objects = [body(name) for name in "abc"]
    resync.start()
    await clock.settle()
    lister.objects = [body("a"), body("b", 2), body("d", 3)]
    await clock.advance(600)
    assert sorted(key.name for key in store) == ["a", "b", "d"]
    assert seen.resyncs[-1] == ("ElileSecret", "ok", 0.0, 3)


async def test_the_version_of_the_first_page_is_that_of_the_list(
    clock: FakeClock, lister: FakeLister, store: ObjectStore[ObjectKey, Body], resync: Resync[ObjectKey, Body]
) -> None:
    lister.version = "10"
    store.observe(body("newer", 11))
    store.observe(body("older", 9))
    resync.start()
    await clock.settle()
    assert [key.name for key in store] == ["newer"]


async def test_a_failed_list_backs_off_is_logged_by_class_and_removes_nothing(
    clock: FakeClock,
    lister: FakeLister,
    store: ObjectStore[ObjectKey, Body],
    resync: Resync[ObjectKey, Body],
    seen: Seen,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def fail(call: int) -> None:
        if call <= 4:
            raise OSError("Authorization: Bearer hunter2")

    store.observe(body("known", 101))
    lister.objects, lister.fail = [body("a")], fail
    resync.start()
    await clock.settle()
    assert (resync.failures, resync.ready, len(store)) == (1, False, 1)
    # rand is 0.5: half of 1, 2, 4, 8 s
    for wait, calls in ((0.5, 2), (1.0, 3), (2.0, 4)):
        await clock.advance(wait - 0.01)
        assert lister.calls == calls - 1
        await clock.advance(0.01)
        assert lister.calls == calls
    assert resync.age() == pytest.approx(3.5)
    await clock.advance(4.0)
    assert (resync.failures, resync.ready, resync.age()) == (0, True, 0.0)
    assert [outcome for _, outcome, _, _ in seen.resyncs] == ["error"] * 4 + ["ok"]
    assert caplog.records[0].__dict__["fields"]["error"] == "OSError"
    assert "hunter2" not in repr([record.__dict__ for record in caplog.records])


async def test_backoff_never_exceeds_a_minute(clock: FakeClock, lister: FakeLister, resync: Resync[Any, Any]) -> None:
    async def fail(_: int) -> None:
        raise OSError

    lister.fail = fail
    resync.start()
    await clock.advance(3600)
    before = lister.calls
    await clock.advance(300)
    assert lister.calls - before >= 9


async def test_an_expired_list_begins_anew_at_once(
    clock: FakeClock, lister: FakeLister, store: ObjectStore[ObjectKey, Body], resync: Resync[ObjectKey, Body]
) -> None:
    async def expire(call: int) -> None:
        if call == 2:
            raise ListExpiredError

    lister.objects, lister.fail = [body(name) for name in "abc"], expire
    resync.start()
    await clock.settle()
    assert lister.tokens == ["", "2", "", "2"]
    assert (len(store), resync.ready, resync.failures) == (3, True, 0)


async def test_a_list_that_always_expires_fails_instead_of_spinning(
    clock: FakeClock, lister: FakeLister, resync: Resync[ObjectKey, Body]
) -> None:
    async def expire(_: int) -> None:
        raise ListExpiredError

    lister.fail = expire
    resync.start()
    await clock.settle()
    assert (lister.calls, resync.failures, resync.alive()) == (4, 1, True)


async def test_a_stray_cancellation_is_a_failure_like_any_other(
    clock: FakeClock, lister: FakeLister, resync: Resync[ObjectKey, Body]
) -> None:
    async def trip(call: int) -> None:
        if call == 1:
            raise asyncio.CancelledError

    lister.fail = trip
    resync.start()
    await clock.settle()
    assert (resync.failures, resync.alive()) == (1, True)
    await clock.advance(1)
    assert resync.ready


async def test_a_page_that_hangs_is_given_up(
    clock: FakeClock, lister: FakeLister, resync: Resync[ObjectKey, Body], seen: Seen
) -> None:
    async def hang(call: int) -> None:
        if call == 1:
            await asyncio.Event().wait()

    lister.fail = hang
    resync.start()
    await clock.advance(59)
    assert resync.failures == 0
    await clock.advance(1)
    assert resync.failures == 1
    assert seen.resyncs == [("ElileSecret", "error", 60.0, 0)]
    await clock.advance(1)
    assert resync.ready


async def test_run_now_cuts_the_wait_short(
    clock: FakeClock, lister: FakeLister, resync: Resync[ObjectKey, Body]
) -> None:
    resync.start()
    await clock.advance(10)
    resync.run_now()
    await clock.settle()
    assert lister.calls == 2


async def test_run_now_during_a_list_has_another_one_follow(
    clock: FakeClock, lister: FakeLister, resync: Resync[ObjectKey, Body]
) -> None:
    gate = asyncio.Event()

    async def wait(_: int) -> None:
        await gate.wait()

    lister.fail = wait
    resync.start()
    await clock.settle()
    resync.run_now()
    resync.run_now()
    gate.set()
    await clock.settle()
    assert lister.calls == 2


async def test_age_without_any_success_counts_from_the_creation(
    clock: FakeClock, resync: Resync[ObjectKey, Body]
) -> None:
    await clock.advance(25)
    assert resync.age() == 25


async def test_an_observer_that_raises_does_not_end_the_repairs(
    clock: FakeClock, lister: FakeLister, store: ObjectStore[ObjectKey, Body]
) -> None:
    class Broken(Seen):
        def resynced(self, *, kind: str, outcome: str, seconds: float, repaired: int) -> None:
            raise ValueError(kind, outcome, seconds, repaired)

    resync = Resync(store=store, lister=lister, clock=clock, rand=lambda: 0.5, observer=Broken())
    resync.start()
    await clock.advance(601)
    assert lister.calls == 2
    assert resync.alive()
    await resync.stop()
    assert not resync.alive()


async def test_stop_also_ends_a_list_that_hangs(
    clock: FakeClock, lister: FakeLister, resync: Resync[ObjectKey, Body], seen: Seen
) -> None:
    async def hang(_: int) -> None:
        await asyncio.Event().wait()

    lister.fail = hang
    resync.start()
    await clock.settle()
    await resync.stop()
    assert (resync.alive(), resync.failures, seen.resyncs) == (False, 0, [])


async def test_stop_before_start_is_harmless(resync: Resync[ObjectKey, Body]) -> None:
    await resync.stop()
    assert not resync.alive()
