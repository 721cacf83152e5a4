"""OpenBao is sealed for a while; some paths changed since they were last compared, at a 60 s poll."""

import time
from collections.abc import Iterator

from bench import progress
from bench.figures import Figure, count, seconds
from bench.fleet import Arrivals, Fleet
from bench.process import Cpu
from bench.scale import Scale
from bench.traffic import told, vault_calls
from bench.world import World
from tests.chaos.support.clients import Bao
from tests.chaos.support.writes import Writes
from tests.e2e.support.audit import Tail

__all__ = ["recovery"]


def recovery(world: World, scale: Scale) -> Iterator[Figure]:
    """One outage for each length, the objects being the same."""
    fleet = Fleet(world, scale.objects, scale.objects)
    fleet.fill()
    arrivals = Arrivals(world)
    with world.operator() as operator:
        fleet.wait_synced(arrivals)
        for number, sealed in enumerate(scale.sealed, 1):
            progress.sleep(scale.settle, "all comes to rest")
            yield from _outage(fleet, scale.sealed_changes, sealed, f"v{number}", operator.pid)


def _outage(fleet: Fleet, changed: int, sealed: float, value: str, pid: int) -> Iterator[Figure]:
    world, names = fleet.world, fleet.namespaces
    bao = Bao(world.lab)
    during, asked, arrivals = Writes.since(world.lab), Tail.of(world.lab.bao_audit_log), Arrivals(world)
    for i in range(changed):
        bao.put(fleet.path(i), {"value": value})
    # Values cannot change in a sealed server: they change right before, and next to none are polled in between.
    world.lab.seal()
    progress.sleep(sealed, "sealed")
    statuses, events = sum(during.statuses(*names).values()), during.events(*names)
    arrivals.look()
    before, cpu, began = len(arrivals.secrets), Cpu(pid), time.time()
    world.lab.unseal()
    active = time.time()

    def delivered() -> int:
        arrivals.look()
        return len(arrivals.secrets)

    progress.until("changes are delivered", delivered, changed, within=120)
    last = max(times[-1] for times in arrivals.secrets.values())
    time.sleep(5)
    used, calls = cpu.used(), vault_calls(asked.records())
    key = f"recovery.{sealed:.0f}"
    what = f"recovery, {fleet.what}, {changed} changed, sealed for {sealed:.0f} s"
    how = f"OpenBao active, {active - began:.1f} s after the unseal, to the last changed Secret, by the audit log"
    yield seconds(f"{key}.seconds", what, last - active, f"{how}; {before} came before")
    how = "audit log, while it was sealed"
    for name, times in (("statuses", statuses), ("events", events)):
        yield count(
            f"{key}.{name}", f"sealed for {sealed:.0f} s: {name}", times / fleet.objects, how, digits=2, of="an object"
        )
    yield seconds(
        f"{key}.cpu",
        f"sealed for {sealed:.0f} s: CPU of the operator",
        used,
        "kernel, unseal to 5 s after the last",
        digits=1,
    )
    yield count(
        f"{key}.vault",
        f"sealed for {sealed:.0f} s: requests to Vault",
        sum(calls.values()),
        f"from the change on: {told(calls)}",
    )
