"""Waiting ends in time and says why; a failing step ends the others and its error is the one that is seen."""

import threading
import time

import pytest

from lab.errors import LabError
from lab.steps import GaveUpError, Steps, wait_until


def test_waiting_ends_when_the_check_has_nothing_to_say() -> None:
    answers = iter(["not yet", "soon", None])
    wait_until(lambda: next(answers), "it", 5, every=0)
    assert list(answers) == []


def test_the_last_reason_is_in_the_message() -> None:
    with pytest.raises(LabError, match=r"^etcd healthy: not within 0 s: connection refused$"):
        wait_until(lambda: "connection refused", "etcd healthy", 0, every=0)


def test_waiting_gives_up_when_told_to() -> None:
    gave_up = threading.Event()
    gave_up.set()
    with pytest.raises(GaveUpError):
        wait_until(lambda: "not yet", "it", 60, gave_up=gave_up)


def test_each_step_is_a_line() -> None:
    lines: list[str] = []
    with Steps(lines.append) as steps:
        with steps.step("one"):
            pass
        assert steps.beside("two", lambda: 2).result() == 2
    assert [line.split()[0] for line in lines] == ["one", "two"]


def run_beside_a_failing_step() -> None:
    def fail() -> None:
        raise LabError("the cause")

    with Steps(lambda _: None) as steps:
        steps.beside("failing", fail)
        steps.wait(lambda: "never", "what cannot come any more", 60)


def interrupt_beside_a_waiting_step() -> None:
    with Steps(lambda _: None) as steps:
        steps.beside("waiting", lambda: steps.wait(lambda: "never", "nothing", 60))
        raise KeyboardInterrupt


def test_the_error_of_a_step_beside_is_the_one_that_is_raised() -> None:
    began = time.monotonic()
    with pytest.raises(LabError, match=r"^the cause$"):
        run_beside_a_failing_step()
    assert time.monotonic() - began < 10


def test_an_interrupt_ends_steps_that_wait() -> None:
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        interrupt_beside_a_waiting_step()
    assert time.monotonic() - began < 10
