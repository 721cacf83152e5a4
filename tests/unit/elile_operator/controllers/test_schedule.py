"""What is due becomes one Rotation, what is over is cleared away, and the status tells of it; nothing else rotates."""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretsUnavailableError
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.controllers.schedule import LONGEST
from elile_operator.engine import ObjectKey, Result
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ELILE_SECRETS, ROTATION_SCHEDULES, ROTATIONS
from tests.fakes.api import elile_secret
from tests.unit.elile_operator.controllers.rotation_stage import SCHEDULE, RotationStage, rotating

DAY = 24 * 3600.0
DAILY = {"schedule": "0 3 * * *"}


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    async with rotating(monkeypatch) as stage:
        yield stage


async def look(stage: RotationStage) -> Result:
    return await stage.parts.schedules.reconcile(SCHEDULE)


def status(stage: RotationStage) -> Json:
    body = stage.kube.find(ROTATION_SCHEDULES, "shop", "weekly")
    assert body is not None
    found: Json = body.get("status", {})
    return found


def ready(stage: RotationStage) -> tuple[str, str]:
    found = next(c for c in status(stage)["conditions"] if c["type"] == "Ready")
    return found["status"], found["reason"]


def made(stage: RotationStage) -> list[str]:
    return [write.name for write in stage.kube.written("create", ROTATIONS)]


async def test_first_sight_rotates_nothing_and_says_when(stage: RotationStage) -> None:
    stage.plan(**DAILY)
    assert await look(stage) == Result.after(timedelta(hours=3))
    assert made(stage) == []
    told = status(stage)
    assert (told["phase"], told["nextRotationTime"]) == ("Idle", "2030-01-01T03:00:00Z")
    assert (told["anchor"], told["anchorTime"]) == ("0 3 * * *[Etc/UTC]", "2030-01-01T00:00:00Z")
    assert (told["liveVersion"], told["liveSince"]) == (1, "2030-01-01T00:00:00Z")
    assert ready(stage) == ("True", "RotationScheduled")


@pytest.mark.parametrize("theirs", [{"action": "DryRun"}, {}], ids=["of another action", "of a person, for itself"])
async def test_what_has_the_name_of_a_run_does_not_use_it_up(stage: RotationStage, theirs: Json) -> None:
    stage.plan(**DAILY)
    await look(stage)
    await stage.clock.advance(3 * 3600.0)
    name = "weekly-31557780"
    stage.ask(name, **theirs)
    assert await look(stage) == Result.after(timedelta(minutes=1))
    assert "lastScheduleLabel" not in status(stage)
    assert [note for _, reason, note, _ in stage.events.told if reason == "MissedRun"] == [
        f"Rotation {name} is not the run for 2030-01-01T03:00[Etc/UTC], and has its name: "
        "delete it, and the run is made"
    ]
    stage.remove(ROTATIONS, "shop", name)
    await look(stage)
    assert status(stage)["lastScheduleLabel"] == "2030-01-01T03:00[Etc/UTC]"
    body = stage.kube.find(ROTATIONS, "shop", name)
    assert body is not None
    assert body["metadata"]["annotations"]["elile.io/trigger"] == "Schedule"


async def test_who_else_reads_the_value_is_told(stage: RotationStage) -> None:
    for namespace, name in (("shop", "web"), ("shop", "job"), ("other", "a"), ("other", "b")):
        body = elile_secret(name, namespace=namespace, uid=f"uid-{namespace}-{name}")
        body["status"] = {**(stage.kube.find(ELILE_SECRETS, "shop", "db") or {})["status"]}
        stage.put(ELILE_SECRETS, body)
    stage.plan(promote={"undeclared": "5s"})
    await look(stage)
    assert status(stage)["otherReaders"] == ["job", "web", "2 of other namespaces"]


async def test_what_is_due_is_made_once(stage: RotationStage) -> None:
    stage.plan(**DAILY)
    await look(stage)
    await stage.clock.advance(3 * 3600.0)
    await look(stage)
    (name,) = made(stage)
    body = stage.kube.find(ROTATIONS, "shop", name)
    assert body is not None
    assert body["metadata"]["labels"] == {"elile.io/schedule": "weekly"}
    assert body["metadata"]["annotations"] == {
        "elile.io/trigger": "Schedule",
        "elile.io/occurrence": "2030-01-01T03:00[Etc/UTC]",
    }
    (owner,) = body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
        "RotationSchedule",
        "weekly",
        "uid-weekly",
        True,
    )
    assert body["spec"] == {"scheduleRef": {"name": "weekly"}, "action": "Rotate"}
    assert status(stage)["lastScheduleLabel"] == "2030-01-01T03:00[Etc/UTC]"
    for _ in range(3):
        await look(stage)
    stage.restart()
    await look(stage)
    assert made(stage) == [name]


