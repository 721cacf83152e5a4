"""From a write in OpenBao to the Secret and to the bytes in a pod's file, while many other objects are at rest."""

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from bench import progress
from bench.figures import Figure, count, seconds
from bench.fleet import Arrivals, Fleet
from bench.mounts import Mounts
from bench.scale import Scale
from bench.spread import Spread
from bench.world import World
from tests.chaos.support.clients import Bao

__all__ = ["by_listing", "by_poll", "with_hints"]

# A write that a hint told of is in the file by then; later, a poll found it.
BY_POLL = 5.0
LOOK_EVERY = 0.01


@dataclass(slots=True)
class Change:
    """A write to the entry of object `i`, in seconds since 1970; None where it has not come."""

    i: int
    written: float
    secret: float | None = None
    file: float | None = None


def with_hints(world: World, scale: Scale) -> Iterator[Figure]:
    """A forwarder tells of writes; polls come every 60 s."""
    fleet = Fleet(world, scale.objects, scale.objects, interval="60s")
    yield from _measure(fleet, scale, "hints", "hints on", world.hinted, late=BY_POLL)


def by_poll(world: World, scale: Scale) -> Iterator[Figure]:
    """No hints, a poll every 10 s, a request for each path."""
    fleet = Fleet(world, scale.objects, scale.objects, interval="10s")
    yield from _measure(fleet, scale, "poll", "10 s poll", world.operator, late=30.0)


def by_listing(world: World, scale: Scale) -> Iterator[Figure]:
    """No hints, a poll every 2 s, a listing for each folder."""
    world.allow_listing()
    fleet = Fleet(world, scale.objects, scale.objects, interval="2s")
    yield from _measure(fleet, scale, "listing", "2 s poll by listing", world.operator, late=10.0)


def _measure(
    fleet: Fleet,
    scale: Scale,
    key: str,
    what: str,
    operator: Callable[[], AbstractContextManager[object]],
    *,
    late: float,
) -> Iterator[Figure]:
    fleet.fill()
    objects = random.sample(range(fleet.objects), scale.changes)
    arrivals = Arrivals(fleet.world)
    with operator():
        fleet.wait_synced(arrivals)
        mounts = Mounts(fleet, objects)
        progress.sleep(scale.settle, "all comes to rest")
        changes = _change(fleet, mounts, objects, scale.spread)
    _find_secrets(fleet, arrivals, changes)
    how = f"{len(changes)} writes over {scale.spread:.0f} s, {fleet.what}, the changed ones in {mounts.count} pods"
    for part, name, end in (("secret", "write → Secret", SECRET), ("file", "write → file", FILE)):
        yield from _spread(f"{key}.{part}", f"{name}, {what}", _took(changes, part), f"{how}; write sent to {end}")
    last = [c.file - c.secret for c in changes if c.file and c.secret]
    if last:
        how = f"of it, the Secret's answer to the swap: {Spread.of(last).text(digits=3)}"
        yield seconds(f"{key}.kubelet.p50", f"Secret → file, {what}: p50", Spread.of(last).p50, how, digits=3)
    lost = sum(c.file is None or c.file - c.written > late for c in changes)
    yield count(f"{key}.missed", f"not in the file after {late:.0f} s, {what}", lost, f"of {len(changes)} writes")


SECRET = "the API server's answer to the apply of the Secret, by its audit log"
FILE = "kubelet's swap of the volume, by the time of its link"


def _change(fleet: Fleet, mounts: Mounts, objects: Sequence[int], spread: float) -> list[Change]:
    """Write to the entries at random times, and return when all have arrived, or none more will."""
    bao, began = Bao(fleet.world.lab), time.time()
    due = sorted((began + random.random() * spread, i) for i in objects)  # noqa: S311 - a phase, not a secret
    changes: list[Change] = []
    open_: list[Change] = []

    def arrived() -> int:
        while due and due[0][0] <= time.time():
            change = Change(due.pop(0)[1], time.time())
            bao.put(fleet.path(change.i), {"value": "1"})
            changes.append(change)
            open_.append(change)
        for change in open_:
            change.file = mounts.swapped(change.i, "1")
        open_[:] = [change for change in open_ if change.file is None]
        return len(changes) - len(open_)

    try:
        progress.until("changes arrive", arrived, len(objects), within=spread + 90, every=LOOK_EVERY)
    except AssertionError as e:
        progress.say(f"  {e}")
    return changes


def _find_secrets(fleet: Fleet, arrivals: Arrivals, changes: Sequence[Change]) -> None:
    arrivals.look()
    for change in changes:
        times = arrivals.secrets.get((fleet.namespace(change.i), fleet.name(change.i)), [])
        change.secret = next((t for t in times if t >= change.written), None)


def _took(changes: Sequence[Change], which: str) -> list[float]:
    """Seconds; one that never came counts as if it came now."""
    return [(getattr(change, which) or time.time()) - change.written for change in changes]


def _spread(key: str, name: str, took: Sequence[float], how: str) -> Iterator[Figure]:
    found = Spread.of(took)
    for part in ("p50", "p95", "p99", "max"):
        yield seconds(f"{key}.{part}", f"{name}: {part}", getattr(found, part), how, digits=3)
        how = "the same"
