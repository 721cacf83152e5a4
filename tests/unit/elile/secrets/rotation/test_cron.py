"""Expressions: what is refused in which words, and what H makes of them (rule 1)."""

import sys
from collections import Counter
from datetime import UTC, datetime

import pytest

from elile.secrets.errors import SecretBackendMissingError
from elile.secrets.rotation.schedule import Schedule, ScheduleError


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


REFUSED = [
    ("", " has 0 fields, not five: minute, hour, day of month, month, day of week; seconds and years do not exist"),
    (
        "* * * *",
        " has 4 fields, not five: minute, hour, day of month, month, day of week; seconds and years do not exist",
    ),
    (
        "0 0 2 * * *",
        " has 6 fields, not five: minute, hour, day of month, month, day of week; seconds and years do not exist",
    ),
    (
        "0 0 2 * * * 2027",
        " has 7 fields, not five: minute, hour, day of month, month, day of week; seconds and years do not exist",
    ),
    ("@reboot", " is none of @hourly, @daily, @weekly, @monthly, @yearly: use one of them or five fields"),
    ("@every 5m", " is none of @hourly, @daily, @weekly, @monthly, @yearly: use one of them or five fields"),
    ("@Daily", " is none of @hourly, @daily, @weekly, @monthly, @yearly: use one of them or five fields"),
    ("@annually", " is none of @hourly, @daily, @weekly, @monthly, @yearly: use one of them or five fields"),
    ("TZ=UTC 0 0 * * *", " names a time zone: write that into timeZone"),
    ("CRON_TZ=Europe/Berlin 0 0 * * *", " names a time zone: write that into timeZone"),
    ("? * * * *", ", minute: '?' is not supported: write '*'"),
    ("0 0 ? * *", ", day of month: '?' is not supported: write '*'"),
    ("R R * * *", ", minute: 'R' is random anew at each start: use H, which stays the same for one object"),
    ("0 R(1-4) * * *", ", hour: 'R(1-4)' is random anew at each start: use H, which stays the same for one object"),
    ("r/5 * * * *", ", minute: 'r/5' is random anew at each start: use H, which stays the same for one object"),
    ("0 0 * JAN-JAN *", ", month: 'JAN-JAN' is a range of one value, which some crons read as every value: write 1"),
    ("5-5 * * * *", ", minute: '5-5' is a range of one value, which some crons read as every value: write 5"),
    ("H(5-5) * * * *", ", minute: 'H(5-5)' is a range of one value, which some crons read as every value: write 5"),
    ("59/15 * * * *", ", minute: '59/15' starts at the last value, which crons read differently: write 59"),
    ("0 0 * * 6/1", ", day of week: '6/1' starts at the last value, which crons read differently: write 6"),
    ("0 23/2 * * *", ", hour: '23/2' starts at the last value, which crons read differently: write 23"),
    ("50/15 * * * *", ", minute: the step of '50/15' must be 1 to 9"),
    ("*/90 * * * *", ", minute: the step of '*/90' must be 1 to 59"),
    ("*/0 * * * *", ", minute: the step of '*/0' must be 1 to 59"),
    ("*/60 * * * *", ", minute: the step of '*/60' must be 1 to 59"),
    ("10-20/11 * * * *", ", minute: the step of '10-20/11' must be 1 to 10"),
    ("60 * * * *", ", minute: '60' is outside 0-59"),
    ("0 24 * * *", ", hour: '24' is outside 0-23"),
    ("0 0 0 * *", ", day of month: '0' is outside 1-31"),
    ("0 0 32 * *", ", day of month: '32' is outside 1-31"),
    ("0 0 * 13 *", ", month: '13' is outside 1-12"),
    ("0 0 * * 8", ", day of week: '8' is outside 0-7"),
    ("0 0 * 0 *", ", month: '0' is outside 1-12"),
    ("0 22-4 * * *", ", hour: '22-4' runs backwards: write 22-23,0-4"),
    ("0 23-0 * * *", ", hour: '23-0' runs backwards: write 23,0"),
    ("0 0 * 11-2 *", ", month: '11-2' runs backwards: write 11-12,1-2"),
    ("0 0 * * FRI-MON", ", day of week: 'FRI-MON' runs backwards: write 5-6,0-1"),
    ("0 0 * * 7-3", ", day of week: '7-3' runs backwards: write 0-3"),
    ("H(20-5) * * * *", ", minute: 'H(20-5)' runs backwards: write the lower end first"),
    ("0 0 H(1-31) * *", ", day of month: 'H(1-31)' is more than H takes here: end it at 28"),
    ("0 0 * * H(1-7)", ", day of week: 'H(1-7)' is more than H takes here: end it at 6"),
    ("0 0 H/29 * *", ", day of month: the step of 'H/29' must be 1 to 27"),
    ("0 0 L * *", ", day of month: 'L': L, W and # are not supported: name days"),
    ("0 0 15W * *", ", day of month: '15W': L, W and # are not supported: name days"),
    ("0 0 * * 5L", ", day of week: '5L': L, W and # are not supported: name days"),
    ("0 0 * * 1#2", ", day of week: '1#2': L, W and # are not supported: name days"),
    ("0 0 * JUL JUL", ", day of week: 'JUL' is no value, range, '*' or 'H'"),
    ("0 0 * * monday", ", day of week: 'monday' is no value, range, '*' or 'H'"),
    ("0 0 * FOO *", ", month: 'FOO' is no value, range, '*' or 'H'"),
    ("-1 * * * *", ", minute: '-1' is no value, range, '*' or 'H'"),
    ("1,,2 * * * *", ", minute: '' is no value, range, '*' or 'H'"),
    (", * * * *", ", minute: '' is no value, range, '*' or 'H'"),
    ("h * * * *", ", minute: 'h' is no value, range, '*' or 'H'"),
    ("\u0661 * * * *", " has characters outside ASCII: type it anew, it may have been pasted"),
    ("0\xa00 * * * *", " has characters outside ASCII: type it anew, it may have been pasted"),
    ("0 0 31 2 *", " never fires: no month it names has such a day; correct day of month or month"),
    ("0 0 30 2 *", " never fires: no month it names has such a day; correct day of month or month"),
    ("0 0 31 4,6,9,11 *", " never fires: no month it names has such a day; correct day of month or month"),
    ("1-2-3 * * * *", ", minute: '1-2-3' is no value, range, '*' or 'H'"),
    ("*/ * * * *", ", minute: '*/' is no value, range, '*' or 'H'"),
    ("**  * * * *", ", minute: '**' is no value, range, '*' or 'H'"),
    ("*-5 * * * *", ", minute: '*-5' is no value, range, '*' or 'H'"),
    ("0 0 * * 1-JAN", ", day of week: 'JAN' is no value, range, '*' or 'H'"),
]


