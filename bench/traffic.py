"""What the operator asked of the API server and of OpenBao, by their audit logs, sorted by what it is for."""

from collections import Counter
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

__all__ = ["Kind", "api_calls", "by_kind", "kind_of", "told", "vault_calls"]

# Kopf opens the watches; it tells its own name.
AGENTS = ("elile-operator", "kopf")
CHANGES = frozenset({"create", "update", "patch", "delete", "deletecollection"})


class Kind(StrEnum):
    """What a request to the API server is for."""

    LEASE = "Lease"
    RESYNC = "resync pages"
    WATCH = "watch reconnects"
    TOKEN = "TokenRequests"
    WRITE = "writes"
    READ = "other reads"


def api_calls(records: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Count the operator's requests as `verb resource[/subresource]`: a watch when it opens, others at their end."""
    found: Counter[str] = Counter()
    for record in records:
        stage = "ResponseStarted" if record["verb"] == "watch" else "ResponseComplete"
        if record["stage"] == stage and record.get("userAgent", "").startswith(AGENTS):
            ref = record.get("objectRef") or {}
            what = "/".join(x for x in (ref.get("resource", "?"), ref.get("subresource")) if x)
            found[f"{record['verb']} {what}"] += 1
    return found


def kind_of(call: str) -> Kind:
    verb, _, what = call.partition(" ")
    if what == "leases":
        return Kind.LEASE
    if what == "serviceaccounts/token":
        return Kind.TOKEN
    if verb in CHANGES:
        return Kind.WRITE
    return {"watch": Kind.WATCH, "list": Kind.RESYNC}.get(verb, Kind.READ)


def by_kind(calls: Mapping[str, int]) -> dict[Kind, int]:
    """Sum requests up by what they are for; every kind is there."""
    found = dict.fromkeys(Kind, 0)
    for call, times in calls.items():
        found[kind_of(call)] += times
    return found


def vault_calls(records: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Count requests to OpenBao by anybody but root: the first two parts of the path, such as `secret/data`."""
    found: Counter[str] = Counter()
    for record in records:
        if record["type"] == "request" and "root" not in (record.get("auth") or {}).get("policies", []):
            found["/".join(record["request"]["path"].split("/")[:2])] += 1
    return found


def told(calls: Mapping[str, float], *, per: float = 1.0, least: float = 0.0, digits: int = 0) -> str:
    """Say how many of each there were for each of `per`, the most frequent first."""
    parts = sorted(calls.items(), key=lambda item: -item[1])
    return ", ".join(f"{n / per:.{digits}f} {what}" for what, n in parts if n and n / per >= least) or "none"
