"""The operator as its own ServiceAccount: the mounted token and CA of a pod, and the rights of policies/rbac."""

import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import Operator, running
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# The binding is noticed by a watch; five times a second of patience.
BOUND_WITHIN = 5.0


@pytest.fixture
def mounted(cluster: Cluster, installed: None, tmp_path: Path) -> Path:
    """A folder as kubelet mounts it."""
    folder = tmp_path / "serviceaccount"
    folder.mkdir()
    token = cluster.kubectl("-n", SYSTEM, "create", "token", "elile-operator", "--duration=10m")
    (folder / "token").write_text(token)
    roots = cluster.kubectl("-n", SYSTEM, "get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}")
    (folder / "ca.crt").write_text(roots)
    (folder / "namespace").write_text(SYSTEM)
    return folder


def test_it_runs_with_its_service_account_and_no_other_rights(
    cluster: Cluster, mounted: Path, no_operator: None, new_tenant: Callable[[], Tenant], tmp_path: Path
) -> None:
    server = urlsplit(yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    env = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
    tenant = new_tenant()
    tenant.put("db", password="p")
    log = tmp_path / "operator.log"
    # What earlier tests made goes with their namespaces, and until then it would have warnings of its own.
    eventually("nothing of other tests is left", lambda: not cluster.kubectl("get", "elilesecrets", "-A", "-o", "name"))
    with running(log, "--service-account-folder", str(mounted), env=env) as operator:
        tenant.want("db")
        condition = tenant.wait("db", "NamespaceNotBound")
        assert tenant.secret("db") is None
        # As an admin of the namespace, who has no rights outside it: the command of the message is enough.
        make_admin(tenant, "team-lead")
        command = condition["message"].partition("kubectl ")[2]
        cluster.kubectl("--as=team-lead", *command.split())
        began = time.monotonic()
        tenant.wait("db", "Synced")
        assert time.monotonic() - began < BOUND_WITHIN
        pod = tenant.run_pod("app", "db")
        assert pod.read("password") == "p"
        tenant.put("db", password="q")
        eventually("the file follows", lambda: pod.read("password") == "q")
        warnings = [line["message"] for line in operator.lines() if line["level"] in ("WARNING", "ERROR", "CRITICAL")]
        assert warnings == ["no rights to Secrets", condition["message"]], "another missing right would be one more"
        cluster.kubectl("-n", tenant.namespace, "delete", "rolebinding", "elile-deliver")
        tenant.put("db", password="r")
        tenant.wait("db", "NamespaceNotBound")
        assert pod.read("password") == "q", "what was delivered stays"
        cluster.kubectl("--as=team-lead", *command.split())
        eventually("the file follows again", lambda: pod.read("password") == "r")
        # A finalizer is put on, and off again, though the rights in the namespace may go before the object does.
        tenant.want("db", delivery={"secret": {"mode": "Merge"}})
        eventually("it is held", lambda: "elile.io/finalizer" in tenant.elile("db")["metadata"].get("finalizers", []))
        tenant.wait("db", "Synced")
        cluster.kubectl("delete", "namespace", tenant.namespace, "--timeout=30s")
    assert operator.process.returncode == 0


def make_admin(tenant: Tenant, user: str) -> None:
    """Give a user the built-in role `admin` in the namespace, and nothing else."""
    tenant.cluster.kubectl(
        "-n", tenant.namespace, "create", "rolebinding", user, "--clusterrole=admin", f"--user={user}"
    )


def test_the_rights_of_the_binding_stay_within_admin(cluster: Cluster, operator: object) -> None:
    def rules(role: str) -> set[tuple[str, str, str]]:
        found = cluster.get("clusterrole", role)["rules"]
        return {
            (group, resource, verb)
            for rule in found
            for group in rule.get("apiGroups", [])
            for resource in rule.get("resources", [])
            for verb in rule["verbs"]
        }

    for role in ("elile-deliver", "elile-restart"):
        assert rules(role) <= rules("admin")
        assert rules(role), "no rights at all would be within any"


def test_without_a_pod_and_without_a_kubeconfig_it_says_what_to_do(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "log", "--kubeconfig", str(tmp_path / "nothing"))
    assert operator.process.wait(30) == 1
    assert "--kubeconfig" in operator.log.read_text()
