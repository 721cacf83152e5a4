"""The engine over a real OpenBao: whose rotation it is, what a second owner sees, and what is left of the values."""

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from elile.secrets import DatabaseCredentials, SecretRotator, VaultConfig, VaultSecretsManager
from elile.secrets.errors import SecretAccessDeniedError, SecretConflictError, SecretsError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation import RotationStatus
from elile.secrets.rotation.drivers.postgresql import PostgreSQLEndpoint
from elile.secrets.rotation.egress import Dialer, EgressRule
from elile.secrets.rotation.engine import End, Engine, Parts
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import TERMINAL, Journal, JournalEntry, Owner, Phase, Reason, Strategy
from elile.secrets.rotation.journal_kv import PREFIX, KVJournal
from elile.secrets.rotation.live_kv import KVLive
from elile.secrets.rotation.policy import Command, CommandKind, Policy, Request
from elile.secrets.rotation.steps import Delivered, Finished, NeedsPerson, Proofs, Wait
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.postgresql import PostgreSQLTarget
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.rotation.verify.outcome import Verification
from elile.secrets.vault_backend import KV2Backend
from elile.secrets.vault_session import VaultSession
from lab.postgresql import PostgreSQL
from tests.fakes.accounts import Accounts
from tests.services.servers import Secured
from tests.support.openbao import ROOT, Bao, running
from tests.support.rotation_process import session

CANARY = "canary-9d21c7"
OWNER = Owner("cluster", "team", "db", "uid-1")
PATH = "team/db"


class Readers:
    def deliver(self, value: Any, live_version: int) -> Delivered:
        return Delivered.DONE

    def proofs(self, value: Any, live_version: int) -> Proofs:
        return Proofs.PROVED


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


class Site:
    """One path of a mount of its own, its accounts, and a clock."""

    def __init__(self, bao: Bao, login: VaultSession, mount: str) -> None:
        self.bao, self.login, self.mount = bao, login, mount
        self.now = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
        self.accounts = Accounts({"shop_a": SecretStr(CANARY), "shop_b": None})
        self.journal = KVJournal(login, mount=mount)
        self.entries: list[JournalEntry] = []
        bao.write(PATH, {"username": "shop_a", "password": CANARY}, mount=mount)

    def run(self, owner: Owner = OWNER, label: str = "1", *, hook: str = "", **changes: Any) -> End:
        hooks = [Hook(name="asked", check=lambda _: Verification.failed("no"))] if hook == "fails" else []
        parts = Parts(
            path=PATH,
            journal_id="test",
            journal=self.journal,
            live=KVLive(KV2Backend(self.login, mount=self.mount), self.login, mount=self.mount, path=PATH),
            target=self.accounts,
            consumers=Readers(),
            hooks=hooks,
            negative=True,
        )
        engine = Engine(parts, now=lambda: self.now, on_record=self.entries.append)
        policy = Policy(owner=owner, strategy=Strategy.DUAL_USER, request=Request(f"id-{label}", label))
        return engine.run(lambda: replace(policy, **changes))

    def entry(self) -> JournalEntry:
        found = self.journal.read(PATH).entry
        assert found is not None
        return found

    def live(self) -> Any:
        return self.bao.call("GET", f"{self.mount}/data/{PATH}")["data"]


@pytest.fixture
def site(bao: Bao, request: pytest.FixtureRequest) -> Iterator[Site]:
    mount = f"kv{abs(hash(request.node.name))}"
    bao.call("POST", f"sys/mounts/{mount}", {"type": "kv", "options": {"version": "2"}})
    login = session(bao.address)
    for _ in range(100):  # a mount turns itself into version 2 for a moment
        try:
            bao.call("GET", f"{mount}/config")
            break
        except AssertionError:
            threading.Event().wait(0.02)
    yield Site(bao, login, mount)
    login.close(revoke=False)


def test_a_rotation_from_its_beginning_to_its_end(site: Site) -> None:
    waits = site.run()
    assert isinstance(waits, Wait)
    assert waits.reason is Reason.IN_GRACE
    assert site.live()["data"]["username"] == "shop_b"
    site.now = waits.until
    assert site.run() == Finished(Phase.DONE, Reason.NONE)
    assert site.accounts.passwords["shop_a"] is None
    assert site.run() == Finished(Phase.DONE, Reason.NONE)  # the same occurrence again
    assert site.live()["metadata"]["version"] == 2


