"""The operator as its own ServiceAccount: the mounted token and CA of a pod, and the rights of policies/rbac."""

from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import Operator, running
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


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
    cluster: Cluster, mounted: Path, new_tenant: Callable[[], Tenant], tmp_path: Path
) -> None:
    server = urlsplit(yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]["server"])
    env = {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}
    tenant = new_tenant()
    tenant.put("db", password="p")
    log = tmp_path / "operator.log"
    with running(log, "--service-account-folder", str(mounted), env=env) as operator:
        tenant.want("db")
        tenant.wait("db", "Synced")
        pod = tenant.run_pod("app", "db")
        assert pod.read("password") == "p"
        warnings = [line for line in operator.lines() if line["level"] in ("WARNING", "ERROR", "CRITICAL")]
        assert warnings == [], "a missing right would be one"
    assert operator.process.returncode == 0


def test_without_a_pod_and_without_a_kubeconfig_it_says_what_to_do(tmp_path: Path) -> None:
    operator = Operator(tmp_path / "log", "--kubeconfig", str(tmp_path / "nothing"))
    assert operator.process.wait(30) == 1
    assert "--kubeconfig" in operator.log.read_text()
