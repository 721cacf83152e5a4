"""A hundred rotations of users of PostgreSQL that are due within a minute, and all in one second."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

from bench import progress
from bench.figures import Figure, count, milliseconds, seconds
from bench.following import at
from bench.process import Cpu
from bench.runs import Run, calls_of_api, calls_of_vault, runs_of
from bench.scale import Scale
from bench.spread import Spread
from bench.traffic import told
from bench.world import World
from tests.chaos.support.clients import ELILE, Api, Bao
from tests.e2e.support.audit import Tail
from tests.e2e.support.databases import Rotated, postgresql
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

__all__ = ["rotations"]

IDENTITIES, SERVERS = 4, 4
GRACE, PROOF = "5s", "1s"


def rotations(world: World, scale: Scale) -> Iterator[Figure]:
    """Spread over a minute by their splay, and without one."""
    install_rotator(world.cluster)
    with ExitStack() as stack:
        databases = [stack.enter_context(postgresql(world.cluster, slot)) for slot in range(1, SERVERS + 1)]
        for key, splay in scale.rotation_splays:
            yield from _measure(world, databases, scale, key, splay)


def _measure(world: World, databases: Sequence[Rotated], scale: Scale, key: str, splay: str | None) -> Iterator[Figure]:
    tenants = []
    for i in range(IDENTITIES):
        world.cluster.kubectl("create", "namespace", f"bench-{key}-{i}")
        tenants.append(Rotating(Tenant(world.cluster, f"bench-{key}-{i}")))
    api = Api(world.lab, 30)
    with world.egress() as operator:
        due = _prepare(world, api, tenants, databases, scale, splay)
        kube, bao, cpu = Tail.of(world.lab.api_audit_log), Tail.of(world.lab.bao_audit_log), Cpu(operator.pid)
        progress.until("are over", lambda: len(_ended(api, tenants)), len(due), within=600, every=1.0)
        used = cpu.used()
        runs = list(runs_of(_ended(api, tenants), due, kube, bao))
    for tenant in tenants:
        world.cluster.kubectl("delete", "namespace", tenant.namespace, "--wait=false")
    yield from _figures(key, runs, used, calls_of_vault(bao), calls_of_api(kube))


def _figures(key: str, runs: Sequence[Run], cpu: float, vault: dict[str, int], api: dict[str, int]) -> Iterator[Figure]:
    number = len(runs)
    start = Spread.of(run.begun - run.due for run in runs)
    made = Spread.of(run.made - run.due for run in runs)
    length = Spread.of(run.ended - run.begun for run in runs)
    failed = sum(run.result != "Succeeded" for run in runs)
    of = f"{number} rotations due within one {key}"
    key = f"rotations.{key}"
    yield count(
        f"{key}.failed", f"{of}, on {SERVERS} servers of PostgreSQL: not succeeded", failed, "results of the Rotations"
    )
    how = f"due to the first write of the journal, by OpenBao's audit log: {start.text()}; to its making: {made.text()}"
    yield seconds(f"{key}.p99", f"{of}: start delay, p99", start.p99, how)
    how = f"with a proof of {PROOF} and a grace of {GRACE}: {length.text(digits=1)}"
    yield seconds(f"{key}.length", f"{of}: duration, p50", length.p50, how, digits=1)
    whole = max(run.ended for run in runs) - min(run.due for run in runs)
    yield seconds(f"{key}.whole", f"{of}: first due to last ended", whole, "audit logs", digits=1)
    yield milliseconds(f"{key}.cpu", f"{of}: CPU of the operator for each", cpu / number, "kernel")
    for server, calls in (("vault", vault), ("api", api)):
        name = "Vault" if server == "vault" else "the API server"
        how = told(calls, per=number, least=0.05, digits=1)
        yield count(
            f"{key}.{server}", f"{of}: requests to {name} for each", sum(calls.values()) / number, how, digits=1
        )


def _prepare(
    world: World,
    api: Api,
    tenants: Sequence[Rotating],
    databases: Sequence[Rotated],
    scale: Scale,
    splay: str | None,
) -> dict[str, float]:
    """Make users, entries, ElileSecrets and schedules; return when each is due."""
    store, secrets, pairs = Bao(world.lab), [], []
    for i in progress.each("users", range(scale.rotations), scale.rotations):
        tenant, database = tenants[i % len(tenants)], databases[i % len(databases)]
        pair = database.pair(f"{tenant.namespace}_{i}".replace("-", "_"))
        store.put(f"{tenant.namespace}/s-{i}", {"username": pair.users[0], "password": pair.password})
        entry = database.admin_entry(*pair.users)
        store.put(f"{tenant.namespace}/admin-{i}", {**entry, "allowed_users": ",".join(pair.users)})
        secrets.append(
            tenant.tenant.manifest(f"s-{i}", consumers={"proof": {"elapsed": PROOF}}, refresh={"interval": "60s"})
        )
        pairs.append((i, tenant, database.target(pair, f"{tenant.namespace}/admin-{i}")))
    world.cluster.apply(*secrets)
    names = tuple(tenant.namespace for tenant in tenants)
    progress.until("are synced", lambda: world.synced(names), scale.rotations, every=1.0)
    minute = _minute_after(datetime.now(UTC) + timedelta(seconds=scale.rotation_lead))
    world.cluster.apply(*(_schedule(i, tenant, target, minute, splay) for i, tenant, target in pairs))
    left = minute.timestamp() - time.time()
    progress.until("know when they are due", lambda: len(_known(api, tenants)), scale.rotations, within=left)
    return _known(api, tenants)


def _minute_after(moment: datetime) -> datetime:
    return moment.replace(second=0, microsecond=0) + timedelta(minutes=1)


def _schedule(i: int, tenant: Rotating, target: dict[str, Any], minute: datetime, splay: str | None) -> dict[str, Any]:
    return tenant.manifest(
        f"s-{i}",
        f"s-{i}",
        schedule=f"{minute.minute} {minute.hour} * * *",
        fields={"username": "username", "value": "password"},
        apply=target,
        gracePeriod=GRACE,
        **({"splay": splay} if splay else {}),
    )


def _known(api: Api, tenants: Sequence[Rotating]) -> dict[str, float]:
    """Return when each schedule that knows it is due."""
    return {
        f"{body['metadata']['namespace']}/{body['metadata']['name']}": at(body["status"]["nextRotationTime"])
        for tenant in tenants
        for body in api.list(f"{ELILE}/namespaces/{tenant.namespace}/rotationschedules")
        if body.get("status", {}).get("nextRotationTime")
    }


def _ended(api: Api, tenants: Sequence[Rotating]) -> list[dict[str, Any]]:
    """Return the Rotations that are over."""
    found = (b for t in tenants for b in api.list(f"{ELILE}/namespaces/{t.namespace}/rotations"))
    return [body for body in found if body.get("status", {}).get("result")]
