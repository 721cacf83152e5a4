"""The work queue against a model too simple to be wrong, in any order of calls; and its workers, in any timing."""

import asyncio
import math
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from elile_operator.engine import Backoff, Priority, WorkQueue
from elile_operator.engine.ready import URGENT_RUN
from tests.fakes.clock import FakeClock

KEYS = "abcde"
BACKOFF = Backoff(base=1.0, cap=16.0)

keys = st.sampled_from(KEYS)
priorities = st.sampled_from(Priority)
# Quarters add up without rounding, so that model and queue must agree to the last bit.
delays = st.integers(-2, 60).map(lambda quarters: quarters / 4)


@dataclass
class Request:
    """Somebody asked for a look at `when`."""

    when: float
    priority: Priority
    retry: bool = False


@dataclass
class Run:
    planned: list[Request]
    again: Priority | None = None
    dropped: bool = False


@dataclass
class Model:
    """Keeps every request instead of merging them."""

    now: float = 0.0
    ready: dict[str, Priority] = field(default_factory=dict)
    running: dict[str, Run] = field(default_factory=dict)
    requests: dict[str, list[Request]] = field(default_factory=lambda: {key: [] for key in KEYS})
    failures: dict[str, int] = field(default_factory=dict)

    def add(self, key: str, priority: Priority) -> None:
        if run := self.running.get(key):
            run.again = priority if run.again is None else min(run.again, priority)
        else:
            self.ready[key] = min(self.ready.get(key, priority), priority)

    def ask(self, key: str, request: Request) -> None:
        if request.when <= self.now:
            self.add(key, request.priority)
        else:
            self.requests[key].append(request)

    def advance(self, seconds: float) -> None:
        self.now += seconds
        for key, requests in self.requests.items():
            if requests and min(r.when for r in requests) <= self.now:
                self.add(key, min(r.priority for r in requests))
                requests.clear()

    def take(self, key: str) -> None:
        del self.ready[key]
        self.running[key] = Run(planned=self.requests[key])
        self.requests[key] = []

    def finish(self, key: str, *, keep_plans: bool) -> None:
        run = self.running.pop(key)
        if keep_plans and run.planned:
            earliest = min(r.when for r in run.planned)
            if earliest <= self.now:
                self.add(key, min(r.priority for r in run.planned))
            else:
                self.requests[key] += run.planned
        if run.again is not None:
            self.add(key, run.again)

    def forget(self, key: str) -> None:
        self.failures.pop(key, None)
        run = self.running.get(key)
        for requests in (self.requests[key], run.planned if run else []):
            if all(r.retry for r in requests):
                requests.clear()

    def drop(self, key: str) -> None:
        self.ready.pop(key, None)
        self.requests[key].clear()
        self.failures.pop(key, None)
        if run := self.running.get(key):
            run.planned, run.again, run.dropped = [], None, True


class QueueMachine(RuleBasedStateMachine):
    """Every rule does the same to the queue and to the model."""

    width = math.inf

    def __init__(self) -> None:
        super().__init__()
        self.clock = FakeClock(monotonic=0.0)
        self.lanes = dict.fromkeys(KEYS, 0)
        self.taken_in: dict[str, int] = {}
        self.queue: WorkQueue[str] = WorkQueue(
            clock=self.clock, rand=lambda: 1.0, backoff=BACKOFF, lane_of=self.lanes.__getitem__, width=self.width
        )
        self.model = Model()
        self.urgent_in_a_row = 0

    @rule(key=keys, priority=priorities)
    def add(self, key: str, priority: Priority) -> None:
        self.queue.add(key, priority=priority)
        self.model.add(key, priority)

    @rule(key=keys, delay=delays, priority=priorities)
    def add_after(self, key: str, delay: float, priority: Priority) -> None:
        self.queue.add_after(key, delay, priority=priority)
        self.model.ask(key, Request(self.model.now + delay, priority))

    @rule(batch=st.lists(keys, unique=True), quarters=st.integers(0, 4))
    def retry_now(self, batch: list[str], quarters: int) -> None:
        spread = quarters / 4 * len(batch)  # so that the steps are quarters
        self.queue.retry_now(batch, spread)
        for i, key in enumerate(batch):
            self.model.forget(key)
            if key not in self.model.ready:
                self.model.ask(key, Request(self.model.now + quarters / 4 * i, Priority.ROUTINE))

    @rule(key=keys)
    def drop(self, key: str) -> None:
        self.queue.drop(key)
        self.model.drop(key)

    @rule(key=keys)
    def forget(self, key: str) -> None:
        self.queue.forget(key)
        self.model.forget(key)

    @rule(quarters=st.integers(1, 80))
    def time_passes(self, quarters: int) -> None:
        self.clock.tick(quarters / 4)
        self.model.advance(quarters / 4)

    @rule()
    def take(self) -> None:
        taken = [self.taken_in[key] for key in self.model.running]
        free = {key: p for key, p in self.model.ready.items() if taken.count(self.lanes[key]) < self.width}
        key = self.queue.get_nowait()
        if key is None:
            assert not free, "a key is lost"
            return
        assert key in free or key not in self.model.ready, "its lane is full"
        self.taken_in[key] = self.lanes[key]
        assert key not in self.model.running, "given out twice at a time"
        assert key in self.model.ready, "nobody asked for this key, or it was dropped"
        if self.model.ready[key] is Priority.URGENT:
            self.urgent_in_a_row += 1
        else:
            waiting = Priority.URGENT in free.values()
            assert not waiting or self.urgent_in_a_row >= URGENT_RUN, "an urgent key was overtaken"
            self.urgent_in_a_row = 0
        self.model.take(key)

    @precondition(lambda self: self.model.running)
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.running)))
        self.queue.done(key)
        self.model.finish(key, keep_plans=True)

    @precondition(lambda self: self.model.running)
    @rule(data=st.data(), delay=delays.filter(lambda delay: delay >= 0))
    def succeed_and_requeue(self, data: st.DataObject, delay: float) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.running)))
        dropped = self.model.running[key].dropped
        self.queue.done(key, after=delay)
        self.model.finish(key, keep_plans=False)
        if not dropped:
            self.model.ask(key, Request(self.model.now + delay, Priority.ROUTINE))

    @precondition(lambda self: self.model.running)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.running)))
        delay = self.queue.backoff(key)
        self.queue.done(key)
        dropped = self.model.running[key].dropped
        assert (delay is None) is dropped
        self.model.finish(key, keep_plans=False)
        if delay is not None:
            self.model.failures[key] = self.model.failures.get(key, 0) + 1
            assert delay == min(16.0, 2.0 ** (self.model.failures[key] - 1))
            self.model.ask(key, Request(self.model.now + delay, Priority.ROUTINE, retry=True))

    @precondition(lambda self: self.model.running)
    @rule(data=st.data())
    def gone(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.model.running)))
        self.queue.forget(key)
        self.queue.discard_due(key)
        self.queue.done(key)
        self.model.forget(key)
        self.model.finish(key, keep_plans=False)

    @invariant()
    def agree(self) -> None:
        stats = self.queue.stats()
        assert stats.ready == len(self.queue) == len(self.model.ready)
        assert stats.running == len(self.model.running)
        assert stats.scheduled == sum(bool(requests) for requests in self.model.requests.values())
        for key in KEYS:
            run = self.model.running.get(key)
            whens = [r.when for r in self.model.requests[key] + (run.planned if run else [])]
            assert self.queue.due(key) == min(whens, default=None), key
            assert self.queue.failures(key) == self.model.failures.get(key, 0), key

    @invariant()
    def there_is_a_timer_if_anything_is_scheduled(self) -> None:
        assert self.clock.timers >= bool(self.queue.stats().scheduled)
        assert self.clock.timers <= 1

    def teardown(self) -> None:
        """Whatever happened: in the end every key that anybody wants comes out, and nothing else does."""
        for key in sorted(self.model.running):
            self.queue.done(key)
            self.model.finish(key, keep_plans=True)
        self.clock.tick(1000)
        self.model.advance(1000)
        wanted = set(self.model.ready)
        came = []
        while (taken := self.queue.get_nowait()) is not None:
            came.append(taken)
            self.queue.done(taken)
        assert sorted(came) == sorted(wanted)


