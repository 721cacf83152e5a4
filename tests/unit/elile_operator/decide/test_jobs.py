"""The Job of a hook: its shape, its name, and what a look at it comes to."""

import base64
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile_operator.api.reasons import Reason
from elile_operator.decide.jobs import (
    HookJob,
    Seen,
    Sight,
    is_finished,
    is_ours,
    job_manifest,
    job_name,
    judge,
    look,
    not_allowed,
    render_files,
    secret_manifest,
    unfinished,
)

CANARY = "canary-5f1d"
JOB = HookJob(
    namespace="shop",
    rotation="db-29712345",
    rotation_uid="uid-1",
    hook="login",
    stage="Pending",
    attempt_key="r1 Applied 1",
    service_account="elile-rotator",
    image="registry.example.com/check:1.2",
    command=("python", "-m", "check"),
    args=("--host", "db"),
    env=(("TARGET", "db.shop.svc"),),
    run_as_user=1000,
    timeout=timedelta(seconds=10),
)
LABELS = {"app.kubernetes.io/managed-by": "elile", "elile.io/hook-of": "db-29712345", "elile.io/hook": "login"}


def test_the_job_as_it_is_made() -> None:
    assert job_manifest(JOB) == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "namespace": "shop",
            "name": job_name(JOB),
            "labels": LABELS,
            "ownerReferences": [
                {
                    "apiVersion": "elile.io/v1alpha1",
                    "kind": "Rotation",
                    "name": "db-29712345",
                    "uid": "uid-1",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": 10,
            "ttlSecondsAfterFinished": 300,
            "template": {
                "metadata": {"labels": LABELS},
                "spec": {
                    "serviceAccountName": "elile-rotator",
                    "automountServiceAccountToken": False,
                    "enableServiceLinks": False,
                    "restartPolicy": "Never",
                    "terminationGracePeriodSeconds": 1,
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "fsGroup": 65532,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [
                        {
                            "name": "hook",
                            "image": "registry.example.com/check:1.2",
                            "command": ["python", "-m", "check"],
                            "args": ["--host", "db"],
                            "env": [{"name": "TARGET", "value": "db.shop.svc"}],
                            "securityContext": {
                                "allowPrivilegeEscalation": False,
                                "readOnlyRootFilesystem": True,
                                "capabilities": {"drop": ["ALL"]},
                            },
                            "resources": {
                                "requests": {"cpu": "10m", "memory": "32Mi"},
                                "limits": {"cpu": "1", "memory": "256Mi"},
                            },
                            "volumeMounts": [
                                {"name": "value", "mountPath": "/run/elile/value", "readOnly": True},
                                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
                            ],
                        }
                    ],
                    "volumes": [
                        {"name": "value", "secret": {"secretName": job_name(JOB), "defaultMode": 0o440}},
                        {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "16Mi"}},
                    ],
                },
            },
        },
    }


def test_what_is_not_said_is_left_to_the_image() -> None:
    plain = replace(JOB, command=(), args=(), env=(), run_as_user=None, timeout=timedelta(seconds=1.2))
    spec = job_manifest(plain)["spec"]
    pod = spec["template"]["spec"]
    assert not {"command", "args", "env"} & pod["containers"][0].keys()
    assert "runAsUser" not in pod["securityContext"]
    assert spec["activeDeadlineSeconds"] == 2


