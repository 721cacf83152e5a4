"""Old keys of a set that are ended between rotations: what is written, in which order, and who is kept out."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretManagedElsewhereError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsUnavailableError,
    SecretValidationError,
)
from elile.secrets.memory import MemoryBackend
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.destroying import KVVersions
from elile.secrets.rotation.journal import JournalEntry, Owner, Phase, Strategy, Value
from elile.secrets.rotation.journal_kv import KVJournal
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.rotation.keys import Keys, destroy_key, disable_old_keys
from elile.secrets.rotation.live import BackendLive
from elile.secrets.rotation.live_kv import KVLive
from elile.secrets.rotation.machine import next_step
from elile.secrets.rotation.policy import Policy
from elile.secrets.rotation.steps import Live, Observations, ReadLive, Written
from elile.secrets.rotation.targets.keyset import KeysetTarget
from elile.secrets.transport import VaultEndpoint
from elile.secrets.types import EncryptionKeys
from elile.secrets.vault import VaultClient
from elile.secrets.vault_backend import KV2Backend
from elile.secrets.vault_session import TokenAuth, VaultSession
from tests.fakes.rotation import NOW, OWNER, PENDING, PREVIOUS, REQUEST
from tests.support.openbao import ROOT, Bao, running

PATH = "team/keys"
ONE, TWO = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
SET = {
    "primary": "2",
    "keys": {
        "1": {"algorithm": "AES256GCM", "status": "decrypt", "material": ONE, "replaced": NOW.isoformat()},
        "2": {"algorithm": "AES256GCM", "status": "primary", "material": TWO},
    },
    "key": TWO,
}
ENDED = JournalEntry(
    owner=OWNER,
    rotation_id="id-1",
    occurrence="2026-11-23T02:30[Etc/UTC]",
    strategy=Strategy.KEYSET,
    phase=Phase.DONE,
    base_version=1,
    wiped=True,
)
DAY = timedelta(days=1)


class KilledError(Exception):
    """The process dies."""


@dataclass
class Site:
    """A live path with its journal and versions, in memory. Each call is told, and may be the last one."""

    data: Any = field(default_factory=lambda: SET)
    lacks: str = ""
    calls: list[str] = field(default_factory=list)
    dies: tuple[int, str] | None = None
    destroyed: int = 0
    stored: MemoryJournal = field(default_factory=MemoryJournal)

    def __post_init__(self) -> None:
        self.backend = MemoryBackend({} if self.data is None else {PATH: dict(self.data)})
        self.live = BackendLive(self.backend, PATH)

    def keys(self, **more: Any) -> Keys:
        return Keys(**{"path": PATH, "live": _Live(self), "journal": _Journal(self), "owner": OWNER, **more})

    def call(self, name: str, act: Any) -> Any:
        number = len(self.calls)
        self.calls.append(name)
        if self.dies == (number, "before"):
            raise KilledError
        found = act()
        if self.dies == (number, "after"):
            raise KilledError
        return found

    def preflight(self) -> str:
        return self.lacks

    def destroy_up_to(self, last: int) -> None:
        def act() -> None:
            self.destroyed = max(self.destroyed, last)

        self.call("destroy", act)

    def held(self) -> dict[str, Any]:
        return dict(self.backend.read(PATH).data.reveal())

    @property
    def version(self) -> int:
        return self.live.read().version

    @property
    def entry(self) -> JournalEntry:
        found = self.stored.read(PATH).entry
        assert found is not None
        return found


@dataclass
class _Live:
    site: Site

    def preflight(self) -> str:
        return ""

    def read(self) -> Live:
        return self.site.live.read()

    def write(self, value: Value, *, cas: int) -> Written:
        found: Written = self.site.call("live", lambda: self.site.live.write(value, cas=cas))
        return found


@dataclass
class _Journal:
    site: Site

    def read(self, path: str) -> Any:
        return self.site.stored.read(path)

    def write(self, path: str, entry: JournalEntry, *, cas: int) -> int:
        what = f"journal {entry.intent.value if entry.intent else '-'}"
        version: int = self.site.call(what, lambda: self.site.stored.write(path, entry, cas=cas))
        return version

    def wipe(self, path: str, *, keep_version: int) -> None:
        raise AssertionError("nothing is to be wiped")


ORDER = ["journal WriteLive", "live", "destroy", "journal -"]


# ── one key is destroyed ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("before", [None, ENDED, replace(ENDED, owner=replace(OWNER, uid="uid-0"))])
def test_a_key_goes_from_the_set_and_with_every_earlier_version(before: JournalEntry | None) -> None:
    site = Site()
    if before is not None:
        site.stored.write(PATH, before, cas=0)
    destroy_key(site.keys(), site, "1")
    assert site.calls == ORDER
    assert (site.version, site.destroyed) == (2, 1)
    assert ONE not in str(site.held())
    assert EncryptionKeys.parse(site.held()).ids == ("2",)
    entry = site.entry
    assert (entry.owner, entry.phase, entry.wiped, entry.intent) == (OWNER, Phase.DONE, True, None)
    assert entry.rotation_id == ("" if before is None else "id-1")


def test_a_key_that_is_destroyed_is_destroyed() -> None:
    site = Site()
    for _ in range(2):
        destroy_key(site.keys(), site, "1")
    assert site.calls == [*ORDER, "journal WriteLive", "destroy", "journal -"]
    assert (site.version, site.destroyed) == (2, 1)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("number", range(len(ORDER)))
def test_who_dies_anywhere_does_it_again_and_is_done(number: int, when: str) -> None:
    site = Site(dies=(number, when))
    with pytest.raises(KilledError):
        destroy_key(site.keys(), site, "1")
    assert EncryptionKeys.parse(site.held()).primary.id == "2"
    site.dies = None
    destroy_key(site.keys(), site, "1")
    assert (site.version, site.destroyed, site.entry.intent) == (2, 1, None)
    assert ONE not in str(site.held())


def test_what_the_policy_lacks_is_told_before_anything_is_written() -> None:
    lacks = "the Vault policy of the rotator lacks update on secret/destroy/team/keys: allow it"
    site = Site(lacks=lacks)
    with pytest.raises(SecretAccessDeniedError, match="lacks update on secret/destroy/team/keys"):
        destroy_key(site.keys(), site, "1")
    assert site.calls == []


@pytest.mark.parametrize(
    ("key_id", "said"), [("2", "rotate first"), ("9", "there is no key '9' in the set: name one of 1, 2")]
)
def test_the_primary_and_unknown_keys_stay(key_id: str, said: str) -> None:
    site = Site()
    with pytest.raises(SecretsConfigurationError, match=said):
        destroy_key(site.keys(), site, key_id)
    assert site.calls == []


# ── old keys are disabled ────────────────────────────────────────────────────────────────────────────────────────────


def test_old_keys_are_disabled_once_and_their_versions_stay() -> None:
    site = Site()
    assert disable_old_keys(site.keys(), before=NOW - DAY) is None
    assert site.calls == []
    assert disable_old_keys(site.keys(), before=NOW) == 2
    assert site.calls == ["journal WriteLive", "live", "journal -"]
    noted = site.stored.read(PATH).entry
    assert noted is not None
    assert (noted.live_version, noted.intent) == (2, None)  # by which it is known for ours
    assert {name: key["status"] for name, key in site.held()["keys"].items()} == {"1": "disabled", "2": "primary"}
    assert disable_old_keys(site.keys(), before=NOW + DAY) is None
    assert (site.version, site.destroyed, len(site.calls)) == (2, 0, 3)


@pytest.mark.parametrize("number", range(3))
def test_who_dies_while_keys_are_disabled_leaves_nothing_that_matters(number: int) -> None:
    site = Site(dies=(number, "after"))
    with pytest.raises(KilledError):
        disable_old_keys(site.keys(), before=NOW)
    site.dies = None
    disable_old_keys(site.keys(), before=NOW)
    assert (site.version, site.held()["keys"]["1"]["status"]) == (2, "disabled")
    policy = Policy(owner=OWNER, strategy=Strategy.KEYSET, request=REQUEST)
    assert next_step(site.stored.read(PATH), Observations(), NOW, policy) == ReadLive()  # the next rotation begins


# ── who is kept out ──────────────────────────────────────────────────────────────────────────────────────────────────

UNDER_WAY = replace(ENDED, phase=Phase.PENDING, wiped=False, pending=PENDING, previous=PREVIOUS)


def acts(site: Site, **more: Any) -> Iterator[Any]:
    yield lambda: destroy_key(site.keys(**more), site, "1")
    yield lambda: disable_old_keys(site.keys(**more), before=NOW)


@pytest.mark.parametrize(
    ("entry", "error", "said"),
    [
        (UNDER_WAY, SecretConflictError, r"a rotation is under way \(Pending\): wait for its end, or abort it"),
        (replace(UNDER_WAY, phase=Phase.NEEDS_INTERVENTION), SecretConflictError, r"under way \(NeedsIntervention\)"),
        (replace(ENDED, wiped=False), SecretConflictError, r"under way \(Done\)"),
        (
            replace(ENDED, owner=Owner("cluster", "other", "db", "uid-9")),
            SecretManagedElsewhereError,
            "belongs to 'other/db'; end keys there, or have it release the path",
        ),
    ],
)
def test_while_the_path_is_somebody_elses_nothing_is_written(
    entry: JournalEntry, error: type[Exception], said: str
) -> None:
    site = Site()
    site.stored.write(PATH, entry, cas=0)
    for act in acts(site):
        with pytest.raises(error, match=said):
            act()
    assert (site.calls, site.version) == ([], 1)


@pytest.mark.parametrize("stored", [{"schema": 2}, None])
def test_a_journal_that_cannot_be_read_is_for_a_person(stored: dict[str, Any] | None) -> None:
    site = Site()
    site.stored.put(PATH, stored or {}, cas=0)
    if stored is None:
        site.stored.wipe(PATH, keep_version=2)
    for act in acts(site):
        with pytest.raises(SecretConflictError, match="nobody knows whether a rotation is under way"):
            act()
    assert (site.calls, site.version) == ([], 1)


def test_a_rotation_that_begins_meanwhile_wins() -> None:
    """Its entry is written between our look at the journal and our intent: the check-and-set does not fit."""

    class Beginning(_Live):
        def read(self) -> Live:
            self.site.stored.write(PATH, UNDER_WAY, cas=0)
            return super().read()

    site = Site()
    with pytest.raises(SecretConflictError):
        destroy_key(site.keys(live=Beginning(site)), site, "1")
    assert (site.version, site.destroyed, site.entry) == (1, 0, UNDER_WAY)


def test_what_somebody_else_writes_meanwhile_stays_and_nothing_is_destroyed() -> None:
    site = Site()

    def meddles() -> None:
        if site.version == 1:
            site.live.write(Redacted({**SET, "by": "hand"}), cas=1)

    with pytest.raises(SecretConflictError, match="do it again"):
        destroy_key(site.keys(guard=meddles), site, "1")
    assert (site.version, site.destroyed, site.held()["by"]) == (2, 0, "hand")
    destroy_key(site.keys(), site, "1")
    assert (site.version, site.destroyed, site.held()["by"]) == (3, 2, "hand")


@pytest.mark.parametrize("allowed", [0, 1])
def test_a_lease_that_is_lost_ends_it_before_the_next_side_effect(allowed: int) -> None:
    site, asked = Site(), list[int]()

    def lost() -> None:
        asked.append(1)
        if len(asked) > allowed:
            raise SecretsUnavailableError("the lease is lost")

    with pytest.raises(SecretsUnavailableError, match="lease"):
        destroy_key(site.keys(guard=lost), site, "1")
    assert site.calls == ORDER[: 1 + allowed]


@pytest.mark.parametrize(
    ("data", "error", "said"),
    [
        (None, SecretNotFoundError, "no set of keys is live: write one"),
        ({"password": ONE}, SecretValidationError, "is missing"),
    ],
)
def test_what_is_no_set_of_keys_is_left_alone(data: Any, error: type[Exception], said: str) -> None:
    site = Site(data)
    for act in acts(site):
        with pytest.raises(error, match=said) as caught:
            act()
        assert ONE not in str(caught.value)
    assert site.calls == []


# ── on a real server ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


RULES = """
path "secret/data/team/keys" { capabilities = ["read", "update"] }
path "secret/data/elile-journal/team/keys" { capabilities = ["create", "read", "update"] }
"""
MORE = """
path "secret/metadata/team/keys" { capabilities = ["read"] }
path "secret/destroy/team/keys" { capabilities = ["update"] }
"""


def test_on_openbao_no_version_holds_a_key_that_was_destroyed(bao: Bao) -> None:
    client = VaultClient(VaultEndpoint(address=bao.address))

    def place(token: SecretStr) -> tuple[Keys, KVVersions]:
        session = VaultSession(client, TokenAuth(token))
        live = KVLive(KV2Backend(session, mount="secret"), session, mount="secret", path=PATH)
        versions = KVVersions(session, mount="secret", path=PATH)
        return Keys(path=PATH, live=live, journal=KVJournal(session), owner=OWNER), versions

    for _ in range(3):
        bao.write(PATH, SET)
    for name, rules in (("keys", RULES), ("destroys", RULES + MORE)):
        bao.call("PUT", f"sys/policies/acl/{name}", {"policy": rules})
    keys, versions = place(bao.token(policies=["default", "keys"]))
    assert versions.preflight() == (
        "the Vault policy of the rotator lacks read on secret/metadata/team/keys; update on secret/destroy/team/keys: "
        "allow it"
    )
    with pytest.raises(SecretAccessDeniedError, match="update on secret/destroy/team/keys"):
        destroy_key(keys, versions, "1")
    assert client.kv2_read(ROOT, mount="secret", path=PATH).version == 3
    keys, versions = place(bao.token(policies=["default", "destroys"]))
    assert versions.preflight() == ""
    for _ in range(2):
        destroy_key(keys, versions, "1")
    metadata = client.kv2_metadata(ROOT, mount="secret", path=PATH)
    assert {number: v.destroyed for number, v in metadata.versions.items()} == {1: True, 2: True, 3: True, 4: False}
    live = client.kv2_read(ROOT, mount="secret", path=PATH)
    assert EncryptionKeys.parse(live.data.reveal()).ids == ("2",)
    made = KeysetTarget().generate(live.data, 0).pending
    assert made is not None
    assert made.reveal()["primary"] == "3"  # its id is never another's
    client.close()
