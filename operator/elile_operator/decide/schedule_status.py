"""The status of a RotationSchedule: what its runs came to, what is live since when, and what comes next."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from elile.secrets.rotation.journal import Phase
from elile_operator.api.durations import format_duration
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import SCHEDULE_EFFECTS, Mark, Reason, ScheduleEffect
from elile_operator.api.rotating import OnExternalChange
from elile_operator.api.rotation import Action, Rotation, RotationResult, Trigger
from elile_operator.api.rotationschedule import RotationSchedule, RotationScheduleStatus
from elile_operator.decide.conditions import find, set_conditions
from elile_operator.decide.due import Anchor, Due
from elile_operator.decide.orders import trigger_of
from elile_operator.decide.violation import Violation

__all__ = [
    "IDLE",
    "Live",
    "Seen",
    "Underway",
    "failed_at",
    "follow_live",
    "overdue_history",
    "schedule_status",
    "version_of",
]

IDLE = "Idle"
# What a reason does that is none of a schedule's own: nothing starts, and nobody is told to change an object.
_REFUSED = ScheduleEffect(Mark.FALSE, Mark.FALSE)
_FAILED = frozenset({RotationResult.ROLLED_BACK, RotationResult.ABORTED, RotationResult.NEEDS_INTERVENTION})
# Who ends a run by hand has no failure to be told of.
_BY_PERSON = frozenset({Reason.ROLLED_BACK, Reason.ABORTED, Reason.SUPERSEDED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Underway:
    """The run that is under way, as far as it is known."""

    phase: Phase
    active: str | None
    valid_until: datetime | None
    retry: datetime | None
    message: str


@dataclass(frozen=True, slots=True)
class Live:
    """What is live: the version that counts as ours, since when, and whether somebody else wrote another one."""

    version: int | None
    since: datetime | None
    foreign: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at a schedule has found."""

    anchor: Anchor
    due: Due
    live: Live
    label: str | None
    labelled: datetime | None
    missed: int
    violation: Violation | None
    times_are_wrong: bool
    underway: Underway | None
    rotations: Sequence[Rotation]
    staged: bool = False
    drifted: datetime | None = None
    other_readers: tuple[str, ...] = ()


def version_of(secret: ElileSecret | None, source: str) -> int | None:
    """Return the version that was delivered last of a source."""
    told = secret.status.sources if secret is not None else ()
    return next((s.version for s in told if s.name == source), None)


def follow_live(
    schedule: RotationSchedule, current: int | None, rotations: Sequence[Rotation], *, busy: bool, now: datetime
) -> Live:
    """Return what is live now. A version that no run wrote is somebody else's: it counts once it is adopted."""
    status = schedule.status
    known, since = status.live_version, status.live_since
    if current is None or current == known:
        return Live(known, since)
    ours = {r.status.to_version for r in rotations}
    if known is None or current in ours:
        return Live(current, now.replace(microsecond=0))
    return Live(known, since) if busy or current < known else Live(known, since, foreign=current)


def failed_at(rotations: Sequence[Rotation]) -> datetime | None:
    """Return when the last run failed, None where it did not."""
    last = _last(rotations)
    return last.status.completion_time if last is not None and _has_failed(last) else None


def overdue_history(schedule: RotationSchedule, rotations: Sequence[Rotation]) -> list[Rotation]:
    """Return the finished Rotations that the schedule made and does not keep; those of people stay."""
    own = [r for r in _ended(rotations) if trigger_of(r) is not Trigger.MANUAL]
    return own[: max(0, len(own) - schedule.spec.history_limit)]


def schedule_status(schedule: RotationSchedule, seen: Seen, now: datetime) -> RotationScheduleStatus:
    """Return the status as it is from now on. Equal to the old one when nothing happened."""
    old = schedule.status
    last, success = _last(seen.rotations), _last_success(seen.rotations)
    underway = seen.underway
    return RotationScheduleStatus(
        observed_generation=schedule.metadata.generation,
        conditions=set_conditions(
            old.conditions, _marks(schedule, seen, now), generation=schedule.metadata.generation, now=now
        ),
        active=underway.active if underway else None,
        phase=underway.phase.value if underway else IDLE,
        anchor=seen.anchor.text,
        anchor_time=seen.anchor.at.replace(microsecond=0),
        last_schedule_time=seen.labelled or old.last_schedule_time,
        last_schedule_label=seen.label or old.last_schedule_label,
        last_successful_time=success.status.completion_time if success else old.last_successful_time,
        last_result=last.status.result.value if last and last.status.result else old.last_result,
        next_rotation_time=seen.due.next,
        missed_runs=(old.missed_runs or 0) + seen.missed or None,
        consecutive_failures=_failures(seen.rotations) or None,
        next_retry_time=underway.retry if underway else None,
        live_version=seen.live.version,
        live_since=seen.live.since,
        previous_valid_until=underway.valid_until if underway else None,
        last_drift_time=seen.drifted or old.last_drift_time,
        other_readers=seen.other_readers,
    )


