"""A lab of the bench's own with the operator on it, and what can be read off both."""

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lab.cluster import Lab
from tests.chaos.support.clients import Api, elilesecrets
from tests.e2e.support.audit import Tail
from tests.e2e.support.cluster import ROOT, Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM, install
from tests.e2e.support.operator import Operator, running

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class World:
    """Cluster, OpenBao and folder for logs."""

    cluster: Cluster
    lab: Lab
    folder: Path

    @contextmanager
    def operator(self, *more: str) -> Iterator[Operator]:
        """Run the operator as it runs by default: JSON log at INFO."""
        log = self.folder / f"operator-{time.monotonic_ns()}.log"
        with running(log, "--kubeconfig", str(self.cluster.kubeconfig), "--namespace", SYSTEM, *more) as operator:
            yield operator

    def apply_many(self, bodies: list[dict[str, Any]]) -> None:
        """Apply in one call of kubectl, a few hundred at a time."""
        for start in range(0, len(bodies), 250):
            self.cluster.apply(*bodies[start : start + 250])

    def synced(self, namespaces: list[str]) -> int:
        """Count the ElileSecrets that are Ready: over one connection, since kubectl would take a core of two."""
        api = Api(self.lab, 30)
        return sum(_is_ready(body) for n in namespaces for body in api.list(elilesecrets(n)))


def _is_ready(body: dict[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any((c["type"], c["status"], c["reason"]) == ("Ready", "True", "Synced") for c in conditions)


@contextmanager
def world(name: str, folder: Path) -> Iterator[World]:
    """Bring up an empty lab with CRDs, rights, policy and the VaultServer `default`; take it down again."""
    lab = Lab.open(name)
    was_up = lab.is_up()
    lab.up(echo=lambda _line: None)
    lab.reset()
    cluster = Cluster.of_lab(lab)
    install(cluster)
    try:
        yield World(cluster, lab, folder)
    finally:
        if not was_up:
            lab.down()


def cpu_seconds(pid: int) -> float:
    """User and system time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_mib(pid: int) -> float:
    """Resident memory of a process."""
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 1024


def api_calls(tail: Tail) -> Counter[str]:
    """The operator's finished requests to the API server: `verb resource[/subresource]`."""
    found: Counter[str] = Counter()
    for record in tail.records():
        if record["stage"] == "ResponseComplete" and record.get("userAgent", "").startswith("elile-operator"):
            ref = record.get("objectRef") or {}
            what = "/".join(x for x in (ref.get("resource", "?"), ref.get("subresource")) if x)
            found[f"{record['verb']} {what}"] += 1
    return found


def bao_calls(tail: Tail) -> Counter[str]:
    """Requests to OpenBao by anybody but root: the first two parts of the path."""
    found: Counter[str] = Counter()
    for record in tail.records():
        if record["type"] == "request" and "root" not in (record.get("auth") or {}).get("policies", []):
            found["/".join(record["request"]["path"].split("/")[:2])] += 1
    return found


def until(what: str, check: Callable[[], bool], within: float = 600.0, every: float = 0.2) -> float:
    """Return the seconds until something is so."""
    began = time.monotonic()
    eventually(what, check, within=within, every=every)
    return time.monotonic() - began


def save(path: Path, figures: list[dict[str, Any]]) -> None:
    """Write the figures as JSON, for comparison with other runs."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n")


__all__ = ["ROOT", "World", "api_calls", "bao_calls", "cpu_seconds", "rss_mib", "save", "until", "world"]
