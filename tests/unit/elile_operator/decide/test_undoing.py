"""What a Rotation says that was undone: which hook it was, and that what was live already is rolled back."""

from datetime import UTC, datetime
from typing import Any

import pytest

from elile.secrets.rotation.journal import JournalEntry, Owner, Past, Phase
from elile.secrets.rotation.journal import Reason as Cause
from elile.secrets.rotation.policy import Strategy
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, RotationResult, VerificationStatus
from elile_operator.decide.orders import give_order
from elile_operator.decide.readers import Counted
from elile_operator.decide.rotation_status import Progress, ended, in_progress

NOW = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)
OWNER = Owner(cluster="c", namespace="shop", name="db", uid="u")
DETAIL = "may-write: the assertion about db.shop.svc:5432/orders is not true"
FAILED = "a verification failed"
BY_PERSON = "a Rotation of another action, or the deletion of this one, asked for it"
LISTED = {"name": "may-write", "stage": "AfterPromote", "result": "Failed", "reason": "VerificationFailed"}

VERIFIED = {
    "type": "Verified",
    "status": "False",
    "reason": "VerificationFailed",
    "message": "hook 'may-write' failed in stage AfterPromote: no",
    "lastTransitionTime": NOW,
}


def rotation(name: str = "first", *, action: str = "Rotate", **status: Any) -> Rotation:
    return Rotation.model_validate(
        {
            "metadata": {"name": name, "namespace": "shop", "uid": name},
            "spec": {"scheduleRef": {"name": "db"}, "action": action},
            "status": {"rotationID": "id-1", **status} if action == "Rotate" else status,
        }
    )


def entry(phase: Phase, cause: Cause, **changes: Any) -> JournalEntry:
    history = (Past("id-1", "shop/first", phase, cause, NOW),) if changes.get("wiped") else ()
    return JournalEntry(
        **{
            "owner": OWNER,
            "rotation_id": "id-1",
            "occurrence": "shop/first",
            "strategy": Strategy.DUAL_USER,
            "phase": phase,
            "base_version": 1,
            "reason": cause,
            "history": history,
            **changes,
        }
    )


@pytest.mark.parametrize(
    ("phase", "cause", "reason", "message"),
    [
        (Phase.ABORTING, Cause.VERIFICATION_FAILED, Reason.VERIFICATION_FAILED, f"{FAILED}: {DETAIL}"),
        (Phase.REVERTING, Cause.VERIFICATION_FAILED, Reason.VERIFICATION_FAILED, f"{FAILED}: {DETAIL}"),
        (Phase.ABORTING, Cause.BY_PERSON, Reason.ABORTED, BY_PERSON),
        (Phase.REVERTING, Cause.BY_PERSON, Reason.ROLLED_BACK, BY_PERSON),
    ],
)
def test_while_it_is_undone(phase: Phase, cause: Cause, reason: Reason, message: str) -> None:
    status = in_progress(rotation(), Progress(entry=entry(phase, cause), detail=DETAIL), NOW)
    assert (status.phase, status.reason, status.message) == (phase, reason, message)


