"""The one setter of conditions, and what a reason makes of them."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from elile_operator.api.meta import Condition, ConditionStatus
from elile_operator.api.reasons import Mark, Reason

__all__ = ["condition", "find", "set_condition", "set_conditions"]


def find(conditions: Sequence[Condition], type_: str) -> Condition | None:
    """Return the condition of a type, or None."""
    return next((c for c in conditions if c.type == type_), None)


def condition(conditions: Sequence[Condition], type_: str) -> ConditionStatus:
    """Return the status of a condition; one that is not there is Unknown."""
    found = find(conditions, type_)
    return found.status if found else ConditionStatus.UNKNOWN


def set_condition(
    previous: Sequence[Condition],
    type_: str,
    mark: Mark,
    *,
    reason: Reason,
    message: str,
    generation: int,
    now: datetime,
) -> Condition:
    """Return the condition as it is from now on.

    `lastTransitionTime` moves only when the status changes; `observedGeneration` is always set. `Mark.KEEP` returns
    what the last answer about this generation said, untouched, and Unknown before the first one: that is no answer,
    so it tells why there is none now.
    """
    old = find(previous, type_)
    if mark is Mark.KEEP:
        if old is not None and old.status is not ConditionStatus.UNKNOWN and old.observed_generation == generation:
            return old
        mark = Mark.UNKNOWN
    status = ConditionStatus(mark.value)
    return Condition(
        type=type_,
        status=status,
        reason=reason.value,
        message=message,
        last_transition_time=old.last_transition_time if old is not None and old.status is status else now,
        observed_generation=generation,
    )


def set_conditions(
    previous: Sequence[Condition],
    marks: Mapping[str, tuple[Mark, Reason, str]],
    *,
    generation: int,
    now: datetime,
) -> tuple[Condition, ...]:
    """Set several at once: type → (mark, reason, message), in this order."""
    return tuple(
        set_condition(previous, type_, mark, reason=reason, message=message, generation=generation, now=now)
        for type_, (mark, reason, message) in marks.items()
    )
