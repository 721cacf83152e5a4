"""What a rotation does next: from the journal, what this pass has seen, and the time. No clock, no I/O, no randomness.

A driver asks `next_step`, does it, adds the answer with `observe` (after a write of the journal with `recorded`), and
asks again, until a step ends the pass: Wait, Finished, NeedsPerson. A call that fails, a lost check-and-set, and a
crash end the pass too; the next one begins with what the journal says and no observations. Before each side effect
the machine has its intent written, by check-and-set: that write is the fence.

Phases that the journal goes through (`-` is no rotation: none yet, or the last one has ended):

    -                  -> Pending, Aborted
    Pending            -> Applied, Aborting
    Applied            -> Verified, Aborting
    Verified           -> Distributing, Promoted, Aborting, NeedsIntervention
    Distributing       -> Promoted, Reverting, NeedsIntervention
    Promoted           -> Grace, Retiring, Done, Reverting, NeedsIntervention
    Grace              -> Retiring, Reverting, NeedsIntervention
    Retiring           -> Done, NeedsIntervention
    Aborting           -> Aborted, NeedsIntervention
    Reverting          -> RolledBack, NeedsIntervention
    NeedsIntervention  -> Aborting, Promoted, Retiring, Reverting

A previous value that is compromised (`Policy.may_revert`) does not come back: what would go from Distributing, Promoted
or Grace to Reverting goes to NeedsIntervention, and from there a person can only go on: from Promoted again, or retire.
"""

from datetime import datetime, timedelta
from typing import assert_never

from elile.secrets.rotation.journal import (
    TERMINAL,
    Intent,
    Journal,
    Phase,
    Reason,
    Strategy,
    Value,
)
from elile.secrets.rotation.moves import At
from elile.secrets.rotation.policy import CommandKind, OnInconclusive, Policy, Retire
from elile.secrets.rotation.start import idle
from elile.secrets.rotation.steps import (
    Applied,
    Apply,
    Finished,
    Generate,
    Lock,
    Locked,
    Login,
    NeedsPerson,
    Observations,
    ReadLive,
    Stage,
    Step,
    TakeInbox,
    Verify,
    Wait,
    Which,
    Wipe,
    WriteLive,
)
from elile.secrets.rotation.undo import aborting, reverting
from elile.secrets.rotation.verify.outcome import Outcome

__all__ = ["next_step"]

_BACK = (CommandKind.ABORT, CommandKind.ROLL_BACK)
# What ends a rotation that needs a person, and whose previous value must not come back.
_ONWARD = (CommandKind.ABORT, CommandKind.RETIRE, CommandKind.ROTATE)


def next_step(journal: Journal | None, seen: Observations, now: datetime, policy: Policy) -> Step:
    """Return what is to be done next.

    journal None is one that was never written; now is aware, and does not go back within a pass.
    """
    if journal is not None and journal.problem:
        return NeedsPerson(Reason.JOURNAL_FORMAT, journal.problem)
    entry = journal.entry if journal is not None else None
    if journal is None or entry is None:
        under_way = policy.remembered is not None and policy.remembered not in TERMINAL
        if under_way or (journal is not None and journal.version > 0):
            return NeedsPerson(Reason.JOURNAL_LOST)
        return idle(None, 0, seen, now, policy)
    if entry.owner != policy.owner:
        if not policy.owner.adopts(entry.owner):
            return Finished(entry.phase, Reason.MANAGED_ELSEWHERE, f"{entry.owner.namespace}/{entry.owner.name}")
        return At(entry, journal.version, seen, now, policy).write(intent=entry.intent, owner=policy.owner)
    if entry.phase in TERMINAL and entry.wiped:
        return idle(entry, journal.version, seen, now, policy)
    return _under_way(At(entry, journal.version, seen, now, policy))


