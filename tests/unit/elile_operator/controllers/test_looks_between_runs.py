"""What is looked at between runs: what is too old, what is staged, and which versions are ours by the journal."""

import base64
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.errors import SecretConflictError
from elile_operator.api.meta import OCCURRENCE_ANNOTATION, TRIGGER_ANNOTATION
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.engine import Result
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ROTATION_SCHEDULES, ROTATIONS
from tests.unit.elile_operator.controllers.rotation_stage import SCHEDULE, SPEC, RotationStage, rotating

ONE, TWO = (base64.b64encode(bytes([n]) * 32).decode() for n in (1, 2))
AFTER = timedelta(hours=1)


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    async with rotating(monkeypatch) as stage:
        yield stage


def keep(stage: RotationStage, *, replaced: timedelta | None, **spec: Any) -> None:
    """A set of two keys, of which the first was replaced so long ago; None: nobody knows."""
    old: Json = {"algorithm": "AES256GCM", "status": "decrypt", "material": ONE}
    if replaced is not None:
        old["replaced"] = (stage.clock.now() - replaced).isoformat()
    keys = {"1": old, "2": {"algorithm": "AES256GCM", "status": "primary", "material": TWO}}
    stage.vault.write("db", primary="2", keys=keys, key=TWO)
    stage.delivers(2)
    plan(stage, **spec)


def plan(stage: RotationStage, **spec: Any) -> None:
    about = {"name": "weekly", "namespace": "shop", "uid": "uid-weekly", "generation": 1}
    wanted = {**SPEC, "value": {"keyset": {"disableAfter": "1h"}}, **spec}
    del wanted["fields"]
    kind = {"apiVersion": ROTATION_SCHEDULES.api_version, "kind": ROTATION_SCHEDULES.kind}
    stage.put(ROTATION_SCHEDULES, {**kind, "metadata": about, "spec": wanted})


async def look(stage: RotationStage) -> Result:
    return await stage.parts.schedules.reconcile(SCHEDULE)


def statuses(stage: RotationStage) -> dict[str, str]:
    return {name: key["status"] for name, key in stage.value()["keys"].items()}


def told(stage: RotationStage) -> tuple[int | None, str | None]:
    """The version that counts, and the reason of Ready."""
    body = stage.kube.find(ROTATION_SCHEDULES, "shop", "weekly")
    assert body is not None
    status = RotationSchedule.from_body(body).status
    return status.live_version, next((c.reason for c in status.conditions if c.type == "Ready"), None)


OLD = {"1": "disabled", "2": "primary"}
YOUNG = {"1": "decrypt", "2": "primary"}


async def test_keys_are_disabled_when_their_time_is_over(stage: RotationStage) -> None:
    keep(stage, replaced=timedelta(minutes=50))
    result = await look(stage)
    assert (statuses(stage), result.requeue_after) == (YOUNG, timedelta(minutes=10))
    await stage.clock.advance(600.0)
    await look(stage)
    assert statuses(stage) == OLD
    assert told(stage) == (3, "RotationScheduled")
    assert stage.events.told == [
        (
            "RotationSchedule weekly",
            "KeysDisabled",
            "keys replaced more than 1h ago are disabled, as spec.value.keyset.disableAfter says; version 3 of the "
            "live path has them",
            False,
        )
    ]
    for version in (2, 3):  # the ElileSecret may be behind
        stage.delivers(version)
        await look(stage)
        assert told(stage) == (3, "RotationScheduled")
    assert len(stage.events.told) == 1


@pytest.mark.parametrize(
    ("replaced", "spec"),
    [
        pytest.param(None, {}, id="nobody knows since when"),
        pytest.param(2 * AFTER, {"value": {"keyset": {}}}, id="for ever"),
        pytest.param(2 * AFTER, {"suspend": True}, id="suspended"),
    ],
)
async def test_keys_stay(stage: RotationStage, replaced: timedelta | None, spec: Json) -> None:
    keep(stage, replaced=replaced, **spec)
    await look(stage)
    assert (statuses(stage), stage.events.told, told(stage)[0]) == (YOUNG, [], 2)


async def test_keys_stay_in_a_blackout(stage: RotationStage) -> None:
    now = stage.clock.now()
    begins = f"{now.minute} {now.hour} {now.day} {now.month} *"
    keep(stage, replaced=2 * AFTER, blackouts=[{"name": "freeze", "schedule": begins, "duration": "2h"}])
    result = await look(stage)
    assert statuses(stage) == YOUNG
    assert result.requeue_after is not None
    await stage.clock.advance(result.requeue_after.total_seconds())
    await look(stage)
    assert statuses(stage) == OLD


async def test_who_is_not_alone_looks_again(stage: RotationStage, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(stage, replaced=2 * AFTER)

    def taken(*_: Any, **__: Any) -> None:
        raise SecretConflictError("somebody else was faster")

    with monkeypatch.context() as patched:
        patched.setattr("elile_operator.controllers.looks.disable_old_keys", taken)
        result = await look(stage)
    assert (statuses(stage), result.requeue_after) == (YOUNG, timedelta(seconds=2))
    await look(stage)
    assert statuses(stage) == OLD


async def test_what_is_no_set_of_keys_is_named(stage: RotationStage) -> None:
    stage.delivers(1)
    plan(stage)
    await look(stage)
    assert told(stage) == (1, "ShapeInvalid")


async def test_a_version_that_no_rotation_tells_of_is_ours_by_the_journal(stage: RotationStage) -> None:
    stage.plan()
    await look(stage)
    stage.ask()
    await stage.settle()
    stage.delivers(2)
    await stage.settle()
    await stage.clock.advance(600.0)
    await stage.settle()
    assert stage.said() == ("Done", "Succeeded", "Promoted")
    stage.remove(ROTATIONS, "shop", "run")
    await look(stage)
    assert told(stage) == (2, "RotationScheduled")
    stage.vault.write("db", password="theirs", host="h")
    stage.delivers(3)
    await look(stage)
    assert told(stage) == (2, "ExternalChange")


async def test_a_run_whose_value_another_one_has_taken(stage: RotationStage) -> None:
    stage.plan(fields={}, value={"external": {}})
    stage.ask("weekly-s1")

    def staged(body: Json) -> None:
        body["metadata"]["annotations"] = {TRIGGER_ANNOTATION: "Staged", OCCURRENCE_ANNOTATION: "inbox@1"}

    stage.edit(ROTATIONS, "shop", "weekly-s1", staged)
    assert await stage.settle() == Result.done()
    assert stage.said("weekly-s1")[1:] == ("AlreadyDone", "AlreadyDone")
    assert stage.rotation("weekly-s1").status.message == "AlreadyDone: another run has taken what was staged"
    assert not stage.held()
