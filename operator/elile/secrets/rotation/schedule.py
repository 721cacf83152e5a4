"""When a rotation is due: cron in a time zone, splay, windows and blackouts. Pure: `now` is an argument.

Every wall-clock time of the schedule runs at most once: one that the spring gap swallows runs at the first instant
after the gap, one that autumn repeats runs on its first pass.
"""

import hashlib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from elile.secrets.rotation.cron import Cron, ScheduleError

__all__ = ["Occurrence", "Schedule", "ScheduleError", "Window", "scheduled_at"]

_SECOND = timedelta(seconds=1)
# What one call looks at, at most: whoever writes an expression must not be able to keep the caller busy.
_LINKS = 100  # stretches of a window that touch
_TRIES = 40  # windows to start in
_PROBE = datetime(2000, 1, 1, tzinfo=UTC)
_LABEL = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d)\[([^\]]+)\]")
# Files beside the zones: the host's own zone, a placeholder, and copies of all zones that count leap seconds or not.
_NO_PLACES = ("localtime", "posixrules", "Factory", "posix/", "right/")


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One time of a schedule.

    `label` is the wall clock and the zone, and the key under which it runs at most once; `scheduled` is that instant,
    `at` the instant with splay, when work starts; both in UTC.
    """

    label: str
    at: datetime
    scheduled: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A cron expression in a time zone, for one object. Make it with `parse`; times given to it must be aware.

    `anchor` is when the object was first seen or its schedule or zone last changed: what was scheduled until then
    does not exist for it, so that neither creating nor changing an object rotates.
    """

    cron: Cron
    zone: ZoneInfo
    uid: str
    splay: timedelta
    window: timedelta | None

    @classmethod
    def parse(
        cls,
        expression: str,
        time_zone: str = "UTC",
        *,
        uid: str = "",
        splay: timedelta = timedelta(),
        window: timedelta | None = None,
    ) -> "Schedule":
        """Read a schedule: five fields or @hourly @daily @weekly @monthly @yearly, and a name of the IANA database.

        `uid` is what H and splay are derived from. `splay` (none) delays each occurrence by a fixed part of it in
        whole seconds, less than the time to the next one. `window` (absent: until the next occurrence) is how long
        after its scheduled time an occurrence may start.

        Raises ScheduleError for whatever is refused, SecretBackendMissingError without `croniter`.
        """
        _check_spread(uid, splay, window)
        return cls(cron=Cron.parse(expression, uid), zone=_zone(time_zone), uid=uid, splay=splay, window=window)

    def next_due(self, after: datetime, *, anchor: datetime) -> Occurrence:
        """Return the first occurrence that starts after `after`, of those scheduled after `anchor`."""
        following = self._start_after(_aware(after))
        return following if following.scheduled > _aware(anchor) else self._next(anchor)

    def last_due(self, at_or_before: datetime, *, anchor: datetime) -> Occurrence | None:
        """Return the last occurrence that started at or before a time, None when the anchor is later than that.

        This is the catch-up after a pause of any length: what was missed before it is never listed.
        """
        last = self._started(_aware(at_or_before))
        return last if last.scheduled > _aware(anchor) else None

    def due(self, now: datetime, *, anchor: datetime, handled: str | None = None) -> Occurrence | None:
        """Return the one occurrence that `now` asks for, None when it ran or nothing is due.

        `handled` is the label that was stored last (None: none yet): what is not later than it never comes again,
        whatever the clock does. Raises ScheduleError when it is not the label of a schedule.
        """
        last = self.last_due(now, anchor=anchor)
        if last is None or (handled is not None and last.scheduled <= scheduled_at(handled)):
            return None
        return last

    def closes(self, occurrence: Occurrence) -> datetime:
        """Return until when an occurrence may start: its window's end, and at the latest the start of the next one."""
        following = self._next(occurrence.scheduled).at
        return following if self.window is None else min(occurrence.scheduled + self.window, following)

    def is_open(self, at: datetime) -> bool:
        """Whether the window of some occurrence is open; always so when the schedule has no window."""
        return at < self.closes(self._started(_aware(at)))

    def next_start(self, at: datetime, blackouts: Sequence["Window"] = ()) -> datetime | None:
        """Return the first time from `at` on in an open window and no blackout; None: not within 40 windows."""
        for _ in range(_TRIES):
            free = max((blackout.closes(at) for blackout in blackouts), default=at)
            start = free if self.is_open(free) else self._start_after(free).at
            if start == at:
                return at
            at = start
        return None

    def preview(self, n: int, after: datetime) -> tuple[Occurrence, ...]:
        """Return the next `n` occurrences that start after a time."""
        found: list[Occurrence] = []
        for _ in range(n):
            found.append(self._start_after(found[-1].at if found else _aware(after)))
        return tuple(found)

    def explain(self, occurrence: Occurrence, blackouts: Sequence["Window"] = ()) -> str:
        """Say in words why an occurrence starts when it does, and what may keep it from starting."""
        sentences = [sentence for say in _EXPLANATIONS if (sentence := say(self, occurrence)) is not None]
        sentences += [
            f"Blackout {blackout.name!r} is open then: nothing starts before {_utc(blackout.closes(occurrence.at))}."
            for blackout in blackouts
            if blackout.is_open(occurrence.at)
        ]
        return " ".join(sentences)

    def _started(self, at: datetime) -> Occurrence:
        last = self._last(at)
        # Splay never reaches the next occurrence, so the one before has started for certain.
        return last if last.at <= at else self._last(last.scheduled - _SECOND)

    def _start_after(self, at: datetime) -> Occurrence:
        last = self._last(at)
        return last if last.at > at else self._next(at)

    def _next(self, after: datetime) -> Occurrence:
        return self._occurrence(_first_after(self.cron, self.zone, after))

    def _last(self, until: datetime) -> Occurrence:
        return self._occurrence(_last_until(self.cron, self.zone, until))

    def _occurrence(self, scheduled: datetime) -> Occurrence:
        label = f"{_wall(scheduled, self.zone).isoformat(timespec='minutes')}[{self.zone.key}]"
        return Occurrence(label=label, at=scheduled + self._delay(label, scheduled), scheduled=scheduled)

    def _delay(self, label: str, scheduled: datetime) -> timedelta:
        if not self.splay:
            return timedelta()
        digest = int.from_bytes(hashlib.sha256(f"{self.uid}\0{label}".encode()).digest(), "big")
        room = _first_after(self.cron, self.zone, scheduled) - scheduled
        return timedelta(seconds=digest % (self.splay // _SECOND) % (room // _SECOND))


@dataclass(frozen=True, slots=True)
class Window:
    """Stretches of time that begin with each time of a schedule and last `duration`, as blackouts do."""

    name: str
    schedule: Schedule
    duration: timedelta

    @classmethod
    def parse(
        cls, name: str, expression: str, duration: timedelta, time_zone: str = "UTC", *, uid: str = ""
    ) -> "Window":
        """Read a window; expression, `time_zone` and `uid` as for a schedule, `duration` is elapsed time.

        Raises ScheduleError for whatever is refused, SecretBackendMissingError without `croniter`.
        """
        if duration <= timedelta():
            raise ScheduleError(f"window {name!r}: duration {duration} must be longer than zero")
        window = cls(name, Schedule.parse(expression, time_zone, uid=uid), duration)
        first = window.schedule.preview(1, _PROBE)[0].at
        if window.is_open(window.closes(first)):
            raise ScheduleError(
                f"window {name!r}: {duration} from each time of {expression!r} leaves no break within "
                f"{_LINKS} times: make it shorter, or name fewer times and make it longer"
            )
        return window

    def is_open(self, at: datetime) -> bool:
        """Whether the window is open; its end no longer belongs to it."""
        return self.closes(at, links=1) > at

    def closes(self, at: datetime, *, links: int = _LINKS) -> datetime:
        """Return when it closes, stretches that touch taken as one; `at` itself when it is not open.

        After `links` stretches without a break it may still be open at the time returned: ask again then.
        """
        closes = _aware(at)
        for _ in range(links):
            ends = _last_until(self.schedule.cron, self.schedule.zone, closes) + self.duration
            if ends <= closes:
                break
            closes = ends
        return closes


def scheduled_at(label: str) -> datetime:
    """Return the instant in UTC of the label of an occurrence. Raises ScheduleError when it is none."""
    match = _LABEL.fullmatch(label)
    try:
        wall = datetime.fromisoformat(match[1]) if match else None
    except ValueError:
        wall = None
    if match is None or wall is None:
        raise ScheduleError(f"{label!r} is no label of a schedule such as '2026-10-25T02:30[Europe/Berlin]'")
    return _instant(wall, _zone(match[2]))


def _zone(name: str) -> ZoneInfo:
    try:
        if name.startswith(_NO_PLACES):
            raise ZoneInfoNotFoundError(name)
        return ZoneInfo(name)
    # The name becomes the name of a file: a directory, a file that is no zone, a path that leads out of the database.
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ScheduleError(
            f"time zone {name[:64]!r} is not in the IANA database: write a name such as 'Europe/Berlin' or 'Etc/UTC', "
            "upper and lower case as there"
        ) from None


def _check_spread(uid: str, splay: timedelta, window: timedelta | None) -> None:
    if splay < timedelta() or splay % _SECOND:
        raise ScheduleError(f"splay {splay} must be whole seconds, zero or more")
    if splay and not uid:
        raise ScheduleError("splay is derived from the uid of the object, and none was given")
    if window is not None and window <= timedelta():
        raise ScheduleError(f"window {window} must be longer than zero")
    if window is not None and splay >= window:
        raise ScheduleError(f"splay {splay} must be shorter than the window {window}: some would never start")


def _aware(at: datetime) -> datetime:
    if at.utcoffset() is None:
        raise ValueError(f"{at.isoformat()} has no time zone: give an aware datetime, as datetime.now(UTC)")
    return at


def _wall(at: datetime, zone: ZoneInfo) -> datetime:
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


def _offset(local: datetime) -> timedelta:
    return local.utcoffset() or timedelta()


def _overlap(local: datetime) -> timedelta:
    """How much earlier the first pass of a wall-clock time is; zero unless it comes twice, negative in a gap."""
    return _offset(local.replace(fold=0)) - _offset(local.replace(fold=1))


def _instant(wall: datetime, zone: ZoneInfo) -> datetime:
    first = wall.replace(tzinfo=zone).astimezone(UTC)
    if _wall(first, zone) == wall:
        return first
    # The time is in a gap: the offsets before and after it lead to instants on either side of the transition.
    low, high = sorted((first, wall.replace(tzinfo=zone, fold=1).astimezone(UTC)))
    before = _offset(low.astimezone(zone))
    while high - low > _SECOND:
        middle = low + (high - low) // _SECOND // 2 * _SECOND
        low, high = (middle, high) if _offset(middle.astimezone(zone)) == before else (low, middle)
    return high


def _first_after(cron: Cron, zone: ZoneInfo, after: datetime) -> datetime:
    # Instants rise with wall-clock times, so none up to this one can be later.
    times = cron.after(_wall(after, zone))
    return next(at for wall in times if (at := _instant(wall, zone)) > after)


def _last_until(cron: Cron, zone: ZoneInfo, until: datetime) -> datetime:
    local = until.astimezone(zone)
    # In a second pass the clock has shown later times already, at most the length of the overlap later.
    shown = local.replace(tzinfo=None, fold=0) + max(_overlap(local), timedelta())
    times = cron.before(shown + _SECOND)
    return next(at for wall in times if (at := _instant(wall, zone)) <= until)


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _say_when(_schedule: Schedule, occurrence: Occurrence) -> str:
    return f"{occurrence.label} is {_utc(occurrence.scheduled)}."


def _say_hash(schedule: Schedule, _occurrence: Occurrence) -> str | None:
    cron = schedule.cron
    return f"Schedule {cron.text!r} is {cron.expanded!r} for this object." if cron.text != cron.expanded else None


def _say_gap(schedule: Schedule, occurrence: Occurrence) -> str | None:
    zone = schedule.zone
    resumes = _wall(occurrence.scheduled, zone)
    stops = _wall(occurrence.scheduled - _SECOND, zone) + _SECOND
    meant = next(schedule.cron.after(stops - _SECOND))
    if meant >= resumes:
        return None
    return (
        f"{meant:%H:%M} does not exist on that day: clocks go from {stops:%Y-%m-%dT%H:%M} to {resumes:%Y-%m-%dT%H:%M}, "
        "and it starts right after."
    )


def _say_first_pass(schedule: Schedule, occurrence: Occurrence) -> str | None:
    overlap = _overlap(occurrence.scheduled.astimezone(schedule.zone))
    if not overlap:
        return None
    return f"Clocks show this time twice, the second time {overlap} later: only the first counts."


def _say_splay(schedule: Schedule, occurrence: Occurrence) -> str | None:
    if not schedule.splay:
        return None
    delay = occurrence.at - occurrence.scheduled
    return f"Splay delays it by {delay} of at most {schedule.splay}, until {_utc(occurrence.at)}."


def _say_window(schedule: Schedule, occurrence: Occurrence) -> str | None:
    if schedule.window is None:
        return None
    return f"Its window of {schedule.window} closes at {_utc(schedule.closes(occurrence))}."


_EXPLANATIONS: tuple[Callable[[Schedule, Occurrence], str | None], ...] = (
    _say_when,
    _say_hash,
    _say_gap,
    _say_first_pass,
    _say_splay,
    _say_window,
)