async def test_a_name_that_is_taken_is_the_lock(stage: RotationStage) -> None:
    stage.plan(**DAILY)
    await look(stage)
    await stage.clock.advance(3 * 3600.0)
    stage.kube.fail("status", ROTATION_SCHEDULES, 500)
    with pytest.raises(Exception, match="status rotationschedules"):
        await look(stage)
    (name,) = made(stage)
    theirs = stage.kube.find(ROTATIONS, "shop", name)
    assert theirs is not None
    stage.remove(ROTATIONS, "shop", name)
    stage.kube.put(ROTATIONS, theirs)  # which this process was not told of
    await look(stage)
    assert made(stage) == [name, name], "it was asked for again, and the API server said no"
    assert status(stage)["lastScheduleLabel"] == "2030-01-01T03:00[Etc/UTC]"


async def test_a_status_that_is_wiped_rotates_nothing(stage: RotationStage) -> None:
    stage.plan(maxAge="30d", **DAILY)
    await look(stage)
    await stage.clock.advance(3 * 3600.0)
    await look(stage)
    await stage.clock.advance(3600.0)
    stage.edit(ROTATION_SCHEDULES, "shop", "weekly", lambda body: body.pop("status"))
    await look(stage)
    assert len(made(stage)) == 1


@pytest.mark.parametrize(
    ("spec", "runs", "label"),
    [
        pytest.param({}, 1, "2030-01-03T03:00[Etc/UTC]", id="the last one only"),
        pytest.param({"missedRun": "Skip"}, 0, "2030-01-03T03:00[Etc/UTC]", id="skipped"),
        pytest.param({"window": "1h"}, 0, "2030-01-03T03:00[Etc/UTC]", id="its window is closed"),
        pytest.param({"suspend": True}, 0, None, id="suspended"),
    ],
)
async def test_what_was_missed_is_caught_up_with_once(
    stage: RotationStage, spec: dict[str, Any], runs: int, label: str | None
) -> None:
    stage.plan(**DAILY, **spec)
    await look(stage)
    await stage.clock.advance(2 * DAY + 12 * 3600.0)
    await look(stage)
    await look(stage)
    assert len(made(stage)) == runs
    assert status(stage).get("lastScheduleLabel") == label
    assert status(stage).get("missedRuns") == (1 if label else None)
    assert stage.events.reasons.count("MissedRun") == (1 if label else 0)


async def test_a_value_that_is_too_old_waits_for_the_run_that_is_open(stage: RotationStage) -> None:
    stage.plan(maxAge="10d")
    await look(stage)
    stage.ask()
    await stage.clock.advance(10 * DAY)
    await look(stage)
    assert made(stage) == []
    stage.remove(ROTATIONS, "shop", "run")
    await look(stage)
    assert len(made(stage)) == 1


async def test_runs_that_are_over_are_cleared_away(stage: RotationStage) -> None:
    stage.plan(historyLimit=1, **DAILY)
    await look(stage)
    for _ in range(3):
        await stage.clock.advance(DAY)
        await look(stage)
        name = made(stage)[-1]
        done = {"result": "Aborted", "completionTime": f"{stage.clock.now():%Y-%m-%dT%H:%M:%SZ}"}
        stage.edit(ROTATIONS, "shop", name, lambda body, done=done: body.update(status=done))
        await look(stage)
    gone = stage.kube.written("delete", ROTATIONS)
    assert list(dict.fromkeys(write.name for write in gone)) == made(stage)[:2]
    assert all(write.body["uid"] for write in gone), "and not another one of the name"
    assert status(stage)["lastResult"] == "Aborted"


async def test_nothing_new_is_not_written(stage: RotationStage) -> None:
    stage.plan(**DAILY)
    await look(stage)
    stage.calls()
    await stage.clock.advance(60.0)
    await look(stage)
    assert stage.calls() == []


async def test_a_clock_that_is_set_is_noticed(stage: RotationStage) -> None:
    stage.plan()
    assert await look(stage) == Result.after(LONGEST)


async def test_one_that_goes_or_is_gone_is_left_alone(stage: RotationStage) -> None:
    assert await look(stage) == Result.absent()
    stage.plan(**DAILY)
    stage.edit(
        ROTATION_SCHEDULES,
        "shop",
        "weekly",
        lambda body: body["metadata"].update(deletionTimestamp="2030-01-01T00:00:00Z"),
    )
    assert await look(stage) == Result.done()
    assert status(stage) == {}


# ── while a run is under way ─────────────────────────────────────────────────────────────────────────────────────────


async def test_the_phase_is_told_and_a_new_process_takes_nothing_back(stage: RotationStage) -> None:
    stage.plan(drift={"interval": "1h"})
    stage.ask()
    await stage.settle()
    await look(stage)
    assert (status(stage)["phase"], status(stage)["active"]) == ("Promoted", "run")
    before = stage.vault.count("read")
    stage.restart()
    await stage.clock.advance(3600.0)
    stage.calls()
    await look(stage)
    assert (status(stage)["phase"], status(stage)["active"]) == ("Promoted", "run")
    assert stage.vault.count("read") <= before, "a run looks at the value itself"
    assert [call for call in stage.calls() if call.startswith("status")] == []


