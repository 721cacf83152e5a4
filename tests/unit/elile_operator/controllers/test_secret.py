"""One pass through an ElileSecret, from what sources and cluster say to what is written, poked and told."""

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretsUnavailableError
from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation
from elile_operator.engine import Following, Result
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeConflictError, KubeUnavailableError
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, PODS, SECRETS, VAULT_SERVERS
from tests.fakes.api import elile_secret, pod, secret
from tests.unit.elile_operator.controllers.secret_stage import SecretStage as Stage
from tests.unit.elile_operator.controllers.stage import DB, SERVER, encoded

AWAY = Violation(Reason.VAULT_UNREACHABLE, "VaultServer 'default' does not answer")
NOT_BOUND = (
    "the operator has no rights to the Secrets and ServiceAccounts of namespace 'shop'; give them: "
    "kubectl -n shop create rolebinding elile-deliver --clusterrole=elile-deliver "
    "--serviceaccount=elile-system:elile-operator"
)
LOOK_AGAIN = Result.after(timedelta(seconds=30))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(monkeypatch)
    stage.serve()
    stage.vault.write("db", password="p1")
    return stage


# ── the first delivery ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_new_object_is_read_written_and_told(stage: Stage) -> None:
    stage.want()
    assert await stage.look() == Result.done()
    assert stage.calls() == ["apply secrets db", "status elilesecrets db", "read db"]
    assert stage.data() == {"password": "p1"}
    meta = stage.secret()["metadata"]
    assert meta["labels"] == {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "db"}
    assert meta["annotations"]["elile.io/revision"] == "1"
    assert [(o["kind"], o["name"], o["uid"]) for o in meta["ownerReferences"]] == [("ElileSecret", "db", "uid-db")]
    status = stage.status()
    assert {k: v for k, v in status.items() if k not in ("conditions", "consumers")} == {
        "observedGeneration": 1,
        "revision": 1,
        "keys": ["password"],
        "secretName": "db",
        "server": "default",
        "sources": [{"name": "db", "path": "secret/db", "version": 1}],
        "lastChangeTime": "2030-01-01T00:00:00Z",
    }
    assert (stage.says("Ready"), stage.says("Synced"), stage.says("Stalled")) == (
        "True Synced",
        "True Synced",
        "False Synced",
    )
    assert stage.events.told == [("ElileSecret db", "Synced", "revision 1: Secret db holds 1 key of 1 source", False)]
    assert stage.written == ["created"]


async def test_what_was_just_written_wakes_nobody(stage: Stage) -> None:
    stage.wakeups.connect()
    stage.want()
    stage.due()
    await stage.look()
    for resource in (SECRETS, ELILE_SECRETS):
        body = stage.kube.find(resource, "shop", "db")
        assert body is not None
        stage.observe(resource, body)  # the watch's echo
    assert stage.due() == []


async def test_objects_that_read_the_same_share_it(stage: Stage) -> None:
    for name in ("db", "copy"):
        stage.want(name, uid=f"uid-{name}")
        await stage.look(name)
    assert stage.vault.count("read") == 1
    assert stage.data("copy") == {"password": "p1"}


# ── nothing changed ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_what_is_unchanged_costs_no_call_at_all(stage: Stage) -> None:
    await stage.delivered()
    for _ in range(3):
        assert await stage.look() == Result.done()
    assert stage.calls() == []
    assert (stage.events.told, stage.written) == ([], [])


async def test_after_a_restart_versions_prove_what_is_delivered(monkeypatch: pytest.MonkeyPatch, stage: Stage) -> None:
    await stage.delivered()
    again = Stage(monkeypatch)
    again.serve()
    again.vault.write("db", password="p1")
    for resource in (ELILE_SECRETS, SECRETS):
        body = stage.kube.find(resource, "shop", "db")
        assert body is not None
        again.put(resource, body)
    assert await again.look() == Result.done()
    assert again.calls() == ["metadata db"]
    assert again.data() == {"password": "p1"}


async def test_the_same_version_in_another_vault_is_read_and_delivered(stage: Stage) -> None:
    await stage.delivered()
    stage.servers.identify("default", "c-1")
    await stage.look()
    assert stage.status()["clusterID"] == "c-1"
    stage.vault.remove("db")
    stage.vault.write("db", password="of the other one")
    stage.servers.identify("default", "c-2")
    stage.reads.look_again("default")
    await stage.look()
    assert stage.data() == {"password": "of the other one"}
    assert stage.status()["clusterID"] == "c-2"


# ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_change_in_the_second_in_which_the_secret_was_made_counts_as_later(stage: Stage) -> None:
    await stage.delivered()
    assert stage.status()["lastChangeTime"] == "2030-01-01T00:00:00Z"
    stage.vault.write("db", password="p2")
    stage.reads.expect(lambda _: True)
    await stage.look()
    assert (stage.status()["revision"], stage.status()["lastChangeTime"]) == (2, "2030-01-01T00:00:01Z")


async def test_a_new_version_is_read_written_and_told(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.write("db", password="p2", user="u")
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.calls() == ["apply secrets db", "status elilesecrets db", "metadata db", "read db"]
    assert stage.data() == {"password": "p2", "user": "u"}
    assert (stage.status()["revision"], stage.status()["lastChangeTime"]) == (2, "2030-01-01T00:01:01Z")
    assert stage.events.told == [("ElileSecret db", "Synced", "revision 2: Secret db holds 2 keys of 1 source", False)]
    assert stage.written == ["updated"]


async def test_how_long_a_change_took_counts_from_its_version(stage: Stage) -> None:
    await stage.delivered()
    assert stage.latencies == [], "the first delivery is no change: the version may be years old"
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.5)
    await stage.look()
    assert stage.latencies == [61.5]
    # A repair is none either.
    stage.edit(SECRETS, "shop", "db", lambda body: body["data"].clear())
    await stage.look()
    assert stage.latencies == [61.5]


async def test_a_new_version_with_the_old_content_is_only_told_in_the_status(stage: Stage) -> None:
    await stage.delivered()
    stage.put(PODS, pod())
    stage.vault.write("db", password="p1")
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.calls() == ["status elilesecrets db", "metadata db", "read db"]
    assert (stage.status()["revision"], stage.status()["sources"][0]["version"]) == (1, 2)
    assert stage.events.told == []


def add_a_key(body: Json) -> None:
    body["data"]["extra"] = encoded("x")


def change_a_value(body: Json) -> None:
    body["data"]["password"] = encoded("theirs")


def take_a_label(body: Json) -> None:
    del body["metadata"]["labels"]["elile.io/secret"]


@pytest.mark.parametrize(
    ("damage", "writes"),
    [
        pytest.param(add_a_key, ["apply", "patch"], id="a key more"),
        pytest.param(change_a_value, ["apply"], id="another value"),
        pytest.param(take_a_label, ["apply"], id="a label less"),
    ],
)
async def test_a_secret_that_others_changed_is_repaired(
    stage: Stage, damage: Callable[[Json], None], writes: list[str]
) -> None:
    await stage.delivered()
    stage.edit(SECRETS, "shop", "db", damage)
    await stage.look()
    assert [write.verb for write in stage.kube.writes if write.resource == "secrets"] == writes
    assert stage.data() == {"password": "p1"}
    assert stage.secret()["metadata"]["labels"]["elile.io/secret"] == "db"
    assert (stage.status()["revision"], stage.events.told) == (1, [])
    stage.calls()
    await stage.look()
    assert stage.calls() == []


async def test_a_secret_that_was_deleted_is_made_again_as_the_same_revision(stage: Stage) -> None:
    await stage.delivered()
    stage.remove(SECRETS, "shop", "db")
    await stage.look()
    assert (stage.data(), stage.written, stage.status()["revision"]) == ({"password": "p1"}, ["created"], 1)


async def test_what_others_added_beside_the_data_stays(stage: Stage) -> None:
    await stage.delivered()
    stage.edit(SECRETS, "shop", "db", lambda body: body["metadata"]["labels"].update(theirs="1"))
    await stage.look()
    assert stage.calls() == []
    assert stage.secret()["metadata"]["labels"]["theirs"] == "1"


async def test_an_edited_spec_is_followed(stage: Stage) -> None:
    stage.vault.write("mail", user="u")
    await stage.delivered()
    stage.change(sources=[{"name": "mail", "kv": {"path": "mail"}, "prefix": "smtp."}])
    await stage.look()
    assert (stage.data(), stage.status()["observedGeneration"]) == ({"smtp.user": "u"}, 2)
    assert [entry.path for entry in stage.reads.entries_of("default")] == ["mail"]


