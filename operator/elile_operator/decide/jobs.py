"""The Job of a verification hook as it is made, and what a look at it and its pod comes to."""

import base64
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from typing import Any

from elile.secrets.redact import Redacted
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.api.hookjob import VALUE_FOLDER
from elile_operator.api.meta import API_VERSION, GROUP, MANAGED_BY, MANAGED_BY_LABEL
from elile_operator.api.reasons import Reason
from elile_operator.api.syntax import is_secret_key
from elile_operator.decide.entries import UnwritableError, as_bytes, shown
from elile_operator.decide.render import MAX_DATA_BYTES
from elile_operator.decide.violation import Violation

__all__ = [
    "POD_SELECTOR",
    "Files",
    "HookJob",
    "Seen",
    "Sight",
    "is_finished",
    "is_ours",
    "job_manifest",
    "job_name",
    "judge",
    "look",
    "not_allowed",
    "render_files",
    "secret_manifest",
    "unfinished",
]

HOOK_LABEL = f"{GROUP}/hook"
OWNER_LABEL = f"{GROUP}/hook-of"
POD_SELECTOR = "batch.kubernetes.io/job-name={}"
CONTAINER = "hook"
# Files belong to root and to this group, which the container is in whatever its user is.
GROUP_ID = 65532
MODE = 0o440
MEMORY = "256Mi"
# Seconds for which a Job that has ended, with its Secret, outlives an operator that does not come back.
KEPT = 300

Files = Mapping[str, Redacted[bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class HookJob:
    """One try of one job hook.

    `rotation` and `rotation_uid` are the owner's, with which everything goes; between rotations that is the schedule,
    `owner_kind` RotationSchedule. `attempt_key` tells tries apart: id and phase of the rotation, and the number of the
    try. The same key is the same Job, also after a restart of the operator. `run_as_user` None: the image's.
    """

    namespace: str
    rotation: str
    rotation_uid: str
    owner_kind: str = "Rotation"
    hook: str
    stage: str
    attempt_key: str
    service_account: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[tuple[str, str], ...] = ()
    run_as_user: int | None = None
    timeout: timedelta


def job_name(job: HookJob) -> str:
    """Return the name of the Job and of its Secret. What it runs is part of it: an edited hook is another one."""
    identity = [job.rotation_uid, job.hook, job.stage, job.attempt_key, job.service_account, job.image]
    told = json.dumps([*identity, job.command, job.args, job.env, job.run_as_user])
    return f"elile-hook-{hashlib.sha256(told.encode()).hexdigest()[:20]}"


def render_files(job: HookJob, value: Redacted[Mapping[str, Any]]) -> Files | Verification:
    """Return the keys of the entry as files, as an ElileSecret delivers them, or what stands in the way."""
    files: dict[str, Redacted[bytes]] = {}
    for key, held in value.reveal().items():
        if not is_secret_key(key):
            return Verification.inconclusive(
                f"key {shown(key)} of the entry can be no file for the job hook {job.hook!r}: rename it, to letters, "
                "digits, '-', '_' and '.'"
            )
        try:
            files[key] = Redacted(as_bytes(held))
        except UnwritableError as e:
            return Verification.inconclusive(f"key {shown(key)} of the entry, for the job hook {job.hook!r}, {e}")
    if sum(len(content.reveal()) for content in files.values()) > MAX_DATA_BYTES:
        return Verification.inconclusive(
            f"the entry is larger than the {MAX_DATA_BYTES} bytes that the job hook {job.hook!r} can be given: split it"
        )
    return files


def job_manifest(job: HookJob) -> dict[str, Any]:
    """Return the Job. No value is in it: the pod has it from the Secret of the same name.

    policies/admission/operator-jobs.yaml lets the operator make Jobs of this shape and no other.
    """
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": job.image,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"cpu": "1", "memory": MEMORY}},
        "volumeMounts": [
            {"name": "value", "mountPath": VALUE_FOLDER, "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
        ],
    }
    if job.command:
        container["command"] = list(job.command)
    if job.args:
        container["args"] = list(job.args)
    if job.env:
        container["env"] = [{"name": name, "value": text} for name, text in job.env]
    as_user = {} if job.run_as_user is None else {"runAsUser": job.run_as_user}
    pod = {
        "serviceAccountName": job.service_account,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "fsGroup": GROUP_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
            **as_user,
        },
        "containers": [container],
        "volumes": [
            {"name": "value", "secret": {"secretName": job_name(job), "defaultMode": MODE}},
            # In memory: what the container writes down of the value reaches no disk.
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
        ],
    }
    owner = {"apiVersion": API_VERSION, "kind": job.owner_kind, "name": job.rotation, "uid": job.rotation_uid}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {**_named(job), "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}]},
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": max(1, math.ceil(job.timeout.total_seconds())),
            "ttlSecondsAfterFinished": KEPT,
            "template": {"metadata": {"labels": _labels(job)}, "spec": pod},
        },
    }


