"""Each rule of the schedule as a table: what is refused, when it is due, and what is said about it."""

import ast
import hashlib
import inspect
import os
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from types import ModuleType
from typing import Any

import pytest

from elile.secrets.rotation import cron, schedule
from elile.secrets.rotation.schedule import Occurrence, Schedule, ScheduleError, scheduled_at

LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


# ---- rule 2: the zone


@pytest.mark.parametrize(
    "name",
    [
        "",
        "Local",
        "localtime",
        "posixrules",
        "Factory",
        "europe/berlin",
        "Europe",
        "+02:00",
        "UTC+2",
        "Mars/Olympus",
        "/etc/passwd",
        "../passwd",
        "zone.tab",
        "posix/UTC",
        "right/UTC",
        "a\0b",
        "\ud800",
        "z" * 64,
    ],
)
def test_a_name_that_is_no_zone_is_refused(name: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse("0 0 * * *", name)
    assert str(caught.value) == (
        f"time zone {name!r} is not in the IANA database: write a name such as 'Europe/Berlin' or 'Etc/UTC', "
        "upper and lower case as there"
    )


def test_the_zone_is_utc_when_none_is_given() -> None:
    assert Schedule.parse("0 3 * * *").preview(1, at("2026-10-25T00:00"))[0].label == "2026-10-25T03:00[UTC]"


def test_zones_come_without_files_of_the_host() -> None:
    script = "from elile.secrets.rotation.schedule import *; print(Schedule.parse('0 0 * * *', 'Europe/Berlin').zone)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONTZPATH": "", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "Europe/Berlin\n"


# ---- rules 3 and 4: when clocks change; labels, and the instants they mean

CLOCKS_CHANGE = [
    # Asked during the second pass.
    (
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-10-25T01:10",
        "2026-10-25T03:00 10-25T02:00; 2026-10-25T03:30 10-25T02:30; 2026-10-25T04:00 10-25T03:00",
    ),
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2027-03-27T22:00",
        "2027-03-28T03:00 03-28T01:00; 2027-03-29T02:30 03-29T00:30; 2027-03-30T02:30 03-30T00:30",
    ),
    (
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T22:00",
        "2026-10-25T02:30 10-25T00:30; 2026-10-26T02:30 10-26T01:30; 2026-10-27T02:30 10-27T01:30",
    ),
    (
        "0 0-3 * * *",
        "Europe/Berlin",
        "2026-10-24T21:30",
        "2026-10-25T00:00 10-24T22:00; 2026-10-25T01:00 10-24T23:00; 2026-10-25T02:00 10-25T00:00",
    ),
    (
        "*/30 * * * *",
        "Europe/Berlin",
        "2026-10-25T00:00",
        "2026-10-25T02:30 10-25T00:30; 2026-10-25T03:00 10-25T02:00; 2026-10-25T03:30 10-25T02:30",
    ),
    (
        "15,45 2 * * *",
        "Europe/Berlin",
        "2027-03-27T22:00",
        "2027-03-28T03:00 03-28T01:00; 2027-03-29T02:15 03-29T00:15; 2027-03-29T02:45 03-29T00:45",
    ),
    (
        "0 */2 * * *",
        "Europe/Berlin",
        "2027-03-28T00:30",
        "2027-03-28T03:00 03-28T01:00; 2027-03-28T04:00 03-28T02:00; 2027-03-28T06:00 03-28T04:00",
    ),
    (
        "0 0 * * *",
        "America/Santiago",
        "2026-09-05T12:00",
        "2026-09-06T01:00 09-06T04:00; 2026-09-07T00:00 09-07T03:00; 2026-09-08T00:00 09-08T03:00",
    ),
    (
        "0 0 * * *",
        "Africa/Cairo",
        "2027-04-29T12:00",
        "2027-04-30T01:00 04-29T22:00; 2027-05-01T00:00 04-30T21:00; 2027-05-02T00:00 05-01T21:00",
    ),
    (
        "0 0 * * *",
        "America/Havana",
        "2027-03-14T01:00",
        "2027-03-14T01:00 03-14T05:00; 2027-03-15T00:00 03-15T04:00; 2027-03-16T00:00 03-16T04:00",
    ),
    (
        "0 * * * *",
        "Australia/Lord_Howe",
        "2026-10-03T14:45",
        "2026-10-04T02:30 10-03T15:30; 2026-10-04T03:00 10-03T16:00; 2026-10-04T04:00 10-03T17:00",
    ),
    (
        "*/7 * * * *",
        "Australia/Lord_Howe",
        "2027-04-03T14:50",
        "2027-04-04T01:56 04-03T14:56; 2027-04-04T02:00 04-03T15:30; 2027-04-04T02:07 04-03T15:37",
    ),
    (
        "0 12 * * *",
        "Pacific/Apia",
        "2011-12-29T23:00",
        "2011-12-31T00:00 12-30T10:00; 2011-12-31T12:00 12-30T22:00; 2012-01-01T12:00 12-31T22:00",
    ),
    (
        "30 23 * * *",
        "America/Santiago",
        "2027-04-03T12:00",
        "2027-04-03T23:30 04-04T02:30; 2027-04-04T23:30 04-05T03:30; 2027-04-05T23:30 04-06T03:30",
    ),
]