async def test_a_wish_to_be_refreshed_is_answered_by_a_look(stage: Stage) -> None:
    await stage.delivered()
    await stage.clock.advance(1.0)
    wish = {"elile.io/refresh": "now"}
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["metadata"]["annotations"].update(wish))
    await stage.look()
    assert stage.calls() == ["status elilesecrets db", "metadata db"]
    assert stage.status()["handledRefresh"] == "now"
    await stage.clock.advance(1.0)
    await stage.look()
    assert stage.calls() == []


@pytest.mark.parametrize(("own", "seconds"), [(None, 60.0), ("10s", 10.0)], ids=["the server's", "its own"])
async def test_the_interval(stage: Stage, own: str | None, seconds: float) -> None:
    stage.want(**({"refresh": {"interval": own}} if own else {}))
    await stage.look()
    (entry,) = stage.reads.entries_of("default")
    assert stage.polls.due(entry) == pytest.approx(seconds)


async def test_two_pins_of_one_entry_are_one_subscription(stage: Stage) -> None:
    stage.vault.write("db", password="p2")
    sources = [
        {"name": "old", "kv": {"path": "db", "version": 1}, "prefix": "old."},
        {"name": "new", "kv": {"path": "db"}},
    ]
    await stage.delivered(sources=sources)
    assert stage.data() == {"old.password": "p1", "password": "p2"}
    assert len(stage.reads) == 1


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def no_server(stage: Stage) -> None:
    stage.remove(VAULT_SERVERS, "", "default")


def other_namespaces_only(stage: Stage) -> None:
    stage.serve(allowedNamespaces={"selector": {"matchLabels": {"team": "a"}}})


def not_ours(stage: Stage) -> None:
    labels = {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "other"}
    body = secret(password=encoded("theirs"))
    stage.put(SECRETS, {**body, "metadata": {**body["metadata"], "labels": labels}})


@pytest.mark.parametrize(
    ("prepare", "says", "message", "result"),
    [
        pytest.param(
            no_server,
            "False ServerNotFound",
            "spec.vault.server names VaultServer 'default', which does not exist; create it or correct the name",
            Result.done(),
            id="no server",
        ),
        pytest.param(
            other_namespaces_only,
            "False NamespaceNotAllowed",
            "VaultServer 'default' does not allow namespace 'shop'; ask its administrator to add it to "
            "spec.allowedNamespaces",
            Result.done(),
            id="namespace",
        ),
        pytest.param(
            lambda stage: stage.live.state.update(shop=Following.DENIED),
            "False NamespaceNotBound",
            NOT_BOUND,
            LOOK_AGAIN,
            id="not bound",
        ),
    ],
)
async def test_what_is_refused_is_told_and_nothing_is_read(
    stage: Stage, prepare: Callable[[Stage], None], says: str, message: str, result: Result
) -> None:
    prepare(stage)
    stage.want()
    assert await stage.look() == result
    assert stage.calls() == ["status elilesecrets db"]
    assert (stage.says(), stage.condition().message) == (says, message)
    assert stage.events.told == [("ElileSecret db", says.split()[1], message, True)]
    assert len(stage.reads) == 0
    for _ in range(3):
        assert await stage.look() == result
    assert stage.calls() == []
    assert len(stage.events.told) == 1


async def test_of_a_secret_of_another_object_it_is_told_which_keys_differ(stage: Stage) -> None:
    not_ours(stage)
    stage.vault.write("db", password="theirs", username="u")
    stage.want()
    assert await stage.look() == LOOK_AGAIN
    assert stage.calls() == ["status elilesecrets db", "get secrets shop/db", "read db"]
    message = (
        "Secret shop/db exists and belongs to ElileSecret 'other'; have it taken over with its annotation "
        "elile.io/adopt: db, delete it, or choose another name with spec.delivery.secret.name "
        "(keys equal: password; only in the sources: username)"
    )
    assert (stage.says(), stage.condition().message) == ("False SecretNotOwned", message)
    assert stage.events.told == [("ElileSecret db", "SecretNotOwned", message, True)]
    assert await stage.look() == LOOK_AGAIN
    assert stage.calls() == ["get secrets shop/db"], "nothing is told twice, and the value is still held"


