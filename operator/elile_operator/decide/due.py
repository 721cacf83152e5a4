"""When a RotationSchedule is due: by its cron expression, by the age of the value, by what somebody staged."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from elile.secrets.rotation.schedule import Occurrence, Schedule, ScheduleError, Window, scheduled_at
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Rotation, Trigger
from elile_operator.api.rotationschedule import RotationSchedule, RotationScheduleSpec
from elile_operator.api.timing import MissedRun
from elile_operator.decide.orders import label_of, trigger_of
from elile_operator.decide.violation import Violation

__all__ = ["Anchor", "Calendar", "Due", "Run", "Seen", "anchor_of", "closes_of", "read_calendar", "what_is_due"]

DEFAULT_ZONE = "Etc/UTC"
# An occurrence that is found later than this was missed: the queue is late by less, whatever else is due.
LATE = timedelta(minutes=5)
# After a failure the age alone does not ask again at once.
AGE_AGAIN = timedelta(hours=1)
# Blackouts that begin before another one ends: so many in a row are as good as no end.
_TOUCHING = 100


@dataclass(frozen=True, slots=True)
class Calendar:
    """The times that a spec names. `schedule` is None where it is rotated on demand."""

    schedule: Schedule | None
    blackouts: tuple[Window, ...]

    def blackout(self, at: datetime) -> Window | None:
        """Return the blackout that is open."""
        return next((window for window in self.blackouts if window.is_open(at)), None)

    def next_start(self, at: datetime) -> datetime | None:
        """Return the first time from `at` on in an open window and no blackout; None: not in the foreseeable future."""
        if self.schedule is not None:
            return self.schedule.next_start(at, self.blackouts)
        for _ in range(_TOUCHING):
            free = max((blackout.closes(at) for blackout in self.blackouts), default=at)
            if free == at:
                return at
            at = free
        return None


@dataclass(frozen=True, slots=True)
class Anchor:
    """Since when occurrences count, and for which expression in which zone that was noted."""

    text: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A Rotation that is due. `label` is the key under which it runs at most once, `name` that of the object."""

    trigger: Trigger
    label: str
    name: str
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What is due now, and when something will be. `skipped` is an occurrence that is not run any more."""

    run: Run | None = None
    skipped: Occurrence | None = None
    missed: bool = False
    next: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known beside the spec: the anchor, the label that was handled last, and of the value its age.

    `failed` is when the last attempt failed, None when it did not; `staged` the version of the inbox that is to be
    taken, None for nothing.
    """

    anchor: Anchor
    handled: str | None = None
    live_since: datetime | None = None
    failed: datetime | None = None
    staged: int | None = None


def read_calendar(schedule: RotationSchedule) -> Calendar | Violation:
    """Return the times that a spec names, or what is wrong with them that CEL cannot see, such as a name of no zone."""
    spec, uid = schedule.spec, schedule.metadata.uid
    zone = spec.time_zone or DEFAULT_ZONE
    field = "spec.schedule"
    try:
        main = _schedule(spec, uid)
        windows = []
        for each in spec.blackouts:
            field = f"spec.blackouts[{each.name}]"
            windows.append(Window.parse(each.name, each.schedule, each.duration, each.time_zone or zone, uid=uid))
    except ScheduleError as e:
        return Violation(_reason(str(e)), f"{field}: {e}")
    return Calendar(main, tuple(windows))


def _reason(text: str) -> Reason:
    if text.startswith("time zone"):
        return Reason.TIME_ZONE_UNKNOWN
    return Reason.NEVER_FIRES if "never" in text else Reason.SPEC_INVALID


def _schedule(spec: RotationScheduleSpec, uid: str) -> Schedule | None:
    if spec.schedule is None:
        return None
    return _parsed(spec.schedule, spec.time_zone or DEFAULT_ZONE, uid, spec.splay or timedelta(), spec.window)


# A schedule is looked at a dozen times during a run, and to parse it costs as much as a request.
@lru_cache(maxsize=4096)
def _parsed(expression: str, zone: str, uid: str, splay: timedelta, window: timedelta | None) -> Schedule:
    return Schedule.parse(expression, zone, uid=uid, splay=splay, window=window)