def secret_manifest(job: HookJob, job_uid: str, files: Files) -> dict[str, Any]:
    """Return the Secret of a Job, which goes with it. It holds the value: for the API server, and nowhere else."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": job_name(job), "uid": job_uid}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {**_named(job), "ownerReferences": [{**owner, "controller": True, "blockOwnerDeletion": False}]},
        "type": "Opaque",
        "immutable": True,
        "data": {name: base64.b64encode(content.reveal()).decode() for name, content in files.items()},
    }


def is_ours(job: HookJob, body: Mapping[str, Any]) -> bool:
    """Whether a Job or Secret of the name was made for the hook, and not by somebody who guessed the name."""
    labels = body["metadata"].get("labels") or {}
    return _labels(job).items() <= labels.items()


def not_allowed(namespace: str, account: str) -> Violation:
    """Return what to say where no Job may be made; `account` is the operator's `<namespace>:<ServiceAccount>`."""
    return Violation(
        Reason.JOBS_NOT_ALLOWED,
        f"the operator may not run Jobs in namespace {namespace!r}; allow it: kubectl -n {namespace} create "
        f"rolebinding elile-jobs --clusterrole=elile-jobs --serviceaccount={account}",
    )


# ── what became of it ────────────────────────────────────────────────────────────────────────────────────────────────


class Seen(StrEnum):
    """How far the pod has been seen; each is a phrase for what an unfinished Job waited for."""

    NO_POD = (
        "no pod was made, for which an admission policy, Pod Security or a quota may be the reason "
        "(kubectl -n {namespace} get events)"
    )
    UNSCHEDULED = "no node takes its pod (kubectl -n {namespace} get events): make room"
    NO_IMAGE = (
        "its image {image} cannot be pulled: correct spec.verify[].job.image, or give the ServiceAccount "
        "{service_account} imagePullSecrets"
    )
    NO_CONTAINER = (
        "its container cannot be made, most often because the image runs as root: set spec.verify[].job.runAsUser"
    )
    STARTING = "its pod had not started: give it more time in spec.verify[].timeout"
    RUNNING = "it had not ended: give it more time in spec.verify[].timeout"


@dataclass(frozen=True, slots=True)
class Sight:
    """What has been seen of the pod so far. disturbed: it was deleted or evicted, what it ended with says nothing."""

    seen: Seen = Seen.NO_POD
    disturbed: bool = False
    verdict: Verification | None = None


_IMAGE = frozenset({"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName", "ImageInspectError"})
_CONTAINER = frozenset({"CreateContainerConfigError", "CreateContainerError", "RunContainerError"})
_NOT_STARTED = frozenset({"StartError", "ContainerCannotRun"})