async def test_while_the_server_is_away_a_secret_is_no_less_anothers(stage: Stage) -> None:
    not_ours(stage)
    stage.servers.link(stage.world.servers.get(SERVER))  # type: ignore[arg-type]
    stage.servers.report("default", AWAY)
    stage.want()
    assert await stage.look() == LOOK_AGAIN
    assert stage.says() == "False SecretNotOwned"
    assert stage.condition().message.endswith("spec.delivery.secret.name")
    assert stage.calls() == ["status elilesecrets db"]


async def test_a_refusal_ends_the_reading_and_keeps_what_was_delivered(stage: Stage) -> None:
    await stage.delivered()
    before = stage.secret()
    no_server(stage)
    await stage.look()
    assert (stage.says(), len(stage.reads), stage.secret()) == ("False ServerNotFound", 0, before)
    assert stage.status()["revision"] == 1


async def test_a_namespace_that_gets_the_right_label_is_served(stage: Stage) -> None:
    other_namespaces_only(stage)
    stage.want()
    await stage.look()
    stage.put(NAMESPACES, {"metadata": {"name": "shop", "labels": {"team": "a"}}})
    await stage.look()
    assert stage.says() == "True Synced"


async def test_reserved_metadata_is_refused_once_more(stage: Stage) -> None:
    stage.want()
    found = stage.world.secret(DB)
    assert found is not None
    spec = found.spec  # type: ignore[union-attr]
    target = spec.delivery.secret.model_copy(update={"labels": {"kubernetes.io/x": "1"}})
    delivery = spec.delivery.model_copy(update={"secret": target})
    odd = found.model_copy(update={"spec": spec.model_copy(update={"delivery": delivery})})  # type: ignore[union-attr]
    done = await stage.controller._deliver(DB, odd)
    assert done.violation is not None
    assert done.violation.reason is Reason.RESERVED_METADATA
    assert stage.calls() == []


async def test_while_its_secrets_are_not_known_nothing_is_decided(stage: Stage) -> None:
    stage.live.state["shop"] = Following.STARTING
    stage.want()
    assert await stage.look() == Result.done()
    assert stage.calls() == []


@pytest.mark.parametrize(
    ("prepare", "says", "words"),
    [
        pytest.param(
            lambda stage: stage.vault.denied.add(("read", "secret/data/db")),
            "False PermissionDenied",
            "read secret/data/db",
            id="policy",
        ),
        pytest.param(
            lambda stage: stage.vault.prune("db", 1), "False PathNotFound", "nothing at secret/data/db", id="path"
        ),
        pytest.param(lambda stage: stage.vault.delete("db", 1), "False VersionDeleted", "is deleted", id="deleted"),
        pytest.param(lambda stage: stage.vault.roles.clear(), "False RoleNotFound", "no role 'elile'", id="role"),
        pytest.param(
            lambda stage: stage.tokens.accounts.clear(), "False ServiceAccountNotFound", "does not exist", id="account"
        ),
        pytest.param(lambda stage: stage.vault.write("db", password=None), "False ShapeInvalid", "is null", id="shape"),
    ],
)
async def test_what_cannot_be_read_or_delivered_is_told_once(
    stage: Stage, prepare: Callable[[Stage], object], says: str, words: str
) -> None:
    prepare(stage)
    stage.want()
    assert await stage.look() == Result.done(), "its poll tells when that changes"
    assert stage.says() == says
    assert words in stage.condition().message
    assert stage.events.reasons == [says.split()[1]]
    assert stage.kube.find(SECRETS, "shop", "db") is None
    assert len(stage.reads) == 1
    assert stage.suspected == []
    await stage.look()
    assert stage.events.reasons == [says.split()[1]]


async def test_a_source_that_fails_later_keeps_what_was_delivered(stage: Stage) -> None:
    await stage.delivered()
    before = stage.secret()
    stage.vault.delete("db", 1)
    await stage.clock.advance(61.0)
    await stage.look()
    assert (stage.says(), stage.secret()) == ("False VersionDeleted", before)
    assert (stage.status()["revision"], stage.status()["keys"]) == (1, ["password"])


# ── no answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_while_its_server_is_lost_an_object_keeps_what_it_says(stage: Stage) -> None:
    await stage.delivered()
    stage.servers.report("default", AWAY)
    await stage.clock.advance(10.0)
    # Wanted since 0 s; stale after three intervals of 60 s, and a second to be past it.
    assert await stage.look() == Result.after(timedelta(seconds=171))
    assert (stage.calls(), stage.says()) == ([], "True Synced")