@pytest.mark.parametrize(("expression", "zone", "after", "expected"), CLOCKS_CHANGE)
def test_a_wall_clock_time_runs_once_when_clocks_change(expression: str, zone: str, after: str, expected: str) -> None:
    schedule = Schedule.parse(expression, zone)
    found = schedule.preview(3, at(after))
    assert "; ".join(f"{o.label[:16]} {o.scheduled:%m-%dT%H:%M}" for o in found) == expected
    for o in found:
        assert o.label[16:] == f"[{zone}]"
        assert scheduled_at(o.label) == o.scheduled == o.at
    for earlier, later in pairwise(found):
        assert schedule.last_due(later.at, anchor=LONG_AGO) == later
        assert schedule.last_due(later.at - SECOND, anchor=LONG_AGO) == earlier


@pytest.mark.parametrize(
    "label",
    ["", "maxAge@2026-10-25T02:30", "inbox@3", "2026-10-25T02:30", "2026-10-25T02:30:00[UTC]", "2026-13-25T02:30[UTC]"],
)
def test_what_is_no_label_is_refused(label: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        scheduled_at(label)
    assert str(caught.value) == f"{label!r} is no label of a schedule such as '2026-10-25T02:30[Europe/Berlin]'"


def test_a_label_in_an_unknown_zone_is_refused() -> None:
    with pytest.raises(ScheduleError, match="time zone 'Mars' is not in the IANA database"):
        scheduled_at("2026-10-25T02:30[Mars]")


# ---- rules 5, 6 and 10: what was missed, anchors, clocks that go back

DAILY = Schedule.parse("0 3 * * *")
DUE = [
    # now, anchor, label handled last -> label due
    ("2026-10-20T02:59", "2026-10-19T12:00", None, None),
    ("2026-10-20T03:00", "2026-10-19T12:00", None, "2026-10-20"),
    ("2026-10-20T03:00", "2026-10-19T12:00", "2026-10-20", None),
    # Seen first, or changed, at the very minute: that time belongs to the past.
    ("2026-10-20T03:00", "2026-10-20T03:00", None, None),
    ("2026-10-20T12:00", "2026-10-20T11:00", None, None),
    # Missed for months: the last one only.
    ("2026-10-20T12:00", "2026-01-01T00:00", "2026-03-01", "2026-10-20"),
    ("2126-10-20T12:00", "2026-01-01T00:00", "2026-03-01", "2126-10-20"),
    # The clock went back.
    ("2026-10-18T04:00", "2026-10-01T00:00", "2026-10-20", None),
    ("2026-10-20T03:00", "2026-10-01T00:00", "2026-10-20", None),
    ("2026-10-21T03:00", "2026-10-01T00:00", "2026-10-20", "2026-10-21"),
]


@pytest.mark.parametrize(("now", "anchor", "handled", "expected"), DUE)
def test_at_most_one_occurrence_is_due(now: str, anchor: str, handled: str | None, expected: str | None) -> None:
    label = handled and f"{handled}T03:00[UTC]"
    found = DAILY.due(at(now), anchor=at(anchor), handled=label)
    assert (found and found.label) == (expected and f"{expected}T03:00[UTC]")


def test_a_label_of_the_zone_before_counts_as_the_instant_it_was() -> None:
    berlin = Schedule.parse("0 3 * * *", "Europe/Berlin")
    now = at("2026-10-20T12:00")
    assert berlin.due(now, anchor=LONG_AGO, handled="2026-10-20T03:00[UTC]") is None
    assert berlin.due(now, anchor=LONG_AGO, handled="2026-10-19T22:00[America/New_York]") is None
    assert berlin.due(now, anchor=LONG_AGO, handled="2026-10-19T20:00[America/New_York]") is not None


def test_a_label_that_is_none_is_not_taken_for_the_past() -> None:
    with pytest.raises(ScheduleError, match="is no label of a schedule"):
        DAILY.due(at("2026-10-20T12:00"), anchor=LONG_AGO, handled="maxAge@2026-10-20T03:00")


@pytest.mark.parametrize(
    ("after", "anchor", "expected"),
    [
        ("2026-10-20T02:59", "2026-10-01T00:00", "2026-10-20"),
        ("2026-10-20T03:00", "2026-10-01T00:00", "2026-10-21"),
        # An anchor in the future: the clock went back since.
        ("2026-10-20T02:00", "2026-11-01T00:00", "2026-11-01"),
        ("2026-10-20T02:00", "2026-11-01T03:00", "2026-11-02"),
    ],
)
def test_the_next_one_is_after_both_times(after: str, anchor: str, expected: str) -> None:
    assert DAILY.next_due(at(after), anchor=at(anchor)).label == f"{expected}T03:00[UTC]"


def test_hundreds_of_missed_years_cost_no_more_than_one_day() -> None:
    every_minute = Schedule.parse("* * * * *", "Europe/Berlin")
    found = every_minute.last_due(at("2500-07-01T00:00:30"), anchor=LONG_AGO)
    assert found is not None
    assert found.at == at("2500-07-01T00:00")


@pytest.mark.parametrize("call", ["next_due", "last_due", "due"])
def test_a_time_without_a_zone_is_refused(call: str) -> None:
    naive = datetime(2026, 10, 25)  # noqa: DTZ001 - the point of the test
    for times in ((naive, LONG_AGO), (at("2026-10-25"), naive)):
        with pytest.raises(ValueError, match="has no time zone: give an aware datetime") as caught:
            getattr(DAILY, call)(times[0], anchor=times[1])
        assert str(caught.value) == "2026-10-25T00:00:00 has no time zone: give an aware datetime, as datetime.now(UTC)"


# ---- rule 7: splay


def test_splay_is_derived_from_uid_and_label() -> None:
    schedule = Schedule.parse("0 3 * * *", "Europe/Berlin", uid="uid-1", splay=30 * MINUTE)
    found = schedule.preview(1, at("2026-10-24T12:00"))[0]
    digest = hashlib.sha256(b"uid-1\x002026-10-25T03:00[Europe/Berlin]").digest()
    assert found.scheduled == at("2026-10-25T02:00")
    assert found.at - found.scheduled == timedelta(seconds=int.from_bytes(digest, "big") % 1800)
    assert schedule.next_due(found.at - SECOND, anchor=LONG_AGO) == found
    assert schedule.last_due(found.at, anchor=LONG_AGO) == found
    before = schedule.last_due(found.at - SECOND, anchor=LONG_AGO)
    assert before is not None
    assert before.label == "2026-10-24T03:00[Europe/Berlin]"


def test_splay_spreads_a_thousand_objects_over_an_hour() -> None:
    minutes: Counter[int] = Counter()
    for n in range(1_000):
        schedule = Schedule.parse("0 3 * * *", uid=f"uid-{n}", splay=HOUR)
        minutes[schedule.preview(1, at("2026-10-25T00:00"))[0].at.minute] += 1
    assert len(minutes) == 60
    assert max(minutes.values()) <= 34


def test_an_object_seen_between_a_time_and_its_splay_does_not_rotate() -> None:
    schedule = Schedule.parse("0 3 * * *", uid="uid-1", splay=30 * MINUTE)
    found = schedule.preview(1, at("2026-10-25T00:00"))[0]
    anchor = found.scheduled + SECOND
    assert found.at > anchor
    assert schedule.next_due(anchor, anchor=anchor).label == "2026-10-26T03:00[UTC]"
    assert schedule.last_due(found.at, anchor=anchor) is None


SPREAD = [
    ({"splay": -SECOND, "uid": "u"}, "splay -1 day, 23:59:59 must be whole seconds, zero or more"),
    ({"splay": timedelta(milliseconds=1500), "uid": "u"}, "splay 0:00:01.500000 must be whole seconds, zero or more"),
    ({"splay": SECOND}, "splay is derived from the uid of the object, and none was given"),
    ({"window": timedelta()}, "window 0:00:00 must be longer than zero"),
    (
        {"splay": HOUR, "window": HOUR, "uid": "u"},
        "splay 1:00:00 must be shorter than the window 1:00:00: some would never start",
    ),
    (
        {"splay": 2 * HOUR, "window": HOUR, "uid": "u"},
        "splay 2:00:00 must be shorter than the window 1:00:00: some would never start",
    ),
]


@pytest.mark.parametrize(("given", "why"), SPREAD)
def test_a_splay_or_window_is_refused_with_the_remedy(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        Schedule.parse("0 3 * * *", **given)
    assert str(caught.value) == why


# ---- what is listed, and the module


def test_a_preview_lists_the_next_ones() -> None:
    assert DAILY.preview(0, LONG_AGO) == ()
    assert DAILY.preview(2, at("2026-10-25T03:00")) == (
        Occurrence("2026-10-26T03:00[UTC]", at("2026-10-26T03:00"), at("2026-10-26T03:00")),
        Occurrence("2026-10-27T03:00[UTC]", at("2026-10-27T03:00"), at("2026-10-27T03:00")),
    )


def test_neither_module_asks_for_the_time_or_does_io() -> None:
    script = (
        "import sys; import elile.secrets.rotation.schedule; import elile.secrets.rotation.generators; "
        "print(sorted({'asyncio', 'croniter', 'cryptography', 'socket'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize("module", [cron, schedule])
def test_schedules_are_pure(module: ModuleType) -> None:
    tree = ast.parse(inspect.getsource(module))
    imported = {a.name for node in ast.walk(tree) if isinstance(node, ast.Import) for a in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not imported & {"asyncio", "time", "random", "secrets", "os", "pathlib", "socket", "threading", "croniter"}
    called = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not called & {"now", "utcnow", "today"}
