"""Neither OpenBao nor the API server is asked more than is needed: both audit logs are counted."""

import time
from collections import Counter
from collections.abc import Callable

import pytest

from elile_operator.sources.reads import HOLD_VALUES
from tests.e2e.support.audit import Tail, api_writes, bao_requests
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

OBJECTS, PATHS, TENANTS = 100, 20, 2
INTERVAL = 10.0
POLLS = 6
AT_REST = INTERVAL * POLLS


def objects(tenant: Tenant, server: str) -> list[dict[str, object]]:
    """Half of the objects, each path read by five of them."""
    return [
        {
            "apiVersion": "elile.io/v1alpha1",
            "kind": "ElileSecret",
            "metadata": {"name": f"s-{i}", "namespace": tenant.namespace},
            "spec": {
                "vault": {"server": server},
                "sources": [{"name": "s", "kv": {"path": f"{tenant.namespace}/p-{i % (PATHS // TENANTS)}"}}],
            },
        }
        for i in range(OBJECTS // TENANTS)
    ]


def test_100_objects_on_20_paths_and_2_identities(
    cluster: Cluster, operator: Operator, new_tenant: Callable[[], Tenant], figure: list[str]
) -> None:
    assert cluster.lab is not None, "the audit logs are read from the lab's folder"
    tenants = [new_tenant() for _ in range(TENANTS)]
    name = f"shared-{tenants[0].namespace}"
    server = server_manifest(cluster, name)
    server["spec"]["poll"] = {"interval": f"{INTERVAL:.0f}s"}  # type: ignore[index] # a manifest is what it is
    for tenant in tenants:
        for i in range(PATHS // TENANTS):
            tenant.put(f"p-{i}", value=f"{tenant.namespace}-{i}")
    bao, api = Tail.of(cluster.lab.bao_audit_log), Tail.of(cluster.lab.api_audit_log)
    try:
        cluster.apply(server, *(body for tenant in tenants for body in objects(tenant, name)))

        def synced() -> bool:
            lines = [cluster.kubectl("-n", t.namespace, "get", "els", "--no-headers") for t in tenants]
            return sum("Synced" in line for text in lines for line in text.splitlines()) == OBJECTS

        eventually("all objects are synced", synced, within=60)
        ours = {tenant.namespace for tenant in tenants}
        asked = [r for r in bao_requests(bao) if mentions(r, ours)]
        assert Counter(r["path"] for r in asked if "/login" in r["path"]) == {"auth/kubernetes/login": TENANTS}
        reads = Counter(r["path"] for r in asked if r["path"].startswith("secret/data/"))
        assert len(reads) == PATHS
        assert set(reads.values()) == {1}, "one read per (identity, path) however many objects ask"
        cold = len(api_writes(api, "elile-operator"))

        time.sleep(3)  # the second pokes, the counts of consumers
        bao, api = Tail.of(cluster.lab.bao_audit_log), Tail.of(cluster.lab.api_audit_log)
        time.sleep(AT_REST)
        asked = [r for r in bao_requests(bao) if mentions(r, ours)]
        polls = Counter(r["path"] for r in asked)
        assert polls.keys() == {f"secret/metadata/{t.namespace}/p-{i}" for t in tenants for i in range(10)}
        assert all(POLLS - 1 <= count <= POLLS + 1 for count in polls.values()), polls
        assert [write for write in api_writes(api, "elile-operator") if "/leases/" not in write] == []
        figure.append(
            f"{OBJECTS} objects, {PATHS} paths, {TENANTS} identities: {TENANTS} logins, {sum(reads.values())} reads, "
            f"{cold} writes to the API server until synced; then in {AT_REST:.0f} s at a {INTERVAL:.0f} s poll "
            f"{sum(polls.values())} metadata reads, 0 writes"
        )
    finally:
        cluster.kubectl("delete", "vaultserver", name)


def mentions(request: dict[str, object], namespaces: set[str]) -> bool:
    """Whether a request is about these tenants: by its path, or by the object it was made for."""
    headers = request.get("headers") or {}
    assert isinstance(headers, dict)
    caused = [str(v) for v in headers.get("x-elile-object", [])]
    return any(n in str(request["path"]) or any(v.startswith(f"{n}/") for v in caused) for n in namespaces)


def test_who_finds_a_change_tells_all_that_read_the_same(tenant: Tenant) -> None:
    # Long intervals: nothing but the first one's own look, and a newcomer's, can tell the others in time.
    rarely = {"interval": "1h"}
    source = {"name": "s", "kv": {"path": f"{tenant.namespace}/db"}}
    tenant.put("db", value="1")
    for name in ("asks", "waits"):
        tenant.want(name, source, refresh=rarely)
        tenant.wait(name, "Synced")
    tenant.put("db", value="2")
    tenant.cluster.kubectl("-n", tenant.namespace, "annotate", "elilesecret", "asks", "elile.io/refresh=1")
    eventually("the one that asked has it", lambda: tenant.data("asks") == {"value": "2"})
    eventually("the other one has it too", lambda: tenant.data("waits") == {"value": "2"})

    time.sleep(HOLD_VALUES + 1)
    tenant.put("db", value="3")
    tenant.want("comes", source, refresh=rarely)
    eventually("the newcomer has it", lambda: tenant.data("comes") == {"value": "3"})
    eventually("so do the others", lambda: tenant.data("waits") == tenant.data("asks") == {"value": "3"})
