"""What the sources of an object say, read in order up to the first that fails."""

import re
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.answers import EngineAnswer
from elile.secrets.errors import SecretMountNotFoundError, SecretsUnavailableError
from elile.secrets.redact import Redacted
from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.gathering import Gatherer, entry_of
from elile_operator.decide.access import SourceRead, plan_reads
from elile_operator.decide.violation import Violation
from elile_operator.kube.errors import KubeUnavailableError
from elile_operator.sources.identity import Identity
from elile_operator.sources.reads import Entry
from tests.unit.elile_operator.controllers.stage import DB, SERVER, Stage


def source(name: str, *, version: int | None = None, **more: Any) -> dict[str, Any]:
    kv = {"path": name} if version is None else {"path": name, "version": version}
    return {"name": name, "kv": kv, **more}


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(monkeypatch)
    stage.serve()
    stage.vault.write("db", password="p1")
    stage.vault.write("mail", user="u1")
    stage.vault.write("mail", user="u2")
    return stage


def gatherer(stage: Stage, *sources: dict[str, Any]) -> Gatherer:
    """For the ElileSecret `db` with these sources, subscribed to what they read."""
    stage.want(sources=list(sources))
    server, secret = stage.world.servers.get(SERVER), stage.world.secret(DB)
    assert isinstance(server, VaultServer)
    assert isinstance(secret, ElileSecret)
    stage.servers.link(server)
    plan = plan_reads(secret, server)
    reads = [read for read in plan if isinstance(read, SourceRead)]
    entries = {entry_of(read): frozenset({read.version} if read.version else ()) for read in reads}
    stage.reads.subscribe(DB, entries, interval=timedelta(minutes=1))
    return Gatherer(stage.reads, stage.holdings, secret, plan, server.spec.address, stage.clock.now)


def test_the_entry_of_a_read(stage: Stage) -> None:
    (read,) = gatherer(stage, source("db")).plan
    assert entry_of(read) == Entry(Identity("default", "elile", "shop", "default"), "secret", "db")


async def test_the_same_path_in_a_namespace_is_another_entry(stage: Stage) -> None:
    for password in ("of the team once", "of the team"):
        stage.vault.write("db", mount="team-a/secret", password=password)
    root = gatherer(stage, source("db"))
    inside = replace(root, plan=[replace(root.plan[0], vault_namespace="team-a")])
    assert entry_of(inside.plan[0]) != entry_of(root.plan[0])
    stage.reads.subscribe(DB, {entry_of(inside.plan[0]): frozenset()}, interval=timedelta(minutes=1))
    got = await inside.values()
    assert not isinstance(got, Violation)
    statuses, contents = got
    assert statuses == (SourceStatus(name="db", path="team-a/secret/db", version=2),)
    assert contents[0].content is not None
    assert contents[0].content.reveal() == {"password": "of the team"}
    await stage.clock.advance(1.0)
    assert await inside.versions(max_age=0.0) == statuses


async def test_versions(stage: Stage) -> None:
    found = await gatherer(stage, source("db"), source("mail"), source("pinned", version=1)).versions(max_age=60.0)
    assert isinstance(found, Violation), "the third is not there"
    found = await gatherer(stage, source("db"), source("mail")).versions(max_age=60.0)
    assert found == (
        SourceStatus(name="db", path="secret/db", version=1),
        SourceStatus(name="mail", path="secret/mail", version=2),
    )
    assert stage.vault.count("read") == 0


async def test_values(stage: Stage) -> None:
    got = await gatherer(stage, source("db"), source("mail", version=1)).values()
    assert not isinstance(got, Violation)
    statuses, contents = got
    assert [s.version for s in statuses] == [1, 1]
    assert [(c.source.name, c.content.reveal() if c.content else None) for c in contents] == [
        ("db", {"password": "p1"}),
        ("mail", {"user": "u1"}),
    ]
    assert {c.on_behalf_of for c in stage.vault.calls if c.operation == "read"} == {"shop/db"}


