"""When work may start: windows, blackouts, and what is said about an occurrence (rule 8)."""

from datetime import UTC, datetime, timedelta

import pytest

from elile.secrets.rotation.schedule import Schedule, ScheduleError, Window

HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)
DAILY = Schedule.parse("0 3 * * *")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


TWO_HOURS = Schedule.parse("0 3 * * 0", window=2 * HOUR)  # 2026-10-25 is a Sunday


@pytest.mark.parametrize(
    ("now", "is_open"),
    [
        ("25T02:59:59", False),
        ("25T03:00:00", True),
        ("25T04:59:59", True),
        ("25T05:00:00", False),
        ("28T03:00:00", False),
    ],
)
def test_an_occurrence_may_start_within_its_window(now: str, is_open: bool) -> None:
    assert TWO_HOURS.is_open(at(f"2026-10-{now}")) is is_open


def test_without_a_window_it_may_start_until_the_next_one() -> None:
    found = DAILY.preview(1, at("2026-10-25T00:00"))[0]
    assert DAILY.closes(found) == at("2026-10-26T03:00")
    assert DAILY.is_open(at("2026-10-25T17:00"))


def test_a_window_ends_at_the_latest_where_the_next_one_begins() -> None:
    schedule = Schedule.parse("0 * * * *", window=3 * HOUR)
    assert schedule.closes(schedule.preview(1, at("2026-10-25T00:30"))[0]) == at("2026-10-25T02:00")


def test_a_window_lasts_its_time_when_clocks_change() -> None:
    schedule = Schedule.parse("30 1 * * *", "Europe/Berlin", window=2 * HOUR)
    found = schedule.preview(1, at("2026-10-24T12:00"))[0]
    assert schedule.closes(found) - found.scheduled == 2 * HOUR


def blackout(expression: str, duration: timedelta, zone: str = "UTC") -> Window:
    return Window.parse("sale", expression, duration, zone)


@pytest.mark.parametrize(
    ("now", "closes"),
    [
        ("2026-10-23T17:59:59", None),
        ("2026-10-23T18:00:00", "2026-10-26T06:00"),
        ("2026-10-26T05:59:59", "2026-10-26T06:00"),
        ("2026-10-26T06:00:00", None),
    ],
)
def test_a_blackout_is_open_from_its_time_on(now: str, closes: str | None) -> None:
    weekend = blackout("0 18 * * FRI", 60 * HOUR)
    assert weekend.is_open(at(now)) is (closes is not None)
    assert weekend.closes(at(now)) == at(closes or now)


def test_stretches_that_touch_close_together() -> None:
    office = blackout("*/15 8-17 * * *", 15 * MINUTE)
    assert office.closes(at("2026-10-25T08:02")) == at("2026-10-25T18:00")
    assert office.closes(at("2026-10-25T08:02"), links=2) == at("2026-10-25T08:30")


def test_a_blackout_has_a_zone_of_its_own() -> None:
    assert blackout("0 0 * * *", HOUR, "America/New_York").is_open(at("2026-10-25T04:30"))


