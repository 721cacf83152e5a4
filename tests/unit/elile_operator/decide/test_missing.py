"""A path is gone when the server said so twice, half a minute apart, of a value that was delivered long ago."""

from datetime import timedelta
from typing import Any

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.decide.missing import Sightings, gone, is_gone, removes, still_gone
from elile_operator.decide.violation import Violation
from tests.fakes.objects import NOW, condition, elile_secret, live_secret

LAG = timedelta(minutes=10)
MISSING = Violation(Reason.PATH_NOT_FOUND, "nothing there")
TWICE = Sightings(100.0, 130.0)


@pytest.mark.parametrize(
    ("sightings", "expected"),
    [
        pytest.param([], False, id="no sources"),
        pytest.param([None], False, id="never seen"),
        pytest.param([Sightings(100.0, 100.0)], False, id="once"),
        pytest.param([Sightings(100.0, 129.9)], False, id="too soon"),
        pytest.param([TWICE], True, id="twice"),
        pytest.param([None, Sightings(1.0, 2.0), TWICE], True, id="one of several"),
    ],
)
def test_two_sightings_half_a_minute_apart(sightings: list[Sightings | None], expected: bool) -> None:
    assert is_gone(sightings, live_secret(), now=NOW, lag=LAG) is expected


@pytest.mark.parametrize(
    ("ago", "expected"), [(None, True), (timedelta(0), False), (LAG - timedelta(seconds=1), False), (LAG, True)]
)
def test_what_was_just_delivered_may_be_unknown_to_a_standby(ago: timedelta | None, expected: bool) -> None:
    live = live_secret(applied=None if ago is None else NOW - ago)
    assert is_gone([TWICE], live, now=NOW, lag=LAG) is expected


@pytest.mark.parametrize("reason", Reason)
def test_nothing_but_a_missing_path_removes_anything(reason: Reason) -> None:
    violation = Violation(reason, "m")
    assert removes(elile_secret(onMissing="Delete"), violation) is (reason is Reason.PATH_NOT_FOUND)
    assert not removes(elile_secret(onMissing="Keep"), violation)
    assert not removes(elile_secret(), violation)


@pytest.mark.parametrize(
    ("conditions", "expected"),
    [
        pytest.param([], False, id="never judged"),
        pytest.param([condition("Ready", "False", "SourceGone")], True, id="removed"),
        pytest.param([condition("Ready", "False", "SourceGone", generation=2)], False, id="of an earlier spec"),
        pytest.param([condition("Ready", "False", "PathNotFound")], False, id="only missing"),
    ],
)
def test_what_was_removed_stays_removed(conditions: list[Any], expected: bool) -> None:
    found = still_gone(elile_secret(status={"conditions": [c.dump() for c in conditions]}))
    assert found == (Violation(Reason.SOURCE_GONE, "m") if expected else None)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ({}, "Secret shop/db was deleted"),
        ({"delivery": {"secret": {"name": "app", "mode": "Merge"}}}, "the keys in Secret shop/app were taken out"),
    ],
)
def test_it_says_what_was_removed_and_why(spec: dict[str, Any], what: str) -> None:
    message = f"nothing there; {what}, as spec.onMissing says, until the path is back"
    assert gone(elile_secret(**spec), MISSING) == Violation(Reason.SOURCE_GONE, message)
