"""Ten thousand objects against the fake API server and a real OpenBao: cold start, restart on what is right, rest."""

import argparse
import platform
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.world import ROOT, cpu_seconds, rss_mib, save, until
from tests.e2e.support.operator import Operator
from tests.fault.support import bao as server
from tests.fault.support.world import World, elile_secret, world

Figure = dict[str, Any]
AT_ONCE = 500
# Of a core: well above the budget of rest, well below any list.
RESTING = 0.1


def figure(name: str, value: Any, budget: str, how: str) -> Figure:
    return {"figure": name, "value": value, "budget": budget, "how": how}


def main() -> int:
    """Measure, print a Markdown table, write JSON."""
    parser = argparse.ArgumentParser(prog="python -m bench.fake10k", description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--paths", type=int, default=200)
    parser.add_argument("--identities", type=int, default=4, help="one namespace each")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of rest that are measured")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "fake10k.json")
    given = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="elile-fake10k-"))
    print(f"{platform.machine()}, Python {platform.python_version()}, fake API server on the same cores\n")
    print("| figure | value | budget | how |\n|---|---|---|---|")
    figures = []
    with server.running(folder) as bao, world(bao, folder, poll="60s") as w:
        for found in measure(w, given):
            figures.append(found)
            print(f"| {found['figure']} | {found['value']} | {found['budget']} | {found['how']} |", flush=True)
    save(given.output, figures)
    return 0


def measure(w: World, given: argparse.Namespace) -> Iterator[Figure]:
    """Cold start of new objects, restart, rest."""
    fill(w, given)
    what = f"{given.objects} objects, {given.paths} paths, {given.identities} identities"

    with w.operator() as operator:
        began = time.monotonic()
        until("all are synced", lambda: reconciled(operator) >= given.objects and synced(w) == given.objects)
        took, cpu = time.monotonic() - began, cpu_seconds(operator.pid)
        yield figure(f"cold start, {what}, all new", f"{took:.1f} s", "–", "operator ready to all Ready")
        yield figure("  CPU of the operator", f"{cpu:.1f} s", "–", "/proc, from its start")
        yield figure("  API requests", calls(w), "3 an object", "log of the fake")
        time.sleep(5)

    w.fake.clear_requests()
    began = time.monotonic()
    with w.operator(ready=False) as operator:
        until("all are compared", lambda: reconciled(operator) >= given.objects)
        took, cpu = time.monotonic() - began, cpu_seconds(operator.pid)
        yield figure(f"restart, {what}, all right", f"{took:.1f} s", "≤ 15 s", "start of the process to all compared")
        yield figure("  CPU of the operator", f"{cpu:.1f} s", "≤ 12 s", "/proc, from its start")
        yield figure("  RSS", f"{rss_mib(operator.pid):.0f} MiB", "≤ 180 MiB", "/proc")
        # Kopf lists everything once more when all is compared: its price is a figure of its own.
        until("the process rests", lambda: busy(operator, seconds=5.0) < RESTING)
        more = cpu_seconds(operator.pid) - cpu
        yield figure("  CPU until it rests", f"{more:.1f} s", "–", "/proc, after all are compared")
        yield figure("  writes", writes(w), "0", "log of the fake, without the Lease")
        yield figure("  API requests", calls(w), "–", "log of the fake")
        yield figure("  RSS", f"{rss_mib(operator.pid):.0f} MiB", "≤ 180 MiB", "/proc, then")
        w.fake.clear_requests()
        tail, before = w.bao.tail(), cpu_seconds(operator.pid)
        time.sleep(given.rest)
        share = (cpu_seconds(operator.pid) - before) / given.rest
        yield figure(f"at rest for {given.rest:.0f} s: CPU", f"{share:.1%} of a core", "≤ 2 %", "/proc")
        yield figure("  writes", writes(w), "0", "log of the fake, without the Lease")
        yield figure("  Vault requests", sum(server.polled(tail).values()), f"about {given.paths}", "audit log")
        yield figure("  RSS", f"{rss_mib(operator.pid):.0f} MiB", "≤ 180 MiB", "/proc")


def fill(w: World, given: argparse.Namespace) -> None:
    """Make the namespaces, the entries and the objects, without the API server's HTTP."""
    mine = given.paths // given.identities
    for namespace in [w.namespace() for _ in range(given.identities)]:
        for i in range(mine):
            w.bao.put(f"{namespace}/p-{i}", password=f"{i}")
        names = range(given.objects // given.identities)
        bodies = [elile_secret(namespace, f"s-{i}", f"{namespace}/p-{i % mine}") for i in names]
        for start in range(0, len(bodies), AT_ONCE):
            w.fake.apply(*bodies[start : start + AT_ONCE])


def busy(operator: Operator, *, seconds: float) -> float:
    """The share of a core that a process uses for some seconds."""
    before = cpu_seconds(operator.pid)
    time.sleep(seconds)
    return (cpu_seconds(operator.pid) - before) / seconds


def reconciled(operator: Operator) -> float:
    """How many reconciles of ElileSecrets have ended well in this process."""
    found = re.search(
        r'elile_reconcile_total\{kind="ElileSecret",outcome="done"\} (\S+)', operator.probe("/metrics")[1]
    )
    return float(found[1]) if found else 0.0


def synced(w: World) -> int:
    """Count the ElileSecrets that are Ready."""
    ready = [e.get("status", {}).get("conditions", []) for e in w.fake.list("elilesecrets")]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) for conditions in ready)


def calls(w: World) -> str:
    counted = Counter(f"{r.verb} {r.resource}" for r in w.requests() if r.resource not in ("leases", ""))
    return ", ".join(f"{n} {what}" for what, n in counted.most_common(5))


def writes(w: World) -> int:
    return sum(r.resource != "leases" for r in w.requests().writes())


if __name__ == "__main__":
    sys.exit(main())
