"""Tenants read as themselves: one server and one role for all, and nobody sees another's folder."""

from collections.abc import Callable

import pytest

from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


def test_each_tenant_reads_its_own_folder_and_no_other(operator: Operator, new_tenant: Callable[[], Tenant]) -> None:
    ours, theirs = new_tenant(), new_tenant()
    for tenant in (ours, theirs):
        tenant.cluster.kubectl("-n", tenant.namespace, "create", "serviceaccount", "app")
        tenant.put("db", password=f"of {tenant.namespace}")
        tenant.want("db", vault={"serviceAccountName": "app"})
    for tenant in (ours, theirs):
        tenant.wait("db", "Synced")
        assert tenant.data("db") == {"password": f"of {tenant.namespace}"}

    for tenant, other in ((ours, theirs), (theirs, ours)):
        path = {"name": "stolen", "kv": {"path": f"{other.namespace}/db"}}
        tenant.want("steal", path, vault={"serviceAccountName": "app"})
        condition = tenant.wait("steal", "PermissionDenied")
        assert condition["status"] == "False"
        for named in (
            f"secret/data/{other.namespace}/db",
            "role 'elile'",
            f"ServiceAccount {tenant.namespace}/app",
            "VaultServer 'default'",
            "spec.sources[stolen].kv.path",
        ):
            assert named in condition["message"]
        assert tenant.secret("steal") is None


def test_a_tenant_that_another_server_does_not_allow_is_told_so(tenant: Tenant) -> None:
    server = tenant.cluster.get("vaultserver", "default")
    spec = {**server["spec"], "allowedNamespaces": {"selector": {"matchLabels": {"elile-test": tenant.namespace}}}}
    name = f"picky-{tenant.namespace}"
    tenant.cluster.apply(
        {"apiVersion": "elile.io/v1alpha1", "kind": "VaultServer", "metadata": {"name": name}, "spec": spec}
    )
    try:
        tenant.put("db", password="p")
        tenant.want("db", vault={"server": name})
        condition = tenant.wait("db", "NamespaceNotAllowed")
        assert "spec.allowedNamespaces" in condition["message"]
        tenant.cluster.kubectl("label", "namespace", tenant.namespace, f"elile-test={tenant.namespace}")
        tenant.wait("db", "Synced")
    finally:
        tenant.cluster.kubectl("delete", "vaultserver", name)


def test_what_is_missing_is_named_and_found_once_it_is_there(tenant: Tenant) -> None:
    account = {"serviceAccountName": "later"}
    tenant.want("db", vault={**account, "server": "unknown"})
    assert "'unknown'" in tenant.wait("db", "ServerNotFound")["message"]
    tenant.want("db", vault=account)
    assert f"ServiceAccount {tenant.namespace}/later" in tenant.wait("db", "ServiceAccountNotFound")["message"]
    tenant.cluster.kubectl("-n", tenant.namespace, "create", "serviceaccount", "later")
    assert f"secret/data/{tenant.namespace}/db" in tenant.wait("db", "PathNotFound")["message"]
    tenant.put("db", password="p")
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "p"}
