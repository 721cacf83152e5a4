"""Keys are taken out before their object goes, Secrets go with their source, a pass that is too late does nothing."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretNotFoundError, SecretsUnavailableError
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import FINALIZER
from elile_operator.engine import Following, ObjectKey, Result
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeForbiddenError, KubeUnavailableError
from elile_operator.kube.resources import ELILE_SECRETS, NAMESPACES, PODS, SECRETS
from tests.fakes.api import pod, secret
from tests.unit.elile_operator.controllers.stage import DB, encoded
from tests.unit.elile_operator.controllers.test_secret import AWAY, Stage

MERGE = {"secret": {"name": "app", "mode": "Merge"}}
AGAIN = Result.after(timedelta(seconds=5))
UNTIL_GONE = Result.after(timedelta(seconds=10))


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    stage = Stage(monkeypatch)
    stage.serve()
    stage.vault.write("db", password="p1")
    return stage


async def merged(stage: Stage, **spec: Any) -> None:
    """The object has merged its key beside one of somebody else; the pass meets their Secret only by its write."""
    theirs = secret("app", theirs=encoded("t"))
    theirs["metadata"]["managedFields"] = [{"manager": "kubectl", "operation": "Update"}]
    stage.kube.put(SECRETS, theirs)
    await stage.delivered(delivery=MERGE, **spec)
    assert stage.data("app") == {"theirs": "t", "password": "p1"}


def goes(stage: Stage, since: str = "2030-01-01T00:00:00Z") -> None:
    """Somebody deletes the object, which its finalizer keeps for now."""

    def mark(body: Json) -> None:
        body["metadata"]["deletionTimestamp"] = since
        body["metadata"]["generation"] += 1

    stage.edit(ELILE_SECRETS, "shop", "db", mark)


def finalizers(stage: Stage) -> Any:
    body = stage.kube.find(ELILE_SECRETS, "shop", "db")
    return None if body is None else body["metadata"].get("finalizers", [])


# ── the object goes ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_an_object_is_held_before_its_first_key_is_merged(stage: Stage) -> None:
    stage.want(delivery=MERGE)
    await stage.look()
    writes = [call for call in stage.calls() if call.split()[0] in ("patch", "apply", "status")]
    # The version that was just patched is not known to the pass, so its status is tried once in vain.
    assert writes[:2] == ["patch elilesecrets db", "apply secrets app"]
    assert (finalizers(stage), stage.data("app")) == ([FINALIZER], {"password": "p1"})
    stage.calls()
    await stage.look()
    assert stage.calls() == []


async def test_without_the_right_to_hold_it_nothing_is_merged(stage: Stage) -> None:
    stage.kube.fail("patch", ELILE_SECRETS, 403)
    stage.want(delivery=MERGE)
    with pytest.raises(KubeForbiddenError):
        await stage.look()
    assert stage.kube.find(SECRETS, "shop", "app") is None


@pytest.mark.parametrize("spec", [{}, {"deletionPolicy": "Retain"}, {"delivery": MERGE, "deletionPolicy": "Retain"}])
async def test_who_has_nothing_to_undo_is_not_held(stage: Stage, spec: dict[str, Any]) -> None:
    stage.want(**spec)
    await stage.look()
    assert finalizers(stage) == []


async def test_its_keys_are_taken_out_without_vault(stage: Stage) -> None:
    await merged(stage)
    stage.servers.report("default", AWAY)
    goes(stage)
    assert await stage.look() == Result.absent()
    assert (stage.data("app"), finalizers(stage), len(stage.reads)) == ({"theirs": "t"}, None, 0)
    assert stage.vault.calls == []


async def test_keys_that_are_to_stay_stay(stage: Stage) -> None:
    await merged(stage)
    stage.change(deletionPolicy="Retain")
    goes(stage)
    assert await stage.look() == Result.absent()
    assert (stage.data("app"), finalizers(stage)) == ({"theirs": "t", "password": "p1"}, None)


async def test_an_object_that_was_to_own_the_secret_meanwhile_takes_out_its_keys(stage: Stage) -> None:
    await merged(stage)
    stage.change(delivery={"secret": {"name": "app"}})
    await stage.look()
    assert (stage.says(), finalizers(stage)) == ("False SecretNotOwned", [FINALIZER])
    goes(stage)
    await stage.look()
    assert (stage.data("app"), finalizers(stage)) == ({"theirs": "t"}, None)


async def test_a_secret_that_is_not_watched_any_more_is_found_by_the_status(stage: Stage) -> None:
    await merged(stage)
    found = stage.secret("app")
    found["metadata"]["labels"].clear()
    stage.kube.put(SECRETS, found)
    stage.observe(SECRETS, found, deleted=True)
    goes(stage)
    await stage.look()
    assert (stage.data("app"), finalizers(stage)) == ({"theirs": "t"}, None)


async def test_a_secret_that_is_gone_holds_nothing_up(stage: Stage) -> None:
    await merged(stage)
    stage.remove(SECRETS, "shop", "app")
    goes(stage)
    assert await stage.look() == Result.absent()
    assert finalizers(stage) is None


@pytest.mark.parametrize("refusal", [403, 409, 422], ids=["no rights", "changing", "immutable"])
async def test_what_is_refused_is_tried_for_two_minutes_then_told(stage: Stage, refusal: int) -> None:
    await merged(stage)
    goes(stage)
    stage.kube.fail("apply", SECRETS, *[refusal] * 4)
    for _ in range(3):
        assert await stage.look() == AGAIN
        assert (finalizers(stage), stage.events.told) == ([FINALIZER], [])
        await stage.clock.advance(39.0)
    await stage.clock.advance(3.0)
    assert await stage.look() == Result.absent()
    note = (
        "the API server does not let the operator take password out of Secret shop/app, where they stay; remove them "
        "by hand"
    )
    assert stage.events.told == [("ElileSecret db", "KeysOrphaned", note, True)]
    assert (finalizers(stage), stage.data("app")) == (None, {"theirs": "t", "password": "p1"})


async def test_rights_that_come_back_in_time_are_used(stage: Stage) -> None:
    await merged(stage)
    goes(stage)
    stage.kube.fail("apply", SECRETS, 403)
    assert await stage.look() == AGAIN
    assert await stage.look() == Result.absent()
    assert (stage.data("app"), stage.events.told) == ({"theirs": "t"}, [])


async def test_without_an_answer_the_object_stays_and_the_pass_has_failed(stage: Stage) -> None:
    await merged(stage)
    goes(stage)
    stage.kube.fail("apply", SECRETS, 0)
    with pytest.raises(KubeUnavailableError):
        await stage.look()
    assert finalizers(stage) == [FINALIZER]


async def test_in_a_namespace_that_goes_nothing_is_undone(stage: Stage) -> None:
    await merged(stage)
    stage.put(NAMESPACES, {"metadata": {"name": "shop", "deletionTimestamp": "2030-01-01T00:00:00Z"}})
    stage.kube.fail("get", SECRETS, 403)
    goes(stage)
    assert await stage.look() == Result.absent()
    assert (finalizers(stage), stage.kube.written("apply", SECRETS)) == (None, [])


async def test_until_the_secrets_are_known_nothing_is_undone(stage: Stage) -> None:
    await merged(stage)
    stage.live.state["shop"] = Following.STARTING
    goes(stage)
    assert await stage.look() == Result.done(), "the namespace comes again when they are"
    assert finalizers(stage) == [FINALIZER]


# ── names and modes ──────────────────────────────────────────────────────────────────────────────────────────────────


async def test_keys_are_merged_elsewhere_before_they_are_taken_out(stage: Stage) -> None:
    await merged(stage)
    stage.change(delivery={"secret": {"name": "app-2", "mode": "Merge"}})
    await stage.look()
    calls = [call for call in stage.calls() if call.startswith(("apply", "delete"))]
    assert calls == ["apply secrets app-2", "apply secrets app"]
    assert (stage.data("app"), stage.data("app-2")) == ({"theirs": "t"}, {"password": "p1"})


async def test_a_former_secret_that_is_gone_already(stage: Stage) -> None:
    await stage.delivered()
    stage.remove(SECRETS, "shop", "db")
    stage.change(delivery={"secret": {"name": "own"}})
    await stage.look()
    assert (stage.data("own"), stage.written) == ({"password": "p1"}, ["created"])


async def test_another_mode_and_another_name_at_once(stage: Stage) -> None:
    await merged(stage)
    stage.change(delivery={"secret": {"name": "own"}})
    await stage.look()
    assert (stage.data("app"), stage.data("own"), finalizers(stage)) == ({"theirs": "t"}, {"password": "p1"}, [])


async def test_a_former_secret_that_another_owns_as_well_is_let_go(stage: Stage) -> None:
    owner = {"apiVersion": "a.io/v1", "kind": "Legacy", "name": "o", "uid": "o", "controller": True}
    theirs = secret(password=encoded("p1"))
    theirs["metadata"] |= {"annotations": {"elile.io/adopt": "db"}, "ownerReferences": [owner]}
    stage.kube.put(SECRETS, theirs)
    await stage.delivered()
    assert [o["uid"] for o in stage.secret()["metadata"]["ownerReferences"]] == ["o", "uid-db"]
    stage.change(delivery={"secret": {"name": "own"}}, deletionPolicy="Delete")
    await stage.look()
    assert stage.secret()["metadata"]["ownerReferences"] == [owner]
    assert (stage.data(), stage.data("own")) == ({"password": "p1"}, {"password": "p1"})


# ── adoption ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("labelled", [False, True], ids=["of somebody", "of another object, with marks"])
async def test_equal_contents_are_adopted_without_a_poke(stage: Stage, labelled: bool) -> None:
    theirs = secret(password=encoded("p1"))
    theirs["metadata"] |= {"annotations": {"elile.io/adopt": "db"}, "labels": {}}
    if labelled:
        theirs["metadata"]["labels"] = {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "old"}
        theirs["metadata"]["annotations"] |= {"elile.io/revision": "7", "elile.io/fingerprint": "k1:x"}
        stage.put(SECRETS, theirs)
    else:
        stage.kube.put(SECRETS, theirs)
    stage.put(PODS, pod("app-1"))
    stage.want()
    await stage.look()
    assert (stage.says(), stage.status()["adopted"], stage.status()["revision"]) == ("True Synced", True, 1)
    assert (stage.poked(), stage.data()) == ({}, {"password": "p1"})
    assert stage.secret()["metadata"].get("ownerReferences", []) == []
    stage.calls()
    await stage.look()
    assert (stage.calls(), stage.poked()) == ([], {})


async def test_other_contents_are_adopted_and_poked(stage: Stage) -> None:
    theirs = secret(password=encoded("p0"), more=encoded("m"))
    theirs["metadata"]["annotations"] = {"elile.io/adopt": "db"}
    stage.kube.put(SECRETS, theirs)
    stage.put(PODS, pod("app-1"))
    stage.want()
    await stage.look()
    assert (stage.data(), list(stage.poked())) == ({"password": "p1"}, ["app-1"])


# ── the source goes ──────────────────────────────────────────────────────────────────────────────────────────────────


async def wait_until_gone(stage: Stage) -> None:
    """An hour after the delivery the path goes, and is looked for twice."""
    await stage.clock.advance(3000.0)
    stage.vault.remove("db")
    assert await stage.look() == UNTIL_GONE
    assert stage.says() == "False PathNotFound"
    await stage.clock.advance(61.0)


def forget(stage: Stage) -> None:
    """The watch tells that the Secret is gone."""
    stage.observe(SECRETS, secret(), deleted=True)


async def test_what_is_gone_for_good_goes_and_comes_back(stage: Stage) -> None:
    await stage.delivered(onMissing="Delete")
    await wait_until_gone(stage)
    assert stage.data() == {"password": "p1"}, "once is not enough"
    await stage.look()
    assert stage.kube.find(SECRETS, "shop", "db") is None
    forget(stage)
    assert (stage.says(), stage.says("SecretCurrent")) == ("False SourceGone", "False SourceGone")
    assert "Secret shop/db was deleted, as spec.onMissing says" in stage.condition().message
    assert {key: stage.status().get(key) for key in ("keys", "sources", "revision")} == {
        "keys": None,
        "sources": None,
        "revision": 1,
    }
    assert stage.written == ["deleted"]
    assert stage.events.reasons == ["PathNotFound", "SourceGone"]
    stage.vault.write("db", password="p1")
    await stage.clock.advance(61.0)
    await stage.look()
    assert (stage.says(), stage.says("SecretCurrent"), stage.data()) == (
        "True Synced",
        "True SecretCurrent",
        {"password": "p1"},
    )
    assert stage.status()["revision"] == 2


async def test_what_was_removed_is_told_once_also_after_a_restart(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.delivered(onMissing="Delete")
    await wait_until_gone(stage)
    await stage.look()
    forget(stage)
    again = Stage(monkeypatch)
    again.serve()
    body = stage.kube.find(ELILE_SECRETS, "shop", "db")
    assert body is not None
    for each in (stage, again):
        each.put(ELILE_SECRETS, body)
        each.calls()
        each.events.told.clear()
        await each.look()
        assert [call for call in each.calls() if "elilesecrets" in call] == []
        assert (each.says(), each.events.told) == ("False SourceGone", [])


async def test_a_restart_counts_anew(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    await stage.delivered(onMissing="Delete")
    await wait_until_gone(stage)
    again = Stage(monkeypatch)
    again.serve()
    for resource, name in ((ELILE_SECRETS, "db"), (SECRETS, "db")):
        body = stage.kube.find(resource, "shop", name)
        assert body is not None
        again.put(resource, body)
    await again.clock.advance(4000.0)
    assert await again.look() == UNTIL_GONE
    assert again.data() == {"password": "p1"}
    await again.clock.advance(61.0)
    await again.look()
    assert again.kube.find(SECRETS, "shop", "db") is None


async def test_what_was_just_delivered_is_not_removed(stage: Stage) -> None:
    await stage.delivered(onMissing="Delete")
    stage.vault.remove("db")
    for _ in range(9):
        await stage.clock.advance(61.0)
        assert await stage.look() == UNTIL_GONE
    assert stage.data() == {"password": "p1"}, "nine minutes: a standby may be that far behind"
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.kube.find(SECRETS, "shop", "db") is None


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(SecretNotFoundError("a proxy's", path="secret/metadata/db"), id="a 404 of somebody else"),
        pytest.param(SecretsUnavailableError("answered 500"), id="no answer"),
        pytest.param(None, id="a deleted version"),
    ],
)
async def test_nothing_else_removes_anything(stage: Stage, answer: Any) -> None:
    await stage.delivered(onMissing="Delete")
    await stage.clock.advance(3000.0)
    if answer is None:
        stage.vault.delete("db", 1)
    else:
        stage.vault.failing["metadata"] = answer
    for _ in range(5):
        await stage.look()
        await stage.clock.advance(61.0)
    assert stage.data() == {"password": "p1"}


@pytest.mark.parametrize("before", [{}, {"delivery": MERGE}], ids=["owned until now", "merged"])
async def test_what_is_to_be_merged_goes_as_it_was_delivered(stage: Stage, before: dict[str, Any]) -> None:
    await stage.delivered(**({"delivery": {"secret": {"name": "app"}}} | before))
    await stage.clock.advance(3000.0)
    stage.vault.remove("db")
    stage.change(onMissing="Delete", delivery=MERGE)
    await stage.look()
    await stage.clock.advance(61.0)
    await stage.look()
    assert stage.says() == "False SourceGone"
    assert stage.kube.find(SECRETS, "shop", "app") is None


async def test_an_optional_source_that_is_gone_is_no_loss(stage: Stage) -> None:
    stage.vault.write("mail", user="u")
    sources = [{"name": "db", "kv": {"path": "db"}}, {"name": "mail", "kv": {"path": "mail"}, "optional": True}]
    await stage.delivered(onMissing="Delete", sources=sources)
    await stage.clock.advance(3000.0)
    stage.vault.remove("mail")
    for _ in range(3):
        await stage.look()
        await stage.clock.advance(61.0)
    assert (stage.says(), stage.data()) == ("True Synced", {"password": "p1"})


# ── a pass that is too late ──────────────────────────────────────────────────────────────────────────────────────────


async def begin(stage: Stage) -> "asyncio.Task[Result]":
    """A pass that waits for its value."""
    stage.vault.hold("read")
    running = asyncio.create_task(stage.controller.reconcile(DB), name="pass")
    await stage.clock.settle()
    assert stage.vault.waiting == 1
    stage.calls()
    return running


async def test_a_spec_that_was_edited_meanwhile_is_not_written(stage: Stage) -> None:
    stage.vault.write("mail", user="u")
    stage.want()
    running = await begin(stage)
    stage.change(sources=[{"name": "mail", "kv": {"path": "mail"}}])
    stage.vault.release("read")
    assert await running == Result.done(), "the edit has asked for a pass of its own"
    assert (stage.calls(), stage.kube.find(SECRETS, "shop", "db"), stage.status()) == (["read db"], None, {})
    await stage.look()
    assert (stage.data(), stage.status()["observedGeneration"]) == ({"user": "u"}, 2)


async def test_a_later_pass_is_not_written_over_by_an_earlier_one(stage: Stage) -> None:
    """As behind a leader that was frozen: the later pass is another process's."""
    stage.vault.write("mail", user="u")
    await stage.delivered()
    stage.vault.write("db", password="p2")
    await stage.clock.advance(61.0)
    running = await begin(stage)
    stage.change(sources=[{"name": "mail", "kv": {"path": "mail"}}])
    found = stage.secret()
    found["data"] = {"user": encoded("u")}
    stage.kube.put(SECRETS, found)
    stage.vault.release("read")
    await running
    assert stage.data() == {"user": "u"}


