"""Which change wakes what: a run at once, the telling of it a moment later, and nobody for nothing."""

from collections.abc import AsyncIterator

import pytest

from elile.secrets.rotation.journal import Phase
from elile_operator.controllers.board import Standing
from elile_operator.controllers.rotation_wakeups import SETTLE
from elile_operator.engine import ObjectKey
from elile_operator.kube.client import Json
from elile_operator.kube.resources import ELILE_SECRETS, ROTATION_SCHEDULES, ROTATIONS
from tests.unit.elile_operator.controllers.rotation_stage import SCHEDULE, RotationStage, rotating
from tests.unit.elile_operator.controllers.stage import DB

GRACE = Standing(phase=Phase.GRACE, active="run")


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    async with rotating(monkeypatch) as stage:
        stage.plan()
        await woken(stage)
        yield stage


async def woken(stage: RotationStage) -> tuple[list[ObjectKey], list[ObjectKey], list[ObjectKey]]:
    """Runs, schedules and ElileSecrets that were woken, once all has settled."""
    runs = stage.due(stage.runs)
    await stage.clock.advance(SETTLE)
    assert stage.due(stage.runs) == [], "a run is woken at once, or not at all"
    return runs, stage.due(stage.schedules), stage.due(stage.tellings)


def respec(body: Json) -> None:
    body["spec"]["suspend"] = True
    body["metadata"]["generation"] += 1


async def test_another_spec_wakes_all(stage: RotationStage) -> None:
    stage.edit(ROTATION_SCHEDULES, "shop", "weekly", respec)
    assert await woken(stage) == ([SCHEDULE], [SCHEDULE], [DB])


async def test_a_status_of_a_schedule_wakes_no_run(stage: RotationStage) -> None:
    stage.edit(ROTATION_SCHEDULES, "shop", "weekly", lambda body: body.update(status={"phase": "Grace"}))
    assert await woken(stage) == ([], [SCHEDULE], [DB])


async def test_one_that_names_another_elilesecret_is_told_at_both(stage: RotationStage) -> None:
    def move(body: Json) -> None:
        body["spec"]["secretRef"] = {"name": "web", "source": "db"}
        body["metadata"]["generation"] += 1

    stage.edit(ROTATION_SCHEDULES, "shop", "weekly", move)
    _, _, told = await woken(stage)
    assert set(told) == {DB, ObjectKey("shop", "web")}


async def test_a_rotation_wakes_its_run(stage: RotationStage) -> None:
    stage.ask()
    assert await woken(stage) == ([SCHEDULE], [SCHEDULE], [])
    stage.edit(ROTATIONS, "shop", "run", lambda body: body.update(status={"phase": "Grace"}))
    assert await woken(stage) == ([], [SCHEDULE], [])
    stage.remove(ROTATIONS, "shop", "run")
    assert await woken(stage) == ([SCHEDULE], [SCHEDULE], [])


async def test_one_whose_status_is_wiped_is_told_anew(stage: RotationStage) -> None:
    stage.ask()
    stage.edit(ROTATIONS, "shop", "run", lambda body: body.update(status={"phase": "Done", "result": "Succeeded"}))
    await woken(stage)
    stage.edit(ROTATIONS, "shop", "run", lambda body: body.pop("status"))
    assert (await woken(stage))[0] == [SCHEDULE]


async def test_an_elilesecret_wakes_its_schedules(stage: RotationStage) -> None:
    stage.delivers(2)
    assert await woken(stage) == ([], [SCHEDULE], [])
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["metadata"].update(generation=2))
    assert (await woken(stage))[0] == [SCHEDULE]


async def test_who_is_waited_for_wakes_the_run_and_is_told(stage: RotationStage) -> None:
    waits = Standing(phase=Phase.PROMOTED, active="run", holds_up={DB: "not proved"})
    stage.parts.board.post(SCHEDULE, waits)
    assert await woken(stage) == ([], [SCHEDULE], [DB])
    stage.delivers(2)
    assert (await woken(stage))[0] == [SCHEDULE]
    stage.parts.board.post(SCHEDULE, GRACE)
    assert await woken(stage) == ([], [SCHEDULE], [DB])


async def test_many_phases_in_a_moment_are_told_once(stage: RotationStage) -> None:
    for phase in (Phase.PENDING, Phase.APPLIED, Phase.VERIFIED, Phase.PROMOTED):
        stage.parts.board.post(SCHEDULE, Standing(phase=phase, active="run"))
    assert stage.due(stage.schedules) == []
    assert await woken(stage) == ([], [SCHEDULE], [])


async def test_a_server_that_is_back_ends_the_backoff(stage: RotationStage) -> None:
    for queue in (stage.runs, stage.schedules):
        queue.add(SCHEDULE)
        assert queue.get_nowait() == SCHEDULE
        queue.backoff(SCHEDULE, at_least=300.0)
        queue.done(SCHEDULE)
    stage.parts.wakeups.server_usable("other")
    await stage.clock.advance(1.0)
    assert (stage.due(stage.runs), stage.due(stage.schedules)) == ([], [])
    stage.parts.wakeups.server_usable("default")
    await stage.clock.advance(1.0)
    assert (stage.due(stage.runs), stage.due(stage.schedules)) == ([SCHEDULE], [SCHEDULE])
