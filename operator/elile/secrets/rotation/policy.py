"""What a rotation is allowed to do at this moment, and what is asked of it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from elile.secrets.rotation.journal import Owner, Phase, Reason, Strategy

__all__ = [
    "Command",
    "CommandKind",
    "OnInconclusive",
    "OnProofTimeout",
    "Policy",
    "Request",
    "Retire",
]


class OnProofTimeout(StrEnum):
    HOLD = "Hold"
    REVERT = "Revert"
    PROCEED = "Proceed"


class OnInconclusive(StrEnum):
    """What hooks that come to no result by their deadline mean: going back, or going on asking."""

    ABORT = "Abort"
    HOLD = "Hold"


class Retire(StrEnum):
    """When the old value ends. Now: without proofs and grace, and its sessions with it."""

    WHEN_PROVED = "WhenProved"
    SKIP_GRACE = "SkipGrace"
    NOW = "Now"


class CommandKind(StrEnum):
    ROTATE = "Rotate"
    ROLL_BACK = "RollBack"
    ABORT = "Abort"
    RETIRE = "Retire"


@dataclass(frozen=True, slots=True)
class Command:
    """What is asked of the rotation under way; obeyed once for each id, for which `reason` is then written down.

    Superseded: another rotation, of an emergency, cannot wait for the end of this one.
    """

    kind: CommandKind
    id: str
    reason: Reason = Reason.BY_PERSON


@dataclass(frozen=True, slots=True)
class Request:
    """A rotation that is due. The same id is never rotated twice."""

    rotation_id: str
    occurrence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the schedule says at this moment.

    may_start and may_retire are False in a blackout. window_closes: a rotation that is not promoted by then is
    aborted; None is never. retry: the pause after no answer (10 s). probe_spacing: the pause after the first refused
    probe (10 s), doubled after each. verify_for: how long hooks may stay inconclusive (5 min). proof_timeout: how long
    consumers may take before `on_proof_timeout` (15 min). may_revert False: the value that is replaced is known to
    others and must never come back; said once, the journal keeps it. check_old: before
    the old value is locked, it has to work. remembered: the phase that a status last told of.
    """

    owner: Owner
    strategy: Strategy
    request: Request | None = None
    command: Command | None = None
    may_start: bool = True
    may_retire: bool = True
    window_closes: datetime | None = None
    grace: timedelta = timedelta(hours=1)
    retire: Retire = Retire.WHEN_PROVED
    retry: timedelta = timedelta(seconds=10)
    probe_spacing: timedelta = timedelta(seconds=10)
    verify_for: timedelta = timedelta(minutes=5)
    on_inconclusive: OnInconclusive = OnInconclusive.ABORT
    proof_timeout: timedelta = timedelta(minutes=15)
    on_proof_timeout: OnProofTimeout = OnProofTimeout.HOLD
    may_revert: bool = True
    check_old: bool = False
    remembered: Phase | None = None
