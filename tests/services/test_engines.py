"""What the engines of a real OpenBao answer: the facts that leases, certificates and static credentials stand on."""

import time
from collections.abc import Iterator
from typing import Any

import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretMountNotFoundError,
    SecretNotFoundError,
    SecretsConfigurationError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from lab.postgresql import PostgreSQL
from tests.support.engines import database_engine, database_role, pki_engine
from tests.support.openbao import ROOT, Bao, running


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory, postgresql: PostgreSQL) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        postgresql.sql("CREATE ROLE engine LOGIN SUPERUSER PASSWORD 'engine'")
        database_engine(server.call, host="127.0.0.1", port=postgresql.port)
        pki_engine(server.call)
        yield server


@pytest.fixture
def client(bao: Bao) -> Iterator[VaultClient]:
    client = VaultClient(VaultEndpoint(address=bao.address))
    yield client
    client.close()


def roles(postgresql: PostgreSQL) -> list[str]:
    return [row[0] for row in postgresql.sql("SELECT rolname FROM pg_roles WHERE rolname LIKE 'v-%'")]


def test_a_lease(bao: Bao, client: VaultClient, postgresql: PostgreSQL) -> None:
    database_role(bao.call, "short", ttl="10s", longest="13s")
    made = client.ask(ROOT, "database/creds/short")
    assert made.lease_id.startswith("database/creds/short/")
    assert (made.seconds, made.renewable) == (10.0, True)
    assert set(made.data.reveal()) == {"username", "password"}
    assert made.data.reveal()["username"] in roles(postgresql)
    # As much as was asked for, and never more than the role's maximum: what is left of it is granted, silently.
    assert 0 < client.renew_lease(ROOT, made.lease_id, seconds=5) <= 5
    assert 10 < client.renew_lease(ROOT, made.lease_id, seconds=60) <= 13


def test_a_lease_ends_with_the_token_that_made_it(bao: Bao, client: VaultClient, postgresql: PostgreSQL) -> None:
    database_role(bao.call, "owned", ttl="1h", longest="1h")
    bao.call("POST", "sys/policies/acl/owned", {"policy": 'path "database/creds/owned" { capabilities = ["read"] }'})
    token = bao.token(policies=["owned"], ttl="1h")
    made = client.ask(token, "database/creds/owned")
    assert client.renew_lease(token, made.lease_id, seconds=3600) > 3590
    client.revoke(token)
    with pytest.raises(SecretAccessDeniedError):
        client.renew_lease(token, made.lease_id, seconds=3600)
    with pytest.raises(SecretNotFoundError):
        client.renew_lease(ROOT, made.lease_id, seconds=3600)
    assert made.data.reveal()["username"] not in roles(postgresql)


def test_the_lease_of_a_token_that_ends_sooner(bao: Bao, client: VaultClient) -> None:
    """The lease says nothing of it: the time is that of the role, though it will end with the token."""
    database_role(bao.call, "longer", ttl="1h", longest="1h")
    bao.call("POST", "sys/policies/acl/longer", {"policy": 'path "database/creds/longer" { capabilities = ["read"] }'})
    token = bao.token(policies=["longer"], ttl="60s")
    assert client.ask(token, "database/creds/longer").seconds == 3600.0


def test_what_is_refused(bao: Bao, client: VaultClient) -> None:
    with pytest.raises(SecretNotFoundError, match="nothing of that name") as missing:
        client.ask(ROOT, "database/creds/nobody")
    assert missing.value.path == "database/creds/nobody"
    with pytest.raises(SecretMountNotFoundError):
        client.ask(ROOT, "nowhere/creds/shop")
    with pytest.raises(SecretAccessDeniedError):
        client.ask(SecretStr("none"), "database/creds/short")
    with pytest.raises(SecretNotFoundError):
        client.ask(ROOT, "pki/issue/nobody", parameters={"common_name": "a.example.com"}, write=True)
    with pytest.raises(SecretsConfigurationError, match="refuses what was asked for"):
        client.ask(ROOT, "pki/issue/web", parameters={"common_name": "example.org"}, write=True)


