"""Cron expressions on a wall clock without time zones: what is refused and why, H, and the one home of croniter."""

import hashlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from typing import Any

from elile.secrets.errors import SecretBackendMissingError

__all__ = ["Cron", "ScheduleError"]

_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_LONGEST = 128  # characters
_PROBE = datetime(2000, 1, 1)  # noqa: DTZ001 - wall clock; any day does, what fires ever does so within 8 years


class ScheduleError(ValueError):
    """A schedule, a time zone, a label, a splay or a window is refused; the text says why and what to write instead."""


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    lowest: int
    highest: int
    last: int  # 7 is Sunday, as 0 is
    hashed: int  # the highest value that H takes: every month has a 28th
    names: tuple[str, ...] = ()

    def number(self, text: str) -> int | None:
        if text.isdigit():
            return int(text)
        return self.lowest + self.names.index(text.upper()) if text.upper() in self.names else None


_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_FIELDS = (
    _Field("minute", 0, 59, 59, 59),
    _Field("hour", 0, 23, 23, 23),
    _Field("day of month", 1, 31, 31, 28),
    _Field("month", 1, 12, 12, 12, _MONTHS),
    _Field("day of week", 0, 7, 6, 6, ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")),
)
_ITEM = re.compile(
    r"(?:(?P<star>\*)|(?P<hash>H)(?:\((?P<from>\d{1,2})-(?P<to>\d{1,2})\))?"
    r"|(?P<low>\d{1,2}|[A-Za-z]{3})(?:-(?P<high>\d{1,2}|[A-Za-z]{3}))?)(?:/(?P<step>\d{1,3}))?"
)


@dataclass(frozen=True, slots=True)
class _Item:
    """One member of the list in a field, in numbers; `high` None: a single value."""

    field: _Field
    text: str
    star: bool
    hashed: bool
    low: int
    high: int | None
    step: int | None


def _too_long(text: str) -> str | None:
    return f"has {len(text)} characters, {_LONGEST} are allowed" if len(text) > _LONGEST else None


def _foreign(text: str) -> str | None:
    return None if text.isascii() else "has characters outside ASCII: type it anew, it may have been pasted"


def _zoned(text: str) -> str | None:
    return "names a time zone: write that into timeZone" if re.match(r"(?i)(cron_)?tz=", text) else None


def _unknown_alias(text: str) -> str | None:
    if not text.startswith("@") or text in _ALIASES:
        return None
    return f"is none of {', '.join(_ALIASES)}: use one of them or five fields"


def _not_five(text: str) -> str | None:
    count = len(text.split())
    if text in _ALIASES or count == len(_FIELDS):
        return None
    return (
        f"has {count} fields, not five: minute, hour, day of month, month, day of week; seconds and years do not exist"
    )


# The order is the specification: each check may rely on the ones above it.
_TEXT_CHAIN: tuple[Callable[[str], str | None], ...] = (_too_long, _foreign, _zoned, _unknown_alias, _not_five)


def _known_number(item: _Item) -> str | None:
    field = item.field
    for value in (item.low, item.high):
        if value is not None and not field.lowest <= value <= field.highest:
            return f"{item.text!r} is outside {field.lowest}-{field.highest}"
    return None


def _rising(item: _Item) -> str | None:
    if item.high is None or item.low < item.high:
        return None
    if item.low == item.high:
        return f"{item.text!r} is a range of one value, which some crons read as every value: write {item.low}"
    if item.hashed:
        return f"{item.text!r} runs backwards: write the lower end first"
    parts = [(item.low, item.field.last), (item.field.lowest, item.high)]
    spans = [str(low) if low == high else f"{low}-{high}" for low, high in parts if low <= high]
    return f"{item.text!r} runs backwards: write {','.join(spans)}"


def _in_reach_of_hash(item: _Item) -> str | None:
    if not item.hashed or item.high is None or item.high <= item.field.hashed:
        return None
    return f"{item.text!r} is more than H takes here: end it at {item.field.hashed}"


def _useful_step(item: _Item) -> str | None:
    if item.step is None:
        return None
    low, high = item.low, _end(item)
    if low >= high:
        return f"{item.text!r} starts at the last value, which crons read differently: write {low}"
    if 1 <= item.step <= high - low:
        return None
    return f"the step of {item.text!r} must be 1 to {high - low}"


def _end(item: _Item) -> int:
    if item.high is not None:
        return item.high
    return item.field.hashed if item.hashed else item.field.last


_ITEM_CHAIN: tuple[Callable[[_Item], str | None], ...] = (_known_number, _rising, _in_reach_of_hash, _useful_step)


def _foreign_syntax(text: str) -> str:
    if text == "?":
        return "'?' is not supported: write '*'"
    if re.match(r"(?i)R($|[(/])", text):
        return f"{text!r} is random anew at each start: use H, which stays the same for one object"
    if re.fullmatch(r"(?i)L(W|-?\d+)?|\d+[LW]|W|.*#.*", text):
        return f"{text!r}: L, W and # are not supported: name days"
    return f"{text!r} is no value, range, '*' or 'H'"


def _item(field: _Field, text: str) -> _Item:
    """Read one member of a list. Raises ScheduleError without the name of the field."""
    match = _ITEM.fullmatch(text)
    if match is None:
        raise ScheduleError(_foreign_syntax(text))
    ends = [match["from"] or match["low"], match["to"] or match["high"]]
    numbers = [None if end is None else field.number(end) for end in ends]
    for end, number in zip(ends, numbers, strict=True):
        if end is not None and number is None:
            raise ScheduleError(_foreign_syntax(end))
    item = _Item(
        field=field,
        text=text,
        star=match["star"] is not None,
        hashed=match["hash"] is not None,
        low=field.lowest if numbers[0] is None else numbers[0],
        high=numbers[1],
        step=None if match["step"] is None else int(match["step"]),
    )
    if (why := next((w for check in _ITEM_CHAIN if (w := check(item)) is not None), None)) is not None:
        raise ScheduleError(why)
    return item


def _expand(item: _Item, digest: int) -> str:
    """Write one member so that every cron reads the same: numbers only, and a range wherever there is a step."""
    step = "" if item.step is None else f"/{item.step}"
    if item.star:
        return f"*{step}"
    if item.hashed and item.step is not None:
        return f"{item.low + digest % item.step}-{_end(item)}{step}"
    if item.hashed:
        return str(item.low + digest % (_end(item) - item.low + 1))
    return f"{item.low}-{_end(item)}{step}" if step or item.high is not None else str(item.low)


def _field(field: _Field, text: str, uid: str) -> str:
    items = [_item(field, member) for member in text.split(",")]
    if not uid and any(item.hashed for item in items):
        raise ScheduleError("H is derived from the uid of the object, and none was given")
    # One number for the whole field: H(0-29),H(30-59) are half an hour apart.
    digest = int.from_bytes(hashlib.sha256(f"{uid}\0{field.name}".encode()).digest(), "big")
    return ",".join(_expand(item, digest) for item in items)


@dataclass(frozen=True, slots=True)
class Cron:
    """One expression: `text` as it was written, `expanded` in numbers, as it is for this object.

    When both day of month and day of week are restricted, a day that fits either fires, as POSIX has it.
    """

    text: str
    expanded: str

    @classmethod
    def parse(cls, text: str, uid: str) -> "Cron":
        """Read an expression; `uid` is what H is derived from.

        Raises ScheduleError, and SecretBackendMissingError without `croniter`.
        """
        text = text.strip(" \t\n")
        shown = repr(text if len(text) <= _LONGEST else f"{text[:32]}…")
        if (why := next((w for check in _TEXT_CHAIN if (w := check(text)) is not None), None)) is not None:
            raise ScheduleError(f"schedule {shown} {why}")
        fields = []
        for field, part in zip(_FIELDS, _ALIASES.get(text, text).split(), strict=True):
            try:
                fields.append(_field(field, part, uid))
            except ScheduleError as error:
                raise ScheduleError(f"schedule {shown}, {field.name}: {error}") from None
        cron = cls(text, " ".join(fields))
        try:
            next(cron.after(_PROBE))
        except _croniter().CroniterBadDateError:
            raise ScheduleError(
                f"schedule {shown} never fires: no month it names has such a day; correct day of month or month"
            ) from None
        return cron

    def after(self, wall: datetime) -> Iterator[datetime]:
        """Yield the times after a wall clock's, rising, without end."""
        times = _croniter().croniter(self.expanded, wall)
        while True:
            yield times.get_next(datetime)

    def before(self, wall: datetime) -> Iterator[datetime]:
        """Yield the times before a wall clock's, falling, without end."""
        times = _croniter().croniter(self.expanded, wall)
        while True:
            yield times.get_prev(datetime)


def _croniter() -> Any:
    try:
        return import_module("croniter")
    except ModuleNotFoundError:
        raise SecretBackendMissingError(
            "the package 'croniter' is not installed; install elile[rotation]", backend=""
        ) from None
