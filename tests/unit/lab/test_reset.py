"""Reset tells what belongs to Kubernetes and the lab from what tests made."""

from typing import Any

import pytest

from lab.apiserver import LABEL
from lab.reset import Kind, is_ours, is_system, kinds


@pytest.mark.parametrize(
    ("group", "ours"),
    [("elile.io", True), ("secrets.elile.io", True), ("notelile.io", False), ("elile.io.example", False), ("", False)],
)
def test_our_groups(group: str, ours: bool) -> None:
    assert is_ours(group) is ours


@pytest.mark.parametrize(
    ("metadata", "system"),
    [
        pytest.param({"name": "system:node"}, True, id="reserved name"),
        pytest.param({"name": "system-node-critical"}, True, id="priority class"),
        pytest.param(
            {"name": "admin", "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"}}, True, id="bootstrap"
        ),
        pytest.param({"name": "lab-openbao-reviewer", "labels": {LABEL: "true"}}, True, id="made by up"),
        pytest.param({"name": "elile"}, False, id="ours under test"),
        pytest.param({"name": "admin", "labels": {"app": "x"}}, False, id="a test's"),
    ],
)
def test_what_reset_leaves(metadata: dict[str, Any], system: bool) -> None:
    assert is_system({"metadata": metadata}) is system


def resource(plural: str, *verbs: str, scope: str = "Namespaced") -> dict[str, Any]:
    return {"resource": plural, "scope": scope, "verbs": list(verbs)}


def test_discovery_gives_each_resource_once_in_its_preferred_version() -> None:
    discovery = {
        "items": [
            {"metadata": {}, "versions": [{"version": "v1", "resources": [resource("pods", "list", "delete")]}]},
            {
                "metadata": {"name": "apps"},
                "versions": [
                    {"version": "v1", "resources": [resource("deployments", "list", "delete", "deletecollection")]},
                    {"version": "v1beta1", "resources": [resource("deployments", "list"), resource("olds", "list")]},
                ],
            },
            {
                "metadata": {"name": "authentication.k8s.io"},
                "versions": [{"version": "v1", "resources": [resource("tokenreviews", "create", scope="Cluster")]}],
            },
            {"metadata": {"name": "stale.example"}},
        ]
    }
    assert list(kinds(discovery)) == [
        Kind("api/v1", "pods", namespaced=True, deletable=True, deletable_at_once=False),
        Kind("apis/apps/v1", "deployments", namespaced=True, deletable=True, deletable_at_once=True),
        Kind("apis/apps/v1beta1", "olds", namespaced=True, deletable=False, deletable_at_once=False),
    ]


def test_paths() -> None:
    core = Kind("api/v1", "secrets", namespaced=True, deletable=True, deletable_at_once=True)
    ours = Kind("apis/elile.io/v1", "vaultservers", namespaced=False, deletable=True, deletable_at_once=True)
    assert (core.group, core.path("shop", "db")) == ("", "/api/v1/namespaces/shop/secrets/db")
    assert (ours.group, ours.path(name="main")) == ("elile.io", "/apis/elile.io/v1/vaultservers/main")
    assert core.path() == "/api/v1/secrets"
