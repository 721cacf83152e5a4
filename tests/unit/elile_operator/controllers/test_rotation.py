"""Runs of one value from the first look to the end, and whatever can come between: faults, deletions, emergencies."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretConflictError, SecretsUnavailableError
from elile.secrets.rotation.journal import Phase
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.controllers.rotation import CONFLICTS as CONFLICTS_UNTIL_TOLD
from elile_operator.engine import ObjectKey, Result
from elile_operator.kube.errors import KubeError
from elile_operator.kube.resources import ELILE_SECRETS, ROTATION_SCHEDULES, ROTATIONS
from tests.fakes.api import elile_secret
from tests.unit.elile_operator.controllers.rotation_stage import SCHEDULE, RotationStage, rotating

AWAY = SecretsUnavailableError("answered 500")
FAILED, UNDECIDED = Verification.failed("28P01"), Verification.inconclusive("no answer")
# Calls as the rotator.
VAULT = ("read", "write", "metadata", "destroy", "capabilities")


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    async with rotating(monkeypatch) as stage:
        yield stage


async def promoted(stage: RotationStage, **spec: Any) -> None:
    """A run whose new value is live, and that nobody has delivered yet."""
    stage.plan(**spec)
    stage.ask()
    await stage.settle()
    assert stage.said() == ("Promoted", None, "AwaitingConsumers")


async def in_grace(stage: RotationStage, **spec: Any) -> None:
    await promoted(stage, **spec)
    stage.delivers(2)
    await stage.settle()
    assert stage.said() == ("Grace", None, "ConsumersCurrent")


# ── a run ────────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_value_is_replaced(stage: RotationStage) -> None:
    await in_grace(stage)
    assert stage.held()
    assert stage.value().keys() == {"password", "host"}
    assert stage.value()["password"] != "p1"
    board = stage.parts.board.get(SCHEDULE)
    assert board is not None
    assert (board.phase, board.active) == (Phase.GRACE, "run")
    assert await stage.run() == Result.after(timedelta(minutes=10))
    await stage.clock.advance(600.0)
    assert await stage.settle() == Result.done()
    assert stage.said() == ("Done", "Succeeded", "Promoted")
    status = stage.rotation().status
    assert (status.from_version, status.to_version) == (1, 2)
    assert [v.result for v in status.verification if v.name == "check"]
    assert stage.ended == [("Rotate", "Succeeded")]
    assert not stage.held()
    assert stage.parts.board.get(SCHEDULE) is None
    entry = stage.journal()
    assert entry is not None
    assert (entry.wiped, entry.holds_values) == (True, False)
    assert {call.on_behalf_of for call in stage.vault.calls if call.operation in VAULT} == {"shop/weekly"}


async def test_what_is_over_is_not_done_again(stage: RotationStage) -> None:
    await in_grace(stage)
    await stage.clock.advance(600.0)
    await stage.settle()
    stage.calls()
    stage.restart()
    assert await stage.run() == Result.done()
    assert [call for call in stage.calls() if call.startswith(("create", "write", "status"))] == []
    stage.edit(ROTATIONS, "shop", "run", lambda body: body.pop("status"))
    await stage.settle()
    assert stage.said()[1:] == ("AlreadyDone", "AlreadyDone")
    assert stage.rotation().status.to_version is None
    assert len(stage.vault._entries["secret", "db"]) == 2


async def test_while_it_waits_each_look_reads_the_journal_and_writes_nothing(stage: RotationStage) -> None:
    await promoted(stage)
    stage.calls()
    for _ in range(3):
        await stage.clock.advance(10.0)
        await stage.run()
    assert [call for call in stage.calls() if not call.startswith("read ")] == []


async def test_who_holds_it_up_is_named_and_told(stage: RotationStage) -> None:
    await promoted(stage)
    assert stage.rotation().status.message == "ElileSecret 'db': it has delivered version 1 and not 2 yet"
    stage.delivers(2, proved=False)
    await stage.settle()
    assert stage.rotation().status.message == "ElileSecret 'db': its consumers are not proved to use the new value"


async def test_a_verification_that_fails_takes_it_back(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    stage.hooks = [FAILED]
    await stage.settle()
    assert stage.said() == ("Aborted", "Aborted", "VerificationFailed")
    assert stage.value()["password"] == "p1"
    assert not stage.held()


async def test_a_look_is_no_run(stage: RotationStage) -> None:
    stage.plan()
    stage.ask(action="DryRun")
    await stage.settle()
    assert stage.said() == ("Succeeded", "Succeeded", "VerificationPassed")
    stage.vault.allows = frozenset({"read"})
    stage.ask("again", action="DryRun")
    await stage.settle()
    assert stage.said("again") == ("Aborted", "Aborted", "PreflightFailed")
    assert stage.journal() is None
    assert stage.value()["password"] == "p1"


# ── what people do meanwhile ─────────────────────────────────────────────────────────────────────────────────────────


async def test_a_rollback_in_the_grace(stage: RotationStage) -> None:
    await in_grace(stage)
    stage.ask("back", action="RollBack")
    await stage.settle()
    assert stage.said()[0] == stage.said("back")[0] == "Reverting"
    assert stage.value()["password"] == "p1"
    stage.delivers(3)
    await stage.settle()
    assert stage.said() == ("RolledBack", "RolledBack", "RolledBack")
    assert stage.said("back")[1:] == ("Succeeded", "RolledBack")
    stage.ask("late", action="RollBack")
    await stage.settle()
    assert stage.said("late")[1:] == ("Aborted", "PreviousRetired")


async def test_retire_ends_the_wait(stage: RotationStage) -> None:
    await promoted(stage)
    stage.ask("retire", action="Retire")
    await stage.settle()
    assert stage.said()[:2] == ("Done", "Succeeded")
    assert stage.said("retire")[1] == "Succeeded"


async def test_an_emergency_takes_over(stage: RotationStage) -> None:
    await in_grace(stage)
    first = stage.value()["password"]
    stage.ask("urgent", compromised=True, retire="Now")
    await stage.settle()
    assert stage.said() == ("Done", "Succeeded", "Superseded")
    assert stage.said("urgent")[:2] == ("Done", "Succeeded")
    assert stage.value()["password"] not in ("p1", first)
    stage.ask("back", action="RollBack")
    await stage.settle()
    assert stage.said("back")[1:] == ("Aborted", "ValueCompromised")


async def test_another_one_waits_and_then_begins(stage: RotationStage) -> None:
    await in_grace(stage)
    stage.ask("next")
    await stage.settle()
    assert stage.said("next") == ("Pending", None, "RotationScheduled")
    assert stage.rotation("next").status.message == "it waits for Rotation 'run', which goes first"
    await stage.clock.advance(600.0)
    await stage.settle()
    assert stage.said()[1] == "Succeeded"
    assert stage.said("next")[0] == "Promoted"


@pytest.mark.parametrize("name", ["run", "weekly"])
async def test_before_it_is_live_it_goes_with_its_object(stage: RotationStage, name: str) -> None:
    stage.plan(
        verify=[{"name": "check", "job": {"image": "check"}, "timeout": "1m", "attempts": 1, "onInconclusive": "Retry"}]
    )
    stage.ask()
    stage.hooks = [UNDECIDED, UNDECIDED]
    await stage.settle()
    assert stage.said() == ("Applied", None, "VerificationInconclusive")
    stage.leave(ROTATIONS if name == "run" else ROTATION_SCHEDULES, name)
    await stage.settle()
    assert stage.phase is Phase.ABORTED
    assert stage.value()["password"] == "p1"
    if name == "run":
        assert not stage.held()
    else:
        assert stage.kube.find(ROTATION_SCHEDULES, "shop", "weekly") is None


async def test_a_rotation_that_is_deleted_once_its_value_is_live_is_finished(stage: RotationStage) -> None:
    await promoted(stage)
    stage.leave(ROTATIONS, "run")
    stage.delivers(2)
    await stage.settle()
    await stage.clock.advance(600.0)
    assert await stage.settle() == Result.done()
    assert stage.phase is Phase.DONE
    assert not stage.held()


async def test_a_schedule_that_goes_leaves_both_values_and_one_of_its_name_goes_on(stage: RotationStage) -> None:
    await in_grace(stage)
    stage.leave(ROTATION_SCHEDULES, "weekly")
    await stage.settle()
    assert stage.said()[1:] == ("Aborted", "JournalOrphaned")
    assert stage.phase is Phase.GRACE
    stage.went(ROTATION_SCHEDULES, "weekly")
    assert await stage.run() == Result.absent()
    assert stage.parts.board.get(SCHEDULE) is None
    stage.plan()
    await stage.clock.advance(600.0)
    await stage.settle()
    assert stage.phase is Phase.DONE


# ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def finish(stage: RotationStage) -> None:
    """Look until the run has ended, with everything that a run needs from elsewhere; errors are tried again."""
    for _ in range(80):
        try:
            result = await stage.run()
        except KubeError:
            result = Result.after(timedelta(seconds=1))
        if stage.rotation().status.result is not None and not stage.held():
            return
        if len(stage.vault._entries["secret", "db"]) > 1:
            stage.delivers(max(stage.vault._entries["secret", "db"]))
        delay = result.requeue_after
        await stage.clock.advance(delay.total_seconds() if delay is not None else 1.0)
    raise AssertionError(f"it does not end: {stage.said()}, {stage.phase}")


def well(stage: RotationStage) -> None:
    assert stage.said() == ("Done", "Succeeded", "Promoted")
    assert sorted(stage.vault._entries["secret", "db"]) == [1, 2], "the value was replaced once"
    entry = stage.journal()
    assert entry is not None
    assert [past.result for past in entry.history] == [Phase.DONE]


CALLS = [(operation, nth, AWAY) for operation in ("read", "write", "destroy", "metadata") for nth in range(1, 9)]
CONFLICTS = [("write", nth, SecretConflictError("the current version is another one")) for nth in range(1, 9)]


@pytest.mark.parametrize(
    ("operation", "nth", "error"),
    [pytest.param(*case, id=f"{case[0]}-{case[1]}-{type(case[2]).__name__}") for case in CALLS + CONFLICTS],
)
async def test_one_call_that_fails_is_made_again(
    stage: RotationStage, monkeypatch: pytest.MonkeyPatch, operation: str, nth: int, error: Exception
) -> None:
    left = [nth]
    original = type(stage.vault)._called

    def called(fake: Any, done: str, *args: Any, **kwargs: Any) -> None:
        original(fake, done, *args, **kwargs)
        left[0] -= done == operation
        if done == operation and left[0] == 0:
            raise error

    monkeypatch.setattr(type(stage.vault), "_called", called)
    stage.plan()
    stage.ask()
    await finish(stage)
    well(stage)


async def test_who_meets_the_same_conflict_again_and_again_is_told(
    stage: RotationStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = [True]
    original = type(stage.vault).kv2_write

    def write(fake: Any, *args: Any, **kwargs: Any) -> int:
        if theirs[0]:
            raise SecretConflictError("the role 'a' is changed by another rotation")
        return original(fake, *args, **kwargs)

    monkeypatch.setattr(type(stage.vault), "kv2_write", write)
    stage.plan()
    stage.ask()
    looks = [await stage.run() for _ in range(CONFLICTS_UNTIL_TOLD)]
    assert looks[:-1] == [Result.after(timedelta(seconds=0.3))] * (CONFLICTS_UNTIL_TOLD - 1)
    assert looks[-1] == Result.after(timedelta(seconds=10)), "and it is not asked for three times a second any more"
    assert stage.said() == ("Pending", None, "JournalConflict")
    assert stage.rotation().status.message == "secret/db: the role 'a' is changed by another rotation"
    theirs[0] = False
    await finish(stage)
    well(stage)


@pytest.mark.parametrize("nth", range(1, 9))
async def test_a_write_whose_answer_is_lost_is_not_made_twice(
    stage: RotationStage, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    left = [nth]
    original = type(stage.vault).kv2_write

    def write(fake: Any, *args: Any, **kwargs: Any) -> int:
        number = original(fake, *args, **kwargs)
        left[0] -= 1
        if left[0] == 0:
            raise AWAY
        return number

    monkeypatch.setattr(type(stage.vault), "kv2_write", write)
    stage.plan()
    stage.ask()
    await finish(stage)
    well(stage)


@pytest.mark.parametrize("status", [0, 409, 500])
@pytest.mark.parametrize(
    ("verb", "kind"), [("status", ROTATIONS), ("status", ROTATION_SCHEDULES), ("patch", ROTATION_SCHEDULES)]
)
@pytest.mark.parametrize("nth", range(4))
async def test_a_write_to_the_cluster_that_fails_is_made_again(
    stage: RotationStage, verb: str, kind: Any, nth: int, status: int
) -> None:
    stage.plan()
    stage.ask()
    stage.kube.fail(verb, kind, *[None] * nth, status, status)
    await finish(stage)
    well(stage)


async def test_a_process_that_ends_after_every_look_loses_nothing(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    for _ in range(6):
        await stage.run()
        stage.restart()
    await finish(stage)
    well(stage)


async def test_all_statuses_wiped_in_the_middle(stage: RotationStage) -> None:
    await in_grace(stage)
    for kind, name in ((ROTATIONS, "run"), (ROTATION_SCHEDULES, "weekly")):
        stage.edit(kind, "shop", name, lambda body: body.pop("status"))
    stage.restart()
    await finish(stage)
    well(stage)


async def test_vault_is_away_and_what_waits_says_so(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    stage.vault.down = AWAY
    assert await stage.run() == Result.after(timedelta(seconds=30))
    assert stage.said() == ("Pending", None, "VaultUnreachable")
    stage.vault.down = None
    await finish(stage)
    well(stage)


async def test_an_object_that_is_missing_ends_nothing_and_what_is_wrong_does(stage: RotationStage) -> None:
    stage.ask()
    await stage.run()
    assert stage.said() == ("Pending", None, "ScheduleNotFound")
    stage.plan(timeZone="Mars/Olympus", schedule="@daily")
    await stage.run()
    assert stage.said() == ("Aborted", "Aborted", "TimeZoneUnknown")
    stage.remove(ELILE_SECRETS, "shop", "db")
    stage.plan("other")
    stage.ask("second", "other")
    assert await stage.run("other") == Result.after(timedelta(seconds=30))
    assert stage.said("second") == ("Pending", None, "ElileSecretNotFound")


BEFORE = {"name": "before", "stage": "Preflight", "job": {"image": "check"}, "timeout": "1m", "attempts": 1}
HOOKS = [{**BEFORE, "name": "check", "stage": "Pending"}, BEFORE]


async def test_what_is_waited_for_before_it_begins_is_told(stage: RotationStage) -> None:
    stage.plan(verify=HOOKS)
    stage.ask()
    stage.ask("second")
    stage.hooks = [UNDECIDED]
    assert await stage.settle() == Result.after(timedelta(seconds=10))
    assert stage.said() == ("Pending", None, "VerificationInconclusive")
    assert stage.rotation().status.message == "a verification came to no result: before: no answer"
    assert stage.rotation("second").status.message == "it waits for Rotation 'run', which goes first"
    board = stage.parts.board.get(SCHEDULE)
    assert board is not None
    assert (board.phase, board.active) == (Phase.PENDING, "run")
    assert stage.journal() is None
    await stage.settle()
    assert stage.said()[0] == "Promoted"


async def test_one_that_is_deleted_before_it_begins_lets_the_schedule_go(stage: RotationStage) -> None:
    stage.plan(verify=HOOKS)
    stage.ask()
    stage.hooks = [UNDECIDED]
    await stage.settle()
    assert stage.held()
    stage.leave(ROTATIONS, "run")
    assert await stage.settle() == Result.done()
    assert not stage.held()
    assert stage.parts.board.get(SCHEDULE) is None


async def test_a_journal_that_was_deleted_is_a_persons_to_bring_back(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    await stage.settle()
    assert stage.said()[0] == "Promoted"
    stage.vault.delete("elile-journal/db", max(stage.vault._entries["secret", "elile-journal/db"]))
    await stage.settle()
    assert stage.said()[1:] == ("NeedsIntervention", "JournalConflict")
    assert stage.rotation().status.message == (
        "the journal of a rotation that was under way is gone; nothing was removed: undelete the last version of "
        "secret/elile-journal/db, then make a Rotation; where it cannot be undeleted, see that what is live logs in, "
        "delete the metadata of secret/elile-journal/db, and make a Rotation"
    )


# ── groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_of_a_group_one_runs_at_a_time_and_the_next_is_woken(stage: RotationStage) -> None:
    stage.put(ELILE_SECRETS, elile_secret("web", uid="uid-web", sources=[{"name": "db", "kv": {"path": "web"}}]))
    stage.vault.write("web", password="p1")
    group = {"group": {"name": "one", "spacing": "30m"}}
    stage.plan(**group)
    stage.plan("other", secretRef={"name": "web", "source": "db"}, **group)
    stage.ask()
    stage.ask("second", "other")
    await stage.settle()
    await stage.settle("other")
    assert stage.said("second") == ("Pending", None, "WaitingForGroup")
    assert stage.rotation("second").status.message == "RotationSchedule 'weekly' of group 'one' goes first"
    stage.delivers(2)
    await stage.settle()
    await stage.clock.advance(600.0)
    stage.due(stage.runs)
    await stage.settle()
    assert ObjectKey("shop", "other") in stage.due(stage.runs)
    assert await stage.settle("other") == Result.after(timedelta(minutes=20))
    assert stage.rotation("second").status.message == "group 'one' starts its next run at 2030-01-01T00:30:00Z"
    await stage.clock.advance(1200.0)
    await stage.settle("other")
    assert stage.said("second")[1] is not None or stage.said("second")[0] in ("Promoted", "Grace")


async def test_those_who_wait_do_not_wake_each_other(stage: RotationStage) -> None:
    blackout = [{"name": "always", "schedule": "0 0 1 * *", "duration": "10d"}]
    for name in ("weekly", "other"):
        stage.plan(name, group={"name": "one"}, blackouts=blackout)
        stage.ask(f"run-{name}", name)
    stage.due(stage.runs)
    for name in ("weekly", "other"):
        await stage.run(name)
    assert stage.due(stage.runs) == []
    assert stage.said("run-other") == ("Pending", None, "Blackout")


# ── errands, and what stands in the way ──────────────────────────────────────────────────────────────────────────────

KEYSET = {"value": {"keyset": {}}, "fields": None, "verify": [{"name": "crypto", "crypto": {}}]}


async def test_a_key_is_added_and_an_old_one_destroyed_when_a_person_says_so(stage: RotationStage) -> None:
    stage.vault.write("db", key="bXkga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMgaXMgISE=")
    stage.delivers(2)
    stage.plan(**KEYSET)
    stage.ask()
    await stage.settle()
    assert stage.said()[0] == "Distributing"
    for _ in range(2):
        stage.delivers(max(stage.vault._entries["secret", "db"]))
        await stage.settle()
    assert stage.said()[:2] == ("Done", "Succeeded")
    old = next(key for key, each in stage.value()["keys"].items() if each["status"] == "decrypt")
    stage.ask("primary", action="DestroyKey", keyID=stage.value()["primary"])
    await stage.settle()
    assert stage.said("primary")[1:] == ("Aborted", "PreflightFailed")
    stage.ask("destroy", action="DestroyKey", keyID=old)
    await stage.settle()
    assert stage.said("destroy") == ("Succeeded", "Succeeded", "Retired")
    assert "material" not in stage.value()["keys"][old]


async def test_a_key_run_that_waits_for_a_proof_is_ended_by_retire(stage: RotationStage) -> None:
    stage.vault.write("db", key="bXkga2V5IG9mIHRoaXJ0eS10d28gYnl0ZXMgaXMgISE=")
    stage.delivers(2)
    stage.plan(**KEYSET)
    stage.ask()
    await stage.settle()
    stage.delivers(3)
    await stage.settle()
    assert stage.said()[0] == "Promoted"
    stage.ask("retire", action="Retire")
    await stage.settle()
    assert (stage.said()[:2], stage.said("retire")[1]) == (("Done", "Succeeded"), "Succeeded")


async def test_a_journal_of_somebody_else(stage: RotationStage) -> None:
    await in_grace(stage)
    stage.plan("other")
    stage.ask("theirs", "other")
    await stage.settle("other")
    assert stage.said("theirs")[1:] == ("Aborted", "ManagedElsewhere")
    assert not stage.held("other")
    assert stage.phase is Phase.GRACE


async def test_a_window_that_closes_undoes_what_is_not_live(stage: RotationStage) -> None:
    hook = {"name": "check", "job": {"image": "check"}, "timeout": "1m", "attempts": 1, "onInconclusive": "Retry"}
    stage.plan(schedule="0 3 * * *", window="1h", verify=[hook])
    await stage.parts.schedules.reconcile(SCHEDULE)
    await stage.clock.advance(3 * 3600.0)
    await stage.parts.schedules.reconcile(SCHEDULE)
    (made,) = stage.kube.written("create", ROTATIONS)
    stage.hooks = [UNDECIDED, UNDECIDED, UNDECIDED]
    await stage.settle()
    assert stage.said(made.name)[2] == "VerificationInconclusive"
    await stage.clock.advance(3600.0)
    await stage.settle()
    assert stage.said(made.name) == ("Aborted", "Aborted", "WindowClosed")
    assert stage.value()["password"] == "p1"


async def test_one_that_comes_after_its_window_does_not_begin(stage: RotationStage) -> None:
    stage.plan(schedule="0 3 * * *", window="1h")
    await stage.parts.schedules.reconcile(SCHEDULE)
    await stage.clock.advance(3 * 3600.0)
    await stage.parts.schedules.reconcile(SCHEDULE)
    (made,) = stage.kube.written("create", ROTATIONS)
    await stage.clock.advance(3600.0)
    await stage.settle()
    assert stage.said(made.name)[1:] == ("Aborted", "WindowClosed")
    assert stage.journal() is None


async def test_nothing_is_retired_in_a_blackout(stage: RotationStage) -> None:
    await in_grace(stage, blackouts=[{"name": "soon", "schedule": "5 0 * * *", "duration": "1h"}])
    await stage.clock.advance(600.0)
    assert await stage.settle() == Result.after(timedelta(seconds=10))
    assert stage.said() == ("Grace", None, "Blackout")
    await stage.clock.advance(3600.0)
    await stage.settle()
    assert stage.said() == ("Done", "Succeeded", "Promoted")


async def test_who_reads_without_a_proof_keeps_it_from_beginning(stage: RotationStage) -> None:
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["spec"].pop("consumers"))
    stage.plan()
    stage.ask()
    await stage.settle()
    assert stage.said()[1:] == ("Aborted", "ProofUndeclared")
    assert stage.rotation().status.message == (
        "ElileSecret 'db' says nothing of how its consumers prove that they use a new value: declare "
        "spec.consumers.proof there, or say in spec.promote.undeclared how long to wait for them"
    )
    assert stage.journal() is None


async def test_an_administrator_is_sent_nowhere_but_where_his_entry_says(stage: RotationStage) -> None:
    stage.vault.write("admin", username="root", password="p", host="db.shop", port="5432", allowed_users='["a", "b"]')
    target = {"host": "evil.example", "database": "d", "users": ["a", "b"], "admin": {"path": "admin"}}
    fields = {"value": "password", "username": "username"}
    stage.plan(apply={"postgresql": target}, fields=fields)
    stage.ask()
    await stage.settle()
    assert stage.said()[1:] == ("Aborted", "TargetNotAllowed")
    assert stage.rotation().status.message == (
        "secret/admin is not for evil.example:5432: name it there, or correct the target"
    )
    assert stage.journal() is None


async def test_a_target_is_not_the_api_server(stage: RotationStage) -> None:
    allowed = '--egress-allow=[{"cidr": "10.0.0.0/8", "ports": [5432]}]'
    stage.parts = stage.new_parts(allowed, guarded=("10.1.2.3",))
    stage.vault.write("admin", username="root", password="p", host="10.1.2.3", port="5432", allowed_users='["a", "b"]')
    stage.vault.write("db", username="a", password="p1", host="h")
    stage.delivers(2)
    target = {"host": "10.1.2.3", "database": "d", "users": ["a", "b"], "admin": {"path": "admin"}}
    stage.plan(apply={"postgresql": target}, fields={"value": "password", "username": "username"})
    stage.ask()
    await stage.settle()
    assert stage.said()[1:] == ("Aborted", "PreflightFailed")
    assert "10.1.2.3:5432 leads to 10.1.2.3, which egress.allow does not list" in str(stage.rotation().status.message)


async def test_a_blackout_is_waited_out_but_by_an_emergency(stage: RotationStage) -> None:
    stage.plan(blackouts=[{"name": "night", "schedule": "0 0 * * *", "duration": "4h"}])
    stage.ask()
    assert await stage.settle() == Result.after(timedelta(hours=4))
    assert stage.rotation().status.message == "blackout 'night' is open until 2030-01-01T04:00:00Z"
    stage.ask("urgent", compromised=True)
    await stage.settle()
    assert stage.said("urgent")[0] == "Promoted"


async def test_a_lease_that_is_lost_stops_before_the_next_side_effect(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    stage.lost_lease = SecretsUnavailableError("the Lease is lost")
    await stage.settle()
    assert stage.value()["password"] == "p1"
    stage.lost_lease = None
    await finish(stage)
    well(stage)


async def test_an_elilesecret_that_goes_while_both_are_valid(stage: RotationStage) -> None:
    await in_grace(stage)
    stage.remove(ELILE_SECRETS, "shop", "db")
    await stage.settle()
    assert stage.said()[1:] == ("Aborted", "JournalOrphaned")
    assert not stage.held()
    assert stage.phase is Phase.GRACE


async def test_a_schedule_that_goes_while_vault_is_away_is_let_go_in_the_end(stage: RotationStage) -> None:
    await in_grace(stage)
    stage.vault.down = AWAY
    stage.leave(ROTATION_SCHEDULES, "weekly")
    await stage.run()
    assert stage.kube.find(ROTATION_SCHEDULES, "shop", "weekly") is not None
    await stage.clock.advance(24 * 3600.0)
    assert await stage.run() == Result.absent()
    assert stage.kube.find(ROTATION_SCHEDULES, "shop", "weekly") is None
    assert "JournalOrphaned" in stage.events.reasons


async def test_a_run_begins_in_a_look_of_its_own(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    result = await stage.run()
    assert (result.requeue_after, stage.phase) == (timedelta(0), Phase.PENDING)
    assert stage.said() == ("Pending", None, "RotationStarted")
    assert stage.value()["password"] == "p1"
    await stage.settle()
    assert stage.phase is not Phase.PENDING