def test_static_credentials_say_when_they_change(bao: Bao, client: VaultClient, postgresql: PostgreSQL) -> None:
    postgresql.sql("CREATE ROLE static LOGIN PASSWORD 'static'")
    role = {"db_name": "main", "username": "static", "rotation_period": "60s"}
    bao.call("POST", "database/static-roles/static", role)
    answer = client.ask(ROOT, "database/static-creds/static")
    assert (answer.lease_id, answer.seconds) == ("", 0.0)
    data = answer.data.reveal()
    assert data["username"] == "static"
    assert 0 <= data["ttl"] <= 60
    assert set(data) >= {"username", "password", "ttl", "last_vault_rotation"}
    with pytest.raises(SecretNotFoundError):
        client.ask(ROOT, "database/static-creds/nobody")


def test_a_certificate(bao: Bao, client: VaultClient) -> None:
    wanted = {"common_name": "shop.example.com", "ttl": "600s"}
    data: dict[str, Any] = dict(client.ask(ROOT, "pki/issue/web", parameters=wanted, write=True).data.reveal())
    assert {"certificate", "issuing_ca", "ca_chain", "private_key", "serial_number", "expiration"} <= set(data)
    assert data["private_key"].startswith("-----BEGIN EC PRIVATE KEY-----")
    assert data["ca_chain"] == [data["issuing_ca"]]
    assert 0 < data["expiration"] - time.time() <= 600
    client.revoke_certificate(ROOT, mount="pki", serial=data["serial_number"])
    serials = bao.call("GET", "pki/cert/" + data["serial_number"])["data"]
    assert serials["revocation_time"] > 0
    wanted["private_key_format"] = "pkcs8"
    key = client.ask(ROOT, "pki/issue/web", parameters=wanted, write=True).data.reveal()["private_key"]
    assert key.startswith("-----BEGIN PRIVATE KEY-----")


# ── listings of a folder ─────────────────────────────────────────────────────────────────────────────────────────────


def lister(bao: Bao, *lines: str) -> SecretStr:
    """A token that may do what the lines of a policy say."""
    bao.call("POST", "sys/policies/acl/lister", {"policy": "\n".join(lines)})
    return bao.token(policies=["lister"], ttl="1h")


def test_a_listing_tells_what_a_look_at_each_entry_tells(bao: Bao, client: VaultClient) -> None:
    for name in ("a", "b"):
        bao.write(f"listed/{name}", {"x": 1})
    bao.write("listed/a", {"x": 2})
    bao.write("listed/sub/c", {"x": 1})
    bao.call("DELETE", "secret/data/listed/a", None)
    token = lister(bao, 'path "secret/detailed-metadata/listed/" { capabilities = ["list"] }')
    found = client.kv2_list(token, mount="secret", folder="listed")
    assert found == {name: client.kv2_metadata(ROOT, mount="secret", path=f"listed/{name}") for name in ("a", "b")}
    assert (found["a"].current, found["a"].versions[2].deleted) == (2, True)
    path = "secret/detailed-metadata/listed/"
    assert client.capabilities(token, [path]) == {path: frozenset({"list"})}
    with pytest.raises(SecretAccessDeniedError):
        client.kv2_list(token, mount="secret", folder="listed/sub")


def test_the_root_of_a_mount_is_listed_as_well(bao: Bao, client: VaultClient) -> None:
    bao.write("at-the-root", {"x": 1})
    token = lister(bao, 'path "secret/detailed-metadata/" { capabilities = ["list"] }')
    found = client.kv2_list(token, mount="secret", folder="")
    assert found["at-the-root"].current == 1
    assert all("/" not in name for name in found)
    with pytest.raises(SecretNotFoundError):
        client.kv2_list(ROOT, mount="secret", folder="not-there")