@pytest.mark.parametrize("what", ["versions", "values"])
async def test_the_first_that_fails_ends_it(stage: Stage, what: str) -> None:
    gathering = gatherer(stage, source("missing"), source("db"))
    got = await (gathering.values() if what == "values" else gathering.versions(max_age=60.0))
    assert isinstance(got, Violation)
    assert (got.reason, "spec.sources[missing]" in got.message) == (Reason.PATH_NOT_FOUND, True)
    assert [c.path for c in stage.vault.calls if c.operation in ("read", "metadata")] == ["missing"]


@pytest.mark.parametrize("what", ["versions", "values"])
async def test_an_optional_source_may_be_missing(stage: Stage, what: str) -> None:
    gathering = gatherer(stage, source("missing", optional=True), source("db"))
    if what == "versions":
        statuses = await gathering.versions(max_age=60.0)
    else:
        got = await gathering.values()
        assert not isinstance(got, Violation)
        statuses = got[0]
        assert [c.content is None for c in got[1]] == [True, False]
    assert statuses == (
        SourceStatus(name="missing", path="secret/missing", version=None),
        SourceStatus(name="db", path="secret/db", version=1),
    )


@pytest.mark.parametrize("what", ["versions", "values"])
async def test_an_optional_source_may_be_deleted(stage: Stage, what: str) -> None:
    stage.vault.delete("db", 1)
    gathering = gatherer(stage, source("db", optional=True))
    got = await (gathering.values() if what == "values" else gathering.versions(max_age=60.0))
    assert not isinstance(got, Violation)


@pytest.mark.parametrize("what", ["versions", "values"])
@pytest.mark.parametrize(
    ("optional", "failure", "reason"),
    [
        pytest.param(source("db", version=9, optional=True), None, Reason.VERSION_NOT_FOUND, id="version"),
        pytest.param(
            source("db", optional=True),
            SecretMountNotFoundError("nothing is mounted there", path="secret/data/db"),
            Reason.MOUNT_NOT_FOUND,
            id="mount",
        ),
        pytest.param(
            source("db", optional=True),
            SecretsUnavailableError("answered 500"),
            Reason.VAULT_UNREACHABLE,
            id="no answer",
        ),
    ],
)
async def test_optional_excuses_no_mistake(
    stage: Stage, what: str, optional: dict[str, Any], failure: Any, reason: Reason
) -> None:
    if failure is not None:
        stage.vault.failing = {"metadata": failure, "read": failure}
    gathering = gatherer(stage, optional)
    got = await (gathering.values() if what == "values" else gathering.versions(max_age=60.0))
    assert isinstance(got, Violation)
    assert got.reason is reason


async def test_without_an_identity_its_violation_is_the_answer(stage: Stage) -> None:
    stage.tokens.accounts.clear()
    got = await gatherer(stage, source("db", optional=True)).values()
    assert got == Violation(Reason.SERVICE_ACCOUNT_NOT_FOUND, "the ServiceAccount does not exist")


async def test_an_api_server_that_is_away_is_no_answer_about_a_source(stage: Stage) -> None:
    stage.tokens.failure = KubeUnavailableError("POST token")
    with pytest.raises(KubeUnavailableError):
        await gatherer(stage, source("db")).values()


# ── what is made, and what ends ──────────────────────────────────────────────────────────────────────────────────────

GENERATED = {"name": "made", "generate": {"kv": {"path": "made"}, "keys": {"password": {"hex": {"size": 16}}}}}
CREDS = "database/creds/shop"
LEASED = {"name": "dyn", "lease": {"path": CREDS}}


def leased(stage: Stage) -> None:
    stage.vault.engines[CREDS] = lambda number: EngineAnswer(
        Redacted({"username": f"u{number}"}), f"{CREDS}/{number}", 100.0, True
    )


async def test_what_nobody_has_made_is_made_once(stage: Stage) -> None:
    found = gatherer(stage, GENERATED)
    assert await found.versions(max_age=60.0) == (SourceStatus(name="made", path="secret/made"),)
    read = await found.values()
    assert not isinstance(read, Violation)
    (status,), (content,) = read
    assert status == SourceStatus(name="made", path="secret/made", version=1)
    assert content.content is not None
    assert re.fullmatch("[0-9a-f]{32}", content.content.reveal()["password"])
    again = await found.values()
    assert not isinstance(again, Violation)
    assert again[1][0].content == content.content
    assert stage.vault.count("write") == 1
    assert await found.versions(max_age=60.0) == (status,)


