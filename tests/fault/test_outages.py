"""Outages of 75 seconds, longer than the 54 for which Kopf would try by default; they run beside each other."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.fault.support.bao import Bao
from tests.fault.support.world import World, world

OUTAGE = 75.0
SOON = 5.0
# Kopf and the resync try again every 20 s at the most; five times that.
RECOVERED = 100.0

Scenario = Callable[[World], str]


def lists_are_refused(w: World) -> str:
    team = w.namespace()
    w.want(team, "a")
    with w.operator() as operator:
        w.settle(5 * SOON)
        w.fake.chaos.answer(503, verbs={"list"}, seconds=OUTAGE)
        w.fake.expire_streams()  # every watch has to list again
        w.want(team, "b")
        return recover(w, operator.process.poll)


def watches_are_refused(w: World) -> str:
    team = w.namespace()
    w.want(team, "a")
    with w.operator() as operator:
        w.settle(5 * SOON)
        w.fake.chaos.answer(503, verbs={"watch"}, seconds=OUTAGE)
        w.fake.kick_streams()
        w.want(team, "b")
        return recover(w, operator.process.poll)


def writes_are_refused(w: World) -> str:
    team = w.namespace()
    w.want(team, "a")
    with w.operator() as operator:
        w.settle(5 * SOON)
        for resource in ("secrets", "elilesecrets", "vaultservers", "pods"):
            w.fake.chaos.answer(503, verbs={"patch", "apply", "create"}, resources={resource}, seconds=OUTAGE)
        w.want(team, *(f"b-{i}" for i in range(20)))
        w.put(team, "a", value="p1")
        return recover(w, operator.process.poll)


def everything_is_refused(w: World) -> str:
    """Also the Lease: the leader has to go, kubelet starts it again and again, and it waits for the API server."""
    team = w.namespace()
    w.want(team, "a")
    with w.operator() as operator:
        w.settle(5 * SOON)
        w.fake.chaos.answer(503, seconds=OUTAGE)
        w.fake.kick_streams()
        w.want(team, "b")
        ends = time.monotonic() + OUTAGE
        while time.monotonic() < ends:
            time.sleep(1)
            if operator.process.poll() is not None:
                operator.start()
                w.restarts += 1
        return f"recovered {w.settle(RECOVERED, operator):.1f} s later, {w.lived_on()}"


def streams_are_silent(w: World) -> str:
    """No resync within the test: only the inactivity timeouts of the watches can tell."""
    team = w.namespace()
    w.want(team, "a")
    with w.operator() as operator:
        w.settle(5 * SOON)
        w.fake.silence_streams()
        w.fake.silence_streams(False)  # for new ones
        began = time.monotonic()
        w.want(team, "b")
        w.settle(3 * OUTAGE)
        assert operator.process.poll() is None
        return f"a new object is delivered after {time.monotonic() - began:.1f} s"


def recover(w: World, ended: Callable[[], int | None]) -> str:
    """Sit the outage out, and time the recovery."""
    time.sleep(OUTAGE)
    assert ended() is None, "an outage ends no process"
    took = w.settle(RECOVERED)
    return f"recovered {took:.1f} s later"


SCENARIOS: tuple[Scenario, ...] = (
    lists_are_refused,
    watches_are_refused,
    writes_are_refused,
    everything_is_refused,
    streams_are_silent,
)


@pytest.fixture(scope="module")
def running(bao: Bao, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[Scenario, Future[str]]]:
    """All of them at one time: each waits for the most part."""

    def run(scenario: Scenario, folder: Path) -> str:
        with world(bao, folder) as w:
            said = scenario(w)
            assert w.needless_writes() == []
            assert all(n <= 2 for n in w.secret_writes().values()), w.secret_writes()
            return said

    with ThreadPoolExecutor(len(SCENARIOS)) as pool:
        yield {s: pool.submit(run, s, tmp_path_factory.mktemp(s.__name__)) for s in SCENARIOS}


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_75_seconds(scenario: Scenario, running: dict[Scenario, Future[str]], figure: list[str]) -> None:
    said = running[scenario].result()
    figure.append(f"{OUTAGE:.0f} s: {scenario.__name__.replace('_', ' ')}: {said}")