def anchor_of(schedule: RotationSchedule, now: datetime) -> Anchor:
    """Return since when occurrences count: the first sight of the object, or of another expression or zone."""
    spec, status = schedule.spec, schedule.status
    text = f"{spec.schedule or ''}[{spec.time_zone or DEFAULT_ZONE}]"
    if status.anchor == text and status.anchor_time is not None:
        return Anchor(text, status.anchor_time)
    return Anchor(text, now)


def closes_of(rotation: Rotation, calendar: Calendar) -> datetime | None:
    """Return until when a Rotation may still be undone for lateness; None for one that no schedule has made."""
    label = label_of(rotation)
    if calendar.schedule is None or trigger_of(rotation) is not Trigger.SCHEDULE or not label.endswith("]"):
        return None
    try:
        at = scheduled_at(label)
    except ScheduleError:
        return None
    return calendar.schedule.closes(Occurrence(label=label, at=at, scheduled=at))


def what_is_due(schedule: RotationSchedule, calendar: Calendar, seen: Seen, now: datetime) -> Due:
    """Return what is due: nothing while it is suspended; what was missed then is caught up with as `missedRun` says."""
    spec = schedule.spec
    if spec.suspend:
        return Due()
    by_time = _by_time(schedule, calendar, seen, now)
    if by_time.run is not None or by_time.skipped is not None:
        return by_time
    if seen.staged is not None and calendar.next_start(now) == now:
        run = Run(
            trigger=Trigger.STAGED,
            label=f"inbox@{seen.staged}",
            name=f"{schedule.metadata.name}-s{seen.staged}",
            at=now,
        )
        return Due(run=run, next=by_time.next)
    return _by_age(schedule, calendar, seen, now, by_time.next)


def _by_time(schedule: RotationSchedule, calendar: Calendar, seen: Seen, now: datetime) -> Due:
    cron = calendar.schedule
    if cron is None:
        return Due()
    following = cron.next_due(now, anchor=seen.anchor.at)
    found = cron.due(now, anchor=seen.anchor.at, handled=_known_label(seen.handled))
    if found is None:
        return Due(next=following.at)
    if now >= cron.closes(found):
        return Due(skipped=found, missed=True, next=following.at)
    earliest = cron.next_start(found.at, calendar.blackouts) or found.at
    late = now - earliest > LATE
    if late and schedule.spec.missed_run is MissedRun.SKIP:
        return Due(skipped=found, missed=True, next=following.at)
    name = f"{schedule.metadata.name}-{_minutes(found.scheduled)}"
    run = Run(trigger=Trigger.SCHEDULE, label=found.label, name=name, at=found.at)
    return Due(run=run, missed=late, next=following.at)


def _known_label(handled: str | None) -> str | None:
    """Return a label that still says when it was: a zone may be gone, and a status may be anybody's."""
    try:
        scheduled_at(handled or "")
    except ScheduleError:
        return None
    return handled


def _by_age(
    schedule: RotationSchedule, calendar: Calendar, seen: Seen, now: datetime, following: datetime | None
) -> Due:
    oldest = schedule.spec.max_age
    if oldest is None or seen.live_since is None:
        return Due(next=following)
    reached = (seen.live_since + oldest).replace(second=0, microsecond=0)
    if seen.failed is not None and seen.failed >= reached:
        reached = (seen.failed + AGE_AGAIN).replace(second=0, microsecond=0)
    start = calendar.next_start(max(reached, now))
    if start is None or start > now:
        return Due(next=min((t for t in (following, start) if t is not None), default=None))
    label = f"maxAge@{reached.astimezone(UTC):%Y-%m-%dT%H:%MZ}"
    name = f"{schedule.metadata.name}-{_minutes(reached)}"
    return Due(run=Run(trigger=Trigger.MAX_AGE, label=label, name=name, at=reached), next=following)


def _minutes(at: datetime) -> int:
    """Minutes since the epoch: the same occurrence has the same name, whoever makes the object."""
    return int(at.timestamp()) // 60
