"""Of a group one runs at a time, starts are a while apart, and who ends lets the next one go."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.meta import FINALIZER
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers.groups import ASK_AGAIN, Groups
from elile_operator.engine import ObjectKey
from elile_operator.kube.resources import ROTATION_SCHEDULES, ROTATIONS
from tests.unit.elile_operator.controllers.rotation_stage import RotationStage, rotating

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
ONE, TWO, THREE = (ObjectKey("shop", name) for name in ("one", "two", "three"))


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    async with rotating(monkeypatch) as stage:
        yield stage


class Group:
    def __init__(self, stage: RotationStage) -> None:
        self.stage = stage
        self.freed: list[ObjectKey] = []
        self.groups = Groups(stage.world, on_free=self.freed.append)

    def of(self, key: ObjectKey) -> RotationSchedule:
        found = self.stage.world.schedule(key)
        assert found is not None
        return found

    def take(self, key: ObjectKey, now: datetime = NOW) -> tuple[str, timedelta] | None:
        return self.groups.take(self.of(key), now)


@pytest.fixture
def group(stage: RotationStage) -> Group:
    for key in (ONE, TWO, THREE):
        stage.plan(key.name, group={"name": "g", "spacing": "1h"})
    return Group(stage)


def hold(stage: RotationStage, key: ObjectKey) -> None:
    def mark(body: dict[str, Any]) -> None:
        body["metadata"]["finalizers"] = [FINALIZER]

    stage.edit(ROTATION_SCHEDULES, key.namespace, key.name, mark)


BUSY = "RotationSchedule 'one' of group 'g' goes first"


def test_without_a_group_nobody_waits(stage: RotationStage) -> None:
    stage.plan("one")
    group = Group(stage)
    assert group.take(ONE) is None
    assert group.take(ONE) is None
    group.groups.free(ONE)
    assert group.freed == []


def test_one_at_a_time(group: Group) -> None:
    assert group.take(ONE) is None
    assert group.take(ONE) is None, "a look that is repeated"
    assert group.take(TWO) == (BUSY, ASK_AGAIN)
    group.groups.free(TWO)
    assert group.freed == [], "who has nothing frees nothing"
    group.groups.free(ONE)
    assert set(group.freed) == {TWO, THREE}
    assert group.take(TWO) is None


def test_what_another_process_has_begun_counts(group: Group) -> None:
    hold(group.stage, ONE)
    assert group.take(TWO) == (BUSY, ASK_AGAIN)
    assert group.take(ONE) is None


def test_another_group_and_another_namespace_do_not(group: Group) -> None:
    group.stage.plan("alone", group={"name": "other"})
    assert group.take(ONE) is None
    assert group.take(ObjectKey("shop", "alone")) is None


@pytest.mark.parametrize(
    ("began", "left"),
    [
        pytest.param(timedelta(minutes=20), timedelta(minutes=40), id="too soon"),
        pytest.param(timedelta(hours=1), None, id="long enough ago"),
    ],
)
def test_starts_are_a_while_apart(group: Group, began: timedelta, left: timedelta | None) -> None:
    group.stage.ask("run", "one")
    start = NOW - began
    told = {"startTime": f"{start:%Y-%m-%dT%H:%M:%SZ}", "rotationID": "id"}
    group.stage.edit(ROTATIONS, "shop", "run", lambda body: body.update(status=told))
    found = group.take(TWO)
    if left is None:
        assert found is None
    else:
        text = f"group 'g' starts its next run at {start + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        assert found == (text, left)
    assert group.take(ONE) is None or left is None, "its own start keeps nobody from the next"


def test_what_never_began_is_no_start(group: Group) -> None:
    group.stage.ask("run", "one")
    told = {"startTime": f"{NOW:%Y-%m-%dT%H:%M:%SZ}"}
    group.stage.edit(ROTATIONS, "shop", "run", lambda body: body.update(status=told))
    assert group.take(TWO) is None
