"""Each pod that mounts a changed Secret is poked twice; when one is reached that first could not be, it is told."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from elile_operator.decide.pods import PodView
from elile_operator.delivery.poke import PokeKey, Poker
from elile_operator.engine import Result, Runner, WorkQueue
from elile_operator.kube.resources import PODS
from tests.fakes.api import MemoryKube, pod
from tests.fakes.clock import FakeClock

ANNOTATION = "elile.io/delivered.db"


def view(name: str = "app-1", *, node: str = "node-1", namespace: str = "shop") -> PodView:
    return PodView(
        namespace=namespace,
        name=name,
        uid=f"uid-{name}",
        node=node,
        created=datetime(2029, 1, 1, tzinfo=UTC),
        volumes=frozenset({"db"}),
        fixed=frozenset(),
    )


class Stage:
    """A poker with a worker for its queue, and pods in memory."""

    def __init__(self) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.kube = MemoryKube(self.clock)
        self.queue: WorkQueue[PokeKey] = WorkQueue(clock=self.clock, rand=lambda: 1.0)
        self.outcomes: list[str] = []
        self.settled: list[tuple[str, str, float]] = []
        self.poker = Poker(self.kube, queue=self.queue, clock=self.clock, observer=self)  # type: ignore[arg-type]
        self.poker.on_settled(lambda namespace, name: self.settled.append((namespace, name, self.now)))
        self.runner = Runner(name="poke", queue=self.queue, reconciler=self.poker, clock=self.clock, workers=2)
        self.times: list[float] = []

    def poke(self, *, outcome: str) -> None:
        """As a PokeObserver."""
        self.outcomes.append(outcome)
        self.times.append(self.now)

    @property
    def now(self) -> float:
        return round(self.clock.monotonic(), 2)

    def run(self, *names: str) -> None:
        for name in names or ("app-1",):
            self.kube.put(PODS, pod(name))

    def values(self, name: str = "app-1") -> list[str]:
        """What the annotation of one pod was set to, in turn."""
        patches = [w for w in self.kube.written("merge", PODS) if w.name == name]
        return [w.body["metadata"]["annotations"][ANNOTATION] for w in patches]

    async def send(self, *pods: PodView, version: str = "7", name: str = "db") -> bool:
        """Poke, with as much time as the rate of a node takes."""
        poking = asyncio.create_task(self.poker.poke(name, pods, version), name="poking")
        await self.clock.advance(0.001)  # a full burst waits for the last bit of a float
        return await poking


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    stage.runner.start()
    yield stage
    stopping = asyncio.create_task(stage.runner.stop(0), name="stopping")
    await stage.clock.advance(0)
    await stopping
    assert stage.clock.timers == 0


async def test_a_pod_is_poked_at_once_and_again_after_a_second_and_a_half(stage: Stage) -> None:
    stage.run()
    assert await stage.send(view()) is True
    assert stage.values() == ["7-1"]
    await stage.clock.advance(1.4)
    assert stage.values() == ["7-1"]
    await stage.clock.advance(0.1)
    assert stage.values() == ["7-1", "7-2"]
    await stage.clock.advance(600.0)
    assert stage.values() == ["7-1", "7-2"]
    assert stage.outcomes == ["ok", "ok"]


async def test_what_a_poke_writes(stage: Stage) -> None:
    stage.run()
    await stage.send(view())
    (write,) = stage.kube.writes
    assert (write.verb, write.resource, write.namespace, write.name, write.manager) == (
        "merge",
        "pods",
        "shop",
        "app-1",
        "elile",
    )
    assert write.body == {"metadata": {"annotations": {ANNOTATION: "7-1"}}}


async def test_every_pod_is_poked(stage: Stage) -> None:
    names = [f"app-{n}" for n in range(40)]
    stage.run(*names)
    pods = [view(name, node=f"node-{n % 4}") for n, name in enumerate(names)]
    assert await stage.send(*pods) is True
    await stage.clock.advance(2.0)
    assert {name: stage.values(name) for name in names} == {name: ["7-1", "7-2"] for name in names}
    assert stage.settled == [], "nobody waited: the first round reached all"


async def test_no_pods(stage: Stage) -> None:
    assert await stage.send() is True
    assert stage.kube.writes == []


async def test_two_objects_poke_a_pod_apart(stage: Stage) -> None:
    stage.run()
    await stage.send(view(), version="7")
    await stage.send(view(), version="9", name="mail")
    await stage.clock.advance(2.0)
    found = stage.kube.find(PODS, "shop", "app-1")
    assert found is not None
    assert found["metadata"]["annotations"] == {ANNOTATION: "7-2", "elile.io/delivered.mail": "9-2"}


async def test_a_newer_version_is_poked_twice_and_the_older_no_more(stage: Stage) -> None:
    stage.run()
    await stage.send(view(), version="7")
    await stage.clock.advance(1.0)
    await stage.send(view(), version="8")
    await stage.clock.advance(10.0)
    assert stage.values() == ["7-1", "8-1", "8-2"]


# ── pods that cannot be reached ──────────────────────────────────────────────────────────────────────────────────────


async def test_a_pod_that_is_gone_is_nothing_to_wait_for(stage: Stage) -> None:
    assert await stage.send(view()) is True
    assert not stage.poker.owes("shop", "db")
    await stage.clock.advance(60.0)
    assert (stage.outcomes, len(stage.values())) == (["gone"], 1)
    assert stage.settled == [("shop", "db", 0.0)]


async def test_a_pod_that_goes_before_the_second_poke(stage: Stage) -> None:
    stage.run()
    await stage.send(view())
    stage.kube.remove(PODS, "shop", "app-1")
    await stage.clock.advance(60.0)
    assert stage.outcomes == ["ok", "gone"]


async def test_a_poke_that_fails_is_tried_again_until_it_is_sent(
    stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.run("app-1", "app-2")
    stage.kube.fail("merge", PODS, 500, None, 500, None)
    assert await stage.send(view("app-1"), view("app-2")) is False
    assert stage.poker.owes("shop", "db")
    assert stage.settled == []
    await stage.clock.advance(1.0)  # the retry fails as well, and backs off for a second
    assert stage.poker.owes("shop", "db")
    await stage.clock.advance(1.0)
    assert not stage.poker.owes("shop", "db")
    await stage.clock.advance(10.0)
    assert stage.settled == [("shop", "db", 2.0)], "once"
    assert stage.values("app-1") == ["7-1", "7-1", "7-1", "7-2"]
    assert stage.values("app-2") == ["7-1", "7-2"]
    assert [r.__dict__["fields"] for r in caplog.records] == [
        {"namespace": "shop", "pod": "app-1", "name": "db", "error": "merge pods: 500 Scripted"}
    ] * 2


async def test_the_last_of_several_that_is_reached_settles_it(stage: Stage) -> None:
    stage.run("app-1", "app-2")
    stage.kube.fail("merge", PODS, 500, 500, 500, None)
    assert await stage.send(view("app-1"), view("app-2")) is False
    await stage.clock.advance(1.0)
    assert stage.settled == []
    await stage.clock.advance(1.0)
    await stage.clock.advance(10.0)
    assert stage.settled == [("shop", "db", 2.0)], "once"
    assert not stage.poker.owes("shop", "db")


async def test_a_failing_pod_that_goes_is_owed_no_more(stage: Stage) -> None:
    stage.run()
    stage.kube.fail("merge", PODS, 500)
    assert await stage.send(view()) is False
    stage.kube.remove(PODS, "shop", "app-1")
    await stage.clock.advance(1.0)
    assert (stage.poker.owes("shop", "db"), stage.settled) == (False, [("shop", "db", 1.0)])


async def test_what_one_object_owes_is_not_owed_by_others(stage: Stage) -> None:
    stage.run()
    stage.kube.fail("merge", PODS, 500)
    await stage.send(view())
    assert stage.poker.owes("shop", "db")
    assert not stage.poker.owes("shop", "mail")
    assert not stage.poker.owes("other", "db")
    await stage.clock.advance(5.0)


class HeldKube(MemoryKube):
    """Lets no patch through while its gate is shut."""

    def __init__(self, clock: FakeClock) -> None:
        super().__init__(clock)
        self.gate = asyncio.Event()

    async def merge_patch(self, *arguments: Any, **keywords: Any) -> Any:
        await self.gate.wait()
        return await super().merge_patch(*arguments, **keywords)


def hold(stage: Stage) -> HeldKube:
    """Another API server, with the pod app-1, whose gate is shut."""
    stage.kube = held = HeldKube(stage.clock)
    stage.poker._kube = held  # type: ignore[assignment]
    held.put(PODS, pod())
    return held


async def test_a_version_that_comes_while_the_first_poke_of_an_older_one_is_on_its_way(stage: Stage) -> None:
    held = hold(stage)
    older = asyncio.create_task(stage.poker.poke("db", [view()], "7"), name="older")
    await stage.clock.settle()
    newer = asyncio.create_task(stage.poker.poke("db", [view()], "8"), name="newer")
    await stage.clock.settle()
    held.gate.set()
    assert [await older, await newer] == [True, True]
    await stage.clock.advance(10.0)
    assert stage.values() == ["7-1", "8-1", "8-2"]


async def test_a_version_that_comes_while_the_second_poke_of_an_older_one_is_on_its_way(stage: Stage) -> None:
    held = hold(stage)
    held.gate.set()
    await stage.send(view(), version="7")
    held.gate.clear()
    await stage.clock.advance(1.5)
    newer = asyncio.create_task(stage.poker.poke("db", [view()], "8"), name="newer")
    await stage.clock.settle()
    held.gate.set()
    assert await newer is True
    await stage.clock.advance(10.0)
    assert sorted(stage.values()) == ["7-1", "7-2", "8-1", "8-2"]
    assert stage.values()[-1] == "8-2"


async def test_the_poke_of_nothing(stage: Stage) -> None:
    assert await stage.poker.reconcile(PokeKey("shop", "app-1", "db")) == Result.absent()


# ── how much at once ─────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_node_gets_twenty_at_once_and_then_twenty_a_second(stage: Stage) -> None:
    names = [f"app-{n:02}" for n in range(60)]
    stage.run(*names)
    poking = asyncio.create_task(stage.poker.poke("db", [view(n) for n in names], "7"), name="poking")
    await stage.clock.advance(0.001)
    assert len(stage.times) == 20
    await stage.clock.advance(1.0)
    assert len(stage.times) == 40
    await stage.clock.advance(1.0)
    assert await poking is True
    assert len([t for t in stage.times if t <= 2.0]) >= 60
    await stage.clock.advance(10.0)
    assert len(stage.times) == 120
    for start in stage.times:
        assert sum(start <= t < start + 1.0 for t in stage.times) <= 41, "a burst, and one second's worth"


async def test_a_busy_node_does_not_hold_up_another(stage: Stage) -> None:
    crowd = [f"app-{n}" for n in range(20)]
    stage.run(*crowd, "alone")
    await stage.send(*(view(n) for n in crowd))
    stage.times.clear()
    await stage.send(view("alone", node="node-2"))
    assert stage.times == [0.0]
