"""Percentiles are values that were seen; a line goes through its points."""

import pytest

from bench.slope import slope
from bench.spread import Spread


def test_percentiles_of_a_hundred_are_by_rank() -> None:
    found = Spread.of(range(100, 0, -1))
    assert (found.p50, found.p95, found.p99, found.max) == (50, 95, 99, 100)


@pytest.mark.parametrize(
    ("values", "p50", "p99"),
    [([7.0], 7.0, 7.0), ([1.0, 2.0], 1.0, 2.0), ([3.0, 1.0, 2.0], 2.0, 3.0), ([1.0] * 199 + [9.0], 1.0, 1.0)],
)
def test_few_values_and_equal_ones(values: list[float], p50: float, p99: float) -> None:
    found = Spread.of(values)
    assert (found.p50, found.p99) == (p50, p99)


def test_nothing_has_no_spread() -> None:
    with pytest.raises(ValueError, match="nothing was measured"):
        Spread.of([])


def test_a_spread_is_told_with_its_unit() -> None:
    assert Spread.of([0.1, 0.25]).text() == "p50 0.10 s, p95 0.25 s, p99 0.25 s, max 0.25 s"
    assert Spread.of([3.0]).text("ms", 0) == "p50 3 ms, p95 3 ms, p99 3 ms, max 3 ms"


def test_the_line_through_points_has_their_slope() -> None:
    assert slope([(0, 1), (1, 3), (2, 5)]) == pytest.approx(2)
    assert slope([(0, 1), (1, 0), (2, 1), (3, 0)]) == pytest.approx(-0.2)
    assert slope([(1, 4), (9, 4)]) == 0


@pytest.mark.parametrize("points", [[], [(1.0, 1.0)], [(1.0, 1.0), (1.0, 2.0)]])
def test_points_at_one_place_make_no_line(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="two points"):
        slope(points)
