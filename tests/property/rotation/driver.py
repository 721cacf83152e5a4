"""A thin driver: does what the machine says, in the world of the tests. And the designs that are known to be wrong.

A pass is a generator that stops before every call, so that one driver can be frozen at any point while another runs.
"""

from collections.abc import Generator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import Intent, Journal, JournalEntry, Owner, Phase, Strategy, Value
from elile.secrets.rotation.machine import next_step
from elile.secrets.rotation.policy import Command, CommandKind, Policy, Request, Retire
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
from elile.secrets.rotation.verify.outcome import Outcome
from tests.property.rotation.world import (
    GRACE,
    START,
    CasError,
    CrashError,
    FencedError,
    TransientError,
    World,
    credential,
    key,
    keyset,
)

OWNER = Owner("cluster", "team", "db", "uid-1")
PASSES = 120


class Wrong(StrEnum):
    """Designs that lose something; the checker has to find each of them out."""

    APPLY_BEFORE_PERSIST = "apply before the value is persisted"
    PENDING_ON_LIVE = "the pending value is written to the live path"
    NO_FENCE = "no intent is written before a side effect"
    MISMATCH_IS_CONFLICT = "a mismatch is always somebody else's write"
    NO_PROOF = "retired without proof"
    OWN_PROOF_ONLY = "proof is asked of one reader only"
    NO_ROLLBACK_VALUE = "the previous value is not kept"
    NO_VERIFICATION = "the pending value is not verified"
    NO_SECOND_VERIFICATION = "the new value is not verified again before the old one ends"
    NO_GRACE = "the grace is skipped"
    NO_WIPE = "the journal is not wiped"
    NEW_VALUE_EACH_TRY = "each try makes a new value"
    NO_HISTORY = "ended rotations are not remembered"
    DELETE_ON_ROLLBACK = "a rollback deletes the rejected version"
    LIVE_WITHOUT_CAS = "the live path is written without check-and-set"
    UNCOUNTED_PROBES = "wrong passwords are not counted"
    LOCK_BEFORE_WRITING_BACK = "a rollback locks the rejected value first"
    ABORT_OF_WHAT_WAS_SENT = "an abort does not wait for a live write that may have been sent"
    LOCK_ONLY_WHAT_WORKS = "an abort leaves the target alone when the pending value does not work yet"
    METADATA_DELETED = "the metadata of the journal is deleted at the end"


