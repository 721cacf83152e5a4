"""When a rotation is due: by the clock, by the age of the value, by what was staged; and what never makes one due."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, Trigger
from elile_operator.decide.due import (
    AGE_AGAIN,
    LATE,
    Anchor,
    Calendar,
    Due,
    Run,
    Seen,
    anchor_of,
    closes_of,
    read_calendar,
    what_is_due,
)
from elile_operator.decide.violation import Violation
from tests.fakes.objects import rotation, rotation_schedule

LONG_AGO = datetime(2030, 1, 1, tzinfo=UTC)
DAILY = {"schedule": "0 3 * * *"}
THREE = datetime(2030, 6, 4, 3, tzinfo=UTC)
LABEL, BEFORE = "2030-06-04T03:00[Etc/UTC]", "2030-06-03T03:00[Etc/UTC]"
MINUTE, HOUR, DAY = timedelta(minutes=1), timedelta(hours=1), timedelta(days=1)
TONIGHT = {"name": "night", "schedule": "0 2 * * *", "duration": "4h"}  # 02:00 to 06:00


def calendar_of(**spec: Any) -> Calendar:
    found = read_calendar(rotation_schedule(**spec))
    assert isinstance(found, Calendar)
    return found


def due(now: datetime, *, anchor: datetime = LONG_AGO, handled: str | None = BEFORE, **spec: Any) -> Due:
    """What a schedule says that has handled yesterday's occurrence."""
    seen = Seen(anchor=Anchor("", anchor), handled=handled)
    return what_is_due(rotation_schedule(**spec), calendar_of(**spec), seen, now)


def by_age(now: datetime, since: datetime | None, failed: datetime | None = None, **spec: Any) -> Due:
    seen = Seen(anchor=Anchor("", LONG_AGO), handled=LABEL, live_since=since, failed=failed)
    return what_is_due(rotation_schedule(**spec), calendar_of(**spec), seen, now)


def minutes(at: datetime) -> int:
    return int(at.timestamp()) // 60


SCHEDULED = Run(trigger=Trigger.SCHEDULE, label=LABEL, name=f"weekly-{minutes(THREE)}", at=THREE)

# ── by the clock ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("now", "spec", "run", "missed", "following"),
    [
        pytest.param(THREE - MINUTE, {}, False, False, THREE, id="not yet"),
        pytest.param(THREE, {}, True, False, THREE + DAY, id="now"),
        pytest.param(THREE + LATE, {}, True, False, THREE + DAY, id="a little late"),
        pytest.param(THREE + LATE + MINUTE, {}, True, True, THREE + DAY, id="late, and caught up with"),
        pytest.param(THREE + 20 * HOUR, {}, True, True, THREE + DAY, id="until the next one"),
        pytest.param(THREE + HOUR, {"window": "2h"}, True, True, THREE + DAY, id="within the window"),
        pytest.param(
            THREE + 3 * HOUR + MINUTE, {"blackouts": [TONIGHT]}, True, False, THREE + DAY, id="a blackout makes no miss"
        ),
        pytest.param(
            THREE + MINUTE, {"missedRun": "Skip"}, True, False, THREE + DAY, id="Skip is of what was missed only"
        ),
        pytest.param(THREE + HOUR, {"suspend": True}, False, False, None, id="suspended"),
    ],
)
def test_an_occurrence_is_due_once_its_time_has_come(
    now: datetime, spec: dict[str, Any], run: bool, missed: bool, following: datetime | None
) -> None:
    found = due(now, **DAILY, **spec)
    assert found == Due(run=SCHEDULED if run else None, missed=missed, next=following)


@pytest.mark.parametrize(
    ("now", "spec"),
    [
        pytest.param(THREE + LATE + MINUTE, {"missedRun": "Skip"}, id="missed"),
        pytest.param(THREE + 2 * HOUR, {"window": "2h"}, id="the window has closed"),
        pytest.param(THREE + 2 * HOUR, {"window": "2h", "blackouts": [TONIGHT]}, id="a blackout was longer than it"),
    ],
)
def test_an_occurrence_that_is_not_run_any_more_is_told(now: datetime, spec: dict[str, Any]) -> None:
    found = due(now, **DAILY, **spec)
    assert (found.run, found.missed, found.next) == (None, True, THREE + DAY)
    assert found.skipped is not None
    assert (found.skipped.label, found.skipped.scheduled) == (LABEL, THREE)


