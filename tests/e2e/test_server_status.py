"""What the status of a VaultServer says is what the server itself says: active, standby, sealed, upgraded."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.chaos.support.two_nodes import Standby, standby
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant
from tests.fakes.http import ScriptedServer, json_answer

pytestmark = pytest.mark.lab

GOOD = {"Ready": "True", "Reachable": "True", "Unsealed": "True"}
SEALED = {"Ready": "False", "Reachable": "True", "Unsealed": "False"}
# A server that is well is looked at every 30 s.
LOOKED_AT_WITHIN = 90.0


def facts(cluster: Cluster, name: str) -> dict[str, Any]:
    """The status without what changes with time."""
    status = cluster.get("vaultserver", name).get("status", {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions", []) if c["type"] in GOOD}
    return {**{key: status.get(key) for key in ("flavor", "serverVersion", "clusterID")}, **conditions}


def told_by(cluster: Cluster) -> dict[str, Any]:
    """The same from the server's own mouth."""
    said = json.loads(cluster.bao("status", "-format=json"))
    return {"flavor": "OpenBao", "serverVersion": said["version"], "clusterID": said["cluster_id"]}


def reaches(cluster: Cluster, name: str, wanted: dict[str, Any], within: float = 30.0) -> None:
    try:
        eventually(f"{name} says so", lambda: facts(cluster, name) == wanted, within=within)
    except AssertionError as e:
        raise AssertionError(f"{e}: {facts(cluster, name)} is not {wanted}") from None


@pytest.fixture
def second(cluster: Cluster) -> Iterator[Standby]:
    assert cluster.lab is not None
    with standby(cluster.lab) as node:
        yield node


def test_a_standby_tells_the_same_as_the_active_node(cluster: Cluster, operator: Operator, second: Standby) -> None:
    body = server_manifest(cluster, "second")
    body["spec"] = {**body["spec"], "address": second.address}  # type: ignore[dict-item] # a manifest is what it is
    cluster.apply(body)
    try:
        reaches(cluster, "default", told_by(cluster) | GOOD)
        reaches(cluster, "second", told_by(cluster) | GOOD)
    finally:
        cluster.kubectl("delete", "vaultserver", "second")


def test_what_a_sealed_server_said_before_stays(cluster: Cluster, tenant: Tenant) -> None:
    lab = cluster.lab
    assert lab is not None
    known = told_by(cluster)
    tenant.put("db", password="p")
    tenant.want("db")
    tenant.wait("db", "Synced")
    reaches(cluster, "default", known | GOOD)
    lab.seal()
    try:
        # Its poll notices, and has the server looked at.
        reaches(cluster, "default", known | SEALED)
        # One that was never seen unsealed tells all but its cluster.
        cluster.apply(server_manifest(cluster, "late"))
        reaches(cluster, "late", known | {"clusterID": None} | SEALED)
    finally:
        lab.unseal()
    for name in ("default", "late"):
        reaches(cluster, name, known | GOOD)
    cluster.kubectl("delete", "vaultserver", "late")


def test_an_upgrade_is_noticed_and_so_is_the_other_product(cluster: Cluster, operator: Operator) -> None:
    said = {"type": "shamir", "initialized": True, "sealed": False, "version": "1.20.1", "cluster_id": "c-7"}
    with ScriptedServer(lambda exchange: exchange.send(json_answer(200, said))) as server:
        body = server_manifest(cluster, "other")
        plain = {"address": server.address, "tls": {"allowPlainHTTP": True}}
        body["spec"] = {**body["spec"], **plain}  # type: ignore[dict-item] # a manifest is what it is
        cluster.apply(body)
        try:
            reaches(cluster, "other", {"flavor": "Vault", "serverVersion": "1.20.1", "clusterID": "c-7", **GOOD})
            said["version"] = "1.21.0"
            wanted = {"flavor": "Vault", "serverVersion": "1.21.0", "clusterID": "c-7", **GOOD}
            reaches(cluster, "other", wanted, LOOKED_AT_WITHIN)
        finally:
            cluster.kubectl("delete", "vaultserver", "other")
