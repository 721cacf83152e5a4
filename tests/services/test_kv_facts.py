"""What the rotation builds on in the KV engine, version 2, asserted against the real server, without our client.

The numbers of the facts are those of the design.
"""

import contextlib
import http.client
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from elile.secrets.errors import SecretConflictError
from elile.secrets.rotation.journal import Journal, JournalEntry, JournalStore, Phase, Strategy, encode
from elile.secrets.rotation.journal_kv import PREFIX, KVJournal
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_session import TokenAuth, VaultSession
from tests.fakes.rotation import NOW, OWNER, PENDING, PREVIOUS
from tests.support.openbao import ROOT, Bao, running

NOTHING = (404, {"errors": []})


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


@dataclass(frozen=True)
class KV:
    """One entry of the engine at `secret/`, by raw requests; answers are a status and a body."""

    bao: Bao
    path: str
    token: str = ROOT.reveal()

    def ask(self, method: str, api: str, body: Any = None, *, query: str = "") -> tuple[int, Any]:
        headers = {"X-Vault-Token": self.token}
        if method == "PATCH":
            headers["Content-Type"] = "application/merge-patch+json"
        connection = http.client.HTTPConnection("127.0.0.1", self.bao.port, timeout=10)
        with contextlib.closing(connection):
            where = f"/v1/secret/{api}/{self.path}{query}"
            connection.request(method, where, None if body is None else json.dumps(body), headers)
            response = connection.getresponse()
            text = response.read()
        return response.status, json.loads(text) if text else None

    def write(self, value: str, cas: int | None = None) -> tuple[int, Any]:
        options = {} if cas is None else {"options": {"cas": cas}}
        status, body = self.ask("POST", "data", {"data": {"v": value}, **options})
        return (status, body["data"]["version"]) if status == 200 else (status, " ".join(body["errors"]))

    def read(self, version: int | None = None) -> tuple[int, Any]:
        return self.ask("GET", "data", query="" if version is None else f"?version={version}")

    def value(self, version: int | None = None) -> str | None:
        status, body = self.read(version)
        found: str | None = body["data"]["data"]["v"] if status == 200 else None
        return found

    def metadata(self) -> Any:
        status, body = self.ask("GET", "metadata")
        assert status == 200, body
        return body["data"]

    def delete(self, *versions: int) -> int:
        """Of these versions, or of the current one."""
        if not versions:
            return self.ask("DELETE", "data")[0]
        return self.ask("POST", "delete", {"versions": versions})[0]

    def undelete(self, *versions: int) -> int:
        return self.ask("POST", "undelete", {"versions": versions})[0]

    def destroy(self, *versions: int) -> int:
        return self.ask("POST", "destroy", {"versions": versions})[0]


@pytest.fixture
def kv(bao: Bao, request: pytest.FixtureRequest) -> KV:
    return KV(bao, f"facts/{request.node.name}")


def gone(version: int, *, destroyed: bool) -> Callable[[tuple[int, Any]], bool]:
    """Whether an answer is a 404 that tells which version it does not give."""

    def matches(answer: tuple[int, Any]) -> bool:
        status, body = answer
        metadata = body["data"]["metadata"]
        told = (status, body["data"]["data"], metadata["version"], metadata["destroyed"])
        return told == (404, None, version, destroyed) and "errors" not in body

    return matches


# ── K1: reading without a version never falls back to an older one ───────────────────────────────────────────────────


def test_k1_nothing_that_was_ever_written_is_a_404_without_metadata(kv: KV) -> None:
    assert kv.read() == NOTHING
    assert kv.ask("GET", "metadata") == NOTHING


def test_k1_a_deleted_version_is_a_404_with_metadata_and_nothing_older(kv: KV) -> None:
    kv.write("one")
    kv.write("two")
    kv.delete()
    assert gone(2, destroyed=False)(kv.read())
    assert kv.read()[1]["data"]["metadata"]["deletion_time"] != ""
    assert kv.value(1) == "one"


def test_k1_a_destroyed_version_is_a_404_with_metadata_and_nothing_older(kv: KV) -> None:
    kv.write("one")
    kv.write("two")
    kv.destroy(2)
    assert gone(2, destroyed=True)(kv.read())
    assert kv.read()[1]["data"]["metadata"]["deletion_time"] == ""
    assert kv.value(1) == "one"


