"""RotationSchedule: what is due becomes a Rotation, what is over is cleared away, and the status tells of all of it."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from elile.secrets.rotation.journal import Phase
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import (
    API_VERSION,
    OCCURRENCE_ANNOTATION,
    SCHEDULE_LABEL,
    TRIGGER_ANNOTATION,
    FieldManager,
)
from elile_operator.api.model import InvalidObject
from elile_operator.api.reasons import Reason
from elile_operator.api.rotating import ExternalStart
from elile_operator.api.rotation import Action, Rotation, Trigger
from elile_operator.api.rotationschedule import RotationSchedule, RotationScheduleStatus
from elile_operator.controllers import finalizer
from elile_operator.controllers.board import Board, Standing
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import World
from elile_operator.decide.conditions import find
from elile_operator.decide.due import Calendar, Due, Run, anchor_of, read_calendar, what_is_due
from elile_operator.decide.due import Seen as SeenTimes
from elile_operator.decide.orders import is_open, label_of
from elile_operator.decide.schedule_status import (
    Live,
    Seen,
    Underway,
    failed_at,
    follow_live,
    overdue_history,
    schedule_status,
    version_of,
)
from elile_operator.decide.violation import Violation
from elile_operator.engine import Clock, ObjectKey, Result
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeExistsError, KubeNotFoundError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import ROTATION_SCHEDULES, ROTATIONS

__all__ = ["Looks", "ScheduleController", "Sight"]

log = logging.getLogger(__name__)

# Who deletes what has the name of a run wakes the schedule; this is for what it was not told of.
NAME_IS_TAKEN = timedelta(minutes=1)
LONGEST = timedelta(hours=6)  # a clock that is set must not be noticed only in a year


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What Vault and the target say between runs. Fields that were not looked at keep their defaults."""

    violation: Violation | None = None
    staged: int | None = None
    drifted: datetime | None = None  # when the value was verified
    drift: Violation | None = None
    adopted: bool = False
    ours: Live | None = None  # what is live now, by the journal: no run, or none that is remembered, has told of it
    disabled: str | None = None  # what was done to old keys of a set
    other_readers: tuple[str, ...] | None = None
    again: timedelta | None = None


class Looks(Protocol):
    """Looks between runs, as the rotator of the tenant."""

    async def look(self, schedule: RotationSchedule, live: Live, *, busy: bool) -> Sight: ...