def _under_way(at: At) -> Step:
    match at.entry.phase:
        case Phase.PENDING:
            return _pending(at)
        case Phase.APPLIED:
            return _applied(at)
        case Phase.VERIFIED:
            return _verified(at)
        case Phase.DISTRIBUTING:
            return _distributing(at)
        case Phase.PROMOTED:
            return _promoted(at)
        case Phase.GRACE:
            return _grace(at)
        case Phase.RETIRING:
            return _retiring(at)
        case Phase.ABORTING:
            return aborting(at)
        case Phase.REVERTING:
            return reverting(at)
        case Phase.NEEDS_INTERVENTION:
            return _needs_intervention(at)
        case Phase.DONE | Phase.ABORTED | Phase.ROLLED_BACK:
            return _wipe(at)
        case _:  # pragma: no cover - there is no other
            assert_never(at.entry.phase)


# ── until it is live ─────────────────────────────────────────────────────────────────────────────────────────────────


def _stopped(at: At) -> Step | None:
    """Before the promotion a person, or the window that closes, may have it undone."""
    if at.asked(*_BACK):
        return at.obey(Phase.ABORTING)
    closes = at.policy.window_closes
    if closes is not None and at.now >= closes:
        return at.write(Phase.ABORTING, reason=Reason.WINDOW_CLOSED)
    return None


def _pending(at: At) -> Step:
    if at.entry.strategy is Strategy.EXTERNAL and not at.seen.taken:
        return at.fenced(Intent.TAKE, TakeInbox(at.entry.inbox_version))
    if (step := _stopped(at)) is not None:
        return step
    if not at.traits.target:
        return _to_applied(at)
    match at.seen.applied:
        case Applied.ACCEPTED:
            return _to_applied(at)
        case Applied.UNREACHABLE:
            return at.wait(Reason.TARGET_UNREACHABLE)
        case Applied.REJECTED:
            return _rejected(at)
        case None:  # pragma: no branch - the last there is
            pass
    if at.seen.fence is not Intent.APPLY:
        found = at.probe(Which.PENDING, at.pending)
        if not isinstance(found, Login):
            return found
        if found is Login.WORKS:
            return _to_applied(at)
    return at.fenced(Intent.APPLY, Apply(at.pending, at.version), touched=True)


def _to_applied(at: At) -> Step:
    return at.write(Phase.APPLIED, deadline=at.now + at.policy.verify_for)


def _rejected(at: At) -> Step:
    """Try one other value: a rule of the target's that this one broke by chance. Never a third."""
    if at.entry.regenerated:
        return at.write(Phase.ABORTING, reason=Reason.REJECTED_BY_TARGET)
    if at.seen.generated is None or at.seen.generated.pending is None:
        return Generate(at.entry.strategy, at.previous, at.entry.inbox_version)
    return at.write(pending=at.seen.generated.pending, regenerated=True)


def _applied(at: At) -> Step:
    if (step := _stopped(at)) is not None:
        return step
    match at.seen.verdict:
        case None:
            return Verify(Stage.PENDING, at.pending)
        case Outcome.PASSED:
            return at.write(Phase.VERIFIED)
        case Outcome.FAILED:
            return at.write(Phase.ABORTING, reason=Reason.VERIFICATION_FAILED)
        case Outcome.INCONCLUSIVE:  # pragma: no branch - the last there is
            if _is_over(at, timedelta(0)):
                return at.write(Phase.ABORTING, reason=Reason.VERIFICATION_INCONCLUSIVE)
            return at.wait(Reason.VERIFICATION_INCONCLUSIVE)


def _is_over(at: At, more: timedelta) -> bool:
    deadline = at.entry.deadline
    over = deadline is not None and at.now >= deadline + more
    return over and at.policy.on_inconclusive is OnInconclusive.ABORT


def _verified(at: At) -> Step:
    # Once the write may have been sent it is finished, and taken back afterwards: a late one would land on an abort.
    if at.entry.intent is not Intent.WRITE_LIVE and (step := _stopped(at)) is not None:
        return step
    if at.entry.strategy is Strategy.KEYSET:
        return _promote(at, at.back, at.entry.base_version, Phase.DISTRIBUTING)
    return _promote(at, at.pending, at.entry.base_version, Phase.PROMOTED)