def test_k1_a_version_that_was_never_written_is_a_404_without_metadata(kv: KV) -> None:
    kv.write("one")
    assert kv.read(7) == NOTHING


def test_k1_metadata_without_any_version_reads_as_nothing(kv: KV) -> None:
    assert kv.ask("POST", "metadata", {"max_versions": 5})[0] == 204
    assert kv.metadata()["current_version"] == 0
    assert kv.read() == NOTHING


# ── K2: cas is the current version ───────────────────────────────────────────────────────────────────────────────────


def test_k2_cas_has_to_be_the_current_version(kv: KV) -> None:
    assert kv.write("one", cas=0) == (200, 1)
    for wrong in (0, 2, 99):
        status, said = kv.write("other", cas=wrong)
        assert (status, "check-and-set parameter did not match the current version" in said) == (400, True)
    assert kv.write("two", cas=1) == (200, 2)
    assert kv.value() == "two"


@pytest.mark.parametrize("lost", ["deleted", "destroyed"])
def test_k2_after_a_deletion_cas_is_the_number_and_not_0(kv: KV, lost: str) -> None:
    kv.write("one")
    kv.write("two")
    assert (kv.delete() if lost == "deleted" else kv.destroy(2)) == 204
    for wrong in (0, 1):
        assert kv.write("other", cas=wrong)[0] == 400
    assert kv.write("three", cas=2) == (200, 3)


def test_k2_cas_0_fits_as_long_as_no_version_was_written(kv: KV) -> None:
    kv.ask("POST", "metadata", {"max_versions": 5})
    assert kv.write("other", cas=1)[0] == 400
    assert kv.write("one", cas=0) == (200, 1)


def test_k2_a_write_without_cas_compares_nothing(kv: KV) -> None:
    assert [kv.write("one"), kv.write("two")] == [(200, 1), (200, 2)]


def test_k2_a_key_that_requires_cas_refuses_a_write_without(kv: KV) -> None:
    kv.ask("POST", "metadata", {"cas_required": True})
    assert kv.write("one") == (400, "check-and-set parameter required for this call")
    assert kv.write("one", cas=0) == (200, 1)


# ── K3: delete, undelete and destroy compare nothing and count nothing ───────────────────────────────────────────────


def test_k3_deleting_undeleting_and_destroying_leave_the_current_version(kv: KV) -> None:
    for number in range(3):
        kv.write(str(number))
    assert [kv.delete(), kv.delete(3), kv.undelete(3), kv.destroy(1), kv.destroy(1, 99)] == [204] * 5
    assert (kv.metadata()["current_version"], kv.value()) == (3, "2")
    assert [kv.destroy(3), kv.undelete(3)] == [204, 204]
    assert gone(3, destroyed=True)(kv.read())
    assert kv.metadata()["current_version"] == 3


@pytest.mark.parametrize("api", ["delete", "undelete", "destroy"])
def test_k3_a_cas_that_is_sent_along_is_not_looked_at(kv: KV, api: str) -> None:
    kv.write("one")
    assert kv.ask("POST", api, {"versions": [1], "options": {"cas": 99}})[0] == 204


def test_k3_deleted_metadata_starts_the_numbers_again_so_that_an_old_cas_fits(kv: KV) -> None:
    kv.write("one")
    kv.write("two")
    assert kv.ask("DELETE", "metadata")[0] == 204
    assert kv.read() == NOTHING
    assert kv.write("stranger", cas=0) == (200, 1)
    # Who read version 1 before the deletion, and is slow, overwrites what it has never seen.
    assert kv.write("late", cas=1) == (200, 2)


# ── K4: custom_metadata ──────────────────────────────────────────────────────────────────────────────────────────────


def test_k4_custom_metadata_is_of_the_entry_and_shown_with_every_version(kv: KV) -> None:
    kv.write("one")
    assert kv.ask("POST", "metadata", {"custom_metadata": {"owner": "team"}})[0] == 204
    kv.write("two")
    assert [kv.read(n)[1]["data"]["metadata"]["custom_metadata"] for n in (1, 2)] == [{"owner": "team"}] * 2
    assert kv.metadata()["current_version"] == 2


