"""A Deployment, StatefulSet or DaemonSet, reduced to what a restart needs: its annotations and how its rollout is."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from elile_operator.api.consumers import WorkloadKind
from elile_operator.api.meta import RESTART_PREFIX
from elile_operator.decide.pods import PodView

__all__ = ["STEADY", "Calm", "WorkloadView", "calm", "read_workload", "restart_body", "with_pods"]

# A process without a readiness probe counts as available in the moment between its start and its crash.
STEADY = timedelta(seconds=5)
CRASHES = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadView:
    """One workload. `restarts` are the annotations of its template that are ours."""

    uid: str
    restarts: Mapping[str, str]
    complete: bool  # all pods that are wanted have the present template, and are available
    stuck: str | None  # why its rollout does not progress, for people
    updated: int | None  # how many pods have the present template, where the kind knows no deadline of its own
    held: str | None  # why a change of its template would restart nothing


def read_workload(kind: str, body: Mapping[str, Any]) -> WorkloadView:
    """Reduce a workload as the API server gives it."""
    meta, spec, status = body["metadata"], body["spec"], body.get("status") or {}
    annotations = ((spec.get("template") or {}).get("metadata") or {}).get("annotations") or {}
    seen = int(status.get("observedGeneration") or 0) >= int(meta.get("generation") or 0)
    complete, stuck, updated, held = _READ[WorkloadKind(kind)](spec, status)
    return WorkloadView(
        uid=meta["uid"],
        restarts={name: value for name, value in annotations.items() if name.startswith(RESTART_PREFIX)},
        complete=seen and complete,
        stuck=stuck if seen else None,
        updated=updated,
        held=held,
    )


@dataclass(frozen=True, slots=True)
class Calm:
    """Since when a complete rollout has had exactly these pods, each started so often."""

    since: datetime
    pods: frozenset[tuple[str, int]]


def calm(known: Calm | None, view: WorkloadView, pods: Sequence[PodView], now: datetime) -> Calm | None:
    """Return since when nothing has happened to a workload; None while its rollout goes on."""
    present = frozenset((pod.uid, pod.crashes) for pod in pods)
    if not view.complete:
        return None
    return known if known is not None and known.pods == present else Calm(now, present)


def with_pods(
    view: WorkloadView, found: Calm | None, pods: Sequence[PodView], old: Collection[str], now: datetime
) -> WorkloadView:
    """Return the workload as its pods show it: complete when it is calm, stuck when new ones crash again and again.

    `old` are the uids of pods from before the change.
    """
    crashing = next((p.name for p in pods if p.uid not in old and p.crashes >= CRASHES and not p.ready), None)
    return replace(
        view,
        complete=found is not None and now - found.since >= STEADY,
        stuck=view.stuck or (f"its pod {crashing} crashes again and again" if crashing else None),
    )


def restart_body(
    api_version: str, kind: str, name: str, view: WorkloadView, added: Mapping[str, str]
) -> dict[str, Any]:
    """Return what to apply: all annotations that are ours, since an apply takes away those that it does not name."""
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": name, "uid": view.uid},
        "spec": {"template": {"metadata": {"annotations": {**view.restarts, **added}}}},
    }


_Read = tuple[bool, str | None, int | None, str | None]


def _deployment(spec: Mapping[str, Any], status: Mapping[str, Any]) -> _Read:
    wanted, updated = int(spec.get("replicas", 1)), int(status.get("updatedReplicas") or 0)
    complete = (
        updated >= wanted
        and int(status.get("replicas") or 0) <= updated
        and int(status.get("availableReplicas") or 0) >= updated
    )
    progressing: Mapping[str, Any] = next((c for c in status.get("conditions") or [] if c["type"] == "Progressing"), {})
    late = progressing.get("reason") == "ProgressDeadlineExceeded"
    return (
        complete,
        "its rollout does not progress within spec.progressDeadlineSeconds" if late else None,
        None,
        "it is paused; it is restarted when it is resumed (kubectl rollout resume)" if spec.get("paused") else None,
    )


def _stateful_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> _Read:
    strategy = spec.get("updateStrategy") or {}
    partition = int((strategy.get("rollingUpdate") or {}).get("partition") or 0)
    wanted, updated = int(spec.get("replicas", 1)), int(status.get("updatedReplicas") or 0)
    complete = updated >= max(0, wanted - partition) and int(status.get("availableReplicas") or 0) >= wanted
    return complete, None, updated, _on_delete(strategy)


def _daemon_set(spec: Mapping[str, Any], status: Mapping[str, Any]) -> _Read:
    wanted = int(status.get("desiredNumberScheduled") or 0)
    updated = int(status.get("updatedNumberScheduled") or 0)
    complete = updated >= wanted and int(status.get("numberAvailable") or 0) >= wanted
    return complete, None, updated, _on_delete(spec.get("updateStrategy") or {})


def _on_delete(strategy: Mapping[str, Any]) -> str | None:
    if strategy.get("type") != "OnDelete":
        return None
    return "its updateStrategy is OnDelete: delete its pods yourself, or make it RollingUpdate"


_READ = {
    WorkloadKind.DEPLOYMENT: _deployment,
    WorkloadKind.STATEFUL_SET: _stateful_set,
    WorkloadKind.DAEMON_SET: _daemon_set,
}