@pytest.mark.parametrize(
    ("handled", "again"),
    [
        pytest.param(LABEL, False, id="handled"),
        pytest.param("2030-06-05T03:00[Etc/UTC]", False, id="a later one was, and the clock went back"),
        pytest.param(None, True, id="none was, but the object is known for longer"),
        pytest.param("maxAge@2030-06-04T03:00Z", True, id="a run of another kind"),
        pytest.param("yesterday]", True, id="a status that somebody wrote"),
        pytest.param("2030-06-04T03:00[Mars/Olympus]", True, id="a zone that is gone"),
    ],
)
def test_an_occurrence_is_due_once(handled: str | None, again: bool) -> None:
    assert (due(THREE + MINUTE, handled=handled, **DAILY).run is not None) is again


def test_first_sight_rotates_nothing() -> None:
    assert due(THREE + HOUR, anchor=THREE + HOUR, handled=None, **DAILY) == Due(next=THREE + DAY)


def test_a_splay_delays_the_start_and_not_the_label() -> None:
    spec = {**DAILY, "splay": "1h"}
    start = due(THREE - MINUTE, **spec).next
    assert start is not None
    assert THREE < start < THREE + HOUR
    assert due(start - timedelta(seconds=1), **spec).run is None
    assert due(start, **spec) == Due(
        run=Run(trigger=Trigger.SCHEDULE, label=LABEL, name=SCHEDULED.name, at=start), next=due(start, **spec).next
    )


@pytest.mark.parametrize(
    ("now", "label"),
    [
        pytest.param(datetime(2026, 3, 29, 1, tzinfo=UTC), "2026-03-29T03:00[Europe/Berlin]", id="a time in the gap"),
        pytest.param(
            datetime(2026, 10, 25, 0, 30, tzinfo=UTC), "2026-10-25T02:30[Europe/Berlin]", id="a time that comes twice"
        ),
    ],
)
def test_summer_time_comes_and_goes(now: datetime, label: str) -> None:
    spec = {"schedule": "30 2 * * *", "timeZone": "Europe/Berlin"}
    found = due(now, anchor=datetime(2026, 1, 1, tzinfo=UTC), handled=None, **spec)
    assert found.run is not None
    assert (found.run.label, found.run.at, found.missed) == (label, now, False)
    assert due(now + HOUR, anchor=now - DAY, handled=label, **spec).run is None, (
        "an hour later the clock shows it once more"
    )


# ── since when occurrences count ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "status", "kept"),
    [
        pytest.param({}, {}, False, id="first sight"),
        pytest.param({}, {"anchor": "0 3 * * *[Etc/UTC]"}, False, id="half a status"),
        pytest.param({}, {"anchor": "0 3 * * *[Etc/UTC]", "anchorTime": "2030-01-01T00:00:00Z"}, True, id="known"),
        pytest.param(
            {"schedule": "0 4 * * *"},
            {"anchor": "0 3 * * *[Etc/UTC]", "anchorTime": "2030-01-01T00:00:00Z"},
            False,
            id="another expression",
        ),
        pytest.param(
            {"timeZone": "Europe/Berlin"},
            {"anchor": "0 3 * * *[Etc/UTC]", "anchorTime": "2030-01-01T00:00:00Z"},
            False,
            id="another zone",
        ),
        pytest.param(
            {"splay": "1h", "window": "2h", "suspend": True},
            {"anchor": "0 3 * * *[Etc/UTC]", "anchorTime": "2030-01-01T00:00:00Z"},
            True,
            id="another field",
        ),
    ],
)
def test_occurrences_count_since_the_first_sight_of_their_times(
    spec: dict[str, Any], status: dict[str, Any], kept: bool
) -> None:
    schedule = rotation_schedule(status=status, **(DAILY | spec))
    found = anchor_of(schedule, THREE)
    wanted = DAILY | spec
    assert found == Anchor(f"{wanted['schedule']}[{wanted.get('timeZone', 'Etc/UTC')}]", LONG_AGO if kept else THREE)


def test_one_on_demand_is_anchored_too() -> None:
    assert anchor_of(rotation_schedule(), THREE) == Anchor("[Etc/UTC]", THREE)


# ── by age ───────────────────────────────────────────────────────────────────────────────────────────────────────────

AGED = {"maxAge": "10d"}
SINCE = THREE - 10 * DAY + timedelta(seconds=30)


