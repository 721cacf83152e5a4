"""Between two threads: who waits is woken when there is something to say, or when there is nothing more to come."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from elile_operator.decide.hints import Batch, Hint
from elile_operator.hints.handover import Handover
from elile_operator.hints.pending import Pending
from elile_operator.hints.places import NOWHERE, Place
from elile_operator.hints.sending import Outcome

HINT = Hint("", "secret", "data/a", 1)
LONG, SOON, SHORT = 60.0, 5.0, 0.05
END = Place(1, 2, 3)


@pytest.fixture
def handover() -> Handover:
    return Handover(Pending(room=2))


def add(handover: Handover, *hints: Hint, gap: bool = False) -> int:
    return handover.add(hints, begin=NOWHERE, end=END, gap=gap)


def waiting(call: Callable[[], object]) -> "Future[object]":
    """Call it on another thread, which waits by then."""
    result: Future[object] = Future()
    thread = threading.Thread(target=lambda: result.set_result(call()), daemon=True)
    thread.start()
    time.sleep(SHORT)
    assert not result.done()
    return result


@pytest.mark.parametrize(
    ("change", "batch"),
    [
        pytest.param(lambda handover: add(handover, HINT), Batch((HINT,)), id="a hint"),
        pytest.param(lambda handover: add(handover, gap=True), Batch(gap=True), id="a gap"),
        pytest.param(lambda handover: handover.close(), None, id="the end"),
        pytest.param(lambda handover: handover.abandon(), None, id="a sudden end"),
    ],
)
def test_who_waits_is_woken(handover: Handover, change: Callable[[Handover], object], batch: Batch | None) -> None:
    taken = waiting(lambda: handover.take(LONG))
    change(handover)
    assert taken.result(SOON) == batch


def test_lines_without_a_hint_wake_nobody(handover: Handover) -> None:
    taken = waiting(lambda: handover.take(LONG))
    add(handover)
    time.sleep(SHORT)
    assert not taken.done()
    assert handover.done == END
    handover.close()
    taken.result(SOON)


def test_after_a_while_an_empty_batch_is_taken(handover: Handover) -> None:
    assert handover.take(SHORT) == Batch()


def test_after_the_end_what_waits_is_taken_first(handover: Handover) -> None:
    add(handover, HINT)
    handover.close()
    assert handover.take(LONG) == Batch((HINT,))
    handover.settle(Outcome.TAKEN)
    assert handover.take(LONG) is None


def test_what_is_abandoned_is_taken_no_more_and_still_counted(handover: Handover) -> None:
    add(handover, HINT)
    handover.abandon()
    assert handover.take(LONG) is None
    assert len(handover) == 1


@pytest.mark.parametrize(
    ("outcome", "lost", "after"),
    [
        (Outcome.TAKEN, 0, Batch()),
        (Outcome.LATER, 0, Batch((HINT,))),
        (Outcome.REFUSED, 1, Batch(gap=True)),
    ],
)
def test_a_batch_is_settled(handover: Handover, outcome: Outcome, lost: int, after: Batch) -> None:
    add(handover, HINT)
    handover.take(LONG)
    assert handover.settle(outcome) == lost
    assert handover.take(SHORT) == after


def test_hints_without_room_are_counted(handover: Handover) -> None:
    assert add(handover, *(Hint("", "secret", path) for path in "abcde")) == 3


def test_a_pause_lasts_whatever_comes(handover: Handover) -> None:
    began = time.monotonic()
    paused = waiting(lambda: handover.pause(4 * SHORT))
    add(handover, HINT)
    paused.result(SOON)
    assert time.monotonic() - began >= 4 * SHORT


def test_the_end_ends_a_pause_and_makes_the_next_short(handover: Handover) -> None:
    paused = waiting(lambda: handover.pause(LONG))
    handover.close()
    paused.result(SOON)
    waiting(lambda: handover.pause(LONG)).result(SOON)
