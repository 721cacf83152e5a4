"""The whole table of the life cycle, in memory: what is delivered, what happens to it, and what is there afterwards."""

import base64
from collections.abc import Mapping
from typing import Any

import pytest

from elile_operator.api.meta import SECRET_LABEL
from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, SECRETS, Resource
from tests.fakes.api import elile_secret, secret
from tests.golden.lifecycle import EVENTS, PAGE, POLICIES, TABLE, Outcome, outcome, page, target
from tests.unit.elile_operator.controllers.stage import encoded
from tests.unit.elile_operator.controllers.test_secret import Stage

CELL = "c"
AWAY = Violation(Reason.VAULT_UNREACHABLE, "VaultServer 'default' does not answer")


class MemoryScene(Stage):
    """A stage on which all happens that a cluster does by itself: watches, the garbage collector, time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self._seen: dict[tuple[str, str], Json] = {}
        self.serve()

    # ── what somebody does ───────────────────────────────────────────────────────────────────────────────────────────

    def want(self, cell: str = CELL, **spec: Any) -> None:
        known = self.kube.find(ELILE_SECRETS, "shop", cell)
        if known is None:
            self.put(ELILE_SECRETS, elile_secret(cell, uid=f"uid-{cell}", **spec))
            return
        known["metadata"]["generation"] += 1
        self.put(ELILE_SECRETS, {**known, "spec": spec})

    def delete(self, cell: str) -> None:
        body = self.kube.find(ELILE_SECRETS, "shop", cell)
        assert body is not None
        if not body["metadata"].get("finalizers"):
            self.kube.remove(ELILE_SECRETS, "shop", cell)
            return
        body["metadata"] |= {
            "deletionTimestamp": self.clock.now().isoformat(),
            "generation": body["metadata"]["generation"] + 1,
        }
        self.put(ELILE_SECRETS, body)

    def write(self, entry: str, **values: str) -> None:
        self.vault.write(entry, **values)

    def remove_path(self, entry: str) -> None:
        self.vault.remove(entry)

    def delete_version(self, entry: str) -> None:
        self.vault.delete(entry, 1)

    def make_secret(self, name: str, *, annotations: Mapping[str, str], controlled: bool, **data: str) -> None:
        body = secret(name, **{key: encoded(value) for key, value in data.items()})
        body["metadata"]["annotations"] = dict(annotations)
        body["metadata"]["managedFields"] = [{"manager": "theirs", "operation": "Update"}]
        if controlled:
            owner = {"apiVersion": "migration.test/v1", "kind": "Legacy", "name": "o", "uid": "o", "controller": True}
            body["metadata"]["ownerReferences"] = [owner]
        self.kube.put(SECRETS, body)

    def patch_secret(self, name: str, body: dict[str, Any]) -> None:
        found = self.kube.find(SECRETS, "shop", name)
        assert found is not None
        found["data"] |= body.get("data", {})
        found["metadata"]["annotations"] |= body.get("metadata", {}).get("annotations", {})
        self.kube.put(SECRETS, found)

    def delete_secret(self, name: str) -> None:
        self.kube.remove(SECRETS, "shop", name)

    def lose_vault(self) -> None:
        self.servers.report("default", AWAY)

    def delete_namespace(self) -> None:
        self.put(NAMESPACES, {"metadata": {"name": "shop", "deletionTimestamp": "2030-01-01T00:00:00Z"}})
        self.delete(CELL)

    # ── what happens by itself ───────────────────────────────────────────────────────────────────────────────────────

    async def pass_time(self, minutes: int) -> None:
        """Let every object be looked at once a minute, and be woken in between by what the watch tells."""
        for _ in range(minutes):
            for _ in range(3):
                await self._watch(SECRETS)
                await self._watch(ELILE_SECRETS)
                for body in (await self.kube.list_page(ELILE_SECRETS))[0]:
                    await self.look(body["metadata"]["name"])
                await self._collect()
            await self.clock.advance(61.0)

    async def _watch(self, resource: Resource) -> None:
        bodies, _, _ = await self.kube.list_page(resource)
        found = {
            (resource.plural, body["metadata"]["name"]): body
            for body in bodies
            if resource is not SECRETS or SECRET_LABEL in body["metadata"].get("labels", {})
        }
        for key in [key for key in self._seen if key[0] == resource.plural and key not in found]:
            self.observe(resource, self._seen.pop(key), deleted=True)
        for key, body in found.items():
            if self._seen.get(key) != body:
                self.observe(resource, body)
        self._seen |= found

    async def _collect(self) -> None:
        """As the garbage collector: what has owners, and none that exists, goes; of several, those that are gone do.

        And as the namespace controller: the rest goes when all that holds it up is gone.
        """
        alive = {body["metadata"]["uid"] for body in (await self.kube.list_page(ELILE_SECRETS))[0]} | {"o"}
        for body in (await self.kube.list_page(SECRETS))[0]:
            owners = {owner["uid"] for owner in body["metadata"].get("ownerReferences", [])}
            if owners and not owners & alive:
                self.kube.remove(SECRETS, "shop", body["metadata"]["name"])
            elif owners - alive:
                kept = [owner for owner in body["metadata"]["ownerReferences"] if owner["uid"] in alive]
                self.kube.put(SECRETS, {**body, "metadata": {**body["metadata"], "ownerReferences": kept}})
        if self.world.terminating("shop") and alive == {"o"}:
            for body in (await self.kube.list_page(SECRETS))[0]:
                self.kube.remove(SECRETS, "shop", body["metadata"]["name"])

    def outcome(self) -> Outcome:
        body = self.kube.find(SECRETS, "shop", target(CELL))
        data = {key: base64.b64decode(value).decode() for key, value in ((body or {}).get("data") or {}).items()}
        return outcome(body, data, self.kube.find(ELILE_SECRETS, "shop", CELL))


@pytest.mark.parametrize("event", EVENTS)
@pytest.mark.parametrize("policy", POLICIES)
async def test_the_table(monkeypatch: pytest.MonkeyPatch, policy: str, event: str) -> None:
    scene = MemoryScene(monkeypatch)
    POLICIES[policy].prepare(scene, CELL)
    await scene.pass_time(1)
    assert scene.outcome().ready == "Synced"
    EVENTS[event].happens(scene, CELL, POLICIES[policy])
    # Longer than a standby may be behind, where that matters.
    await scene.pass_time(2 if EVENTS[event].quick else 12)
    assert scene.outcome() == Outcome.parse(TABLE[policy][event])


def test_the_table_is_complete() -> None:
    assert {policy: list(rows) for policy, rows in TABLE.items()} == {policy: list(EVENTS) for policy in POLICIES}


def test_the_page_is_the_table() -> None:
    assert PAGE.read_text() == page(), "run make reference"
