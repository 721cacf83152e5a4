"""What the sources of an object say, read in order up to the first that fails."""

from typing import Any

import pytest

from elile.secrets.errors import SecretMountNotFoundError, SecretsUnavailableError
from elile_operator.api.elilesecret import ElileSecret, SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.gathering import Gatherer, entry_of
from elile_operator.decide.access import plan_reads
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
    from datetime import timedelta

    stage.want(sources=list(sources))
    server, secret = stage.world.servers.get(SERVER), stage.world.secret(DB)
    assert isinstance(server, VaultServer)
    assert isinstance(secret, ElileSecret)
    stage.servers.link(server)
    plan = plan_reads(secret, server)
    entries = {entry_of(read): frozenset({read.version} if read.version else ()) for read in plan}
    stage.reads.subscribe(DB, entries, interval=timedelta(minutes=1))
    return Gatherer(stage.reads, secret, plan, server.spec.address)


def test_the_entry_of_a_read(stage: Stage) -> None:
    (read,) = gatherer(stage, source("db")).plan
    assert entry_of(read) == Entry(Identity("default", "elile", "shop", "default"), "secret", "db")


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
