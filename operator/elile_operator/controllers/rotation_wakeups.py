"""Which change wakes which schedule, and which of its three reconcilers."""

from typing import Any

from elile_operator.api.rotation import Rotation
from elile_operator.controllers.board import Board
from elile_operator.controllers.world import World
from elile_operator.decide.orders import is_open
from elile_operator.engine import Change, ObjectKey, Priority, WorkQueue

__all__ = ["SETTLE", "RotationWakeups"]

# Seconds: the first phases of a run pass in less, and would each be a write to the schedule and to the ElileSecret.
SETTLE = 0.5


class RotationWakeups:
    """Puts keys into the queues: `runs` and `schedules` have those of schedules, `tellings` those of ElileSecrets."""

    def __init__(
        self,
        *,
        world: World,
        runs: WorkQueue[ObjectKey],
        schedules: WorkQueue[ObjectKey],
        tellings: WorkQueue[ObjectKey],
    ) -> None:
        self._world = world
        self._runs = runs
        self._schedules = schedules
        self._tellings = tellings
        self._board: Board | None = None

    def connect(self, board: Board) -> None:
        """Listen to the stores."""
        self._board = board
        self._world.schedules.subscribe(self._schedule)
        self._world.rotations.subscribe(self._rotation)
        self._world.secrets.subscribe(self._secret)

    # ── told by other parts ──────────────────────────────────────────────────────────────────────────────────────────

    def moved(self, schedule: ObjectKey) -> None:
        """A run is in another phase, or over."""
        self._schedules.add_after(schedule, SETTLE)

    def waits(self, secret: ObjectKey) -> None:
        """A run waits for an ElileSecret, or no longer."""
        self._tellings.add_after(secret, SETTLE)

    def free(self, schedule: ObjectKey) -> None:
        """A group is free."""
        self._runs.add(schedule)

    def server_usable(self, server: str) -> None:
        """A server is back: nobody waits out a backoff."""
        keys = [key for secret in self._world.secrets.by("server", server) for key in self._of(secret)]
        self._runs.retry_now(keys)
        self._schedules.retry_now(keys)

    # ── told by the stores ───────────────────────────────────────────────────────────────────────────────────────────

    def _schedule(self, change: Change[ObjectKey, Any]) -> None:
        if change.spec_changed:
            self._schedules.add(change.key, priority=Priority.URGENT)
            self._runs.add(change.key, priority=Priority.URGENT)
        else:  # most often what this process has written itself
            self._schedules.add_after(change.key, SETTLE)
        for entry in (change.old, change.new):
            ref = getattr(getattr(entry and entry.value, "spec", None), "secret_ref", None)
            if ref is not None:
                self._tellings.add_after(ObjectKey(change.key.namespace, ref.name), SETTLE)

    def _rotation(self, change: Change[ObjectKey, Any]) -> None:
        for entry in (change.old, change.new):
            rotation = entry.value if entry is not None else None
            if not isinstance(rotation, Rotation):
                continue
            key = ObjectKey(change.key.namespace, rotation.spec.schedule_ref.name)
            self._schedules.add_after(key, SETTLE)
            if _is_wiped(change) or (change.spec_changed and (is_open(rotation) or change.new is None)):
                self._runs.add(key, priority=Priority.URGENT)

    def _secret(self, change: Change[ObjectKey, Any]) -> None:
        for key in self._of(change.key):
            if change.spec_changed:
                self._schedules.add(key)
                self._runs.add(key)
            else:
                self._schedules.add_after(key, SETTLE)
        if change.new is not None and change.old is None:
            self._tellings.add(change.key)
        for key in self._board.waiting_for(change.key) if self._board is not None else ():
            self._runs.add(key, priority=Priority.URGENT)

    def _of(self, secret: ObjectKey) -> frozenset[ObjectKey]:
        return self._world.schedules.by("secret", secret)


def _is_wiped(change: Change[ObjectKey, Any]) -> bool:
    """Whether somebody has taken away what a Rotation told: it is told anew, from the journal."""
    old, new = (entry.value if entry is not None else None for entry in (change.old, change.new))
    if not isinstance(old, Rotation) or not isinstance(new, Rotation):
        return False
    return old.status.phase is not None and new.status.phase is None
