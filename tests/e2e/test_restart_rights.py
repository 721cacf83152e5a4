"""The right to restart is given by namespace, and the admission policy leaves no more of it than the annotation."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.support.cluster import ROOT, Cluster, CommandError, eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import running
from tests.e2e.support.tenant import Tenant
from tests.e2e.support.workloads import Workload, change, manifest, restarts, run, want
from tests.e2e.test_in_cluster import mounted

__all__ = ["mounted"]

pytestmark = pytest.mark.lab

OPERATOR = "system:serviceaccount:elile-system:elile-operator"
POLICY = ROOT / "policies" / "admission" / "operator-restarts.yaml"
STAMP = f"k1:{'0a' * 32}"


@pytest.fixture(scope="module")
def fenced(cluster: Cluster, installed: None) -> Iterator[Cluster]:
    """The cluster with the policy in force: what is made is seen by the API server a moment later."""
    cluster.kubectl("apply", "-f", str(POLICY))
    probe = manifest("default", "fence-probe", "none", "Deployment", replicas=0)
    cluster.apply(probe)
    cluster.kubectl("create", "clusterrolebinding", "fence-probe", "--clusterrole=edit", f"--user={OPERATOR}")

    def refused() -> bool:
        try:
            patch(cluster, "Deployment", "fence-probe", "default", {"spec": {"minReadySeconds": 1}})
        except CommandError as e:
            return "elile-operator-restarts" in str(e)
        return False

    try:
        eventually("the policy is in force", refused)
        yield cluster
    finally:
        cluster.kubectl("delete", "clusterrolebinding", "fence-probe", "--ignore-not-found")
        cluster.kubectl("-n", "default", "delete", "deployment", "fence-probe")
        cluster.kubectl("delete", "-f", str(POLICY))


def patch(cluster: Cluster, kind: str, name: str, namespace: str, body: dict[str, Any], *more: str) -> None:
    """Patch as the operator's ServiceAccount, without changing anything."""
    arguments = ("--type=merge", "--dry-run=server", f"-p={json.dumps(body)}", *more)
    cluster.kubectl(f"--as={OPERATOR}", "-n", namespace, "patch", kind, name, *arguments)


def template(**metadata: Any) -> dict[str, Any]:
    return {"spec": {"template": {"metadata": metadata}}}


