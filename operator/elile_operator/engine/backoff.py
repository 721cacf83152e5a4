"""How long to wait after failing again: exponential, capped, with full jitter."""

import math
from collections.abc import Callable
from dataclasses import dataclass

LONGEST_ASKED = 300.0  # seconds; whoever asks for more may be mistaken, and is asked again


def asked_wait(error: BaseException) -> float:
    """Seconds that a server asked to wait, which its error knows as `retry_after`; 0 if it did not."""
    asked = getattr(error, "retry_after", None)
    return min(float(asked), LONGEST_ASKED) if asked else 0.0


def longest_wait(error: BaseException) -> float:
    """Seconds after which the same call is worth another try, which its error knows as `retry_within`; else for ever.

    An outage is not the object's fault: after hours of it, nobody should wait minutes for its end to be noticed.
    """
    known = getattr(error, "retry_within", None)
    return float(known) if known is not None else math.inf


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds: uniform in [0, min(cap, base · 2^(failures-1))]. Full jitter, so that what failed together parts."""

    base: float = 1.0
    cap: float = 300.0

    def delay(self, failures: int, rand: Callable[[], float], at_most: float = math.inf) -> float:
        """Seconds to wait after `failures` ≥ 1 in a row; `rand` answers in [0, 1). `at_most` may lower the cap."""
        # The exponent is bounded too: 2.0**1024 is an OverflowError, after days of failing.
        return rand() * min(self.cap, at_most, self.base * 2.0 ** min(failures - 1, 64))
