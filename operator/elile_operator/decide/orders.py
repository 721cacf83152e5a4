"""What the Rotations of one schedule ask for, given how far its journal is: which run goes on, or begins, and how."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeGuard

from elile.secrets.rotation.journal import TERMINAL, JournalEntry, Past, Phase, Strategy
from elile.secrets.rotation.journal import Reason as Cause
from elile.secrets.rotation.policy import Command, CommandKind, Request
from elile_operator.api.meta import OCCURRENCE_ANNOTATION, TRIGGER_ANNOTATION, ConditionStatus
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import Action, RetireMode, Rotation, RotationResult, Trigger
from elile_operator.decide.causes import BY_HOOK, CAUSES, explain_undoing
from elile_operator.decide.conditions import find

__all__ = [
    "BEFORE_PROMOTED",
    "Answer",
    "Order",
    "abort",
    "command_id",
    "give_order",
    "is_open",
    "is_under_way",
    "label_of",
    "trigger_of",
]

BEFORE_PROMOTED = frozenset({Phase.PENDING, Phase.APPLIED, Phase.VERIFIED})
# How a run ends at once: before its value is live it is undone, and so are keys that nobody encrypts with yet.
_TAKEOVERS = {
    **dict.fromkeys((*BEFORE_PROMOTED, Phase.DISTRIBUTING), CommandKind.ABORT),
    Phase.NEEDS_INTERVENTION: CommandKind.ROTATE,
}
_UNDOING = frozenset({Phase.ABORTING.value, Phase.REVERTING.value})
_COMMANDS = {
    Action.ABORT: CommandKind.ABORT,
    Action.ROLL_BACK: CommandKind.ROLL_BACK,
    Action.RETIRE: CommandKind.RETIRE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """A Rotation that ends now, without the engine."""

    rotation: Rotation
    result: RotationResult
    reason: Reason
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be done.

    active: the Rotation whose run is under way or begins; None for a run whose object is gone. errand: a DryRun or
    DestroyKey that is to be done instead. waiting: open Rotations whose turn comes later.
    """

    active: Rotation | None = None
    request: Request | None = None
    command: Command | None = None
    commander: Rotation | None = None
    errand: Rotation | None = None
    answers: tuple[Answer, ...] = ()
    waiting: tuple[Rotation, ...] = ()


def is_open(rotation: Rotation) -> bool:
    """Whether a Rotation has not ended."""
    return rotation.status.result is None


def label_of(rotation: Rotation) -> str:
    """Return what a Rotation is for: the label of an occurrence, or for a person's its own name."""
    meta = rotation.metadata
    own = f"{meta.namespace}/{meta.name}"
    return rotation.status.occurrence or meta.annotations.get(OCCURRENCE_ANNOTATION) or own


def trigger_of(rotation: Rotation) -> Trigger:
    """Return who asked for a Rotation."""
    told = rotation.metadata.annotations.get(TRIGGER_ANNOTATION)
    known = {trigger.value for trigger in Trigger}
    return rotation.status.trigger or (Trigger(told) if told in known else Trigger.MANUAL)


def command_id(rotation: Rotation) -> str:
    """Return the id under which a journal remembers that a Rotation was obeyed."""
    return f"{rotation.metadata.namespace}/{rotation.metadata.name}"


def abort(rotations: Iterable[Rotation], why: tuple[Reason, str]) -> tuple[Answer, ...]:
    """Return the end of Rotations that could not do what they ask for."""
    reason, message = why
    return tuple(
        Answer(rotation=rotation, result=RotationResult.ABORTED, reason=reason, message=message)
        for rotation in rotations
    )


def is_under_way(entry: JournalEntry | None) -> TypeGuard[JournalEntry]:
    """Whether there is a run that has begun and has not ended."""
    return entry is not None and not (entry.phase in TERMINAL and entry.wiped)


def give_order(
    rotations: Sequence[Rotation], ids: Mapping[str, str], entry: JournalEntry | None, *, leaving: bool
) -> Order:
    """Return what is to be done with the open Rotations of a schedule, in the order in which they were made.

    `ids` are the rotation ids by the name of the Rotation. `leaving`: the schedule, or the ElileSecret, is being
    deleted; then nothing begins.
    """
    if is_under_way(entry):
        return _under_way(rotations, ids, entry, leaving=leaving)
    return _idle(rotations, ids, entry, leaving=leaving)


# ── a run is under way ───────────────────────────────────────────────────────────────────────────────────────────────


def _under_way(rotations: Sequence[Rotation], ids: Mapping[str, str], entry: JournalEntry, *, leaving: bool) -> Order:
    own = next((r for r in rotations if ids.get(r.metadata.name) == entry.rotation_id and _rotates(r)), None)
    others = [r for r in rotations if r is not own]
    obeyed = next((r for r in others if command_id(r) == entry.handled), None)
    answers = [a for r in others if r is not obeyed and (a := _no_part(r, ids, own, entry)) is not None]
    left = [r for r in others if r not in [a.rotation for a in answers]]
    early = entry.phase in BEFORE_PROMOTED
    if early and (leaving or own is None or own.metadata.deletion_timestamp is not None):
        command: Command | None = Command(CommandKind.ABORT, f"gone/{entry.rotation_id}")
        return Order(active=own, command=command, answers=tuple(answers), waiting=tuple(left))
    staying = [r for r in left if r.metadata.deletion_timestamp is None]
    command, commander = _takeover(staying, entry) or _asked(staying, entry) or (None, obeyed)
    waiting = tuple(r for r in left if r is not commander)
    return Order(active=own, command=command, commander=commander, answers=tuple(answers), waiting=waiting)