def aged(at: datetime) -> Run:
    return Run(trigger=Trigger.MAX_AGE, label=f"maxAge@{at:%Y-%m-%dT%H:%MZ}", name=f"weekly-{minutes(at)}", at=at)


@pytest.mark.parametrize(
    ("now", "since", "failed", "spec", "found"),
    [
        pytest.param(THREE, None, None, AGED, Due(), id="the value was not seen yet"),
        pytest.param(THREE, SINCE, None, {}, Due(), id="any age will do"),
        pytest.param(THREE - MINUTE, SINCE, None, AGED, Due(next=THREE), id="too young"),
        pytest.param(THREE, SINCE, None, AGED, Due(run=aged(THREE)), id="old enough"),
        pytest.param(THREE + DAY, SINCE, None, AGED, Due(run=aged(THREE)), id="older, and of the same name"),
        pytest.param(
            THREE + MINUTE, SINCE, THREE, AGED, Due(next=THREE + AGE_AGAIN), id="a run has failed: not at once again"
        ),
        pytest.param(
            THREE + AGE_AGAIN, SINCE, THREE, AGED, Due(run=aged(THREE + AGE_AGAIN)), id="an hour later, as another run"
        ),
        pytest.param(THREE, SINCE, THREE - DAY, AGED, Due(run=aged(THREE)), id="it has failed before that"),
        pytest.param(
            THREE,
            SINCE,
            None,
            {**AGED, "blackouts": [TONIGHT]},
            Due(next=THREE + 3 * HOUR),
            id="in a blackout it waits",
        ),
        pytest.param(
            THREE - DAY,
            SINCE,
            None,
            {**AGED, "blackouts": [TONIGHT]},
            Due(next=THREE + 3 * HOUR),
            id="and says so before",
        ),
        pytest.param(
            THREE + 5 * HOUR,
            SINCE,
            None,
            {**AGED, **DAILY, "window": "2h"},
            Due(next=THREE + DAY),
            id="for the next open window",
        ),
        pytest.param(
            THREE + HOUR,
            SINCE,
            None,
            {**AGED, **DAILY, "window": "2h"},
            Due(run=aged(THREE), next=THREE + DAY),
            id="in an open one",
        ),
        pytest.param(THREE + HOUR, SINCE, None, {**AGED, "suspend": True}, Due(), id="suspended"),
    ],
)
def test_a_value_that_is_too_old_is_due(
    now: datetime, since: datetime | None, failed: datetime | None, spec: dict[str, Any], found: Due
) -> None:
    assert by_age(now, since, failed, **spec) == found


def test_no_window_is_ever_free_of_blackouts() -> None:
    spec = {**AGED, **DAILY, "window": "1h", "blackouts": [TONIGHT]}
    assert by_age(THREE, SINCE, None, **spec) == Due(next=THREE + DAY)


def test_where_blackouts_touch_the_last_one_counts() -> None:
    morning = {"name": "morning", "schedule": "0 5 * * *", "duration": "4h"}
    found = calendar_of(blackouts=[TONIGHT, morning])
    assert found.next_start(THREE) == THREE + 6 * HOUR
    assert [found.blackout(THREE + at * HOUR) and found.blackout(THREE + at * HOUR).name for at in (0, 5, 6)] == [  # type: ignore[union-attr]
        "night",
        "morning",
        None,
    ]


def test_blackouts_that_never_end_between_them() -> None:
    halves = [
        {"name": name, "schedule": f"{minute} * * * *", "duration": "40m"} for name, minute in (("a", 0), ("b", 30))
    ]
    assert calendar_of(blackouts=halves).next_start(THREE) is None
    assert by_age(THREE, SINCE, None, **AGED, blackouts=halves) == Due()


# ── by what was staged ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "run"),
    [
        pytest.param({}, True, id="at any time"),
        pytest.param({"blackouts": [TONIGHT]}, False, id="in no blackout"),
        pytest.param({"schedule": "0 9 * * *", "window": "1h"}, False, id="in no closed window"),
        pytest.param({"suspend": True}, False, id="suspended"),
    ],
)
def test_a_staged_value_is_due_at_once(spec: dict[str, Any], run: bool) -> None:
    seen = Seen(anchor=Anchor("", LONG_AGO), handled=LABEL, staged=5)
    found = what_is_due(rotation_schedule(**spec), calendar_of(**spec), seen, THREE)
    staged = Run(trigger=Trigger.STAGED, label="inbox@5", name="weekly-s5", at=THREE)
    assert found.run == (staged if run else None)


