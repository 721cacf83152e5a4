"""The client library against the lab's OpenBao: every way to log in, and what happens to its readers on a bad day."""

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from elile.secrets import (
    SecretAccessDeniedError,
    SecretPath,
    SecretsSealedError,
    SecretStr,
    SecretsUnavailableError,
    SyncSecrets,
    VaultConfig,
    VaultSecretsManager,
)
from elile.secrets.cache import SecretCacheConfig
from elile.secrets.managers import vault_backend
from elile.secrets.protocol import Backend
from elile.secrets.testing.conformance import BackendConformance, VersionedConformance
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

POLICY = "elile-client-test"
RULES = """
path "secret/data/elile-test/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/elile-test/*" { capabilities = ["read"] }
path "secret/data/elile-staging/elile-test/*" { capabilities = ["create", "read", "update"] }
path "secret/metadata/elile-staging/elile-test/*" { capabilities = ["read", "delete"] }
path "secret/data/+" { capabilities = ["read", "update"] }
"""
WAYS = ("token", "approle", "kubernetes")


@pytest.fixture(autouse=True)
def _on_the_lab(cluster: Cluster) -> None:
    if cluster.lab is None:
        pytest.skip("needs the lab: OpenBao is configured, sealed and restarted")


def common(cluster: Cluster) -> dict[str, Any]:
    assert cluster.lab is not None
    return {"address": cluster.bao_address, "ca_file": cluster.lab.ca_file, "timeout_seconds": 5.0}


def config(cluster: Cluster, tenant: Tenant, folder: Path, way: str, **role: str) -> VaultConfig:
    """Let somebody in by one of the ways, with the rights of this test."""
    cluster.bao("policy", "write", POLICY, "-", given=RULES)
    settings = {"token_policies": f"{POLICY},default", **role}
    texts = [f"{k}={v}" for k, v in settings.items()]
    match way:
        case "token":
            token = cluster.bao("token", "create", "-field=token", f"-policy={POLICY}", "-ttl=1h").strip()
            return VaultConfig(**common(cluster), auth="token", token=SecretStr(token))
        case "approle":
            mount = f"approle-{uuid.uuid4().hex[:8]}"
            cluster.bao("auth", "enable", f"-path={mount}", "approle")
            cluster.bao("write", f"auth/{mount}/role/app", *texts)
            role_id = cluster.bao("read", "-field=role_id", f"auth/{mount}/role/app/role-id").strip()
            secret_id = cluster.bao("write", "-f", "-field=secret_id", f"auth/{mount}/role/app/secret-id").strip()
            return VaultConfig(
                **common(cluster), auth="approle", auth_mount=mount, role_id=role_id, secret_id=SecretStr(secret_id)
            )
        case _:
            name = f"client-{tenant.namespace}"
            bound = ("bound_service_account_names=*", f"bound_service_account_namespaces={tenant.namespace}")
            cluster.bao("write", f"auth/kubernetes/role/{name}", "audience=elile", *texts, *bound)
            jwt = folder / "jwt"
            jwt.write_text(cluster.kubectl("-n", tenant.namespace, "create", "token", "default", "--audience=elile"))
            return VaultConfig(**common(cluster), auth="kubernetes", role=name, jwt_path=jwt)


@pytest.mark.parametrize("way", WAYS)
class TestEveryWayIn(BackendConformance):
    @pytest.fixture
    def backend(self, cluster: Cluster, tenant: Tenant, tmp_path: Path, way: str) -> Iterator[Backend]:
        backend = vault_backend(config(cluster, tenant, tmp_path, way))
        yield backend
        backend.close()


@pytest.mark.parametrize("way", WAYS)
class TestVersionsByEveryWayIn(VersionedConformance):
    @pytest.fixture
    def backend(self, cluster: Cluster, tenant: Tenant, tmp_path: Path, way: str) -> Iterator[Backend]:
        backend = vault_backend(config(cluster, tenant, tmp_path, way))
        yield backend
        backend.close()


@pytest.fixture
def manager_by(cluster: Cluster, tenant: Tenant, tmp_path: Path) -> Iterator[Callable[..., VaultSecretsManager]]:
    made: list[VaultSecretsManager] = []

    def make(way: str = "kubernetes", cache: SecretCacheConfig | None = None, **role: str) -> VaultSecretsManager:
        made.append(VaultSecretsManager(config(cluster, tenant, tmp_path, way, **role), cache=cache))
        return made[-1]

    yield make
    for manager in made:
        manager.close_blocking()


def put(cluster: Cluster, entry: str, **values: str) -> str:
    path = f"elile-test/{entry}-{uuid.uuid4().hex[:8]}"
    cluster.put(path, **values)
    return path


