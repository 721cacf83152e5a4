"""Groups of schedules: one run at a time, and starts that are a while apart."""

from collections.abc import Callable
from datetime import datetime, timedelta

from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.controllers import finalizer
from elile_operator.controllers.world import World
from elile_operator.engine import ObjectKey

__all__ = ["Groups"]

ASK_AGAIN = timedelta(seconds=30)  # who holds a group up wakes the others when it ends


class Groups:
    """Who may start in each group. What is under way is in the objects; `_taken` is of this process's last moment."""

    def __init__(self, world: World, *, on_free: Callable[[ObjectKey], None]) -> None:
        self._world = world
        self._on_free = on_free
        self._taken: dict[tuple[str, str], ObjectKey] = {}

    def take(self, schedule: RotationSchedule, now: datetime) -> tuple[str, timedelta] | None:
        """Let a schedule start; else return what it waits for, and when to ask again."""
        group = schedule.spec.group
        if group is None:
            return None
        me = _key(schedule)
        name = (me.namespace, group.name)
        others = [
            s for key in self._world.schedules.by("group", name) if key != me and (s := self._world.schedule(key))
        ]
        busy = next((s for s in others if finalizer.held(s)), None)
        taken = self._taken.get(name, me)
        if busy is not None or taken != me:
            holder = busy.metadata.name if busy is not None else taken.name
            return f"RotationSchedule {holder!r} of group {group.name!r} goes first", ASK_AGAIN
        last = max((at for s in others for at in self._starts(s)), default=None)
        if group.spacing is not None and last is not None and now < last + group.spacing:
            left = last + group.spacing - now
            return f"group {group.name!r} starts its next run at {last + group.spacing:%Y-%m-%dT%H:%M:%SZ}", left
        self._taken[name] = me
        return None

    def free(self, schedule: ObjectKey) -> None:
        """A run has ended, or its schedule is gone: the next one of each group that it had may start."""
        for name in [name for name, holder in self._taken.items() if holder == schedule]:
            del self._taken[name]
            for key in self._world.schedules.by("group", name) - {schedule}:
                self._on_free(key)

    def _starts(self, schedule: RotationSchedule) -> list[datetime]:
        rotations = self._world.rotations_of(_key(schedule))
        return [r.status.start_time for r in rotations if r.status.start_time is not None and r.status.rotation_id]


def _key(schedule: RotationSchedule) -> ObjectKey:
    return ObjectKey(schedule.metadata.namespace or "", schedule.metadata.name)
