"""The parts that rotate, wired as in a process, over a cluster and a Vault in memory; their threads are real ones."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from elile.secrets.rotation.journal import JournalEntry, Phase, decode
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.api.meta import FINALIZER
from elile_operator.api.rotation import Rotation
from elile_operator.app.rotating import RotatingParts
from elile_operator.controllers.jobs import HookJobs
from elile_operator.engine import ObjectKey, Result, WorkQueue
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ELILE_SECRETS, ROTATION_SCHEDULES, ROTATIONS, Resource
from elile_operator.settings import Settings
from tests.fakes.api import elile_secret
from tests.unit.elile_operator.controllers.stage import ACCOUNT, Stage

SCHEDULE = ObjectKey("shop", "weekly")
CLUSTER = "c-1"
SPEC: Json = {
    "secretRef": {"name": "db", "source": "db"},
    "fields": {"value": "password"},
    "vault": {"role": "elile-rotator", "serviceAccountName": "rotator"},
    "value": {"generate": {"password": {"length": 32}}},
    "verify": [{"name": "check", "job": {"image": "check"}, "timeout": "1m", "attempts": 1}],
    "gracePeriod": "10m",
}


class RotationStage(Stage):
    """RotationSchedule shop/weekly of the entry `db`, whose value is replaced, with one hook that tests script."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.hooks: list[Verification | Callable[[], Verification]] = []  # the next outcomes; all others pass
        self.ended: list[tuple[str, str]] = []
        self.lost_lease: Exception | None = None
        self.runs: WorkQueue[ObjectKey] = self._queue()
        self.schedules: WorkQueue[ObjectKey] = self._queue()
        self.tellings: WorkQueue[ObjectKey] = self._queue()
        monkeypatch.setattr(HookJobs, "run", lambda *_, **__: self._hook())
        self.tokens.accounts["shop", "rotator"] = "uid-rotator"
        self.vault.roles.add("elile-rotator")
        self.vault.allows = frozenset({"create", "read", "update", "delete"})
        self.serve()
        self.servers.link(self.world.servers.get(ObjectKey("", "default")))  # type: ignore[arg-type] # just served
        self.servers.identify("default", CLUSTER)
        self.vault.write("db", password="p1", host="h")
        self.put(ELILE_SECRETS, elile_secret())
        self.delivers(1)
        self.parts = self.new_parts()
        self.parts.connect()

    def new_parts(self, *arguments: str, guarded: tuple[str, ...] = ()) -> RotatingParts:
        """The parts of a process that has just started, with these arguments."""
        return RotatingParts(
            Settings(_cli_parse_args=list(arguments)),
            world=self.world,
            servers=self.servers,
            logins=self.logins,
            reads=self.reads,
            kube=self.kube,  # type: ignore[arg-type]
            events=self.events,
            clock=self.clock,
            observer=self,
            guard=self._guard,
            guarded=guarded,
            account=ACCOUNT,
            runs=self.runs,
            schedules=self.schedules,
            tellings=self.tellings,
        )

    def rotation_ended(self, *, namespace: str, schedule: str, action: str, result: str, seconds: float | None) -> None:
        """As a RotationObserver."""
        self.ended.append((action, result))

    def verified(self, *, hook: str, outcome: str, seconds: float) -> None:
        """As a RotationObserver."""

    def observe(self, resource: Resource, body: Json, *, deleted: bool = False) -> None:
        stores: dict[str, Any] = {
            ROTATION_SCHEDULES.plural: self.world.schedules,
            ROTATIONS.plural: self.world.rotations,
        }
        if resource.plural in stores:
            stores[resource.plural].observe(body, deleted=deleted)
        else:
            super().observe(resource, body, deleted=deleted)

    # ── what people do ───────────────────────────────────────────────────────────────────────────────────────────────

    def plan(self, name: str = "weekly", **spec: Any) -> None:
        """A RotationSchedule appears; None takes a field away."""
        about = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 1}
        self.put(
            ROTATION_SCHEDULES,
            {
                "apiVersion": ROTATION_SCHEDULES.api_version,
                "kind": ROTATION_SCHEDULES.kind,
                "metadata": about,
                "spec": {field: value for field, value in (SPEC | spec).items() if value is not None},
            },
        )

    def ask(self, name: str = "run", schedule: str = "weekly", **spec: Any) -> None:
        """A Rotation appears."""
        made = f"{self.clock.now():%Y-%m-%dT%H:%M:%SZ}"
        about = {"name": name, "namespace": "shop", "uid": f"uid-{name}", "generation": 1, "creationTimestamp": made}
        self.put(
            ROTATIONS,
            {
                "apiVersion": ROTATIONS.api_version,
                "kind": ROTATIONS.kind,
                "metadata": about,
                "spec": {"scheduleRef": {"name": schedule}, **spec},
            },
        )

    def delivers(self, version: int, *, proved: bool = True) -> None:
        """The ElileSecret tells that it has delivered a version, and that its consumers use it."""

        def tell(body: Json) -> None:
            body["spec"]["consumers"] = {"proof": {"http": {"port": 8080}}}
            body["status"] = {
                **body.get("status", {}),
                "clusterID": CLUSTER,
                "sources": [{"name": "db", "path": "secret/db", "version": version}],
                "lastChangeTime": f"{self.clock.now():%Y-%m-%dT%H:%M:%SZ}",
                "conditions": [_condition("SecretCurrent", True), _condition("ConsumersCurrent", proved)],
            }

        self.edit(ELILE_SECRETS, "shop", "db", tell)

    def leave(self, resource: Resource, name: str) -> None:
        """Somebody deletes an object: what has a finalizer stays for a while."""

        def mark(body: Json) -> None:
            body["metadata"]["deletionTimestamp"] = f"{self.clock.now():%Y-%m-%dT%H:%M:%SZ}"

        found = self.kube.find(resource, "shop", name)
        assert found is not None
        if found["metadata"].get("finalizers"):
            self.edit(resource, "shop", name, mark)
        else:
            self.remove(resource, "shop", name)

    def went(self, resource: Resource, name: str) -> None:
        """The watch tells that an object is gone."""
        assert self.kube.find(resource, "shop", name) is None
        about = {"namespace": "shop", "name": name, "uid": f"uid-{name}", "resourceVersion": self.kube._next()}
        self.observe(resource, {"metadata": about}, deleted=True)

    # ── what the operator does ───────────────────────────────────────────────────────────────────────────────────────

    async def run(self, name: str = "weekly") -> Result:
        """One look at the run of a schedule."""
        return await self.parts.runs.reconcile(ObjectKey("shop", name))

    async def settle(self, name: str = "weekly", *, looks: int = 20) -> Result:
        """Look until there is nothing to do at once."""
        for _ in range(looks):
            result = await self.run(name)
            if result.requeue_after is None or result.requeue_after.total_seconds() > 1.0:
                return result
        raise AssertionError("it has always something to do at once")

    def restart(self) -> None:
        """The process ends, and another one begins that knows nothing."""
        self.parts.close()
        self.parts = self.new_parts()

    # ── what came of it ──────────────────────────────────────────────────────────────────────────────────────────────

    def rotation(self, name: str = "run") -> Rotation:
        body = self.kube.find(ROTATIONS, "shop", name)
        assert body is not None, f"there is no Rotation {name}"
        return Rotation.from_body(body)

    def said(self, name: str = "run") -> tuple[str | None, str | None, str | None]:
        """Phase, result and reason that a Rotation tells."""
        status = self.rotation(name).status
        return status.phase, status.result.value if status.result else None, status.reason

    def journal(self) -> JournalEntry | None:
        found = self.vault._entries.get(("secret", "elile-journal/db"))
        return decode(found[max(found)].data) if found else None

    @property
    def phase(self) -> Phase | None:
        entry = self.journal()
        return entry.phase if entry is not None else None

    def value(self) -> Json:
        """The live value."""
        versions = self.vault._entries["secret", "db"]
        return dict(versions[max(versions)].data)

    def held(self, name: str = "weekly") -> bool:
        body = self.kube.find(ROTATION_SCHEDULES, "shop", name)
        return body is not None and FINALIZER in body["metadata"].get("finalizers", [])

    def _hook(self) -> Verification:
        found = self.hooks.pop(0) if self.hooks else Verification.passed("as it should be")
        return found() if callable(found) else found

    def _guard(self) -> None:
        if self.lost_lease is not None:
            raise self.lost_lease


def _condition(type_: str, holds: bool) -> Json:
    return {
        "type": type_,
        "status": "True" if holds else "False",
        "reason": "Told",
        "message": "",
        "lastTransitionTime": "2030-01-01T00:00:00Z",
        "observedGeneration": 1,
    }


@asynccontextmanager
async def rotating(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    """A stage, whose threads are ended with it."""
    stage = RotationStage(monkeypatch)
    try:
        yield stage
    finally:
        stage.parts.close()
