"""At rest: what the operator asks of Vault and of the API server, and what it uses, while nothing changes."""

from collections.abc import Iterator

from bench import progress
from bench.figures import Figure, count, mib, seconds
from bench.fleet import Arrivals, Fleet
from bench.process import Cpu, rss_mib
from bench.scale import Scale
from bench.traffic import Kind, api_calls, by_kind, told, vault_calls
from bench.world import World
from tests.e2e.support.audit import Tail

__all__ = ["by_listing", "by_path"]

THREE_MINUTES = 180.0
POLLS = ("secret/metadata", "secret/detailed-metadata")


def by_path(world: World, scale: Scale) -> Iterator[Figure]:
    """Each path is asked for: the policy allows no listing."""
    yield from _measure(Fleet(world, scale.objects, scale.objects), scale, "path", whole=True)


def by_listing(world: World, scale: Scale) -> Iterator[Figure]:
    """One folder of one identity, which may list it."""
    world.allow_listing()
    yield from _measure(Fleet(world, scale.objects, scale.objects, identities=1), scale, "listing", whole=False)


def _measure(fleet: Fleet, scale: Scale, key: str, *, whole: bool) -> Iterator[Figure]:
    world, rest = fleet.world, scale.rest
    fleet.fill()
    arrivals = Arrivals(world)
    with world.operator() as operator:
        fleet.wait_synced(arrivals)
        # A whole interval: the first polls ask what may be listed.
        progress.sleep(max(scale.settle, 60.0 if rest > 60 else 0.0), "all comes to rest")
        api, bao, cpu = Tail.of(world.lab.api_audit_log), Tail.of(world.lab.bao_audit_log), Cpu(operator.pid)
        progress.sleep(rest, "at rest")
        used, rss = cpu.used(), rss_mib(operator.pid)
        calls, asked = api_calls(api.records()), vault_calls(bao.records())
    what = f"at rest for {rest:.0f} s, {fleet.what}, by {key}"
    polls = sum(asked[poll] for poll in POLLS) * 60 / rest
    how = f"audit log; in all {told(asked)}"
    yield count(f"rest.vault.{key}", f"{what}: polls", polls, how, digits=1, of="a minute")
    how = "kernel" if rest == THREE_MINUTES else f"kernel, {used:.1f} s in {rest:.0f} s"
    yield seconds(
        f"rest.cpu.{key}", f"CPU of the operator in 3 minutes, by {key}", used * THREE_MINUTES / rest, how, digits=1
    )
    if whole:
        yield from _requests(by_kind(calls), calls, rest)
        yield mib("rss.1000", f"RSS, {fleet.what}", rss, "kernel, after that")


def _requests(kinds: dict[Kind, int], calls: dict[str, int], rest: float) -> Iterator[Figure]:
    how = f"audit log, in {rest:.0f} s: {told(calls)}"
    yield count("rest.api.writes", "writes but the Lease", kinds[Kind.WRITE], how)
    kept = kinds[Kind.LEASE] + kinds[Kind.WRITE] + kinds[Kind.READ]
    name = "Lease, writes and other reads"
    yield count("rest.api.kept", name, kept * 60 / rest, "the same", digits=1, of="a minute")
    apart = {kind.value: kinds[kind] * 60 / rest for kind in (Kind.RESYNC, Kind.WATCH, Kind.TOKEN)}
    name = f"apart: {told(apart, digits=1)}"
    yield count("rest.api.apart", name, sum(apart.values()), "the same", digits=1, of="a minute")