class LanesMachine(QueueMachine):
    """The same with keys in two lanes that are soon full, and that change while keys wait."""

    width = 1

    @rule(key=keys, lane=st.integers(0, 1))
    def move(self, key: str, lane: int) -> None:
        self.lanes[key] = lane
        self.queue.add(key)
        self.model.add(key, Priority.ROUTINE)


TestQueue = QueueMachine.TestCase
TestQueue.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
TestLanes = LanesMachine.TestCase
TestLanes.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)


Step = tuple[str, str | int | float]
steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), keys),
        st.tuples(st.just("later"), keys),
        st.tuples(st.just("cancel"), st.integers(0, 2)),
        st.tuples(st.just("turn"), st.integers(1, 4)),
        st.tuples(st.just("advance"), st.sampled_from([0.5, 1.0, 3.0])),
    ),
    max_size=60,
)


@pytest.mark.parametrize("width", [math.inf, 1], ids=["one lane", "two narrow lanes"])
@given(steps=steps)
@settings(max_examples=200, deadline=None)
def test_workers_lose_nothing_whoever_is_cancelled_whenever(width: float, steps: list[Step]) -> None:
    """Three workers, cancelled and replaced in any turn of the loop: a look at its key must follow every add."""

    async def scenario() -> None:
        clock = FakeClock(monotonic=0.0)
        queue: WorkQueue[str] = WorkQueue(clock=clock, rand=lambda: 1.0, lane_of=lambda key: key in "abc", width=width)
        counts = {"event": 0}
        wanted: dict[str, int] = {}
        looked: dict[str, int] = {}
        running: set[str] = set()

        def count() -> int:
            counts["event"] += 1
            return counts["event"]

        async def work() -> None:
            while True:
                key = await queue.get()
                assert key not in running
                running.add(key)
                looked[key] = count()
                finished = False
                try:
                    await clock.sleep(1)
                    finished = True
                finally:
                    running.discard(key)
                    if not finished:
                        queue.add(key)  # as a new process would: the look was cut short
                        wanted[key] = count()
                    queue.done(key)

        def hire(i: int) -> asyncio.Task[None]:
            return asyncio.create_task(work(), name=f"worker-{i}")

        workers = [hire(i) for i in range(3)]
        for what, value in steps:
            if what == "add":
                queue.add(str(value))
                wanted[str(value)] = count()
            elif what == "later":
                queue.add_after(str(value), 2)
            elif what == "cancel":
                workers[int(value)].cancel()
                workers.append(workers[int(value)])
                workers[int(value)] = hire(int(value))
            elif what == "turn":
                for _ in range(int(value)):
                    await asyncio.sleep(0)
            else:
                await clock.advance(float(value))
        await clock.advance(100)
        for key, last in wanted.items():
            assert looked.get(key, 0) > last, key
        assert queue.stats().ready == queue.stats().running == 0
        assert all(not worker.done() for worker in workers[:3])
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    asyncio.run(scenario())
