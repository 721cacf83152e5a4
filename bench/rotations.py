"""A hundred rotations of users of PostgreSQL that are due at one time: `python -m bench.rotations` writes a page."""

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bench.world import ROOT, World, cpu_seconds, until, world
from tests.chaos.support.clients import ELILE, Api, Bao
from tests.e2e.support.audit import Tail
from tests.e2e.support.databases import Rotated, postgresql
from tests.e2e.support.fixtures import egress_arguments
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

BUDGET = 5.0  # seconds from the due time to the start, of 99 in 100
GRACE = "5s"
JOURNAL = "secret/data/elile-journal/"


@dataclass(frozen=True, slots=True)
class Run:
    """One Rotation, in seconds since 1970."""

    due: float
    made: float
    begun: float
    ended: float
    result: str


def main() -> int:
    """Measure, print, and write the page."""
    parser = argparse.ArgumentParser(prog="python -m bench.rotations", description=__doc__)
    parser.add_argument("--schedules", type=int, default=100)
    parser.add_argument("--identities", type=int, default=4, help="namespaces that they are in")
    parser.add_argument("--servers", type=int, default=4, help="servers of PostgreSQL that hold the users")
    parser.add_argument("--splay", nargs="*", default=["", "55s"], help="a run for each; empty: all in one second")
    parser.add_argument("--lead", type=float, default=60.0, help="seconds from the last schedule to the due minute")
    parser.add_argument("--lab-name", default="bench")
    today = datetime.now(UTC).date()
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "evidence" / f"rotations-{today}.md")
    given = parser.parse_args()
    pages = [
        f"# Rotations that are due at one time, {today}\n\n{os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}; everything on one machine: API server and OpenBao with audit logs, etcd, "
        f"{given.servers} PostgreSQL, the operator. Made by `python -m bench.rotations`.\n"
    ]
    with world(given.lab_name, Path(tempfile.mkdtemp(prefix="elile-bench-"))) as w, ExitStack() as stack:
        install_rotator(w.cluster)
        databases = [stack.enter_context(postgresql(w.cluster, slot)) for slot in range(1, given.servers + 1)]
        for number, splay in enumerate(given.splay):
            pages.append(measure(w, databases, given, f"bench-{number}", splay or None))
            print(pages[-1], flush=True)
    given.output.write_text("\n".join([*pages, EXPLAINED]))
    return 0


def measure(w: World, databases: list[Rotated], given: argparse.Namespace, name: str, splay: str | None) -> str:
    """Let them come due, and return what was seen as a table."""
    tenants = [Rotating(tenant) for tenant in tenants_of(w, name, given.identities)]
    api = Api(w.lab, 30)
    with w.operator(*egress_arguments(w.cluster)) as operator:
        due = prepare(w, api, tenants, databases, given, splay)
        kube, bao = Tail.of(w.lab.api_audit_log), Tail.of(w.lab.bao_audit_log)
        cpu, load = cpu_seconds(operator.pid), os.getloadavg()[0]
        until("all are over", lambda: len(ended(api, tenants)) >= given.schedules, within=900, every=1.0)
        cpu = cpu_seconds(operator.pid) - cpu
        runs = list(runs_of(ended(api, tenants), due, kube, bao))
    for tenant in tenants:
        w.cluster.kubectl("delete", "namespace", tenant.namespace, "--wait=false")
    return page(runs, kube, bao, cpu, load, splay)


# ── what is measured ─────────────────────────────────────────────────────────────────────────────────────────────────


def tenants_of(w: World, name: str, identities: int) -> Iterator[Tenant]:
    for i in range(identities):
        tenant = Tenant(w.cluster, f"{name}-{i}")
        w.cluster.kubectl("create", "namespace", tenant.namespace)
        yield tenant