def container(**changes: Any) -> dict[str, Any]:
    return {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": "lab/busybox:1", **changes}]}}}}


REFUSED = [
    pytest.param(container(image="evil"), "of a pod template but annotations", id="image"),
    pytest.param(container(command=["sh"]), "of a pod template but annotations", id="command"),
    pytest.param(
        {"spec": {"template": {"spec": {"serviceAccountName": "admin"}}}},
        "of a pod template but annotations",
        id="account",
    ),
    pytest.param(
        {"spec": {"template": {"spec": {"hostNetwork": True}}}}, "of a pod template but annotations", id="host network"
    ),
    pytest.param(template(labels={"team": "other"}), "of a pod template but annotations", id="label of the template"),
    pytest.param(template(finalizers=["a.b/c"]), "of a pod template but annotations", id="finalizer of the template"),
    pytest.param(
        template(annotations={"container.apparmor.security.beta.kubernetes.io/app": "unconfined"}),
        "no annotation of a pod template but",
        id="another annotation",
    ),
    pytest.param(template(annotations={"keep": None}), "no annotation of a pod template but", id="annotation taken"),
    pytest.param(template(annotations={"keep": "changed"}), "no annotation of a pod template but", id="annotation set"),
    pytest.param(
        template(annotations={"restart.elile.io/db": "hello"}), "holds the fingerprint of a Secret", id="no fingerprint"
    ),
    pytest.param({"spec": {"minReadySeconds": 1}}, "nothing of a workload but its pod template", id="spec"),
    pytest.param({"metadata": {"labels": {"a": "b"}}}, "no metadata of a workload", id="label"),
    pytest.param({"metadata": {"annotations": {"a": "b"}}}, "no metadata of a workload", id="annotation"),
    pytest.param({"metadata": {"finalizers": ["a.b/c"]}}, "no metadata of a workload", id="finalizer"),
]


@pytest.fixture(scope="module")
def workloads(fenced: Cluster) -> Iterator[Cluster]:
    """One of each kind, without pods."""
    made = []
    for kind in ("Deployment", "StatefulSet", "DaemonSet"):
        body = manifest("default", "fenced", "none", kind, **({} if kind == "DaemonSet" else {"replicas": 0}))
        body["spec"]["template"]["metadata"]["annotations"] = {"keep": "this"}
        if kind == "DaemonSet":
            body["spec"]["template"]["spec"]["nodeSelector"] = {"no": "where"}
        made.append(body)
    fenced.apply(*made)
    yield fenced
    fenced.kubectl("-n", "default", "delete", "deployment,statefulset,daemonset", "fenced")


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
def test_the_operator_may_set_its_annotation_and_others_are_free(workloads: Cluster, kind: str) -> None:
    patch(workloads, kind, "fenced", "default", template(annotations={"restart.elile.io/db": STAMP}))
    workloads.kubectl(
        "-n", "default", "patch", kind, "fenced", "--type=strategic", "--dry-run=server",
        f"-p={json.dumps(container(image='other'))}",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["Deployment", "StatefulSet", "DaemonSet"])
@pytest.mark.parametrize(("body", "message"), REFUSED)
def test_the_operator_may_change_nothing_else(
    workloads: Cluster, kind: str, body: dict[str, Any], message: str
) -> None:
    with pytest.raises(CommandError) as refused:
        patch(workloads, kind, "fenced", "default", body)
    assert "elile-operator-restarts" in str(refused.value)
    assert message in str(refused.value)


def test_the_operator_creates_and_scales_no_workload(workloads: Cluster) -> None:
    body = json.dumps(manifest("default", "new", "none", "Deployment", replicas=0))
    with pytest.raises(CommandError, match="it creates none"):
        workloads.kubectl(f"--as={OPERATOR}", "create", "--dry-run=server", "-f", "-", given=body)
    with pytest.raises(CommandError, match="elile-operator-restarts"):
        patch(workloads, "Deployment", "fenced", "default", {"spec": {"replicas": 3}}, "--subresource=scale")


def test_without_the_right_the_command_is_named_and_with_it_the_restart_comes(
    fenced: Cluster, mounted: Path, no_operator: None, new_tenant: Callable[[], Tenant], tmp_path: Path
) -> None:
    cluster, tenant = fenced, new_tenant()
    cluster.kubectl("delete", "clusterrolebinding", "fence-probe", "--ignore-not-found")
    server = urlsplit(yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    env = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
    bind = ("-n", tenant.namespace, "create", "rolebinding", "elile-deliver", "--clusterrole=elile-deliver")
    cluster.kubectl(*bind, f"--serviceaccount={SYSTEM}:elile-operator")
    with running(tmp_path / "operator.log", "--service-account-folder", str(mounted), env=env):
        want(tenant)
        app: Workload = run(tenant, "app", "db")
        change(tenant, "two")
        eventually("it is not allowed", lambda: restarts(tenant) == {"app": "RestartNotAllowed"})
        message = tenant.elile("db")["status"]["consumers"]["restarts"][0]["message"]
        assert tenant.notes("db", "RestartNotAllowed") == [f"revision 2: Deployment app: {message}"]
        assert app.generation == 1

        cluster.kubectl("-n", tenant.namespace, "create", "rolebinding", "lead", "--clusterrole=admin", "--user=lead")
        cluster.kubectl("--as=lead", *message.partition("kubectl ")[2].split())
        eventually("it was restarted", lambda: restarts(tenant) == {"app": "Restarted"})
        assert (app.generation, app.reads("two")) == (2, True)