def _promote(at: At, value: Value, base: int, phase: Phase) -> Step:
    """Write the live path, and tell our own lost answer from somebody else's write."""
    if at.seen.written is None:
        return at.fenced(Intent.WRITE_LIVE, WriteLive(value, base))
    version = at.seen.written.version
    if version is None:
        live = at.seen.live
        if live is None:
            return ReadLive()
        if live.version <= base:
            return at.wait(Reason.STALE_READ)
        if live.version == base + 1 and live.value == value:
            version = live.version
        elif live.version == base + 1 and at.entry.phase is Phase.VERIFIED:
            return at.write(Phase.ABORTING, reason=Reason.EXTERNAL_CHANGE)
        else:
            # Ours may have been there in between, and somebody may have read it.
            return at.give_up(Reason.EXTERNAL_CHANGE)
    return at.write(phase, live_version=version, deadline=at.now + at.policy.proof_timeout)


def _distributing(at: At) -> Step:
    """Have every consumer able to decrypt with the new key, before one encrypts with it: here nothing is skipped."""
    assert at.entry.live_version is not None  # noqa: S101 - it was written with the phase
    if at.entry.intent is not Intent.WRITE_LIVE:
        if (step := _taken_back(at)) is not None:
            return step
        if (step := at.deliver(at.back)) is not None:
            return step
        if (step := at.prove(at.back, may_revert=True, may_skip=False)) is not None:
            return step
    return _promote(at, at.pending, at.entry.live_version, Phase.PROMOTED)


# ── once it is live ──────────────────────────────────────────────────────────────────────────────────────────────────


def _taken_back(at: At) -> Step | None:
    """A person may have the previous value back, unless it is compromised: then nobody may."""
    if at.one_way or not at.asked(*_BACK):
        return None
    return at.obey(Phase.REVERTING, deadline=at.now + at.policy.proof_timeout)


def _promoted(at: At) -> Step:
    if (step := _taken_back(at)) is not None:
        return step
    if (step := at.deliver(at.pending)) is not None:
        return step
    keyset = at.entry.strategy is Strategy.KEYSET
    if keyset and (command := at.policy.command) is not None and at.asked(CommandKind.RETIRE):
        return at.end(Phase.DONE, reason=command.reason, handled=command.id)  # nothing is retired, nobody is waited for
    if not keyset and (step := _hurried(at)) is not None:
        return step
    if (step := at.prove(at.pending, may_revert=True, may_skip=True)) is not None:
        return step
    if (step := _verify_again(at, Stage.AFTER_PROMOTE)) is not None:
        return step
    if keyset:
        return at.end(Phase.DONE)
    grace = at.policy.grace if at.traits.overlaps and at.policy.retire is Retire.WHEN_PROVED else timedelta(0)
    return at.write(Phase.GRACE, deadline=at.now + grace)


def _hurried(at: At) -> Step | None:
    """The two exceptions from proofs, grace and blackouts, both by name."""
    if at.asked(CommandKind.RETIRE):
        return at.obey(Phase.RETIRING, hurried=True)
    return at.write(Phase.RETIRING, hurried=True) if at.policy.retire is Retire.NOW else None


def _verify_again(at: At, stage: Stage) -> Step | None:
    """Run the hooks of a stage on what is live; None when they passed."""
    match at.seen.verdict:
        case None:
            return Verify(stage, at.pending)
        case Outcome.PASSED:
            return None
        case Outcome.FAILED if at.entry.phase is Phase.RETIRING:
            return at.give_up(Reason.VERIFICATION_FAILED)
        case Outcome.FAILED:
            return at.revert(Reason.VERIFICATION_FAILED)
        case Outcome.INCONCLUSIVE:  # pragma: no branch - the last there is
            if at.entry.phase is Phase.PROMOTED and _is_over(at, at.policy.verify_for):
                return at.revert(Reason.VERIFICATION_INCONCLUSIVE)
            return at.wait(Reason.VERIFICATION_INCONCLUSIVE)


