"""What waits for the operator: one hint for each path, in order, and never lost without a gap."""

from collections.abc import Callable

import pytest

from elile_operator.decide.hints import MAX_BODY, MAX_HINTS, MAX_TEXT, Batch, Hint, decode, encode
from elile_operator.hints.pending import Pending
from elile_operator.hints.places import NOWHERE, Place


def at(offset: int) -> Place:
    return Place(1, 2, offset)


def hint(path: str = "a", version: int | None = None, *, mount: str = "secret", namespace: str = "") -> Hint:
    return Hint(namespace, mount, path, version)


def holding(*hints: Hint, room: int = 100) -> Pending:
    pending = Pending(room=room)
    for number, one in enumerate(hints):
        pending.add(one, at(number))
        pending.reach(at(number + 1))
    return pending


# ── one for each path ────────────────────────────────────────────────────────────────────────────────────────────────

VERSIONS = [
    pytest.param(1, 2, 2, id="the next"),
    pytest.param(2, 1, 2, id="logged in another order"),
    pytest.param(2, 2, 2, id="the same"),
    pytest.param(2, None, None, id="deleted after it was written"),
    pytest.param(None, 2, None, id="written after it was deleted"),
    pytest.param(None, None, None, id="no version"),
]


@pytest.mark.parametrize(("first", "second", "told"), VERSIONS)
def test_two_writes_of_a_path_are_told_at_once(first: int | None, second: int | None, told: int | None) -> None:
    pending = holding(hint(version=first), hint(version=second))
    assert pending.take() == Batch((hint(version=told),))


@pytest.mark.parametrize(("first", "second", "told"), VERSIONS)
def test_so_are_two_of_which_one_was_put_back(first: int | None, second: int | None, told: int | None) -> None:
    pending = holding(hint(version=first))
    pending.take()
    pending.add(hint(version=second), at(1))
    pending.put_back()
    assert pending.take() == Batch((hint(version=told),))


@pytest.mark.parametrize("other", [hint("b"), hint(mount="other"), hint(namespace="team")])
def test_namespace_mount_and_path_together_are_one_place(other: Hint) -> None:
    assert holding(hint(), other).take() == Batch((hint(), other))


def test_a_write_while_it_is_sent_is_told_again() -> None:
    pending = holding(hint(version=1))
    assert pending.take().hints == (hint(version=1),)
    pending.add(hint(version=2), at(1))
    pending.taken()
    assert pending.take().hints == (hint(version=2),)


def test_what_was_put_back_is_the_oldest_again() -> None:
    pending = holding(hint("a"), hint("b"))
    pending.take()
    pending.add(hint("c"), at(2))
    pending.put_back()
    assert pending.take().hints == (hint("a"), hint("b"), hint("c"))


# ── batches ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_batch_has_no_more_hints_than_one_may() -> None:
    pending = holding(*(hint(f"p{n}") for n in range(MAX_HINTS + 1)), room=2 * MAX_HINTS)
    assert len(pending.take().hints) == MAX_HINTS
    pending.taken()
    assert len(pending.take().hints) == 1


@pytest.mark.parametrize("letter", ["a", "ä", "🔑", '"'])
def test_a_batch_is_no_longer_than_a_body_may_be(letter: str) -> None:
    count = 200
    wanted = [hint(f"{n:04}".ljust(MAX_TEXT, letter), mount=letter * MAX_TEXT) for n in range(count)]
    pending = holding(*wanted, room=count)
    told: list[Hint] = []
    while pending.anything:
        body = encode(pending.take())
        assert len(body) < MAX_BODY
        told += decode(body).hints
        pending.taken()
    assert told == wanted


def test_nothing_is_a_batch_too() -> None:
    pending = Pending()
    assert not pending.anything
    assert pending.take() == Batch()


# ── gaps ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_beyond_its_room_hints_are_dropped_and_that_is_a_gap() -> None:
    pending = holding(hint("a"), hint("b"), room=2)
    assert not pending.add(hint("c"), at(2))
    assert pending.add(hint("a", 5), at(3)), "it has its place already"
    assert len(pending) == 2
    assert pending.take() == Batch((hint("a"), hint("b")), gap=True)


def test_what_is_being_sent_takes_room() -> None:
    pending = holding(hint("a"), hint("b"), room=2)
    pending.take()
    assert not pending.add(hint("c"), at(2))
    pending.taken()
    assert pending.add(hint("c"), at(3))


def test_a_gap_is_told_until_it_is_taken() -> None:
    pending = Pending()
    pending.lose()
    for _ in range(2):
        assert pending.anything
        assert pending.take().gap
        pending.put_back()
    assert pending.take().gap
    pending.taken()
    assert not pending.anything
    assert not pending.take().gap


def test_a_gap_while_another_is_told_is_told_too() -> None:
    pending = Pending()
    pending.lose()
    pending.take()
    pending.lose()
    pending.taken()
    assert pending.take().gap


def test_what_is_given_up_becomes_a_gap() -> None:
    pending = holding(hint("a"), hint("b"))
    pending.take()
    pending.add(hint("c"), at(2))
    assert pending.give_up() == 2
    assert pending.take() == Batch((hint("c"),), gap=True)


# ── up to where all is told ──────────────────────────────────────────────────────────────────────────────────────────


def sent(pending: Pending) -> None:
    pending.take()


def sent_and_taken(pending: Pending) -> None:
    pending.take()
    pending.taken()


def sent_and_put_back(pending: Pending) -> None:
    pending.take()
    pending.put_back()


def taken_and_more(pending: Pending) -> None:
    sent_and_taken(pending)
    pending.add(hint("c"), at(7))
    pending.reach(at(8))


def sent_and_more(pending: Pending) -> None:
    sent(pending)
    pending.add(hint("a"), at(7))
    pending.reach(at(8))


def sent_and_more_and_put_back(pending: Pending) -> None:
    sent_and_more(pending)
    pending.put_back()


def sent_and_more_and_taken(pending: Pending) -> None:
    sent_and_more(pending)
    pending.taken()


def a_gap(pending: Pending) -> None:
    sent_and_taken(pending)
    pending.lose()


def a_gap_sent(pending: Pending) -> None:
    a_gap(pending)
    sent(pending)


def a_gap_taken(pending: Pending) -> None:
    a_gap(pending)
    sent_and_taken(pending)


@pytest.mark.parametrize(
    ("happens", "done"),
    [
        (lambda _: None, at(0)),
        (sent, at(0)),
        (sent_and_put_back, at(0)),
        (sent_and_taken, at(2)),
        (taken_and_more, at(7)),
        (sent_and_more, at(0)),
        (sent_and_more_and_put_back, at(0)),
        (sent_and_more_and_taken, at(7)),
        (a_gap, None),
        (a_gap_sent, None),
        (a_gap_taken, at(2)),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_all_before_it_was_told(happens: Callable[[Pending], None], done: Place | None) -> None:
    """Of a write of `a` at 0 and one of `b` at 1; the file was read up to 2."""
    pending = holding(hint("a"), hint("b"))
    happens(pending)
    assert pending.done == done


def test_of_no_file_all_is_told() -> None:
    assert Pending().done == NOWHERE


def test_a_path_that_is_written_again_keeps_its_place() -> None:
    pending = holding(hint("a"), hint("b"), hint("a"))
    assert pending.done == at(0)
