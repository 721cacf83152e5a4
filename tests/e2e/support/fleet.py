"""Many objects at rest, of which pods mount some: what becomes of a write is seen in the files."""

from typing import Any

from tests.chaos.support.clients import Bao
from tests.e2e.support.cluster import eventually
from tests.e2e.support.hints import HintSite
from tests.e2e.support.tenant import Pod, Tenant, pod_manifest

# Seconds between polls.
POLL = 60.0
PODS = 4


class Fleet:
    """Objects at rest, some of which a pod mounts."""

    def __init__(self, tenant: Tenant, site: HintSite, objects: int, mounted: int) -> None:
        assert tenant.cluster.lab is not None
        self.tenant = tenant
        self.mounted = mounted
        self._bao = Bao(tenant.cluster.lab)
        self.written: dict[int, str] = {}
        self.pods: list[Pod] = []
        for i in range(objects):
            self._bao.put(f"{tenant.namespace}/s-{i}", {"value": "0"})
        bodies = [self._body(f"s-{i}", site.server) for i in range(objects)]
        for start in range(0, objects, 250):
            tenant.cluster.apply(*bodies[start : start + 250])

    def wait(self) -> None:
        """Return when all are delivered and the pods run."""
        cluster, namespace = self.tenant.cluster, self.tenant.namespace

        def waiting() -> list[str]:
            found = cluster.all("elilesecret", namespace)
            return [o["metadata"]["name"] for o in found if not _ready(o)]

        eventually("all are delivered", lambda: not waiting(), within=180, every=1.0)
        if not self.pods:
            self.pods = [self._pod(f"app-{i}") for i in range(PODS)]

    def put(self, i: int, value: str) -> None:
        self._bao.put(f"{self.tenant.namespace}/s-{i}", {"value": value})
        self.written[i] = value

    def file(self, i: int) -> str | None:
        """What the pod that mounts an object reads."""
        pod = self.pods[i % len(self.pods)]
        lab = self.tenant.cluster.lab
        assert lab is not None
        path = lab.kubelet_pods / pod.uid / "volumes" / "kubernetes.io~secret" / f"s-{i}" / "value"
        try:
            return path.read_text()
        except FileNotFoundError:
            return None

    def all_arrived(self) -> bool:
        return all(self.file(i) == value for i, value in self.written.items())

    def _body(self, name: str, server: str) -> dict[str, Any]:
        return self.tenant.manifest(name, vault={"server": server}, refresh={"interval": f"{POLL:.0f}s"})

    def _pod(self, name: str) -> Pod:
        """A pod that mounts its share of the objects."""
        first = int(name.removeprefix("app-"))
        mine = [f"s-{i}" for i in range(first, self.mounted, PODS)]
        body = pod_manifest(self.tenant.namespace, name, mine[0])
        body["spec"]["volumes"] = [{"name": s, "secret": {"secretName": s}} for s in mine]
        body["spec"]["containers"][0]["volumeMounts"] = [
            {"name": s, "mountPath": f"/etc/elile/{s}", "readOnly": True} for s in mine
        ]
        cluster = self.tenant.cluster
        cluster.apply(body)
        eventually(f"{name} runs", lambda: _runs(cluster.find("pod", name, self.tenant.namespace)), within=60)
        return Pod(self.tenant, name, cluster.get("pod", name, self.tenant.namespace)["metadata"]["uid"])


def _ready(body: dict[str, Any]) -> bool:
    conditions = body.get("status", {}).get("conditions", [])
    return any((c["type"], c["status"]) == ("Ready", "True") for c in conditions)


def _runs(body: dict[str, Any] | None) -> bool:
    return (body or {}).get("status", {}).get("phase") == "Running"