def _grace(at: At) -> Step:
    if (step := _taken_back(at)) is not None:
        return step
    if (step := _hurried(at)) is not None:
        return step
    deadline = at.entry.deadline
    if deadline is not None and at.now < deadline:
        return Wait(deadline, Reason.IN_GRACE)
    if not at.policy.may_retire:
        return at.wait(Reason.BLACKOUT)
    if (step := at.still_live(at.pending)) is not None:
        return step
    if (step := at.prove(at.pending, may_revert=True, may_skip=True)) is not None:
        return step
    return _verify_again(at, Stage.BEFORE_RETIRE) or at.write(Phase.RETIRING)


def _retiring(at: At) -> Step:
    """Look at everything once more, in the pass that locks: there is no way back."""
    if at.seen.locked is Locked.DONE:
        return at.end(Phase.DONE)
    if not at.entry.hurried and (step := _hurried(at)) is not None:
        return step
    if not at.policy.may_retire and not at.entry.hurried:
        return at.wait(Reason.BLACKOUT)
    if (step := at.still_live(at.pending)) is not None:
        return step
    if not at.entry.hurried and (step := at.prove(at.pending, may_revert=False, may_skip=True)) is not None:
        return step
    if (step := _verify_again(at, Stage.BEFORE_RETIRE)) is not None:
        return step
    if not at.traits.locks:
        return at.end(Phase.DONE)
    match at.seen.locked:
        case None:
            if (step := _old_works(at)) is not None:
                return step
            lock = Lock(at.previous, at.pending, at.version, end_sessions=at.entry.hurried)
            return at.fenced(Intent.LOCK, lock, locking=True)
        case Locked.IN_USE:
            return at.give_up(Reason.IN_USE)
        case Locked.STILL_WORKS:
            return at.wait(Reason.OLD_STILL_WORKS)
        case Locked.UNREACHABLE:  # pragma: no branch - the last there is
            return at.wait(Reason.TARGET_UNREACHABLE)


def _old_works(at: At) -> Step | None:
    """Look, where that is asked for, whether the old value still works; None when it does, or need not.

    Refused, it was ended by somebody else: whoever still held it is out already, there was no way back that could have
    been promised, and a refusal after our lock would show nothing. All of that is for a person to hear. Once our own
    lock may have been sent it says nothing any more, and in a hurry nothing may stand in the way of the lock.
    """
    if not at.policy.check_old or at.entry.hurried or at.entry.locking:
        return None
    found = at.probe(Which.PREVIOUS, at.previous)
    if not isinstance(found, Login):
        return found
    return None if found is Login.WORKS else at.give_up(Reason.OLD_REFUSED)


# ── afterwards ───────────────────────────────────────────────────────────────────────────────────────────────────────


def _wipe(at: At) -> Step:
    if at.seen.wiped:
        return at.write(wiped=True)
    return at.fenced(Intent.WIPE, Wipe(at.version))


def _needs_intervention(at: At) -> Step:
    """Wait for a person. What they ask for first undoes what was begun; a new rotation begins after that."""
    if not at.asked(*(_ONWARD if at.one_way else (*_BACK, CommandKind.ROTATE))):
        return NeedsPerson(at.entry.reason)
    if at.entry.live_version is None:
        return at.obey(Phase.ABORTING)
    foreign = at.entry.reason is Reason.EXTERNAL_CHANGE
    if not (at.one_way or foreign):
        return at.obey(Phase.REVERTING, deadline=at.now + at.policy.proof_timeout)
    if at.seen.live is None:
        return ReadLive()
    if at.seen.live.version < at.entry.live_version:
        return at.wait(Reason.STALE_READ)
    live = at.seen.live.value
    if at.one_way and live != at.back:
        if at.asked(CommandKind.RETIRE):
            return at.obey(Phase.RETIRING, hurried=True)
        return at.obey(Phase.PROMOTED, hurried=False, deadline=at.now + at.policy.proof_timeout)
    if foreign and live not in (at.pending, at.back):
        return at.obey(Phase.ABORTING)  # theirs stays, and ours is locked
    # Of what must not come back this is already live: keys that were handed out to decrypt only, a way back that broke
    # off.
    return at.obey(Phase.REVERTING, deadline=at.now + at.policy.proof_timeout)