def prepare(
    w: World,
    api: Api,
    tenants: list[Rotating],
    databases: list[Rotated],
    given: argparse.Namespace,
    splay: str | None,
) -> dict[str, float]:
    """Make users, entries, ElileSecrets and schedules; return when each is due."""
    store, secrets, pairs = Bao(w.lab), [], []
    for i in range(given.schedules):
        tenant, database = tenants[i % len(tenants)], databases[i % len(databases)]
        pair = database.pair(f"{tenant.namespace}_{i}".replace("-", "_"))
        store.put(f"{tenant.namespace}/s-{i}", {"username": pair.users[0], "password": pair.password})
        entry = database.admin_entry(*pair.users)
        store.put(f"{tenant.namespace}/admin-{i}", {**entry, "allowed_users": ",".join(pair.users)})
        secrets.append(
            tenant.tenant.manifest(f"s-{i}", consumers={"proof": {"elapsed": "1s"}}, refresh={"interval": "60s"})
        )
        pairs.append((i, tenant, database.target(pair, f"{tenant.namespace}/admin-{i}")))
    w.apply_many(secrets)
    until("all are synced", lambda: w.synced([t.namespace for t in tenants]) >= given.schedules)
    minute = (datetime.now(UTC) + timedelta(seconds=given.lead)).replace(second=0, microsecond=0) + timedelta(minutes=1)
    more = {"splay": splay} if splay else {}
    w.apply_many(
        [
            tenant.manifest(
                f"s-{i}",
                f"s-{i}",
                schedule=f"{minute.minute} {minute.hour} * * *",
                fields={"username": "username", "value": "password"},
                apply=target,
                gracePeriod=GRACE,
                **more,
            )
            for i, tenant, target in pairs
        ]
    )

    def known() -> dict[str, float]:
        return {
            f"{body['metadata']['namespace']}/{body['metadata']['name']}": at(body["status"]["nextRotationTime"])
            for tenant in tenants
            for body in api.list(f"{ELILE}/namespaces/{tenant.namespace}/rotationschedules")
            if body.get("status", {}).get("nextRotationTime")
        }

    until(
        "all know when they are due; give a longer --lead",
        lambda: len(known()) >= given.schedules,
        within=minute.timestamp() - time.time(),
    )
    return known()


def ended(api: Api, tenants: list[Rotating]) -> list[dict[str, Any]]:
    """Return the Rotations that are over."""
    found = (b for t in tenants for b in api.list(f"{ELILE}/namespaces/{t.namespace}/rotations"))
    return [body for body in found if body.get("status", {}).get("result")]


def runs_of(rotations: list[dict[str, Any]], due: dict[str, float], kube: Tail, bao: Tail) -> Iterator[Run]:
    """Return when each was made and ended, by the API server's audit log, and begun, by that of OpenBao."""
    made: dict[str, float] = {}
    last: dict[str, float] = {}
    for record in operator_requests(kube):
        ref = record["objectRef"]
        if ref.get("resource") == "rotations" and record["verb"] in ("create", "patch"):
            key = f"{ref['namespace']}/{ref.get('name') or record['requestURI']}"
            made.setdefault(key, at(record["requestReceivedTimestamp"]))
            last[key] = at(record["stageTimestamp"])
    begun: dict[str, float] = {}
    for record in bao_records(bao):
        path = record["request"]["path"]
        if path.startswith(JOURNAL) and record["request"]["operation"] in ("create", "update"):
            begun.setdefault(path.removeprefix(JOURNAL), at(record["time"]))
    for body in rotations:
        meta = body["metadata"]
        schedule = f"{meta['namespace']}/{body['spec']['scheduleRef']['name']}"
        key = f"{meta['namespace']}/{meta['name']}"
        yield Run(
            due=due[schedule],
            made=made.get(key, at(meta["creationTimestamp"])),
            begun=begun[schedule],
            ended=last[key],
            result=body["status"]["result"],
        )


def operator_requests(kube: Tail) -> Iterator[dict[str, Any]]:
    """Return what the operator asked of the API server, but for its Lease."""
    for record in kube.records():
        ours = record.get("userAgent", "").startswith("elile-operator")
        ref = record.get("objectRef") or {}
        if record["stage"] == "ResponseComplete" and ours and ref and ref.get("resource") != "leases":
            yield record