async def test_an_outage_costs_one_write_when_the_object_becomes_stale(stage: Stage) -> None:
    await stage.delivered()
    stage.servers.report("default", AWAY)
    await stage.clock.advance(181.0)
    for _ in range(5):
        assert await stage.look() == Result.done()
        await stage.clock.advance(60.0)
    assert stage.calls() == ["status elilesecrets db"]
    assert (stage.says("Ready"), stage.says("Synced")) == ("True Synced", "False ReadStale")
    note = "not compared with the server since 2030-01-01T00:00:00Z: VaultServer 'default' does not answer"
    assert stage.events.told == [("ElileSecret db", "ReadStale", note, True)]


async def test_after_an_outage_it_is_synced_again(stage: Stage) -> None:
    await stage.delivered()
    stage.servers.report("default", AWAY)
    await stage.clock.advance(200.0)
    await stage.look()
    stage.servers.report("default", None)
    stage.reads.look_again("default")
    await stage.look()
    assert stage.says("Synced") == "True Synced"
    assert stage.events.reasons == ["ReadStale", "Synced"]


async def test_an_object_that_meets_an_outage_first_says_so(stage: Stage) -> None:
    stage.servers.link(stage.world.servers.get(SERVER))  # type: ignore[arg-type]
    stage.servers.report("default", AWAY)
    stage.want()
    assert await stage.look() == Result.after(timedelta(seconds=181))
    assert (stage.says("Ready"), stage.condition().message) == ("Unknown VaultUnreachable", AWAY.message)
    assert stage.vault.calls == []


async def test_a_read_without_an_answer_has_the_server_looked_at(stage: Stage) -> None:
    stage.vault.failing["read"] = SecretsUnavailableError("answered 500")
    stage.want()
    await stage.look()
    assert (stage.suspected, stage.says()) == (["default"], "Unknown VaultUnreachable")


async def test_an_api_server_that_gives_no_token_is_a_failed_pass(stage: Stage) -> None:
    stage.tokens.failure = KubeUnavailableError("POST token")
    stage.want()
    with pytest.raises(KubeUnavailableError):
        await stage.look()
    assert stage.calls() == []


# ── writes that are refused ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("status", "says", "message"),
    [
        pytest.param(403, "False NamespaceNotBound", NOT_BOUND, id="forbidden"),
        pytest.param(
            422,
            "False SecretConflict",
            "the API server refuses to update Secret shop/db (immutable, of another type, or an admission policy "
            "forbids it); delete that Secret or allow the update, and it is written anew",
            id="invalid",
        ),
    ],
)
async def test_a_write_that_is_refused_is_told_and_tried_again(
    stage: Stage, status: int, says: str, message: str
) -> None:
    stage.kube.fail("apply", SECRETS, status)
    stage.want()
    assert await stage.look() == LOOK_AGAIN, "nobody would tell that it is allowed by now"
    assert (stage.says(), stage.condition().message) == (says, message)
    assert stage.events.told == [("ElileSecret db", says.split()[1], message, True)]
    await stage.look()
    assert (stage.says(), stage.data()) == ("True Synced", {"password": "p1"})


async def test_a_write_without_an_answer_is_a_failed_pass(stage: Stage) -> None:
    stage.kube.fail("apply", SECRETS, 0)
    stage.want()
    with pytest.raises(KubeUnavailableError):
        await stage.look()
    assert (stage.status(), stage.events.told) == ({}, [])


async def test_a_foreign_secret_that_is_not_watched_is_found_by_the_write_and_left_alone(stage: Stage) -> None:
    theirs = stage.kube.put(SECRETS, secret(password=encoded("theirs")))
    stage.want()
    assert await stage.look() == LOOK_AGAIN
    assert stage.says() == "False SecretNotOwned"
    assert "belongs to somebody else" in stage.condition().message
    assert stage.secret() == theirs
    stage.calls()
    for _ in range(3):
        await stage.look()
    assert stage.calls() == ["get secrets shop/db"] * 3, "from now on by reading alone"
    stage.kube.remove(SECRETS, "shop", "db")
    await stage.look()
    assert (stage.says(), stage.data()) == ("True Synced", {"password": "p1"})


# ── conflicts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def unseen(stage: Stage, change: Callable[[Json], object]) -> Json:
    """Change the Secret without its watch telling of it; answers how it was."""
    before, body = stage.secret(), stage.secret()
    change(body)
    stage.kube.put(SECRETS, body)
    return before


