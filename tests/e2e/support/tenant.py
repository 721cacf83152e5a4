"""A namespace with its folder in OpenBao, as an application team has them."""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.support.cluster import Cluster, eventually

IMAGE = "lab/busybox:1"


@dataclass(frozen=True)
class Tenant:
    """`namespace` is also the name of its folder below `secret/`."""

    cluster: Cluster
    namespace: str

    def put(self, entry: str, **values: Any) -> None:
        self.cluster.put(f"{self.namespace}/{entry}", **values)

    def want(self, name: str, *sources: dict[str, Any], **spec: Any) -> None:
        """Apply an ElileSecret; without sources it reads the entry of its own name."""
        self.cluster.apply(self.manifest(name, *sources, **spec))

    def manifest(self, name: str, *sources: dict[str, Any], **spec: Any) -> dict[str, Any]:
        """Return an ElileSecret; without sources it reads the entry of its own name."""
        given = sources or ({"name": "main", "kv": {"path": f"{self.namespace}/{name}"}},)
        return {
            "apiVersion": "elile.io/v1alpha1",
            "kind": "ElileSecret",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"sources": list(given), **spec},
        }

    def elile(self, name: str) -> dict[str, Any]:
        return self.cluster.get("elilesecret", name, self.namespace)

    def condition(self, name: str, type_: str = "Ready") -> dict[str, Any]:
        conditions = self.elile(name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == type_), {})

    def wait(self, name: str, reason: str, type_: str = "Ready") -> dict[str, Any]:
        """Return the condition once it has the reason, for the generation as it is now."""

        def reached() -> dict[str, Any] | None:
            body = self.elile(name)
            found = next((c for c in body.get("status", {}).get("conditions", []) if c["type"] == type_), {})
            current = found.get("observedGeneration") == body["metadata"]["generation"]
            return found if found.get("reason") == reason and current else None

        try:
            return eventually(f"{type_} of {self.namespace}/{name} is {reason}", reached)
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {self.condition(name, type_)}") from None

    def secret(self, name: str) -> dict[str, Any] | None:
        return self.cluster.find("secret", name, self.namespace)

    def data(self, name: str) -> dict[str, str]:
        body = self.secret(name) or {}
        return {key: base64.b64decode(value).decode() for key, value in (body.get("data") or {}).items()}

    def run_pod(self, name: str, secret: str) -> "Pod":
        """Start a pod that mounts a Secret at /etc/elile, and wait until it runs."""
        self.cluster.apply(pod_manifest(self.namespace, name, secret))
        eventually(f"pod {name} runs", lambda: self._running(name))
        return Pod(self, name, self.cluster.get("pod", name, self.namespace)["metadata"]["uid"])

    def _running(self, name: str) -> bool:
        found = self.cluster.find("pod", name, self.namespace) or {}
        return bool(found.get("status", {}).get("phase") == "Running")

    def events(self, name: str) -> list[dict[str, Any]]:
        return [e for e in self.cluster.all("event", self.namespace) if e.get("regarding", {}).get("name") == name]

    def notes(self, name: str, reason: str) -> list[str]:
        """Return the notes of the events about an object that have a reason, once there is one.

        An event is written after what it tells of.
        """
        return eventually(
            f"an event about {self.namespace}/{name} with the reason {reason}",
            lambda: [e["note"] for e in self.events(name) if e["reason"] == reason] or None,
        )


@dataclass(frozen=True)
class Pod:
    """A pod that mounts a Secret as the volume `elile`."""

    tenant: Tenant
    name: str
    uid: str

    def volume(self) -> Path:
        """Return the volume on the lab's node: the same mount as in the pod."""
        lab = self.tenant.cluster.lab
        assert lab is not None
        return lab.kubelet_pods / self.uid / "volumes" / "kubernetes.io~secret" / "elile"

    def read(self, key: str) -> str | None:
        """Return a file as the pod sees it; on the lab by way of the node, which costs no process."""
        if self.tenant.cluster.lab is not None:
            try:
                return (self.volume() / key).read_text()
            except FileNotFoundError:
                return None
        return self.tenant.cluster.kubectl(
            "-n", self.tenant.namespace, "exec", self.name, "--", "cat", f"/etc/elile/{key}"
        )


def pod_manifest(namespace: str, name: str, secret: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "containers": [
                {
                    "name": "app",
                    "image": IMAGE,
                    "imagePullPolicy": "Never",
                    "command": ["sleep", "1000000"],
                    "volumeMounts": [{"name": "elile", "mountPath": "/etc/elile", "readOnly": True}],
                }
            ],
            "volumes": [{"name": "elile", "secret": {"secretName": secret}}],
        },
    }