def _rotates(rotation: Rotation) -> bool:
    return rotation.spec.action is Action.ROTATE


def _obeys(entry: JournalEntry) -> frozenset[CommandKind]:
    """Return what a run can be asked for in its phase; asked for anything else it would never answer."""
    back = frozenset({CommandKind.ABORT, CommandKind.ROLL_BACK})
    undone = frozenset[CommandKind]() if entry.compromised else back
    match entry.phase:
        case Phase.PENDING | Phase.APPLIED | Phase.VERIFIED:
            return back
        case Phase.DISTRIBUTING:
            return undone
        case Phase.PROMOTED | Phase.GRACE:
            return undone | {CommandKind.RETIRE}
        case Phase.RETIRING if not entry.hurried:
            return frozenset({CommandKind.RETIRE})
        case Phase.NEEDS_INTERVENTION:
            onward = frozenset({CommandKind.RETIRE}) if entry.compromised else back
            return onward | {CommandKind.ABORT, CommandKind.ROTATE}
        case _:
            return frozenset()


def _no_part(rotation: Rotation, ids: Mapping[str, str], own: Rotation | None, entry: JournalEntry) -> Answer | None:
    """Return how a Rotation ends that has no part in the run that is under way, None for one that has or may have."""
    if _rotates(rotation):
        return _ended(rotation, ids.get(rotation.metadata.name, ""), entry, entry.history)
    if rotation.spec.action not in _COMMANDS:
        return None
    if own is not None and _is_older(rotation, own):
        # A command is answered before another run begins, so that this one has lost its status.
        return _too_late(rotation, entry.history, compromised=False)
    if rotation.spec.action is Action.ROLL_BACK and (entry.compromised or (own is not None and own.spec.compromised)):
        what = f"Rotation {own.metadata.name!r}" if own is not None else "the run that is under way"
        return Answer(
            rotation=rotation,
            result=RotationResult.ABORTED,
            reason=Reason.VALUE_COMPROMISED,
            message=f"{what} replaces a value that is compromised, which must not come back; "
            "make another Rotation, if the new value is wrong",
        )
    if rotation.spec.action is Action.RETIRE and entry.phase is Phase.NEEDS_INTERVENTION and not entry.compromised:
        return Answer(
            rotation=rotation,
            result=RotationResult.ABORTED,
            reason=Reason.NEEDS_INTERVENTION,
            message="the run that is under way needs a person, and Retire does not end it: look, then make a Rotation "
            "with action RollBack, Abort or Rotate",
        )
    return None


def _is_older(rotation: Rotation, own: Rotation) -> bool:
    made, began = rotation.metadata.creation_timestamp, own.metadata.creation_timestamp
    return made is not None and began is not None and made < began


def _takeover(others: Sequence[Rotation], entry: JournalEntry) -> tuple[Command, Rotation] | None:
    """Return how a compromised value has what runs end at once, so that its own run can begin."""
    urgent = next((r for r in others if _rotates(r) and r.spec.compromised), None)
    if urgent is None:
        return None
    kind = _TAKEOVERS.get(entry.phase, CommandKind.RETIRE)
    return Command(kind, f"{command_id(urgent)}/takeover", Cause.SUPERSEDED), urgent


def _asked(others: Sequence[Rotation], entry: JournalEntry) -> tuple[Command, Rotation] | None:
    obeys = _obeys(entry)
    for rotation in others:
        by_person = trigger_of(rotation) is Trigger.MANUAL
        kind = CommandKind.ROTATE if _rotates(rotation) and by_person else _COMMANDS.get(rotation.spec.action)
        if kind in obeys and kind is not None and command_id(rotation) != entry.handled:
            return Command(kind, command_id(rotation)), rotation
    return None


# ── nothing is under way ─────────────────────────────────────────────────────────────────────────────────────────────


def _idle(rotations: Sequence[Rotation], ids: Mapping[str, str], entry: JournalEntry | None, *, leaving: bool) -> Order:
    history = entry.history if entry is not None else ()
    answers, left = [], []
    for rotation in rotations:
        answer = _ended(rotation, ids.get(rotation.metadata.name, ""), entry, history)
        if answer is not None:
            answers.append(answer)
        elif rotation.metadata.deletion_timestamp is None:
            left.append(rotation)
    if leaving or not left:
        return Order(answers=tuple(answers), waiting=tuple(left))
    first = next((r for r in left if r.spec.compromised or r.spec.retire is RetireMode.NOW), left[0])
    waiting = tuple(r for r in left if r is not first)
    if not _rotates(first):
        return Order(errand=first, answers=tuple(answers), waiting=waiting)
    request = Request(ids[first.metadata.name], label_of(first))
    return Order(active=first, request=request, answers=tuple(answers), waiting=waiting)


