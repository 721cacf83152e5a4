"""Namespaces of the vault, and logins by the auth method jwt: each reads its own, and each mistake is named."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.support.audit import Tail, bao_requests
from tests.e2e.support.cluster import ROOT, Cluster, eventually
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.signing import signing_keys
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


class Team:
    """A namespace of OpenBao with another one, `sub`, in it: an engine in both, and jwt with the role `elile`."""

    def __init__(self, tenant: Tenant) -> None:
        self.tenant = tenant
        self.cluster = tenant.cluster
        self.name = f"team-{tenant.namespace}"
        self.sub = f"{self.name}/sub"
        self.servers: list[str] = []
        for parent, name in (("", self.name), (self.name, "sub")):
            self.bao(parent, "namespace", "create", name)
        for namespace in (self.name, self.sub):
            self.bao(namespace, "secrets", "enable", "-path=secret", "-version=2", "kv")
        self.bao(self.name, "auth", "enable", "jwt")
        self.bao(
            self.name,
            "write",
            "auth/jwt/config",
            "-",
            given=json.dumps({"jwt_validation_pubkeys": signing_keys(self.cluster)}),
        )
        auth = json.loads(self.bao(self.name, "auth", "list", "-format=json"))
        policy = (ROOT / "policies" / "vault" / "elile.hcl").read_text()
        policy = policy.replace("ACCESSOR", auth["jwt/"]["accessor"])
        below = policy.replace('path "secret/', 'path "sub/secret/')
        self.bao(self.name, "policy", "write", "elile", "-", given=policy + below)
        self.role()

    def bao(self, namespace: str, command: str, *arguments: str, given: str | None = None) -> str:
        words = [command, *arguments]
        # The flag belongs behind the last word of the command itself.
        at = 1 if command == "write" else 2
        return self.cluster.bao(*words[:at], f"-namespace={namespace}", *words[at:], given=given)

    def role(self, **changes: Any) -> None:
        role = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["elile", "another-tool"],
            "claim_mappings": {"/kubernetes.io/namespace": "service_account_namespace"},
            "token_policies": "elile",
            **changes,
        }
        self.bao(self.name, "write", "auth/jwt/role/elile", "-", given=json.dumps(role))

    def put(self, namespace: str, entry: str, **values: str) -> None:
        path = f"{self.tenant.namespace}/{entry}"
        self.bao(namespace, "kv", "put", "-mount=secret", path, "-", given=json.dumps(values))

    def server(self, name: str, **spec: Any) -> dict[str, str]:
        """Make or change a VaultServer, and say how an object asks for it."""
        body = server_manifest(self.cluster, f"{name}-{self.tenant.namespace}")
        body["spec"] = {**body["spec"], **spec}  # type: ignore[dict-item] # a manifest is what it is
        self.cluster.apply(body)
        self.servers.append(f"{name}-{self.tenant.namespace}")
        return {"server": self.servers[-1]}

    def close(self) -> None:
        self.cluster.kubectl("delete", "vaultserver", "--ignore-not-found", *self.servers, "--wait=false")
        self.bao(self.name, "namespace", "delete", "sub")
        self.bao("", "namespace", "delete", self.name)


@pytest.fixture
def team(tenant: Tenant) -> Iterator[Team]:
    team = Team(tenant)
    yield team
    team.close()


def test_the_same_path_in_three_namespaces_is_three_values(team: Team, cluster: Cluster) -> None:
    assert cluster.lab is not None
    tenant, audit = team.tenant, Tail.of(cluster.lab.bao_audit_log)
    server = team.server("jwt", namespace=team.name, auth={"jwt": {}})
    tenant.put("db", password="of the root")
    team.put(team.name, "db", password="of the team")
    team.put(team.sub, "db", password="of the sub")
    source = {"name": "main", "kv": {"path": f"{tenant.namespace}/db"}}
    tenant.want("root", source)
    tenant.want("team", source, vault=server)
    tenant.want("sub", source, vault={**server, "namespace": "sub"})
    for name in ("root", "team", "sub"):
        tenant.wait(name, "Synced")
        assert tenant.data(name) == {"password": f"of the {name}"}
    paths = {name: tenant.elile(name)["status"]["sources"][0]["path"] for name in ("root", "team", "sub")}
    place = f"secret/{tenant.namespace}/db"
    assert paths == {"root": place, "team": f"{team.name}/{place}", "sub": f"{team.sub}/{place}"}

    team.put(team.sub, "db", password="of the sub, changed")
    eventually("the change", lambda: tenant.data("sub") == {"password": "of the sub, changed"})
    assert tenant.data("team") == {"password": "of the team"}
    logins = [r for r in bao_requests(audit) if r["path"] == "auth/jwt/login"]
    assert len(logins) == 1, "both log in to the server's namespace, as one identity"
    assert logins[0]["namespace"]["path"] == f"{team.name}/"


def test_a_login_at_the_root_reads_in_a_namespace(team: Team) -> None:
    tenant = team.tenant
    # A policy of the root namespace names what is in others by their path.
    role, path = f"parent-{tenant.namespace}", f"{team.name}/secret/+/{tenant.namespace}/*"
    cluster = tenant.cluster
    cluster.bao("policy", "write", role, "-", given=f'path "{path}" {{ capabilities = ["read"] }}')
    bound = ("bound_service_account_names=*", f"bound_service_account_namespaces={tenant.namespace}")
    cluster.bao("write", f"auth/kubernetes/role/{role}", "audience=elile", f"token_policies={role}", *bound)
    server = team.server("parent", namespace=team.name, auth={"kubernetes": {"namespace": "root"}})
    team.put(team.name, "db", password="of the team")
    tenant.want("db", vault={**server, "role": role})
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "of the team"}


def test_a_server_that_moves_to_another_namespace_is_read_anew(team: Team) -> None:
    tenant = team.tenant
    server = team.server("moves", namespace=team.name, auth={"jwt": {}})
    team.put(team.name, "db", password="of the team")
    team.put(team.sub, "db", password="of the sub")
    tenant.want("db", vault=server)
    tenant.wait("db", "Synced")
    # Version 1 of the same path, as before: nothing but the namespace tells that it is another value.
    team.server("moves", namespace=team.sub, auth={"jwt": {"namespace": team.name}})
    eventually("the other value", lambda: tenant.data("db") == {"password": "of the sub"})


def test_what_is_wrong_with_a_login_by_jwt_is_told_apart(team: Team) -> None:
    tenant = team.tenant
    server = team.server("jwt", namespace=team.name, auth={"jwt": {}})
    team.put(team.name, "db", password="p")
    tenant.want("db", vault={**server, "role": "absent"})
    message = tenant.wait("db", "RoleNotFound")["message"]
    assert f"in namespace '{team.name}' has no role 'absent' at auth/jwt;" in message

    team.role(bound_audiences=["another-tool"])
    tenant.want("db", vault=server)
    message = tenant.wait("db", "LoginDenied")["message"]
    assert "bound_audiences" in message
    assert "auth/jwt/login" in message
    team.role(bound_claims={"/kubernetes.io/namespace": tenant.namespace})
    tenant.wait("db", "Synced")
    team.server("jwt", namespace=team.name, auth={"jwt": {"mount": "absent"}})
    assert "no auth method at that mount" in tenant.wait("db", "LoginDenied")["message"]
    team.server("jwt", namespace=f"{team.name}/absent", auth={"jwt": {"mount": "jwt"}})
    message = tenant.wait("db", "MountNotFound")["message"]
    assert f"has no namespace '{team.name}/absent'; create it there, or correct spec.auth.jwt.namespace" in message
    assert tenant.data("db") == {"password": "p"}, "the last good content stays"
