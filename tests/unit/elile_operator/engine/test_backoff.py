"""Backoff grows, is capped, and jitters over all of its range."""

import math
import random

import pytest

from elile_operator.engine import Backoff
from elile_operator.engine.backoff import asked_wait, longest_wait


@pytest.mark.parametrize(
    ("failures", "rand", "delay"),
    [
        pytest.param(1, 1.0, 1.0, id="first"),
        pytest.param(2, 1.0, 2.0, id="doubles"),
        pytest.param(9, 1.0, 256.0, id="below the cap"),
        pytest.param(10, 1.0, 300.0, id="capped"),
        pytest.param(100_000, 1.0, 300.0, id="never overflows"),
        pytest.param(5, 0.0, 0.0, id="jitter goes down to nothing"),
        pytest.param(5, 0.5, 8.0, id="jitter scales"),
    ],
)
def test_delay(failures: int, rand: float, delay: float) -> None:
    assert Backoff().delay(failures, lambda: rand) == delay


def test_base_and_cap_are_arguments() -> None:
    assert Backoff(base=5.0, cap=7.0).delay(2, lambda: 1.0) == 7.0


def test_jitter_parts_what_failed_together() -> None:
    rand = random.Random(7).random  # noqa: S311 — to be repeatable
    delays = {round(Backoff().delay(8, rand)) for _ in range(100)}
    assert len(delays) > 40


class AskedError(Exception):
    def __init__(self, retry_after: float | None) -> None:
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (AskedError(7.0), 7.0),
        (AskedError(None), 0.0),
        (AskedError(0.0), 0.0),
        (AskedError(1e9), 300.0),
        (ValueError("7"), 0.0),
    ],
)
def test_a_server_may_ask_to_wait(error: Exception, seconds: float) -> None:
    assert asked_wait(error) == seconds


def test_an_outage_lowers_the_cap() -> None:
    class AwayError(Exception):
        retry_within = 30.0

    assert longest_wait(AwayError()) == 30.0
    assert longest_wait(ValueError()) == math.inf
    delays = [Backoff().delay(n, lambda: 1.0, 30.0) for n in (1, 5, 6, 100)]
    assert delays == [1.0, 16.0, 30.0, 30.0]
