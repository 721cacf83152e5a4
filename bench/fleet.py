"""Many ElileSecrets with the entries that they read, spread over namespaces, each of which is an identity in Vault."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from bench.following import Following, at
from bench.parallel import parallel
from bench.progress import until
from bench.world import World
from tests.chaos.support.clients import Api, Bao, Body, elilesecrets

__all__ = ["Arrivals", "Fleet", "body"]

THREADS = 8


@dataclass(frozen=True)
class Fleet:
    """Object `i` of `objects` reads one of `paths` entries, by turns, and is polled every `interval`."""

    world: World
    objects: int
    paths: int
    identities: int = 4
    interval: str = "60s"

    @property
    def namespaces(self) -> tuple[str, ...]:
        return tuple(f"bench-{i}" for i in range(self.identities))

    @property
    def what(self) -> str:
        return f"{self.objects:,} objects on {self.paths:,} paths of {self.identities} identities"

    def namespace(self, i: int) -> str:
        return f"bench-{i % self.identities}"

    def name(self, i: int) -> str:
        return f"s-{i // self.identities}"

    def path(self, i: int) -> str:
        """Of the entry that object `i` reads, below the mount."""
        return f"{self.namespace(i)}/p-{i // self.identities % (self.paths // self.identities)}"

    def fill(self) -> None:
        """Make namespaces, entries and objects."""
        for namespace in self.namespaces:
            self.world.cluster.kubectl("create", "namespace", namespace)
        paths = [self.path(i) for i in range(self.paths)]
        parallel("entries", lambda: Bao(self.world.lab), lambda c, p: c.put(p, {"value": "0"}), paths, threads=THREADS)
        parallel(
            "objects",
            lambda: Api(self.world.lab, 30),
            lambda c, i: c.apply(elilesecrets(self.namespace(i), self.name(i)), self.body(i)),
            range(self.objects),
            threads=THREADS,
        )

    def body(self, i: int) -> Body:
        return body(self.namespace(i), self.name(i), self.path(i), self.interval)

    def wait_synced(self, arrivals: "Arrivals") -> None:
        """Return when all are Ready. `arrivals` was made before the operator was started."""
        until("are synced", arrivals.count, self.objects)
        until("are Ready", lambda: self.world.synced(self.namespaces), self.objects, every=2.0)


def body(namespace: str, name: str, path: str, interval: str) -> Body:
    """An ElileSecret of one entry."""
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "ElileSecret",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"sources": [{"name": "main", "kv": {"path": path}}], "refresh": {"interval": interval}},
    }


class Arrivals:
    """Statuses and Secrets that the operator wrote since this was made, by the API server's audit log.

    To read the log takes nothing from the API server, which lists of a thousand objects would.
    """

    def __init__(self, world: World) -> None:
        self.began = time.time()
        self.secrets: dict[tuple[str, str], list[float]] = {}
        self.statuses: dict[tuple[str, str], list[float]] = {}
        self._log = Following(world.lab.api_audit_log, '"resource":"secrets"', '"subresource":"status"')

    def count(self) -> int:
        """How many objects have had a status."""
        self.look()
        return len(self.statuses)

    def look(self) -> list[tuple[tuple[str, str], float]]:
        """Take up what came; answers the Secrets among it, with the time of the API server's answer."""
        fresh = []
        for record in self._log.fresh():
            if not _is_write(record):
                continue
            ref = record["objectRef"]
            key, when = (ref.get("namespace", ""), ref.get("name", "")), at(record["stageTimestamp"])
            if ref.get("resource") == "elilesecrets":
                self.statuses.setdefault(key, []).append(when)
            elif ref.get("resource") == "secrets" and key[0].startswith("bench-"):
                self.secrets.setdefault(key, []).append(when)
                fresh.append((key, when))
        return fresh

    def last_secret(self) -> float:
        """Seconds from the beginning to the last Secret."""
        self.look()
        return max(times[-1] for times in self.secrets.values()) - self.began

    def last_status(self) -> float:
        self.look()
        return max(times[-1] for times in self.statuses.values()) - self.began


def _is_write(record: Mapping[str, Any]) -> bool:
    """Whether it is a write of the operator that was done."""
    done = record["stage"] == "ResponseComplete" and record["responseStatus"]["code"] < HTTPStatus.BAD_REQUEST
    return done and record["verb"] in ("create", "patch", "update") and _is_ours(record)


def _is_ours(record: Mapping[str, Any]) -> bool:
    return str(record.get("userAgent", "")).startswith("elile-operator")
