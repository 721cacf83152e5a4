"""What is written down about a rotation, in memory and on a real OpenBao."""

from collections.abc import Iterator
from dataclasses import fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretDeletedError,
    SecretMountNotFoundError,
)
from elile.secrets.rotation.journal import (
    HISTORY,
    Intent,
    Journal,
    JournalEntry,
    JournalFormatError,
    JournalStore,
    Owner,
    Past,
    Phase,
    Reason,
    Strategy,
    decode,
    encode,
    rotation_id,
)
from elile.secrets.rotation.journal_kv import PREFIX, KVJournal
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_session import TokenAuth, VaultSession
from tests.fakes.rotation import CANARY, NOW, OWNER, PENDING, PREVIOUS, SHARED
from tests.property.rotation.world import KV, MAX_VERSIONS, CasError
from tests.support.openbao import ROOT, Bao, running

ENTRY = JournalEntry(
    owner=OWNER,
    rotation_id="id-2",
    occurrence="2026-11-24T02:30[Etc/UTC]",
    strategy=Strategy.KEYSET,
    phase=Phase.DISTRIBUTING,
    base_version=7,
    reason=Reason.BY_PERSON,
    live_version=8,
    pending=PENDING,
    previous=PREVIOUS,
    distributed=SHARED,
    attempts=2,
    not_before=NOW,
    deadline=datetime(2026, 11, 24, 2, 30, 0, 5, tzinfo=UTC),
    intent=Intent.DELIVER,
    touched=True,
    locking=True,
    delivered=True,
    restored=True,
    regenerated=True,
    hurried=True,
    compromised=True,
    wiped=True,
    inbox_version=3,
    handled="team/by-hand",
    history=(Past("id-1", "2026-11-23T02:30[Etc/UTC]", Phase.ROLLED_BACK, Reason.PROOF_TIMEOUT, NOW),),
)
ENDED = replace(ENTRY, phase=Phase.DONE, pending=None, previous=None, distributed=None)


def stored(**changes: Any) -> dict[str, Any]:
    return {**encode(ENTRY), **changes}


# ── as JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_lost() -> None:
    defaults = {f.name: f.default for f in fields(JournalEntry)}
    assert not [name for name, default in defaults.items() if getattr(ENTRY, name) == default]
    assert decode(encode(ENTRY)) == ENTRY


def test_values_are_shown_by_the_encoder_and_by_nothing_else() -> None:
    assert CANARY not in f"{ENTRY!r} {ENTRY} {Journal(ENTRY, 1)!r}"
    assert CANARY in str(encode(ENTRY))


@pytest.mark.parametrize("schema", [None, 0, 2, "1", True, 1.0])
def test_another_schema_is_refused(schema: Any) -> None:
    with pytest.raises(JournalFormatError, match="and this version of Elile reads 1"):
        decode(stored(schema=schema))


@pytest.mark.parametrize(
    "changes",
    [
        {"phase": CANARY},
        {"owner": {}},
        {"owner": None},
        {"pending": CANARY},
        {"base_version": True},
        {"base_version": "7"},
        {"attempts": None},
        {"wiped": 1},
        {"deadline": CANARY},
        {"history": [[CANARY]]},
        {"intent": [CANARY]},
    ],
)
def test_another_shape_is_refused_and_not_quoted(changes: dict[str, Any]) -> None:
    with pytest.raises(JournalFormatError, match="has not the shape of schema 1") as caught:
        decode(stored(**changes))
    assert CANARY not in f"{caught.value!r}"
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_missing_field_is_refused() -> None:
    data = encode(ENTRY)
    del data["touched"]
    with pytest.raises(JournalFormatError, match="KeyError"):
        decode(data)


def test_the_whole_history_is_small() -> None:
    long = replace(ENTRY, history=ENTRY.history * HISTORY)
    assert len(str(encode(long))) < 10_000


# ── who and which ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_same_trigger_of_the_same_path_is_the_same_rotation() -> None:
    where = {"cluster_id": "c", "namespace": "", "mount": "secret", "path": "app/db"}
    one = rotation_id(**where, trigger="2026-11-24T02:30[Etc/UTC]")
    assert one == rotation_id(**where, trigger="2026-11-24T02:30[Etc/UTC]")
    assert len(one) == 36
    others = [rotation_id(**{**where, field: "other"}, trigger="2026-11-24T02:30[Etc/UTC]") for field in where] + [
        rotation_id(**where, trigger="team/by-hand")
    ]
    assert len({one, *others}) == len(others) + 1


