"""The two ways back: Aborting, before anything was promoted, and Reverting, after it."""

from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import Intent, Phase, Reason, Value
from elile.secrets.rotation.moves import At
from elile.secrets.rotation.steps import (
    Lock,
    Locked,
    Login,
    Restore,
    Restored,
    Step,
    Which,
    WriteLive,
)

__all__ = ["aborting", "reverting"]


def aborting(at: At) -> Step:
    """Undo at the target. What was never announced was never sent, so there is nothing to undo."""
    if not at.traits.target or not at.entry.touched:
        return at.end(Phase.ABORTED)
    live = at.read_live(at.entry.base_version)
    if not isinstance(live, Redacted):
        return live
    if live == at.pending:
        return at.give_up(Reason.EXTERNAL_CHANGE)
    if at.traits.locks:
        return _lock_pending(at, live) or at.end(Phase.ABORTED)
    return _put_back(at, live)


def _put_back(at: At, live: Value) -> Step:
    """Make the one account's password what live says, even if it is: a late apply has then been overtaken."""
    if at.seen.restored is None and live != at.previous:
        found = at.probe(Which.LIVE, live)
        if not isinstance(found, Login):
            return found
        if found is Login.REFUSED:
            return at.give_up(Reason.EXTERNAL_CHANGE)
    if (step := _restore(at, live)) is not None:
        return step
    found = at.probe(Which.LIVE, live)
    if not isinstance(found, Login):
        return found
    return at.end(Phase.ABORTED) if found is Login.WORKS else at.give_up(Reason.RESTORE_FAILED)


def reverting(at: At) -> Step:
    """Make the previous value valid, live and delivered; only then lock the rejected one."""
    written = at.seen.written.version if at.seen.written is not None else None
    if written is not None and written > (at.entry.live_version or 0):
        return at.write(live_version=written)
    live = at.read_live(at.entry.live_version or 0)
    if not isinstance(live, Redacted):
        return live
    if live != at.back and live != at.pending:
        return at.give_up(Reason.EXTERNAL_CHANGE)
    if at.traits.target and not at.entry.restored:
        return _validate_previous(at)
    if live != at.back:
        return _write_back(at)
    assert at.seen.live is not None  # noqa: S101 - it was just returned
    if at.seen.live.version != at.entry.live_version:
        # Our own write, whose answer was lost.
        return at.write(live_version=at.seen.live.version)
    if (step := at.deliver(at.back)) is not None:
        return step
    if (step := at.prove(at.back, may_revert=False, may_skip=True)) is not None:
        return step
    if at.traits.locks and (step := _lock_pending(at, live)) is not None:
        return step
    return at.end(Phase.ROLLED_BACK)


def _validate_previous(at: At) -> Step:
    """Prove that the previous value works. Where both may be valid it is asked first, and restored only if refused."""
    if at.seen.restored is None and at.traits.overlaps and not at.entry.locking:
        found = at.probe(Which.PREVIOUS, at.previous)
        if not isinstance(found, Login):
            return found
        if found is Login.WORKS:
            return at.write(restored=True, attempts=0, not_before=None)
    if (step := _restore(at, at.previous)) is not None:
        return step
    found = at.probe(Which.PREVIOUS, at.previous)
    if not isinstance(found, Login):
        return found
    if found is Login.REFUSED:
        return at.give_up(Reason.RESTORE_FAILED)
    return at.write(restored=True, attempts=0, not_before=None)


def _write_back(at: At) -> Step:
    assert at.seen.live is not None  # noqa: S101 - the caller has read it
    if at.seen.written is not None:
        return at.wait(Reason.STALE_READ)
    return at.fenced(Intent.WRITE_LIVE, WriteLive(at.back, at.seen.live.version))


def _restore(at: At, value: Value) -> Step | None:
    match at.seen.restored:
        case None:
            return at.fenced(Intent.RESTORE, Restore(value, at.version), touched=True, not_before=None)
        case Restored.ACCEPTED:
            return None
        case Restored.REFUSED:
            return at.give_up(Reason.RESTORE_FAILED)
        case Restored.UNREACHABLE:  # pragma: no branch - the last there is
            return at.wait(Reason.TARGET_UNREACHABLE)


def _lock_pending(at: At, live: Value) -> Step | None:
    match at.seen.locked:
        case None:
            return at.fenced(Intent.LOCK, Lock(at.pending, live, at.version, end_sessions=False))
        case Locked.DONE:
            return None
        case Locked.IN_USE:
            return at.give_up(Reason.IN_USE)
        case Locked.STILL_WORKS:
            return at.wait(Reason.OLD_STILL_WORKS)
        case Locked.UNREACHABLE:  # pragma: no branch - the last there is
            return at.wait(Reason.TARGET_UNREACHABLE)
