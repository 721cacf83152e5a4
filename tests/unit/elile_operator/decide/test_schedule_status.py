"""The status of a RotationSchedule: what its runs came to, what is live, what comes next, and whether all is well."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile.secrets.rotation.journal import Phase
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, Trigger
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.decide.due import Anchor, Due
from elile_operator.decide.schedule_status import (
    Live,
    Seen,
    Underway,
    failed_at,
    follow_live,
    overdue_history,
    schedule_status,
    version_of,
)
from elile_operator.decide.violation import Violation
from tests.fakes.objects import EARLIER, NOW, elile_secret, rotation, rotation_schedule

LONG_AGO = datetime(2029, 1, 1, tzinfo=UTC)
SEEN = Seen(
    anchor=Anchor("[Etc/UTC]", EARLIER),
    due=Due(),
    live=Live(7, EARLIER),
    label=None,
    labelled=None,
    missed=0,
    violation=None,
    times_are_wrong=False,
    underway=None,
    rotations=(),
)
GRACE = Underway(phase=Phase.GRACE, active="run", valid_until=NOW, retry=None, message="")
STUCK = replace(GRACE, phase=Phase.NEEDS_INTERVENTION, message="look at it")
EXTERNAL = {"value": {"external": {"remindAfter": "30d"}}}


def ended(name: str, result: str, at: datetime = EARLIER, *, made: bool = True, **status: Any) -> Rotation:
    done = {"result": result, "completionTime": f"{at:%Y-%m-%dT%H:%M:%SZ}", **status}
    return rotation(name, status=done, trigger=Trigger.SCHEDULE if made else None, occurrence="label")


def told(schedule: RotationSchedule, seen: Seen, type_: str = "Ready") -> tuple[str, str, str] | None:
    found = next((c for c in schedule_status(schedule, seen, NOW).conditions if c.type == type_), None)
    return (found.status.value, found.reason, found.message) if found else None


# ── what is live ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_version_that_was_delivered() -> None:
    source = {"name": "main", "path": "secret/shop/db", "version": 7}
    assert version_of(elile_secret(status={"sources": [source]}), "main") == 7
    assert version_of(elile_secret(status={"sources": [source]}), "other") is None
    assert version_of(None, "main") is None


KNOWN = {"liveVersion": 7, "liveSince": "2030-01-01T11:00:00Z"}
OURS = ended("run", "Succeeded", toVersion=9)


@pytest.mark.parametrize(
    ("status", "current", "busy", "found"),
    [
        pytest.param({}, None, False, Live(None, None), id="nothing was read yet"),
        pytest.param({}, 7, False, Live(7, NOW), id="first sight, or a status that was wiped"),
        pytest.param(KNOWN, 7, False, Live(7, EARLIER), id="as before"),
        pytest.param(KNOWN, None, False, Live(7, EARLIER), id="it cannot be read now"),
        pytest.param(KNOWN, 9, False, Live(9, NOW), id="a run has written it"),
        pytest.param(KNOWN, 8, False, Live(7, EARLIER, foreign=8), id="somebody else has"),
        pytest.param(KNOWN, 8, True, Live(7, EARLIER), id="or the run that is under way"),
        pytest.param(KNOWN, 6, False, Live(7, EARLIER), id="an older answer"),
    ],
)
def test_what_is_live(status: dict[str, Any], current: int | None, busy: bool, found: Live) -> None:
    now = NOW + timedelta(milliseconds=5)
    assert follow_live(rotation_schedule(status=status), current, [OURS], busy=busy, now=now) == found


# ── runs that are over ───────────────────────────────────────────────────────────────────────────────────────────────

FAILED, LATE = ended("b", "Aborted", EARLIER), ended("c", "RolledBack", NOW)
WELL = ended("a", "Succeeded", LONG_AGO, toVersion=7, fromVersion=6)


@pytest.mark.parametrize(
    ("rotations", "at"),
    [
        ([], None),
        ([WELL], None),
        ([LATE, WELL, FAILED], NOW),
        ([FAILED, ended("z", "Succeeded", NOW)], None),
        ([FAILED, ended("z", "AlreadyDone", NOW)], EARLIER),
        ([FAILED, rotation("look", action="DryRun", status=LATE.status.model_dump(by_alias=True))], EARLIER),
        ([FAILED, rotation("open")], EARLIER),
    ],
)
def test_when_the_last_run_failed(rotations: list[Rotation], at: datetime | None) -> None:
    assert failed_at(rotations) == at


def test_what_came_of_the_runs() -> None:
    status = schedule_status(rotation_schedule(), replace(SEEN, rotations=(FAILED, LATE, WELL)), NOW)
    assert (status.last_result, status.last_successful_time, status.consecutive_failures) == ("RolledBack", LONG_AGO, 2)
    well = schedule_status(rotation_schedule(), replace(SEEN, rotations=(WELL,)), NOW)
    assert (well.last_result, well.consecutive_failures) == ("Succeeded", None)
    by_hand = ended("d", "RolledBack", NOW, reason="RolledBack")
    back = schedule_status(rotation_schedule(), replace(SEEN, rotations=(WELL, FAILED, by_hand)), NOW)
    assert (back.last_result, back.consecutive_failures) == ("RolledBack", 1), "who takes it back has no failure"


def test_what_runs_that_are_cleared_away_came_to_is_kept() -> None:
    before = {"lastResult": "Succeeded", "lastSuccessfulTime": "2029-01-01T00:00:00Z", "missedRuns": 2}
    status = schedule_status(rotation_schedule(status=before), replace(SEEN, missed=1), NOW)
    assert (status.last_result, status.last_successful_time, status.missed_runs) == ("Succeeded", LONG_AGO, 3)


def test_only_what_the_schedule_made_is_cleared_away_and_the_oldest_first() -> None:
    made = [ended(f"r{n}", "Succeeded", EARLIER + timedelta(minutes=n)) for n in range(4)]
    by_hand = ended("by-hand", "Succeeded", LONG_AGO, made=False)
    schedule = rotation_schedule(historyLimit=2)
    found = overdue_history(schedule, [*reversed(made), by_hand, rotation("open", trigger=Trigger.SCHEDULE)])
    assert [r.metadata.name for r in found] == ["r0", "r1"]
    assert overdue_history(schedule, made[:2]) == []


# ── the status as one ────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_under_way() -> None:
    seen = replace(SEEN, underway=replace(GRACE, retry=EARLIER), due=Due(next=NOW), label="l", labelled=EARLIER)
    status = schedule_status(rotation_schedule(), seen, NOW)
    assert (status.active, status.phase, status.previous_valid_until) == ("run", "Grace", NOW)
    assert (status.next_retry_time, status.next_rotation_time) == (EARLIER, NOW)
    assert (status.last_schedule_label, status.last_schedule_time) == ("l", EARLIER)
    assert (status.anchor, status.anchor_time) == ("[Etc/UTC]", EARLIER)
    assert (status.live_version, status.live_since) == (7, EARLIER)


def test_nothing_new_is_no_other_status() -> None:
    seen = replace(SEEN, rotations=(FAILED, WELL), label="l", labelled=EARLIER, due=Due(next=NOW), drifted=EARLIER)
    first = schedule_status(rotation_schedule(), seen, NOW)
    known = rotation_schedule().model_copy(update={"status": first})
    again = replace(seen, label=None, labelled=None, drifted=None)
    assert schedule_status(known, again, NOW + timedelta(minutes=5)) == first


# ── conditions ───────────────────────────────────────────────────────────────────────────────────────────────────────

DENIED = Violation(Reason.PERMISSION_DENIED, "may not")
NO_ZONE = Violation(Reason.TIME_ZONE_UNKNOWN, "spec.schedule: no such zone")
AWAY = Violation(Reason.VAULT_UNREACHABLE, "no answer")


@pytest.mark.parametrize(
    ("spec", "changes", "ready", "stalled"),
    [
        pytest.param(
            {},
            {},
            ("True", "RotationScheduled", "source 'main' of ElileSecret 'db' is rotated on demand"),
            "False",
            id="on demand",
        ),
        pytest.param(
            {"schedule": "@daily"},
            {},
            ("True", "RotationScheduled", "source 'main' of ElileSecret 'db' is rotated as spec.schedule says"),
            "False",
            id="as scheduled",
        ),
        pytest.param(
            {"suspend": True},
            {},
            (
                "True",
                "Suspended",
                "source 'main' of ElileSecret 'db' is rotated by hand only while spec.suspend is true",
            ),
            "False",
            id="suspended",
        ),
        pytest.param({}, {"violation": DENIED}, ("False", "PermissionDenied", "may not"), "False", id="refused"),
        pytest.param(
            {},
            {"violation": NO_ZONE, "times_are_wrong": True},
            ("False", "TimeZoneUnknown", "spec.schedule: no such zone"),
            "True",
            id="its times are wrong",
        ),
        pytest.param(
            {}, {"violation": AWAY}, ("Unknown", "VaultUnreachable", "no answer"), "False", id="not heard yet"
        ),
        pytest.param(
            {},
            {"live": Live(7, EARLIER, foreign=8)},
            (
                "False",
                "ExternalChange",
                "version 8 of the live path was written by somebody else: make a Rotation to replace it, or set "
                "spec.drift.onExternalChange to Adopt",
            ),
            "False",
            id="somebody else wrote it",
        ),
        pytest.param(
            {},
            {"underway": STUCK, "violation": DENIED},
            ("False", "NeedsIntervention", "look at it"),
            "True",
            id="a person is needed, whatever else",
        ),
    ],
)
def test_whether_it_is_ready(
    spec: dict[str, Any], changes: dict[str, Any], ready: tuple[str, str, str], stalled: str
) -> None:
    schedule, seen = rotation_schedule(**spec), replace(SEEN, **changes)
    assert told(schedule, seen) == ready
    found = told(schedule, seen, "Stalled")
    assert found is not None
    assert found[0] == stalled


@pytest.mark.parametrize("reason", [Reason.VERIFICATION_FAILED, Reason.TOO_LARGE])
def test_a_reason_that_is_none_of_a_schedules_is_told_all_the_same(reason: Reason) -> None:
    found = told(rotation_schedule(), replace(SEEN, violation=Violation(reason, "m")))
    assert found == ("False", reason.value, "m")


def test_a_vault_that_is_away_takes_nothing_back() -> None:
    first = schedule_status(rotation_schedule(), SEEN, NOW)
    known = rotation_schedule().model_copy(update={"status": first})
    assert told(known, replace(SEEN, violation=AWAY)) == told(rotation_schedule(), SEEN)


def test_times_that_cannot_be_followed_have_a_condition() -> None:
    well = ("True", "RotationScheduled", "schedule, time zone and blackouts can be followed")
    assert told(rotation_schedule(), replace(SEEN, violation=DENIED), "ScheduleValid") == well
    wrong = replace(SEEN, violation=NO_ZONE, times_are_wrong=True)
    assert told(rotation_schedule(), wrong, "ScheduleValid") == ("False", "TimeZoneUnknown", NO_ZONE.message)


def test_a_run_that_needs_a_person_has_a_condition() -> None:
    no = ("False", "RotationScheduled", "no run waits for a person")
    assert told(rotation_schedule(), replace(SEEN, underway=GRACE), "NeedsIntervention") == no
    stuck = replace(SEEN, underway=STUCK)
    assert told(rotation_schedule(), stuck, "NeedsIntervention") == ("True", "NeedsIntervention", "look at it")


# ── drift ────────────────────────────────────────────────────────────────────────────────────────────────────────────

DRIFT = Violation(Reason.DRIFT_DETECTED, "it no longer works")


@pytest.mark.parametrize(
    ("drifted", "rotations", "still"),
    [
        pytest.param(None, (), True, id="nobody has looked since"),
        pytest.param(NOW, (), False, id="a look found it well"),
        pytest.param(None, (ended("r", "Succeeded", NOW),), False, id="a run has ended well since"),
        pytest.param(None, (WELL,), True, id="one had before"),
        pytest.param(None, (ended("r", "Aborted", NOW),), True, id="one failed since"),
    ],
)
def test_drift_is_told_until_it_is_gone(drifted: datetime | None, rotations: tuple[Rotation, ...], still: bool) -> None:
    first = schedule_status(rotation_schedule(), replace(SEEN, violation=DRIFT, drifted=EARLIER), EARLIER)
    known = rotation_schedule().model_copy(update={"status": first})
    found = told(known, replace(SEEN, drifted=drifted, rotations=rotations))
    assert found is not None
    assert (found[1] == "DriftDetected") is still


# ── values that others issue ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "due", "unused"),
    [
        pytest.param({}, ("False", "RotationScheduled", "no value has to be staged now"), None, id="young"),
        pytest.param({"staged": True}, ("False", "ValueStaged", "A value was found in the inbox."), None, id="staged"),
        pytest.param(
            {"live": Live(7, NOW - timedelta(days=30))},
            ("True", "ValueDue", "the value is older than 30d: stage another one in the inbox"),
            None,
            id="old",
        ),
        pytest.param({"live": Live(None, None)}, ("False", "RotationScheduled", "no value has to be staged now"), None),
        pytest.param(
            {"rotations": (WELL,)},
            ("False", "RotationScheduled", "no value has to be staged now"),
            ("True", "PreviousUnused", "version 6 is used by nobody: withdraw it where it was issued"),
            id="replaced",
        ),
        pytest.param(
            {"rotations": (WELL,), "underway": GRACE},
            ("False", "RotationScheduled", "no value has to be staged now"),
            None,
            id="replaced, and the next run is under way",
        ),
    ],
)
def test_what_somebody_has_to_do_elsewhere(
    changes: dict[str, Any], due: tuple[str, str, str], unused: tuple[str, str, str] | None
) -> None:
    schedule, seen = rotation_schedule(**EXTERNAL), replace(SEEN, **changes)
    assert (told(schedule, seen, "ValueDue"), told(schedule, seen, "PreviousUnused")) == (due, unused)


def test_a_value_that_is_made_needs_nobody() -> None:
    seen = replace(SEEN, rotations=(WELL,), live=Live(7, LONG_AGO))
    assert told(rotation_schedule(), seen, "ValueDue") is None
    assert told(rotation_schedule(), seen, "PreviousUnused") is None