def test_the_secret_as_it_is_made() -> None:
    files = render_files(JOB, Redacted({"password": CANARY, "port": 5432, "tags": ["a"]}))
    assert not isinstance(files, Verification)
    assert CANARY not in repr(files)
    body = secret_manifest(JOB, "uid-job", files)
    assert body == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {
            "namespace": "shop",
            "name": job_name(JOB),
            "labels": LABELS,
            "ownerReferences": [
                {
                    "apiVersion": "batch/v1",
                    "kind": "Job",
                    "name": job_name(JOB),
                    "uid": "uid-job",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "type": "Opaque",
        "immutable": True,
        "data": {
            "password": base64.b64encode(CANARY.encode()).decode(),
            "port": base64.b64encode(b"5432").decode(),
            "tags": base64.b64encode(b'["a"]').decode(),
        },
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (
            {"a/b": CANARY},
            "key 'a/b' of the entry can be no file for the job hook 'login': rename it, to letters, digits, '-', '_' "
            "and '.'",
        ),
        (
            {"password": None},
            "key 'password' of the entry, for the job hook 'login', is null, which no file can hold; write a string "
            "there",
        ),
        (
            {"a": "x" * (1024 * 1024), "b": CANARY},
            "the entry is larger than the 1048576 bytes that the job hook 'login' can be given: split it",
        ),
    ],
    ids=["name", "null", "size"],
)
def test_what_can_be_no_file_is_named(value: dict[str, Any], message: str) -> None:
    found = render_files(JOB, Redacted(value))
    assert isinstance(found, Verification)
    assert (found.outcome, found.detail) == (Outcome.INCONCLUSIVE, message)


def test_the_name_is_the_same_for_the_same_try_and_for_no_other() -> None:
    others = [
        replace(JOB, rotation_uid="uid-2"),
        replace(JOB, hook="other"),
        replace(JOB, stage="BeforeRetire"),
        replace(JOB, attempt_key="r1 Applied 2"),
        replace(JOB, image="registry.example.com/check:1.3"),
        replace(JOB, command=("python", "-m", "check", "--host"), args=("db",)),
        replace(JOB, args=()),
        replace(JOB, env=()),
        replace(JOB, service_account="app"),
        replace(JOB, run_as_user=None),
    ]
    names = {job_name(job) for job in (JOB, *others)}
    assert len(names) == 1 + len(others)
    assert job_name(replace(JOB, timeout=timedelta(minutes=1))) == job_name(JOB), "more time is no other try"
    assert all(len(name) == 31 and name.startswith("elile-hook-") for name in names)


def test_a_name_that_somebody_else_took() -> None:
    assert is_ours(JOB, job_manifest(JOB))
    assert not is_ours(JOB, {"metadata": {"name": job_name(JOB)}})
    assert not is_ours(JOB, {"metadata": {"labels": {**LABELS, "elile.io/hook": "another"}}})


def test_a_right_that_is_missing_is_named_with_the_command() -> None:
    found = not_allowed("shop", "elile-system:elile-operator")
    assert (found.reason, found.message) == (
        Reason.JOBS_NOT_ALLOWED,
        "the operator may not run Jobs in namespace 'shop'; allow it: kubectl -n shop create rolebinding elile-jobs "
        "--clusterrole=elile-jobs --serviceaccount=elile-system:elile-operator",
    )


# ── what became of it ────────────────────────────────────────────────────────────────────────────────────────────────


def pod(state: dict[str, Any] | None = None, *conditions: tuple[str, str], owner: str = "uid-job", **meta: Any) -> Any:
    status: dict[str, Any] = {"conditions": [{"type": kind, "status": value} for kind, value in conditions]}
    if state is not None:
        status["containerStatuses"] = [{"name": "mesh", "state": {"running": {}}}, {"name": "hook", "state": state}]
    return {"metadata": {"ownerReferences": [{"uid": owner}], **meta}, "status": status}


def waiting(reason: str) -> dict[str, Any]:
    return {"waiting": {"reason": reason}}


def ended(code: int, reason: str = "Error") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason}}


GONE = {"deletionTimestamp": "2030-01-01T00:00:00Z"}
PASSED = Verification.passed("the container of the job hook 'login' ended with 0")


@pytest.mark.parametrize(
    ("pods", "sight"),
    [
        pytest.param([], Sight(), id="no pod"),
        pytest.param([pod(ended(0, "Completed"), owner="another")], Sight(), id="a pod of another Job"),
        pytest.param([pod(None, ("PodScheduled", "False"))], Sight(Seen.UNSCHEDULED), id="unschedulable"),
        pytest.param([pod(None, ("PodScheduled", "True"))], Sight(Seen.STARTING), id="scheduled"),
        pytest.param([pod(waiting("ContainerCreating"))], Sight(Seen.STARTING), id="being made"),
        pytest.param([pod(waiting("ErrImagePull"))], Sight(Seen.NO_IMAGE), id="no image"),
        pytest.param([pod(waiting("ImagePullBackOff"))], Sight(Seen.NO_IMAGE), id="no image again"),
        pytest.param([pod(waiting("ErrImageNeverPull"))], Sight(Seen.NO_IMAGE), id="no image here"),
        pytest.param([pod(waiting("InvalidImageName"))], Sight(Seen.NO_IMAGE), id="no name of an image"),
        pytest.param([pod(waiting("CreateContainerConfigError"))], Sight(Seen.NO_CONTAINER), id="root"),
        pytest.param([pod({"running": {}})], Sight(Seen.RUNNING), id="running"),
        pytest.param([pod(ended(0, "Completed"))], Sight(Seen.RUNNING, verdict=PASSED), id="passed"),
        pytest.param(
            [pod(ended(3))],
            Sight(Seen.RUNNING, verdict=Verification.failed("the container of the job hook 'login' ended with 3")),
            id="failed",
        ),
        pytest.param(
            [pod(ended(128, "StartError"))],
            Sight(
                Seen.RUNNING,
                verdict=Verification.inconclusive(
                    "the container of the job hook 'login' cannot be started: correct spec.verify[].job.command"
                ),
            ),
            id="no such command",
        ),
        pytest.param(
            [pod(ended(137, "OOMKilled"))],
            Sight(
                Seen.RUNNING,
                verdict=Verification.inconclusive(
                    "the container of the job hook 'login' needs more than the 256Mi that it has: have it use less"
                ),
            ),
            id="out of memory",
        ),
        pytest.param([pod({"running": {}}, **GONE)], Sight(disturbed=True), id="told to stop"),
        pytest.param([pod(ended(0), **GONE)], Sight(disturbed=True), id="ended with 0 when told to stop"),
        pytest.param([pod(ended(143), **GONE)], Sight(disturbed=True), id="ended when told to stop"),
        pytest.param([pod(ended(137), ("DisruptionTarget", "True"))], Sight(disturbed=True), id="evicted"),
        pytest.param([pod(ended(0), ("DisruptionTarget", "True"))], Sight(disturbed=True), id="evicted and content"),
        pytest.param(
            [
                pod(ended(1), creationTimestamp="2030-01-01T00:00:00Z"),
                pod({"running": {}}, creationTimestamp="2030-01-01T00:00:01Z"),
            ],
            Sight(Seen.RUNNING),
            id="the last one counts",
        ),
    ],
)
def test_a_look_at_the_pod(pods: list[Any], sight: Sight) -> None:
    assert look(JOB, "uid-job", pods, Sight()) == sight