async def test_what_somebody_else_made_first_is_taken(stage: Stage) -> None:
    found = gatherer(stage, GENERATED)
    create = stage.reads.create

    async def late(*args: Any, **kwargs: Any) -> None:
        stage.vault.write("made", password="theirs")
        await create(*args, **kwargs)

    stage.reads.create = late  # type: ignore[method-assign]
    read = await found.values()
    assert not isinstance(read, Violation)
    assert read[1][0].content is not None
    assert read[1][0].content.reveal() == {"password": "theirs"}


async def test_what_somebody_deleted_is_not_made_again(stage: Stage) -> None:
    stage.vault.write("made", password="p")
    stage.vault.delete("made", 1)
    found = await gatherer(stage, GENERATED).values()
    assert isinstance(found, Violation)
    assert found.reason is Reason.VERSION_DELETED
    assert stage.vault.count("write") == 0


async def test_who_may_not_write_is_told(stage: Stage) -> None:
    stage.vault.denied.add(("write", "secret/data/made"))
    found = await gatherer(stage, GENERATED).values()
    assert found == Violation(
        Reason.PERMISSION_DENIED,
        "VaultServer 'default' does not let ServiceAccount shop/default with role 'elile' read or create "
        "secret/data/made; allow it in the role's policy, or correct spec.sources[made].generate.kv.path",
    )


async def test_a_lease_that_an_earlier_process_delivered_stands_until_it_is_due(stage: Stage) -> None:
    leased(stage)
    end = stage.clock.now() + timedelta(seconds=100)
    delivered = SourceStatus(name="dyn", path=CREDS, lease_expires=end)
    found = gatherer(stage, LEASED)
    due = stage.clock.now() + timedelta(seconds=60)
    status = ElileSecretStatus(sources=(delivered,), next_refresh_time=due)
    found = replace(found, secret=found.secret.model_copy(update={"status": status}))
    assert await found.versions(max_age=60.0) == (delivered,)
    await stage.clock.advance(60.0)
    assert await found.versions(max_age=60.0) == (SourceStatus(name="dyn", path=CREDS),), "so it is taken anew"
    assert stage.vault.count("ask") == 0
    read = await found.values()
    assert not isinstance(read, Violation)
    assert read[0] == (SourceStatus(name="dyn", path=CREDS, lease_expires=stage.clock.now() + timedelta(seconds=100)),)
    assert await found.versions(max_age=60.0) == read[0]


async def test_a_lease_of_another_path_does_not_stand(stage: Stage) -> None:
    end = stage.clock.now() + timedelta(seconds=100)
    delivered = SourceStatus(name="dyn", path="database/creds/other", lease_expires=end)
    found = gatherer(stage, LEASED)
    status = ElileSecretStatus(sources=(delivered,), next_refresh_time=end)
    found = replace(found, secret=found.secret.model_copy(update={"status": status}))
    assert await found.versions(max_age=60.0) == (SourceStatus(name="dyn", path=CREDS),)


async def test_a_lease_that_is_refused_is_explained(stage: Stage) -> None:
    stage.vault.denied.add(("ask", CREDS))
    leased(stage)
    assert await gatherer(stage, LEASED).values() == Violation(
        Reason.PERMISSION_DENIED,
        "VaultServer 'default' does not let ServiceAccount shop/default with role 'elile' ask for database/creds/shop; "
        "allow it in the role's policy, or correct spec.sources[dyn].lease.path",
    )


async def test_what_tells_by_version(stage: Stage) -> None:
    assert gatherer(stage, source("db"), LEASED, GENERATED).tells_by_version
    assert not gatherer(stage, source("db"), {"name": "v1", "kv": {"path": "a", "engine": "v1"}}).tells_by_version
    assert not gatherer(stage, {"name": "static", "read": {"path": "database/static-creds/a"}}).tells_by_version


async def test_numbers_of_what_has_no_versions_are_not_told(stage: Stage) -> None:
    stage.vault.write("a", a="1")
    found = gatherer(stage, {"name": "v1", "kv": {"path": "a", "engine": "v1"}})
    assert await found.versions(max_age=60.0) == (SourceStatus(name="v1", path="secret/a"),)
