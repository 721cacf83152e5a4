"""Lanes: a full one waits by itself, in its order, and comes back as soon as there is room in it."""

import pytest

from elile_operator.engine import Priority
from elile_operator.engine.ready import URGENT_RUN, Ready

URGENT, ROUTINE = Priority.URGENT, Priority.ROUTINE


@pytest.fixture
def ready() -> Ready[str]:
    """The lane of a key is its first letter; two of a lane at one time."""
    return Ready(lambda key: key[0], 2)


def push(ready: Ready[str], *keys: str, priority: Priority = ROUTINE) -> None:
    for since, key in enumerate(keys):
        ready.push(key, priority, float(since))


def taken(ready: Ready[str]) -> list[str]:
    found = []
    while (key := ready.take()) is not None:
        found.append(key)
    return found


def test_a_full_lane_lets_the_others_go_first(ready: Ready[str]) -> None:
    push(ready, "a1", "a2", "a3", "a4", "b1")
    assert taken(ready) == ["a1", "a2", "b1"]
    assert (len(ready), "a3" in ready, "a1" in ready) == (2, True, False)
    assert sorted(ready.ages()) == [2.0, 3.0]


def test_who_is_aside_comes_back_in_order_one_for_one(ready: Ready[str]) -> None:
    push(ready, "a1", "a2", "a3", "a4", "a5")
    assert taken(ready) == ["a1", "a2"]
    push(ready, "b1")
    assert ready.give_back("a2") == 1
    assert taken(ready) == ["a3", "b1"], "as old as it is, it goes before who came meanwhile"
    assert ready.give_back("a1") == 1
    assert taken(ready) == ["a4"]
    assert ready.give_back("a3") == 1
    assert taken(ready) == ["a5"]
    assert (len(ready), ready.give_back("a4")) == (0, 0)


def test_urgent_keys_of_a_full_lane_overtake_its_others_but_not_for_ever(ready: Ready[str]) -> None:
    push(ready, "a1", "a2", "a3")
    assert taken(ready) == ["a1", "a2"]
    push(ready, *(f"au{i}" for i in range(2 * URGENT_RUN)), priority=URGENT)
    came, out = [], "a1"
    for _ in range(URGENT_RUN + 1):
        ready.give_back(out)
        (out,) = taken(ready)
        came.append(out)
    assert came == [*(f"au{i}" for i in range(URGENT_RUN)), "a3"]


def test_a_key_that_is_aside_can_become_urgent_and_keeps_its_age(ready: Ready[str]) -> None:
    push(ready, "a1", "a2", "a3", "a4")
    taken(ready)
    assert not ready.push("a4", URGENT, 9.0)
    assert not ready.push("a4", ROUTINE, 9.0)
    assert sorted(ready.ages()) == [2.0, 3.0]
    ready.give_back("a1")
    assert taken(ready) == ["a4"]


def test_a_key_that_is_aside_moves_with_its_lane() -> None:
    lanes = {"x": 1, "y": 1, "z": 1}
    ready: Ready[str] = Ready(lanes.__getitem__, 1)
    push(ready, "x", "y", "z")
    assert taken(ready) == ["x"]
    lanes["z"] = 2
    assert ready.push("z", ROUTINE, 9.0)
    assert taken(ready) == ["z"]
    lanes["x"] = 2  # a key that is taken counts where it was taken
    assert ready.give_back("x") == 1
    assert taken(ready) == ["y"]


def test_who_was_let_in_and_dropped_leaves_its_place_to_the_next(ready: Ready[str]) -> None:
    push(ready, "a1", "a2", "a3", "a4")
    taken(ready)
    ready.give_back("a1")
    assert ready.discard("a3") == 1
    assert taken(ready) == ["a4"]
    assert ready.discard("a4") == 0, "one that is taken stays so"
    ready.discard("nobody")


def test_who_is_aside_can_be_dropped(ready: Ready[str]) -> None:
    push(ready, "a1", "a2", "a3")
    taken(ready)
    ready.discard("a3")
    assert len(ready) == 0
    ready.give_back("a1")
    assert taken(ready) == []
