"""Decide when an entry is read because of a hint, how long its change is waited for, and how far a path is believed."""

from collections.abc import Hashable
from dataclasses import dataclass, replace

__all__ = ["Doubt", "Expected", "due", "expect", "is_answered", "judge_look", "pause"]

# Seconds. Standbys answer reads, and may be this far behind the server that was written to.
LAG = 2.0
# Between looks while the change is not there yet, and the one that comes last.
PAUSES = (0.05, 0.1, 0.2, 0.4, 0.4, 0.4)
LEAST_PAUSE = 0.01  # timers are not exact, and one that is early by nothing would be set again and again
# More than so many that wait at one time are forged, or a standby is far behind: then the pauses only cost requests.
FEW = 100
# Seconds for which a path is not read for a hint after one that was wrong; each further one makes it longer.
FIRST_DOUBT, GROWTH, LONGEST_DOUBT = 2.0, 4.0, 60.0
# The same for a hint at the very next version: whoever makes hints up does not know it, and whoever writes does.
LIKELY_DOUBT = 1.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """Until when (monotonic) hints about an entry have to wait, because the last ones were wrong."""

    until: float = 0.0
    length: float = 0.0


@dataclass(frozen=True, slots=True)
class Expected:
    """A change that was hinted at and not seen yet.

    `before` is what was known then. `version` is the one that was made; None: whatever differs is the change. `until`
    (monotonic) is when the change has to be there; None before the first look. `likely`: the version is the next one.
    `renewed`: there were more hints since.
    """

    before: Hashable
    version: int | None
    until: float | None = None
    looks: int = 0
    likely: bool = False
    renewed: bool = False


def expect(pending: Expected | None, version: int | None, before: Hashable, *, likely: bool = False) -> Expected:
    """Return what is expected after another hint."""
    if pending is None:
        return Expected(before, version, likely=likely)
    both = None if version is None or pending.version is None else max(version, pending.version)
    return replace(pending, version=both, likely=pending.likely or likely, renewed=pending.until is not None)


def due(expected: Expected, doubt: Doubt) -> float:
    """Return when (monotonic) a change may be looked for at the earliest; 0 for at once."""
    if not doubt.length:
        return 0.0
    return doubt.until - doubt.length + min(doubt.length, LIKELY_DOUBT) if expected.likely else doubt.until


def is_answered(expected: Expected, sight: Hashable, current: int | None) -> bool:
    """Whether a look found the change; `current` is the version that can be read now, None where none can."""
    if expected.version is None:
        return sight != expected.before
    return current is not None and current >= expected.version


def judge_look(
    expected: Expected, doubt: Doubt, *, answered: bool, now: float, waiting: int
) -> tuple[Expected | None, Doubt]:
    """Return what is still expected after a look, None for nothing, and how far the next hint is believed.

    `waiting` is how many entries of the server wait for their changes now.
    """
    if answered:
        return None, Doubt()
    until = expected.until if expected.until is not None else now + LAG
    if now >= until or doubt.length:  # who was wrong before is looked at once
        length = min(max(FIRST_DOUBT, doubt.length * GROWTH), LONGEST_DOUBT)
        later = Expected(expected.before, expected.version, likely=expected.likely) if expected.renewed else None
        return later, Doubt(now + length, length)
    looks = expected.looks + 1 if waiting <= FEW else len(PAUSES) + 1
    return replace(expected, until=until, looks=looks), doubt


def pause(expected: Expected, now: float) -> float:
    """Return the seconds to the next look."""
    if expected.until is None:
        return 0.0
    rest = max(LEAST_PAUSE, expected.until - now)
    return min(rest, PAUSES[expected.looks - 1]) if expected.looks <= len(PAUSES) else rest
