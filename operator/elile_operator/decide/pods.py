"""Which pods use a Secret, how, and what is known of the version they see."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elile_operator.api.elilesecret import ConsumersStatus

__all__ = ["PodView", "poke_targets", "read_pod", "summarize"]

LISTED = 10  # names in a status; more would only make it long


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

    @property
    def secrets(self) -> frozenset[str]:
        """Names of all Secrets the pod uses."""
        return self.volumes | self.fixed


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
    )


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


def summarize(pods: Iterable[PodView], secret_name: str, *, changed: datetime | None, poked: bool) -> ConsumersStatus:
    """Count the pods that use the Secret, by what is known of each.

    Created after the last change: current by birth (both times are the API server's, strictly, since they are cut to
    seconds). Mounted as a volume and poked: assumed. Everything else is stale; with env or subPath
    only a restart helps.
    """
    users = sorted((p for p in pods if secret_name in p.secrets), key=lambda p: p.name)
    before = [p for p in users if changed is not None and p.created <= changed]
    fixed = [p.name for p in before if secret_name in p.fixed]
    assumed = [p.name for p in before if secret_name not in p.fixed and poked]
    stale = [p.name for p in before if secret_name in p.fixed or not poked]
    current = len(users) - len(before)
    return ConsumersStatus(
        summary=f"{current}+{len(assumed)}?/{len(users)}" if assumed else f"{current}/{len(users)}",
        total=len(users),
        current=current,
        assumed=len(assumed),
        stale=tuple(stale[:LISTED]),
        need_restart=tuple(fixed[:LISTED]),
    )