def test_what_was_seen_is_kept() -> None:
    before = Sight(Seen.RUNNING)
    assert look(JOB, "uid-job", [], before) == before
    assert look(JOB, "uid-job", [pod(ended(0), **GONE)], before) == replace(before, disturbed=True)


def body(kind: str | None = None, reason: str = "") -> dict[str, Any]:
    return {"status": {"conditions": [{"type": kind, "status": "True", "reason": reason}] if kind else []}}


LATE = "the Job of the hook 'login' has not ended after 10 s: "


@pytest.mark.parametrize(
    ("found", "sight", "outcome", "message"),
    [
        pytest.param(body(), Sight(verdict=PASSED), Outcome.PASSED, PASSED.detail, id="by the pod"),
        pytest.param(body("Complete"), Sight(), Outcome.PASSED, PASSED.detail, id="by the Job, without a pod"),
        pytest.param(
            body("Complete"),
            Sight(Seen.RUNNING, disturbed=True),
            Outcome.INCONCLUSIVE,
            "the pod of the job hook 'login' was deleted while it ran",
            id="ended with 0 when told to stop",
        ),
        pytest.param(
            body("Failed", "BackoffLimitExceeded"),
            Sight(Seen.RUNNING),
            Outcome.INCONCLUSIVE,
            "the Job of the hook 'login' failed, and its pod is gone",
            id="failed and nobody knows how",
        ),
        pytest.param(
            body("Failed", "BackoffLimitExceeded"),
            Sight(Seen.RUNNING, disturbed=True),
            Outcome.INCONCLUSIVE,
            "the pod of the job hook 'login' was deleted while it ran",
            id="evicted",
        ),
        pytest.param(
            body("Failed", "DeadlineExceeded"),
            Sight(Seen.NO_POD),
            Outcome.INCONCLUSIVE,
            LATE
            + "no pod was made, for which an admission policy, Pod Security or a quota may be the reason (kubectl -n "
            "shop get events)",
            id="no pod",
        ),
        pytest.param(
            body("Failed", "DeadlineExceeded"),
            Sight(Seen.UNSCHEDULED),
            Outcome.INCONCLUSIVE,
            LATE + "no node takes its pod (kubectl -n shop get events): make room",
            id="unschedulable",
        ),
        pytest.param(
            body("Failed", "DeadlineExceeded"),
            Sight(Seen.NO_IMAGE, disturbed=True),
            Outcome.INCONCLUSIVE,
            LATE
            + "its image registry.example.com/check:1.2 cannot be pulled: correct spec.verify[].job.image, or give "
            "the ServiceAccount elile-rotator imagePullSecrets",
            id="no image",
        ),
        pytest.param(
            body("Failed", "DeadlineExceeded"),
            Sight(Seen.NO_CONTAINER),
            Outcome.INCONCLUSIVE,
            LATE + "its container cannot be made, most often because the image runs as root: set "
            "spec.verify[].job.runAsUser",
            id="root",
        ),
        pytest.param(
            body("Failed", "DeadlineExceeded"),
            Sight(Seen.STARTING),
            Outcome.INCONCLUSIVE,
            LATE + "its pod had not started: give it more time in spec.verify[].timeout",
            id="slow start",
        ),
        pytest.param(
            body("Failed", "DeadlineExceeded"),
            Sight(Seen.RUNNING, disturbed=True),
            Outcome.INCONCLUSIVE,
            LATE + "it had not ended: give it more time in spec.verify[].timeout",
            id="hangs",
        ),
    ],
)
def test_what_the_hook_comes_to(found: dict[str, Any], sight: Sight, outcome: Outcome, message: str) -> None:
    verdict = judge(JOB, found, sight)
    assert verdict is not None
    assert (verdict.outcome, verdict.detail) == (outcome, message)


def test_a_running_job_is_waited_for() -> None:
    assert judge(JOB, body(), Sight(Seen.RUNNING)) is None
    assert judge(JOB, {}, Sight(Seen.RUNNING, disturbed=True)) is None
    assert unfinished(JOB, Sight(Seen.RUNNING)).outcome is Outcome.INCONCLUSIVE


def test_what_is_finished() -> None:
    assert [is_finished(each) for each in ({}, body(), body("Suspended"), body("Complete"), body("Failed"))] == [
        False,
        False,
        False,
        True,
        True,
    ]
