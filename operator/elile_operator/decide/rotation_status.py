"""The status of a Rotation: what its journal says, in the words that people read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from elile.secrets.rotation.journal import JournalEntry, Phase
from elile_operator.api.durations import format_duration
from elile_operator.api.meta import Condition
from elile_operator.api.reasons import Mark, Reason
from elile_operator.api.rotation import (
    Rotation,
    RotationConsumers,
    RotationResult,
    RotationStatus,
    VerificationStatus,
)
from elile_operator.decide.causes import BY_HOOK, explain_undoing
from elile_operator.decide.conditions import set_conditions
from elile_operator.decide.orders import command_id, label_of, trigger_of
from elile_operator.decide.readers import Counted

__all__ = ["Progress", "began", "commanding", "ended", "in_progress", "waiting"]

_ORDER = (Phase.PENDING, Phase.APPLIED, Phase.VERIFIED, Phase.DISTRIBUTING, Phase.PROMOTED, Phase.GRACE, Phase.RETIRING)
_COMPLETE = frozenset({RotationResult.SUCCEEDED, RotationResult.ALREADY_DONE})
# What the phase itself says, where nothing holds it up.
_PHASES = {
    Phase.PENDING: Reason.ROTATION_STARTED,
    Phase.APPLIED: Reason.APPLIED,
    Phase.VERIFIED: Reason.VERIFICATION_PASSED,
    Phase.DISTRIBUTING: Reason.AWAITING_CONSUMERS,
    Phase.PROMOTED: Reason.PROMOTED,
    Phase.GRACE: Reason.CONSUMERS_CURRENT,
    Phase.RETIRING: Reason.CONSUMERS_CURRENT,
    Phase.DONE: Reason.RETIRED,
    Phase.NEEDS_INTERVENTION: Reason.NEEDS_INTERVENTION,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """What one pass has found. `why` holds the run up, None where nothing does; `detail` is of a hook that failed."""

    entry: JournalEntry
    verification: Sequence[VerificationStatus] = ()
    detail: str = ""
    counted: Counted | None = None
    why: tuple[Reason, str] | None = None


def began(rotation: Rotation, rotation_id: str, now: datetime) -> RotationStatus:
    """Return the status of a run that is about to begin: from here on its end is its own, and no repetition."""
    if rotation.status.rotation_id == rotation_id:
        return rotation.status  # it was about to before, and tells what it waits for
    return rotation.status.model_copy(
        update={
            "observed_generation": rotation.metadata.generation,
            "phase": Phase.PENDING.value,
            "rotation_id": rotation_id,
            "trigger": trigger_of(rotation),
            "occurrence": label_of(rotation),
            "start_time": rotation.status.start_time or _second(now),
            "reason": Reason.ROTATION_STARTED.value,
            "message": Reason.ROTATION_STARTED.sentence,
        }
    )


def waiting(rotation: Rotation, why: tuple[Reason, str]) -> RotationStatus:
    """Return the status of a Rotation whose turn has not come."""
    return rotation.status.model_copy(
        update={
            "observed_generation": rotation.metadata.generation,
            "trigger": trigger_of(rotation),
            "phase": rotation.status.phase or Phase.PENDING.value,
            "reason": why[0].value,
            "message": why[1],
        }
    )


def commanding(rotation: Rotation, found: Progress, now: datetime) -> RotationStatus:
    """Return the status of a Rotation that steers the run of another one: it tells how far that run is."""
    entry = found.entry
    reason, message = found.why or _of_phase(found)
    return rotation.status.model_copy(
        update={
            "observed_generation": rotation.metadata.generation,
            "phase": entry.phase.value,
            "trigger": trigger_of(rotation),
            "from_version": entry.base_version,
            "to_version": entry.live_version,
            "start_time": rotation.status.start_time or _second(now),
            "reason": reason.value,
            "message": message,
        }
    )


def in_progress(rotation: Rotation, found: Progress, now: datetime) -> RotationStatus:
    """Return the status of a run that is under way. Equal to the old one when nothing happened."""
    entry, old = found.entry, rotation.status
    reason, message = found.why or _of_phase(found)
    return old.model_copy(
        update={
            "observed_generation": rotation.metadata.generation,
            "phase": entry.phase.value,
            "rotation_id": entry.rotation_id,
            "trigger": trigger_of(rotation),
            "occurrence": label_of(rotation),
            "from_version": entry.base_version,
            "to_version": entry.live_version,
            "conditions": _conditions(rotation, found, now),
            "verification": _merged(old.verification, found.verification),
            "consumers": _consumers(found.counted) or old.consumers,
            "start_time": old.start_time or _second(now),
            "reason": reason.value,
            "message": message,
        }
    )


def ended(
    rotation: Rotation,
    result: RotationResult,
    reason: Reason,
    message: str,
    now: datetime,
    entry: JournalEntry | None,
    counted: Counted | None = None,
) -> RotationStatus:
    """Return the status of a Rotation that is over; `counted` are the consumers at the end of the run of the entry."""
    old = rotation.status
    own = entry is not None and entry.rotation_id == old.rotation_id
    start = old.start_time or _second(now)
    type_ = "Complete" if result in _COMPLETE else "Failed"
    marks: dict[str, tuple[Mark, Reason, str]] = {type_: (Mark.TRUE, reason, message)}
    if own and counted is not None and counted.current == counted.total and result is RotationResult.SUCCEEDED:
        # The last proof ends a run, and nobody told of it: there was no other phase.
        marks["ConsumersCurrent"] = (Mark.TRUE, Reason.CONSUMERS_CURRENT, Reason.CONSUMERS_CURRENT.sentence)
    kept = [c for c in old.conditions if c.type not in (*marks, "Complete", "Failed")]
    end = set_conditions(old.conditions, marks, generation=rotation.metadata.generation, now=now)
    steered = entry is not None and entry.handled == command_id(rotation)
    # What was waiting only is Pending no more, whatever it was answered.
    kept_phase = old.phase if old.rotation_id else None
    phase = entry.phase.value if entry is not None and (own or steered) else kept_phase
    return old.model_copy(
        update={
            "observed_generation": rotation.metadata.generation,
            "phase": phase or result.value,
            "trigger": trigger_of(rotation),
            "to_version": entry.live_version if entry is not None and own else old.to_version,
            "conditions": (*kept, *end),
            "consumers": (_consumers(counted) if own else None) or old.consumers,
            "start_time": start,
            "completion_time": _second(now),
            "duration": format_duration(_second(now) - start) if now > start else "0s",
            "result": result,
            "reason": reason.value,
            "message": message,
        }
    )


def _conditions(rotation: Rotation, found: Progress, now: datetime) -> tuple[Condition, ...]:
    entry = found.entry
    marks: dict[str, tuple[Mark, Reason, str]] = {}
    if _reached(entry.phase, Phase.VERIFIED):
        marks["Verified"] = (Mark.TRUE, Reason.VERIFICATION_PASSED, Reason.VERIFICATION_PASSED.sentence)
    elif failed := next((v for v in found.verification if v.result == "Failed"), None):
        said = found.detail if found.detail.startswith(f"{failed.name}: ") else ""
        text = f"hook {failed.name!r} failed in stage {failed.stage}{said.removeprefix(failed.name)}"
        marks["Verified"] = (Mark.FALSE, Reason.VERIFICATION_FAILED, text)
    if entry.live_version is not None and _reached(entry.phase, Phase.PROMOTED):
        text = f"version {entry.live_version} is live"
        marks["Promoted"] = (Mark.TRUE, Reason.PROMOTED, text)
        if _reached(entry.phase, Phase.GRACE):
            marks["ConsumersCurrent"] = (Mark.TRUE, Reason.CONSUMERS_CURRENT, Reason.CONSUMERS_CURRENT.sentence)
        elif found.why is not None:
            marks["ConsumersCurrent"] = (Mark.FALSE, *found.why)
    if entry.phase in (Phase.REVERTING, Phase.ROLLED_BACK):
        marks["Promoted"] = (Mark.FALSE, Reason.ROLLED_BACK, Reason.ROLLED_BACK.sentence)
    others = [c for c in rotation.status.conditions if c.type not in marks]
    changed = set_conditions(rotation.status.conditions, marks, generation=rotation.metadata.generation, now=now)
    return tuple(sorted((*others, *changed), key=lambda c: c.type))


def _reached(phase: Phase, wanted: Phase) -> bool:
    if phase is Phase.DONE:
        return True
    return phase in _ORDER and _ORDER.index(phase) >= _ORDER.index(wanted)


def _of_phase(found: Progress) -> tuple[Reason, str]:
    entry = found.entry
    if entry.phase in (Phase.ABORTING, Phase.REVERTING, Phase.NEEDS_INTERVENTION) and entry.reason:
        return explain_undoing(entry.reason, entry.phase, found.detail if entry.reason in BY_HOOK else "")
    if entry.phase in (Phase.ABORTING, Phase.ABORTED):
        return Reason.ABORTED, Reason.ABORTED.sentence
    if entry.phase in (Phase.REVERTING, Phase.ROLLED_BACK):
        return Reason.ROLLED_BACK, Reason.ROLLED_BACK.sentence
    reason = _PHASES[entry.phase]
    return reason, reason.sentence


def _merged(old: Sequence[VerificationStatus], found: Sequence[VerificationStatus]) -> tuple[VerificationStatus, ...]:
    by_key = {(v.name, v.stage): v for v in old}
    for each in found:
        known = by_key.get((each.name, each.stage))
        # The same outcome again is no news, and its time would be a write each time.
        if known is None or (known.result, known.reason) != (each.result, each.reason):
            by_key[each.name, each.stage] = each
    return tuple(by_key.values())


def _consumers(counted: Counted | None) -> RotationConsumers | None:
    if counted is None:
        return None
    return RotationConsumers(summary=counted.summary, total=counted.total, current=counted.current, stale=counted.stale)


def _second(at: datetime) -> datetime:
    return at.replace(microsecond=0)
