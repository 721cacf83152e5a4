"""How long to wait after failing again: exponential, capped, with full jitter."""

from collections.abc import Callable
from dataclasses import dataclass

LONGEST_ASKED = 300.0  # seconds; whoever asks for more may be mistaken, and is asked again


def asked_wait(error: BaseException) -> float:
    """Seconds that a server asked to wait, which its error knows as `retry_after`; 0 if it did not."""
    asked = getattr(error, "retry_after", None)
    return min(float(asked), LONGEST_ASKED) if asked else 0.0


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: uniform in [0, min(cap, base · 2^(failures-1))]. Full jitter, so that what failed together parts."""

    base: float = 1.0
    cap: float = 300.0

    def delay(self, failures: int, rand: Callable[[], float]) -> float:
        """Seconds to wait after `failures` ≥ 1 in a row; `rand` answers in [0, 1)."""
        # The exponent is bounded too: 2.0**1024 is an OverflowError, after days of failing.
        return rand() * min(self.cap, self.base * 2.0 ** min(failures - 1, 64))
