"""The CA of a server from a ConfigMap: the operator may read that one and no other, and follows what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e.bad_input import OTHER_CA
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM, server_manifest
from tests.e2e.support.operator import running
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# A server that is well is looked at every 30 s, and its ConfigMap with it.
FOLLOWED_WITHIN = 60.0


@pytest.fixture
def own_rights(cluster: Cluster, installed: None, tmp_path: Path) -> Path:
    """A kubeconfig for the operator's ServiceAccount, with the rights of policies/rbac and no others."""
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    token = cluster.kubectl("-n", SYSTEM, "create", "token", "elile-operator", "--duration=10m")
    config["users"] = [{**user, "user": {"token": token}} for user in config["users"]]
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return file


class Server:
    """A VaultServer that names the ConfigMap `vault-ca` of the tenant's namespace."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.name = f"ca-{tenant.namespace}"
        body = server_manifest(tenant.cluster, self.name)
        ref = {"namespace": tenant.namespace, "name": "vault-ca", "key": "ca.crt"}
        body["spec"] = {**body["spec"], "tls": {"caBundleRef": ref}}  # type: ignore[dict-item] # a manifest
        tenant.cluster.apply(body)

    def put(self, **data: str) -> None:
        meta = {"name": "vault-ca", "namespace": self.tenant.namespace}
        body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        self.tenant.cluster.apply({**body, "data": {key.replace("_", "."): value for key, value in data.items()}})

    def condition(self) -> dict[str, Any]:
        found = self.tenant.cluster.get("vaultserver", self.name).get("status", {}).get("conditions", [])
        return next((c for c in found if c["type"] == "Ready"), {})

    def wait(self, reason: str, *says: str, within: float = 30.0) -> dict[str, Any]:
        def reached() -> dict[str, Any] | None:
            found = self.condition()
            good = found.get("reason") == reason and all(part in found["message"] for part in says)
            return found if good else None

        try:
            return eventually(f"{self.name} is {reason}", reached, within=within)
        except AssertionError as e:
            raise AssertionError(f"{e}; it is {self.condition()}") from None


def test_a_config_map_is_trusted_followed_and_its_mistakes_are_named(
    cluster: Cluster, own_rights: Path, no_operator: None, new_tenant: Callable[[], Tenant], tmp_path: Path
) -> None:
    tenant = new_tenant()
    namespace = tenant.namespace
    deliver = ("--clusterrole=elile-deliver", f"--serviceaccount={SYSTEM}:elile-operator")
    cluster.kubectl("-n", namespace, "create", "rolebinding", "elile-deliver", *deliver)
    cluster.kubectl("-n", namespace, "create", "rolebinding", "lead", "--clusterrole=admin", "--user=lead")
    tenant.put("db", password="p")
    server = Server(tenant)
    with running(tmp_path / "log", "--kubeconfig", str(own_rights), "--namespace", SYSTEM):
        message = server.wait("CABundleUnusable", "no right to read ConfigMap")["message"]
        tenant.want("db", vault={"server": server.name})
        assert tenant.wait("db", "CABundleUnusable")["status"] == "Unknown"
        # As an admin of that namespace, who has no rights outside it: the commands of the message are enough.
        for command in message.partition("give it: ")[2].split(" && "):
            cluster.kubectl("--as=lead", *command.removeprefix("kubectl ").split())
        server.wait("CABundleUnusable", f"ConfigMap {namespace}/vault-ca", "does not exist")
        server.put(other_crt=cluster.bao_ca)
        server.wait("CABundleUnusable", "has no key 'ca.crt' (it holds 'other.crt')")
        server.put(ca_crt=cluster.bao_ca)
        server.wait("ServerReady")
        tenant.wait("db", "Synced")
        assert tenant.data("db") == {"password": "p"}

        # A rotation: at first both, as it is done, then without the one that is in use, which must show.
        server.put(ca_crt=OTHER_CA)
        server.wait("TLSUntrusted", "signed by an unknown authority", "spec.tls.caBundleRef", within=FOLLOWED_WITHIN)
        server.put(ca_crt=OTHER_CA + cluster.bao_ca)
        server.wait("ServerReady")
        tenant.put("db", password="q")
        eventually("the change", lambda: tenant.data("db") == {"password": "q"})
        assert_may_read_nothing_else(cluster, namespace)
    cluster.kubectl("delete", "vaultserver", server.name)


def assert_may_read_nothing_else(cluster: Cluster, namespace: str) -> None:
    account = f"--as=system:serviceaccount:{SYSTEM}:elile-operator"

    def may(verb: str, what: str, *where: str) -> bool:
        try:
            return cluster.kubectl(account, "auth", "can-i", verb, what, *where).strip() == "yes"
        except AssertionError:  # `no` is an exit code
            return False

    assert may("get", "configmaps/vault-ca", "-n", namespace)
    assert not may("get", "configmaps/kube-root-ca.crt", "-n", namespace)
    assert not may("list", "configmaps", "-n", namespace)
    assert not may("get", "configmaps/vault-ca", "-n", "default")
