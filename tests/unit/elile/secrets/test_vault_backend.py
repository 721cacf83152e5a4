"""The KV engine of a real OpenBao, behind the protocol of all backends."""

from collections.abc import Iterator

import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Backend, Version
from elile.secrets.redact import Redacted
from elile.secrets.testing.conformance import BackendConformance, VersionedConformance
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_backend import STAGING, KV1Backend, KV2Backend
from elile.secrets.vault_session import TokenAuth, VaultSession
from tests.support.openbao import ROOT, Bao, running


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        server.call("POST", "sys/mounts/old", {"type": "kv", "options": {"version": "1"}})
        yield server


def session(bao: Bao) -> VaultSession:
    return VaultSession(VaultClient(VaultEndpoint(address=bao.address)), TokenAuth(ROOT))


@pytest.fixture
def kv2(bao: Bao) -> Iterator[KV2Backend]:
    backend = KV2Backend(session(bao))
    yield backend
    backend.close()


class TestKV2(BackendConformance):
    @pytest.fixture
    def backend(self, kv2: KV2Backend) -> Backend:
        return kv2


class TestKV2Versions(VersionedConformance):
    @pytest.fixture
    def backend(self, kv2: KV2Backend) -> KV2Backend:
        return kv2


class TestKV1(BackendConformance):
    @pytest.fixture
    def backend(self, bao: Bao) -> Iterator[Backend]:
        backend = KV1Backend(session(bao), mount="old")
        yield backend
        backend.close()


def test_what_is_known_of_a_version(bao: Bao, kv2: KV2Backend) -> None:
    bao.call("POST", "secret/metadata/known", {"custom_metadata": {"managed-by": "elile"}})
    kv2.write("known", {"n": "1"})
    kv2.write("known", {"n": "2"})
    metadata = kv2.read("known").metadata
    assert (metadata.version, metadata.previous_version, metadata.source) == ("2", "1", "vault")
    assert metadata.custom == {"managed-by": "elile"}
    assert metadata.created_at is not None
    assert metadata.created_at.tzinfo is not None


def test_a_deleted_version_is_deleted_and_no_older_one_takes_its_place(bao: Bao, kv2: KV2Backend) -> None:
    kv2.write("deleted", {"n": "1"})
    kv2.write("deleted", {"n": "2"})
    bao.call("DELETE", "secret/data/deleted")
    with pytest.raises(SecretDeletedError) as caught:
        kv2.read("deleted")
    assert (caught.value.version, caught.value.destroyed) == (2, False)
    assert kv2.read("deleted", version="1").data.reveal() == {"n": "1"}


def test_a_version_that_is_no_number(kv2: KV2Backend) -> None:
    kv2.write("numbers", {"n": "1"})
    with pytest.raises(SecretVersionNotFoundError, match="whole numbers"):
        kv2.read("numbers", version="first")


def test_staged_values_stand_where_a_policy_for_the_path_does_not_lead(bao: Bao, kv2: KV2Backend) -> None:
    rule = 'path "secret/data/team/*" { capabilities = ["read"] }'
    bao.call("PUT", "sys/policies/acl/team", {"policy": rule})
    reader = KV2Backend(
        VaultSession(VaultClient(VaultEndpoint(address=bao.address)), TokenAuth(bao.token(policies=["team"])))
    )
    kv2.write("team/db", {"v": "old"})
    ref = kv2.stage("team/db", {"v": "new"}, key="run-1")
    assert ref.id == f"{STAGING}/team/db/run-1"
    assert reader.read("team/db").data.reveal() == {"v": "old"}
    with pytest.raises(SecretAccessDeniedError):
        reader.read_staged("team/db", ref)
    reader.close()


@pytest.mark.parametrize("key", ["", "a/b"])
def test_a_key_that_is_no_part_of_a_path(kv2: KV2Backend, key: str) -> None:
    with pytest.raises(SecretsConfigurationError, match="one part of a path"):
        kv2.stage("team/db", {"v": "1"}, key=key)


def test_a_promotion_is_not_mistaken_for_a_later_write_of_the_same_data(kv2: KV2Backend) -> None:
    old = Version(str(kv2.write("late", {"v": "old"}).metadata.version), Redacted({"v": "old"}))
    ref = kv2.stage("late", {"v": "new"}, key="run-1")
    kv2.write("late", {"v": "by hand"})
    kv2.write("late", {"v": "new"})
    with pytest.raises(Exception, match="version 3 is current, and 1 was expected"):
        kv2.promote("late", ref, expect=old)


def test_version_1_of_the_engine_has_no_versions(bao: Bao) -> None:
    backend = KV1Backend(session(bao), mount="old")
    backend.write("a", {"n": "1"})
    with pytest.raises(SecretVersionNotFoundError):
        backend.read("a", version="1")
    with pytest.raises(SecretsConfigurationError, match="leave expected_version out"):
        backend.write("a", {"n": "2"}, expect="1")
    with pytest.raises(SecretNotFoundError):
        backend.version("a")
    backend.close()
