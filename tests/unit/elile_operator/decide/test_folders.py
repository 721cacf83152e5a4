"""When one listing is better than a look at each entry."""

import pytest

from elile_operator.decide.folders import is_enough, is_worthwhile


@pytest.mark.parametrize(("followed", "enough"), [(0, False), (3, False), (4, True), (100, True)])
def test_fewer_than_four_are_looked_at_one_by_one(followed: int, enough: bool) -> None:
    assert is_enough(followed) is enough


@pytest.mark.parametrize(
    ("followed", "listed", "worthwhile"), [(4, 4, True), (4, 16, True), (4, 17, False), (1, 5, False), (0, 1, False)]
)
def test_a_quarter_of_what_is_listed_is_to_be_followed(followed: int, listed: int, worthwhile: bool) -> None:
    assert is_worthwhile(followed=followed, listed=listed) is worthwhile
