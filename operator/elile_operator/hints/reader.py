"""Reads the audit file piece by piece, and hands on which entries were written."""

import logging

from elile_operator.decide.hints import Hint
from elile_operator.hints.audit import Nothing, may_tell, written
from elile_operator.hints.gaps import Gap
from elile_operator.hints.handover import Handover
from elile_operator.hints.metrics import Metrics
from elile_operator.hints.tail import Piece, Tail

__all__ = ["Reader"]

log = logging.getLogger(__name__)

_WARNINGS = {
    Nothing.NO_JSON: "the audit file has lines that are no JSON; set format=json of Vault's audit device",
    Gap.UNREADABLE: "the audit file has a line that cannot be read and may tell of a write; the operator looks at all",
    Gap.TOO_LONG: "the audit file has a line that is too long and may tell of a write; the operator looks at all",
    Gap.FULL: "more entries were written than can wait for the operator; it looks at all when it is back",
}


class Reader:
    """Says each thing that is wrong once: it may be wrong with every line."""

    def __init__(self, tail: Tail, handover: Handover, metrics: Metrics) -> None:
        self._tail = tail
        self._handover = handover
        self._metrics = metrics
        self._warned: set[Nothing | Gap] = set()

    def read(self) -> bool:
        """Take what is new, at most a chunk of it; False if nothing is."""
        piece = self._tail.read()
        if piece is None:
            return False
        hints, gaps = self._understand(piece)
        dropped = self._handover.add(hints, begin=piece.begin, end=piece.end, gap=bool(gaps))
        if dropped:
            self._metrics.dropped.inc(dropped)
            gaps.append(Gap.FULL)
        for gap in gaps:
            self._metrics.gap(gap)
            self._warn(gap)
        return True

    def _understand(self, piece: Piece) -> tuple[list[Hint], list[Gap]]:
        hints: list[Hint] = []
        gaps = [piece.gap] if piece.gap else []
        unreadable = len(piece.too_long)
        for line in piece.lines:
            told = written(line)
            if isinstance(told, Hint):
                hints.append(told)
            elif told is not Nothing.NO_WRITE:
                unreadable += 1
                if told is Nothing.UNREADABLE:
                    gaps.append(Gap.UNREADABLE)
                else:
                    self._warn(told)
        gaps += (Gap.TOO_LONG for beginning in piece.too_long if may_tell(beginning))
        self._metrics.lines.inc(len(piece.lines) + len(piece.too_long))
        self._metrics.unreadable.inc(unreadable)
        self._metrics.found.inc(len(hints))
        return hints, gaps

    def _warn(self, what: Nothing | Gap) -> None:
        if what in _WARNINGS and what not in self._warned:
            self._warned.add(what)
            log.warning(_WARNINGS[what])
