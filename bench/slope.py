"""The straight line through measured points, by least squares."""

from collections.abc import Sequence

__all__ = ["slope"]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By how much the second value grows for one of the first. Raises ValueError where the points tell no line."""
    n = len(points)
    if n < 2 or len({x for x, _ in points}) < 2:
        raise ValueError("a line needs two points at different places")
    mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
