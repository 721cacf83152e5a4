"""The keys of a queue that are ready, in lanes: one that is full waits by itself, and the others go on."""

import math
from collections import Counter, OrderedDict
from collections.abc import Callable, Hashable, Iterator
from typing import Any, Generic, TypeVar

from elile_operator.engine.schedule import Priority

K = TypeVar("K", bound=Hashable)

URGENT_RUN = 8  # after so many urgent keys in a row a waiting routine key has its turn: a busy tenant starves nobody


class Ready(Generic[K]):
    """Ready keys, urgent ones first, each with the moment since which it is ready. A key that is taken is not here.

        push ──► open ──take──► (taken, counted in its lane) ──give_back──► (nothing)
                  │ ▲                                            │
       lane full  ▼ └── one of each priority of that lane ◄──────┘
                 aside

    `lane_of` says which lane a key is in, and may say something else tomorrow; of each lane at most `width` keys are
    taken at one time. Every operation is O(1) amortised, but `ages`, which is O(ready).
    """

    def __init__(self, lane_of: Callable[[K], Hashable], width: float = math.inf) -> None:
        self._lane_of = lane_of
        self._width = width
        self._open: dict[Priority, OrderedDict[K, float]] = _by_priority()
        self._aside: dict[Hashable, dict[Priority, OrderedDict[K, float]]] = {}
        self._lanes: dict[K, Hashable] = {}  # of keys that are aside, and of those that are taken
        self._taken: Counter[Hashable] = Counter()
        self._urgent_run = 0

    def push(self, key: K, priority: Priority, since: float) -> bool:
        """Add a key that is not taken, or make it urgent; answers whether there is something new to take."""
        if (was := self._find(key)) is None:
            self._open[priority][key] = since
            return True
        if key in self._lanes and self._has_room(self._lane_of(key)):
            self.discard(key)  # it is in another lane now, or more urgent than who was let in for this one
            return self.push(key, min(priority, was[0]), was[1])
        if priority < was[0]:
            place = self._place(key)
            del place[was[0]][key]
            place[priority][key] = was[1]  # it keeps its age
        return False

    def take(self) -> K | None:
        """The next key of a lane that has room, None if there is none. It counts in its lane until `give_back`."""
        while True:
            urgent, routine = self._open[Priority.URGENT], self._open[Priority.ROUTINE]
            if urgent and (not routine or self._urgent_run < URGENT_RUN):
                priority = Priority.URGENT
            elif routine:
                priority = Priority.ROUTINE
            elif any(self._let_in(lane) for lane in self._with_room()):
                continue  # who was let in for that lane is in another one now
            else:
                return None
            key, since = self._open[priority].popitem(last=False)
            lane = self._lanes[key] = self._lane_of(key)
            if self._has_room(lane):
                self._taken[lane] += 1
                self._urgent_run = self._urgent_run + 1 if priority is Priority.URGENT else 0
                return key
            self._put_aside(lane, key, priority, since)

    def give_back(self, key: K) -> int:
        """A key that was taken is no more; answers how many workers that wait may find something to take."""
        lane = self._lanes.pop(key)
        self._taken[lane] -= 1
        if not self._taken[lane]:
            del self._taken[lane]
        self._let_in(lane)
        return self._worth_waking()

    def discard(self, key: K) -> int:
        """Forget a key that is ready; one that is taken stays so. Answers as `give_back` does."""
        if (was := self._find(key)) is not None:
            del self._place(key)[was[0]][key]
            self._lanes.pop(key, None)
            for lane in self._with_room():  # it may have been let in for one, in place of others
                self._let_in(lane)
        return self._worth_waking()

    def ages(self) -> Iterator[float]:
        """Since when each key is ready."""
        for place in (self._open, *self._aside.values()):
            for keys in place.values():
                yield from keys.values()

    def __contains__(self, key: K) -> bool:
        return self._find(key) is not None

    def __len__(self) -> int:
        return sum(len(keys) for place in (self._open, *self._aside.values()) for keys in place.values())

    def _let_in(self, lane: Hashable) -> bool:
        """One of each priority: which of the two goes is for `take` to say, and it puts the other aside again."""
        waiting = self._aside.get(lane, {})
        for priority, keys in waiting.items():
            if keys:
                first, since = keys.popitem(last=False)
                del self._lanes[first]
                self._open[priority][first] = since
                self._open[priority].move_to_end(first, last=False)
        if not any(waiting.values()):
            self._aside.pop(lane, None)
        return bool(waiting)

    def _has_room(self, lane: Hashable) -> bool:
        return self._taken[lane] < self._width

    def _with_room(self) -> list[Hashable]:
        return [lane for lane in self._aside if self._has_room(lane)]

    def _worth_waking(self) -> int:
        # What is open may have been passed over by nobody yet, and who gives back may never come to take again.
        return sum(bool(keys) for keys in self._open.values()) or len(self._with_room())

    def _find(self, key: K) -> tuple[Priority, float] | None:
        found = ((priority, keys[key]) for priority, keys in self._place(key).items() if key in keys)
        return next(found, None)

    def _place(self, key: K) -> dict[Priority, OrderedDict[K, float]]:
        """Where a key is, if it is ready."""
        return self._aside.get(self._lanes[key], self._open) if key in self._lanes else self._open

    def _put_aside(self, lane: Hashable, key: K, priority: Priority, since: float) -> None:
        keys = self._aside.setdefault(lane, _by_priority())[priority]
        before = next(iter(keys.values()), None)
        keys[key] = since
        if before is not None and since < before:
            keys.move_to_end(key, last=False)


def _by_priority() -> dict[Priority, OrderedDict[Any, float]]:
    # Not plain dicts: to find the first key of one is a walk over all that were removed before it.
    return {priority: OrderedDict() for priority in Priority}
