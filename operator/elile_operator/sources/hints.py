"""What forwarders tell: the entries it is about are read, and it is known which servers have one that speaks."""

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from elile_operator.decide.hints import SILENCE, Batch
from elile_operator.engine import Clock
from elile_operator.engine.clock import Timer
from elile_operator.sources.reads import SharedReads

__all__ = ["HintObserver", "Hints", "HintsFlow"]

R = TypeVar("R", bound=Hashable)

# Seconds between two times that all entries of a server are compared because hints were lost.
GAPS_APART = 30.0


@dataclass(frozen=True, slots=True)
class HintsFlow:
    """Whether a forwarder of a server could speak to the operator, and whether one does; None: not known yet."""

    expected: bool
    speaks: bool | None


class HintObserver(Protocol):
    """Told of hints, for metrics."""

    def hints_received(self, *, server: str, wanted: int, unwanted: int) -> None: ...


class Hints:
    """Takes batches in the event loop.

    `expects` tells whether a server could have a forwarder; `on_flow` is called with one whose forwarder speaks after a
    silence.
    """

    def __init__(
        self,
        *,
        reads: SharedReads[R],
        clock: Clock,
        expects: Callable[[str], bool],
        on_flow: Callable[[str], None],
        observer: HintObserver,
    ) -> None:
        self._reads = reads
        self._clock = clock
        self._expects = expects
        self._on_flow = on_flow
        self._observer = observer
        self._since = clock.monotonic()
        self._heard: dict[str, float] = {}
        self._compared: dict[str, float] = {}
        self._owed: dict[str, Timer] = {}

    def take(self, server: str, batch: Batch) -> None:
        """Have read what a batch of one server's forwarder is about."""
        spoke, self._heard[server] = self.flow(server).speaks, self._clock.monotonic()
        if not spoke:
            self._on_flow(server)
        wanted = sum(self._reads.hint(server, hint) for hint in batch.hints)
        self._observer.hints_received(server=server, wanted=wanted, unwanted=len(batch.hints) - wanted)
        if batch.gap and server not in self._owed:
            due = self._compared.get(server, -GAPS_APART) + GAPS_APART
            if due <= self._clock.monotonic():
                self._compare(server)
            else:
                self._owed[server] = self._clock.call_at(due, lambda: self._compare(server))

    def flow(self, server: str) -> HintsFlow:
        """Whether the forwarder of a server speaks; one that was not heard yet has the time of a silence for it."""
        now, heard = self._clock.monotonic(), self._heard.get(server)
        quiet = now - (self._since if heard is None else heard) >= SILENCE
        return HintsFlow(self._expects(server), False if quiet else None if heard is None else True)

    def close(self) -> None:
        """Compare nothing more."""
        for timer in self._owed.values():
            timer.cancel()
        self._owed.clear()

    def _compare(self, server: str) -> None:
        self._owed.pop(server, None)
        self._compared[server] = self._clock.monotonic()
        self._reads.compare_all(server)
