"""When a rollout is complete, when it does not progress, and when a restart would restart nothing."""

from typing import Any

import pytest

from elile_operator.decide.workloads import read_workload, restart_body

COMPLETE = {
    "Deployment": {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    "StatefulSet": {"replicas": 2, "updatedReplicas": 2, "availableReplicas": 2},
    "DaemonSet": {"desiredNumberScheduled": 2, "updatedNumberScheduled": 2, "numberAvailable": 2},
}
KINDS = sorted(COMPLETE)


def body(kind: str, status: dict[str, Any] | None = None, seen: int = 3, **spec: Any) -> dict[str, Any]:
    told = COMPLETE[kind] | (status or {})
    wanted = {"replicas": 2} if kind != "DaemonSet" else {}
    return {
        "metadata": {"name": "web", "uid": "u", "generation": 3},
        "spec": wanted | {"template": {"metadata": {}}} | spec,
        "status": {"observedGeneration": seen, **told},
    }


@pytest.mark.parametrize("kind", KINDS)
def test_a_rollout_is_complete_when_all_pods_have_the_template_and_are_available(kind: str) -> None:
    assert read_workload(kind, body(kind)).complete
    assert not read_workload(kind, body(kind, seen=2)).complete, "its controller has not seen the change yet"
    for counted in COMPLETE[kind].keys() - {"replicas", "desiredNumberScheduled"}:
        assert not read_workload(kind, body(kind, {counted: 1})).complete, counted
    bare = {"metadata": {"name": "web", "uid": "u", "generation": 1}, "spec": {"template": {}}}
    assert not read_workload(kind, bare).complete


def test_a_deployment_with_pods_of_the_old_template_is_not_complete() -> None:
    assert not read_workload("Deployment", body("Deployment", {"replicas": 3, "availableReplicas": 3})).complete


def test_one_replica_is_what_nothing_means() -> None:
    one = {"replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    for kind in ("Deployment", "StatefulSet"):
        found = body(kind, one)
        del found["spec"]["replicas"]
        assert read_workload(kind, found).complete


def test_below_its_partition_a_stateful_set_keeps_its_pods() -> None:
    strategy = {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}
    assert read_workload("StatefulSet", body("StatefulSet", {"updatedReplicas": 1}, updateStrategy=strategy)).complete
    half = {"updatedReplicas": 0}
    assert not read_workload("StatefulSet", body("StatefulSet", half, updateStrategy=strategy)).complete


def test_a_deployment_says_itself_that_it_is_stuck() -> None:
    late = {"conditions": [{"type": "Available"}, {"type": "Progressing", "reason": "ProgressDeadlineExceeded"}]}
    found = read_workload("Deployment", body("Deployment", late))
    assert found.stuck == "its rollout does not progress within spec.progressDeadlineSeconds"
    assert read_workload("Deployment", body("Deployment", late, seen=2)).stuck is None, "said of an earlier change"
    fine = {"conditions": [{"type": "Progressing", "reason": "NewReplicaSetAvailable"}]}
    assert read_workload("Deployment", body("Deployment", fine)).stuck is None


@pytest.mark.parametrize(("kind", "updated"), [("Deployment", None), ("StatefulSet", 2), ("DaemonSet", 2)])
def test_the_others_are_measured_by_their_pods(kind: str, updated: int | None) -> None:
    assert read_workload(kind, body(kind)).updated == updated


def test_what_would_not_restart_says_why() -> None:
    assert read_workload("Deployment", body("Deployment")).held is None
    paused = read_workload("Deployment", body("Deployment", paused=True)).held
    assert paused == "it is paused; it is restarted when it is resumed (kubectl rollout resume)"
    for kind in ("StatefulSet", "DaemonSet"):
        assert read_workload(kind, body(kind, updateStrategy={"type": "RollingUpdate"})).held is None
        held = read_workload(kind, body(kind, updateStrategy={"type": "OnDelete"})).held
        assert held == "its updateStrategy is OnDelete: delete its pods yourself, or make it RollingUpdate"


def test_an_apply_names_all_restarts_and_nothing_else() -> None:
    template = {"metadata": {"annotations": {"restart.elile.io/web": "k:1", "restart.elile.io/db": "k:2", "a": "b"}}}
    view = read_workload("Deployment", body("Deployment", template=template))
    assert view.restarts == {"restart.elile.io/web": "k:1", "restart.elile.io/db": "k:2"}
    assert restart_body("apps/v1", "Deployment", "web", view, {"restart.elile.io/db": "k:3"}) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "uid": "u"},
        "spec": {
            "template": {"metadata": {"annotations": {"restart.elile.io/web": "k:1", "restart.elile.io/db": "k:3"}}}
        },
    }