async def test_an_object_that_was_deleted_meanwhile_leaves_no_secret(stage: Stage) -> None:
    stage.want(deletionPolicy="Retain")
    running = await begin(stage)
    stage.remove(ELILE_SECRETS, "shop", "db")
    stage.vault.release("read")
    assert await running == Result.done()
    assert (stage.calls(), stage.kube.find(SECRETS, "shop", "db")) == (["read db"], None)


async def test_a_policy_that_was_edited_meanwhile_keeps_the_secret(stage: Stage) -> None:
    await stage.delivered(onMissing="Delete")
    await wait_until_gone(stage)
    stage.vault.hold("metadata")
    running = asyncio.create_task(stage.controller.reconcile(DB), name="pass")
    await stage.clock.settle()
    stage.change(onMissing="Keep")
    stage.vault.release("metadata")
    await running
    await stage.look()
    assert (stage.data(), stage.says()) == ({"password": "p1"}, "False PathNotFound")


async def test_the_object_that_was_merged_beside_is_left_alone(stage: Stage) -> None:
    await merged(stage)
    stage.vault.write("mail", user="u")
    stage.want("mail", uid="uid-mail", delivery=MERGE, sources=[{"name": "mail", "kv": {"path": "mail"}}])
    await stage.look("mail")
    assert stage.data("app") == {"theirs": "t", "password": "p1", "user": "u"}
    stage.calls()
    for name in ("db", "mail"):
        await stage.look(name)
    assert stage.calls() == []
    found = stage.world.secret(ObjectKey("shop", "db"))
    assert isinstance(found, ElileSecret)
    assert found.status.keys == ("password",)
