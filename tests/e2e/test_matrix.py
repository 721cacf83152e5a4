"""The table of the life cycle on a real cluster: everything in it that needs neither minutes nor a lost Vault."""

import base64
import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.lifecycle import foreign_owner, secret_manifest
from tests.e2e.support.tenant import Tenant
from tests.golden.lifecycle import EVENTS, POLICIES, TABLE, Outcome, outcome, target

pytestmark = pytest.mark.lab

# All events for the three that differ most, and for the others those in which they differ from these.
WHOLE = ("own", "controlled", "merged")
PARTS = ("removed", "renamed", "mode", "deleted")
CELLS = {
    f"{policy}-{event}": (policy, event)
    for policy in POLICIES
    for event in EVENTS
    if EVENTS[event].quick and (policy in WHOLE or event in PARTS)
}


class ClusterScene:
    """One namespace for all cells. What is only applied waits for `flush`, which is one call for all of it."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self._owner = foreign_owner(tenant)
        self._bodies: list[dict[str, Any]] = []
        self._values: dict[str, dict[str, str]] = {}

    def flush(self) -> None:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda entry: self.tenant.put(entry, **self._values[entry]), self._values))
        self._values.clear()
        # In the order of the kinds: what an ElileSecret finds must be there before it.
        self._bodies.sort(key=lambda body: body["kind"] != "Secret")
        if self._bodies:
            self.tenant.cluster.apply(*self._bodies)
        self._bodies.clear()

    def want(self, cell: str, **spec: Any) -> None:
        (source,) = spec.pop("sources")
        at = {**source, "kv": {"path": f"{self.tenant.namespace}/{source['kv']['path']}"}}
        self._bodies.append(self.tenant.manifest(cell, at, **spec))

    def delete(self, cell: str) -> None:
        self._kubectl("delete", "elilesecret", cell, "--wait=false")

    def write(self, entry: str, **values: str) -> None:
        self._values[entry] = values

    def remove_path(self, entry: str) -> None:
        self._bao("metadata", "delete", entry)

    def delete_version(self, entry: str) -> None:
        self._bao("delete", entry)

    def make_secret(self, name: str, *, annotations: Mapping[str, str], controlled: bool, **data: str) -> None:
        body = secret_manifest(self.tenant, name, data, owner=self._owner if controlled else None)
        body["metadata"]["annotations"] = dict(annotations)
        self._bodies.append(body)

    def patch_secret(self, name: str, body: dict[str, Any]) -> None:
        self._kubectl("patch", "secret", name, "--type=merge", "-p", json.dumps(body))

    def delete_secret(self, name: str) -> None:
        self._kubectl("delete", "secret", name, "--wait=false")

    def lose_vault(self) -> None:
        raise AssertionError("on a cluster all other cells would lose it too: see test_leaving.py")

    def delete_namespace(self) -> None:
        raise AssertionError("on a cluster all other cells would go along: see test_leaving.py")

    def outcomes(self) -> dict[str, Outcome]:
        """Return how each cell is now; both lists are of one moment, nearly."""
        secrets, objects = (self._all(kind) for kind in ("secret", "elilesecret"))
        found = {}
        for cell in CELLS:
            body = secrets.get(target(cell))
            data = {k: base64.b64decode(v).decode() for k, v in ((body or {}).get("data") or {}).items()}
            found[cell] = outcome(body, data, objects.get(cell))
        return found

    def _all(self, kind: str) -> dict[str, dict[str, Any]]:
        return {item["metadata"]["name"]: item for item in self.tenant.cluster.all(kind, self.tenant.namespace)}

    def _kubectl(self, *arguments: str) -> str:
        return self.tenant.cluster.kubectl("-n", self.tenant.namespace, *arguments)

    def _bao(self, *arguments: str) -> None:
        *words, entry = arguments
        self.tenant.cluster.bao("kv", *words, "-mount=secret", f"{self.tenant.namespace}/{entry}")


def test_the_table_on_a_real_cluster(tenant: Tenant) -> None:
    scene = ClusterScene(tenant)
    for cell, (policy, _) in CELLS.items():
        POLICIES[policy].prepare(scene, cell)
    scene.flush()
    eventually(
        "all are delivered", lambda: all(found.ready == "Synced" for found in scene.outcomes().values()), within=60
    )
    for cell, (policy, event) in CELLS.items():
        EVENTS[event].happens(scene, cell, POLICIES[policy])
    scene.flush()
    expected = {cell: Outcome.parse(TABLE[policy][event]) for cell, (policy, event) in CELLS.items()}

    def wrong() -> dict[str, tuple[Outcome, Outcome]]:
        found = scene.outcomes()
        return {cell: (found[cell], want) for cell, want in expected.items() if found[cell] != want}

    try:
        eventually("the table", lambda: not wrong(), within=90, every=1.0)
    except AssertionError:
        assert wrong() == {}
        raise
