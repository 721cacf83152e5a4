"""What the operator wrote, counted in the audit log of the API server."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from lab.cluster import Lab
from tests.e2e.support.audit import Tail

CHANGES = ("create", "update", "patch", "delete", "deletecollection")


@dataclass(frozen=True, slots=True)
class Writes:
    """Finished requests of the operator that change something, since this was made; the Lease is not counted."""

    tail: Tail

    @classmethod
    def since(cls, lab: Lab) -> "Writes":
        return cls(Tail.of(lab.api_audit_log))

    def all(self) -> Iterator[dict[str, Any]]:
        """Yield `objectRef` of each write: namespace, resource, subresource, name."""
        with self.tail.file.open("rb") as log:
            log.seek(self.tail.start)
            for line in log:
                try:
                    record = json.loads(line)
                except ValueError:  # cut off when the API server was killed
                    continue
                ref = record.get("objectRef") or {}
                ours = record.get("userAgent", "").startswith("elile-operator")
                if ours and record["stage"] == "ResponseComplete" and record["verb"] in CHANGES:
                    yield {"subresource": "", "name": "", **ref, "time": record["stageTimestamp"]}

    def secrets(self, *namespaces: str) -> Counter[str]:
        """Count the writes of Secrets by name."""
        return self._count("secrets", "", namespaces)

    def statuses(self, *namespaces: str) -> Counter[str]:
        """Count the writes of statuses of ElileSecrets by name."""
        return self._count("elilesecrets", "status", namespaces)

    def pokes(self, *namespaces: str) -> Counter[str]:
        """Count the pokes by pod."""
        return self._count("pods", "status", namespaces)

    def events(self, *namespaces: str) -> int:
        """Count the events."""
        return sum(self._count("events", "", namespaces).values())

    def times(self, resource: str, *namespaces: str) -> list[float]:
        """Return when each write of a resource was answered, in seconds since the epoch."""
        stamps = [r["time"] for r in self.all() if r.get("namespace") in namespaces and r["resource"] == resource]
        return [datetime.fromisoformat(stamp).timestamp() for stamp in stamps]

    def _count(self, resource: str, subresource: str, namespaces: tuple[str, ...]) -> Counter[str]:
        return Counter(
            ref["name"]
            for ref in self.all()
            if ref.get("namespace") in namespaces and (ref["resource"], ref["subresource"]) == (resource, subresource)
        )
