"""Whose the container of a hook is, and which try: the same try is found again, another one is not taken for it."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.controllers.jobs import HookJobs
from elile_operator.decide.jobs import HookJob
from elile_operator.kube.resources import ROTATIONS
from tests.unit.elile_operator.controllers.rotation_stage import SCHEDULE, RotationStage

VALUE = Redacted({"password": "p"})
PASSED = Verification.passed("exit code 0")


class Runner:
    def __init__(self) -> None:
        self.ran: list[tuple[HookJob, Value]] = []

    async def run(self, job: HookJob, value: Value) -> Verification:
        self.ran.append((job, value))
        return PASSED


@pytest.fixture
async def stage(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RotationStage]:
    run = HookJobs.run
    stage = RotationStage(monkeypatch)
    monkeypatch.setattr(HookJobs, "run", run)
    env = [{"name": "A", "value": "b"}]
    job = {"image": "check:1", "command": ["c"], "args": ["d"], "env": env, "runAsUser": 7}
    stage.plan(verify=[{"name": "check", "job": job, "timeout": "2m"}])
    stage.ask()
    yield stage
    stage.parts.close()


async def ran(stage: RotationStage, rotation_id: str, attempt: str) -> HookJob:
    runner = Runner()
    jobs = HookJobs(runner, world=stage.world)  # type: ignore[arg-type] # as far as it is used
    schedule = stage.world.schedule(SCHEDULE)
    assert schedule is not None
    loop = asyncio.get_running_loop()
    hook = schedule.spec.verify[0]
    assert await asyncio.to_thread(jobs.run, schedule, rotation_id, hook, VALUE, attempt, loop=loop) is PASSED
    ((job, value),) = runner.ran
    assert value is VALUE
    return job


async def test_it_is_the_runs(stage: RotationStage) -> None:
    stage.edit(ROTATIONS, "shop", "run", lambda body: body.update(status={"rotationID": "id-1"}))
    job = await ran(stage, "id-1", "Applied/1")
    assert (job.namespace, job.owner_kind, job.rotation, job.rotation_uid) == ("shop", "Rotation", "run", "uid-run")
    assert (job.hook, job.stage, job.attempt_key) == ("check", "Pending", "id-1/Applied/1")
    assert (job.image, job.command, job.args, job.env) == ("check:1", ("c",), ("d",), (("A", "b"),))
    assert (job.service_account, job.run_as_user, job.timeout.total_seconds()) == ("rotator", 7, 120.0)


@pytest.mark.parametrize("rotation_id", ["", "id-of-one-that-is-gone"])
async def test_without_a_rotation_it_is_the_schedules(stage: RotationStage, rotation_id: str) -> None:
    job = await ran(stage, rotation_id, "/1")
    assert (job.owner_kind, job.rotation, job.rotation_uid) == ("RotationSchedule", "weekly", "uid-weekly")
    assert job.attempt_key == f"{rotation_id or 'uid-weekly'}//1"


async def test_tries_are_told_apart(stage: RotationStage, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def run(*given: object, **_: object) -> Verification:
        asked.append(given[-1])
        return Verification.inconclusive("no pod") if len(asked) < 3 else PASSED

    monkeypatch.setattr(HookJobs, "run", run)
    stage.parts = stage.new_parts()
    await stage.settle()
    assert asked == ["Applied/1", "Applied/2", "Applied/3"]
