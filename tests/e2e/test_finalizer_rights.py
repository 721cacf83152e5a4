"""The right to patch ElileSecrets is for the finalizer, and the admission policy leaves no more of it."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.cluster import ROOT, Cluster, CommandError, eventually

pytestmark = pytest.mark.lab

OPERATOR = "system:serviceaccount:elile-system:elile-operator"
POLICY = ROOT / "policies" / "admission" / "operator-finalizers.yaml"
OBJECT = {
    "apiVersion": "elile.io/v1alpha1",
    "kind": "ElileSecret",
    "metadata": {
        "name": "fenced",
        "namespace": "default",
        "labels": {"team": "shop"},
        "annotations": {"keep": "this"},
        "finalizers": ["somebody.else/s"],
    },
    "spec": {"vault": {"server": "nowhere"}, "sources": [{"name": "db", "kv": {"path": "db"}}]},
}


def patch(cluster: Cluster, body: dict[str, Any], *more: str) -> None:
    """Patch as the operator's ServiceAccount, without changing anything."""
    arguments = ("--type=merge", "--dry-run=server", f"-p={json.dumps(body)}", *more)
    cluster.kubectl(f"--as={OPERATOR}", "-n", "default", "patch", "elilesecret", "fenced", *arguments)


@pytest.fixture(scope="module")
def fenced(cluster: Cluster, installed: None) -> Iterator[Cluster]:
    """An object that nobody delivers, and the policy in force, which the API server sees a moment later."""
    cluster.apply(OBJECT)
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
        cluster.kubectl(
            "-n", "default", "patch", "elilesecret", "fenced", "--type=merge", '-p={"metadata":{"finalizers":null}}'
        )
        cluster.kubectl("-n", "default", "delete", "elilesecret", "fenced", "--ignore-not-found")


def test_the_finalizer_may_be_set_and_others_are_free(fenced: Cluster) -> None:
    patch(fenced, {"metadata": {"finalizers": ["somebody.else/s", "elile.io/finalizer"]}})
    spec = json.dumps({"spec": {"sources": [{"name": "db", "kv": {"path": "other"}}]}})
    fenced.kubectl("-n", "default", "patch", "elilesecret", "fenced", "--type=merge", "--dry-run=server", f"-p={spec}")


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


def test_the_operator_creates_none(fenced: Cluster) -> None:
    body = json.dumps(OBJECT | {"metadata": {"name": "new", "namespace": "default"}})
    fenced.kubectl("create", "clusterrolebinding", "fence-create", "--clusterrole=cluster-admin", f"--user={OPERATOR}")
    try:
        with pytest.raises(CommandError, match="creates no ElileSecret"):
            fenced.kubectl(f"--as={OPERATOR}", "create", "--dry-run=server", "-f", "-", given=body)
    finally:
        fenced.kubectl("delete", "clusterrolebinding", "fence-create")
