"""What a forwarder costs OpenBao: the latency of writes while it follows the audit log and while it stands still."""

import random
import signal
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bench import progress
from bench.figures import Figure, milliseconds
from bench.paired import Comparison, compare
from bench.process import Cpu
from bench.scale import Scale
from bench.world import World
from tests.chaos.support.clients import Bao
from tests.e2e.support.hints import Forwarder

__all__ = ["forwarder"]

PATHS = 20
WARM_UP = 100
# Seconds before each half of a pair, in which a forwarder that goes on catches up with the half that it missed.
PAUSE = 0.5


def forwarder(world: World, scale: Scale) -> Iterator[Figure]:
    """In pairs, in an order that is drawn; nobody reads what is written, so that reads cost nothing here."""
    bao = Bao(world.lab)
    with world.hinted() as (_, running):
        _writes(bao, WARM_UP)
        without, with_it, used = [], [], 0.0
        for _ in progress.each("pairs", range(scale.pairs), scale.pairs):
            for follows in random.sample((True, False), 2):
                cpu = Cpu(running.process.pid)
                if follows:
                    time.sleep(PAUSE)
                    with_it.append(_writes(bao, scale.writes))
                else:
                    with _standing_still(running):
                        time.sleep(PAUSE)
                        without.append(_writes(bao, scale.writes))
                used += cpu.used()
        used += _rest_of(running)
    writes = 2 * scale.pairs * scale.writes
    yield from _figures(compare(without, with_it), scale)
    how = f"kernel, {used:.2f} s for {writes:,} writes, heartbeats included"
    yield milliseconds("forwarder.cpu", "CPU of the forwarder for a write", used / writes, how)


def _figures(found: Comparison, scale: Scale) -> Iterator[Figure]:
    how = (
        f"{found.pairs} pairs of {scale.writes} writes, with the forwarder following and stopped, in an order that is "
        f"drawn; medians of each half, median of the differences, 95 % interval by bootstrap"
    )
    more, low, high = (f"{value * 1e3:+.3f}" for value in (found.more, found.low, found.high))
    # The budget is that nothing can be measured: what counts is how far from zero it is for certain.
    certain = max(0.0, found.low) * 1e3
    name = "what the forwarder adds to a write to OpenBao"
    yield Figure("forwarder.more", name, certain, "ms", f"{more} ms (95 %: {low} to {high} ms)", how)
    how = f"median of the halves without it; with it {found.with_it * 1e3:.3f} ms"
    yield milliseconds("forwarder.latency", "a write to OpenBao without it", found.without, how)


def _writes(bao: Bao, number: int) -> float:
    """Write, and return the median seconds that one took."""
    took = []
    for i in range(number):
        began = time.perf_counter()
        bao.put(f"bench-forwarder/p-{i % PATHS}", {"value": f"{i}"})
        took.append(time.perf_counter() - began)
    return statistics.median(took)


@contextmanager
def _standing_still(running: Forwarder) -> Iterator[None]:
    running.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        running.process.send_signal(signal.SIGCONT)


def _rest_of(running: Forwarder) -> float:
    """The CPU of what it has still to do."""
    cpu = Cpu(running.process.pid)
    time.sleep(2 * PAUSE)
    return cpu.used()
