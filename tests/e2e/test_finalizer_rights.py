"""The right to patch what people wrote is for the finalizer, and the admission policy leaves no more of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.cluster import ROOT, Cluster, CommandError, eventually

pytestmark = pytest.mark.lab

OPERATOR = "system:serviceaccount:elile-system:elile-operator"
POLICY = ROOT / "policies" / "admission" / "operator-finalizers.yaml"
SPECS: dict[str, dict[str, Any]] = {
    "ElileSecret": {"vault": {"server": "nowhere"}, "sources": [{"name": "db", "kv": {"path": "db"}}]},
    "RotationSchedule": {
        "secretRef": {"name": "fenced", "source": "db"},
        "vault": {"role": "elile-rotator", "serviceAccountName": "elile-rotator"},
        "value": {"keyset": {"algorithm": "AES256GCM"}},
        "verify": [{"name": "keys", "crypto": {}}],
        "suspend": True,
    },
    "Rotation": {"scheduleRef": {"name": "nowhere"}},
}


def manifest(kind: str, name: str = "fenced", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": "default",
            "labels": {"team": "shop"},
            "annotations": {"keep": "this"},
            "finalizers": ["somebody.else/s"],
        },
        "spec": spec or SPECS[kind],
    }


def patch(cluster: Cluster, body: dict[str, Any], kind: str = "ElileSecret") -> None:
    """Patch as the operator's ServiceAccount, without changing anything."""
    arguments = ("--type=merge", "--dry-run=server", f"-p={json.dumps(body)}")
    cluster.kubectl(f"--as={OPERATOR}", "-n", "default", "patch", kind, "fenced", *arguments)


@pytest.fixture(scope="module")
def fenced(cluster: Cluster, installed: None) -> Iterator[Cluster]:
    """Objects that nobody works on, and the policy in force, which the API server sees a moment later."""
    cluster.apply(*map(manifest, SPECS))
    cluster.kubectl("apply", "-f", str(POLICY))

    def refused() -> bool:
        try:
            patch(cluster, {"metadata": {"labels": {"team": "other"}}})
        except CommandError as e:
            return "elile-operator-finalizers" in str(e)
        return False

    try:
        eventually("the policy is in force", refused)
        yield cluster
    finally:
        cluster.kubectl("delete", "-f", str(POLICY))
        for kind in SPECS:
            given = '-p={"metadata":{"finalizers":null}}'
            cluster.kubectl("-n", "default", "patch", kind, "fenced", "--type=merge", given)
            cluster.kubectl("-n", "default", "delete", kind, "fenced", "--ignore-not-found")


