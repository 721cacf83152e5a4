"""What the phases of the machine have in common: writing the journal, fencing a side effect, probing, waiting."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import (
    HISTORY,
    Intent,
    JournalEntry,
    Past,
    Phase,
    Reason,
    Strategy,
    Value,
)
from elile.secrets.rotation.policy import CommandKind, OnProofTimeout, Policy
from elile.secrets.rotation.steps import (
    AwaitProofs,
    Deliver,
    Delivered,
    Login,
    Observations,
    Probe,
    Proofs,
    ReadLive,
    Step,
    Wait,
    Which,
    WriteJournal,
)

__all__ = ["MAX_PROBES", "TRAITS", "At", "Traits"]

# In each phase: accounts lock.
MAX_PROBES = 3


@dataclass(frozen=True, slots=True)
class Traits:
    """What a strategy has: a target that is changed, both values valid at once, an old one that can be locked."""

    target: bool
    overlaps: bool
    locks: bool


TRAITS = {
    Strategy.DUAL_USER: Traits(target=True, overlaps=True, locks=True),
    Strategy.DUAL_PASSWORD: Traits(target=True, overlaps=True, locks=True),
    Strategy.SINGLE_USER: Traits(target=True, overlaps=False, locks=False),
    Strategy.REPLACE: Traits(target=False, overlaps=True, locks=False),
    Strategy.EXTERNAL: Traits(target=False, overlaps=True, locks=False),
    Strategy.KEYSET: Traits(target=False, overlaps=True, locks=False),
}


@dataclass(frozen=True, slots=True)
class At:
    """Where a rotation stands, and all a decision may look at."""

    entry: JournalEntry
    version: int
    seen: Observations
    now: datetime
    policy: Policy

    @property
    def traits(self) -> Traits:
        return TRAITS[self.entry.strategy]

    @property
    def pending(self) -> Value:
        return _held(self.entry.pending)

    @property
    def previous(self) -> Value:
        return _held(self.entry.previous)

    @property
    def back(self) -> Value:
        """What a rollback makes live. A key that was handed out may have been used: it stays, to decrypt."""
        return _held(self.entry.distributed) if self.entry.strategy is Strategy.KEYSET else self.previous

    def asked(self, *kinds: CommandKind) -> bool:
        """Whether a person asks for one of these, and was not obeyed yet."""
        command = self.policy.command
        return command is not None and command.kind in kinds and command.id != self.entry.handled

    @property
    def one_way(self) -> bool:
        """Whether the previous value must not come back, once it is replaced."""
        return self.entry.compromised or not self.policy.may_revert

    # ── the journal ──────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, phase: Phase | None = None, *, intent: Intent | None = None, **changes: Any) -> WriteJournal:
        """Write the entry with changes. A new phase begins with no probes, no deadline, nothing delivered."""
        if phase is not None:
            fresh: dict[str, Any] = {"attempts": 0, "not_before": None, "deadline": None, "delivered": False}
            changes = {"phase": phase, "restored": False, "reason": Reason.NONE, **fresh, **changes}
        return WriteJournal(replace(self.entry, intent=intent, compromised=self.one_way, **changes), self.version)

    def obey(self, phase: Phase, **changes: Any) -> WriteJournal:
        """Write a phase that was asked for, with what the command gives as the reason."""
        command = self.policy.command
        assert command is not None  # noqa: S101 - it was `asked`
        return self.write(phase, reason=command.reason, handled=command.id, **changes)

    def end(self, phase: Phase, *, reason: Reason | None = None, **changes: Any) -> WriteJournal:
        """Write a terminal phase, without values; earlier versions are wiped next."""
        entry = self.entry
        why = entry.reason if reason is None else reason
        past = Past(entry.rotation_id, entry.occurrence, phase, why, self.now)
        nothing: dict[str, Any] = {"pending": None, "previous": None, "distributed": None}
        history = (*entry.history, past)[-HISTORY:]
        return self.write(phase, intent=Intent.WIPE, reason=why, history=history, **nothing, **changes)

    def revert(self, reason: Reason) -> Step:
        """Go back, or call a person where the previous value must not come back; the new one stays live."""
        if self.one_way:
            return self.give_up(reason)
        return self.write(Phase.REVERTING, reason=reason, deadline=self.now + self.policy.proof_timeout)

    def give_up(self, reason: Reason) -> Step:
        """Stop, keep every value, and call a person."""
        return self.write(Phase.NEEDS_INTERVENTION, reason=reason)

    def fenced(self, intent: Intent, step: Step, **changes: Any) -> Step:
        """Return the step, if the write before it announced it, else that write."""
        return step if self.seen.fence is intent else self.write(intent=intent, **changes)

    # ── what several phases do ───────────────────────────────────────────────────────────────────────────────────────

    def wait(self, reason: Reason) -> Wait:
        return Wait(self.now + self.policy.retry, reason)

    def probe(self, which: Which, value: Value) -> Step | Login:
        """Return a login's result, works or refused, or what is to be done before it is known.

        A probe is counted before it is sent, since a process may die of it; one that reached nobody is taken back.
        """
        entry, seen, now = self.entry, self.seen, self.now
        if seen.probed is not None and seen.probed.which is which:
            if seen.probed.login is not Login.UNREACHABLE:
                return seen.probed.login
            if entry.intent is Intent.PROBE:
                return self.write(attempts=entry.attempts - 1, not_before=None)
            return self.wait(Reason.TARGET_UNREACHABLE)
        if seen.fence is Intent.PROBE:
            return Probe(which, value)
        if entry.attempts >= MAX_PROBES:
            return self.exhausted()
        if entry.not_before is not None and now < entry.not_before:
            return Wait(entry.not_before, Reason.SPACING_PROBES)
        pause = self.policy.probe_spacing * 2**entry.attempts
        return self.write(intent=Intent.PROBE, attempts=entry.attempts + 1, not_before=now + pause)

    def exhausted(self) -> Step:
        """Say what no more probes mean: before the promotion it is undone, while undoing a person has to look."""
        if self.entry.phase is Phase.PENDING:
            return self.write(Phase.ABORTING, reason=Reason.PROBES_EXHAUSTED)
        return self.give_up(Reason.PROBES_EXHAUSTED)

    def deliver(self, value: Value) -> Step | None:
        """Deliver once in each phase; None when that is done."""
        if self.entry.delivered:
            return None
        live_version = _number(self.entry.live_version)
        match self.seen.delivered:
            case Delivered.DONE:
                return self.write(delivered=True)
            case Delivered.SUPERSEDED:
                return self.give_up(Reason.EXTERNAL_CHANGE)
            case None:  # pragma: no branch - the last there is
                return self.fenced(Intent.DELIVER, Deliver(value, live_version))

    def prove(self, value: Value, *, may_revert: bool, may_skip: bool) -> Step | None:
        """Wait until all consumers proved that they hold a value; None when they did, or need not."""
        if self.seen.proofs is None:
            return AwaitProofs(value, _number(self.entry.live_version))
        if self.seen.proofs is Proofs.PROVED:
            return None
        late = self.entry.deadline is None or self.now >= self.entry.deadline
        if late and may_revert and self.policy.on_proof_timeout is OnProofTimeout.REVERT:
            return self.revert(Reason.PROOF_TIMEOUT)
        if late and may_skip and self.policy.on_proof_timeout is OnProofTimeout.PROCEED:
            return None
        # What somebody else wrote meanwhile no consumer will ever prove.
        return self.still_live(value) or self.wait(Reason.AWAITING_CONSUMERS)

    def read_live(self, at_least: int) -> Step | Value:
        """Return the live value, or what is to be done before it is known. An older version is a standby's answer."""
        live = self.seen.live
        if live is None:
            return ReadLive()
        if live.version < at_least:
            return self.wait(Reason.STALE_READ)
        return self.give_up(Reason.LIVE_UNREADABLE) if live.value is None else live.value

    def still_live(self, value: Value) -> Step | None:
        """Make sure that nobody else wrote the live path after us; None when it holds the value."""
        found = self.read_live(_number(self.entry.live_version))
        if not isinstance(found, Redacted):
            return found
        return None if found == value else self.give_up(Reason.EXTERNAL_CHANGE)


def _held(value: Value | None) -> Value:
    assert value is not None  # noqa: S101 - every phase that is not terminal holds its values
    return value


def _number(version: int | None) -> int:
    assert version is not None  # noqa: S101 - from Promoted on it is known
    return version