def _ended(rotation: Rotation, rotation_id: str, entry: JournalEntry | None, history: Sequence[Past]) -> Answer | None:
    """Return how a Rotation has ended, by what the journal remembers; None: it has not begun."""
    if _rotates(rotation):
        past = next((p for p in reversed(history) if p.rotation_id == rotation_id), None)
        if past is None:
            return None
        if rotation.status.rotation_id != rotation_id:
            return Answer(
                rotation=rotation,
                result=RotationResult.ALREADY_DONE,
                reason=Reason.ALREADY_DONE,
                message=f"AlreadyDone: a Rotation of this name ended as {past.result} at {past.at:%Y-%m-%dT%H:%M:%SZ}; "
                "use metadata.generateName for another one",
            )
        return _told(rotation, past, entry.strategy if entry is not None and past is history[-1] else None)
    if rotation.spec.action not in _COMMANDS:
        return None
    if entry is not None and entry.handled == command_id(rotation) and history:
        return _obeyed(rotation, history[-1])
    return _too_late(rotation, history, compromised=entry is not None and entry.compromised)


def _too_late(rotation: Rotation, history: Sequence[Past], *, compromised: bool) -> Answer:
    if rotation.spec.action is Action.ABORT:
        message = "no rotation is under way that could be aborted"
        return Answer(rotation=rotation, result=RotationResult.ABORTED, reason=Reason.ABORTED, message=message)
    last = history[-1].result if history else None
    if rotation.spec.action is Action.ROLL_BACK and last is Phase.DONE and compromised:
        return Answer(
            rotation=rotation,
            result=RotationResult.ABORTED,
            reason=Reason.VALUE_COMPROMISED,
            message="the value that was replaced last is compromised and must not come back; make another Rotation, "
            "if the one that is live is wrong",
        )
    why = "the previous value is retired" if last is Phase.DONE else "no rotation is under way"
    return Answer(
        rotation=rotation,
        result=RotationResult.ABORTED,
        reason=Reason.PREVIOUS_RETIRED,
        message=f"{why}, so there is nothing to {'take back' if rotation.spec.action is Action.ROLL_BACK else 'retire'}"
        "; to replace the value that is live, make a Rotation with action Rotate",
    )


_RESULTS = {
    Phase.DONE: (RotationResult.SUCCEEDED, Reason.RETIRED),
    Phase.ROLLED_BACK: (RotationResult.ROLLED_BACK, Reason.ROLLED_BACK),
    Phase.ABORTED: (RotationResult.ABORTED, Reason.ABORTED),
}


# Where nothing is locked at a target, what became of the old value is another thing.
_ENDS: Mapping[Strategy, tuple[Reason, str]] = MappingProxyType(
    {
        Strategy.KEYSET: (Reason.PROMOTED, "the new key encrypts, and the keys before it still decrypt"),
        Strategy.EXTERNAL: (Reason.PREVIOUS_UNUSED, Reason.PREVIOUS_UNUSED.sentence),
        Strategy.REPLACE: (Reason.PROMOTED, "the new value is live, and nobody is given the old one any more"),
    }
)


def _told(rotation: Rotation, past: Past, strategy: Strategy | None) -> Answer:
    result, reason = _RESULTS[past.result]
    message = reason.sentence
    if strategy is not None and past.result is Phase.DONE:
        reason, message = _ENDS.get(strategy, (reason, message))
    if past.reason in CAUSES:
        why, message = explain_undoing(past.reason, past.result)
        # When a person has it finished, what becomes of the old value is the same.
        reason = reason if past.result is Phase.DONE and past.reason is Cause.BY_PERSON else why
    if past.reason in BY_HOOK:
        message = _with_hook(rotation, reason, message)
    return Answer(rotation=rotation, result=result, reason=reason, message=message)


def _with_hook(rotation: Rotation, reason: Reason, message: str) -> str:
    """Name the hook as well, which the journal does not remember: as it was told meanwhile, or as it is listed."""
    told = rotation.status
    if told.phase in _UNDOING and told.reason == reason and told.message:
        return told.message
    verified = find(told.conditions, "Verified")
    if verified is not None and verified.reason == reason and verified.status is ConditionStatus.FALSE:
        return f"{message}: {verified.message}"
    bad = [v for v in told.verification if v.reason == reason]
    return f"{message}: hook {bad[-1].name!r} in stage {bad[-1].stage}" if bad else message


def _obeyed(rotation: Rotation, past: Past) -> Answer:
    wanted = {Action.RETIRE: Phase.DONE}.get(rotation.spec.action)
    done = past.result is wanted if wanted else past.result in (Phase.ROLLED_BACK, Phase.ABORTED)
    reason = _RESULTS[past.result][1]
    if done:
        return Answer(rotation=rotation, result=RotationResult.SUCCEEDED, reason=reason, message=reason.sentence)
    return Answer(rotation=rotation, result=RotationResult.ABORTED, reason=reason, message=reason.sentence)
