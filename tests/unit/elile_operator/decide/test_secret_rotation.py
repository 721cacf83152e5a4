"""What an ElileSecret tells of its rotations: what is under way first, then what went wrong."""

from typing import Any

import pytest

from elile_operator.api.elilesecret import ElileSecretStatus, SecretRotation
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.decide.secret_rotation import rotation_part
from tests.fakes.objects import NOW, elile_secret, rotation_schedule

NEXT = "2030-01-06T03:00:00Z"


def told(type_: str, status: str, reason: str, message: str = "m") -> dict[str, Any]:
    return {
        "type": type_,
        "status": status,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2030-01-01T11:00:00Z",
        "observedGeneration": 2,
    }


READY = told("Ready", "True", "RotationScheduled")
STUCK = told("NeedsIntervention", "True", "NeedsIntervention", "look at it")


def schedule(name: str = "weekly", *, suspend: bool = False, **status: Any) -> RotationSchedule:
    status.setdefault("conditions", [READY])
    return rotation_schedule(metadata={"name": name}, status=status, suspend=suspend)


def part(*schedules: RotationSchedule, waited_for: str | None = None) -> ElileSecretStatus:
    return rotation_part(elile_secret(), schedules, waited_for, NOW)


def test_where_nothing_rotates_it_there_is_nothing_to_tell() -> None:
    assert part() == ElileSecretStatus()


def test_one_entry_for_each_schedule_and_the_earliest_time() -> None:
    found = part(
        schedule("b", phase="Idle", nextRotationTime="2030-01-07T03:00:00Z"),
        schedule("a", phase="Grace", nextRotationTime=NEXT, lastResult="Succeeded", previousValidUntil=NEXT),
        schedule("c"),
    )
    assert [entry.schedule for entry in found.rotations] == ["b", "a", "c"]
    assert isinstance(found.rotations[1], SecretRotation)
    assert (found.rotations[1].phase, found.rotations[1].last_result) == ("Grace", "Succeeded")
    assert found.next_rotation_time == NEXT
    assert part(schedule()).next_rotation_time is None


@pytest.mark.parametrize(
    ("schedules", "word"),
    [
        pytest.param([schedule()], "Idle", id="no status yet"),
        pytest.param([schedule(phase="Idle"), schedule("late", phase="Promoted")], "Promoted", id="what is under way"),
        pytest.param(
            [schedule(phase="Grace"), schedule("late", phase="NeedsIntervention")],
            "NeedsIntervention",
            id="what is stuck",
        ),
        pytest.param([schedule(phase="Idle", consecutiveFailures=2)], "Failed", id="what failed"),
        pytest.param(
            [schedule(phase="Grace", consecutiveFailures=2)], "Grace", id="what is under way, after a failure"
        ),
        pytest.param([schedule(suspend=True)], "Suspended", id="all suspended"),
        pytest.param([schedule(suspend=True), schedule("late")], "Idle", id="not all suspended"),
    ],
)
def test_one_word_for_the_column(schedules: list[RotationSchedule], word: str) -> None:
    assert part(*schedules).rotation == word


WAITS = "a rotation of secret/shop/db waits for this object: its running pods were not poked yet"


@pytest.mark.parametrize(
    ("schedules", "waited_for", "status", "reason", "message"),
    [
        pytest.param(
            [schedule()],
            None,
            "True",
            "RotationScheduled",
            "The value is rotated as the schedule says, or on demand.",
            id="well",
        ),
        pytest.param(
            [schedule(), schedule("late", conditions=[READY, STUCK])],
            WAITS,
            "False",
            "NeedsIntervention",
            "RotationSchedule 'late': look at it",
            id="a person is needed",
        ),
        pytest.param([schedule()], WAITS, "False", "AwaitingConsumers", WAITS, id="it holds a rotation up"),
        pytest.param(
            [], WAITS, "False", "AwaitingConsumers", WAITS, id="it holds the rotation of another namespace up"
        ),
        pytest.param(
            [schedule(conditions=[told("Ready", "False", "PermissionDenied", "may not")])],
            None,
            "False",
            "PermissionDenied",
            "RotationSchedule 'weekly': may not",
            id="the schedule is not ready",
        ),
        pytest.param(
            [schedule(conditions=[told("Ready", "False", "OfALaterVersion", "may not")])],
            None,
            "False",
            "RotationScheduled",
            "RotationSchedule 'weekly': may not",
            id="for a reason of another version of Elile",
        ),
        pytest.param(
            [schedule(consecutiveFailures=3)],
            None,
            "False",
            "Aborted",
            "the last 3 runs of RotationSchedule 'weekly' failed; its Rotations say why",
            id="runs fail",
        ),
        pytest.param(
            [schedule(consecutiveFailures=1)],
            None,
            "False",
            "Aborted",
            "the last run of RotationSchedule 'weekly' failed; its Rotation says why",
            id="one run failed",
        ),
        pytest.param(
            [
                schedule(conditions=[]),
                schedule("late", conditions=[told("NeedsIntervention", "False", "RotationScheduled")]),
            ],
            None,
            "True",
            "RotationScheduled",
            "The value is rotated as the schedule says, or on demand.",
            id="nothing is told yet",
        ),
    ],
)
def test_whether_the_rotation_is_healthy(
    schedules: list[RotationSchedule], waited_for: str | None, status: str, reason: str, message: str
) -> None:
    (found,) = part(*schedules, waited_for=waited_for).conditions
    assert (found.type, found.status, found.reason, found.message) == (
        "RotationHealthy",
        ConditionStatus(status),
        reason,
        message,
    )


def test_one_that_only_holds_others_up_has_no_word() -> None:
    found = part(waited_for=WAITS)
    assert (found.rotation, found.rotations, found.next_rotation_time) == (None, (), None)