@pytest.mark.parametrize(
    ("phase", "cause", "status", "reason", "message"),
    [
        (
            Phase.ABORTED,
            Cause.VERIFICATION_FAILED,
            {"phase": "Aborting", "reason": "VerificationFailed", "message": f"{FAILED}: {DETAIL}"},
            Reason.VERIFICATION_FAILED,
            f"{FAILED}: {DETAIL}",
        ),
        (
            Phase.ROLLED_BACK,
            Cause.VERIFICATION_FAILED,
            {"phase": "Reverting", "reason": "AwaitingConsumers", "message": "x", "verification": [LISTED]},
            Reason.VERIFICATION_FAILED,
            f"{FAILED}: hook 'may-write' in stage AfterPromote",
        ),
        (
            Phase.ROLLED_BACK,
            Cause.VERIFICATION_FAILED,
            {"phase": "Reverting", "reason": "AwaitingConsumers", "message": "x", "conditions": [VERIFIED]},
            Reason.VERIFICATION_FAILED,
            f"{FAILED}: hook 'may-write' failed in stage AfterPromote: no",
        ),
        (Phase.ROLLED_BACK, Cause.VERIFICATION_FAILED, {}, Reason.VERIFICATION_FAILED, FAILED),
        (Phase.ROLLED_BACK, Cause.BY_PERSON, {"verification": [LISTED]}, Reason.ROLLED_BACK, BY_PERSON),
        (Phase.ABORTED, Cause.BY_PERSON, {}, Reason.ABORTED, BY_PERSON),
    ],
)
def test_when_it_is_over(phase: Phase, cause: Cause, status: dict[str, Any], reason: Reason, message: str) -> None:
    order = give_order([rotation(**status)], {"first": "id-1"}, entry(phase, cause, wiped=True), leaving=False)
    (answer,) = order.answers
    assert (answer.result.value, answer.reason, answer.message) == (phase.value, reason, message)


def test_the_rotation_that_asked_for_it_ends_in_the_phase_of_the_run() -> None:
    journal = entry(Phase.ROLLED_BACK, Cause.BY_PERSON, wiped=True, handled="shop/back")
    asked = rotation("back", action="RollBack", phase="Reverting")
    (answer,) = give_order([asked], {"back": "id-2"}, journal, leaving=False).answers
    status = ended(asked, answer.result, answer.reason, answer.message, NOW, journal)
    assert (status.phase, status.result, status.reason) == ("RolledBack", RotationResult.SUCCEEDED, Reason.ROLLED_BACK)


def test_the_condition_keeps_what_a_hook_said() -> None:
    listed = VerificationStatus.model_validate({**LISTED, "time": NOW})
    found = Progress(entry=entry(Phase.REVERTING, Cause.VERIFICATION_FAILED), verification=(listed,), detail=DETAIL)
    conditions = {c.type: c for c in in_progress(rotation(), found, NOW).conditions}
    said = DETAIL.removeprefix("may-write: ")
    assert conditions["Verified"].message == f"hook 'may-write' failed in stage AfterPromote: {said}"


@pytest.mark.parametrize(
    ("strategy", "reason", "message"),
    [
        (Strategy.DUAL_USER, Reason.RETIRED, "The old value no longer works."),
        (Strategy.KEYSET, Reason.PROMOTED, "the new key encrypts, and the keys before it still decrypt"),
        (Strategy.EXTERNAL, Reason.PREVIOUS_UNUSED, Reason.PREVIOUS_UNUSED.sentence),
        (Strategy.REPLACE, Reason.PROMOTED, "the new value is live, and nobody is given the old one any more"),
    ],
)
def test_what_became_of_the_old_value(strategy: Strategy, reason: Reason, message: str) -> None:
    journal = entry(Phase.DONE, Cause.NONE, wiped=True, strategy=strategy)
    (answer,) = give_order([rotation()], {"first": "id-1"}, journal, leaving=False).answers
    assert (answer.result, answer.reason, answer.message) == (RotationResult.SUCCEEDED, reason, message)


@pytest.mark.parametrize(
    ("counted", "summary", "current"),
    [
        (Counted(3, 3, ()), "3/3", True),
        (Counted(3, 2, ("a",)), "2/3", False),  # it went on without the proof
        (None, "0/3", False),
    ],
)
def test_consumers_are_counted_at_the_end(counted: Counted | None, summary: str, current: bool) -> None:
    journal = entry(Phase.DONE, Cause.NONE, wiped=True, live_version=2)
    told = rotation(consumers={"summary": "0/3", "total": 3, "current": 0})
    status = ended(told, RotationResult.SUCCEEDED, Reason.RETIRED, "x", NOW, journal, counted)
    assert status.consumers is not None
    assert status.consumers.summary == summary
    assert ("ConsumersCurrent" in {c.type for c in status.conditions}) is current