def test_k4_whoever_may_read_the_data_sees_custom_metadata(bao: Bao, kv: KV) -> None:
    kv.write("one")
    kv.ask("POST", "metadata", {"custom_metadata": {"owner": "team"}})
    rule = f'path "secret/data/{kv.path}" {{ capabilities = ["read"] }}'
    bao.call("PUT", "sys/policies/acl/facts-reader", {"policy": rule})
    reader = replace(kv, token=bao.token(policies=["facts-reader"]).reveal())
    assert reader.ask("GET", "metadata")[0] == 403
    assert reader.read()[1]["data"]["metadata"]["custom_metadata"] == {"owner": "team"}


@pytest.mark.parametrize(
    ("custom", "fits"),
    [
        ({f"k{number}": "v" for number in range(64)}, True),
        ({f"k{number}": "v" for number in range(65)}, False),
        ({"k" * 128: "v"}, True),
        ({"k" * 129: "v"}, False),
        ({"k": "v" * 512}, True),
        ({"k": "v" * 513}, False),
        ({"k": "line\nbreak"}, False),
        ({"k": {"nested": "v"}}, False),
    ],
    ids=["64 keys", "65 keys", "128 in a key", "129 in a key", "512 in a value", "513 in a value", "break", "nested"],
)
def test_k4_the_limits_of_custom_metadata(bao: Bao, custom: dict[str, Any], fits: bool) -> None:
    kv = KV(bao, "facts/limits")
    assert kv.ask("POST", "metadata", {"custom_metadata": custom})[0] == (204 if fits else 400)


# ── K5 to K9: the rest of the metadata ───────────────────────────────────────────────────────────────────────────────


def test_k5_openbao_compares_a_version_of_the_metadata_where_it_is_asked_to(kv: KV) -> None:
    assert kv.ask("POST", "metadata", {"custom_metadata": {"n": "1"}, "metadata_cas": 0})[0] == 204
    current = kv.metadata()["current_metadata_version"]
    assert current == 1
    refused = kv.ask("POST", "metadata", {"custom_metadata": {"n": "2"}, "metadata_cas": 0})
    assert (refused[0], "metadata check-and-set parameter does not match" in str(refused[1])) == (400, True)
    assert kv.ask("PATCH", "metadata", {"custom_metadata": {"n": "2"}, "metadata_cas": 0})[0] == 400
    assert kv.ask("PATCH", "metadata", {"custom_metadata": {"n": "2"}, "metadata_cas": current})[0] == 204
    # It is another count than that of the data.
    kv.write("one")
    assert (kv.metadata()["current_metadata_version"], kv.metadata()["current_version"]) == (2, 1)


def test_k6_the_eleventh_version_prunes_the_first_for_ever(kv: KV) -> None:
    for number in range(1, 12):
        kv.write(str(number))
    found = kv.metadata()
    assert (found["max_versions"], found["oldest_version"], found["current_version"]) == (0, 2, 11)
    assert sorted(map(int, found["versions"])) == list(range(2, 12))
    assert kv.read(1) == NOTHING
    assert kv.undelete(1) == 204
    assert kv.read(1) == NOTHING


def test_k6_a_smaller_limit_prunes_with_the_next_write(kv: KV) -> None:
    for number in range(1, 5):
        kv.write(str(number))
    kv.ask("POST", "metadata", {"max_versions": 2})
    assert len(kv.metadata()["versions"]) == 4
    kv.write("5")
    assert list(kv.metadata()["versions"]) == ["4", "5"]


def test_k7_delete_version_after_deletes_what_is_written_from_then_on(kv: KV) -> None:
    kv.write("one")
    kv.ask("POST", "metadata", {"delete_version_after": "1s"})
    kv.write("two")
    versions = kv.metadata()["versions"]
    # It lies ahead, and the version is readable until then.
    assert (versions["1"]["deletion_time"], versions["2"]["deletion_time"] != "") == ("", True)
    assert kv.value(2) == "two"
    deadline = time.monotonic() + 10
    while kv.value(2) is not None:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert gone(2, destroyed=False)(kv.read())
    assert kv.value(1) == "one"
    assert kv.write("three", cas=2) == (200, 3)


def test_k9_the_time_of_the_last_update_does_not_move_with_a_deletion(kv: KV) -> None:
    kv.write("one")
    kv.write("two")
    before = kv.metadata()["updated_time"]
    for change in (lambda: kv.delete(1), lambda: kv.undelete(1), lambda: kv.destroy(1), kv.delete):
        assert change() == 204
        assert kv.metadata()["updated_time"] == before
    kv.write("three")
    assert kv.metadata()["updated_time"] > before


