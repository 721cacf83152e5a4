"""A tenant whose values are rotated: its rotator, its schedules, its Rotations."""

import json
from typing import Any

from tests.e2e.support.cluster import ROOT, Cluster, eventually
from tests.e2e.support.tenant import Tenant

ROTATOR = "elile-rotator"
VERIFY = [{"name": "login", "postgresql": {}}]


def install_rotator(cluster: Cluster) -> None:
    """What an administrator sets up in OpenBao, as policies/vault/README.md says."""
    auth = json.loads(cluster.bao("auth", "list", "-format=json"))
    policy = (ROOT / "policies" / "vault" / "elile-rotator.hcl").read_text()
    cluster.bao("policy", "write", ROTATOR, "-", given=policy.replace("ACCESSOR", auth["kubernetes/"]["accessor"]))
    cluster.bao(
        *("write", f"auth/kubernetes/role/{ROTATOR}", "audience=elile", f"token_policies={ROTATOR}", "token_ttl=20m"),
        *(f"bound_service_account_names={ROTATOR}", "bound_service_account_namespaces=*"),
    )


class Rotating:
    """The rotation of values of one tenant."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.cluster = tenant.cluster
        self.namespace = tenant.namespace
        tenant.cluster.apply(
            {
                "apiVersion": "v1",
                "kind": "ServiceAccount",
                "metadata": {"name": ROTATOR, "namespace": tenant.namespace},
            }
        )

    def schedule(self, name: str, secret: str, *, source: str = "main", **spec: Any) -> None:
        """Apply a RotationSchedule."""
        self.cluster.apply(self.manifest(name, secret, source=source, **spec))

    def manifest(self, name: str, secret: str, *, source: str = "main", **spec: Any) -> dict[str, Any]:
        return {
            "apiVersion": "elile.io/v1alpha1",
            "kind": "RotationSchedule",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "secretRef": {"name": secret, "source": source},
                "vault": {"role": ROTATOR, "serviceAccountName": ROTATOR},
                "value": {"generate": {"password": {"length": 24}}},
                "verify": VERIFY,
                **spec,
            },
        }

    def ask(self, name: str, schedule: str, action: str = "Rotate", **spec: Any) -> str:
        """Create a Rotation, as a person does."""
        self.cluster.create(
            {
                "apiVersion": "elile.io/v1alpha1",
                "kind": "Rotation",
                "metadata": {"name": name, "namespace": self.namespace},
                "spec": {"scheduleRef": {"name": schedule}, "action": action, **spec},
            }
        )
        return name

    def rotation(self, name: str) -> dict[str, Any]:
        return self.cluster.get("rotation", name, self.namespace)

    def status(self, name: str) -> dict[str, Any]:
        found = self.cluster.find("rotation", name, self.namespace) or {}
        status: dict[str, Any] = found.get("status") or {}
        return status

    def schedule_status(self, name: str) -> dict[str, Any]:
        status: dict[str, Any] = self.cluster.get("rotationschedule", name, self.namespace).get("status") or {}
        return status

    def wait_phase(self, name: str, *phases: str, within: float = 60) -> dict[str, Any]:
        """Return the status of a Rotation once it is in one of these phases."""

        def reached() -> dict[str, Any] | None:
            status = self.status(name)
            assert status.get("result") is None or status.get("phase") in phases, status
            return status if status.get("phase") in phases else None

        try:
            return eventually(f"Rotation {name} is {' or '.join(phases)}", reached, within=within)
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {self.status(name)}") from None

    def wait_result(self, name: str, result: str, reason: str | None = None, *, within: float = 60) -> dict[str, Any]:
        """Return the status of a Rotation once it is over, which has to be with this result."""
        try:
            status = eventually(
                f"Rotation {name} is over", lambda: (s := self.status(name)).get("result") and s, within=within
            )
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {self.status(name)}") from None
        assert status["result"] == result, status
        assert reason is None or status["reason"] == reason, status
        return status

    def live(self, entry: str) -> dict[str, Any]:
        """Return what is live, and under `version` which version that is."""
        found = self.cluster.entry(f"{self.namespace}/{entry}")
        assert found is not None, f"nothing is live at {self.namespace}/{entry}"
        return {**found["data"], "version": found["metadata"]["version"]}

    def journal(self, entry: str) -> dict[str, Any] | None:
        """Return the journal as it is stored; None for none."""
        found = self.cluster.entry(self._journal(entry))
        return None if found is None else found["data"]

    def journal_versions(self, entry: str) -> list[dict[str, Any]]:
        """Return all versions of a journal that can still be read."""
        kept = (self.cluster.versions(self._journal(entry)) or {})["versions"]
        numbers = [int(number) for number, version in kept.items() if not version["destroyed"]]
        found = (self.cluster.entry(self._journal(entry), number) for number in numbers)
        return [version["data"] for version in found if version is not None]

    def journal_version(self, entry: str) -> int:
        """Return how often a journal was written."""
        return int((self.cluster.versions(self._journal(entry)) or {})["current_version"])

    def _journal(self, entry: str) -> str:
        return f"elile-journal/{self.namespace}/{entry}"

    def condition(self, kind: str, name: str, type_: str) -> dict[str, Any]:
        """Return a condition, empty while it is not there."""
        conditions = self.cluster.get(kind, name, self.namespace).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def delete(self, kind: str, name: str) -> None:
        """Ask for the deletion of an object, and do not wait for it."""
        self.cluster.delete(kind, name, self.namespace)
