"""Which pods use a Secret, how, and what made them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

__all__ = ["PodView", "Workload", "poke_targets", "read_pod"]

JOB = "Job"


class Workload(NamedTuple):
    """What made a pod, in the pod's namespace."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    """One pod that uses Secrets. `volumes` follow changes of the Secret; `fixed` (env, subPath) never do."""

    namespace: str
    name: str
    uid: str
    node: str
    created: datetime
    volumes: frozenset[str]
    fixed: frozenset[str]
    owner: Workload | None = None
    ip: str = ""
    ready: bool = False
    host_network: bool = False
    started: datetime | None = None  # when the oldest of the processes that run now began
    crashes: int = 0  # how often its containers were started again

    @property
    def secrets(self) -> frozenset[str]:
        """Names of all Secrets the pod uses."""
        return self.volumes | self.fixed

    @property
    def of_job(self) -> bool:
        """Whether the pod will end by itself."""
        return self.owner is not None and self.owner.kind == JOB


def read_pod(body: Mapping[str, Any]) -> PodView | None:
    """Reduce a pod as the API server gives it; None when it uses no Secret, has not begun to run, or is on its way out.

    Image pull secrets and ServiceAccount tokens are no consumers. Annotations are left out, so that our own pokes
    change nothing here.
    """
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    if "deletionTimestamp" in meta or not _runs(status):
        return None
    by_volume = {v["name"]: frozenset(_secrets_of(v)) for v in spec.get("volumes") or []}
    containers = [c for field in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(field) or []]
    volumes: set[str] = set()
    fixed: set[str] = set()
    for container in containers:
        fixed.update(_env_secrets(container))
        for mount in container.get("volumeMounts") or []:
            held_still = mount.get("subPath") or mount.get("subPathExpr")
            (fixed if held_still else volumes).update(by_volume.get(mount["name"], ()))
    if not volumes and not fixed:
        return None
    return PodView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        node=spec.get("nodeName", ""),
        created=datetime.fromisoformat(meta["creationTimestamp"]),
        volumes=frozenset(volumes),
        fixed=frozenset(fixed),
        owner=_owner(meta),
        ip=status.get("podIP", ""),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or []),
        host_network=bool(spec.get("hostNetwork")),
        started=_started(status),
        crashes=sum(int(c.get("restartCount") or 0) for c in status.get("containerStatuses") or []),
    )


def _owner(meta: Mapping[str, Any]) -> Workload | None:
    """Return the workload behind a pod; what made its ReplicaSet is read off the name, without asking for that.

    The Deployment controller names a ReplicaSet `<Deployment>-<hash>` and labels its pods with that hash; others
    label theirs otherwise (Argo: `rollouts-pod-template-hash`).
    """
    owner = next((o for o in meta.get("ownerReferences") or [] if o.get("controller")), None)
    if owner is None:
        return None
    kind, name, group = owner["kind"], owner["name"], owner["apiVersion"].partition("/")[0]
    if group not in ("apps", "batch"):  # others have StatefulSets, too
        return Workload(f"{kind}.{group}", name)
    suffix = f"-{(meta.get('labels') or {}).get('pod-template-hash', '')}"
    if kind == "ReplicaSet" and len(suffix) > 1 and name.endswith(suffix):
        return Workload("Deployment", name.removesuffix(suffix))
    return Workload(kind, name)


def _started(status: Mapping[str, Any]) -> datetime | None:
    states = [c.get("state") or {} for c in status.get("containerStatuses") or []]
    times = [state["running"]["startedAt"] for state in states if (state.get("running") or {}).get("startedAt")]
    return datetime.fromisoformat(min(times)) if times else None


def _runs(status: Mapping[str, Any]) -> bool:
    """Whether a process of the pod may have read its volumes; those that have not started will mount what is there."""
    if status.get("phase") == "Pending":  # also while init containers run
        states = [c.get("state") or {} for c in status.get("initContainerStatuses") or []]
        return any("running" in state or "terminated" in state for state in states)
    return status.get("phase") not in ("Succeeded", "Failed")


def _secrets_of(volume: Mapping[str, Any]) -> Iterable[str]:
    if secret := volume.get("secret"):
        yield secret["secretName"]
    for source in (volume.get("projected") or {}).get("sources") or []:
        if secret := source.get("secret"):
            yield secret["name"]


def _env_secrets(container: Mapping[str, Any]) -> Iterable[str]:
    for entry in container.get("env") or []:
        if ref := (entry.get("valueFrom") or {}).get("secretKeyRef"):
            yield ref["name"]
    for entry in container.get("envFrom") or []:
        if ref := entry.get("secretRef"):
            yield ref["name"]


def poke_targets(pods: Iterable[PodView], secret_name: str) -> tuple[PodView, ...]:
    """Return the pods on a node that mount the Secret as a volume, by name: kubelets are then asked in turns."""
    chosen = [p for p in pods if p.node and secret_name in p.volumes]
    return tuple(sorted(chosen, key=lambda p: (p.name, p.node)))
