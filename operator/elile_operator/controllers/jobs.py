"""Job hooks of a run: whose they are, and which try it is; called from the engine's thread."""

import asyncio

from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.api import verify
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers.world import World
from elile_operator.decide.jobs import HookJob
from elile_operator.decide.orders import is_open
from elile_operator.delivery.jobs import JobRunner
from elile_operator.engine import ObjectKey

__all__ = ["HookJobs"]


class HookJobs:
    """Runs the containers of hooks in the tenant's namespace.

    `attempt` tells the tries of a run apart. What is left of one whose process died is found by it; their count may
    begin anew after a restart, since each that ended has been cleared away.
    """

    def __init__(self, runner: JobRunner, *, world: World) -> None:
        self._runner = runner
        self._world = world

    def run(
        self,
        schedule: RotationSchedule,
        rotation_id: str,
        hook: verify.Hook,
        value: Value,
        attempt: str,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> Verification:
        """Run one try and return what came of it. Blocks, and must not be called in the loop's own thread."""
        return asyncio.run_coroutine_threadsafe(self._run(schedule, rotation_id, hook, value, attempt), loop).result()

    async def _run(
        self, schedule: RotationSchedule, rotation_id: str, hook: verify.Hook, value: Value, attempt: str
    ) -> Verification:
        meta, job = schedule.metadata, hook.job
        assert job is not None  # noqa: S101 - the caller looked
        key = ObjectKey(meta.namespace or "", meta.name)
        owner = next(
            (
                r.metadata
                for r in self._world.rotations_of(key)
                if rotation_id and is_open(r) and r.status.rotation_id == rotation_id
            ),
            None,
        )
        return await self._runner.run(
            HookJob(
                namespace=key.namespace,
                rotation=(owner or meta).name,
                rotation_uid=(owner or meta).uid,
                owner_kind="Rotation" if owner is not None else "RotationSchedule",
                hook=hook.name,
                stage=(hook.stage or verify.VerifyStage.PENDING).value,
                attempt_key=f"{rotation_id or meta.uid}/{attempt}",
                service_account=schedule.spec.vault.service_account_name,
                image=job.image,
                command=job.command,
                args=job.args,
                env=tuple((each.name, each.value) for each in job.env),
                run_as_user=job.run_as_user,
                timeout=hook.timeout,
            ),
            value,
        )