def test_an_occurrence_goes_before_what_was_staged_and_before_the_age() -> None:
    seen = Seen(anchor=Anchor("", LONG_AGO), live_since=LONG_AGO, staged=5)
    spec = {**DAILY, **AGED}
    assert what_is_due(rotation_schedule(**spec), calendar_of(**spec), seen, THREE).run == SCHEDULED


# ── times that cannot be followed ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("spec", "reason", "message"),
    [
        pytest.param(
            {**DAILY, "timeZone": "Mars/Olympus"},
            Reason.TIME_ZONE_UNKNOWN,
            "spec.schedule: time zone 'Mars/Olympus' is not in the IANA database: write a name such as 'Europe/Berlin' "
            "or 'Etc/UTC', upper and lower case as there",
            id="zone",
        ),
        pytest.param(
            {"blackouts": [{**TONIGHT, "timeZone": "Mars/Olympus"}]},
            Reason.TIME_ZONE_UNKNOWN,
            "spec.blackouts[night]: time zone 'Mars/Olympus' is not in the IANA database: write a name such as "
            "'Europe/Berlin' or 'Etc/UTC', upper and lower case as there",
            id="zone of a blackout",
        ),
    ],
)
def test_times_that_only_the_operator_can_refuse(spec: dict[str, Any], reason: Reason, message: str) -> None:
    assert read_calendar(rotation_schedule(**spec)) == Violation(reason, message)


@pytest.mark.parametrize(
    ("spec", "reason", "field"),
    [
        pytest.param({"schedule": "0 3 31 2 *"}, Reason.NEVER_FIRES, "spec.schedule", id="a day that is never"),
        pytest.param({"schedule": "61 3 * * *"}, Reason.SPEC_INVALID, "spec.schedule", id="a minute that is none"),
        pytest.param(
            {"blackouts": [{**TONIGHT, "schedule": "0 25 * * *"}]},
            Reason.SPEC_INVALID,
            "spec.blackouts[night]",
            id="an hour that is none",
        ),
        pytest.param(
            {"blackouts": [{**TONIGHT, "duration": "25h"}]},
            Reason.SPEC_INVALID,
            "spec.blackouts[night]",
            id="a blackout without a break",
        ),
    ],
)
def test_the_field_is_named(spec: dict[str, Any], reason: Reason, field: str) -> None:
    found = read_calendar(rotation_schedule(**spec))
    assert isinstance(found, Violation)
    assert found.reason is reason
    assert found.message.startswith(f"{field}: ")


def test_a_blackout_is_in_the_zone_of_the_schedule_unless_it_says_another() -> None:
    own = calendar_of(timeZone="America/New_York", blackouts=[TONIGHT])
    assert own.blackout(datetime(2030, 6, 4, 7, tzinfo=UTC)) is not None
    assert own.blackout(THREE) is None
    other = calendar_of(timeZone="America/New_York", blackouts=[{**TONIGHT, "timeZone": "Etc/UTC"}])
    assert other.blackout(THREE) is not None


# ── until when a run may be undone for lateness ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("asked", "spec", "closes"),
    [
        pytest.param(
            rotation(trigger=Trigger.SCHEDULE, occurrence=LABEL), DAILY, THREE + DAY, id="until the next occurrence"
        ),
        pytest.param(
            rotation(trigger=Trigger.SCHEDULE, occurrence=LABEL),
            {**DAILY, "window": "2h"},
            THREE + 2 * HOUR,
            id="until the window closes",
        ),
        pytest.param(rotation(trigger=Trigger.SCHEDULE, occurrence=LABEL), {}, None, id="the schedule went meanwhile"),
        pytest.param(rotation(trigger=Trigger.MAX_AGE, occurrence="maxAge@x"), DAILY, None, id="by age"),
        pytest.param(rotation(), DAILY, None, id="by hand"),
        pytest.param(rotation(trigger=Trigger.SCHEDULE), DAILY, None, id="without a label"),
        pytest.param(
            rotation(trigger=Trigger.SCHEDULE, occurrence="soon[Etc/UTC]"), DAILY, None, id="a label of nobody's"
        ),
    ],
)
def test_the_window_of_a_run(asked: Rotation, spec: dict[str, Any], closes: datetime | None) -> None:
    assert closes_of(asked, calendar_of(**spec)) == closes