def test_parts_of_an_address_do_not_run_together() -> None:
    one = rotation_id(cluster_id="c", namespace="a", mount="b/c", path="d", trigger="t")
    assert one != rotation_id(cluster_id="c", namespace="a", mount="b", path="c/d", trigger="t")


def test_who_may_go_on_with_a_rotation() -> None:
    assert replace(OWNER, uid="uid-2").adopts(OWNER)
    assert not any(replace(OWNER, **{part: "x"}).adopts(OWNER) for part in ("cluster", "namespace", "name"))
    assert Owner("c", "n", "x", "u") == Owner("c", "n", "x", "u")


# ── where they are kept ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


def kv(bao: Bao, **kwargs: Any) -> KVJournal:
    return KVJournal(VaultSession(VaultClient(VaultEndpoint(address=bao.address)), TokenAuth(ROOT)), **kwargs)


@pytest.fixture(params=["memory", "openbao"])
def store(request: pytest.FixtureRequest) -> JournalStore:
    return MemoryJournal() if request.param == "memory" else kv(request.getfixturevalue("bao"))


@pytest.fixture
def path(request: pytest.FixtureRequest) -> str:
    return f"team/{request.node.originalname}"


def test_what_was_written_is_read(store: JournalStore, path: str) -> None:
    assert store.read(path) == Journal(None, 0)
    assert store.write(path, ENTRY, cas=0) == 1
    assert store.write(path, ENDED, cas=1) == 2
    assert store.read(path) == Journal(ENDED, 2)


@pytest.mark.parametrize("cas", [0, 2])
def test_a_write_that_expects_another_version_is_refused(store: JournalStore, path: str, cas: int) -> None:
    where = f"{path}-{cas}"
    store.write(where, ENTRY, cas=0)
    with pytest.raises(SecretConflictError) as caught:
        store.write(where, ENDED, cas=cas)
    assert CANARY not in str(caught.value)
    assert store.read(where) == Journal(ENTRY, 1)


def test_paths_have_nothing_to_do_with_each_other(store: JournalStore, path: str) -> None:
    store.write(path, ENTRY, cas=0)
    assert store.read(f"{path}-other") == Journal(None, 0)


def test_wiping_leaves_the_last_version_and_the_numbers(store: JournalStore, path: str) -> None:
    store.write(path, ENTRY, cas=0)
    store.write(path, ENTRY, cas=1)
    store.write(path, ENDED, cas=2)
    store.wipe(path, keep_version=3)
    store.wipe(path, keep_version=3)
    assert store.read(path) == Journal(ENDED, 3)
    with pytest.raises(SecretConflictError):
        store.write(path, ENTRY, cas=0)
    assert store.write(path, ENTRY, cas=3) == 4


def test_in_memory_no_version_holds_a_value_once_wiped() -> None:
    store = MemoryJournal()
    store.write("db", ENTRY, cas=0)
    store.write("db", ENDED, cas=1)
    assert CANARY in str(store.readable("db"))
    store.wipe("db", keep_version=2)
    assert CANARY not in str(store.readable("db"))
    store.wipe("db", keep_version=3)
    assert store.read("db") == Journal(None, 2)


def test_in_memory_another_schema_is_a_problem() -> None:
    store = MemoryJournal()
    store.put("db", stored(schema=2), cas=0)
    assert store.read("db") == Journal(None, 1, "the journal has schema 2, and this version of Elile reads 1")


def test_on_openbao_no_version_holds_a_value_once_wiped(bao: Bao) -> None:
    store, where = kv(bao), f"{PREFIX}/wiped"
    for number in range(3):
        store.write("wiped", ENTRY, cas=number)
    store.write("wiped", ENDED, cas=3)
    store.wipe("wiped", keep_version=4)
    versions = bao.call("GET", f"secret/metadata/{where}")["data"]["versions"]
    assert {number: v["destroyed"] for number, v in versions.items()} == {"1": True, "2": True, "3": True, "4": False}
    assert CANARY not in str(bao.call("GET", f"secret/data/{where}"))


def test_on_openbao_another_schema_is_a_problem(bao: Bao) -> None:
    bao.write(f"{PREFIX}/later", stored(schema=2))
    found = kv(bao).read("later")
    assert found == Journal(None, 1, "the journal has schema 2, and this version of Elile reads 1")


