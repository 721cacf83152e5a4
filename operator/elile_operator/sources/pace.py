"""How well the polls of each server keep their intervals, counted between two looks at it."""

from dataclasses import dataclass

from elile_operator.decide.polling import Pace, is_late

__all__ = ["Pacer"]


@dataclass(slots=True)
class _Window:
    polls: int = 0
    late: int = 0
    behind: float = 0.0
    interval: float = 0.0


class Pacer:
    """Counts polls by the name of their server."""

    def __init__(self) -> None:
        self._windows: dict[str, _Window] = {}

    def note(self, server: str, *, gap: float, interval: float) -> None:
        """Count a poll that was answered `gap` seconds after the one before, where `interval` was wanted."""
        window = self._windows.setdefault(server, _Window())
        window.polls += 1
        if is_late(gap, interval):
            window.late += 1
            if gap - interval > window.behind:
                window.behind, window.interval = gap - interval, interval

    def take(self, server: str, *, needed: float) -> Pace:
        """Return what was counted since this was called last; `needed` polls a second would keep all intervals."""
        window = self._windows.pop(server, _Window())
        return Pace(window.polls, window.late, window.behind, window.interval, needed)