def test_a_second_owner_changes_nothing_whatever_the_first_one_is_at(site: Site) -> None:
    site.run()
    before = site.journal.read(PATH)
    for other in (Owner("cluster", "other", "db", "uid-9"), Owner("elsewhere", "team", "db", "uid-1")):
        end = site.run(other, "other")
        assert end == Finished(Phase.GRACE, Reason.MANAGED_ELSEWHERE, "team/db")
    after = site.journal.read(PATH)
    assert (after.version, after.entry) == (before.version, before.entry)


def test_of_two_owners_that_begin_together_one_rotates(site: Site) -> None:
    ends: dict[str, object] = {}
    together = threading.Barrier(4)

    def begin(name: str) -> None:
        owner = Owner("cluster", name, "db", "uid")
        together.wait()
        for _ in range(20):
            try:
                ends[name] = site.run(owner, name)
                return
            except SecretsError as e:
                ends[name] = e

    threads = [threading.Thread(target=begin, args=(f"team-{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    winner = site.entry().owner.namespace
    assert isinstance(ends.pop(winner), Wait)
    assert {getattr(end, "reason", end) for end in ends.values()} == {Reason.MANAGED_ELSEWHERE}
    assert site.live()["metadata"]["version"] == 2
    assert [entry.rotation_id for entry in site.entries if entry.phase is Phase.PROMOTED][-1] == f"id-{winner}"


def test_an_owner_that_was_made_again_goes_on_and_orphans_nothing(site: Site) -> None:
    site.run()
    again = replace(OWNER, uid="uid-2")
    assert isinstance(site.run(again, "another"), Wait)
    assert site.entry().owner == again
    site.now += timedelta(hours=2)
    assert isinstance(site.run(again, "another"), Wait)  # the first one ended, and the other one is in its grace
    site.now += timedelta(hours=2)
    assert site.run(again, "another") == Finished(Phase.DONE, Reason.NONE)
    assert [past.occurrence for past in site.entry().history] == ["1", "another"]
    assert site.accounts.passwords["shop_b"] is None
    assert site.accounts.passwords["shop_a"] is not None


def test_a_status_from_a_backup_causes_nothing(site: Site) -> None:
    site.run()
    site.now += timedelta(hours=2)
    site.run()
    version = site.journal.read(PATH).version
    for remembered in (None, *Phase):
        assert site.run(remembered=remembered) == Finished(Phase.DONE, Reason.NONE)
    assert site.journal.read(PATH).version == version


def test_a_journal_that_somebody_deleted_calls_a_person(site: Site) -> None:
    site.run()
    site.bao.call("DELETE", f"{site.mount}/metadata/{PREFIX}/{PATH}")
    assert site.run(remembered=Phase.GRACE) == NeedsPerson(Reason.JOURNAL_LOST)
    site.bao.call("POST", f"{site.mount}/data/{PREFIX}/{PATH}", {"data": {"schema": 99}})
    end = site.run()
    assert isinstance(end, NeedsPerson)
    assert (end.reason, "schema 99" in end.detail) == (Reason.JOURNAL_FORMAT, True)


def test_a_rollback_needs_no_old_version_of_the_live_path(site: Site) -> None:
    """Row 29: the old version is gone for ever, by hand or by max_versions, and the journal has the value."""
    site.run()
    site.bao.call("PUT", f"{site.mount}/destroy/{PATH}", {"versions": [1]})
    end = site.run(command=Command(CommandKind.ROLL_BACK, "person/1"))
    assert end == Finished(Phase.ROLLED_BACK, Reason.BY_PERSON)
    assert site.live()["data"] == {"username": "shop_a", "password": CANARY}
    assert site.accounts.passwords["shop_b"] is None


@pytest.mark.parametrize(("kept", "refused"), [(1, True), (2, True), (3, False), (0, False)])
def test_a_path_that_keeps_too_few_versions_is_refused_first(site: Site, kept: int, refused: bool) -> None:
    site.bao.call("POST", f"{site.mount}/metadata/{PATH}", {"max_versions": kept})
    end = site.run()
    assert (getattr(end, "reason", None) is Reason.PREFLIGHT) == refused
    if refused:
        assert isinstance(end, Finished)
        assert "max_versions" in end.detail
        assert site.journal.read(PATH) == Journal(None, 0)


def test_a_policy_that_lacks_something_is_told_before_anything_is_done(site: Site) -> None:
    rules = f"""
        path "{site.mount}/data/{PATH}" {{ capabilities = ["read", "update"] }}
        path "{site.mount}/data/{PREFIX}/{PATH}" {{ capabilities = ["create", "read", "update"] }}
        path "{site.mount}/metadata/{PREFIX}/{PATH}" {{ capabilities = ["read"] }}
    """
    destroy = f'path "{site.mount}/destroy/{PREFIX}/{PATH}" {{ capabilities = ["update"] }}'
    look_up = '\npath "auth/token/lookup-self" { capabilities = ["read"] }'  # a login with a token needs it
    for policy, text in (("lacking", rules), ("enough", rules + destroy + look_up)):
        site.bao.call("PUT", f"sys/policies/acl/{site.mount}-{policy}", {"policy": text})
    root = site.login
    for policy, reason in (("lacking", Reason.PREFLIGHT), ("enough", Reason.IN_GRACE)):
        # Without `default` a token may not ask what it may do, and a rotation begins all the same.
        token = site.bao.token(policies=[f"{site.mount}-{policy}"], no_default_policy=policy == "enough")
        site.login = session(site.bao.address, token)
        site.journal = KVJournal(site.login, mount=site.mount)
        end = site.run()
        assert getattr(end, "reason", None) is reason
        if isinstance(end, Finished):
            assert f"update on {site.mount}/destroy/{PREFIX}/{PATH}" in end.detail
        site.login.close(revoke=False)
    site.login = root


def test_no_value_is_left_anywhere_after_the_end(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    """I11 and I12: logs, errors, history and every version of the journal, after each way to end."""
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    for label, hook, command in (
        ("done", "", None),
        ("aborted", "fails", None),
        ("back", "", Command(CommandKind.ROLL_BACK, "person/1")),
    ):
        site.entries.clear()
        end = site.run(label=label, hook=hook)
        if isinstance(end, Wait):
            site.now += timedelta(hours=2)
            end = site.run(label=label, command=command)
        assert isinstance(end, Finished)
        assert end.phase in TERMINAL
        secrets = {
            held.reveal()["password"]
            for entry in site.entries
            for held in (entry.pending, entry.previous)
            if held is not None
        }
        assert len(secrets) == 2
        told += [repr(site.entries), str(end), str(site.entry().history)]
        where = f"{site.mount}/metadata/{PREFIX}/{PATH}"
        versions = site.bao.call("GET", where)["data"]["versions"]
        for number, state in versions.items():
            if not state["destroyed"]:
                read = site.bao.call("GET", f"{site.mount}/data/{PREFIX}/{PATH}?version={number}")
                told.append(str(read))
        everything = caplog.text + "".join(told)
        assert all(secret not in everything for secret in secrets)


def test_a_conflict_is_an_error_without_a_value(site: Site) -> None:
    site.run()
    entry = site.entry()
    with pytest.raises(SecretConflictError) as caught:
        site.journal.write(PATH, entry, cas=1)
    assert CANARY not in f"{caught.value!r} {caught.value}"


async def test_a_rotator_with_a_vault_manager(bao: Bao) -> None:
    bao.write("elile/providers/maps", {"api_key": CANARY})
    manager = VaultSecretsManager(VaultConfig(address=bao.address, auth="token", token=ROOT))
    async with manager, SecretRotator(manager) as rotator:
        result = await rotator.rotate_api_key("elile/providers/maps", lambda value: len(value["api_key"]) > 20)
        assert result.status is RotationStatus.ROTATED
        assert (await manager.get_secret("elile/providers/maps"))["api_key"] != SecretStr(CANARY)
        assert (await rotator.rotate_api_key("elile/providers/maps", lambda _: False)).status is RotationStatus.ABORTED
        assert len(await rotator.history("elile/providers/maps")) == 2
    bao.call("POST", "secret/metadata/elile/providers/maps", {"custom_metadata": {"managed-by": "team/shop-db"}})
    other = VaultSecretsManager(VaultConfig(address=bao.address, auth="token", token=ROOT))
    async with other, SecretRotator(other) as rotator:
        with pytest.raises(SecretsError, match="team/shop-db"):
            await rotator.rotate_api_key("elile/providers/maps")


async def test_a_rotator_whose_policy_forbids_says_what_is_missing(bao: Bao) -> None:
    bao.write("elile/providers/bank", {"api_key": CANARY})
    bao.call("PUT", "sys/policies/acl/reader", {"policy": 'path "secret/data/elile/*" { capabilities = ["read"] }'})
    token = bao.token(policies=["reader", "default"])
    manager = VaultSecretsManager(VaultConfig(address=bao.address, auth="token", token=token))
    async with manager, SecretRotator(manager) as rotator:
        with pytest.raises(SecretAccessDeniedError, match=PREFIX):
            await rotator.rotate_api_key("elile/providers/bank")


async def test_a_login_at_postgresql_from_its_rotation_to_its_end(
    bao: Bao, postgresql_tls: Secured[PostgreSQL], caplog: pytest.LogCaptureFixture
) -> None:
    """SecretRotator over OpenBao and a real database: both users work in the grace, one of them before and after."""
    caplog.set_level(logging.DEBUG)
    server = postgresql_tls.server
    server.sql(
        "CREATE ROLE whole_steward LOGIN CREATEROLE PASSWORD 'steward'; CREATE ROLE whole_owner;"
        "CREATE ROLE whole_a LOGIN PASSWORD 'first-password'; CREATE ROLE whole_b;"
        "GRANT whole_owner TO whole_a, whole_b;"
        "ALTER ROLE whole_a SET role TO whole_owner; ALTER ROLE whole_b SET role TO whole_owner;"
        "GRANT CONNECT ON DATABASE postgres TO whole_steward, whole_a, whole_b"
    )
    where = {"host": "127.0.0.1", "port": server.port, "database": "postgres"}
    bao.write("elile/database/whole", {**where, "username": "whole_a", "password": "first-password"})
    admin = {"username": "whole_steward", "password": "steward", "allowed_users": ["whole_a", "whole_b"], **where}
    target = PostgreSQLTarget(
        endpoint=PostgreSQLEndpoint(**where, ca_pem=postgresql_tls.ca_pem),
        admin=AdminEntry.parse(admin),
        users=["whole_a", "whole_b"],
        generator=password(),
        dialer=Dialer([EgressRule.of(cidr="127.0.0.1/32", ports=[server.port])]),
    )

    def works(found: DatabaseCredentials) -> bool:
        login = {"user": found.username, "password": found.password.reveal()}
        with psycopg.connect(**login, host=found.host, port=found.port, dbname=found.database) as connection:
            return connection.execute("SELECT current_user").fetchone() == ("whole_owner",)

    manager = VaultSecretsManager(VaultConfig(address=bao.address, auth="token", token=ROOT))
    async with manager, SecretRotator(manager, retry=timedelta(seconds=0.1)) as rotator:
        path = "elile/database/whole"
        old = await manager.get_database_credentials(path)
        result = await rotator.rotate_database_credentials(path, target, works, grace=timedelta(seconds=1))
        assert (result.status, result.reason) == (RotationStatus.PENDING, Reason.IN_GRACE)
        new = await manager.get_database_credentials(path)
        assert (new.username, works(old), works(new)) == ("whole_b", True, True)
        deadline = time.monotonic() + 30
        while not (ended := await rotator.resume())[0].ok:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        assert ended[0].to_version == 2
        assert works(new)
        with pytest.raises(psycopg.OperationalError):
            works(old)
        refused = await rotator.rotate_database_credentials(path, target, lambda _: False)
        assert refused.status is RotationStatus.ABORTED
        assert works(new)
    for secret in (old.password.reveal(), new.password.reveal()):
        assert secret not in f"{caplog.text} {result} {ended} {refused}"
