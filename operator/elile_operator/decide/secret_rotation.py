"""What the status of an ElileSecret says of its rotations."""

from collections.abc import Sequence
from datetime import UTC, datetime

from elile.secrets.rotation.journal import Phase
from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SecretRotation
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.reasons import Mark, Reason
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.decide.conditions import find, set_condition

__all__ = ["rotation_part"]

IDLE = "Idle"
SUSPENDED = "Suspended"
FAILED = "Failed"
# Another version of Elile may have written what a schedule tells, with a reason that this one has not.
_KNOWN = {reason.value: reason for reason in Reason}


def rotation_part(
    secret: ElileSecret, schedules: Sequence[RotationSchedule], waited_for: str | None, now: datetime
) -> ElileSecretStatus:
    """Return the part: empty where nothing rotates the object's values and nothing waits for it."""
    if not schedules and waited_for is None:
        return ElileSecretStatus()
    nexts = [at for s in schedules if (at := s.status.next_rotation_time) is not None]
    mark, reason, message = _health(schedules, waited_for)
    healthy = set_condition(
        secret.status.conditions,
        "RotationHealthy",
        mark,
        reason=reason,
        message=message,
        generation=secret.metadata.generation,
        now=now,
    )
    return ElileSecretStatus(
        conditions=(healthy,),
        rotations=tuple(_entry(s) for s in schedules),
        rotation=_word(schedules) if schedules else None,
        next_rotation_time=f"{min(nexts).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}" if nexts else None,
    )


def _entry(schedule: RotationSchedule) -> SecretRotation:
    status = schedule.status
    return SecretRotation(
        schedule=schedule.metadata.name,
        phase=status.phase,
        last_result=status.last_result,
        last_rotation_time=status.last_successful_time,
        next_rotation_time=status.next_rotation_time,
        previous_valid_until=status.previous_valid_until,
    )


def _word(schedules: Sequence[RotationSchedule]) -> str:
    """Say in one word how the rotations are: what is under way first, then what went wrong."""
    phases = [s.status.phase for s in schedules if s.status.phase not in (None, IDLE)]
    if phases:
        stuck = Phase.NEEDS_INTERVENTION.value
        return stuck if stuck in phases else phases[0] or IDLE
    if any(s.status.consecutive_failures for s in schedules):
        return FAILED
    return SUSPENDED if all(s.spec.suspend for s in schedules) else IDLE


def _health(schedules: Sequence[RotationSchedule], waited_for: str | None) -> tuple[Mark, Reason, str]:
    for schedule in schedules:
        stuck = find(schedule.status.conditions, "NeedsIntervention")
        if stuck is not None and stuck.status is ConditionStatus.TRUE:
            name = schedule.metadata.name
            return Mark.FALSE, Reason.NEEDS_INTERVENTION, f"RotationSchedule {name!r}: {stuck.message}"
    if waited_for is not None:
        return Mark.FALSE, Reason.AWAITING_CONSUMERS, waited_for
    for schedule in schedules:
        ready = find(schedule.status.conditions, "Ready")
        if ready is not None and ready.status is ConditionStatus.FALSE:
            reason = _KNOWN.get(ready.reason, Reason.ROTATION_SCHEDULED)
            return Mark.FALSE, reason, f"RotationSchedule {schedule.metadata.name!r}: {ready.message}"
        if count := schedule.status.consecutive_failures:
            runs = "run" if count == 1 else f"{count} runs"
            say = "Rotation says" if count == 1 else "Rotations say"
            text = f"the last {runs} of RotationSchedule {schedule.metadata.name!r} failed; its {say} why"
            return Mark.FALSE, Reason.ABORTED, text
    return Mark.TRUE, Reason.ROTATION_SCHEDULED, Reason.ROTATION_SCHEDULED.sentence
