"""A deadline that ends conversations, whatever they are busy with."""

import contextlib
import socket
import time

from elile.secrets.rotation.cutoff import Cutoff


def ended(sock: socket.socket, within: float = 5.0) -> bool:
    sock.settimeout(within)
    try:
        return sock.recv(1) == b""
    except OSError:
        return False


def pairs(count: int) -> tuple[contextlib.ExitStack, list[tuple[socket.socket, socket.socket]]]:
    stack = contextlib.ExitStack()
    made = [socket.socketpair() for _ in range(count)]
    for one in made:
        for end in one:
            stack.enter_context(end)
    return stack, made


def test_what_is_watched_ends_and_what_was_taken_over_does_not() -> None:
    stack, [(ours, theirs), (other, beyond)] = pairs(2)
    with stack, Cutoff(0.05) as cutoff:
        assert 0 < cutoff.left <= 0.05
        cutoff.watch(ours)
        cutoff.watch(other, instead_of=ours)
        assert ended(beyond)
        assert not ended(theirs, within=0.05)
        assert cutoff.left == 0.001


def test_who_comes_too_late_is_ended_at_once() -> None:
    stack, [(ours, theirs), (late, beyond)] = pairs(2)
    with stack, Cutoff(0.02) as cutoff:
        cutoff.watch(ours)
        assert ended(theirs)
        cutoff.watch(late)
        assert ended(beyond, within=0.0)


def test_once_it_is_left_nothing_is_ended() -> None:
    stack, [(ours, theirs)] = pairs(1)
    with stack:
        with Cutoff(0.05) as cutoff:
            cutoff.watch(ours)
        time.sleep(0.1)
        assert not ended(theirs, within=0.0)


def test_one_that_is_closed_already_is_no_error() -> None:
    stack, [(closed, _), (ours, theirs)] = pairs(2)
    with stack, Cutoff(0.02) as cutoff:
        cutoff.watch(closed)
        closed.close()
        cutoff.watch(ours)
        assert ended(theirs)
