"""Cold start: an operator meets many new objects, and makes their Secrets."""

import time
from collections.abc import Iterator, Mapping
from typing import Any

from bench.figures import Figure, count, seconds
from bench.fleet import Arrivals, Fleet
from bench.process import Cpu
from bench.scale import Scale
from bench.traffic import Kind, api_calls, by_kind, kind_of, told, vault_calls
from bench.world import World
from tests.e2e.support.audit import Tail

__all__ = ["BUDGETED", "many", "some"]

BUDGETED = ("seconds", "api", "vault", "cpu")

ABOUT_OBJECTS = (Kind.WRITE, Kind.READ)
OTHERS = ("kube-apiserver", "etcd", "openbao", "kube-controller-manager")


def some(world: World, scale: Scale) -> Iterator[Figure]:
    """The first thousand."""
    yield from _measure(Fleet(world, scale.objects, scale.objects), "1000")


def many(world: World, scale: Scale) -> Iterator[Figure]:
    """Three thousand."""
    yield from _measure(Fleet(world, scale.many, scale.many), "3000")


def _measure(fleet: Fleet, key: str) -> Iterator[Figure]:
    world, objects = fleet.world, fleet.objects
    fleet.fill()
    time.sleep(2)  # of the API server's own, after so many writes
    api, bao = Tail.of(world.lab.api_audit_log), Tail.of(world.lab.bao_audit_log)
    others = {name: Cpu(pid) for name in OTHERS if (pid := world.lab.component(name).pid)}
    arrivals = Arrivals(world)
    with world.operator() as operator:
        cpu = Cpu(operator.pid, whole=True)
        fleet.wait_synced(arrivals)
        time.sleep(3)
        used, shares = cpu.used(), {name: other.used() for name, other in others.items()}
    what, of = f"cold start, {fleet.what}", f"{objects:,} new objects"
    how = "start of the process to the API server's answer, by its audit log"
    yield seconds(f"cold.seconds.{key}", f"{what}: last Secret", arrivals.last_secret(), how, digits=1)
    yield seconds(f"cold.statuses.{key}", f"{of}: last status", arrivals.last_status(), how, digits=1)
    calls = api_calls(api.records())
    theirs = {call: n for call, n in api_calls(_within(fleet, api)).items() if kind_of(call) in ABOUT_OBJECTS}
    each = sum(theirs.values()) / objects
    how = f"audit log: {told(theirs, per=objects, digits=2)}; lists, watches and tokens of namespaces apart"
    yield count(f"cold.api.{key}", f"{of}: requests to the API server", round(each, 2), how, digits=2, of="an object")
    yield count(
        f"cold.api.all.{key}",
        f"{of}: all requests to the API server",
        sum(calls.values()),
        f"audit log: {_kinds(calls)}",
    )
    asked = vault_calls(bao.records())
    reads = sum(n for what, n in asked.items() if what.startswith("secret/")) / objects
    how = f"audit log: {told(asked, per=objects, least=0.01, digits=2)} an object"
    yield count(f"cold.vault.{key}", f"{of}: reads of Vault", round(reads, 2), how, digits=2, of="an object")
    how = "kernel, from its start to 3 s after the last"
    yield seconds(f"cold.cpu.{key}", f"{of}: CPU of the operator", used, how, digits=1)
    how = f"meanwhile: {', '.join(f'{name} {share:.1f} s' for name, share in shares.items())}"
    yield seconds(f"cold.cpu.others.{key}", f"{of}: CPU of the servers", sum(shares.values()), how, digits=1)


def _within(fleet: Fleet, tail: Tail) -> Iterator[dict[str, Any]]:
    """Requests about something in the objects' namespaces."""
    for record in tail.records():
        if (record.get("objectRef") or {}).get("namespace") in fleet.namespaces:
            yield record


def _kinds(calls: Mapping[str, int]) -> str:
    return told({kind.value: n for kind, n in by_kind(calls).items()})
