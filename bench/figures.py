"""One measured value, and whether it is what was asked for."""

from dataclasses import dataclass

__all__ = ["Budget", "Figure", "count", "mib", "milliseconds", "percent", "seconds"]


@dataclass(frozen=True, slots=True)
class Figure:
    """A value of `unit`, and how that reads.

    `key` stays the same from run to run, `name` tells people what it is, counts included, `how` how it was measured.
    """

    key: str
    name: str
    value: float
    unit: str
    text: str
    how: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What the figure `key` may be at most, and how that reads."""

    key: str
    limit: float
    text: str

    def is_met(self, figure: Figure) -> bool:
        return figure.value <= self.limit


def seconds(key: str, name: str, value: float, how: str, *, digits: int = 2) -> Figure:
    return Figure(key, name, value, "s", f"{value:.{digits}f} s", how)


def milliseconds(key: str, name: str, value: float, how: str) -> Figure:
    """Take seconds."""
    return Figure(key, name, value * 1e3, "ms", f"{value * 1e3:.2f} ms", how)


def count(key: str, name: str, value: float, how: str, *, digits: int = 0, of: str = "") -> Figure:
    return Figure(key, name, value, of, f"{value:,.{digits}f}{f' {of}' if of else ''}", how)


def mib(key: str, name: str, value: float, how: str) -> Figure:
    return Figure(key, name, value, "MiB", f"{value:.0f} MiB", how)


def percent(key: str, name: str, value: float, how: str) -> Figure:
    """Take a part of one core."""
    return Figure(key, name, value * 100, "% of a core", f"{value:.1%} of a core", how)
