"""How values are spread: percentiles by nearest rank, each of which is a value that was seen."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["Spread"]


@dataclass(frozen=True, slots=True)
class Spread:
    """Sorted values, at least one."""

    values: tuple[float, ...]

    @classmethod
    def of(cls, values: Iterable[float]) -> "Spread":
        """Raises ValueError for none."""
        found = tuple(sorted(values))
        if not found:
            raise ValueError("nothing was measured")
        return cls(found)

    def at(self, part: float) -> float:
        """The smallest value that at least this part of the values does not exceed."""
        return self.values[max(0, math.ceil(len(self.values) * part) - 1)]

    @property
    def p50(self) -> float:
        return self.at(0.50)

    @property
    def p95(self) -> float:
        return self.at(0.95)

    @property
    def p99(self) -> float:
        return self.at(0.99)

    @property
    def max(self) -> float:
        return self.values[-1]

    def text(self, unit: str = "s", digits: int = 2) -> str:
        named = (("p50", self.p50), ("p95", self.p95), ("p99", self.p99), ("max", self.max))
        return ", ".join(f"{name} {value:.{digits}f} {unit}" for name, value in named)
