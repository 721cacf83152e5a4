"""Whether polls keep their intervals: said after two looks that agree, by how much, and what to change."""

import pytest

from elile_operator.api.meta import Condition
from elile_operator.api.reasons import Mark, Reason
from elile_operator.api.vaultserver import Limits
from elile_operator.decide.polling import Pace, PollState, is_late, judge_polls, poll_state, together
from tests.fakes.objects import condition

LIMITS = Limits(requests_per_second=50)
ON_TIME = Pace(polls=100, late=0, behind=0.0, interval=0.0, needed=40.0)
LATE = Pace(polls=100, late=80, behind=12.4, interval=10.0, needed=80.0)


def after(*paces: Pace, state: PollState | None = None, limits: Limits = LIMITS, pollers: int = 16) -> PollState:
    state = state or PollState()
    for pace in paces:
        state = judge_polls(state, pace, limits, pollers=pollers)
    return state


DELAYED = after(LATE, LATE)


@pytest.mark.parametrize(
    ("gap", "interval", "late"),
    [
        (1.0, 1.0, False), (2.0, 1.0, False), (2.01, 1.0, True),
        (60.0, 60.0, False), (72.0, 60.0, False), (72.1, 60.0, True), (0.1, 60.0, False),
    ],
)  # fmt: skip
def test_a_poll_is_late_by_a_fifth_and_a_second(gap: float, interval: float, late: bool) -> None:
    assert is_late(gap, interval) is late


def test_polls_are_on_time_until_others_were_measured() -> None:
    assert after(Pace(0, 0, 0.0, 0.0, 80.0)) == PollState()
    assert after(ON_TIME) == PollState()
    assert after(ON_TIME).mark() == (
        Mark.FALSE,
        Reason.POLL_ON_TIME,
        "Polls keep their intervals, as far as was measured.",
    )


@pytest.mark.parametrize(
    ("paces", "delayed"),
    [
        pytest.param([LATE], False, id="one look is none"),
        pytest.param([LATE, LATE], True, id="two are enough"),
        pytest.param([LATE, ON_TIME, LATE], False, id="two in a row"),
        pytest.param([ON_TIME, LATE], False, id="one after it was fine"),
        pytest.param([LATE, LATE, ON_TIME], True, id="one good look is none either"),
        pytest.param([LATE, LATE, ON_TIME, LATE, ON_TIME], True, id="good looks in a row"),
        pytest.param([LATE, LATE, ON_TIME, ON_TIME], False, id="over"),
        pytest.param([LATE, Pace(0, 0, 0.0, 0.0, 1.0), LATE], True, id="looks without polls do not count"),
    ],
)
def test_it_turns_after_two_looks_that_agree(paces: list[Pace], delayed: bool) -> None:
    assert after(*paces).delayed is delayed


@pytest.mark.parametrize(("late", "from_fine", "from_delayed"), [
    (25, True, True), (24, False, True), (5, False, True), (4, False, False),
])  # fmt: skip
def test_between_a_twentieth_and_a_quarter_nothing_changes(late: int, from_fine: bool, from_delayed: bool) -> None:
    pace = Pace(100, late, 12.4, 10.0, 80.0)
    assert after(pace, pace, state=PollState(delayed=False)).delayed is from_fine
    assert after(pace, pace, state=DELAYED).delayed is from_delayed


def test_it_says_by_how_much_and_what_to_change() -> None:
    assert DELAYED.mark() == (
        Mark.TRUE,
        Reason.POLL_DELAYED,
        "polls that should come every 10 s come up to 12 s late; raise spec.limits.requestsPerSecond from 50 to 100, "
        "or poll every 28s: spec.poll.interval, or spec.refresh.interval of ElileSecrets",
    )


@pytest.mark.parametrize(
    ("limits", "pollers", "cure"),
    [
        (
            Limits(requests_per_second=80, concurrency=16),
            16,
            "raise spec.limits.concurrency, 16 requests at one time do ",
        ),
        (
            Limits(requests_per_second=80, concurrency=17),
            16,
            "raise the operator's --pollers, 16 requests at one time do ",
        ),
        (Limits(requests_per_second=79, concurrency=17), 16, "raise spec.limits.requestsPerSecond from 79 to 100"),
    ],
)
def test_the_limit_that_is_too_low_is_named(limits: Limits, pollers: int, cure: str) -> None:
    assert cure in after(LATE, LATE, limits=limits, pollers=pollers).message


@pytest.mark.parametrize(("behind", "told"), [(12.4, 12), (18.0, 12), (18.7, 19), (8.5, 12), (8.2, 8)])
def test_a_figure_that_drifts_a_little_is_not_told_anew(behind: float, told: int) -> None:
    assert f"up to {told} s late" in after(Pace(100, 80, behind, 10.0, 80.0), state=DELAYED).message


@pytest.mark.parametrize(
    ("said", "state"),
    [
        (None, PollState()),
        (condition("PollDelayed", "Unknown", "PollDelayed"), PollState()),
        (condition("PollDelayed", "False", "PollOnTime"), PollState()),
        (condition("PollDelayed", "True", "PollDelayed"), PollState(delayed=True, message="m")),
    ],
)
def test_another_process_goes_on_from_what_was_said(said: Condition | None, state: PollState) -> None:
    assert poll_state(said) == state
    if state.delayed:
        assert after(LATE, state=state) == DELAYED, "measured anew"
        assert state.mark() == (Mark.TRUE, Reason.POLL_DELAYED, "m")


@pytest.mark.parametrize(
    ("now", "delay", "interval", "wanted"),
    [
        pytest.param(100.3, 58.0, 60.0, 57.7, id="at a whole second"),
        pytest.param(100.0, 58.0, 60.0, 58.0, id="which it is"),
        pytest.param(100.7, 0.9, 60.0, 0.9, id="soon is soon"),
        pytest.param(100.0, 9.6, 10.0, 9.5, id="the shorter the interval, the finer"),
    ],
)
def test_polls_come_together(now: float, delay: float, interval: float, wanted: float) -> None:
    assert together(now, delay, interval) == pytest.approx(wanted, abs=0.01)


def test_polls_that_come_together_are_never_later() -> None:
    for tenths in range(1, 1000):
        now, delay = tenths * 0.37, 57.0 + tenths % 30 / 10
        found = together(now, delay, 60.0)
        assert delay - 1.0 <= found <= delay + 1e-9
