"""Does what the machine says, by the ports: one pass of a rotation. It blocks, and keeps nothing between passes."""

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TypeAlias

from elile.secrets.rotation.journal import Journal, JournalEntry, JournalStore, Value
from elile.secrets.rotation.machine import next_step
from elile.secrets.rotation.policy import OnInconclusive, Policy
from elile.secrets.rotation.ports import AccountTarget, Consumers, Fence, Inbox, LivePath, Target
from elile.secrets.rotation.steps import (
    Answer,
    Apply,
    AwaitProofs,
    Deliver,
    Finished,
    Generate,
    Lock,
    Locked,
    NeedsPerson,
    Observations,
    Preflight,
    Preflighted,
    Probe,
    Probed,
    ReadLive,
    Restore,
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
    observe,
    recorded,
)
from elile.secrets.rotation.verify.hooks import Hook, Judged, judge, together
from elile.secrets.rotation.verify.negative import refused_after
from elile.secrets.rotation.verify.outcome import Outcome

__all__ = ["End", "Engine", "Parts", "hooks_of"]

End: TypeAlias = Wait | Finished | NeedsPerson

# The target's own check, which comes first: a login that proves whose value it is.
OWN_CHECK = "target"


def _nothing(_: object) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What an engine works with.

    path is the live path, as the journal knows it; journal_id the fence's (see `ports.Fence`). verify_timeout: seconds
    for the target's own check (10). negative: the old value has to work until it is locked, and to be refused then.
    """

    path: str
    journal_id: str
    journal: JournalStore
    live: LivePath
    target: Target
    consumers: Consumers
    inbox: Inbox | None = None
    hooks: Sequence[Hook] = ()
    verify_timeout: float = 10.0
    negative: bool = False


def hooks_of(parts: Parts, stage: Stage) -> list[Hook]:
    """Return what is run in a stage: the target's own check, but for Preflight, which has a login of its own."""
    asked = [hook for hook in parts.hooks if stage in hook.stages]
    if stage is Stage.PREFLIGHT:
        return asked
    own = Hook(name=OWN_CHECK, check=lambda value: parts.target.verify(value, timeout=parts.verify_timeout))
    return [own, *asked]


class Engine:
    """Runs passes. `guard` is called just before each side effect and raises to end the pass, such as a lost lease.

    `on_record` is told each entry that was written to the journal, `on_judged` what each hook came to. Neither may
    raise; both see values, in their wrappers.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], None] = time.sleep,
        guard: Callable[[], None] = lambda: None,
        on_record: Callable[[JournalEntry], None] = _nothing,
        on_judged: Callable[[Judged], None] = _nothing,
    ) -> None:
        self._parts = parts
        self._now = now
        self._sleep = sleep
        self._guard = guard
        self._on_record = on_record
        self._on_judged = on_judged

    def run(self, policy: Callable[[], Policy]) -> End:
        """Go on until there is nothing to do, or to wait for. `policy` is asked before each decision, and is quick.

        Raises SecretConflictError when somebody else goes on with the rotation, and SecretsError when a call had no
        answer: run again later, the journal says where it stands.
        """
        going = self.steps(policy)
        while True:
            try:
                next(going)
            except StopIteration as end:
                ended: End = end.value
                return ended

    def steps(self, policy: Callable[[], Policy]) -> Generator[Step | None, None, End]:
        """As `run`, stopping before each call: None before the journal is read, else the step."""
        yield None
        journal = self._parts.journal.read(self._parts.path)
        seen = Observations()
        latest = self._now()
        hold: OnInconclusive | None = None
        while True:
            latest = max(latest, self._now())  # a clock that is set back must not take back what was decided
            allowed = policy()
            allowed = replace(
                allowed,
                on_inconclusive=hold or allowed.on_inconclusive,
                check_old=allowed.check_old or self._parts.negative,
            )
            step = next_step(journal, seen, latest, allowed)
            match step:
                case Wait() | Finished() | NeedsPerson():
                    return step
                case WriteJournal():
                    yield step
                    version = self._parts.journal.write(self._parts.path, step.entry, cas=step.cas)
                    seen = recorded(seen, journal.entry, step.entry)
                    journal = Journal(step.entry, version)
                    self._on_record(step.entry)
                case Verify(stage=Stage.PREFLIGHT):
                    yield step
                    seen = observe(seen, together(self._judge(step.value, step.stage)))
                case Verify():
                    yield step
                    outcome, hold = self._verify(step)
                    seen = observe(seen, outcome)
                case _:
                    yield step
                    seen = observe(seen, self._do(step))

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, step: Step) -> Answer:
        parts = self._parts
        match step:
            case Preflight():
                return Preflighted(parts.live.preflight() or parts.target.preflight(step.current))
            case ReadLive():
                return parts.live.read()
            case Generate():
                return parts.target.generate(step.current, step.taken)
            case Probe():
                return Probed(step.which, self._accounts().probe(step.value))
            case AwaitProofs():
                return parts.consumers.proofs(step.value, step.live_version)
        self._guard()
        match step:
            case Apply():
                return self._accounts().apply(step.value, fence=self._fence(step.epoch))
            case WriteLive():
                return parts.live.write(step.value, cas=step.cas)
            case Deliver():
                return parts.consumers.deliver(step.value, step.live_version)
            case Lock():
                return self._lock(step)
            case Restore():
                return self._accounts().restore(step.value, fence=self._fence(step.epoch))
            case TakeInbox():
                if parts.inbox is not None:
                    parts.inbox.destroy(step.version)
                return Taken()
            case Wipe():
                parts.journal.wipe(parts.path, keep_version=step.keep_version)
                return Wiped()
        raise AssertionError(f"{type(step).__name__} is no call")  # pragma: no cover - all are above

    def _fence(self, epoch: int) -> Fence:
        return Fence(self._parts.journal_id, epoch)

    def _accounts(self) -> AccountTarget:
        target = self._parts.target
        assert isinstance(target, AccountTarget)  # noqa: S101 - its strategy is one of those with accounts
        return target

    def _lock(self, step: Lock) -> Locked:
        fence = self._fence(step.epoch)
        done = self._accounts().lock(step.value, step.keep, fence=fence, end_sessions=step.end_sessions)
        if done is not Locked.DONE or not self._parts.negative:
            return done
        match refused_after(self._accounts().probe, step.value).outcome:
            case Outcome.PASSED:
                return Locked.DONE
            case Outcome.FAILED:
                return Locked.STILL_WORKS
            case Outcome.INCONCLUSIVE:  # pragma: no branch - the last there is
                return Locked.UNREACHABLE

    def _verify(self, step: Verify) -> tuple[Outcome, OnInconclusive | None]:
        """Return the outcome, and for an inconclusive one what it means where the hooks say so."""
        judged = self._judge(step.value, step.stage)
        outcomes = {one.verification.outcome for one in judged}
        if Outcome.FAILED in outcomes:
            return Outcome.FAILED, None
        if Outcome.INCONCLUSIVE not in outcomes:
            return Outcome.PASSED, None
        undecided = [one.hook for one in judged if one.verification.outcome is Outcome.INCONCLUSIVE]
        hold = all(hook.on_inconclusive is OnInconclusive.HOLD for hook in undecided)
        return Outcome.INCONCLUSIVE, OnInconclusive.HOLD if hold else None

    def _judge(self, value: Value, stage: Stage) -> list[Judged]:
        judged = judge(value, hooks_of(self._parts, stage), sleep=self._sleep)
        for one in judged:
            self._on_judged(one)
        return judged
