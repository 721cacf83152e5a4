"""Whether a rotation begins, and with what."""

from datetime import datetime

from elile.secrets.rotation.journal import HISTORY, JournalEntry, Past, Phase, Reason, Value
from elile.secrets.rotation.moves import TRAITS
from elile.secrets.rotation.policy import Policy, Request
from elile.secrets.rotation.steps import (
    Finished,
    Generate,
    Live,
    Login,
    Observations,
    Preflight,
    Probe,
    ReadLive,
    Stage,
    Step,
    Verify,
    Wait,
    Which,
    WriteJournal,
)
from elile.secrets.rotation.verify.outcome import Outcome

__all__ = ["idle"]


def idle(last: JournalEntry | None, version: int, seen: Observations, now: datetime, policy: Policy) -> Step:
    """Begin what is due, once all that could forbid it was looked at. None of it has a side effect."""
    phase = last.phase if last is not None else None
    request = policy.request
    if request is None:
        return Finished(phase, last.reason if last is not None else Reason.NONE)
    if last is not None and request.rotation_id in {past.rotation_id for past in last.history}:
        return Finished(phase, last.reason)
    if not policy.may_start:
        return Finished(phase, Reason.BLACKOUT)
    live = seen.live
    if live is None:
        return ReadLive()
    if live.value is None:
        return Finished(phase, Reason.LIVE_UNREADABLE)
    if seen.preflight is None:
        return Preflight(live.value)
    if seen.preflight.problem:
        return Finished(phase, Reason.PREFLIGHT, seen.preflight.problem)
    if TRAITS[policy.strategy].target:
        if seen.probed is None:
            return Probe(Which.LIVE, live.value)
        if seen.probed.login is Login.UNREACHABLE:
            return Wait(now + policy.retry, Reason.TARGET_UNREACHABLE)
        if seen.probed.login is Login.REFUSED:
            # Written down at once: the same occurrence must not send a wrong password again and again.
            return WriteJournal(_refused(last, live, request, now, policy), version)
    # After the login, which is the cheapest to be refused: hooks would send the same wrong password in each pass.
    if seen.current is None:
        return Verify(Stage.PREFLIGHT, live.value)
    if seen.current.outcome is Outcome.FAILED:
        return Finished(phase, Reason.PREFLIGHT, seen.current.detail)
    if seen.current.outcome is Outcome.INCONCLUSIVE:
        return Wait(now + policy.retry, Reason.VERIFICATION_INCONCLUSIVE)
    return _begin(last, version, live.value, seen, now, policy)


def _begin(
    last: JournalEntry | None, version: int, current: Value, seen: Observations, now: datetime, policy: Policy
) -> Step:
    assert policy.request is not None  # noqa: S101 - the caller looked
    assert seen.live is not None  # noqa: S101 - and read it
    if seen.generated is None:
        return Generate(policy.strategy, current, last.inbox_version if last is not None else 0)
    made = seen.generated
    if made.pending is None:
        return Wait(now + policy.retry, Reason.INBOX_EMPTY)
    entry = JournalEntry(
        owner=policy.owner,
        rotation_id=policy.request.rotation_id,
        occurrence=policy.request.occurrence,
        strategy=policy.strategy,
        phase=Phase.PENDING,
        base_version=seen.live.version,
        pending=made.pending,
        previous=current,
        distributed=made.distributed,
        inbox_version=made.inbox_version or (last.inbox_version if last is not None else 0),
        compromised=not policy.may_revert,
        # What was asked before it began was not asked of this rotation.
        handled=policy.command.id if policy.command is not None else "",
        history=last.history if last is not None else (),
    )
    return WriteJournal(entry, version)


def _refused(last: JournalEntry | None, live: Live, request: Request, now: datetime, policy: Policy) -> JournalEntry:
    past = Past(request.rotation_id, request.occurrence, Phase.ABORTED, Reason.CURRENT_REFUSED, now)
    return JournalEntry(
        owner=policy.owner,
        rotation_id=request.rotation_id,
        occurrence=request.occurrence,
        strategy=policy.strategy,
        phase=Phase.ABORTED,
        reason=Reason.CURRENT_REFUSED,
        base_version=live.version,
        wiped=True,
        inbox_version=last.inbox_version if last is not None else 0,
        handled=last.handled if last is not None else "",
        history=(*(last.history if last is not None else ()), past)[-HISTORY:],
    )