@dataclass(slots=True)
class Driver:
    """One process; `wrong` makes it another design; a deaf one has not heard of the command yet."""

    world: World
    wrong: Wrong | None = None
    owner: Owner = OWNER
    occurrence: str = "2026-11-24T02:30[Etc/UTC]"
    handled: bool = False
    deaf: bool = False

    def policy(self) -> Policy:
        scenario = self.world.scenario
        entry, _ = self.world.journal.read()
        command = None
        if scenario.command is not None and not self.deaf:
            phase, kind = scenario.command
            self.handled |= entry is not None and entry.phase is phase
            command = Command(CommandKind(kind), "person/1") if self.handled else None
        return Policy(
            owner=self.owner,
            strategy=scenario.strategy,
            request=Request(f"id-{self.occurrence}", self.occurrence),
            command=command,
            grace=GRACE,
            verify_for=timedelta(seconds=30),
            proof_timeout=timedelta(seconds=60),
            window_closes=START + timedelta(seconds=15) if scenario.window else None,
            on_proof_timeout=scenario.on_timeout,
            retire=Retire.NOW if scenario.hurried else Retire.WHEN_PROVED,
        )

    def run(self) -> bool:
        """One pass, to its end. True when there is nothing left to do."""
        try:
            going = self.steps()
            while True:
                next(going)
        except StopIteration as end:
            return bool(end.value)
        except (CrashError, TransientError, CasError, FencedError):
            return False

    def until_done(self) -> None:
        for _ in range(PASSES):
            if self.run():
                return

    def steps(self) -> Generator[str, None, bool]:
        """Stop before each call. Returns True when finished; raises what ends a pass."""
        world = self.world
        yield "journal.read"
        behind = lambda: Journal(*world.journal.read(behind=True))  # noqa: E731 - one of two like it
        journal = world.call("journal.read", lambda: Journal(*world.journal.read()), behind)
        if self.wrong is Wrong.ABORT_OF_WHAT_WAS_SENT and journal.entry and journal.entry.phase is Phase.VERIFIED:
            journal = Journal(replace(journal.entry, intent=None), journal.version)
        seen = Observations()
        while True:
            step = next_step(journal, seen, self._now(journal), self.policy())
            if isinstance(step, Finished | NeedsPerson):
                return True
            if isinstance(step, Wait):
                world.now = max(world.now, step.until)
                return False
            if isinstance(step, WriteJournal):
                journal, seen = yield from self._record(journal, seen, step)
                continue
            yield type(step).__name__
            seen = observe(seen, self._do(step, journal))

    def _now(self, journal: Journal) -> datetime:
        entry = journal.entry
        if self.wrong is Wrong.NO_GRACE and entry is not None and entry.phase is Phase.GRACE:
            return self.world.now + GRACE
        return self.world.now

    # ── the journal ──────────────────────────────────────────────────────────────────────────────────────────────────

    def _record(
        self, journal: Journal, seen: Observations, step: WriteJournal
    ) -> Generator[str, None, tuple[Journal, Observations]]:
        world, entry = self.world, step.entry
        before = journal.entry
        if self._is_only_intent(before, entry):
            return Journal(entry, journal.version), recorded(seen, before, entry)
        if self.wrong is Wrong.NO_ROLLBACK_VALUE and entry.phase is Phase.PENDING:
            entry = replace(entry, previous=None)
        if self.wrong is Wrong.UNCOUNTED_PROBES:
            entry = replace(entry, attempts=0, not_before=None)
        if self.wrong is Wrong.NO_HISTORY:
            entry = replace(entry, history=())
        yield "journal.write"
        version = world.call(f"journal.write {entry.phase}", lambda: world.write_journal(entry, step.cas))
        if self.wrong is Wrong.PENDING_ON_LIVE and entry.phase is Phase.PENDING and before is None:
            assert entry.pending is not None
            pending = entry.pending
            world.call("live.write", lambda: world.write_live(pending, None))
        return Journal(entry, version), recorded(seen, before, entry)

    def _is_only_intent(self, before: JournalEntry | None, entry: JournalEntry) -> bool:
        """Whether a wrong design leaves this write out."""
        if before is None or before.phase is not entry.phase or entry.intent is None:
            return False
        probes = self.wrong is Wrong.UNCOUNTED_PROBES and entry.intent is Intent.PROBE
        return probes or self.wrong is Wrong.NO_FENCE

    # ── everything else ──────────────────────────────────────────────────────────────────────────────────────────────

    def _do(self, step: object, journal: Journal) -> Answer:
        world = self.world
        match step:
            case Preflight():
                return Preflighted()
            case ReadLive():
                return self._read_live(journal)
            case Generate():
                return self._generate(step, journal)
            case Probe():
                look = lambda: Login.WORKS if world.probe(step.value) else Login.REFUSED  # noqa: E731 - read below
                return Probed(step.which, world.call("probe", look, lambda: Login.UNREACHABLE, once=True))
            case Verify():
                return self._verify(step)
            case AwaitProofs():
                if self.wrong is Wrong.NO_PROOF:
                    return Proofs.PROVED
                only = 1 if self.wrong is Wrong.OWN_PROOF_ONLY else None
                proved = world.call("proofs", lambda: world.look(step.value, only))
                if not proved:
                    world.now += timedelta(seconds=1)
                return Proofs.PROVED if proved else Proofs.WAITING
            case TakeInbox():
                return world.call("inbox.destroy", Taken)
            case _:
                return self._change(step, journal)

    def _change(self, step: object, journal: Journal) -> Answer:
        world = self.world
        match step:
            case Apply():
                return self._apply(step)
            case WriteLive():
                return self._write_live(step, journal)
            case Deliver():
                own = world.secrets[0]
                done = world.call("deliver", lambda: world.deliver(own, step.value, step.live_version))
                return Delivered.DONE if done else Delivered.SUPERSEDED
            case Lock():
                return world.call("lock", lambda: self._lock(step), lambda: Locked.UNREACHABLE)
            case Restore():
                return world.call("restore", lambda: self._restore(step), lambda: Restored.UNREACHABLE)
            case Wipe():
                return self._wipe(step)
            case _:
                raise AssertionError(type(step).__name__)

    def _lock(self, step: Lock) -> Locked:
        if self.wrong is Wrong.LOCK_ONLY_WHAT_WORKS and not self.world.login(step.value):
            return Locked.DONE
        done = self.world.lock(step.value, step.keep, step.epoch)
        return Locked.DONE if done else Locked.IN_USE

    def _restore(self, step: Restore) -> Restored:
        alone = self.world.scenario.strategy is not Strategy.DUAL_PASSWORD
        self.world.change(step.value, step.epoch, valid=True, alone=alone)
        return Restored.ACCEPTED

    def _read_live(self, journal: Journal) -> Live:
        world, entry = self.world, journal.entry

        def read(behind: bool) -> Live:
            value, version = world.live.read(behind=behind)
            return Live(version, value)

        live = world.call("live.read", lambda: read(False), lambda: read(True))
        if self.wrong is Wrong.MISMATCH_IS_CONFLICT and entry is not None:
            forged: Value = Redacted({"username": "a", "password": "of somebody else"})
            if entry.phase in (Phase.VERIFIED, Phase.ABORTING) and live.value == entry.pending:
                return Live(live.version, forged)
        return live

    def _generate(self, step: Generate, journal: Journal) -> Generated:
        world = self.world
        world.made += 1
        if world.scenario.strategy is Strategy.EXTERNAL and world.made > 1 and step.taken:
            return Generated(None)
        if world.keys:
            return Generated(keyset("k1", "k0", "k1"), keyset("k0", "k0", "k1"))
        held = step.current.reveal()
        other = world.scenario.strategy is Strategy.DUAL_USER and held["username"] == "a"
        user = "b" if other else "a"
        value = credential(user, f"p{world.made}")
        if self.wrong is Wrong.APPLY_BEFORE_PERSIST and journal.entry is None:
            world.call("apply", lambda: world.change(value, 1, valid=True, alone=other))
        return Generated(value, inbox_version=world.made)

    def _verify(self, step: Verify) -> Outcome:
        world = self.world
        if self.wrong is Wrong.NO_VERIFICATION and step.stage is Stage.PENDING:
            return Outcome.PASSED
        if self.wrong is Wrong.NO_SECOND_VERIFICATION and step.stage is Stage.BEFORE_RETIRE:
            return Outcome.PASSED

        def look() -> Outcome:
            wanted = world.scenario.hook if step.stage is Stage.PENDING else world.scenario.after
            if wanted == "fails":
                return Outcome.FAILED
            if wanted == "inconclusive":
                return Outcome.INCONCLUSIVE
            if world.target and not world.login(step.value):
                return Outcome.FAILED
            world.verified.add(key(step.value))
            if world.keys:  # what is handed out first has the same keys
                world.verified.add(key(keyset("k0", "k0", "k1")))
            world.proved_good, world.proved_at = key(step.value), world.now
            return Outcome.PASSED

        return world.call("verify", look, lambda: Outcome.INCONCLUSIVE)

    def _apply(self, step: Apply) -> Applied:
        world = self.world
        value: Value = step.value
        if self.wrong is Wrong.NEW_VALUE_EACH_TRY:
            world.made += 1
            value = credential(str(value.reveal()["username"]), f"p{world.made}")
        if world.scenario.target == "unreachable":
            return world.call("apply", lambda: Applied.UNREACHABLE)
        limit = {"rejects once": 1, "rejects": 99}.get(world.scenario.target, 0)

        def act() -> Applied:
            if limit and (world.rejected < limit or value.reveal()["password"] == "p1"):
                world.rejected += 1
                return Applied.REJECTED
            alone = world.scenario.strategy is not Strategy.DUAL_PASSWORD
            world.change(value, step.epoch, valid=True, alone=alone)
            return Applied.ACCEPTED

        return world.call("apply", act, lambda: Applied.UNREACHABLE)

    def _write_live(self, step: WriteLive, journal: Journal) -> Written:
        world, entry = self.world, journal.entry
        if world.scenario.foreign:
            world.meddle()
        reverting = entry is not None and entry.phase is Phase.REVERTING
        if self.wrong is Wrong.DELETE_ON_ROLLBACK and reverting:
            world.call("live.delete", lambda: world.live.versions.pop(world.live.current, None))
        if self.wrong is Wrong.LOCK_BEFORE_WRITING_BACK and reverting and entry is not None:
            rejected, keep = entry.pending, step.value
            assert rejected is not None
            world.call("lock", lambda: world.lock(rejected, keep, journal.version))
        cas = None if self.wrong is Wrong.LIVE_WITHOUT_CAS else step.cas
        try:
            return Written(world.call("live.write", lambda: world.write_live(step.value, cas)))
        except CasError:
            return Written(None)

    def _wipe(self, step: Wipe) -> Wiped:
        world = self.world
        if self.wrong is Wrong.NO_WIPE:
            return Wiped()
        if self.wrong is Wrong.METADATA_DELETED:
            world.journal.versions, world.journal.current = {}, 0
        world.call("journal.destroy", lambda: world.journal.destroy(step.keep_version))
        return Wiped()