def bao_records(bao: Tail) -> Iterator[dict[str, Any]]:
    """Return what was asked of OpenBao by anybody but root."""
    for record in bao.records():
        if record["type"] == "request" and "root" not in (record.get("auth") or {}).get("policies", []):
            yield record


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


def page(runs: list[Run], kube: Tail, bao: Tail, cpu: float, load: float, splay: str | None) -> str:
    count = len(runs)
    results = ", ".join(f"{n} {result}" for result, n in Counter(run.result for run in runs).most_common())
    delays = [run.begun - run.due for run in runs]
    rows = [
        ("all done", results, f"{count} Succeeded"),
        ("start delay: due to the first write of the journal", spread(delays), f"p99 ≤ {BUDGET:.0f} s"),
        ("  of it: due to the Rotation made", spread([run.made - run.due for run in runs]), "–"),
        (f"duration, with a proof of 1 s and a grace of {GRACE}", spread([run.ended - run.begun for run in runs]), "–"),
        ("first due to last ended", f"{max(r.ended for r in runs) - min(r.due for r in runs):.1f} s", "–"),
        ("CPU of the operator for each", f"{cpu / count * 1000:.0f} ms", "–"),
        *(
            (f"{server}: requests for each", f"{sum(calls.values()) / count:.1f}", "–")
            for server, calls in (("Vault", vault_calls(bao)), ("API server", kube_calls(kube)))
        ),
    ]
    title = f"spread over a minute by splay {splay}" if splay else "due in one second"
    cores = os.cpu_count() or 1
    shared = " Other work was running: requests and CPU hold, times are the machine's." if load > cores else ""
    lines = [f"## {count} {title}\n", f"Load of the machine before: {load:.1f}.{shared}\n"]
    lines += ["| figure | value | budget |", "|---|---|---|"]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    for server, calls in (("Vault", vault_calls(bao)), ("the API server", kube_calls(kube))):
        lines += [f"\n| request to {server} | for each rotation |", "|---|---|"]
        lines += [f"| {what} | {n / count:.2f} |" for what, n in calls.most_common() if n / count >= 0.05]
    return "\n".join(lines) + "\n"


def spread(values: list[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"p50 {statistics.median(ordered):.2f} s, p99 {p99:.2f} s, max {ordered[-1]:.2f} s"


def vault_calls(bao: Tail) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in bao_records(bao):
        parts = record["request"]["path"].split("/")
        engine = "/".join(parts[:2])
        what = "journal" if "elile-journal" in parts else "admin entry" if parts[-1].startswith("admin-") else "live"
        if parts[0] == "secret":
            found[f"{record['request']['operation']} {engine}, {what}"] += 1
        else:
            found[f"{record['request']['operation']} {'/'.join(parts[:3])}"] += 1
    return found


def kube_calls(kube: Tail) -> Counter[str]:
    found: Counter[str] = Counter()
    for record in operator_requests(kube):
        ref = record["objectRef"]
        found[f"{record['verb']} {'/'.join(x for x in (ref.get('resource'), ref.get('subresource')) if x)}"] += 1
    return found


EXPLAINED = """## What the figures say

A run starts when its Rotation is made, a worker takes it up, and the preflight has passed: rights, the number of
versions kept, the administrator's entry, a login with the value in use. The first write of the journal is its lock.
`--rotations` (16) work at one time, and `--rotations-per-target` (4) on one server of a database. Who waits for
consumers or a grace period is not among them, so that later ones start while earlier ones wait.

Vault is asked for the journal most: each side effect is announced there before it is made, which is what lets another
process go on after a crash. The API server is asked to keep what people see: the status of the Rotation and an event
for each phase, and half a second later that of the schedule and of the ElileSecret.
"""


if __name__ == "__main__":
    sys.exit(main())