async def test_database_credentials_of_a_pod(cluster: Cluster, manager_by: Callable[..., VaultSecretsManager]) -> None:
    path = put(cluster, "db", host="db.shop", port="5432", username="app", password="p@ss", database="shop")
    async with manager_by() as manager:
        credentials = await manager.get_database_credentials(path)
        assert credentials.url("postgresql").reveal() == "postgresql://app:p%40ss@db.shop:5432/shop"
        assert (await manager.health()).health == "ok"


async def test_keys_of_providers(cluster: Cluster, tenant: Tenant, tmp_path: Path) -> None:
    given = config(cluster, tenant, tmp_path, "kubernetes")
    rules = RULES + 'path "secret/data/elile/*" { capabilities = ["read"] }'
    cluster.bao("policy", "write", POLICY, "-", given=rules)
    cluster.put(SecretPath.AI_ANTHROPIC, api_key="sk-ant-1")
    cluster.put(SecretPath.provider("stripe"), api_key="sk-2", base_url="https://api.stripe.example")
    async with VaultSecretsManager(given) as manager:
        assert (await manager.get_ai_provider_secrets("anthropic")).headers()["x-api-key"] == "sk-ant-1"
        key = await manager.get_provider_api_key("stripe")
        assert (key.api_key.reveal(), key.base_url) == ("sk-2", "https://api.stripe.example")


@pytest.mark.parametrize("way", ["approle", "kubernetes"])
def test_reading_goes_on_past_the_end_of_a_login(
    cluster: Cluster, manager_by: Callable[..., VaultSecretsManager], way: str
) -> None:
    path = put(cluster, "db", value="1")
    secrets = SyncSecrets(manager_by(way, token_ttl="2s", token_max_ttl="4s"))
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        assert secrets.get_secret(path, max_age=0)["value"].reveal() == "1"
        time.sleep(0.1)


def test_a_refusal_is_a_refusal_whatever_is_cached(
    cluster: Cluster, manager_by: Callable[..., VaultSecretsManager]
) -> None:
    path = put(cluster, "db", value="1")
    secrets = SyncSecrets(manager_by(cache=SecretCacheConfig(default_ttl_seconds=0.2)))
    assert secrets.get_secret(path)["value"].reveal() == "1"
    cluster.bao("policy", "write", POLICY, "-", given='path "secret/data/other" { capabilities = ["read"] }')

    def refused() -> bool:
        try:
            secrets.get_secret(path)
        except SecretAccessDeniedError:
            return True
        return False

    eventually("the refusal", refused, within=10, every=0.05)


def test_a_sealed_server_costs_no_reader_anything_that_is_cached(
    cluster: Cluster, manager_by: Callable[..., VaultSecretsManager]
) -> None:
    assert cluster.lab is not None
    path, other = put(cluster, "db", value="1"), put(cluster, "other", value="1")
    secrets = SyncSecrets(manager_by(cache=SecretCacheConfig(default_ttl_seconds=0.5)))
    assert secrets.get_secret(path)["value"].reveal() == "1"
    cluster.lab.seal()
    try:
        time.sleep(1)
        eventually("it is said to be stale", lambda: secrets.get_secret(path).is_stale, within=10, every=0.05)
        assert secrets.get_secret(path)["value"].reveal() == "1"
        with pytest.raises(SecretsSealedError):
            secrets.get_secret(other)
        assert secrets.health().health == "degraded"
    finally:
        cluster.lab.unseal()
    eventually("it is current", lambda: not secrets.get_secret(path, max_age=1).is_stale, within=60, every=0.1)


def test_a_restart_of_the_server_is_survived_by_who_reads_on(
    cluster: Cluster, manager_by: Callable[..., VaultSecretsManager]
) -> None:
    assert cluster.lab is not None
    path = put(cluster, "db", value="1")
    secrets = SyncSecrets(manager_by(cache=SecretCacheConfig(default_ttl_seconds=0.2)))
    secrets.get_secret(path)
    server, stop, read, failed = cluster.lab.component("openbao"), threading.Event(), [0], []

    def reader() -> None:
        while not stop.wait(0.01):
            try:
                assert secrets.get_secret(path)["value"].reveal() == "1"
                read[0] += 1
            except (SecretsUnavailableError, AssertionError) as e:
                failed.append(repr(e))

    threads = [threading.Thread(target=reader) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        server.kill()
        time.sleep(1)
        server.start()
        time.sleep(2)
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert failed == []
    assert read[0] > 100
    eventually("it is current", lambda: not secrets.get_secret(path, max_age=1).is_stale, within=60, every=0.1)