def test_on_openbao_a_deleted_journal_is_not_one_that_never_was(bao: Bao) -> None:
    store = kv(bao)
    store.write("deleted", ENTRY, cas=0)
    store.write("deleted", ENTRY, cas=1)
    bao.call("DELETE", f"secret/data/{PREFIX}/deleted")
    assert store.read("deleted") == Journal(None, 2)
    with pytest.raises(SecretConflictError):
        store.write("deleted", ENTRY, cas=0)
    assert store.write("deleted", ENTRY, cas=2) == 3


def test_on_openbao_a_mount_that_is_not_there_is_no_empty_journal(bao: Bao) -> None:
    with pytest.raises(SecretMountNotFoundError):
        kv(bao, mount="nowhere").read("db")


def test_on_openbao_whoever_reads_the_live_path_reads_no_journal(bao: Bao) -> None:
    rule = 'path "secret/data/team/*" { capabilities = ["read"] }'
    bao.call("PUT", "sys/policies/acl/live", {"policy": rule})
    kv(bao).write("team/db", ENTRY, cas=0)
    client = VaultClient(VaultEndpoint(address=bao.address))
    reader = KVJournal(VaultSession(client, TokenAuth(bao.token(policies=["live"]))))
    with pytest.raises(SecretAccessDeniedError):
        reader.read("team/db")
    client.close()


def test_on_openbao_destroying_takes_what_is_gone_already(bao: Bao) -> None:
    client = VaultClient(VaultEndpoint(address=bao.address))
    bao.write("gone", {"v": "1"})
    bao.write("gone", {"v": "2"})
    for _ in range(2):
        client.kv2_destroy(ROOT, mount="secret", path="gone", versions=[1, 99])
    metadata = client.kv2_metadata(ROOT, mount="secret", path="gone")
    assert {number: v.destroyed for number, v in metadata.versions.items()} == {1: True, 2: False}
    assert client.kv2_read(ROOT, mount="secret", path="gone").data.reveal() == {"v": "2"}
    client.close()


# ── what the model of the property test says of the server ───────────────────────────────────────────────────────────


class Server:
    """One entry of a real KV engine, version 2, with the face of the model."""

    def __init__(self, bao: Bao, path: str) -> None:
        self.client = VaultClient(VaultEndpoint(address=bao.address))
        self.path = path

    def write(self, data: str, cas: int | None) -> int:
        try:
            return self.client.kv2_write(ROOT, mount="secret", path=self.path, data={"v": data}, cas=cas)
        except SecretConflictError:
            raise CasError from None

    def read(self) -> tuple[str | None, int]:
        try:
            found = self.client.kv2_read(ROOT, mount="secret", path=self.path)
        except SecretDeletedError as e:
            return None, e.version
        return found.data.reveal()["v"], found.version

    def destroy(self, below: int) -> None:
        self.client.kv2_destroy(ROOT, mount="secret", path=self.path, versions=range(1, below))

    def readable(self) -> list[int]:
        found = self.client.kv2_metadata(ROOT, mount="secret", path=self.path).versions
        return [number for number, v in found.items() if v.readable]


@pytest.fixture(params=["model", "openbao"])
def entry(request: pytest.FixtureRequest, path: str) -> Iterator[KV[str] | Server]:
    if request.param == "model":
        yield KV()
        return
    server = Server(request.getfixturevalue("bao"), path)
    yield server
    server.client.close()


def readable(entry: KV[str] | Server) -> list[int]:
    return sorted(entry.readable() if isinstance(entry, Server) else entry.versions)


def test_reading_never_falls_back_and_the_numbers_go_on(entry: KV[str] | Server) -> None:
    assert [entry.write("one", 0), entry.write("two", 1)] == [1, 2]
    entry.destroy(below=3)
    assert entry.read() == (None, 2)
    with pytest.raises(CasError):
        entry.write("three", 0)
    assert entry.write("three", 2) == 3
    assert entry.read() == ("three", 3)


def test_destroying_changes_no_current_version_and_compares_nothing(entry: KV[str] | Server) -> None:
    for number in range(3):
        entry.write(str(number), number)
    entry.destroy(below=3)
    entry.destroy(below=3)
    assert entry.read() == ("2", 3)
    assert readable(entry) == [3]


def test_the_oldest_version_is_pruned_by_a_write(entry: KV[str] | Server) -> None:
    for number in range(MAX_VERSIONS + 2):
        entry.write(str(number), number)
    assert readable(entry) == list(range(3, MAX_VERSIONS + 3))


def test_a_write_may_compare_nothing(entry: KV[str] | Server) -> None:
    assert [entry.write("one", None), entry.write("two", None)] == [1, 2]
