"""When rotations were made, begun and ended, and what they asked for, by both audit logs."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from bench.following import at
from tests.e2e.support.audit import Tail

__all__ = ["Run", "calls_of_api", "calls_of_vault", "runs_of"]

JOURNAL = "secret/data/elile-journal/"


@dataclass(frozen=True, slots=True)
class Run:
    """One Rotation, in seconds since 1970."""

    due: float
    made: float
    begun: float
    ended: float
    result: str


def runs_of(rotations: Iterable[Mapping[str, Any]], due: Mapping[str, float], kube: Tail, bao: Tail) -> Iterator[Run]:
    """Return when each was made and ended, by the API server's audit log, and begun, by that of OpenBao."""
    made: dict[str, float] = {}
    last: dict[str, float] = {}
    for record in _of_operator(kube):
        ref = record["objectRef"]
        if ref.get("resource") == "rotations" and record["verb"] in ("create", "patch"):
            key = f"{ref['namespace']}/{ref.get('name') or record['requestURI']}"
            made.setdefault(key, at(record["requestReceivedTimestamp"]))
            last[key] = at(record["stageTimestamp"])
    begun: dict[str, float] = {}
    for record in _of_others_than_root(bao):
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


def calls_of_vault(bao: Tail) -> Counter[str]:
    """Count requests as `operation engine, what is at the path`."""
    found: Counter[str] = Counter()
    for record in _of_others_than_root(bao):
        parts = record["request"]["path"].split("/")
        engine = "/".join(parts[:2])
        what = "journal" if "elile-journal" in parts else "admin entry" if parts[-1].startswith("admin-") else "live"
        if parts[0] == "secret":
            found[f"{record['request']['operation']} {engine} ({what})"] += 1
        else:
            found[f"{record['request']['operation']} {'/'.join(parts[:3])}"] += 1
    return found


def calls_of_api(kube: Tail) -> Counter[str]:
    """Count requests as `verb resource[/subresource]`, without the Lease."""
    found: Counter[str] = Counter()
    for record in _of_operator(kube):
        ref = record["objectRef"]
        found[f"{record['verb']} {'/'.join(x for x in (ref.get('resource'), ref.get('subresource')) if x)}"] += 1
    return found


def _of_operator(kube: Tail) -> Iterator[dict[str, Any]]:
    for record in kube.records():
        ours = record.get("userAgent", "").startswith("elile-operator")
        ref = record.get("objectRef") or {}
        if record["stage"] == "ResponseComplete" and ours and ref and ref.get("resource") != "leases":
            yield record


def _of_others_than_root(bao: Tail) -> Iterator[dict[str, Any]]:
    for record in bao.records():
        if record["type"] == "request" and "root" not in (record.get("auth") or {}).get("policies", []):
            yield record
