"""A change that was hinted at is waited for as long as a standby may be behind, and false hints cost less and less."""

import pytest

from elile_operator.decide.hinting import (
    FEW,
    FIRST_DOUBT,
    LAG,
    LONGEST_DOUBT,
    Doubt,
    Expected,
    due,
    expect,
    is_answered,
    judge_look,
    pause,
)

NONE = Doubt()
FALSE = {"answered": False, "waiting": 1}


@pytest.mark.parametrize(
    ("pending", "version", "wanted"),
    [
        (None, 3, 3),
        (None, None, None),
        (3, 4, 4),
        (4, 3, 4),
        pytest.param(3, None, None, id="a deletion after a write is no higher version"),
        pytest.param(None, 3, 3, id="first"),
    ],
)
def test_hints_that_come_together(pending: int | None, version: int | None, wanted: int | None) -> None:
    before = None if pending is None else Expected("seen", pending)
    assert expect(before, version, "seen") == Expected("seen", wanted)


def test_what_was_known_first_stays_what_is_compared_with() -> None:
    assert expect(Expected("first", None), 2, "second") == Expected("first", None)


@pytest.mark.parametrize(
    ("expected", "sight", "current", "answered"),
    [
        (Expected("a", 3), "a", 3, True),
        (Expected("a", 3), "b", 4, True),
        (Expected("a", 3), "b", 2, False),
        (Expected("a", 3), "b", None, False),
        (Expected("a", None), "a", 3, False),
        (Expected("a", None), "b", None, True),
    ],
)
def test_what_answers_a_hint(expected: Expected, sight: str, current: int | None, answered: bool) -> None:
    assert is_answered(expected, sight, current) is answered


def test_looks_until_a_standby_must_have_caught_up() -> None:
    expected: Expected | None = Expected("a", 2)
    now, looks = 100.0, []
    assert pause(Expected("a", 2), now) == 0.0
    while expected is not None:
        looks.append(round(now - 100.0, 2))
        expected, doubt = judge_look(expected, NONE, now=now, **FALSE)  # type: ignore[arg-type] # as they are
        if expected is not None:
            now += pause(expected, now)
    assert looks == [0.0, 0.05, 0.15, 0.35, 0.75, 1.15, 1.55, LAG]
    assert doubt == Doubt(100.0 + LAG + FIRST_DOUBT, FIRST_DOUBT)


def test_more_hints_do_not_put_off_the_end_and_have_one_more_look_after_the_doubt() -> None:
    waiting = Expected("a", 2, until=5.0, looks=3)
    renewed = expect(waiting, 3, "b")
    assert renewed == Expected("a", 3, until=5.0, looks=3, renewed=True)
    doubt = Doubt(5.0 + FIRST_DOUBT, FIRST_DOUBT)
    assert judge_look(renewed, NONE, answered=False, now=5.0, waiting=1) == (Expected("a", 3), doubt)
    assert judge_look(waiting, NONE, answered=False, now=5.0, waiting=1) == (None, doubt)


def test_the_next_version_is_looked_for_sooner_and_not_more_often_than_that() -> None:
    doubt = Doubt(until=100.0, length=32.0)
    assert due(Expected("a", 9), doubt) == 100.0
    assert due(Expected("a", 2, likely=True), doubt) == 69.0
    assert due(expect(Expected("a", 9), 2, "a", likely=True), doubt) == 69.0
    assert due(expect(Expected("a", 2, likely=True), 9, "a"), doubt) == 69.0, "one that was made up takes nothing away"
    assert due(Expected("a", 2, likely=True), NONE) == due(Expected("a", 2), NONE) == 0.0


def test_many_that_wait_are_looked_at_twice() -> None:
    expected, _ = judge_look(Expected("a", 2), NONE, answered=False, now=0.0, waiting=FEW + 1)
    assert expected is not None
    assert pause(expected, 0.0) == LAG


def test_who_was_wrong_is_looked_at_once_and_less_and_less_until_right() -> None:
    doubt, lengths = Doubt(0.0, FIRST_DOUBT), []
    for _ in range(5):
        expected, doubt = judge_look(Expected("a", None), doubt, now=10.0, **FALSE)  # type: ignore[arg-type]
        assert expected is None
        assert doubt.until == 10.0 + doubt.length
        lengths.append(doubt.length)
    assert lengths == [8.0, 32.0, LONGEST_DOUBT, LONGEST_DOUBT, LONGEST_DOUBT]
    assert judge_look(Expected("a", 1), doubt, answered=True, now=10.0, waiting=1) == (None, Doubt())
