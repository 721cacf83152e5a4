"""Ten thousand objects, against a fake API server in this process and a real OpenBao: start, restart, rest."""

import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench import progress
from bench.figures import Figure, count, mib, percent, seconds
from bench.process import Cpu, busy, rss_mib
from bench.scale import Scale
from bench.traffic import told
from tests.e2e.support.operator import Operator
from tests.fault.support import bao as server
from tests.fault.support.world import World, elile_secret, world

__all__ = ["distinct", "shared"]

IDENTITIES = 4
AT_ONCE = 500
# Of a core: above what rest costs, below any list.
RESTING = 0.25


def shared(scale: Scale) -> Iterator[Figure]:
    """Many objects on few paths: all new; all right at the start; at rest."""
    what = f"{scale.most:,} objects on {scale.most_paths} paths of {IDENTITIES} identities"
    with _filled(scale.most, scale.most_paths) as w:
        yield from _new(w, scale.most, what)
        yield from _right(w, scale, what)


def distinct(scale: Scale) -> Iterator[Figure]:
    """Each object on a path of its own: at rest."""
    what = f"{scale.most:,} objects on as many paths"
    with _filled(scale.most, scale.most) as w, w.operator(ready=False) as operator:
        _wait_reconciled(operator, scale.most)
        progress.sleep(scale.most_rest, "all comes to rest")
        yield from _rest(w, operator, scale, what, "idle.cpu.distinct", "rss.10000.distinct")


def _new(w: World, objects: int, what: str) -> Iterator[Figure]:
    began = time.monotonic()
    with w.operator() as operator:
        _wait_reconciled(operator, objects)
        progress.until("are synced", lambda: _synced(w), objects, every=1.0)
        took, cpu = time.monotonic() - began, Cpu(operator.pid, whole=True).used()
        time.sleep(5)
    yield seconds("most.new.seconds", f"cold start, {what}, all new", took, "start of the process to all Ready")
    yield seconds("most.new.cpu", "all new: CPU of the operator", cpu, "kernel, from its start")
    calls = _calls(w)
    yield count("most.new.api", "all new: requests to the API server", sum(calls.values()), told(calls))


def _right(w: World, scale: Scale, what: str) -> Iterator[Figure]:
    w.fake.clear_requests()
    began = time.monotonic()
    with w.operator(ready=False) as operator:
        _wait_reconciled(operator, scale.most)
        took, cpu = time.monotonic() - began, Cpu(operator.pid, whole=True).used()
        yield seconds("compare.seconds", f"start, {what}, all right", took, "start of the process to all compared")
        yield seconds("compare.cpu", "all right: CPU of the operator", cpu, "kernel, from its start")
        # Kopf lists everything once more when all is compared: its price is a figure of its own.
        more = Cpu(operator.pid)
        progress.until("rests", lambda: int(busy(operator.pid, seconds=5.0) < RESTING), 1)
        yield seconds(
            "compare.cpu.more", "all right: CPU until it rests", more.used(), "kernel, after all are compared"
        )
        yield count("compare.writes", "all right: writes", _writes(w), "log of the fake API server, without the Lease")
        yield from _rest(w, operator, scale, what, "idle.cpu", "rss.10000")


def _rest(w: World, operator: Operator, scale: Scale, what: str, key: str, rss: str) -> Iterator[Figure]:
    w.fake.clear_requests()
    tail, cpu = w.bao.tail(), Cpu(operator.pid)
    progress.sleep(scale.most_rest, "at rest")
    used, asked = cpu.used(), sum(server.polled(tail).values())
    how = f"kernel, {scale.most_rest:.0f} s at a 60 s poll, {asked} requests to Vault, {_writes(w)} writes"
    yield percent(key, f"at rest, {what}", used / scale.most_rest, how)
    yield mib(rss, f"RSS, {what}", rss_mib(operator.pid), "kernel, after that")


@contextmanager
def _filled(objects: int, paths: int) -> Iterator[World]:
    """A world with namespaces, entries and objects, made without the API server's HTTP."""
    mine = paths // IDENTITIES
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="elile-bench-")))
        bao = stack.enter_context(server.running(folder))
        w = stack.enter_context(world(bao, folder, poll="60s"))
        namespaces = [w.namespace() for _ in range(IDENTITIES)]
        for path in progress.each("entries", [f"{n}/p-{i}" for n in namespaces for i in range(mine)], paths):
            bao.put(path, value="0")
        for namespace in namespaces:
            names = range(objects // IDENTITIES)
            bodies = [elile_secret(namespace, f"s-{i}", f"{namespace}/p-{i % mine}") for i in names]
            for start in range(0, len(bodies), AT_ONCE):
                w.fake.apply(*bodies[start : start + AT_ONCE])
        yield w


def _wait_reconciled(operator: Operator, objects: int) -> None:
    progress.until("are compared", lambda: _reconciled(operator), objects, every=0.2)


def _reconciled(operator: Operator) -> int:
    """How many reconciles of ElileSecrets have ended well in this process."""
    metric = r'elile_reconcile_total\{kind="ElileSecret",outcome="done"\} (\S+)'
    found = re.search(metric, operator.probe("/metrics")[1])
    return int(float(found[1])) if found else 0


def _synced(w: World) -> int:
    """Count the ElileSecrets that are Ready."""
    ready = [e.get("status", {}).get("conditions", []) for e in w.fake.list("elilesecrets")]
    return sum(any(c["type"] == "Ready" and c["status"] == "True" for c in conditions) for conditions in ready)


def _calls(w: World) -> Counter[str]:
    return Counter(f"{r.verb} {r.resource}" for r in w.requests() if r.resource not in ("leases", ""))


def _writes(w: World) -> int:
    return sum(r.resource != "leases" for r in w.requests().writes())