@pytest.mark.parametrize(
    ("expression", "duration", "why"),
    [
        ("0 0 * * *", timedelta(), "window 'sale': duration 0:00:00 must be longer than zero"),
        (
            "0 * * * *",
            HOUR,
            "window 'sale': 1:00:00 from each time of '0 * * * *' leaves no break within 100 times: "
            "make it shorter, or name fewer times and make it longer",
        ),
        (
            "* 8-17 * * *",
            MINUTE,
            "window 'sale': 0:01:00 from each time of '* 8-17 * * *' leaves no break within 100 times: "
            "make it shorter, or name fewer times and make it longer",
        ),
        (
            "0 0 31 2 *",
            HOUR,
            "schedule '0 0 31 2 *' never fires: no month it names has such a day; correct day of month or month",
        ),
    ],
)
def test_a_blackout_is_refused_with_the_remedy(expression: str, duration: timedelta, why: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        blackout(expression, duration)
    assert str(caught.value) == why


# The first Sunday of October is the 4th; each row: from, blackouts, the first time that is allowed.
STARTS = [
    ("2026-10-04T03:30", (), "2026-10-04T03:30"),
    ("2026-10-04T05:00", (), "2026-10-11T03:00"),
    ("2026-10-04T03:30", (("0 3 * * *", HOUR),), "2026-10-04T04:00"),
    ("2026-10-04T03:30", (("0 3 4 10 *", 2 * HOUR),), "2026-10-11T03:00"),
    ("2026-10-04T03:30", (("0 3 4 10 *", HOUR), ("30 3 4 10 *", HOUR)), "2026-10-04T04:30"),
    ("2026-10-04T03:30", (("0 0 * 10 *", 23 * HOUR),), "2026-11-01T03:00"),
    ("2026-10-04T03:30", (("0 0 * * *", 23 * HOUR),), None),
]


@pytest.mark.parametrize(("now", "blackouts", "expected"), STARTS)
def test_work_starts_in_an_open_window_and_no_blackout(
    now: str, blackouts: tuple[tuple[str, timedelta], ...], expected: str | None
) -> None:
    found = TWO_HOURS.next_start(at(now), [blackout(*b) for b in blackouts])
    assert found == (expected and at(expected))


@pytest.mark.parametrize(
    ("schedule", "after", "expected"),
    [
        (DAILY, "2026-10-25T00:00", ["2026-10-25T03:00[UTC] is 2026-10-25T03:00:00Z."]),
        (
            Schedule.parse("15,45 2 * * *", "Europe/Berlin"),
            "2027-03-28T00:00",
            [
                "2027-03-28T03:00[Europe/Berlin] is 2027-03-28T01:00:00Z.",
                "02:15 does not exist on that day: clocks go from 2027-03-28T02:00 to 2027-03-28T03:00, "
                "and it starts right after.",
            ],
        ),
        (
            Schedule.parse("0 3 * * *", "Europe/Berlin"),
            "2027-03-28T00:00",
            ["2027-03-28T03:00[Europe/Berlin] is 2027-03-28T01:00:00Z."],
        ),
        (
            Schedule.parse("0 2 * * *", "Australia/Lord_Howe"),
            "2026-10-03T12:00",
            [
                "2026-10-04T02:30[Australia/Lord_Howe] is 2026-10-03T15:30:00Z.",
                "02:00 does not exist on that day: clocks go from 2026-10-04T02:00 to 2026-10-04T02:30, "
                "and it starts right after.",
            ],
        ),
        (
            Schedule.parse("30 2 * * *", "Europe/Berlin"),
            "2026-10-25T00:00",
            [
                "2026-10-25T02:30[Europe/Berlin] is 2026-10-25T00:30:00Z.",
                "Clocks show this time twice, the second time 1:00:00 later: only the first counts.",
            ],
        ),
        (
            Schedule.parse("H H * * *", "Europe/Berlin", uid="a", splay=30 * MINUTE, window=2 * HOUR),
            "2026-10-25T00:00",
            [
                "2026-10-25T06:28[Europe/Berlin] is 2026-10-25T05:28:00Z.",
                "Schedule 'H H * * *' is '28 6 * * *' for this object.",
                "Splay delays it by 0:21:20 of at most 0:30:00, until 2026-10-25T05:49:20Z.",
                "Its window of 2:00:00 closes at 2026-10-25T07:28:00Z.",
            ],
        ),
    ],
)
def test_it_says_why_it_starts_then(schedule: Schedule, after: str, expected: list[str]) -> None:
    assert schedule.explain(schedule.preview(1, at(after))[0]) == " ".join(expected)


def test_it_says_which_blackout_is_open_then() -> None:
    found = DAILY.preview(1, at("2026-10-25T00:00"))[0]
    said = DAILY.explain(found, [blackout("0 0 * * MON", HOUR), blackout("0 18 * * FRI", 60 * HOUR)])
    assert said == (
        "2026-10-25T03:00[UTC] is 2026-10-25T03:00:00Z. "
        "Blackout 'sale' is open then: nothing starts before 2026-10-26T06:00:00Z."
    )
