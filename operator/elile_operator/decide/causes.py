"""What the rotation engine gives as a reason, in the words of our objects."""

from collections.abc import Mapping
from types import MappingProxyType

from elile.secrets.rotation.journal import Phase
from elile.secrets.rotation.journal import Reason as Cause
from elile_operator.api.reasons import Reason

__all__ = ["BY_HOOK", "CAUSES", "REMEDIES", "explain_cause", "explain_undoing"]

CAUSES: Mapping[Cause, tuple[Reason, str]] = MappingProxyType(
    {
        Cause.BLACKOUT: (Reason.BLACKOUT, "a blackout of the schedule is open; it goes on when that closes"),
        Cause.BY_PERSON: (Reason.ABORTED, "a Rotation of another action, or the deletion of this one, asked for it"),
        Cause.CURRENT_REFUSED: (
            Reason.DRIFT_DETECTED,
            "the value that is live is refused by the target; set the right one in Vault or at the target, then rotate",
        ),
        Cause.EXTERNAL_CHANGE: (
            Reason.EXTERNAL_CHANGE,
            "somebody else wrote the live path while the rotation was under way; theirs stays",
        ),
        Cause.INBOX_EMPTY: (Reason.VALUE_DUE, "nothing is staged in the inbox; write the new value there"),
        Cause.IN_GRACE: (Reason.PROMOTED, "old and new value work until the grace period is over"),
        Cause.IN_USE: (Reason.NEEDS_INTERVENTION, "the account of the old value is needed by the live one"),
        Cause.JOURNAL_FORMAT: (
            Reason.JOURNAL_CONFLICT,
            "the journal was written by a version of Elile that this one cannot read",
        ),
        Cause.JOURNAL_LOST: (
            Reason.JOURNAL_CONFLICT,
            "the journal of a rotation that was under way is gone",
        ),
        Cause.LIVE_UNREADABLE: (Reason.VERSION_DELETED, "the live path holds no value; write one, then rotate"),
        Cause.MANAGED_ELSEWHERE: (Reason.MANAGED_ELSEWHERE, "another schedule or rotator owns the journal of the path"),
        Cause.OLD_REFUSED: (
            Reason.NEEDS_INTERVENTION,
            "the old value was refused before it was locked, so somebody else has ended it; look at the target",
        ),
        Cause.OLD_STILL_WORKS: (
            Reason.NEEDS_INTERVENTION,
            "the old value was locked and still lets somebody in; look at the target",
        ),
        Cause.PREFLIGHT: (Reason.PREFLIGHT_FAILED, "the preflight failed"),
        Cause.PROBES_EXHAUSTED: (
            Reason.VERIFICATION_FAILED,
            "the target refused the login three times; looked at too often an account locks",
        ),
        Cause.PROOF_TIMEOUT: (Reason.PROOF_TIMEOUT, "the consumers did not prove in time that they use the new value"),
        Cause.AWAITING_CONSUMERS: (Reason.AWAITING_CONSUMERS, "not all consumers are proved to use the new value"),
        Cause.REJECTED_BY_TARGET: (
            Reason.VERIFICATION_FAILED,
            "the target takes none of the values that were made, by a rule of its own; correct spec.value.generate",
        ),
        Cause.RESTORE_FAILED: (
            Reason.NEEDS_INTERVENTION,
            "the previous value cannot be made valid again at the target",
        ),
        Cause.SPACING_PROBES: (Reason.VERIFICATION_INCONCLUSIVE, "the next login waits, since accounts lock"),
        Cause.STALE_READ: (Reason.READ_STALE, "a standby answered with an older version of the live path"),
        Cause.SUPERSEDED: (Reason.SUPERSEDED, "a Rotation of a compromised value took over"),
        Cause.TARGET_UNREACHABLE: (Reason.TARGET_UNREACHABLE, "the target does not answer"),
        Cause.VERIFICATION_FAILED: (Reason.VERIFICATION_FAILED, "a verification failed"),
        Cause.VERIFICATION_INCONCLUSIVE: (Reason.VERIFICATION_INCONCLUSIVE, "a verification came to no result"),
        Cause.WINDOW_CLOSED: (Reason.WINDOW_CLOSED, "the window of the schedule closed before the value was live"),
    }
)

# Where what a hook has said is the reason.
# What a person does where a Rotation by hand would meet the same again. `{journal}` is where that is kept.
REMEDIES: Mapping[Cause, str] = MappingProxyType(
    {
        Cause.JOURNAL_FORMAT: "run the version of the operator that wrote {journal}",
        Cause.JOURNAL_LOST: "undelete the last version of {journal}, then make a Rotation; where it cannot be "
        "undeleted, see that what is live logs in, delete the metadata of {journal}, and make a Rotation",
    }
)
BY_HOOK = frozenset({Cause.VERIFICATION_FAILED, Cause.VERIFICATION_INCONCLUSIVE})


def explain_cause(cause: Cause, detail: str = "") -> tuple[Reason, str]:
    """Return reason and message; `detail` is of the engine's own making and says more."""
    if cause is Cause.NONE:
        return Reason.NEEDS_INTERVENTION, detail or Reason.NEEDS_INTERVENTION.sentence
    reason, text = CAUSES[cause]
    return reason, f"{text}: {detail}" if detail else text


def explain_undoing(cause: Cause, phase: Phase, detail: str = "") -> tuple[Reason, str]:
    """Return reason and message of a run that is, or was, undone: what was live already is rolled back."""
    reason, text = explain_cause(cause, detail)
    if cause is Cause.BY_PERSON and phase in (Phase.REVERTING, Phase.ROLLED_BACK):
        return Reason.ROLLED_BACK, text
    return reason, text