async def test_what_needs_a_person_starts_nothing(stage: RotationStage) -> None:
    stage.plan(**DAILY)
    await look(stage)
    stage.ask()
    await stage.settle()
    stage.vault.write("db", password="of somebody else", host="h")
    await stage.settle()
    assert stage.said()[1:] == ("NeedsIntervention", "ExternalChange")
    await look(stage)
    stage.restart()
    await stage.clock.advance(DAY)
    await look(stage)
    assert made(stage) == []
    assert ready(stage) == ("False", "NeedsIntervention")


# ── what Vault and the target say ────────────────────────────────────────────────────────────────────────────────────


async def test_somebody_elses_version_is_flagged_and_adopted_if_it_works(stage: RotationStage) -> None:
    stage.plan()
    await look(stage)
    stage.vault.write("db", password="of somebody else", host="h")
    stage.delivers(2)
    await look(stage)
    assert ready(stage) == ("False", "ExternalChange")
    assert status(stage)["liveVersion"] == 1

    def adopt(body: Json) -> None:
        body["spec"]["drift"] = {"onExternalChange": "Adopt"}
        body["metadata"]["generation"] += 1

    stage.edit(ROTATION_SCHEDULES, "shop", "weekly", adopt)
    await look(stage)
    assert ready(stage) == ("True", "RotationScheduled")
    assert status(stage)["liveVersion"] == 2
    assert "ExternalChange" in stage.events.reasons


async def test_a_value_that_no_longer_works_is_told_until_it_does(stage: RotationStage) -> None:
    hook = {"name": "check", "stage": "Drift", "job": {"image": "check"}, "timeout": "1m", "attempts": 1}
    first = {**hook, "name": "first", "stage": "Pending"}
    stage.plan(drift={"interval": "1h"}, verify=[first, hook])
    await look(stage)
    await stage.clock.advance(3600.0)
    stage.hooks = [Verification.failed("28P01")]
    await look(stage)
    assert ready(stage) == ("False", "DriftDetected")
    await stage.clock.advance(60.0)
    await look(stage)
    assert ready(stage) == ("False", "DriftDetected"), "it is looked at again when that is due"
    await stage.clock.advance(3600.0)
    await look(stage)
    assert ready(stage) == ("True", "RotationScheduled")


async def test_a_staged_value_is_taken_once(stage: RotationStage) -> None:
    stage.plan(value={"external": {}})
    await look(stage)
    assert made(stage) == []
    stage.vault.write("elile-journal-inbox/db", password="p2")
    await look(stage)
    await look(stage)
    assert made(stage) == ["weekly-s1"]


async def test_vault_is_away(stage: RotationStage) -> None:
    stage.plan(value={"external": {}})
    stage.vault.down = SecretsUnavailableError("answered 500")
    assert await look(stage) == Result.after(timedelta(seconds=30))
    assert ready(stage) == ("Unknown", "VaultUnreachable")


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        pytest.param({"schedule": "@daily", "timeZone": "Mars/Olympus"}, "TimeZoneUnknown", id="its times"),
        pytest.param({"secretRef": {"name": "web", "source": "db"}}, "ElileSecretNotFound", id="its ElileSecret"),
        pytest.param({"secretRef": {"name": "db", "source": "web"}}, "SourceNotRotatable", id="its source"),
    ],
)
async def test_what_is_wrong_is_told(stage: RotationStage, spec: dict[str, Any], reason: str) -> None:
    stage.plan(**spec)
    await look(stage)
    assert ready(stage) == ("False", reason)


async def test_readers_that_could_not_follow_are_told_before(stage: RotationStage) -> None:
    stage.plan()
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["spec"].pop("consumers"))
    await look(stage)
    assert ready(stage) == ("False", "ProofUndeclared")


# ── what the ElileSecret tells ───────────────────────────────────────────────────────────────────────────────────────


async def test_the_elilesecret_tells_of_it_and_keeps_its_own_status(stage: RotationStage) -> None:
    stage.plan()
    stage.ask()
    await stage.settle()
    await look(stage)
    key = ObjectKey("shop", "db")
    assert await stage.parts.tellings.reconcile(key) == Result.done()
    told = stage.status()
    assert (told["rotation"], [r["phase"] for r in told["rotations"]]) == ("Promoted", ["Promoted"])
    found = {c["type"]: (c["status"], c["reason"]) for c in told["conditions"]}
    assert found["RotationHealthy"] == ("False", "AwaitingConsumers")
    stage.calls()
    await stage.parts.tellings.reconcile(key)
    assert stage.calls() == []
    stage.remove(ELILE_SECRETS, "shop", "db")
    assert await stage.parts.tellings.reconcile(key) == Result.absent()
