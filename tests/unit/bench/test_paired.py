"""A difference within pairs is found though the machine drifts by more, and none is where there is none."""

import random

import pytest

from bench.paired import compare


def pairs(more: float, *, noise: float = 0.05, number: int = 60) -> tuple[list[float], list[float]]:
    """Values around 2, which drift by 1 in the course of time."""
    chance = random.Random(7)  # noqa: S311 - noise, the same each time
    drift = [2 + i / number for i in range(number)]
    return [d + chance.gauss(0, noise) for d in drift], [d + more + chance.gauss(0, noise) for d in drift]


def test_a_difference_smaller_than_the_drift_is_found() -> None:
    found = compare(*pairs(0.1))
    assert found.is_measurable
    assert 0 < found.low <= found.more <= found.high
    assert found.more == pytest.approx(0.1, abs=0.03)


def test_it_has_a_sign() -> None:
    found = compare(*pairs(-0.1))
    assert found.is_measurable
    assert found.high < 0


def test_no_difference_is_none() -> None:
    found = compare(*pairs(0.0))
    assert not found.is_measurable
    assert found.low <= 0 <= found.high


def test_a_few_disturbed_pairs_move_nothing() -> None:
    without, with_it = pairs(0.0)
    with_it[3] += 50
    with_it[4] += 50
    assert not compare(without, with_it).is_measurable


def test_the_same_values_give_the_same_interval() -> None:
    assert compare(*pairs(0.02)) == compare(*pairs(0.02))


@pytest.mark.parametrize(("without", "with_it"), [([], []), ([1.0], [1.0, 2.0])])
def test_what_is_not_in_pairs_is_refused(without: list[float], with_it: list[float]) -> None:
    with pytest.raises(ValueError, match="pairs have two values"):
        compare(without, with_it)
