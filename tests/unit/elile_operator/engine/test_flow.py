"""Ten thousand objects flow from a list through store and queue to the workers, once each, and none is lost."""

import random
from datetime import timedelta

from elile_operator.engine import (
    Body,
    Change,
    ObjectKey,
    ObjectStore,
    Page,
    Priority,
    Result,
    Resync,
    Runner,
    WorkQueue,
    object_key,
)
from tests.fakes.clock import FakeClock

COUNT, PAGE = 10_000, 500


class Lister:
    def __init__(self) -> None:
        self.objects: list[Body] = [
            {"metadata": {"namespace": f"ns{i % 50}", "name": f"s{i}", "generation": 1, "resourceVersion": str(i + 1)}}
            for i in range(COUNT)
        ]

    async def list_page(self, token: str) -> Page:
        at = int(token or 0)
        rest = str(at + PAGE) if at + PAGE < len(self.objects) else ""
        return Page(self.objects[at : at + PAGE], rest, str(COUNT + 1))


class Counting:
    def __init__(self, clock: FakeClock) -> None:
        self.runs: dict[ObjectKey, int] = {}
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        self.runs[key] = self.runs.get(key, 0) + 1
        await self._clock.sleep(0)
        if self.runs[key] == 1 and int(key.name[1:]) % 10 == 0:
            raise OSError  # every tenth fails the first time
        return Result.after(timedelta(seconds=60))


async def test_ten_thousand_keys() -> None:
    clock, rand = FakeClock(), random.Random(1).random  # noqa: S311 — to be repeatable
    lister, reconciler = Lister(), Counting(clock)
    queue: WorkQueue[ObjectKey] = WorkQueue(clock=clock, rand=rand)
    store: ObjectStore[ObjectKey, Body] = ObjectStore(
        kind="ElileSecret",
        key_of=object_key,
        project=lambda body: body,
        indexes={"namespace": lambda body: [body["metadata"]["namespace"]]},
    )

    def enqueue(change: Change[ObjectKey, Body]) -> None:
        if change.spec_changed:
            queue.add(change.key, priority=Priority.URGENT)

    store.subscribe(enqueue)
    resync = Resync(store=store, lister=lister, clock=clock, rand=rand)
    runner = Runner(name="secrets", queue=queue, reconciler=reconciler, clock=clock)
    resync.start()
    runner.start()

    while len(reconciler.runs) < COUNT or len(queue) or queue.stats().running:
        await clock.settle()
    assert set(reconciler.runs) == set(store.keys())
    assert set(reconciler.runs.values()) == {1}
    assert len(store.by("namespace", "ns7")) == COUNT // 50
    assert queue.stats().scheduled == COUNT

    clock.tick(1.0)  # the failed ones, all at once, and nobody else
    while len(queue) or queue.stats().running:
        await clock.settle()
    assert sum(reconciler.runs.values()) == COUNT + COUNT // 10

    clock.tick(60)  # a refresh of everybody
    while len(queue) or queue.stats().running:
        await clock.settle()
    assert min(reconciler.runs.values()) == 2
    assert queue.stats().scheduled == COUNT

    assert await runner.stop(1) == 0
    await resync.stop()
    assert clock.timers == 0
