"""The policies for OpenBao and Vault: what has to work works, and everything beside it is refused by a real server."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile.secrets.redact import SecretStr
from elile.secrets.rotation.engine import Engine, Parts
from elile.secrets.rotation.inbox_kv import KVInbox
from elile.secrets.rotation.journal import Owner, Phase, Strategy
from elile.secrets.rotation.journal_kv import KVJournal
from elile.secrets.rotation.live_kv import KVLive
from elile.secrets.rotation.policy import Policy, Request
from elile.secrets.rotation.steps import Delivered, Finished, Proofs
from elile.secrets.rotation.targets.external import ExternalTarget
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_backend import KV2Backend
from elile.secrets.vault_session import TokenAuth, VaultSession
from lab.rest import Client, RefusedError, tls
from tests.e2e.support.cluster import BIN, ROOT, Cluster, CommandError, eventually, run
from tests.e2e.support.signing import signing_keys

pytestmark = pytest.mark.lab

POLICIES = ROOT / "policies" / "vault"
# Namespaces of these names would be the folders of everybody's journals and inboxes.
PREFIXES = ("elile-journal", "elile-journal-inbox")


@dataclass(frozen=True)
class Vault:
    """Tokens by who has them; `ours` is the namespace of the tenant, `theirs` that of another."""

    cluster: Cluster
    ours: str
    theirs: str
    tokens: dict[str, str]

    def call(self, who: str, method: str, path: str, body: Any = None) -> Any:
        client = Client(self.cluster.bao_address, tls(self.cluster.bao_ca_file), {"X-Vault-Token": self.tokens[who]})
        try:
            return client.request(method, f"/v1/{path}", body)
        finally:
            client.close()

    def allows(self, who: str, method: str, path: str, body: Any = None) -> bool:
        """Whether the server lets it pass, be there something or not."""
        try:
            self.call(who, method, path, body)
        except RefusedError as e:
            if e.status not in (403, 404):
                raise
            return e.status == 404
        return True

    def log_in(
        self, namespace: str, account: str, role: str, audience: str = "elile", method: str = "kubernetes"
    ) -> str:
        """Log in as a ServiceAccount and return the token. Raises CommandError, RefusedError."""
        jwt = self.cluster.kubectl("-n", namespace, "create", "token", account, f"--audience={audience}").strip()
        client = Client(self.cluster.bao_address, tls(self.cluster.bao_ca_file))
        try:
            answer = client.request("POST", f"/v1/auth/{method}/login", {"role": role, "jwt": jwt})
        finally:
            client.close()
        return str(answer["auth"]["client_token"])

    def cli(self, who: str, *arguments: str) -> str:
        env = {
            "BAO_ADDR": self.cluster.bao_address,
            "BAO_CACERT": str(self.cluster.bao_ca_file),
            "BAO_TOKEN": self.tokens[who],
        }
        return run(str(BIN / "bao"), *arguments, env=env)


@pytest.fixture(scope="module")
def vault(cluster: Cluster, installed: None) -> Iterator[Vault]:
    """Two tenants with entries, journals and inboxes; the policies set up by the commands of the README."""
    suffix = uuid.uuid4().hex[:6]
    ours, theirs = f"v-ours-{suffix}", f"v-theirs-{suffix}"
    namespaces = (ours, theirs, *PREFIXES)
    for namespace in namespaces:
        cluster.kubectl("create", "namespace", namespace)
        for account in ("app", "elile-rotator"):
            cluster.kubectl("-n", namespace, "create", "serviceaccount", account)
    accessor = json.loads(cluster.bao("auth", "list", "-format=json"))["kubernetes/"]["accessor"]
    policy = (POLICIES / "elile-rotator.hcl").read_text().replace("ACCESSOR", accessor)
    cluster.bao("policy", "write", "elile-rotator", "-", given=policy)
    cluster.bao(
        *("write", "auth/kubernetes/role/elile-rotator", "audience=elile", "token_policies=elile-rotator"),
        *("token_ttl=20m", "token_max_ttl=4h"),
        *("bound_service_account_names=elile-rotator", "bound_service_account_namespaces=*"),
    )
    cluster.bao("secrets", "enable", "-path=admin", "-version=2", "kv")
    eventually(
        "the mount is version 2",
        lambda: "version" in cluster.bao("kv", "put", "-format=json", "admin/shop-db", "username=steward"),
    )
    cluster.bao("kv", "put", "admin/other-db", "username=steward")
    for namespace in (ours, theirs):
        for entry in ("checkout/db", "search/db"):
            for prefix in ("", *(f"{prefix}/" for prefix in PREFIXES)):
                cluster.put(f"{prefix}{namespace}/{entry}", password="one")
    tokens = {"root": cluster.bao_token}
    for persona, placeholders in {
        "reader": {"APPLICATION": f"{ours}/checkout"},
        "rotator": {"APPLICATION": f"{ours}/checkout"},
        "stager": {"APPLICATION": f"{ours}/checkout"},
        "administrator": {"TARGET": "shop-db"},
    }.items():
        text = (POLICIES / "personas" / f"{persona}.hcl").read_text()
        for placeholder, stands_for in placeholders.items():
            text = text.replace(placeholder, stands_for)
        cluster.bao("policy", "write", f"persona-{persona}", "-", given=text)
        tokens[persona] = cluster.bao("token", "create", "-field=token", f"-policy=persona-{persona}", "-ttl=20m")
    vault = Vault(cluster, ours, theirs, tokens)
    try:
        for namespace, who in ((ours, "all"), *((prefix, prefix) for prefix in PREFIXES)):
            tokens[f"{who} reader"] = vault.log_in(namespace, "app", "elile")
            tokens[f"{who} rotator"] = vault.log_in(namespace, "elile-rotator", "elile-rotator")
        yield vault
    finally:
        cluster.kubectl("delete", "namespace", *namespaces, "--wait=false")
        cluster.bao("secrets", "disable", "admin")
        cluster.bao("delete", "auth/kubernetes/role/elile-rotator")
        for namespace in (ours, theirs):
            for prefix in ("", *(f"{prefix}/" for prefix in PREFIXES)):
                for entry in ("checkout/db", "checkout/new", "search/db"):
                    cluster.bao("kv", "metadata", "delete", "-mount=secret", f"{prefix}{namespace}/{entry}")


VALUE = {"data": {"password": "two"}}
VERSIONS = {"versions": [99]}
J, I = PREFIXES  # noqa: E741 - short, so that a case is one line


@pytest.mark.parametrize(
    ("who", "method", "path", "body", "allowed"),
    [
        # Every ServiceAccount of the namespace, by the role `elile`.
        ("all reader", "GET", "secret/data/OURS/checkout/db", None, True),
        ("all reader", "GET", "secret/metadata/OURS/checkout/db", None, True),
        ("all reader", "POST", "secret/data/OURS/checkout/db", VALUE, False),
        ("all reader", "DELETE", "secret/data/OURS/checkout/db", None, False),
        ("all reader", "LIST", "secret/metadata/OURS/", None, False),
        ("all reader", "GET", "secret/data/THEIRS/checkout/db", None, False),
        ("all reader", "GET", f"secret/data/{J}/OURS/checkout/db", None, False),
        ("all reader", "GET", f"secret/data/{I}/OURS/checkout/db", None, False),
        ("all reader", "GET", "admin/data/shop-db", None, False),
        # The one ServiceAccount elile-rotator of the namespace, by the role `elile-rotator`.
        ("all rotator", "GET", "secret/data/OURS/checkout/db", None, True),
        ("all rotator", "POST", "secret/data/OURS/checkout/db", VALUE, True),
        ("all rotator", "POST", "secret/data/OURS/new", VALUE, False),
        ("all rotator", "GET", "secret/metadata/OURS/checkout/db", None, True),
        ("all rotator", "POST", "secret/metadata/OURS/checkout/db", {"max_versions": 1}, False),
        ("all rotator", "DELETE", "secret/metadata/OURS/checkout/db", None, False),
        ("all rotator", "DELETE", "secret/data/OURS/checkout/db", None, False),
        ("all rotator", "PUT", "secret/destroy/OURS/checkout/db", VERSIONS, True),
        ("all rotator", "LIST", "secret/metadata/OURS/", None, False),
        ("all rotator", "GET", f"secret/data/{J}/OURS/checkout/db", None, True),
        ("all rotator", "POST", f"secret/data/{J}/OURS/checkout/db", VALUE, True),
        ("all rotator", "POST", f"secret/data/{J}/OURS/checkout/new", VALUE, True),
        ("all rotator", "PUT", f"secret/destroy/{J}/OURS/checkout/db", VERSIONS, True),
        ("all rotator", "GET", f"secret/metadata/{J}/OURS/checkout/db", None, True),
        ("all rotator", "DELETE", f"secret/metadata/{J}/OURS/checkout/db", None, False),
        ("all rotator", "GET", f"secret/data/{I}/OURS/checkout/db", None, True),
        ("all rotator", "POST", f"secret/data/{I}/OURS/checkout/db", VALUE, False),
        ("all rotator", "PUT", f"secret/destroy/{I}/OURS/checkout/db", VERSIONS, True),
        ("all rotator", "DELETE", f"secret/metadata/{I}/OURS/checkout/db", None, False),
        ("all rotator", "GET", "secret/data/THEIRS/checkout/db", None, False),
        ("all rotator", "POST", "secret/data/THEIRS/checkout/db", VALUE, False),
        ("all rotator", "GET", f"secret/data/{J}/THEIRS/checkout/db", None, False),
        ("all rotator", "POST", f"secret/data/{J}/THEIRS/checkout/db", VALUE, False),
        ("all rotator", "PUT", f"secret/destroy/{J}/THEIRS/checkout/db", VERSIONS, False),
        ("all rotator", "GET", f"secret/data/{I}/THEIRS/checkout/db", None, False),
        ("all rotator", "GET", "admin/data/shop-db", None, False),
        ("all rotator", "GET", "sys/policies/acl/elile-rotator", None, False),
        # A namespace that is named like the prefix of the journals, or of the inboxes.
        *(
            (f"{prefix} {who}", "GET", f"secret/{kind}/{prefix}/OURS/checkout/db", None, False)
            for prefix in PREFIXES
            for who in ("reader", "rotator")
            for kind in ("data", "metadata")
        ),
        *(
            (f"{prefix} rotator", method, f"secret/{kind}/{prefix}/OURS/checkout/db", body, False)
            for prefix in PREFIXES
            for method, kind, body in (("POST", "data", VALUE), ("PUT", "destroy", VERSIONS))
        ),
        # Persons and pipelines of one application.
        ("reader", "GET", "secret/data/OURS/checkout/db", None, True),
        ("reader", "GET", "secret/metadata/OURS/checkout/db", None, True),
        ("reader", "POST", "secret/data/OURS/checkout/db", VALUE, False),
        ("reader", "GET", "secret/data/OURS/search/db", None, False),
        ("reader", "GET", f"secret/data/{J}/OURS/checkout/db", None, False),
        ("rotator", "POST", "secret/data/OURS/checkout/db", VALUE, True),
        ("rotator", "POST", "secret/data/OURS/checkout/new", VALUE, False),
        ("rotator", "POST", f"secret/data/{J}/OURS/checkout/db", VALUE, True),
        ("rotator", "PUT", f"secret/destroy/{J}/OURS/checkout/db", VERSIONS, True),
        ("rotator", "GET", f"secret/data/{I}/OURS/checkout/db", None, True),
        ("rotator", "POST", f"secret/data/{I}/OURS/checkout/db", VALUE, False),
        ("rotator", "GET", "secret/data/OURS/search/db", None, False),
        ("rotator", "POST", f"secret/data/{J}/OURS/search/db", VALUE, False),
        ("rotator", "GET", "admin/data/shop-db", None, False),
        ("stager", "POST", f"secret/data/{I}/OURS/checkout/db", VALUE, True),
        ("stager", "POST", f"secret/data/{I}/OURS/checkout/new", VALUE, True),
        ("stager", "GET", f"secret/data/{I}/OURS/checkout/db", None, False),
        ("stager", "DELETE", f"secret/data/{I}/OURS/checkout/db", None, False),
        ("stager", "PUT", f"secret/destroy/{I}/OURS/checkout/db", VERSIONS, False),
        ("stager", "POST", f"secret/data/{I}/OURS/search/db", VALUE, False),
        ("stager", "GET", "secret/data/OURS/checkout/db", None, False),
        ("stager", "POST", "secret/data/OURS/checkout/db", VALUE, False),
        ("stager", "POST", f"secret/data/{J}/OURS/checkout/db", VALUE, False),
        ("administrator", "GET", "admin/data/shop-db", None, True),
        ("administrator", "POST", "admin/data/shop-db", VALUE, False),
        ("administrator", "GET", "admin/data/other-db", None, False),
    ],
)
def test_what_must_work_works_and_nothing_else(
    vault: Vault, who: str, method: str, path: str, body: Any, allowed: bool
) -> None:
    path = path.replace("OURS", vault.ours).replace("THEIRS", vault.theirs)
    assert vault.allows(who, method, path, body) is allowed


@pytest.mark.parametrize(
    ("account", "role", "audience"),
    [
        pytest.param("app", "elile-rotator", "elile", id="another ServiceAccount"),
        pytest.param("default", "elile-rotator", "elile", id="that of every pod"),
        pytest.param("elile-rotator", "elile-rotator", "https://kubernetes.default.svc", id="the token of a pod"),
    ],
)
def test_who_may_not_log_in_as_the_rotator(vault: Vault, account: str, role: str, audience: str) -> None:
    with pytest.raises(RefusedError) as refused:
        vault.log_in(vault.ours, account, role, audience)
    assert refused.value.status in (400, 403)


def test_by_the_method_jwt_it_is_the_one_service_account_as_well(vault: Vault) -> None:
    cluster = vault.cluster
    cluster.bao("auth", "enable", "jwt")
    try:
        config = {"jwt_validation_pubkeys": signing_keys(cluster)}
        cluster.bao("write", "auth/jwt/config", "-", given=json.dumps(config))
        accessor = json.loads(cluster.bao("auth", "list", "-format=json"))["jwt/"]["accessor"]
        policy = (POLICIES / "elile-rotator.hcl").read_text().replace("ACCESSOR", accessor)
        cluster.bao("policy", "write", "elile-rotator-jwt", "-", given=policy)
        role = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["elile"],
            "bound_claims": {"/kubernetes.io/serviceaccount/name": "elile-rotator"},
            "claim_mappings": {"/kubernetes.io/namespace": "service_account_namespace"},
            "token_policies": "elile-rotator-jwt",
        }
        cluster.bao("write", "auth/jwt/role/elile-rotator", "-", given=json.dumps(role))
        vault.tokens["jwt"] = vault.log_in(vault.ours, "elile-rotator", "elile-rotator", method="jwt")
        assert vault.allows("jwt", "POST", f"secret/data/{J}/{vault.ours}/checkout/db", VALUE)
        assert not vault.allows("jwt", "GET", f"secret/data/{J}/{vault.theirs}/checkout/db")
        with pytest.raises(RefusedError):
            vault.log_in(vault.ours, "app", "elile-rotator", method="jwt")
    finally:
        cluster.bao("auth", "disable", "jwt")


class Readers:
    def deliver(self, value: Any, live_version: int) -> Delivered:
        return Delivered.DONE

    def proofs(self, value: Any, live_version: int) -> Proofs:
        return Proofs.PROVED


def readable(vault: Vault, path: str) -> str:
    """All that can still be read below `secret/`, of any version."""
    versions = vault.call("root", "GET", f"secret/metadata/{path}")["data"]["versions"]
    kept = [number for number, version in versions.items() if not version["destroyed"]]
    return str([vault.call("root", "GET", f"secret/data/{path}?version={number}") for number in kept])


@pytest.mark.parametrize("who", ["all rotator", "rotator"])
def test_a_person_stages_by_command_line_and_the_rotator_takes_it(vault: Vault, who: str) -> None:
    path = f"{vault.ours}/checkout/staged"
    vault.cluster.put(path, password="one", username="kept")
    for arguments in (["-mount=secret", f"{PREFIXES[1]}/{path}"], [f"secret/{PREFIXES[1]}/{path}"]):
        staged = uuid.uuid4().hex
        vault.cli("stager", "kv", "put", *arguments, f"password={staged}")
        session = VaultSession(
            VaultClient(VaultEndpoint(address=vault.cluster.bao_address, ca_pem=vault.cluster.bao_ca)),
            TokenAuth(SecretStr(vault.tokens[who])),
        )
        inbox = KVInbox(session, mount="secret", path=path)
        parts = Parts(
            path=path,
            journal_id=who.replace(" ", "-"),
            journal=KVJournal(session),
            live=KVLive(KV2Backend(session, mount="secret"), session, mount="secret", path=path),
            target=ExternalTarget(inbox),
            consumers=Readers(),
            inbox=inbox,
        )
        now = datetime.now(UTC)
        request = Request(uuid.uuid4().hex, "inbox")
        policy = Policy(owner=Owner("cluster", vault.ours, who, who), strategy=Strategy.EXTERNAL, request=request)
        end = None
        for day in range(4):  # the grace period is over on one of them
            end = Engine(parts, now=lambda: now + timedelta(days=day)).run(lambda: policy)  # noqa: B023 - run at once
        assert isinstance(end, Finished), end
        entry = parts.journal.read(path).entry
        assert entry is not None
        assert (entry.phase, entry.holds_values) == (Phase.DONE, False)
        assert vault.call("root", "GET", f"secret/data/{path}")["data"]["data"] == {
            "password": staged,
            "username": "kept",
        }
        assert inbox.read() is None
        for prefix in PREFIXES:
            assert staged not in readable(vault, f"{prefix}/{path}")
        session.close()
    for prefix in ("", *(f"{prefix}/" for prefix in PREFIXES)):
        vault.call("root", "DELETE", f"secret/metadata/{prefix}{path}")


def test_what_a_stager_cannot_do_is_refused_with_the_path(vault: Vault) -> None:
    with pytest.raises(CommandError, match="permission denied"):
        vault.cli("stager", "kv", "get", "-mount=secret", f"{PREFIXES[1]}/{vault.ours}/checkout/db")
