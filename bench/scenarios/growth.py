"""An hour's worth of changes, as fast as they are delivered: what memory does, and what one change costs."""

import time
from collections import Counter, deque
from collections.abc import Iterator, Mapping

from bench import progress
from bench.figures import Figure, count, mib, milliseconds, seconds
from bench.fleet import Arrivals, Fleet
from bench.process import Cpu, rss_mib
from bench.scale import Scale
from bench.slope import slope
from bench.spread import Spread
from bench.traffic import Kind, api_calls, by_kind, told, vault_calls
from bench.world import World
from tests.chaos.support.clients import Bao
from tests.e2e.support.audit import Tail

__all__ = ["growth"]

AT_ONCE = 16  # changes that have not arrived
AT_REST = 20.0
APART = (Kind.LEASE, Kind.RESYNC, Kind.WATCH, Kind.TOKEN)


def growth(world: World, scale: Scale) -> Iterator[Figure]:
    """Hints tell of the changes; nothing is polled meanwhile."""
    fleet = Fleet(world, scale.objects, scale.objects, interval="1h")
    fleet.fill()
    arrivals = Arrivals(world)
    with world.hinted() as (operator, forwarder):
        fleet.wait_synced(arrivals)
        progress.sleep(scale.settle, "all comes to rest")
        idle = Cpu(operator.pid)
        progress.sleep(min(AT_REST, scale.rest), "at rest")
        resting = idle.used() / min(AT_REST, scale.rest)
        api, bao = Tail.of(world.lab.api_audit_log), Tail.of(world.lab.bao_audit_log)
        cpu, theirs = Cpu(operator.pid), Cpu(forwarder.process.pid)
        memory, took, lasted = _change(fleet, scale.growth, operator.pid)
        used, forwarding = cpu.used() - resting * lasted, theirs.used()
        calls, asked = api_calls(api.records()), vault_calls(bao.records())
        progress.sleep(scale.settle, "all comes to rest")
        after, forwarder_rss = rss_mib(operator.pid), rss_mib(forwarder.process.pid)
    what = f"{scale.growth:,} changes, {fleet.what}, {AT_ONCE} at a time"
    yield seconds("growth.seconds", what, lasted, "hints on; first write to the last Secret", digits=1)
    how = f"write to Secret under this load: {Spread.of(took).text()}"
    yield count("growth.rate", "changes a second", scale.growth / lasted, how, digits=1)
    how = f"kernel: {memory[0][1]:.0f} MiB before, {max(rss for _, rss in memory):.0f} at most, {after:.0f} after"
    yield mib("growth.rss", "RSS that an hour's worth of changes adds", after - memory[0][1], how)
    later = [point for point in memory if point[0] >= scale.growth / 3]
    how = f"line through {len(later)} samples, without the first third, which fills what is kept"
    rise = slope(later) * 1024
    yield Figure("growth.slope", "growth of RSS for a change", rise, "KiB", f"{rise:.2f} KiB", how)
    yield from _costs(scale.growth, used, forwarding, calls, asked)
    yield mib("growth.forwarder.rss", "RSS of the forwarder", forwarder_rss, "kernel, after that")


def _costs(
    changes: int, used: float, forwarding: float, calls: Counter[str], asked: Mapping[str, int]
) -> Iterator[Figure]:
    yield milliseconds("change.cpu", "CPU of the operator for a change", used / changes, "kernel, less that of rest")
    yield milliseconds("change.cpu.forwarder", "CPU of the forwarder for a change", forwarding / changes, "kernel")
    kinds = by_kind(calls)
    each = sum(n for kind, n in kinds.items() if kind not in APART) / changes
    how = f"audit log: {told(calls, per=changes, least=0.01, digits=2)}"
    yield count("change.api", "requests to the API server for a change", each, how, digits=2)
    how = f"audit log: {told(asked, per=changes, least=0.01, digits=2)}"
    yield count("change.vault", "requests to Vault for a change", sum(asked.values()) / changes, how, digits=2)


def _change(fleet: Fleet, changes: int, pid: int) -> tuple[list[tuple[float, float]], list[float], float]:
    """Write, so many at a time; return RSS by changes, how long each took to its Secret, and how long it was in all."""
    bao, arrivals = Bao(fleet.world.lab), Arrivals(fleet.world)
    written: dict[tuple[str, str], float] = {}
    waiting = deque(i % fleet.objects for i in range(changes))
    memory, took, began = [(0.0, rss_mib(pid))], [], time.time()

    def delivered() -> int:
        for key, when in arrivals.look():
            if key in written and when >= written[key]:
                took.append(when - written.pop(key))
        while waiting and len(written) < AT_ONCE:
            i = waiting.popleft()
            written[fleet.namespace(i), fleet.name(i)] = time.time()
            bao.put(fleet.path(i), {"value": f"{len(waiting)}"})
        if len(took) - memory[-1][0] >= changes / 100:
            memory.append((float(len(took)), rss_mib(pid)))
        return len(took)

    progress.until("changes arrive", delivered, changes, within=900, every=0.01)
    return memory, took, time.time() - began