@pytest.mark.parametrize("kind", SPECS)
def test_the_finalizer_may_be_set_and_others_are_free(fenced: Cluster, kind: str) -> None:
    patch(fenced, {"metadata": {"finalizers": ["somebody.else/s", "elile.io/finalizer"]}}, kind)
    label = json.dumps({"metadata": {"labels": {"team": "other"}}})
    fenced.kubectl("-n", "default", "patch", kind, "fenced", "--type=merge", "--dry-run=server", f"-p={label}")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"spec": {"vault": {"role": "admin"}}}, "changes no spec", id="role"),
        pytest.param({"spec": {"sources": [{"name": "db", "kv": {"path": "a"}}]}}, "changes no spec", id="path"),
        pytest.param({"spec": {"delivery": {"secret": {"name": "a"}}}}, "changes no spec", id="target"),
        pytest.param({"metadata": {"labels": {"team": "other"}}}, "no metadata of an ElileSecret but", id="label"),
        pytest.param({"metadata": {"annotations": {"keep": None}}}, "no metadata of an ElileSecret but", id="taken"),
        pytest.param(
            {"metadata": {"annotations": {"elile.io/refresh": "1"}}}, "no metadata of an ElileSecret but", id="wish"
        ),
        pytest.param({"metadata": {"finalizers": []}}, "no finalizer but elile.io/finalizer", id="another's finalizer"),
        pytest.param(
            {"metadata": {"finalizers": ["somebody.else/s", "a.b/c"]}},
            "no finalizer but elile.io/finalizer",
            id="a new one",
        ),
    ],
)
def test_the_operator_may_change_nothing_else(fenced: Cluster, body: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        patch(fenced, body)
    assert "elile-operator-finalizers" in str(refused.value)
    assert message in str(refused.value)


@pytest.mark.parametrize("kind", ["RotationSchedule", "Rotation"])
@pytest.mark.parametrize(
    ("body", "message"),
    [
        pytest.param({"metadata": {"labels": {"team": "other"}}}, "no metadata of a KIND but", id="label"),
        pytest.param({"metadata": {"annotations": {"keep": None}}}, "no metadata of a KIND but", id="taken"),
        pytest.param({"metadata": {"finalizers": []}}, "no finalizer but elile.io/finalizer", id="another's finalizer"),
    ],
)
def test_of_what_rotates_neither(fenced: Cluster, kind: str, body: dict[str, Any], message: str) -> None:
    with pytest.raises(CommandError) as refused:
        patch(fenced, body, kind)
    assert f"elile-operator-finalizers' denied request: the operator of Elile changes {message}".replace(
        "KIND", kind
    ) in str(refused.value)


@pytest.mark.parametrize(
    "spec",
    [
        {"suspend": False},
        {"vault": {"serviceAccountName": "admin"}},
        {"secretRef": {"name": "another"}},
        {"verify": [{"name": "run", "timeout": "1m", "job": {"image": "evil"}}]},
    ],
    ids=["started", "as another", "of another", "a container"],
)
def test_the_operator_changes_no_schedule(fenced: Cluster, spec: dict[str, Any]) -> None:
    with pytest.raises(CommandError, match="changes no spec of a RotationSchedule"):
        patch(fenced, {"spec": spec}, "RotationSchedule")


@pytest.fixture
def everything(fenced: Cluster) -> Iterator[Cluster]:
    """The operator with all rights, so that the policy alone decides."""
    fenced.kubectl("create", "clusterrolebinding", "fence-create", "--clusterrole=cluster-admin", f"--user={OPERATOR}")
    yield fenced
    fenced.kubectl("delete", "clusterrolebinding", "fence-create")


def create(cluster: Cluster, body: dict[str, Any]) -> None:
    del body["metadata"]["finalizers"]
    cluster.kubectl(f"--as={OPERATOR}", "create", "--dry-run=server", "-f", "-", given=json.dumps(body))


@pytest.mark.parametrize("kind", ["ElileSecret", "RotationSchedule"])
def test_the_operator_creates_none(everything: Cluster, kind: str) -> None:
    with pytest.raises(CommandError, match=f"creates no {kind}"):
        create(everything, manifest(kind, "new"))


RUN = {"scheduleRef": {"name": "db"}}


@pytest.mark.parametrize(
    ("name", "spec"),
    [
        pytest.param("db-29712345", {**RUN, "action": "RollBack"}, id="a command"),
        pytest.param("db-29712345", {**RUN, "action": "Retire"}, id="without proof"),
        pytest.param("db-29712345", {**RUN, "retire": "Now"}, id="at once"),
        pytest.param("db-29712345", {**RUN, "compromised": True}, id="compromised"),
        pytest.param("db-29712345", {**RUN, "action": "DestroyKey", "keyID": "k1"}, id="a key"),
        pytest.param("emergency", RUN, id="a name of its own"),
    ],
)
def test_the_operator_creates_only_runs_of_a_schedule(everything: Cluster, name: str, spec: dict[str, Any]) -> None:
    for good in (RUN, {**RUN, "action": "Rotate"}):
        create(everything, manifest("Rotation", "db-29712345", **good))
    with pytest.raises(CommandError, match="creates no Rotation but the runs of a schedule"):
        create(everything, manifest("Rotation", name, **spec))