# ── the journal in memory has the manners of the one on the server ───────────────────────────────────────────────────

ENTRY = JournalEntry(
    owner=OWNER,
    rotation_id="id",
    occurrence="2026-11-24T02:30[Etc/UTC]",
    strategy=Strategy.REPLACE,
    phase=Phase.PENDING,
    base_version=1,
    pending=PENDING,
    previous=PREVIOUS,
    deadline=NOW,
)
ENDED = replace(ENTRY, phase=Phase.DONE, pending=None, previous=None)
CONFLICT = "conflict"


class Both:
    """A journal in one of two places, and what others than the rotator do to it."""

    def __init__(self, store: JournalStore, kv: KV, path: str) -> None:
        self.store = store
        self.kv = replace(kv, path=f"{PREFIX}/{path}")
        self.path = path

    def read(self) -> Journal:
        return self.store.read(self.path)

    def write(self, entry: JournalEntry, cas: int) -> int | str:
        try:
            return self.store.write(self.path, entry, cas=cas)
        except SecretConflictError:
            return CONFLICT

    def wipe(self, keep: int) -> None:
        self.store.wipe(self.path, keep_version=keep)

    def put(self, stored: dict[str, Any], cas: int) -> int:
        """Write what no version of ours has written."""
        if isinstance(self.store, MemoryJournal):
            return self.store.put(self.path, stored, cas=cas)
        status, body = self.kv.ask("POST", "data", {"data": stored, "options": {"cas": cas}})
        assert status == 200, body
        version: int = body["data"]["version"]
        return version

    def delete(self) -> None:
        """Take the current version away, so that it could be brought back; to a reader it is as one destroyed."""
        if isinstance(self.store, MemoryJournal):
            self.wipe(self.read().version + 1)
        else:
            assert self.kv.delete() == 204


def nothing(it: Both) -> list[Any]:
    return [it.read(), it.write(ENTRY, 1), it.read()]


def written(it: Both) -> list[Any]:
    return [it.write(ENTRY, 0), it.read(), it.write(ENTRY, 0), it.write(ENTRY, 2), it.write(ENDED, 1), it.read()]


def wiped(it: Both) -> list[Any]:
    it.write(ENTRY, 0)
    it.write(ENTRY, 1)
    it.write(ENDED, 2)
    it.wipe(3)
    it.wipe(3)
    return [it.read(), it.write(ENTRY, 0), it.write(ENTRY, 2), it.write(ENTRY, 3), it.read()]


def current_destroyed(it: Both) -> list[Any]:
    it.write(ENTRY, 0)
    it.write(ENTRY, 1)
    it.wipe(3)
    return [it.read(), it.write(ENTRY, 0), it.write(ENTRY, 1), it.write(ENTRY, 2), it.read()]


def current_deleted(it: Both) -> list[Any]:
    it.write(ENTRY, 0)
    it.write(ENDED, 1)
    it.delete()
    return [it.read(), it.write(ENTRY, 0), it.write(ENTRY, 1), it.write(ENTRY, 2), it.read()]


def another_schema(it: Both) -> list[Any]:
    versions = [it.put({**encode(ENTRY), "schema": 2}, 0)]
    found = [it.read()]
    versions.append(it.put({"password": "canary"}, 1))
    return [versions, *found, it.read(), it.write(ENTRY, 2), it.read()]


def another_shape(it: Both) -> list[Any]:
    return [it.put({**encode(ENTRY), "phase": "canary"}, 0), it.read(), it.write(ENTRY, 0), it.write(ENTRY, 1)]


SCENARIOS = [nothing, written, wiped, current_destroyed, current_deleted, another_schema, another_shape]


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
def test_the_journal_in_memory_behaves_like_the_one_on_the_server(
    kv: KV, scenario: Callable[[Both], list[Any]]
) -> None:
    client = VaultClient(VaultEndpoint(address=kv.bao.address))
    with contextlib.closing(client):
        session = VaultSession(client, TokenAuth(ROOT))
        places = [Both(store, kv, f"alike/{scenario.__name__}") for store in (MemoryJournal(), KVJournal(session))]
        in_memory, on_server = (scenario(place) for place in places)
    assert in_memory == on_server
    assert "canary" not in repr(in_memory)
