"""What the machine says to do next, and what it is answered: the words between it and a driver."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, StrEnum
from types import MappingProxyType
from typing import TypeAlias

from elile.secrets.rotation.journal import Intent, JournalEntry, Phase, Reason, Strategy, Value
from elile.secrets.rotation.verify.outcome import Outcome, Verification

__all__ = [
    "AS_RESTORED",
    "Answer",
    "Applied",
    "Apply",
    "AwaitProofs",
    "Deliver",
    "Delivered",
    "Finished",
    "Generate",
    "Generated",
    "Live",
    "Lock",
    "Locked",
    "Login",
    "NeedsPerson",
    "Observations",
    "Preflight",
    "Preflighted",
    "Probe",
    "Probed",
    "Proofs",
    "ReadLive",
    "Restore",
    "Restored",
    "Stage",
    "Step",
    "TakeInbox",
    "Taken",
    "Verify",
    "Wait",
    "Which",
    "Wipe",
    "Wiped",
    "WriteJournal",
    "WriteLive",
    "Written",
    "observe",
    "recorded",
]


class Which(StrEnum):
    """The value that a probe logs in with."""

    LIVE = "live"
    PENDING = "pending"
    PREVIOUS = "previous"


class Stage(StrEnum):
    """When hooks are run: on the current value before a rotation begins, on the new one, between rotations."""

    PREFLIGHT = "preflight"
    PENDING = "pending"
    AFTER_PROMOTE = "afterPromote"
    BEFORE_RETIRE = "beforeRetire"
    DRIFT = "drift"


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────
# `epoch` is the journal's version of the intent: a target that can compare refuses what is older than what it has seen.


@dataclass(frozen=True, slots=True)
class WriteJournal:
    """Write the journal; a lost check-and-set ends the pass."""

    entry: JournalEntry
    cas: int


@dataclass(frozen=True, slots=True)
class Preflight:
    """Look, without side effects, whether all that will be needed is allowed and there."""

    current: Value


@dataclass(frozen=True, slots=True)
class ReadLive:
    """Read the current version of the live path."""


@dataclass(frozen=True, slots=True)
class Generate:
    """Make a new value; for External read it from the inbox, past the version that was taken last."""

    strategy: Strategy
    current: Value
    taken: int


@dataclass(frozen=True, slots=True)
class Probe:
    """Log in once."""

    which: Which
    value: Value


@dataclass(frozen=True, slots=True)
class Apply:
    """Make the pending value valid at the target."""

    value: Value
    epoch: int


@dataclass(frozen=True, slots=True)
class TakeInbox:
    """Destroy what was taken from the inbox, up to and with this version."""

    version: int


@dataclass(frozen=True, slots=True)
class Verify:
    """Run the hooks of a stage on a value, with fresh connections. Those of Preflight answer with a `Verification`."""

    stage: Stage
    value: Value


@dataclass(frozen=True, slots=True)
class WriteLive:
    """Write the live path."""

    value: Value
    cas: int


@dataclass(frozen=True, slots=True)
class Deliver:
    """Write the Secret, poke. One that was made from a later live version stays."""

    value: Value
    live_version: int


@dataclass(frozen=True, slots=True)
class AwaitProofs:
    """Look whether the consumers of every reader of the live path, each by its own declaration, hold this version."""

    value: Value
    live_version: int


@dataclass(frozen=True, slots=True)
class Lock:
    """Make a value invalid, unless `keep` needs the same account. end_sessions: those that are open too."""

    value: Value
    keep: Value
    epoch: int
    end_sessions: bool


@dataclass(frozen=True, slots=True)
class Restore:
    """Make an earlier value valid again."""

    value: Value
    epoch: int


@dataclass(frozen=True, slots=True)
class Wipe:
    """Destroy the journal's versions before this one."""

    keep_version: int


@dataclass(frozen=True, slots=True)
class Wait:
    """End the pass; come again at `until`, or when something changes."""

    until: datetime
    reason: Reason


@dataclass(frozen=True, slots=True)
class Finished:
    """Nothing to do. phase is the result of the last rotation, None when there was none."""

    phase: Phase | None
    reason: Reason
    detail: str = ""


@dataclass(frozen=True, slots=True)
class NeedsPerson:
    """Nothing will be done, and nothing removed, before a person has looked."""

    reason: Reason
    detail: str = ""


Step: TypeAlias = (
    WriteJournal
    | Preflight
    | ReadLive
    | Generate
    | Probe
    | Apply
    | TakeInbox
    | Verify
    | WriteLive
    | Deliver
    | AwaitProofs
    | Lock
    | Restore
    | Wipe
    | Wait
    | Finished
    | NeedsPerson
)

