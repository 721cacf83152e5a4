"""Hints that wait to be taken by the operator, one for each path, and up to where the file is done with. Pure."""

from dataclasses import dataclass

from elile_operator.decide.hints import MAX_BODY, MAX_HINTS, Batch, Hint, encode
from elile_operator.hints.places import NOWHERE, Place

__all__ = ["ROOM", "Pending"]

ROOM = 10_000  # hints; of usual length they are 5 MB

_Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class _Waiting:
    hint: Hint
    since: Place  # no line before this tells of it


class Pending:
    """What was taken out is settled, by `taken`, `put_back` or `give_up`, before the next is taken out."""

    def __init__(self, *, room: int = ROOM) -> None:
        self._room = room
        self._waiting: dict[_Key, _Waiting] = {}  # in the order of the lines
        self._sent: dict[_Key, _Waiting] = {}
        self._gap = False
        self._gap_sent = False
        self._end = NOWHERE

    def __len__(self) -> int:
        return len(self._waiting) + len(self._sent)

    def add(self, hint: Hint, since: Place) -> bool:
        """Take the hint of a line that is not before `since`; False if there is no room for it, which is a gap."""
        key = (hint.namespace, hint.mount, hint.path)
        if (known := self._waiting.get(key)) is not None:
            self._waiting[key] = _Waiting(_both(known.hint, hint), known.since)
        elif len(self) < self._room:
            self._waiting[key] = _Waiting(hint, since)
        else:
            self._gap = True
            return False
        return True

    def lose(self) -> None:
        """Something may have been written that no hint tells of."""
        self._gap = True

    def reach(self, end: Place) -> None:
        """All lines before `end` were added."""
        self._end = end

    @property
    def anything(self) -> bool:
        """Whether there is something to say."""
        return self._gap or bool(self._waiting)

    def take(self) -> Batch:
        """Take out what fits in one request, the oldest first; it may be nothing."""
        size = 0
        for key, waiting in self._waiting.items():
            # With the rest of a body around each, so that the sum is rather too much.
            size += len(encode(Batch((waiting.hint,))))
            if len(self._sent) == MAX_HINTS or size >= MAX_BODY:
                break
            self._sent[key] = waiting
        for key in self._sent:
            del self._waiting[key]
        self._gap, self._gap_sent = False, self._gap
        return Batch(tuple(waiting.hint for waiting in self._sent.values()), self._gap_sent)

    def taken(self) -> None:
        """The operator has it."""
        self._sent, self._gap_sent = {}, False

    def put_back(self) -> None:
        """The operator does not have it: it is the oldest again."""
        back = self._sent
        for key, newer in self._waiting.items():
            older = back.get(key)
            back[key] = _Waiting(_both(older.hint, newer.hint), older.since) if older else newer
        self._waiting, self._sent = back, {}
        self._gap, self._gap_sent = self._gap or self._gap_sent, False

    def give_up(self) -> int:
        """The operator will never take it: it becomes a gap. Return how many hints are lost."""
        lost = len(self._sent)
        self._sent, self._gap, self._gap_sent = {}, True, False
        return lost

    @property
    def done(self) -> Place | None:
        """Where to go on after a restart: all before it was told. None while that cannot be said."""
        if self._gap or self._gap_sent:
            return None
        oldest = next(iter(self._sent.values()), None) or next(iter(self._waiting.values()), None)
        return oldest.since if oldest else self._end


def _both(one: Hint, other: Hint) -> Hint:
    """Return what says both. Without a version, as after a deletion, it is "look, whatever you know": that stays.

    Else it is the highest: Vault logs what it does at one time in any order.
    """
    if one.version is None or other.version is None:
        return one if one.version is None else other
    return one if one.version > other.version else other
