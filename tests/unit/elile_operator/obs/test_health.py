"""Health tells the truth, above all when the loop that should tell it is stuck."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from elile_operator.obs.health import Health, Report
from tests.fakes.clock import FakeClock


class SealedError(Exception):
    safe_text = "sealed"


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def lags() -> list[float]:
    return []


@pytest.fixture
async def health(clock: FakeClock, lags: list[float]) -> AsyncIterator[Health]:
    health = Health(on_tick=lags.append, monotonic=clock.monotonic, sleep=clock.sleep)
    yield health
    await health.stop()


async def test_without_a_tick_nothing_is_known(health: Health) -> None:
    for report in (health.live(), health.ready()):
        assert not report.ok
        assert report.checks == {"loop": "health has not started to tick"}


async def test_all_well(clock: FakeClock, health: Health) -> None:
    health.add_live("workers", lambda: None)
    health.add_ready("lists", lambda: None)
    assert health.start().get_name() == "elile-health-ticker"
    await clock.settle()
    assert health.live() == Report({"loop": None, "workers": None})
    assert health.ready() == Report({"loop": None, "lists": None})
    assert health.live().body() == {"status": "ok", "checks": {"loop": {"ok": True}, "workers": {"ok": True}}}


async def test_a_failing_check_is_named_with_its_reason(clock: FakeClock, health: Health) -> None:
    health.add_live("workers", lambda: None)
    health.add_live("resync", lambda: "too old")
    health.start()
    await clock.settle()
    assert not health.live().ok
    assert health.ready().ok
    assert health.live().body() == {
        "status": "fail",
        "checks": {"loop": {"ok": True}, "workers": {"ok": True}, "resync": {"ok": False, "why": "too old"}},
    }


async def test_checks_are_made_again_every_tick(clock: FakeClock, health: Health) -> None:
    why: str | None = "not yet"
    health.add_ready("lists", lambda: why)
    health.start()
    await clock.settle()
    assert not health.ready().ok
    why = None
    await clock.advance(1)
    assert health.ready().ok
    why = "no more"
    await clock.advance(1)
    assert not health.ready().ok


@pytest.mark.parametrize(
    ("error", "why"),
    [(ValueError("hunter2"), "the check failed: ValueError"), (SealedError(), "the check failed: SealedError: sealed")],
)
async def test_a_check_that_raises_has_failed_and_its_text_is_not_shown(
    clock: FakeClock, health: Health, error: Exception, why: str
) -> None:
    def broken() -> str | None:
        raise error

    health.add_live("broken", broken)
    health.add_live("other", lambda: None)
    health.start()
    await clock.advance(5)
    assert health.live().checks == {"loop": None, "broken": why, "other": None}


@pytest.mark.parametrize(("stuck", "ok"), [(10.9, True), (11.0, False), (100.0, False)])
async def test_a_stuck_loop_is_not_alive(clock: FakeClock, health: Health, stuck: float, ok: bool) -> None:
    health.start()
    await clock.settle()
    clock.tick(stuck)  # no task has a turn: this is what the thread of the server sees meanwhile
    assert health.live().ok is health.ready().ok is ok
    if not ok:
        assert health.live().checks["loop"] == f"the event loop is {stuck - 1:.0f} s late, limit 10 s"
    await clock.settle()
    assert health.live().ok  # it came loose


async def test_a_dead_ticker_is_a_stuck_loop(clock: FakeClock, health: Health) -> None:
    health.start()
    await clock.settle()
    await health.stop()
    assert health.live().ok
    await clock.advance(11)
    assert not health.live().ok


async def test_lag_is_told(clock: FakeClock, health: Health, lags: list[float]) -> None:
    health.start()
    await clock.settle()
    clock.tick(3.5)
    await clock.settle()
    await clock.advance(1)
    assert lags == [0.0, 2.5, 0.0]


async def test_a_broken_listener_does_not_end_the_ticks(clock: FakeClock, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_: float) -> None:
        raise ValueError("hunter2")

    health = Health(on_tick=broken, monotonic=clock.monotonic, sleep=clock.sleep)
    task = health.start()
    await clock.advance(3)
    assert not task.done()
    assert "hunter2" not in caplog.text
    await health.stop()


@pytest.mark.parametrize("name", ["loop", "workers"])
async def test_names_are_taken_once(health: Health, name: str) -> None:
    health.add_live("workers", lambda: None)
    health.add_ready("workers", lambda: None)
    with pytest.raises(ValueError, match=name):
        health.add_live(name, lambda: None)


async def test_defaults_run_on_the_real_clock() -> None:
    health = Health()
    health.start()
    await asyncio.sleep(0)
    assert health.live().ok
    await health.stop()