class ScheduleController:
    """Reconciles RotationSchedules. Creating a Rotation of a name that is there already is how it is locked."""

    def __init__(
        self, *, world: World, looks: Looks, board: Board, kube: KubeClient, events: Events, clock: Clock
    ) -> None:
        self._world = world
        self._looks = looks
        self._board = board
        self._kube = kube
        self._events = events
        self._clock = clock

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring one schedule up to date."""
        schedule = self._world.schedule(key)
        if schedule is None:
            return Result.absent()
        if schedule.metadata.deletion_timestamp is not None:
            return Result.done()
        now = self._clock.now()
        rotations = self._world.rotations_of(key)
        underway = _underway(schedule, self._board.get(key))
        busy = underway is not None or finalizer.held(schedule)
        calendar = read_calendar(schedule)
        found = self._world.secret(ObjectKey(key.namespace, schedule.spec.secret_ref.name))
        secret = found if isinstance(found, ElileSecret) else None
        current = version_of(secret, schedule.spec.secret_ref.source)
        live = follow_live(schedule, current, rotations, busy=busy, now=now)
        sight = await self._looks.look(schedule, live, busy=busy)
        live = sight.ours or live
        if sight.disabled is not None:
            await self._say(schedule, Reason.KEYS_DISABLED, sight.disabled)
        if sight.adopted and live.foreign is not None:
            await self._adopt(schedule, live.foreign)
            live = Live(live.foreign, now.replace(microsecond=0))
        wrong = calendar if isinstance(calendar, Violation) else None
        anchor = anchor_of(schedule, now)
        due = Due()
        if isinstance(calendar, Calendar):
            times = SeenTimes(
                anchor=anchor,
                handled=schedule.status.last_schedule_label,
                live_since=live.since,
                failed=failed_at(rotations),
                staged=self._to_take(schedule, sight, rotations),
            )
            due = what_is_due(schedule, calendar, times, now)
        stuck = underway is not None and underway.phase is Phase.NEEDS_INTERVENTION
        label, labelled, missed = await self._take_up(schedule, due, rotations, stuck=stuck)
        status = schedule_status(
            schedule,
            Seen(
                anchor=anchor,
                due=due,
                live=live,
                label=label,
                labelled=labelled,
                missed=missed,
                violation=wrong or sight.violation or sight.drift,
                times_are_wrong=wrong is not None,
                underway=underway,
                rotations=rotations,
                staged=sight.staged is not None,
                drifted=sight.drifted.replace(microsecond=0) if sight.drifted else None,
                other_readers=sight.other_readers if sight.other_readers is not None else schedule.status.other_readers,
            ),
            now,
        )
        await self._tell(schedule, status)
        await self._clear_away(schedule, rotations)
        taken = due.run is not None and due.run.trigger is Trigger.SCHEDULE and label is None and not stuck
        waits = [due.next - now if due.next is not None else None, sight.again, NAME_IS_TAKEN if taken else None]
        delays = [wait for wait in waits if wait is not None]
        return Result.after(max(timedelta(0), min([*delays, LONGEST])))

    def _to_take(self, schedule: RotationSchedule, sight: Sight, rotations: Sequence[Rotation]) -> int | None:
        """Return the staged version that asks for a run; a name that was used shows that it was asked for already."""
        external = schedule.spec.value.external
        if external is None or external.start is not ExternalStart.ON_STAGE or sight.staged is None:
            return None
        name = f"{schedule.metadata.name}-s{sight.staged}"
        return None if name in {r.metadata.name for r in rotations} else sight.staged

    async def _take_up(
        self, schedule: RotationSchedule, due: Due, rotations: Sequence[Rotation], *, stuck: bool
    ) -> tuple[str | None, datetime | None, int]:
        """Make the Rotation that is due; answers the label that is handled with it, its time, and what was missed."""
        skipped, run = due.skipped, due.run
        if skipped is not None:
            note = f"occurrence {skipped.label} passed without a run"
            await self._say(schedule, Reason.MISSED_RUN, note, warning=True)
            return skipped.label, skipped.scheduled, 1
        if run is None or stuck:
            return None, None, 0
        by_age = run.trigger is Trigger.MAX_AGE
        if by_age and any(is_open(r) and r.spec.action is Action.ROTATE for r in rotations):
            return None, None, 0
        if not await self._create(schedule, run):
            return None, None, 0
        if run.trigger is not Trigger.SCHEDULE:
            return None, None, 0
        if due.missed:
            await self._say(schedule, Reason.MISSED_RUN, f"occurrence {run.label} runs late", warning=True)
        return run.label, run.at.replace(microsecond=0), 1 if due.missed else 0

    async def _create(self, schedule: RotationSchedule, run: Run) -> bool:
        """Make the Rotation, if it is not there; False where something else has its name, which uses nothing up."""
        meta = schedule.metadata
        body: Json = {
            "apiVersion": API_VERSION,
            "kind": ROTATIONS.kind,
            "metadata": {
                "name": run.name,
                "namespace": meta.namespace,
                "labels": {SCHEDULE_LABEL: meta.name},
                "annotations": {TRIGGER_ANNOTATION: run.trigger.value, OCCURRENCE_ANNOTATION: run.label},
                "ownerReferences": [
                    {
                        "apiVersion": API_VERSION,
                        "kind": ROTATION_SCHEDULES.kind,
                        "name": meta.name,
                        "uid": meta.uid,
                        "controller": True,
                    }
                ],
            },
            "spec": {"scheduleRef": {"name": meta.name}, "action": Action.ROTATE.value},
        }
        try:
            made = await self._kube.create(
                ROTATIONS, meta.namespace, body, manager=FieldManager.ROTATIONSCHEDULE_STATUS
            )
        except KubeExistsError:
            return await self._is_for(schedule, run)
        self._world.rotations.observe(made)
        await self._say(schedule, Reason.ROTATION_SCHEDULED, f"made Rotation {run.name} for {run.label}")
        return True

    async def _is_for(self, schedule: RotationSchedule, run: Run) -> bool:
        """Whether the Rotation of that name is the run: another process made it, or this one before its status."""
        try:
            body = await self._kube.get(ROTATIONS, schedule.metadata.namespace, run.name)
            found: Rotation | None = Rotation.from_body(body)
        except (KubeNotFoundError, InvalidObject):
            found = None
        if found is not None and found.spec.action is Action.ROTATE and label_of(found) == run.label:
            return True
        note = f"Rotation {run.name} is not the run for {run.label}, and has its name: delete it, and the run is made"
        await self._say(schedule, Reason.MISSED_RUN, note, warning=True)
        return False

    async def _adopt(self, schedule: RotationSchedule, version: int) -> None:
        note = f"version {version} was written by somebody else, is verified, and counts from now on"
        await self._say(schedule, Reason.EXTERNAL_CHANGE, note)

    async def _tell(self, schedule: RotationSchedule, status: RotationScheduleStatus) -> None:
        own = schedule.status.model_copy(update={"live_path": None})
        if status == own:
            return
        try:
            written = await apply_status(
                self._kube, ROTATION_SCHEDULES, schedule, status, manager=FieldManager.ROTATIONSCHEDULE_STATUS
            )
        except KubeNotFoundError:
            return
        self._world.schedules.observe(written)

    async def _clear_away(self, schedule: RotationSchedule, rotations: Sequence[Rotation]) -> None:
        for rotation in overdue_history(schedule, rotations):
            meta = rotation.metadata
            try:
                await self._kube.delete(ROTATIONS, meta.namespace, meta.name, preconditions={"uid": meta.uid})
            except KubeNotFoundError:
                continue

    async def _say(self, schedule: RotationSchedule, reason: Reason, note: str, *, warning: bool = False) -> None:
        meta = schedule.metadata
        fields = {"namespace": meta.namespace, "name": meta.name, "reason": reason}
        log.log(logging.WARNING if warning else logging.INFO, "%s", note, extra={"fields": fields})
        await self._events.tell(ROTATION_SCHEDULES, meta, reason=reason, note=note, warning=warning)


def _underway(schedule: RotationSchedule, standing: Standing | None) -> Underway | None:
    if standing is not None:
        return Underway(
            phase=standing.phase,
            active=standing.active,
            valid_until=standing.valid_until.replace(microsecond=0) if standing.valid_until else None,
            retry=standing.retry,
            message=standing.message,
        )
    status, known = schedule.status, {phase.value: phase for phase in Phase}
    if not finalizer.held(schedule) or status.phase not in known:
        return None
    # This process has just begun, and has not looked at the run yet: until then what was told last is true.
    told = find(status.conditions, "NeedsIntervention")
    return Underway(
        phase=known[status.phase],
        active=status.active,
        valid_until=status.previous_valid_until,
        retry=status.next_retry_time,
        message=told.message if told is not None else "",
    )
