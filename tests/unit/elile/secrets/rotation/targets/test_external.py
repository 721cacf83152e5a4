"""The target whose values others make: what is taken from the inbox, and what is left there."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretMountNotFoundError,
    SecretsConfigurationError,
    SecretsUnavailableError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.inbox_kv import PREFIX, KVInbox
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.steps import Generated
from elile.secrets.rotation.targets.external import ExternalTarget
from elile.secrets.rotation.verify.outcome import Outcome
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_session import TokenAuth, VaultSession
from tests.support.openbao import ROOT, Bao, running

LIVE: Value = Redacted({"username": "app", "password": "canary-old"})


@dataclass
class Inbox:
    """An inbox in memory; `fails` is raised instead of an answer."""

    version: int = 0
    data: dict[str, Any] = field(default_factory=dict)
    fails: Exception | None = None
    where: str = "secret/elile-journal-inbox/db"

    def read(self) -> tuple[int, Value] | None:
        if self.fails is not None:
            raise self.fails
        return (self.version, Redacted(self.data)) if self.version else None

    def destroy(self, version: int) -> None:
        raise AssertionError("the engine does that")


NEW = Inbox(3, {"password": "canary-new"})


def test_what_is_newer_than_the_last_taken_replaces_its_keys() -> None:
    made = ExternalTarget(NEW).generate(LIVE, 2)
    assert made == Generated(Redacted({"username": "app", "password": "canary-new"}), inbox_version=3)
    both = Inbox(1, {"username": "app2", "password": "canary-new"})
    assert ExternalTarget(both).generate(LIVE, 0).pending == Redacted(both.data)


@pytest.mark.parametrize(("inbox", "taken"), [(Inbox(), 0), (NEW, 3), (NEW, 4)])
def test_what_was_taken_is_not_taken_again(inbox: Inbox, taken: int) -> None:
    assert ExternalTarget(inbox).generate(LIVE, taken) == Generated(None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"pasword": "canary-new", "x": "y"}, "holds 'pasword', 'x', which the live entry has not: write keys of"),
        ({}, "holds an entry without keys: write those that change"),
    ],
)
def test_what_does_not_fit_the_live_entry_is_refused_and_told_beforehand(data: dict[str, str], said: str) -> None:
    target = ExternalTarget(Inbox(1, data))
    with pytest.raises(SecretsConfigurationError) as caught:
        target.generate(LIVE, 0)
    assert said in str(caught.value)
    assert "canary" not in str(caught.value)
    assert target.preflight(LIVE) == str(caught.value)


@pytest.mark.parametrize("inbox", [Inbox(), NEW])
def test_an_inbox_that_is_empty_or_fits_is_no_problem(inbox: Inbox) -> None:
    assert ExternalTarget(inbox).preflight(LIVE) == ""


@pytest.mark.parametrize("error", [SecretAccessDeniedError("denied"), SecretMountNotFoundError("denied")])
def test_an_inbox_that_cannot_be_read_is_told_beforehand(error: Exception) -> None:
    said = ExternalTarget(Inbox(fails=error)).preflight(LIVE)
    assert said == "the inbox secret/elile-journal-inbox/db cannot be read (denied): grant read on it"


def test_an_outage_says_nothing_about_the_inbox() -> None:
    with pytest.raises(SecretsUnavailableError):
        ExternalTarget(Inbox(fails=SecretsUnavailableError("away"))).preflight(LIVE)


def test_hooks_judge_what_others_made() -> None:
    target = ExternalTarget(NEW)
    assert (target.strategy, target.verify(LIVE, timeout=1).outcome) == (Strategy.EXTERNAL, Outcome.PASSED)


# ── the inbox on a real server ───────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


@pytest.fixture
def client(bao: Bao) -> Iterator[VaultClient]:
    made = VaultClient(VaultEndpoint(address=bao.address))
    yield made
    made.close()


def inbox(client: VaultClient, path: str, *, token: SecretStr = ROOT, mount: str = "secret") -> KVInbox:
    return KVInbox(VaultSession(client, TokenAuth(token)), mount=mount, path=path)


def test_on_openbao_what_was_taken_is_destroyed_and_later_versions_stay(bao: Bao, client: VaultClient) -> None:
    box, where = inbox(client, "taken"), f"{PREFIX}/taken"
    assert box.where == f"secret/{where}" == "secret/elile-journal-inbox/taken"
    assert box.read() is None
    box.destroy(1)
    for number in range(3):
        bao.write(where, {"password": f"canary-{number}"})
    assert box.read() == (3, Redacted({"password": "canary-2"}))
    for _ in range(2):
        box.destroy(2)
    versions = bao.call("GET", f"secret/metadata/{where}")["data"]["versions"]
    assert {number: v["destroyed"] for number, v in versions.items()} == {"1": True, "2": True, "3": False}
    assert box.read() == (3, Redacted({"password": "canary-2"}))
    box.destroy(3)
    assert box.read() is None
    bao.write(where, {"password": "canary-3"})
    assert box.read() == (4, Redacted({"password": "canary-3"}))


def test_on_openbao_a_deleted_value_is_none_and_can_be_destroyed(bao: Bao, client: VaultClient) -> None:
    box, where = inbox(client, "deleted"), f"{PREFIX}/deleted"
    bao.write(where, {"password": "canary"})
    bao.call("DELETE", f"secret/data/{where}")
    assert box.read() is None
    box.destroy(1)
    assert bao.call("GET", f"secret/metadata/{where}")["data"]["versions"]["1"]["destroyed"]


def test_on_openbao_who_may_not_is_told_so(bao: Bao, client: VaultClient) -> None:
    bao.write(f"{PREFIX}/closed", {"password": "canary"})
    stranger = inbox(client, "closed", token=bao.token(policies=["default"]))
    for ask in (stranger.read, lambda: stranger.destroy(1)):
        with pytest.raises(SecretAccessDeniedError):
            ask()
    nowhere = inbox(client, "closed", mount="nowhere")
    for ask in (nowhere.read, lambda: nowhere.destroy(1)):
        with pytest.raises(SecretMountNotFoundError):
            ask()
