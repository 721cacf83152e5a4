"""Polls are counted by server, and each count begins anew when it is taken."""

from elile_operator.decide.polling import Pace
from elile_operator.sources.pace import Pacer


def test_what_is_counted_is_taken_once() -> None:
    pacer = Pacer()
    for gap in (1.0, 9.0, 4.0):
        pacer.note("default", gap=gap, interval=2.0)
    pacer.note("other", gap=2.0, interval=2.0)
    assert pacer.take("default", needed=0.5) == Pace(3, 2, 7.0, 2.0, 0.5)
    assert pacer.take("default", needed=0.5) == Pace(0, 0, 0.0, 0.0, 0.5)
    assert pacer.take("other", needed=0.1) == Pace(1, 0, 0.0, 0.0, 0.1)


def test_the_interval_is_that_of_the_latest_poll() -> None:
    pacer = Pacer()
    pacer.note("default", gap=90.0, interval=60.0)
    pacer.note("default", gap=12.0, interval=10.0)
    assert pacer.take("default", needed=1.0) == Pace(2, 1, 30.0, 60.0, 1.0)
