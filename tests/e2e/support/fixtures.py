"""One cluster and one operator for the whole suite; one namespace and one folder in OpenBao for each test."""

import json
import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from lab.cluster import Lab
from tests.e2e.support.cluster import ROOT, Cluster, eventually
from tests.e2e.support.operator import Operator, running
from tests.e2e.support.tenant import Tenant

SYSTEM = "elile-system"
POLL = "1s"


@pytest.fixture(scope="session")
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """The lab, or the cluster of --kubeconfig with the OpenBao that BAO_ADDR, BAO_CACERT and BAO_TOKEN name."""
    given: Path | None = request.config.getoption("--kubeconfig")
    if given is not None:
        ca_file = Path(os.environ["BAO_CACERT"])
        address = os.environ["BAO_ADDR"]
        with closing(
            Cluster(given, address, address, ca_file.read_text(), ca_file, os.environ["BAO_TOKEN"], None)
        ) as c:
            yield c
        return
    lab = Lab.open(request.config.getoption("--lab-name"))
    was_up = lab.is_up()
    lab.up(echo=lambda _line: None)
    lab.reset()
    try:
        with closing(Cluster.of_lab(lab)) as cluster:
            yield cluster
    finally:
        if not was_up:
            lab.down()


@pytest.fixture(scope="session")
def kubeconfig(cluster: Cluster) -> Path:
    return cluster.kubeconfig


@pytest.fixture(scope="session")
def installed(cluster: Cluster) -> None:
    """What an administrator sets up, see `install`."""
    install(cluster)


def install(cluster: Cluster) -> None:
    """CRDs, rights, the tenants' policy and role in OpenBao, and the VaultServer `default`."""
    cluster.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
    cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "-f", str(ROOT / "crds"))
    cluster.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})
    cluster.kubectl("apply", "-f", str(ROOT / "policies" / "rbac" / "operator.yaml"))
    auth = json.loads(cluster.bao("auth", "list", "-format=json"))
    policy = (ROOT / "policies" / "vault" / "elile.hcl").read_text()
    policy = policy.replace("ACCESSOR", auth["kubernetes/"]["accessor"])
    cluster.bao("policy", "write", "elile", "-", given=policy)
    cluster.bao(
        *("write", "auth/kubernetes/role/elile", "audience=elile", "token_policies=elile", "token_ttl=20m"),
        *("bound_service_account_names=*", "bound_service_account_namespaces=*"),
    )
    # Without this the audit log leaves out which object caused a request.
    cluster.bao("write", "sys/config/auditing/request-headers/X-Elile-Object", "hmac=false")
    cluster.apply(server_manifest(cluster, "default"))


def server_manifest(cluster: Cluster, name: str) -> dict[str, object]:
    return {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "VaultServer",
        "metadata": {"name": name},
        "spec": {
            "address": cluster.bao_address,
            "tls": {"caBundle": cluster.bao_ca},
            "auth": {"kubernetes": {}},
            "poll": {"interval": POLL},
        },
    }


@pytest.fixture(scope="session")
def operator(cluster: Cluster, installed: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operator]:
    """The operator, outside the cluster, logging at DEBUG: whatever a log could leak, this one does."""
    log = tmp_path_factory.mktemp("operator") / "operator.log"
    arguments = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM, "--log-level", "debug")
    # Otherwise nothing that a test delivered could go with its source (spec.onMissing) for ten minutes.
    arguments += ("--standby-lag", "5", *egress_arguments(cluster))
    with running(log, *arguments) as operator:
        eventually("the VaultServer is ready", lambda: cluster.reason("default") == "ServerReady")
        yield operator


def egress_arguments(cluster: Cluster) -> tuple[str, ...]:
    """Let rotations reach the servers of tests, which listen on the lab's spare ports."""
    if cluster.lab is None:
        return ()
    ports = list(cluster.lab.spare_ports)
    allowed = [{"cidr": f"{host}/32", "ports": ports} for host in (cluster.lab.gateway, "127.0.0.1")]
    return ("--egress-allow", json.dumps(allowed))


@pytest.fixture
def no_operator(operator: Operator) -> Iterator[None]:
    """The operator of the suite stands back for a test that runs its own; it is back afterwards."""
    operator.stop()
    yield
    operator.start()
    operator.wait_ready()


@pytest.fixture
def new_tenant(cluster: Cluster) -> Iterator[Callable[[], Tenant]]:
    """Make namespaces, each with a folder of the same name; they are gone after the test."""
    made: list[Tenant] = []

    def make() -> Tenant:
        tenant = Tenant(cluster, f"t-{uuid.uuid4().hex[:8]}")
        cluster.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": tenant.namespace}})
        eventually(
            "the ServiceAccount default is there", lambda: cluster.find("sa", "default", tenant.namespace), every=0.05
        )
        made.append(tenant)
        return tenant

    yield make
    for tenant in made:
        cluster.delete("namespace", tenant.namespace)


@pytest.fixture
def tenant(operator: Operator, new_tenant: Callable[[], Tenant]) -> Tenant:
    """A namespace, with the operator running."""
    return new_tenant()
