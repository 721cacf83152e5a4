"""Indexes follow their values and forget what nothing is filed under."""

import pytest

from elile_operator.engine.index import Indexes


@pytest.fixture
def indexes() -> Indexes[str, dict[str, str]]:
    return Indexes({"server": lambda v: [v["server"]], "tags": lambda v: v["tags"].split()})


def move(
    indexes: Indexes[str, dict[str, str]], key: str, old: dict[str, str] | None, new: dict[str, str] | None
) -> None:
    indexes.put(key, indexes.compute(old) if old else (), indexes.compute(new) if new else ())


def test_keys_are_found_moved_and_forgotten(indexes: Indexes[str, dict[str, str]]) -> None:
    first, second = {"server": "one", "tags": "x y"}, {"server": "two", "tags": "y z"}
    move(indexes, "a", None, first)
    move(indexes, "b", None, second)
    assert indexes.by("server", "one") == {"a"}
    assert indexes.by("tags", "y") == {"a", "b"}
    move(indexes, "a", first, second)
    assert indexes.by("server", "one") == frozenset()
    assert indexes.by("tags", "z") == {"a", "b"}
    move(indexes, "a", second, None)
    move(indexes, "b", second, None)
    assert indexes._found == {"server": {}, "tags": {}}


def test_what_was_answered_does_not_change_later(indexes: Indexes[str, dict[str, str]]) -> None:
    value = {"server": "one", "tags": ""}
    move(indexes, "a", None, value)
    answered = indexes.by("server", "one")
    move(indexes, "a", value, None)
    assert answered == {"a"}


def test_unknown_index(indexes: Indexes[str, dict[str, str]]) -> None:
    assert indexes.by("server", "nobody") == frozenset()
    with pytest.raises(KeyError):
        indexes.by("colour", "red")
