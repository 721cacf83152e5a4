"""The schedule against two oracles: cronsim, and a walk through every minute that is too simple to be wrong."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim

from elile.secrets.rotation.schedule import Occurrence, Schedule, scheduled_at

ZONES = (
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Santiago",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Etc/UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
)
MINUTES = ("*", "*/15", "*/7", "0", "30", "0,30", "15,45", "59", "2-17/5", "5/20")
HOURS = ("*", "*/2", "0", "1", "2", "3", "0-3", "2-3", "1,2,3", "23", "22-23,0-2")
WEEKDAYS = ("*", "*", "*", "0", "1-5", "5-7", "0,6", "*/2")
FIXED_MINUTES = tuple(m for m in MINUTES if not m.startswith("*"))
FIXED_HOURS = tuple(h for h in HOURS if not h.startswith("*"))
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
LONG_AGO = datetime(2000, 1, 1, tzinfo=UTC)
COUNTS = [pytest.param(2_500, id="sample"), pytest.param(100_000, id="full", marks=pytest.mark.chaos)]


def values(text: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for item in text.split(","):
        span, _, step = item.partition("/")
        first, _, last = (f"{low}-{high}" if span == "*" else span).partition("-")
        end = int(last) if last else (high if step else int(first))
        found |= set(range(int(first), end + 1, int(step or 1)))
    return found


def fires(expression: str, zone: ZoneInfo, start: datetime, end: datetime) -> Iterator[datetime]:
    """Walk through the minutes: what the clock shows for the first time is due, and what it leaps over with it."""
    minute, hour, day, _month, weekday = expression.split()
    minutes, hours = values(minute, 0, 59), values(hour, 0, 23)
    days, weekdays = values(day, 1, 31), {w % 7 for w in values(weekday, 0, 6)}
    either = day != "*" and weekday != "*"

    def matches(wall: datetime) -> bool:
        if wall.minute not in minutes or wall.hour not in hours:
            return False
        fit = wall.day in days, wall.isoweekday() % 7 in weekdays
        return any(fit) if either else all(fit)

    at = start - timedelta(hours=30)
    shown = at.astimezone(zone).replace(tzinfo=None)
    while at < end:
        at += MINUTE
        wall = at.astimezone(zone).replace(tzinfo=None)
        due = False
        while shown < wall:
            shown += MINUTE
            due = due or matches(shown)
        if due and at > start:
            yield at


@cache
def transitions(name: str) -> tuple[datetime, ...]:
    zone = ZoneInfo(name)
    days = [datetime(2010, 1, 1, tzinfo=UTC) + n * DAY for n in range(7_300)]
    return tuple(d for d in days if d.astimezone(zone).utcoffset() != (d + DAY).astimezone(zone).utcoffset())


def moment(rng: random.Random, name: str) -> datetime:
    """A minute to begin at, more often than not in the hours before clocks change."""
    if transitions(name) and rng.random() < 0.75:
        return rng.choice(transitions(name)) + timedelta(minutes=rng.randrange(-300, 24 * 60))
    return datetime(2010, 1, 1, tzinfo=UTC) + timedelta(minutes=rng.randrange(7_300 * 24 * 60))


def upto(schedule: Schedule, start: datetime, end: datetime) -> list[Occurrence]:
    def follow() -> Iterator[Occurrence]:
        at = start
        while True:
            found = schedule.next_due(at, anchor=LONG_AGO)
            yield found
            at = found.at

    return list(takewhile(lambda o: o.scheduled <= end, follow()))


@pytest.mark.parametrize("count", COUNTS)
def test_the_walk_through_every_minute_finds_the_same(count: int) -> None:
    rng = random.Random(20261025)  # noqa: S311 - to be repeatable
    seen = 0
    while seen < count:
        name = rng.choice(ZONES)
        day, weekday = rng.choice(("*", "*", "1-15", "*/2", "31")), rng.choice(WEEKDAYS)
        expression = f"{rng.choice(MINUTES)} {rng.choice(HOURS)} {day} * {weekday}"
        schedule, start = Schedule.parse(expression, name), moment(rng, name)
        end = start + timedelta(hours=30)
        expected = list(fires(expression, schedule.zone, start, end))
        found = upto(schedule, start, end)
        case = f"{expression} in {name} from {start.isoformat()}"
        assert [o.scheduled for o in found] == expected, case
        assert len({o.label for o in found}) == len(found), case
        for o in found:
            assert scheduled_at(o.label) == o.scheduled, case
        for _ in range(3):
            at = start + timedelta(seconds=rng.randrange(30 * 3600), microseconds=rng.randrange(2))
            before = schedule.last_due(at, anchor=start)
            assert (before and before.scheduled) == max((e for e in expected if e <= at), default=None), (case, at)
            later = [e for e in expected if e > at]
            assert not later or schedule.next_due(at, anchor=start).scheduled == later[0], (case, at)
        seen += len(found)


@pytest.mark.parametrize("count", COUNTS)
def test_cronsim_finds_the_same_for_fixed_times(count: int) -> None:
    rng = random.Random(20270328)  # noqa: S311 - to be repeatable
    seen = 0
    while seen < count:
        name = rng.choice(ZONES)
        day, weekday = rng.choice((("*", "*"), ("*", "1-5"), ("1-15", "*"), ("13", "5"), ("28-31", "0,6")))
        month = rng.choice(("*", "*", "*", "3,4", "9-11"))
        expression = f"{rng.choice(FIXED_MINUTES)} {rng.choice(FIXED_HOURS)} {day} {month} {weekday}"
        schedule, start = Schedule.parse(expression, name), moment(rng, name)
        end = start + timedelta(days=rng.choice((2, 40)))
        there = CronSim(expression, start.astimezone(schedule.zone))
        expected: list[datetime] = []
        for at in there:
            if at.astimezone(UTC) > end:
                break
            # It names one instant twice when two times fall into one gap.
            if at.astimezone(UTC) > max([start, *expected[-1:]]):
                expected.append(at.astimezone(UTC))
        found = [o.scheduled for o in upto(schedule, start, end)]
        assert found == expected, f"{expression} in {name} from {start.isoformat()}"
        seen += len(found)


@pytest.mark.parametrize("seed", range(40))
def test_splay_keeps_order_and_next_and_last_agree(seed: int) -> None:
    rng = random.Random(seed)  # noqa: S311 - to be repeatable
    name = rng.choice(ZONES)
    splay = timedelta(seconds=rng.choice((1, 59, 1800, 5 * 3600)))
    expression = f"{rng.choice(MINUTES)} {rng.choice(HOURS)} * * *"
    schedule = Schedule.parse(expression, name, uid=f"uid-{seed}", splay=splay)
    start = moment(rng, name)
    found = upto(schedule, start, start + DAY)
    for earlier, later in pairwise(found):
        assert earlier.scheduled <= earlier.at < later.scheduled <= later.at
        assert later.at - later.scheduled < splay
        assert schedule.last_due(later.at, anchor=start - DAY) == later
        assert schedule.last_due(later.at - timedelta(microseconds=1), anchor=start - 9 * DAY) == earlier
        assert schedule.next_due(earlier.at, anchor=start - 9 * DAY) == later
