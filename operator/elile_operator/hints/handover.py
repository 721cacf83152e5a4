"""Hands hints from the thread that reads to the one that sends."""

import threading
from collections.abc import Iterable

from elile_operator.decide.hints import Batch, Hint
from elile_operator.hints.pending import Pending
from elile_operator.hints.places import Place
from elile_operator.hints.sending import Outcome

__all__ = ["Handover"]

LAST_PAUSE = 0.1  # seconds between tries when there is little time left


class Handover:
    """`Pending`, for two threads."""

    def __init__(self, pending: Pending) -> None:
        self._pending = pending
        self._changed = threading.Condition()
        self._closed = False
        self._abandoned = False

    def __len__(self) -> int:
        with self._changed:
            return len(self._pending)

    @property
    def done(self) -> Place | None:
        """As `Pending.done`."""
        with self._changed:
            return self._pending.done

    def add(self, hints: Iterable[Hint], *, begin: Place, end: Place, gap: bool) -> int:
        """Take the hints of the lines from `begin` to `end`; return for how many there was no room."""
        with self._changed:
            if gap:
                self._pending.lose()
            dropped = sum(not self._pending.add(hint, begin) for hint in hints)
            self._pending.reach(end)
            if self._pending.anything:
                self._changed.notify_all()
            return dropped

    def take(self, within: float) -> Batch | None:
        """Wait at most `within` seconds for something to say; empty if there is nothing, None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._pending.anything, within)
            if self._abandoned or (self._closed and not self._pending.anything):
                return None
            return self._pending.take()

    def settle(self, outcome: Outcome) -> int:
        """Say what became of the batch that `take` gave; return how many hints are lost by that."""
        with self._changed:
            if outcome is Outcome.REFUSED:
                return self._pending.give_up()
            if outcome is Outcome.TAKEN:
                self._pending.taken()
            else:
                self._pending.put_back()
            return 0

    def pause(self, seconds: float) -> None:
        """Wait before the next try; not for long once it is closed."""
        with self._changed:
            if self._closed:
                self._changed.wait(min(seconds, LAST_PAUSE))
            else:
                self._changed.wait_for(lambda: self._closed, seconds)

    def close(self) -> None:
        """Nothing is added any more: `take` answers None as soon as nothing waits."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """What waits is sent no more: `take` answers None."""
        with self._changed:
            self._closed = self._abandoned = True
            self._changed.notify_all()