# ── answers ──────────────────────────────────────────────────────────────────────────────────────────────────────────
# A call whose answer was lost has none: the pass ends, and the next one finds out.


class Login(Enum):
    """What a login with a value came to. Refused is a wrong password and nothing else; all else is unreachable."""

    WORKS = "works"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Probed:
    which: Which
    login: Login


class Applied(Enum):
    """Rejected: the target will never take this value, by a rule of its own."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNREACHABLE = "unreachable"


class Restored(Enum):
    """Refused: the target has other rules than it had."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"


# Where restoring a value is applying it once more.
AS_RESTORED: Mapping[Applied, Restored] = MappingProxyType(
    {
        Applied.ACCEPTED: Restored.ACCEPTED,
        Applied.REJECTED: Restored.REFUSED,
        Applied.UNREACHABLE: Restored.UNREACHABLE,
    }
)


class Delivered(Enum):
    """Superseded: what is there was made from a later live version."""

    DONE = "done"
    SUPERSEDED = "superseded"


class Proofs(Enum):
    PROVED = "proved"
    WAITING = "waiting"


class Locked(Enum):
    """Done includes what was gone already. Still works: it was locked, and a login with it is let in all the same."""

    DONE = "done"
    IN_USE = "in use"
    STILL_WORKS = "still works"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True, slots=True)
class Live:
    """The current live version; value None is one that was deleted, version 0 none at all."""

    version: int
    value: Value | None


@dataclass(frozen=True, slots=True)
class Generated:
    """pending None: the inbox is empty. distributed is made with Keyset only."""

    pending: Value | None
    distributed: Value | None = None
    inbox_version: int = 0


@dataclass(frozen=True, slots=True)
class Preflighted:
    """What is wrong, with the remedy and without values; empty when nothing is."""

    problem: str = ""


@dataclass(frozen=True, slots=True)
class Written:
    """The live version that was written; None when the check-and-set did not fit."""

    version: int | None


@dataclass(frozen=True, slots=True)
class Taken:
    pass


@dataclass(frozen=True, slots=True)
class Wiped:
    pass


Answer: TypeAlias = (
    Probed
    | Applied
    | Restored
    | Outcome
    | Verification
    | Delivered
    | Proofs
    | Locked
    | Live
    | Generated
    | Preflighted
    | Written
    | Taken
    | Wiped
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Observations:
    """What this pass has seen; None is not looked at. fence is the intent that it wrote last and did not use yet."""

    fence: Intent | None = None
    live: Live | None = None
    preflight: Preflighted | None = None
    current: Verification | None = None
    generated: Generated | None = None
    probed: Probed | None = None
    applied: Applied | None = None
    restored: Restored | None = None
    verdict: Outcome | None = None
    written: Written | None = None
    delivered: Delivered | None = None
    proofs: Proofs | None = None
    locked: Locked | None = None
    taken: bool = False
    wiped: bool = False


def observe(seen: Observations, answer: Answer) -> Observations:
    """Add an answer. One to a side effect uses the fence up; a change of the target makes older looks worthless."""
    match answer:
        case Live():
            return replace(seen, live=answer)
        case Preflighted():
            return replace(seen, preflight=answer)
        case Generated():
            return replace(seen, generated=answer)
        case Outcome():
            return replace(seen, verdict=answer)
        case Verification():
            return replace(seen, current=answer)
        case Proofs():
            return replace(seen, proofs=answer)
        case Probed():
            return replace(seen, fence=None, probed=answer)
        case Applied():
            return replace(seen, fence=None, applied=answer, generated=None)
        case Restored():
            return replace(seen, fence=None, restored=answer, probed=None)
        case Written():
            return replace(seen, fence=None, written=answer, live=None)
        case Delivered():
            return replace(seen, fence=None, delivered=answer)
        case Locked():
            return replace(seen, fence=None, locked=answer)
        case Taken():
            return replace(seen, fence=None, taken=True)
        case Wiped():  # pragma: no branch - the last there is
            return replace(seen, fence=None, wiped=True)


def recorded(seen: Observations, before: JournalEntry | None, after: JournalEntry) -> Observations:
    """Go on after a write of the journal. What was seen in another phase, or of another value, is forgotten."""
    if before is not None and before.owner != after.owner:
        return (
            Observations()
        )  # the intent is whose rotation we took over: it announced one probe, and that may come yet
    if before is None or before.phase is not after.phase or before.pending != after.pending:
        return Observations(fence=after.intent)
    return replace(seen, fence=after.intent)
