"""What the audit logs of OpenBao and of the API server say was asked, and by whom."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Tail:
    """The part of an audit log that was written since this was made."""

    file: Path
    start: int

    @classmethod
    def of(cls, file: Path) -> "Tail":
        return cls(file, file.stat().st_size)

    def records(self) -> Iterator[dict[str, Any]]:
        with self.file.open("rb") as f:
            f.seek(self.start)
            for line in f:
                if line.endswith(b"\n"):
                    yield json.loads(line)


def bao_requests(tail: Tail) -> list[dict[str, Any]]:
    """Requests by anybody but the root token: path, operation and headers."""
    return [
        record["request"]
        for record in tail.records()
        if record["type"] == "request" and "root" not in (record.get("auth") or {}).get("policies", [])
    ]


def api_writes(tail: Tail, user: str) -> list[str]:
    """`verb uri` of the writes of one user agent's requests that were answered."""
    return [
        f"{record['verb']} {record['requestURI']}"
        for record in tail.records()
        if record["stage"] == "ResponseComplete"
        and record.get("userAgent", "").startswith(user)
        and record["verb"] in ("create", "update", "patch", "delete", "deletecollection")
    ]
