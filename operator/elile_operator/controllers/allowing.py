"""What keeps a run from starting, and what it may do at each of its steps: the spec, the time, what is asked of it."""

from collections.abc import Callable
from datetime import datetime, timedelta

from elile.secrets.rotation.journal import Owner, Phase
from elile.secrets.rotation.policy import OnProofTimeout, Policy, Retire
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import RetireMode, Rotation
from elile_operator.api.rotationschedule import RotationSchedule, RotationScheduleSpec
from elile_operator.controllers.groups import Groups
from elile_operator.decide.due import Calendar, closes_of
from elile_operator.decide.orders import Order
from elile_operator.delivery.targets import strategy_of

__all__ = ["RETRY", "allow", "keep"]

RETRY = timedelta(seconds=10)
_RETIRE = {
    RetireMode.AFTER_PROOF: Retire.WHEN_PROVED,
    RetireMode.SKIP_GRACE: Retire.SKIP_GRACE,
    RetireMode.NOW: Retire.NOW,
}


def keep(
    schedule: RotationSchedule, calendar: Calendar, rotation: Rotation, groups: Groups, now: datetime
) -> tuple[tuple[Reason, str], timedelta] | None:
    """Return what keeps a run from starting now, and when to look again; None: it may, and has its group."""
    urgent = rotation.spec.compromised or rotation.spec.retire is RetireMode.NOW
    closes = closes_of(rotation, calendar)
    if closes is not None and now >= closes:
        text = f"the window of this occurrence closed at {closes:%Y-%m-%dT%H:%M:%SZ}, before the run could start"
        return (Reason.WINDOW_CLOSED, text), timedelta(0)
    blackout = calendar.blackout(now)
    if blackout is not None and not urgent:
        until = blackout.closes(now)
        return (Reason.BLACKOUT, f"blackout {blackout.name!r} is open until {until:%Y-%m-%dT%H:%M:%SZ}"), until - now
    waits = None if urgent else groups.take(schedule, now)
    return None if waits is None else ((Reason.WAITING_FOR_GROUP, waits[0]), waits[1])


def allow(
    spec: RotationScheduleSpec,
    calendar: Calendar,
    owner: Owner,
    latest: Callable[[], Order],
    now: Callable[[], datetime],
) -> Callable[[], Policy]:
    """Return what answers the policy of one run; `latest` answers what is asked of it."""
    rotation = latest().active
    compromised = rotation is not None and rotation.spec.compromised
    mode = rotation.spec.retire if rotation is not None else RetireMode.AFTER_PROOF
    urgent = compromised or mode is RetireMode.NOW
    closes = closes_of(rotation, calendar) if rotation is not None else None
    phase = rotation.status.phase if rotation is not None else None
    known = {p.value: p for p in Phase if p is not Phase.PENDING}

    def policy() -> Policy:
        order = latest()
        blackout = calendar.blackout(now()) is not None
        return Policy(
            owner=owner,
            strategy=strategy_of(spec),
            request=order.request,
            command=order.command,
            may_retire=urgent or not blackout,
            window_closes=closes,
            grace=spec.grace_period,
            retire=_RETIRE[mode],
            retry=RETRY,
            verify_for=timedelta(0),  # what a hook may take is its attempts
            proof_timeout=spec.promote.timeout,
            on_proof_timeout=OnProofTimeout(spec.promote.on_timeout.value),
            may_revert=not compromised,
            remembered=known.get(phase or ""),
        )

    return policy