def unlabel(body: Json) -> None:
    body["metadata"]["labels"].clear()


async def test_a_secret_made_anew_behind_the_watch_is_decided_on_again(stage: Stage) -> None:
    await stage.delivered()
    stage.kube.remove(SECRETS, "shop", "db")
    again = secret(password=encoded("p0"))
    owners = [{"kind": "ElileSecret", "name": "db", "uid": "uid-db", "controller": True}]
    stage.kube.put(SECRETS, {**again, "metadata": {**again["metadata"], "ownerReferences": owners}})
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    await stage.look()
    assert (stage.data(), stage.says(), stage.status()["revision"]) == ({"password": "p2"}, "True Synced", 2)
    assert stage.secret()["metadata"]["annotations"]["elile.io/revision"] == "2"


async def test_a_secret_made_anew_by_somebody_else_is_left_alone(stage: Stage) -> None:
    await stage.delivered()
    stage.kube.remove(SECRETS, "shop", "db")
    theirs = stage.kube.put(SECRETS, secret(password=encoded("theirs")))
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    assert await stage.look() == LOOK_AGAIN
    assert (stage.secret(), stage.says()) == (theirs, "False SecretNotOwned")


async def test_a_secret_that_went_behind_the_watch_is_made_again(stage: Stage) -> None:
    await stage.delivered()
    stage.kube.remove(SECRETS, "shop", "db")
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    await stage.look()
    assert (stage.data(), stage.says()) == ({"password": "p2"}, "True Synced")


async def test_a_secret_of_ours_whose_label_was_taken_is_continued(stage: Stage) -> None:
    """The watch, which selects by the label, says that it is gone."""
    await stage.delivered()
    stage.observe(SECRETS, unseen(stage, unlabel), deleted=True)
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.secret()["metadata"]["labels"]["elile.io/secret"] == "db"
    assert (stage.data(), stage.status()["revision"]) == ({"password": "p2"}, 2)


async def test_a_secret_whose_status_was_lost_keeps_counting_its_revisions(stage: Stage) -> None:
    await stage.delivered()
    five = {"elile.io/revision": "5"}
    stage.observe(SECRETS, unseen(stage, lambda body: body["metadata"]["annotations"].update(five)), deleted=True)
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body.update(status={}))
    stage.vault.write("db", password="p2")
    await stage.clock.advance(31.0)
    await stage.look()
    assert stage.secret()["metadata"]["annotations"]["elile.io/revision"] == "6"
    assert (stage.status()["revision"], stage.data()) == (6, {"password": "p2"})


async def test_what_another_replica_wrote_is_no_news(stage: Stage) -> None:
    stage.want()
    await stage.look()
    theirs = stage.secret()
    stage.kube.remove(SECRETS, "shop", "db")
    stage.observe(SECRETS, theirs, deleted=True)
    stage.kube.put(SECRETS, {**theirs, "metadata": {**theirs["metadata"], "uid": "uid-theirs"}})
    stage.written.clear()
    stage.calls()
    await stage.look()
    assert [call for call in stage.calls() if "secrets db" in call and "elile" not in call] == ["apply secrets db"]
    assert (stage.data(), stage.status()["revision"], stage.written) == ({"password": "p1"}, 1, [])
    assert stage.live.get(DB) is not None, "it is known now"


async def test_an_older_write_that_landed_unseen_is_written_over(stage: Stage) -> None:
    await stage.delivered()
    unseen(stage, lambda body: body["data"].update(password=encoded("p1-of-a-write-given-up")))
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    stage.calls()
    await stage.look()
    assert [call for call in stage.calls() if call.endswith("secrets db") and "elile" not in call] == [
        "apply secrets db",
        "apply secrets db",
    ]
    assert (stage.data(), stage.says(), stage.status()["revision"]) == ({"password": "p2"}, "True Synced", 2)


