"""The status of a Rotation, from its journal; nothing that did not happen is written."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from elile.secrets.rotation.journal import TERMINAL, JournalEntry, Owner, Phase, Strategy
from elile.secrets.rotation.journal import Reason as Cause
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, RotationConsumers, RotationResult, Trigger, VerificationStatus
from elile_operator.decide.readers import Counted
from elile_operator.decide.rotation_status import Progress, began, commanding, ended, in_progress, waiting
from tests.fakes.objects import NOW, rotation

BEGAN = datetime(2030, 1, 1, 11, 59, 30, tzinfo=UTC)
ENTRY = JournalEntry(
    owner=Owner("cluster", "shop", "weekly", "uid"),
    rotation_id="id-1",
    occurrence="shop/by-hand",
    strategy=Strategy.REPLACE,
    phase=Phase.PENDING,
    base_version=7,
)
WHY = (Reason.TARGET_UNREACHABLE, "the target does not answer")
PASSED = VerificationStatus(name="http", stage="Pending", result="Passed", reason="VerificationPassed", time=BEGAN)
FAILED = VerificationStatus(name="http", stage="Pending", result="Failed", reason="VerificationFailed", time=BEGAN)


def with_status(found: Rotation, **changes: object) -> Rotation:
    return found.model_copy(update={"status": found.status.model_copy(update=changes)})


def going(phase: Phase, *, live: int | None = None, **found: object) -> Rotation:
    """A Rotation whose status tells of a phase."""
    progress = Progress(entry=replace(ENTRY, phase=phase, live_version=live), **found)  # type: ignore[arg-type] # names of its fields
    return rotation().model_copy(update={"status": in_progress(rotation(), progress, NOW)})


def conditions(found: Rotation) -> dict[str, tuple[str, str, str]]:
    return {c.type: (c.status.value, c.reason, c.message) for c in found.status.conditions}


# ── phases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("phase", "cause", "reason", "message"),
    [
        (Phase.PENDING, Cause.NONE, Reason.ROTATION_STARTED, "A run has begun."),
        (Phase.APPLIED, Cause.NONE, Reason.APPLIED, "The new value is set at the target."),
        (Phase.VERIFIED, Cause.NONE, Reason.VERIFICATION_PASSED, "All hooks passed."),
        (
            Phase.DISTRIBUTING,
            Cause.NONE,
            Reason.AWAITING_CONSUMERS,
            "Not all consumers are proved to use the value.",
        ),
        (Phase.PROMOTED, Cause.NONE, Reason.PROMOTED, "The new value is live."),
        (
            Phase.GRACE,
            Cause.NONE,
            Reason.CONSUMERS_CURRENT,
            "The declared proof is there that all consumers use the value.",
        ),
        (
            Phase.RETIRING,
            Cause.NONE,
            Reason.CONSUMERS_CURRENT,
            "The declared proof is there that all consumers use the value.",
        ),
        (Phase.ABORTING, Cause.VERIFICATION_FAILED, Reason.VERIFICATION_FAILED, "a verification failed"),
        (
            Phase.ABORTING,
            Cause.NONE,
            Reason.ABORTED,
            "The run was undone before anybody was given the new value.",
        ),
        (
            Phase.REVERTING,
            Cause.PROOF_TIMEOUT,
            Reason.PROOF_TIMEOUT,
            "the consumers did not prove in time that they use the new value",
        ),
        (Phase.REVERTING, Cause.NONE, Reason.ROLLED_BACK, "The old value is live again."),
        (
            Phase.NEEDS_INTERVENTION,
            Cause.IN_USE,
            Reason.NEEDS_INTERVENTION,
            "the account of the old value is needed by the live one",
        ),
        (
            Phase.NEEDS_INTERVENTION,
            Cause.NONE,
            Reason.NEEDS_INTERVENTION,
            "The run cannot go on or back by itself; nothing was removed.",
        ),
        (Phase.DONE, Cause.NONE, Reason.RETIRED, "The old value no longer works."),
        (Phase.ABORTED, Cause.NONE, Reason.ABORTED, "The run was undone before anybody was given the new value."),
        (Phase.ROLLED_BACK, Cause.NONE, Reason.ROLLED_BACK, "The old value is live again."),
    ],
)
def test_each_phase_says_what_it_is(phase: Phase, cause: Cause, reason: Reason, message: str) -> None:
    entry = replace(ENTRY, phase=phase, reason=cause, live_version=8)
    status = in_progress(rotation(), Progress(entry=entry), NOW)
    assert (status.phase, status.reason, status.message) == (phase.value, reason.value, message)
    assert (status.rotation_id, status.from_version, status.to_version) == ("id-1", 7, 8)
    assert (status.trigger, status.occurrence, status.start_time) == (Trigger.MANUAL, "shop/by-hand", NOW)
    steering = commanding(rotation("steers"), Progress(entry=entry), NOW)
    assert (steering.phase, steering.reason, steering.message) == (phase.value, reason.value, message)
    assert steering.rotation_id is None, "the run is another's"


def test_what_holds_it_up_is_told_instead() -> None:
    status = in_progress(rotation(), Progress(entry=ENTRY, why=WHY), NOW)
    assert (status.phase, status.reason, status.message) == ("Pending", "TargetUnreachable", WHY[1])
    steering = commanding(rotation(), Progress(entry=ENTRY, why=WHY), NOW)
    assert (steering.reason, steering.message, steering.start_time) == ("TargetUnreachable", WHY[1], NOW)


@pytest.mark.parametrize("phase", [p for p in Phase if p not in TERMINAL])
def test_nothing_new_is_no_other_status(phase: Phase) -> None:
    entry = replace(ENTRY, phase=phase, live_version=8)
    found = Progress(entry=entry, verification=(PASSED,), counted=Counted(3, 2, ("p1",)), why=WHY)
    known = rotation().model_copy(update={"status": in_progress(rotation(), found, NOW)})
    later = NOW + timedelta(minutes=5)
    again = replace(found, verification=(PASSED.model_copy(update={"time": later}),))
    assert in_progress(known, again, later) == known.status
    steering = rotation().model_copy(update={"status": commanding(rotation(), Progress(entry=entry, why=WHY), NOW)})
    assert commanding(steering, Progress(entry=entry, why=WHY), later) == steering.status


# ── before and beside ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_begins_is_told_from_a_repetition_of_itself() -> None:
    asked = rotation("due", trigger=Trigger.SCHEDULE, occurrence="2030-01-01T12:00[Etc/UTC]")
    status = began(asked, "id-1", NOW)
    assert (status.rotation_id, status.trigger, status.phase) == ("id-1", Trigger.SCHEDULE, "Pending")
    assert (status.occurrence, status.start_time) == ("2030-01-01T12:00[Etc/UTC]", NOW)
    assert (status.reason, status.message) == ("RotationStarted", "A run has begun.")
    again = began(with_status(asked, start_time=BEGAN), "id-1", NOW)
    assert again.start_time == BEGAN
    # It may wait for something before anything is written, and goes on to say for what.
    waits = asked.model_copy(update={"status": status.model_copy(update={"reason": "ValueDue", "message": "why"})})
    assert began(waits, "id-1", NOW) is waits.status


def test_one_whose_turn_has_not_come() -> None:
    status = waiting(rotation(), (Reason.BLACKOUT, "until then"))
    assert (status.phase, status.reason, status.message) == ("Pending", "Blackout", "until then")
    assert (status.rotation_id, status.start_time, status.observed_generation) == (None, None, 1)
    assert waiting(with_status(rotation(), phase="Grace"), WHY).phase == "Grace"


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────

VERIFIED = {"Verified": ("True", "VerificationPassed", "All hooks passed.")}
LIVE = {"Promoted": ("True", "Promoted", "version 8 is live")}
FOLLOWED = {
    "ConsumersCurrent": (
        "True",
        "ConsumersCurrent",
        "The declared proof is there that all consumers use the value.",
    )
}


def test_conditions_as_far_as_it_is() -> None:
    assert conditions(going(Phase.PENDING)) == {}
    assert conditions(going(Phase.VERIFIED)) == VERIFIED
    assert conditions(going(Phase.DISTRIBUTING, live=8)) == VERIFIED
    assert conditions(going(Phase.PROMOTED, live=8)) == VERIFIED | LIVE
    held = {"ConsumersCurrent": ("False", "TargetUnreachable", WHY[1])}
    assert conditions(going(Phase.PROMOTED, live=8, why=WHY)) == VERIFIED | LIVE | held
    assert conditions(going(Phase.GRACE, live=8)) == VERIFIED | LIVE | FOLLOWED
    assert conditions(going(Phase.DONE, live=8)) == VERIFIED | LIVE | FOLLOWED


def test_a_hook_that_failed_is_named() -> None:
    failed = {"Verified": ("False", "VerificationFailed", "hook 'http' failed in stage Pending")}
    assert conditions(going(Phase.ABORTING, verification=(PASSED, FAILED))) == failed


def test_what_was_taken_back_is_no_longer_promoted() -> None:
    live = going(Phase.GRACE, live=8)
    entry = replace(ENTRY, phase=Phase.REVERTING, live_version=9)
    back = live.model_copy(update={"status": in_progress(live, Progress(entry=entry), NOW)})
    assert conditions(back) == VERIFIED | FOLLOWED | {
        "Promoted": ("False", "RolledBack", "The old value is live again.")
    }


# ── hooks and consumers ──────────────────────────────────────────────────────────────────────────────────────────────


def test_a_hook_is_told_once_for_each_outcome_in_each_stage() -> None:
    live = PASSED.model_copy(update={"stage": "AfterPromote"})
    first = going(Phase.APPLIED, verification=(FAILED, live))
    later = PASSED.model_copy(update={"time": NOW})
    status = in_progress(first, Progress(entry=ENTRY, verification=(later,)), NOW)
    assert status.verification == (later, live)


def test_how_far_the_consumers_are() -> None:
    counted = going(Phase.PROMOTED, live=8, counted=Counted(3, 2, ("p1",)))
    want = RotationConsumers(summary="2/3", total=3, current=2, stale=("p1",))
    assert counted.status.consumers == want
    kept = in_progress(counted, Progress(entry=ENTRY), NOW)
    assert kept.consumers == want, "a pass that counted nobody takes nothing back"


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("result", RotationResult)
def test_it_is_complete_or_failed(result: RotationResult) -> None:
    complete = result in (RotationResult.SUCCEEDED, RotationResult.ALREADY_DONE)
    found = ended(with_status(rotation(), start_time=BEGAN), result, *WHY, NOW, None)
    (end,) = found.conditions
    assert (end.type, end.status, end.reason) == (
        "Complete" if complete else "Failed",
        ConditionStatus.TRUE,
        "TargetUnreachable",
    )
    assert (found.result, found.reason, found.message, found.completion_time) == (result, WHY[0].value, WHY[1], NOW)
    assert (found.duration, found.phase) == ("30s", result.value)


def test_the_end_keeps_what_was_told_and_replaces_another_end() -> None:
    live = going(Phase.GRACE, live=8)
    stuck = live.model_copy(
        update={"status": ended(live, RotationResult.NEEDS_INTERVENTION, *WHY, NOW, replace(ENTRY, live_version=8))}
    )
    assert sorted(conditions(stuck)) == ["ConsumersCurrent", "Failed", "Promoted", "Verified"]
    entry = replace(ENTRY, phase=Phase.DONE, live_version=9)
    done = ended(stuck, RotationResult.SUCCEEDED, Reason.RETIRED, "m", NOW, entry)
    assert sorted(c.type for c in done.conditions) == ["Complete", "ConsumersCurrent", "Promoted", "Verified"]
    assert (done.phase, done.to_version) == ("Done", 9)


def test_the_journal_of_another_run_says_nothing_of_this_one() -> None:
    other = with_status(rotation(), rotation_id="id-0", to_version=5, phase="Pending")
    found = ended(other, RotationResult.ABORTED, *WHY, NOW, replace(ENTRY, phase=Phase.GRACE, live_version=9))
    assert (found.phase, found.to_version) == ("Pending", 5)


def test_what_was_never_begun_took_no_time() -> None:
    found = ended(rotation(), RotationResult.ABORTED, *WHY, NOW, None)
    assert (found.start_time, found.duration) == (NOW, "0s")
    back = ended(with_status(rotation(), start_time=NOW + timedelta(hours=1)), RotationResult.ABORTED, *WHY, NOW, None)
    assert back.duration == "0s", "the clock went back"
