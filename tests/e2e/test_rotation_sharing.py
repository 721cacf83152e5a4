"""Several namespaces that read one live path: the old value ends when all who may read it are current."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.databases import Rotated
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.gate import Gate, Mode
from tests.e2e.support.pairs import ELAPSED, RotatedPair
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[Gate]:
    """The way of a second VaultServer to the Vault of all."""
    assert cluster.lab is not None
    pair = cluster.lab.issue_certificate("gate", ["127.0.0.1"])
    gate = Gate(cluster.bao_address, pair.certificate, pair.key)
    yield gate
    gate.close()


@pytest.fixture
def slow(cluster: Cluster, gate: Gate, tenant: Tenant) -> Iterator[str]:
    """A VaultServer for the same Vault that looks once a minute, and whose way there can be closed."""
    name = f"slow-{tenant.namespace}"
    body = server_manifest(cluster, name)
    body["spec"] = {**body["spec"], "address": gate.address, "poll": {"interval": "60s"}}  # type: ignore[dict-item] # a mapping
    cluster.apply(body)
    eventually("it is ready", lambda: cluster.reason(name) == "ServerReady")
    yield name
    cluster.kubectl("delete", "vaultserver", name, "--wait=false")


def let_read(cluster: Cluster, reader: Tenant, owner: Tenant) -> str:
    """Let the ServiceAccount of one namespace read the folder of another; answers the role."""
    name = f"shared-{reader.namespace}"
    rule = f'path "secret/data/{owner.namespace}/*" {{ capabilities = ["read"] }}\n'
    rule += f'path "secret/metadata/{owner.namespace}/*" {{ capabilities = ["read"] }}\n'
    cluster.bao("policy", "write", name, "-", given=rule)
    cluster.bao(
        *("write", f"auth/kubernetes/role/{name}", "audience=elile", f"token_policies={name}", "token_ttl=20m"),
        *("bound_service_account_names=default", f"bound_service_account_namespaces={reader.namespace}"),
    )
    return name


def test_the_old_value_ends_when_the_slowest_reader_of_the_path_is_current(
    cluster: Cluster,
    database: Rotated,
    tenant: Tenant,
    new_tenant: Callable[[], Tenant],
    gate: Gate,
    slow: str,
) -> None:
    rotated = RotatedPair.make(tenant, database)
    other, stranger = new_tenant(), new_tenant()
    source = {"name": "main", "kv": {"path": f"{tenant.namespace}/db"}}
    role = let_read(cluster, other, tenant)
    other.want("copy", source, vault={"server": slow, "role": role}, consumers=ELAPSED)
    other.wait("copy", "Synced")
    stranger.want("copy", source)
    stranger.wait("copy", "PermissionDenied")

    before = rotated.live()
    client = rotated.client()
    rotated.schedule(gracePeriod="1s")
    gate.mode = Mode.CLOSED
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Promoted")
    rotated.delivered(rotated.live())
    time.sleep(5)
    status = rotated.rotating.status("first")
    assert (status["phase"], status["message"]) == ("Promoted", "1 ElileSecret of other namespaces")
    assert rotated.works(before)
    assert other.data("copy")["password"] == before["password"]
    told = other.wait("copy", "AwaitingConsumers", "RotationHealthy")
    assert told["message"].startswith(f"a rotation of secret/{tenant.namespace}/db waits for this object: ")

    gate.mode = Mode.OPEN
    rotated.rotating.wait_result("first", "Succeeded", within=120)
    assert other.data("copy")["password"] == rotated.live()["password"]
    assert not rotated.works(before)
    assert stranger.condition("copy")["reason"] == "PermissionDenied"
    assert stranger.condition("copy", "RotationHealthy") == {}
    client.fares_well()
