"""What is measured: how long a value takes, what a cold start costs, what rest costs."""

import random
import statistics
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from bench.world import World, api_calls, bao_calls, cpu_seconds, rss_mib, until
from tests.chaos.support.clients import Bao
from tests.chaos.support.writes import Writes
from tests.e2e.support.audit import Tail
from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import Tenant

Figure = dict[str, Any]


def figure(name: str, value: object, how: str, budget: str = "–") -> Figure:
    return {"figure": name, "value": value, "budget": budget, "how": how}


def spread(values: list[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s"


def delivery(world: World, *, tries: int) -> Iterator[Figure]:
    """OpenBao write → file in a pod, through a poll of 1 s, at random phases of it."""
    tenant = Tenant(world.cluster, "bench-delivery")
    world.cluster.kubectl("create", "namespace", tenant.namespace)
    tenant.put("db", value="0")
    with world.operator():
        tenant.want("db", refresh={"interval": "1s"})
        tenant.wait("db", "Synced")
        pod = tenant.run_pod("app", "db")
        time.sleep(3)
        whole, last = [], []
        for i in range(1, tries + 1):
            time.sleep(random.random())  # noqa: S311 - a phase, not a secret
            audit = Tail.of(world.lab.api_audit_log)
            tenant.put("db", value=str(i))
            began = time.monotonic()
            eventually("the file", lambda i=i: pod.read("value") == str(i), within=60, every=0.005)  # type: ignore[misc]
            whole.append(time.monotonic() - began)
            swapped = pod.volume().joinpath("..data").lstat().st_mtime
            last.append(swapped - secret_written(audit, tenant))
    yield figure("OpenBao write → file, 1 s poll", spread(whole), f"{tries} writes, from bao's answer to the bytes")
    yield figure("Secret write → file", spread(last), "API server's audit log to kubelet's swap of the volume")


def secret_written(audit: Tail, tenant: Tenant) -> float:
    path = f"/api/v1/namespaces/{tenant.namespace}/secrets/db"
    times = [
        record["stageTimestamp"]
        for record in audit.records()
        if record["stage"] == "ResponseComplete" and record["verb"] == "patch" and record["requestURI"].startswith(path)
    ]
    return datetime.fromisoformat(times[-1]).timestamp()


def scale(world: World, *, objects: int, paths: int, identities: int, rest: float) -> Iterator[Figure]:
    """Cold start of many new objects, then rest at a 60 s poll."""
    what = f"{objects} objects, {paths} paths, {identities} identities"
    tenants = [Tenant(world.cluster, f"bench-{objects}-{paths}-{i}") for i in range(identities)]
    mine, store = paths // identities, Bao(world.lab)
    for tenant in tenants:
        world.cluster.kubectl("create", "namespace", tenant.namespace)
        for i in range(mine):
            store.put(f"{tenant.namespace}/p-{i}", {"value": f"{i}"})
    world.apply_many(
        [
            {
                "apiVersion": "elile.io/v1alpha1",
                "kind": "ElileSecret",
                "metadata": {"name": f"s-{i}", "namespace": tenant.namespace},
                "spec": {
                    "sources": [{"name": "s", "kv": {"path": f"{tenant.namespace}/p-{i % mine}"}}],
                    "refresh": {"interval": "60s"},
                },
            }
            for tenant in tenants
            for i in range(objects // identities)
        ]
    )
    names = [tenant.namespace for tenant in tenants]
    api, bao = Tail.of(world.lab.api_audit_log), Tail.of(world.lab.bao_audit_log)
    written, began = Writes.since(world.lab), time.time()
    with world.operator() as operator:
        until("all are synced", lambda: world.synced(names) == objects, every=1.0)
        took = max(written.times("elilesecrets", *names)) - began
        time.sleep(3)
        cold, asked, cpu = api_calls(api), bao_calls(bao), cpu_seconds(operator.pid)
        writes = count_writes(cold)
        how = "start of the process to the last status that says Ready, audit log"
        yield figure(f"cold start, {what}", f"{took:.1f} s", how, "≤ 6 s for 1,000; ≤ 20 s for 3,000")
        yield figure(
            "  API writes and Vault reads per object",
            f"{writes / objects:.2f} and {asked['secret/data'] / objects:.2f}",
            "both audit logs",
            "≤ 3 and 1",
        )
        how = "/proc, from its start to 3 s after the last"
        yield figure("  CPU of the operator", f"{cpu:.1f} s", how, "≤ 4 s for 1,000")
        api, bao = Tail.of(world.lab.api_audit_log), Tail.of(world.lab.bao_audit_log)
        time.sleep(rest)
        still, asked = api_calls(api), bao_calls(bao)
        writes = count_writes(still)
        used = cpu_seconds(operator.pid) - cpu
        yield figure(f"at rest for {rest:.0f} s: API writes", writes, "audit log, by user agent, no Lease", "0")
        yield figure("  Vault requests a minute", round(sum(asked.values()) * 60 / rest), "audit log", f"≈ {paths}")
        yield figure("  CPU of the operator", f"{used:.1f} s", "/proc", "≤ 2 s in 180 s")
        yield figure("  RSS", f"{rss_mib(operator.pid):.0f} MiB", "/proc", "≤ 100 MiB for 1,000")
    for tenant in tenants:
        world.cluster.kubectl("delete", "namespace", tenant.namespace, "--wait=false")


def outage(world: World, *, objects: int, changed: int, sealed: float, identities: int = 4) -> Iterator[Figure]:
    """OpenBao is sealed for a while; some paths changed since they were last compared, at a 60 s poll."""
    bao = Bao(world.lab)
    tenants = [Tenant(world.cluster, f"bench-sealed-{sealed:.0f}-{i}") for i in range(identities)]
    mine = objects // identities
    for tenant in tenants:
        world.cluster.kubectl("create", "namespace", tenant.namespace)
        for i in range(mine):
            bao.put(f"{tenant.namespace}/s-{i}", {"value": "old"})
    world.apply_many([elilesecret(tenant, f"s-{i}") for tenant in tenants for i in range(mine)])
    names = [tenant.namespace for tenant in tenants]
    with world.operator() as operator:
        until("all are synced", lambda: world.synced(names) == objects, every=1.0)
        time.sleep(10)
        during, asked = Writes.since(world.lab), Tail.of(world.lab.bao_audit_log)
        for i in range(changed):
            bao.put(f"{tenants[i % identities].namespace}/s-{i // identities}", {"value": "new"})
        # Values cannot change in a sealed server: they change right before, and next to none are polled in between.
        world.lab.seal()
        time.sleep(sealed)
        found, statuses, events = during.secrets(*names), during.statuses(*names), during.events(*names)
        before, after = sum(found.values()), Writes.since(world.lab)
        began, cpu = time.time(), cpu_seconds(operator.pid)
        world.lab.unseal()
        active = time.time()
        until("the changed are delivered", lambda: sum(after.secrets(*names).values()) >= changed - before)
        last = max(after.times("secrets", *names))
        time.sleep(5)
        cpu = cpu_seconds(operator.pid) - cpu
        what = f"{objects} objects on {objects} paths, {changed} changed, sealed for {sealed:.0f} s"
        yield figure(
            f"recovery, {what}",
            f"{last - active:.2f} s",
            f"OpenBao active to the last changed Secret, audit log; active {active - began:.1f} s after the unseal",
            "≤ 2 s (peers 7.3 s and 8.6 s)",
        )
        yield figure(
            "  while sealed: status writes and events per object",
            f"{sum(statuses.values()) / objects:.2f} and {events / objects:.2f}",
            "audit log",
            "≤ 1 and 1",
        )
        yield figure("  CPU of the operator, unseal to 5 s after the last", f"{cpu:.1f} s", "/proc")
        yield figure("  Secrets written before, after the unseal", f"{before}, {count(after, names)}", "audit log")
        yield figure("  Vault requests from the change on", sum(bao_calls(asked).values()), "audit log")
    for tenant in tenants:
        world.cluster.kubectl("delete", "namespace", tenant.namespace, "--wait=false")


def count_writes(calls: Counter[str]) -> int:
    """Count the requests that change something; the Lease is renewed for ever, and TokenRequests make tokens."""
    changes = {call: n for call, n in calls.items() if call.split()[0] in ("create", "patch", "update", "delete")}
    return sum(n for call, n in changes.items() if not call.endswith((" leases", "serviceaccounts/token")))


def count(writes: Writes, namespaces: list[str]) -> int:
    return sum(writes.secrets(*namespaces).values())


def elilesecret(tenant: Tenant, name: str) -> dict[str, Any]:
    """An object of its own path, polled every minute."""
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "ElileSecret",
        "metadata": {"name": name, "namespace": tenant.namespace},
        "spec": {
            "sources": [{"name": "s", "kv": {"path": f"{tenant.namespace}/{name}"}}],
            "refresh": {"interval": "60s"},
        },
    }
