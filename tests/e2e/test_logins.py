"""One login per identity: kept alive in time, made anew when it is no good, and revoked when the operator stops."""

from collections import Counter
from pathlib import Path

import pytest

from tests.e2e.support.audit import Tail
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import running
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

TTL = 6


def make_role(tenant: Tenant, **settings: str) -> str:
    """A role of this test's own, with the tenants' policy."""
    name = f"role-{tenant.namespace}"
    given = {"audience": "elile", "token_policies": "elile,default", "token_ttl": f"{TTL}s", **settings}
    bound = ("bound_service_account_names=*", f"bound_service_account_namespaces={tenant.namespace}")
    tenant.cluster.bao("write", f"auth/kubernetes/role/{name}", *(f"{k}={v}" for k, v in given.items()), *bound)
    return name


def asked(tenant: Tenant, tail: Tail, role: str) -> Counter[str]:
    """Requests that were made with logins at this role, and the logins themselves."""
    found: Counter[str] = Counter()
    for record in tail.records():
        auth, request = record.get("auth") or {}, record["request"]
        metadata = auth.get("metadata") or {}
        if record["type"] == "response" and request["path"] == "auth/kubernetes/login":
            metadata = ((record.get("response") or {}).get("auth") or {}).get("metadata") or {}
            found["login"] += metadata.get("role") == role
        elif record["type"] == "request" and metadata.get("role") == role:
            found[request["path"]] += 1
    return found


def test_a_login_is_renewed_and_not_repeated(tenant: Tenant) -> None:
    assert tenant.cluster.lab is not None
    role, tail = make_role(tenant), Tail.of(tenant.cluster.lab.bao_audit_log)
    tenant.put("db", password="p")
    tenant.want("db", vault={"role": role})
    tenant.wait("db", "Synced")
    eventually("two renewals", lambda: asked(tenant, tail, role)["auth/token/renew-self"] >= 2, within=5 * TTL)
    assert asked(tenant, tail, role)["login"] == 1
    tenant.put("db", password="after two lives of the token")
    eventually("the change", lambda: tenant.data("db") == {"password": "after two lives of the token"})


def test_a_login_that_cannot_live_on_is_made_anew(tenant: Tenant) -> None:
    assert tenant.cluster.lab is not None
    role, tail = make_role(tenant, token_max_ttl=f"{TTL}s"), Tail.of(tenant.cluster.lab.bao_audit_log)
    tenant.put("db", password="p")
    tenant.want("db", vault={"role": role})
    tenant.wait("db", "Synced")
    eventually("a second login", lambda: asked(tenant, tail, role)["login"] >= 2, within=10 * TTL)
    tenant.put("db", password="new")
    eventually("the change", lambda: tenant.data("db") == {"password": "new"})
    assert tenant.condition("db")["reason"] == "Synced"


def test_logins_are_revoked_when_the_operator_stops(
    cluster: Cluster, tenant: Tenant, no_operator: None, tmp_path: Path
) -> None:
    assert cluster.lab is not None
    role = make_role(tenant)
    tenant.put("db", password="p")
    tail = Tail.of(cluster.lab.bao_audit_log)
    arguments = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM)
    with running(tmp_path / "log", *arguments):
        tenant.want("db", vault={"role": role})
        tenant.wait("db", "Synced")
        assert asked(tenant, tail, role)["login"] == 1
        assert asked(tenant, tail, role)["auth/token/revoke-self"] == 0
    assert asked(tenant, tail, role)["auth/token/revoke-self"] == 1
