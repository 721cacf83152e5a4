"""Which pods use a Secret, in what way, and what made them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.decide.pods import PodView, Workload, poke_targets, read_pod

CHANGED = datetime(2030, 1, 1, 12, tzinfo=UTC)
BEFORE = CHANGED - timedelta(seconds=1)

MOUNT = {"volumes": [{"name": "v", "secret": {"secretName": "db"}}], "containers": [{"volumeMounts": [{"name": "v"}]}]}


def body(spec: dict[str, Any], status: dict[str, Any] | None = None, **metadata: Any) -> dict[str, Any]:
    about = {"namespace": "shop", "name": "app", "creationTimestamp": "2030-01-01T12:00:00Z", **metadata}
    return {"metadata": about, "spec": spec, "status": status or {"phase": "Running"}}


def pod(name: str = "app", *, node: str = "n1", created: datetime = BEFORE, **uses: set[str]) -> PodView:
    return PodView(
        namespace="shop",
        name=name,
        uid=f"uid-{name}",
        node=node,
        created=created,
        volumes=frozenset(uses.get("volumes", {"db"} if not uses else set())),
        fixed=frozenset(uses.get("fixed", set())),
    )


def test_a_pod_is_reduced_to_what_decisions_need() -> None:
    found = read_pod(body(MOUNT | {"nodeName": "n1"}, uid="u-1", annotations={"elile.io/delivered.db": "1-1"}))
    assert found == PodView(
        namespace="shop",
        name="app",
        uid="u-1",
        node="n1",
        created=CHANGED,
        volumes=frozenset({"db"}),
        fixed=frozenset(),
    )
    assert found == read_pod(body(MOUNT | {"nodeName": "n1"}, uid="u-1")), "our own poke changes nothing here"


def test_a_pod_without_a_node_is_not_on_one() -> None:
    found = read_pod(body(MOUNT))
    assert found is not None
    assert (found.uid, found.node) == ("", "")


def mounting(volume: dict[str, Any], **mount: str) -> dict[str, Any]:
    return {"volumes": [{"name": "v", **volume}], "containers": [{"volumeMounts": [{"name": "v", **mount}]}]}


def in_env(**source: Any) -> dict[str, Any]:
    return {"containers": [{"env": [{"name": "A", "value": "a"}, {"name": "B", "valueFrom": source}]}]}


PROJECTED = {
    "projected": {
        "sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"secret": {"name": "one"}},
            {"configMap": {"name": "c"}},
            {"secret": {"name": "two"}},
        ]
    }
}


@pytest.mark.parametrize(
    ("spec", "volumes", "fixed"),
    [
        pytest.param(mounting({"secret": {"secretName": "db"}}), {"db"}, set(), id="volume"),
        pytest.param(mounting(PROJECTED), {"one", "two"}, set(), id="projected volume"),
        pytest.param(mounting({"secret": {"secretName": "db"}}, subPath="a"), set(), {"db"}, id="subPath"),
        pytest.param(mounting({"secret": {"secretName": "db"}}, subPathExpr="$(A)"), set(), {"db"}, id="subPathExpr"),
        pytest.param(mounting(PROJECTED, subPath="a"), set(), {"one", "two"}, id="subPath of a projected volume"),
        pytest.param(in_env(secretKeyRef={"name": "db", "key": "k"}), set(), {"db"}, id="env"),
        pytest.param({"containers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}, set(), {"db"}, id="envFrom"),
        pytest.param(
            {
                "volumes": [{"name": "v", "secret": {"secretName": "db"}}],
                "initContainers": [{"volumeMounts": [{"name": "v"}]}],
            },
            {"db"},
            set(),
            id="init container",
        ),
        pytest.param(
            {"ephemeralContainers": [{"envFrom": [{"secretRef": {"name": "db"}}]}]}, set(), {"db"}, id="debug container"
        ),
        pytest.param(
            {
                "volumes": [{"name": "v", "secret": {"secretName": "db"}}],
                "containers": [{"volumeMounts": [{"name": "v"}]}, {"volumeMounts": [{"name": "v", "subPath": "a"}]}],
            },
            {"db"},
            {"db"},
            id="both ways, in two containers",
        ),
    ],
)
def test_a_pod_uses_a_secret_by_volume_or_in_a_way_that_never_follows(
    spec: dict[str, Any], volumes: set[str], fixed: set[str]
) -> None:
    found = read_pod(body(spec))
    assert found is not None
    assert (found.volumes, found.fixed, found.secrets) == (volumes, fixed, volumes | fixed)


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"volumes": None, "containers": None}, id="nulls"),
        pytest.param({"containers": [{"env": None, "envFrom": None, "volumeMounts": None}]}, id="nulls in a container"),
        pytest.param({"imagePullSecrets": [{"name": "db"}], "containers": [{}]}, id="image pull secret"),
        pytest.param(mounting({"configMap": {"name": "db"}}), id="ConfigMap"),
        pytest.param(mounting({"projected": {"sources": None}}), id="empty projection"),
        pytest.param(mounting({"projected": {"sources": [{"serviceAccountToken": {}}]}}), id="ServiceAccount token"),
        pytest.param(
            {"volumes": [{"name": "v", "secret": {"secretName": "db"}}], "containers": [{}]}, id="not mounted"
        ),
        pytest.param({"containers": [{"volumeMounts": [{"name": "v"}]}]}, id="mount without its volume"),
        pytest.param(in_env(configMapKeyRef={"name": "db", "key": "k"}), id="env from a ConfigMap"),
        pytest.param({"containers": [{"envFrom": [{"configMapRef": {"name": "db"}}]}]}, id="envFrom a ConfigMap"),
    ],
)
def test_a_pod_that_uses_no_secret_is_left_out(spec: dict[str, Any]) -> None:
    assert read_pod(body(spec)) is None


def initialising(*states: dict[str, Any]) -> dict[str, Any]:
    return {"phase": "Pending", "initContainerStatuses": [{"state": state} for state in states]}


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        pytest.param({"phase": "Running"}, True, id="running"),
        pytest.param({"phase": "Unknown"}, True, id="node lost"),
        pytest.param({"phase": "Succeeded"}, False, id="succeeded"),
        pytest.param({"phase": "Failed"}, False, id="failed"),
        pytest.param({"phase": "Pending"}, False, id="not started"),
        pytest.param(initialising({"waiting": {}}), False, id="init container waits"),
        pytest.param({"phase": "Pending", "initContainerStatuses": [{"state": None}]}, False, id="no state yet"),
        pytest.param(initialising({"running": {}}), True, id="init container runs"),
        pytest.param(initialising({"terminated": {}}, {"waiting": {}}), True, id="one init container ran"),
    ],
)
def test_a_pod_counts_while_a_process_of_it_may_have_read_the_value(status: dict[str, Any], counts: bool) -> None:
    assert (read_pod(body(MOUNT, status)) is not None) is counts


def test_a_pod_without_a_status_counts() -> None:
    bare = body(MOUNT)
    del bare["status"]
    assert read_pod(bare) is not None


def test_a_pod_that_goes_away_is_left_out() -> None:
    assert read_pod(body(MOUNT, deletionTimestamp="2030-01-01T12:00:00Z")) is None


def test_pokes_go_to_pods_on_a_node_that_mount_the_volume_by_name() -> None:
    pods = [
        pod("c", node="n1"),
        pod("a", node="n2"),
        pod("b", node="n1"),
        pod("nowhere", node=""),
        pod("env", fixed={"db"}),
        pod("other", volumes={"web"}),
        pod("both", volumes={"db"}, fixed={"db"}),
    ]
    assert [p.name for p in poke_targets(pods, "db")] == ["a", "b", "both", "c"]
    assert poke_targets([], "db") == ()


def owned(kind: str, name: str, *, controller: bool = True, api: str = "apps/v1", **labels: str) -> dict[str, Any]:
    owner = {"apiVersion": api, "kind": kind, "name": name, "controller": controller}
    return {"ownerReferences": [owner], "labels": labels}


@pytest.mark.parametrize(
    ("meta", "owner"),
    [
        pytest.param({}, None, id="nobody"),
        pytest.param(owned("StatefulSet", "db"), Workload("StatefulSet", "db"), id="StatefulSet"),
        pytest.param(owned("Job", "once", api="batch/v1"), Workload("Job", "once"), id="Job"),
        pytest.param(
            owned("StatefulSet", "db", api="apps.kruise.io/v1beta1"),
            Workload("StatefulSet.apps.kruise.io", "db"),
            id="StatefulSet of somebody else",
        ),
        pytest.param(owned("Node", "n1", api="v1"), Workload("Node.v1", "n1"), id="static pod"),
        pytest.param(owned("StatefulSet", "db", controller=False), None, id="an owner that controls nothing"),
        pytest.param(
            owned("ReplicaSet", "my-app-5d8f", **{"pod-template-hash": "5d8f"}),
            Workload("Deployment", "my-app"),
            id="Deployment",
        ),
        pytest.param(
            owned("ReplicaSet", "my-app-5d8f", **{"rollouts-pod-template-hash": "5d8f"}),
            Workload("ReplicaSet", "my-app-5d8f"),
            id="Argo Rollout",
        ),
        pytest.param(owned("ReplicaSet", "own-"), Workload("ReplicaSet", "own-"), id="ReplicaSet of nobody"),
        pytest.param(
            owned("ReplicaSet", "app-1", **{"pod-template-hash": "5d8f"}),
            Workload("ReplicaSet", "app-1"),
            id="ReplicaSet with a copied label",
        ),
    ],
)
def test_the_workload_behind_a_pod_is_told_by_the_pod_alone(meta: dict[str, Any], owner: Workload | None) -> None:
    found = read_pod(body(MOUNT, **meta))
    assert found is not None
    assert found.owner == owner
    assert found.of_job is (owner is not None and owner.kind == "Job")


def test_what_a_question_to_a_pod_needs_is_read() -> None:
    status = {
        "phase": "Running",
        "podIP": "10.0.0.7",
        "conditions": [{"type": "Initialized", "status": "True"}, {"type": "Ready", "status": "True"}],
        "containerStatuses": [
            {"state": {"running": {"startedAt": "2030-01-01T12:00:09Z"}}},
            {"state": {"running": {"startedAt": "2030-01-01T12:00:05Z"}}},
            {"state": {"terminated": {"startedAt": "2030-01-01T12:00:01Z"}}},
            {"state": None},
        ],
    }
    found = read_pod(body(MOUNT | {"hostNetwork": True}, status))
    assert found is not None
    assert (found.ip, found.ready, found.host_network) == ("10.0.0.7", True, True)
    assert found.started == CHANGED + timedelta(seconds=5), "the oldest of those that run"


@pytest.mark.parametrize("conditions", [None, [], [{"type": "Ready", "status": "False"}]])
def test_a_pod_that_does_not_say_that_it_is_ready_is_not(conditions: list[dict[str, str]] | None) -> None:
    found = read_pod(body(MOUNT, {"phase": "Running", "conditions": conditions}))
    assert found is not None
    assert (found.ready, found.ip, found.started, found.host_network) == (False, "", None, False)
