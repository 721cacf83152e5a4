"""Which pods use a Secret, in what way, and what is known of the version they see."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.elilesecret import ConsumersStatus
from elile_operator.decide.pods import PodView, poke_targets, read_pod, summarize

CHANGED = datetime(2030, 1, 1, 12, tzinfo=UTC)
BEFORE, AFTER = CHANGED - timedelta(seconds=1), CHANGED + timedelta(seconds=1)

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


VOLUME, YOUNG, SAME = pod("volume"), pod("young", created=AFTER), pod("same", created=CHANGED)
ENV, BOTH = pod("env", fixed={"db"}), pod("both", volumes={"db"}, fixed={"db"})
YOUNG_ENV = pod("young-env", created=AFTER, fixed={"db"})
OTHER = pod("other", volumes={"web"})


@pytest.mark.parametrize(
    ("pods", "changed", "poked", "want"),
    [
        pytest.param([], True, True, ("0/0", 0, 0, 0, (), ()), id="no pods"),
        pytest.param([OTHER], True, True, ("0/0", 0, 0, 0, (), ()), id="pods of another Secret"),
        pytest.param([VOLUME, ENV], False, False, ("2/2", 2, 2, 0, (), ()), id="never changed"),
        pytest.param([YOUNG, YOUNG_ENV], True, False, ("2/2", 2, 2, 0, (), ()), id="born with it"),
        pytest.param([VOLUME], True, True, ("0+1?/1", 1, 0, 1, (), ()), id="poked"),
        pytest.param([VOLUME], True, False, ("0/1", 1, 0, 0, ("volume",), ()), id="not poked"),
        pytest.param([SAME], True, True, ("0+1?/1", 1, 0, 1, (), ()), id="made in the second of the change"),
        pytest.param([ENV], True, True, ("0/1", 1, 0, 0, ("env",), ("env",)), id="env never follows"),
        pytest.param([BOTH], True, True, ("0/1", 1, 0, 0, ("both",), ("both",)), id="both ways: the worse counts"),
        pytest.param(
            [YOUNG, VOLUME, OTHER, ENV, SAME],
            True,
            True,
            ("1+2?/4", 4, 1, 2, ("env",), ("env",)),
            id="some of each",
        ),
        pytest.param(
            [YOUNG, VOLUME, ENV], True, False, ("1/3", 3, 1, 0, ("env", "volume"), ("env",)), id="some, not poked"
        ),
    ],
)
def test_pods_are_counted_by_what_is_known_of_each(
    pods: list[PodView], changed: bool, poked: bool, want: tuple[str, int, int, int, tuple[str, ...], tuple[str, ...]]
) -> None:
    summary, total, current, assumed, stale, need_restart = want
    assert summarize(pods, "db", changed=CHANGED if changed else None, poked=poked) == ConsumersStatus(
        summary=summary, total=total, current=current, assumed=assumed, stale=stale, need_restart=need_restart
    )


def test_a_status_lists_ten_names_of_each_and_counts_them_all() -> None:
    pods = [pod(f"p{i:02}", fixed={"db"}) for i in reversed(range(12))]
    found = summarize(pods, "db", changed=CHANGED, poked=True)
    names = tuple(f"p{i:02}" for i in range(10))
    assert (found.total, found.stale, found.need_restart) == (12, names, names)
