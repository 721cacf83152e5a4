"""Tries of hooks are timed, and an error is what the engine makes of it: no answer."""

from collections.abc import Callable

import pytest

from elile.secrets.errors import SecretsUnavailableError
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile_operator.delivery.hooks import timed
from tests.fakes.rotation import value


def raises(_: Value) -> Verification:
    raise SecretsUnavailableError("away")


@pytest.mark.parametrize(
    ("check", "outcome"),
    [
        (lambda _: Verification.passed("yes"), Outcome.PASSED),
        (lambda _: Verification.failed("no"), Outcome.FAILED),
        (lambda _: Verification.inconclusive("perhaps"), Outcome.INCONCLUSIVE),
    ],
)
def test_what_a_try_came_to(check: Callable[[Value], Verification], outcome: Outcome) -> None:
    told: list[tuple[str, Outcome, float]] = []
    times = iter([10.0, 12.5])
    run = timed("http", check, lambda: next(times), lambda *one: told.append(one))
    assert run(value("x")).outcome is outcome
    assert told == [("http", outcome, 2.5)]


def test_an_error_is_told_and_goes_on() -> None:
    told: list[tuple[str, Outcome, float]] = []
    times = iter([1.0, 2.0])
    run = timed("postgresql", raises, lambda: next(times), lambda *one: told.append(one))
    with pytest.raises(SecretsUnavailableError):
        run(value("x"))
    assert told == [("postgresql", Outcome.INCONCLUSIVE, 1.0)]
