"""All that a rotation can come to: every journal that is reached, and every step, from every answer to every step.

A pass begins with any journal that another one left, under any policy, before or after its deadlines. Times and the
history are made the same everywhere, so that the journals are finitely many.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import (
    TERMINAL,
    Intent,
    Journal,
    JournalEntry,
    Owner,
    Phase,
    Reason,
    Strategy,
    Value,
    encode,
)
from elile.secrets.rotation.machine import next_step
from elile.secrets.rotation.policy import (
    Command,
    CommandKind,
    OnInconclusive,
    OnProofTimeout,
    Policy,
    Request,
    Retire,
)
from elile.secrets.rotation.steps import (
    Answer,
    Applied,
    Apply,
    AwaitProofs,
    Deliver,
    Delivered,
    Finished,
    Generate,
    Generated,
    Live,
    Lock,
    Locked,
    Login,
    NeedsPerson,
    Observations,
    Preflight,
    Preflighted,
    Probe,
    Probed,
    Proofs,
    ReadLive,
    Restore,
    Restored,
    Stage,
    Step,
    TakeInbox,
    Taken,
    Verify,
    Wait,
    Wipe,
    Wiped,
    WriteJournal,
    WriteLive,
    Written,
    observe,
    recorded,
)
from elile.secrets.rotation.verify.outcome import Outcome, Verification

NOW = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
OWNER = Owner("cluster", "team", "db", "uid-1")
REQUEST = Request("id-2", "2026-11-24T02:30[Etc/UTC]")
BASE = 7
CANARY = "canary-7f31"


def value(name: str) -> Value:
    """A value that must not be seen anywhere."""
    return Redacted({"username": name, "password": f"{CANARY}-{name}"})


PREVIOUS, PENDING, SECOND, SHARED, FOREIGN = (value(n) for n in ("previous", "pending", "second", "shared", "foreign"))


def policies(strategy: Strategy, entry: JournalEntry | None) -> Iterator[Policy]:
    """Every way in which a policy can differ, one at a time; on the ways back few of them are looked at."""
    usual = Policy(owner=OWNER, strategy=strategy, request=REQUEST)
    yield usual
    if entry is not None and entry.phase in (Phase.ABORTING, Phase.REVERTING):
        yield replace(usual, on_proof_timeout=OnProofTimeout.PROCEED)
        return
    for kind in CommandKind:
        yield replace(usual, command=Command(kind, "team/by-hand"))
    yield replace(usual, window_closes=NOW)
    yield replace(usual, may_start=False, may_retire=False)
    yield replace(usual, request=None)
    yield replace(usual, on_inconclusive=OnInconclusive.HOLD)
    yield replace(usual, may_revert=False)
    yield replace(usual, check_old=True)
    for on_timeout in (OnProofTimeout.REVERT, OnProofTimeout.PROCEED):
        yield replace(usual, on_proof_timeout=on_timeout)
    for retire in (Retire.SKIP_GRACE, Retire.NOW):
        yield replace(usual, retire=retire)


def answers(step: Step, entry: JournalEntry | None) -> tuple[Answer, ...]:
    """All that can be answered; none to what ends a pass, and to a write of the journal."""
    match step:
        case WriteJournal() | Wait() | Finished() | NeedsPerson():
            return ()
        case Preflight():
            return (Preflighted(), Preflighted("the policy does not allow destroy; allow it"))
        case ReadLive():
            return _readings(entry)
        case Generate():
            shared = SHARED if step.strategy is Strategy.KEYSET else None
            made = SECOND if entry is not None and entry.phase is Phase.PENDING else PENDING
            empty = (Generated(None),) if step.strategy is Strategy.EXTERNAL else ()
            return (Generated(made, shared, 3 if empty else 0), *empty)
        case Probe():
            return tuple(Probed(step.which, login) for login in Login)
        case Apply():
            return tuple(Applied)
        case TakeInbox():
            return (Taken(),)
        case Verify(stage=Stage.PREFLIGHT):
            return tuple(Verification(outcome, "mail: of the hook") for outcome in Outcome)
        case Verify():
            return tuple(Outcome)
        case WriteLive():
            return (Written(step.cas + 1), Written(None))
        case Deliver():
            return tuple(Delivered)
        case AwaitProofs():
            return tuple(Proofs)
        case Lock():
            return tuple(Locked)
        case Restore():
            return tuple(Restored)
        case Wipe():
            return (Wiped(),)


def _readings(entry: JournalEntry | None) -> tuple[Live, ...]:
    if entry is None or entry.wiped:
        return (Live(BASE, PREVIOUS), Live(BASE, None))
    last = entry.live_version or BASE
    keys = () if entry.distributed is None else (entry.distributed,)
    held = (PREVIOUS, entry.pending, *keys, FOREIGN)
    return (
        Live(last - 1, PREVIOUS),
        *(Live(last, v) for v in (*held, None)),
        *(Live(last + 1, v) for v in held),
        *((Live(last + 2, FOREIGN),) if entry.intent is Intent.WRITE_LIVE else ()),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    """One thing that the machine said, and to what."""

    entry: JournalEntry | None
    seen: Observations
    policy: Policy
    step: Step


@dataclass(slots=True)
class Reached:
    """What was reached with one strategy."""

    entries: dict[str, JournalEntry | None] = field(default_factory=dict)
    decisions: list[Decision] = field(default_factory=list)

    def transitions(self) -> set[tuple[str, str]]:
        """From which phase to which; `-` is no rotation under way."""
        found = set()
        for decision in self.decisions:
            if isinstance(decision.step, WriteJournal):
                entry, after = decision.entry, decision.step.entry
                idle = entry is None or entry.wiped
                if idle or (entry is not None and entry.phase is not after.phase):
                    found.add(("-" if idle or entry is None else entry.phase.value, after.phase.value))
        return found


def settled(entry: JournalEntry | None) -> JournalEntry | None:
    """The entry as others like it are: in what no decision looks at, and in its times."""
    if entry is None:
        return None
    pending = entry.phase is Phase.PENDING
    return replace(
        entry,
        reason=Reason.NONE,
        pending=entry.pending if pending or entry.pending is None else PENDING,
        regenerated=entry.regenerated and pending,
        compromised=entry.compromised and entry.phase not in (Phase.ABORTING, *TERMINAL),
        touched=entry.touched and entry.phase is not Phase.REVERTING,
        # A rollback follows whoever writes its value anew, for ever: one such write is enough.
        live_version=min(entry.live_version, BASE + 2) if entry.live_version else None,
        not_before=LATER if entry.not_before else None,
        deadline=LATER if entry.deadline else None,
        history=tuple(replace(past, at=NOW) for past in entry.history[-1:]),
    )


def reach(strategy: Strategy) -> Reached:
    """Go everywhere."""
    reached = Reached()
    todo: list[JournalEntry | None] = [None]
    while todo:
        entry = settled(todo.pop())
        name = "" if entry is None else json.dumps(encode(entry), sort_keys=True)
        if name in reached.entries:
            continue
        reached.entries[name] = entry
        for policy in policies(strategy, entry):
            moments = (
                (NOW, LATER + timedelta(minutes=10))
                if entry is not None and (entry.deadline or entry.not_before)
                else (NOW,)
            )
            for now in moments:
                todo += _passed(entry, now, policy, reached)
    return reached


def _passed(entry: JournalEntry | None, now: datetime, policy: Policy, reached: Reached) -> list[JournalEntry | None]:
    """One pass, with every answer; what it leaves in the journal, wherever it breaks off."""
    left: list[JournalEntry | None] = []
    todo = [(entry, Observations())]
    while todo:
        at, seen = todo.pop()
        step = next_step(None if at is None else Journal(at, 40), seen, now, policy)
        reached.decisions.append(Decision(at, seen, policy, step))
        if isinstance(step, WriteJournal):
            left.append(step.entry)
            if step.entry.intent is not None:  # what announces nothing is where another pass begins
                todo.append((step.entry, recorded(seen, at, step.entry)))
        todo += [(at, observe(seen, answer)) for answer in answers(step, at)]
    return left