@pytest.mark.parametrize(("expression", "why"), REFUSED)
def test_an_expression_is_refused_with_the_remedy(expression: str, why: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(expression, uid="uid-1")
    assert str(caught.value) == f"schedule {expression!r}{why}"


def test_more_than_128_characters_are_refused_and_not_shown() -> None:
    members = ",".join(["10"] * 40)
    assert Schedule.parse(f"{members} * * * *").cron.text.startswith("10,10")
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse(f"{members} {members} * * *")
    assert str(caught.value) == f"schedule {members[:32] + '…'!r} has 245 characters, 128 are allowed"


EXPANDED = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("H H * * *", "21 23 * * *"),
    ("H/15 H(1-4) H * *", "6-59/15 4 21 * *"),
    ("H(0-29),H(30-59) * * * *", "21,51 * * * *"),
    ("0 0 H/10 H H", "0 0 9-28/10 12 6"),
    ("H(0-29)/10 * * * *", "1-29/10 * * * *"),
    (" 0  3\t* * MON-fri ", "0 3 * * 1-5"),
    ("0 0 * jan,JUL sun", "0 0 * 1,7 0"),
    ("5/20 2/6 3/10 2/3 1/2", "5-59/20 2-23/6 3-31/10 2-12/3 1-6/2"),
    ("0 0 31 2 0", "0 0 31 2 0"),
    ("0 0 29 2 *", "0 0 29 2 *"),
    ("0 0 * * 5-7", "0 0 * * 5-7"),
    ("0 0 * * 7", "0 0 * * 7"),
    ("*/1 * * * *", "*/1 * * * *"),
]


@pytest.mark.parametrize(("expression", "expanded"), EXPANDED)
def test_an_expression_is_expanded_to_numbers(expression: str, expanded: str) -> None:
    assert Schedule.parse(expression, uid="uid-1").cron.expanded == expanded


@pytest.mark.parametrize(
    ("expression", "weekdays"),
    [
        ("0 0 * * 5-7", "Fri Sat Sun"),
        ("0 0 * * 7", "Sun"),
        ("0 0 * * 1-7/2", "Mon Wed Fri Sun"),
        ("0 0 * * 4/2", "Thu Sat"),
    ],
)
def test_seven_is_sunday(expression: str, weekdays: str) -> None:
    week = Schedule.parse(expression).preview(7, at("2026-10-25T12:00"))
    assert {f"{o.at:%a}" for o in week} == set(weekdays.split())


def test_a_day_that_fits_either_field_of_days_fires() -> None:
    found = Schedule.parse("0 0 13 * 5").preview(4, at("2026-10-01T00:00"))
    assert [f"{o.at:%d %a}" for o in found] == ["02 Fri", "09 Fri", "13 Tue", "16 Fri"]


def test_h_needs_a_uid() -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse("0 H * * *")
    assert str(caught.value) == (
        "schedule '0 H * * *', hour: H is derived from the uid of the object, and none was given"
    )


def test_h_fills_every_minute_of_the_day_and_no_field_follows_another() -> None:
    times = Counter(Schedule.parse("H H * * *", uid=f"{n}").cron.expanded for n in range(3_000))
    # 3,000 in 1,440 slots: e^-2.08, 12.5 %, stay empty by chance; croniter's own H knows 240 slots.
    assert 1_200 < len(times) < 1_320
    assert max(times.values()) <= 11


def test_h_keeps_to_days_that_every_month_has() -> None:
    days = {Schedule.parse("0 0 H * *", uid=f"{n}").cron.expanded.split()[2] for n in range(1_000)}
    assert days == {str(day) for day in range(1, 29)}


def test_without_croniter_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "croniter", None)
    with pytest.raises(SecretBackendMissingError) as caught:
        Schedule.parse("0 3 * * *")
    assert str(caught.value) == "the package 'croniter' is not installed; install elile[rotation]"
