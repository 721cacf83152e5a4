"""Conditions change their time with their status alone, and keep what was known while there is no answer."""

from datetime import datetime

import pytest

from elile_operator.api.meta import Condition, ConditionStatus
from elile_operator.api.reasons import Mark, Reason
from elile_operator.decide.conditions import condition, find, set_condition, set_conditions
from tests.fakes.objects import EARLIER, NOW
from tests.fakes.objects import condition as had


def test_a_condition_is_found_by_its_type() -> None:
    ready, synced = had("Ready", "True", "Synced"), had("Synced", "False", "ReadStale")
    assert find((ready, synced), "Synced") is synced
    assert find((ready, synced), "Stalled") is None


def test_a_condition_that_is_not_there_is_unknown() -> None:
    assert condition((had("Ready", "False", "PathNotFound"),), "Ready") is ConditionStatus.FALSE
    assert condition((), "Ready") is ConditionStatus.UNKNOWN


@pytest.mark.parametrize(
    ("old", "mark", "status", "since"),
    [
        pytest.param(None, Mark.TRUE, "True", NOW, id="first"),
        pytest.param(None, Mark.FALSE, "False", NOW, id="first, false"),
        pytest.param(None, Mark.UNKNOWN, "Unknown", NOW, id="first, unknown"),
        pytest.param(None, Mark.KEEP, "Unknown", NOW, id="nothing to keep"),
        pytest.param(("True", 3), Mark.TRUE, "True", EARLIER, id="the same status keeps its time"),
        pytest.param(("True", 2), Mark.TRUE, "True", EARLIER, id="so it does in another generation"),
        pytest.param(("True", 3), Mark.FALSE, "False", NOW, id="changed"),
        pytest.param(("False", 3), Mark.UNKNOWN, "Unknown", NOW, id="no longer known"),
        pytest.param(("True", 2), Mark.KEEP, "Unknown", NOW, id="what was known is about another generation"),
        pytest.param(("Unknown", 2), Mark.KEEP, "Unknown", EARLIER, id="never known, in another generation"),
        pytest.param(("Unknown", 3), Mark.KEEP, "Unknown", EARLIER, id="never known: the newest cause is told"),
    ],
)
def test_a_condition_is_set_with_its_generation(
    old: tuple[str, int] | None, mark: Mark, status: str, since: datetime
) -> None:
    previous = () if old is None else (had("Ready", old[0], "Before", "before", generation=old[1]),)
    set_ = set_condition(previous, "Ready", mark, reason=Reason.VAULT_SEALED, message="sealed", generation=3, now=NOW)
    assert set_ == Condition(
        type="Ready",
        status=ConditionStatus(status),
        reason="VaultSealed",
        message="sealed",
        last_transition_time=since,
        observed_generation=3,
    )


@pytest.mark.parametrize("status", ["True", "False"])
def test_an_answer_about_this_generation_is_kept_untouched(status: str) -> None:
    old = had("Ready", status, "Before", "before")
    kept = set_condition((old,), "Ready", Mark.KEEP, reason=Reason.VAULT_SEALED, message="m", generation=3, now=NOW)
    assert kept is old


def test_several_are_set_in_the_order_given_and_others_are_left_out() -> None:
    previous = (had("Synced", "True", "Synced", "fine"), had("Odd", "True", "Odd"))
    got = set_conditions(
        previous,
        {"Ready": (Mark.TRUE, Reason.SYNCED, "a"), "Synced": (Mark.KEEP, Reason.VAULT_SEALED, "b")},
        generation=3,
        now=NOW,
    )
    assert [(c.type, c.status.value, c.reason, c.message, c.last_transition_time) for c in got] == [
        ("Ready", "True", "Synced", "a", NOW),
        ("Synced", "True", "Synced", "fine", EARLIER),
    ]
