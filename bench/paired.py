"""Two ways to do one thing, measured in turns: what one costs more than the other, and how sure that is.

A machine drifts, and one value of a pair drifts with the other. So the differences within pairs are looked at, by their
median, which a disturbed pair does not move.
"""

import random
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from bench.spread import Spread

__all__ = ["Comparison", "compare"]

DRAWS = 4_000
SEED = 1


@dataclass(frozen=True, slots=True)
class Comparison:
    """Medians of both ways, and of their differences (`more`: with − without) with its 95 % interval."""

    without: float
    with_it: float
    more: float
    low: float
    high: float
    pairs: int

    @property
    def is_measurable(self) -> bool:
        """Whether the interval tells on which side of zero the difference is."""
        return self.low > 0 or self.high < 0


def compare(without: Sequence[float], with_it: Sequence[float]) -> Comparison:
    """Compare by bootstrap of the median of paired differences. Raises ValueError unless both are of one length."""
    if len(without) != len(with_it) or not without:
        raise ValueError("pairs have two values each, and there is at least one")
    differences = [b - a for a, b in zip(without, with_it, strict=True)]
    chance = random.Random(SEED)  # noqa: S311 - the same values give the same interval
    medians = Spread.of(statistics.median(chance.choices(differences, k=len(differences))) for _ in range(DRAWS))
    return Comparison(
        without=statistics.median(without),
        with_it=statistics.median(with_it),
        more=statistics.median(differences),
        low=medians.at(0.025),
        high=medians.at(0.975),
        pairs=len(differences),
    )
