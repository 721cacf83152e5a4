"""Durations as the API writes them (`90s`, `1h30m`, `7d`) to timedelta and back."""

import re
from datetime import timedelta

PATTERN = "^([0-9]+(s|m|h|d))+$"

# Long enough for `3650d23h59m59s`, short enough that no sum of parts overflows, here or in CEL.
MAX_LENGTH = 14

LONGEST = timedelta(days=3650)

SECONDS = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}  # largest first: the order in which they are written


class DurationError(ValueError):
    """The text is no duration of the API; the message says how to write one."""


def parse_duration(text: str) -> timedelta:
    """Read a duration: whole numbers with the units s, m, h and d, each as often as wanted, added up.

    Raises DurationError for anything else and for more than 3650 days.
    """
    if len(text) > MAX_LENGTH or re.fullmatch(PATTERN.strip("^$"), text, re.ASCII) is None:
        raise DurationError("must be whole numbers with the units s, m, h or d, for example 90s or 1h30m")
    parts = re.findall(r"([0-9]+)([smhd])", text)
    seconds = sum(int(number) * SECONDS[unit] for number, unit in parts)
    if seconds > LONGEST.total_seconds():
        raise DurationError(f"must be at most {format_duration(LONGEST)}")
    return timedelta(seconds=seconds)


def format_duration(value: timedelta) -> str:
    """Write a duration in the fewest parts, `5400 s` as `1h30m`; parts of a second are cut off, nothing is `0s`.

    Raises DurationError for a negative one, which the API cannot say.
    """
    rest = value // timedelta(seconds=1)
    if rest < 0:
        raise DurationError("must not be negative")
    text = ""
    for unit, seconds in SECONDS.items():
        count, rest = divmod(rest, seconds)
        text += f"{count}{unit}" if count else ""
    return text or "0s"
