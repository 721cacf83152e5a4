"""Decide whether the polls of a server keep their intervals, from what was measured, without wavering."""

import math
from dataclasses import dataclass, replace

from elile_operator.api.meta import Condition, ConditionStatus
from elile_operator.api.reasons import Mark, Reason
from elile_operator.api.vaultserver import Limits

__all__ = ["Pace", "PollState", "is_late", "judge_polls", "poll_state", "together"]

# A poll is late when it comes by more than this part of its interval, and this many seconds, after it.
LATE_PART, LATE_SECONDS = 0.2, 1.0
# Parts of the polls that are late. Between the two nothing changes, so that what is near a limit does not waver.
DELAYED_FROM, ON_TIME_BELOW = 1 / 4, 1 / 20
# So many looks in a row have to say the other thing: a paused process, or a burst, is over by the next one.
TURNS = 2
# A figure that was told is told anew when it is wrong by this factor; less would be a write with every look.
DRIFT = 1.5
# Polls come together so often in an interval. One that comes alone wakes threads, sockets and the server for itself,
# which takes twice the CPU of one among others.
STEPS = 60
# What is proposed leaves room for the requests that are no polls.
ROOM = 1.25


@dataclass(frozen=True, slots=True)
class Pace:
    """How the polls of a server kept their intervals for a while.

    Of `polls`, `late` came late. `behind` and `interval` (seconds) are of the latest of them; `needed` polls a second
    would keep all intervals.
    """

    polls: int
    late: int
    behind: float
    interval: float
    needed: float


@dataclass(frozen=True, slots=True)
class PollState:
    """What is said of the polls, the seconds that are named in it, and how many looks in a row said otherwise."""

    delayed: bool = False
    behind: float = 0.0
    message: str = ""
    against: int = 0

    def mark(self) -> tuple[Mark, Reason, str]:
        """As the condition PollDelayed says it."""
        if self.delayed:
            return Mark.TRUE, Reason.POLL_DELAYED, self.message
        return Mark.FALSE, Reason.POLL_ON_TIME, Reason.POLL_ON_TIME.sentence


def together(now: float, delay: float, interval: float) -> float:
    """Return a delay (seconds) that is as long or a little shorter, so that polls of one interval come together."""
    step = interval / STEPS
    aligned = math.floor((now + delay) / step) * step - now
    return aligned if aligned > step else delay


def is_late(gap: float, interval: float) -> bool:
    """Whether a poll came late, `gap` seconds after the one before."""
    return gap - interval > max(LATE_PART * interval, LATE_SECONDS)


def poll_state(said: Condition | None) -> PollState:
    """Return the state that a condition speaks of: another process may have written it."""
    if said is None or said.status is not ConditionStatus.TRUE:
        return PollState()
    return PollState(delayed=True, message=said.message)


def judge_polls(state: PollState, pace: Pace, limits: Limits, *, pollers: int) -> PollState:
    """Return what is said from now on; `pollers` is how many paths of a server the operator polls at one time."""
    if not pace.polls:
        return state
    part = pace.late / pace.polls
    found = part >= (ON_TIME_BELOW if state.delayed else DELAYED_FROM)
    if found != state.delayed and state.against + 1 < TURNS:
        return replace(state, against=state.against + 1)
    if not found:
        return PollState()
    if state.delayed and state.behind and 1 / DRIFT < pace.behind / state.behind < DRIFT:
        return replace(state, against=0)
    return PollState(delayed=True, behind=pace.behind, message=_message(pace, limits, pollers))


def _message(pace: Pace, limits: Limits, pollers: int) -> str:
    """By how much, and what to change."""
    needed = math.ceil(pace.needed * ROOM)
    if pace.needed > limits.requests_per_second:
        cure = f"raise spec.limits.requestsPerSecond from {limits.requests_per_second} to {needed}"
    elif limits.concurrency <= pollers:
        cure = f"raise spec.limits.concurrency, {limits.concurrency} requests at one time do not make {needed} a second"
    else:
        cure = f"raise the operator's --pollers, {pollers} requests at one time do not make {needed} a second"
    interval = math.ceil((pace.interval + pace.behind) * ROOM)
    return (
        f"polls that should come every {pace.interval:.0f} s come up to {pace.behind:.0f} s late; {cure}, or poll "
        f"every {interval}s: spec.poll.interval, or spec.refresh.interval of ElileSecrets"
    )