async def test_a_secret_that_keeps_changing_under_our_hands_is_a_failed_pass(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    stage.kube.fail("apply", SECRETS, 409, 409)
    with pytest.raises(KubeConflictError):
        await stage.look()


# ── pods ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pods_that_mount_it_are_poked_when_the_content_changes(stage: Stage) -> None:
    stage.put(PODS, pod("app-1"))
    stage.put(PODS, pod("app-2", mounts="other"))
    stage.want()
    await stage.look()
    version = stage.secret()["metadata"]["resourceVersion"]
    assert stage.poked() == {"app-1": f"{version}-1"}
    assert stage.says("SecretCurrent") == "True SecretCurrent"
    consumers = stage.status()["consumers"]
    assert (consumers["summary"], consumers["total"], consumers["assumed"]) == ("0+1?/1", 1, 1)
    stage.calls()
    await stage.look()
    assert stage.calls() == []


async def test_repairs_of_what_surrounds_the_data_poke_nobody(stage: Stage) -> None:
    await stage.delivered()
    stage.put(PODS, pod())
    stage.edit(SECRETS, "shop", "db", take_a_label)
    await stage.look()
    assert stage.poked() == {}


async def test_who_wants_no_poke_gets_none(stage: Stage) -> None:
    stage.put(PODS, pod())
    stage.want(delivery={"poke": False})
    await stage.look()
    assert stage.poked() == {}
    assert stage.status()["consumers"]["summary"] == "0/1"


async def test_a_pod_that_cannot_be_poked_is_said_to_be_behind_until_it_is(stage: Stage) -> None:
    stage.put(PODS, pod())
    stage.kube.fail("merge", PODS, 500)
    stage.want()
    await stage.look()
    assert stage.says("SecretCurrent") == "False PokePending"
    assert stage.says("Ready") == "True Synced"
    assert stage.status()["consumers"]["summary"] == "0/1"
    await stage.clock.advance(1.0)
    (key,) = stage.due(stage.pokes)
    await stage.poker.reconcile(key)
    assert stage.due() == [DB], "the settled poke wakes the object"
    await stage.look()
    assert stage.says("SecretCurrent") == "True SecretCurrent"


async def test_a_pass_that_died_between_secret_and_status_pokes(stage: Stage) -> None:
    stage.put(PODS, pod())
    stage.kube.fail("status", ELILE_SECRETS, 0)
    stage.want()
    with pytest.raises(KubeUnavailableError):
        await stage.look()
    stage.kube.writes.clear()
    await stage.look()
    version = stage.secret()["metadata"]["resourceVersion"]
    assert stage.poked() == {"app-1": f"{version}-1"}
    assert stage.kube.written("apply", SECRETS) == []
    assert (stage.status()["revision"], stage.events.reasons) == (1, ["Synced"])


async def test_pods_that_come_later_change_only_the_count(stage: Stage) -> None:
    await stage.delivered()
    stage.put(PODS, pod("young", created="2031-01-01T00:00:00Z"))
    await stage.look()
    assert stage.calls() == ["status elilesecrets db"]
    assert (stage.status()["consumers"]["summary"], stage.events.told) == ("1/1", [])


# ── another name ─────────────────────────────────────────────────────────────────────────────────────────────────────


def renamed(name: str) -> dict[str, Any]:
    return {"secret": {"name": name}}


async def test_a_renamed_secret_takes_the_old_one_away_once_the_new_one_is_there(stage: Stage) -> None:
    await stage.delivered()
    stage.change(delivery=renamed("credentials"))
    await stage.look()
    assert stage.calls()[:2] == ["apply secrets credentials", "delete secrets db"]
    assert stage.kube.find(SECRETS, "shop", "db") is None
    assert (stage.data("credentials"), stage.status()["secretName"]) == ({"password": "p1"}, "credentials")
    assert stage.written == ["created", "deleted"]


async def test_while_the_new_one_cannot_be_written_the_old_one_stays(stage: Stage) -> None:
    await stage.delivered()
    stage.kube.put(SECRETS, secret("credentials"))
    stage.change(delivery=renamed("credentials"))
    await stage.look()
    assert (stage.says(), stage.data()) == ("False SecretNotOwned", {"password": "p1"})


async def test_a_secret_that_is_to_stay_stays_after_a_change_of_name(stage: Stage) -> None:
    await stage.delivered(deletionPolicy="Retain")
    assert stage.secret()["metadata"]["ownerReferences"] == []
    stage.change(delivery=renamed("credentials"))
    await stage.look()
    assert (stage.data(), stage.data("credentials")) == ({"password": "p1"}, {"password": "p1"})


async def test_a_former_secret_that_lost_its_label_is_taken_away_by_name(stage: Stage) -> None:
    await stage.delivered()
    stage.observe(SECRETS, unseen(stage, unlabel), deleted=True)
    stage.change(delivery=renamed("credentials"))
    await stage.look()
    assert stage.kube.find(SECRETS, "shop", "db") is None


async def test_a_foreign_secret_of_a_former_name_is_left_alone(stage: Stage) -> None:
    await stage.delivered()
    stage.remove(SECRETS, "shop", "db")
    theirs = stage.kube.put(SECRETS, secret(password=encoded("theirs")))
    stage.change(delivery=renamed("credentials"))
    await stage.look()
    assert stage.secret() == theirs


async def test_a_secret_that_is_being_deleted_is_not_deleted_again(stage: Stage) -> None:
    await stage.delivered()
    going = {"deletionTimestamp": "2030-01-01T00:00:00Z"}
    stage.edit(SECRETS, "shop", "db", lambda body: body["metadata"].update(going))
    stage.change(delivery=renamed("credentials"))
    await stage.look()
    assert stage.kube.written("delete", SECRETS) == []


# ── objects that go or cannot be read ────────────────────────────────────────────────────────────────────────────────


async def test_an_object_that_is_gone_is_read_for_no_more(stage: Stage) -> None:
    await stage.delivered()
    stage.remove(ELILE_SECRETS, "shop", "db")
    assert await stage.look() == Result.absent()
    assert (len(stage.reads), stage.calls()) == (0, [])
    assert stage.data() == {"password": "p1"}, "the garbage collector takes it"


async def test_an_object_that_is_being_deleted_is_let_go(stage: Stage) -> None:
    await stage.delivered()
    going = {"deletionTimestamp": "2030-01-01T00:00:00Z"}
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["metadata"].update(going))
    assert await stage.look() == Result.absent()
    assert (len(stage.reads), stage.calls()) == (0, [])


