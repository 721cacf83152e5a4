"""How far each run is, for those who tell of it: statuses of schedules and of ElileSecrets, metrics."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType

from elile.secrets.rotation.journal import Phase
from elile_operator.api.reasons import Reason
from elile_operator.engine import ObjectKey

__all__ = ["Board", "Standing"]

_NOBODY: Mapping[ObjectKey, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One run. `valid_until`: the previous value works until then; `holds_up`: who is waited for, and why."""

    phase: Phase
    active: str | None
    reason: Reason | None = None
    message: str = ""
    valid_until: datetime | None = None
    retry: datetime | None = None
    holds_up: Mapping[ObjectKey, str] = field(default_factory=lambda: _NOBODY)


class Board:
    """Standings by schedule; `on_schedule` is told of each that changed, `on_secret` of each ElileSecret that waits."""

    def __init__(self, *, on_schedule: Callable[[ObjectKey], None], on_secret: Callable[[ObjectKey], None]) -> None:
        self._on_schedule = on_schedule
        self._on_secret = on_secret
        self._standings: dict[ObjectKey, Standing] = {}

    def get(self, schedule: ObjectKey) -> Standing | None:
        """Return how far the run of a schedule is; None: none is under way, as far as this process knows."""
        return self._standings.get(schedule)

    def all(self) -> Mapping[ObjectKey, Standing]:
        """Return all that are under way."""
        return MappingProxyType(self._standings)

    def post(self, schedule: ObjectKey, standing: Standing | None) -> None:
        """Note how far a run is; None: it is over."""
        before = self._standings.pop(schedule, None)
        if standing is not None:
            self._standings[schedule] = standing
        if before == standing:
            return
        self._on_schedule(schedule)
        held, holds = (s.holds_up if s is not None else _NOBODY for s in (before, standing))
        for secret in {k for k in (*held, *holds) if held.get(k) != holds.get(k)}:
            self._on_secret(secret)

    def waited_for(self, secret: ObjectKey) -> str | None:
        """Return what a rotation waits for at an ElileSecret; None: nothing."""
        found = (s.holds_up.get(secret) for s in self._standings.values())
        return next((why for why in found if why), None)

    def waiting_for(self, secret: ObjectKey) -> list[ObjectKey]:
        """Return the schedules whose runs wait for an ElileSecret."""
        return [key for key, s in self._standings.items() if secret in s.holds_up]