def _marks(schedule: RotationSchedule, seen: Seen, now: datetime) -> dict[str, tuple[Mark, Reason, str]]:
    reason, message = _standing(schedule, seen)
    effect = SCHEDULE_EFFECTS.get(reason, _REFUSED)
    stuck = seen.underway is not None and seen.underway.phase is Phase.NEEDS_INTERVENTION
    wrong = seen.violation if seen.times_are_wrong else None
    marks: dict[str, tuple[Mark, Reason, str]] = {
        "Ready": (effect.ready, reason, message),
        "Stalled": (effect.stalled, reason, message),
        "ScheduleValid": (
            Mark.FALSE if wrong else Mark.TRUE,
            wrong.reason if wrong else Reason.ROTATION_SCHEDULED,
            wrong.message if wrong else "schedule, time zone and blackouts can be followed",
        ),
        "NeedsIntervention": (
            Mark.TRUE if stuck else Mark.FALSE,
            Reason.NEEDS_INTERVENTION if stuck else Reason.ROTATION_SCHEDULED,
            seen.underway.message if stuck and seen.underway else "no run waits for a person",
        ),
    }
    return marks | _of_external(schedule, seen, now)


def _standing(schedule: RotationSchedule, seen: Seen) -> tuple[Reason, str]:
    if seen.underway is not None and seen.underway.phase is Phase.NEEDS_INTERVENTION:
        return Reason.NEEDS_INTERVENTION, seen.underway.message
    if seen.violation is not None:
        return seen.violation.reason, seen.violation.message
    if seen.live.foreign is not None:
        return (
            Reason.EXTERNAL_CHANGE,
            f"version {seen.live.foreign} of the live path was written by somebody else: make a Rotation to replace "
            f"it, or set spec.drift.onExternalChange to {OnExternalChange.ADOPT}",
        )
    kept = find(schedule.status.conditions, "Ready")
    if kept is not None and kept.reason == Reason.DRIFT_DETECTED and _still_drifting(schedule, seen):
        return Reason.DRIFT_DETECTED, kept.message
    ref = schedule.spec.secret_ref
    text = f"source {ref.source!r} of ElileSecret {ref.name!r} is rotated"
    if schedule.spec.suspend:
        return Reason.SUSPENDED, f"{text} by hand only while spec.suspend is true"
    return Reason.ROTATION_SCHEDULED, f"{text} {'as spec.schedule says' if schedule.spec.schedule else 'on demand'}"


def _still_drifting(schedule: RotationSchedule, seen: Seen) -> bool:
    """Whether what was found once still holds: nobody has looked since, and no run has ended well."""
    success = _last_success(seen.rotations)
    done = success.status.completion_time if success else None
    looked = schedule.status.last_drift_time
    return seen.drifted is None and (done is None or looked is None or done < looked)


def _of_external(schedule: RotationSchedule, seen: Seen, now: datetime) -> dict[str, tuple[Mark, Reason, str]]:
    external = schedule.spec.value.external
    if external is None:
        return {}
    marks: dict[str, tuple[Mark, Reason, str]] = {
        "ValueDue": (Mark.FALSE, Reason.ROTATION_SCHEDULED, "no value has to be staged now")
    }
    if seen.staged:
        marks["ValueDue"] = (Mark.FALSE, Reason.VALUE_STAGED, Reason.VALUE_STAGED.sentence)
    elif external.remind_after and seen.live.since and now >= seen.live.since + external.remind_after:
        text = f"the value is older than {format_duration(external.remind_after)}: stage another one in the inbox"
        marks["ValueDue"] = (Mark.TRUE, Reason.VALUE_DUE, text)
    success = _last_success(seen.rotations)
    if success is not None and seen.underway is None:
        text = f"version {success.status.from_version} is used by nobody: withdraw it where it was issued"
        marks["PreviousUnused"] = (Mark.TRUE, Reason.PREVIOUS_UNUSED, text)
    return marks


# ── runs that are over ───────────────────────────────────────────────────────────────────────────────────────────────


def _ended(rotations: Sequence[Rotation]) -> list[Rotation]:
    """Return those that are over, in the order in which they ended."""
    over = [(r.status.completion_time, r) for r in rotations if r.status.result is not None]
    known = [(at, r) for at, r in over if at is not None]
    return [r for _, r in sorted(known, key=lambda pair: (pair[0], pair[1].metadata.name))]


def _runs(rotations: Sequence[Rotation]) -> list[Rotation]:
    repeated = RotationResult.ALREADY_DONE
    return [r for r in _ended(rotations) if r.spec.action is Action.ROTATE and r.status.result is not repeated]


def _last(rotations: Sequence[Rotation]) -> Rotation | None:
    runs = _runs(rotations)
    return runs[-1] if runs else None


def _last_success(rotations: Sequence[Rotation]) -> Rotation | None:
    return next((r for r in reversed(_runs(rotations)) if r.status.result is RotationResult.SUCCEEDED), None)


def _failures(rotations: Sequence[Rotation]) -> int:
    """Count the runs that failed since one succeeded, of those that are kept."""
    count = 0
    for rotation in reversed(_runs(rotations)):
        if rotation.status.result is RotationResult.SUCCEEDED:
            break
        count += _has_failed(rotation)
    return count


def _has_failed(rotation: Rotation) -> bool:
    return rotation.status.result in _FAILED and rotation.status.reason not in _BY_PERSON