async def test_an_object_that_cannot_be_read_is_logged_by_name(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    await stage.delivered()
    stage.put(ELILE_SECRETS, elile_secret(generation=2, colour="blue"))
    assert await stage.look() == Result.done()
    (record,) = [r for r in caplog.records if r.levelno == logging.ERROR]
    assert record.message == "ElileSecret cannot be read; apply the CRDs of this version"
    assert record.__dict__["fields"] == {
        "namespace": "shop",
        "name": "db",
        "why": "spec.colour is not known to this version of Elile; correct its name or remove it",
    }
    assert (len(stage.reads), stage.calls()) == (0, [])


# ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def nothing() -> None:
    """A pass in which nothing happened."""


async def test_one_event_for_each_change_of_reason(stage: Stage) -> None:
    await stage.delivered()
    passes: Sequence[Callable[[], object]] = (
        lambda: stage.vault.denied.add(("metadata", "secret/metadata/db")),
        nothing,
        stage.vault.denied.clear,
        nothing,
        lambda: stage.vault.write("db", password="p2"),
        nothing,
    )
    for change in passes:
        change()
        await stage.clock.advance(61.0)
        await stage.look()
    assert stage.events.reasons == ["PermissionDenied", "Synced", "Synced"]
    assert [note for _, _, note, _ in stage.events.told][1:] == [
        "revision 1: Secret db holds 1 key of 1 source",
        "revision 2: Secret db holds 1 key of 1 source",
    ]


@pytest.mark.parametrize("again", [False, True], ids=["gone", "made anew"])
async def test_a_status_for_an_object_that_is_no_more_is_let_go(stage: Stage, again: bool) -> None:
    stage.want()
    stage.kube.remove(ELILE_SECRETS, "shop", "db")
    if again:
        stage.kube.put(ELILE_SECRETS, elile_secret(uid="uid-2"))
    assert await stage.look() == Result.done()
    assert stage.events.told == []


async def test_a_status_that_keeps_conflicting_is_a_failed_pass(stage: Stage) -> None:
    stage.kube.fail("status", ELILE_SECRETS, 409, 409)
    stage.want()
    with pytest.raises(KubeConflictError):
        await stage.look()
    assert stage.events.told == []


async def test_no_value_is_logged_or_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    stage.vault.write("db", password="canary-hunter2")
    stage.want()
    await stage.look()
    assert stage.data() == {"password": "canary-hunter2"}
    shown = [str(r.__dict__) for r in caplog.records] + [str(stage.status()), str(stage.events.told)]
    assert not any("hunter2" in text for text in shown)