def look(job: HookJob, job_uid: str, pods: Sequence[Mapping[str, Any]], before: Sight) -> Sight:
    """Return what is known after a look at the pods of the namespace with the Job's label."""
    own = [pod for pod in pods if any(o["uid"] == job_uid for o in pod["metadata"].get("ownerReferences") or [])]
    if not own:
        return before
    pod = max(own, key=lambda each: str(each["metadata"].get("creationTimestamp", "")))
    status = pod.get("status") or {}
    # A container may well end with 0 when it is told to stop.
    if pod["metadata"].get("deletionTimestamp") or _is_true(status, "DisruptionTarget"):
        return replace(before, disturbed=True)
    states = [c.get("state") or {} for c in status.get("containerStatuses") or [] if c.get("name") == CONTAINER]
    state: Mapping[str, Any] = states[0] if states else {}
    if (ended := state.get("terminated")) is not None:
        return replace(before, seen=Seen.RUNNING, verdict=_verdict(job, ended))
    if "running" in state:
        return replace(before, seen=Seen.RUNNING)
    why = str((state.get("waiting") or {}).get("reason", ""))
    if why in _IMAGE:
        return replace(before, seen=Seen.NO_IMAGE)
    if why in _CONTAINER:
        return replace(before, seen=Seen.NO_CONTAINER)
    scheduled = not any(
        c.get("type") == "PodScheduled" and c.get("status") == "False" for c in status.get("conditions") or []
    )
    return replace(before, seen=Seen.STARTING if scheduled else Seen.UNSCHEDULED)


def _verdict(job: HookJob, ended: Mapping[str, Any]) -> Verification:
    code, why = int(ended.get("exitCode", -1)), ended.get("reason")
    if code == 0:
        return Verification.passed(f"the container of the job hook {job.hook!r} ended with 0")
    if why in _NOT_STARTED:
        return Verification.inconclusive(
            f"the container of the job hook {job.hook!r} cannot be started: correct spec.verify[].job.command"
        )
    if why == "OOMKilled":
        return Verification.inconclusive(
            f"the container of the job hook {job.hook!r} needs more than the {MEMORY} that it has: have it use less"
        )
    return Verification.failed(f"the container of the job hook {job.hook!r} ended with {code}")


def judge(job: HookJob, body: Mapping[str, Any], sight: Sight) -> Verification | None:
    """Return what the hook came to, None while it runs."""
    if sight.verdict is not None:
        return sight.verdict
    if not is_finished(body):
        return None
    failed = [c for c in body["status"]["conditions"] if c["type"] == "Failed" and c["status"] == "True"]
    if failed and failed[0].get("reason") == "DeadlineExceeded":
        return unfinished(job, sight)
    if sight.disturbed:
        return Verification.inconclusive(f"the pod of the job hook {job.hook!r} was deleted while it ran")
    if failed:
        return Verification.inconclusive(f"the Job of the hook {job.hook!r} failed, and its pod is gone")
    return Verification.passed(f"the container of the job hook {job.hook!r} ended with 0")


def unfinished(job: HookJob, sight: Sight) -> Verification:
    """Return what to say of a Job whose time is up."""
    waited = sight.seen.format(namespace=job.namespace, image=job.image, service_account=job.service_account)
    return Verification.inconclusive(
        f"the Job of the hook {job.hook!r} has not ended after {job.timeout.total_seconds():g} s: {waited}"
    )


def is_finished(body: Mapping[str, Any]) -> bool:
    """Whether a Job needs its Secret no more."""
    status = body.get("status") or {}
    return _is_true(status, "Complete") or _is_true(status, "Failed")


def _is_true(status: Mapping[str, Any], kind: str) -> bool:
    return any(c.get("type") == kind and c.get("status") == "True" for c in status.get("conditions") or [])


def _named(job: HookJob) -> dict[str, Any]:
    return {"namespace": job.namespace, "name": job_name(job), "labels": _labels(job)}


def _labels(job: HookJob) -> dict[str, str]:
    return {MANAGED_BY_LABEL: MANAGED_BY, OWNER_LABEL: job.rotation, HOOK_LABEL: job.hook}
