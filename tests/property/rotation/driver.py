"""The real engine, over the world of the tests. And the designs that are known to be wrong.

A pass is a generator that stops before every call, so that one driver can be frozen at any point while another runs.
"""

from collections.abc import Generator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from elile.secrets.redact import Redacted
from elile.secrets.rotation.engine import Engine, Parts
from elile.secrets.rotation.journal import Intent, Journal, JournalEntry, Owner, Phase, Strategy, Value
from elile.secrets.rotation.policy import Command, CommandKind, Policy, Request, Retire
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.steps import (
    Applied,
    Delivered,
    Generated,
    Live,
    Locked,
    Login,
    Proofs,
    Restored,
    Stage,
    Wait,
    Written,
)
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.rotation.verify.outcome import Outcome, Verification
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
VERDICTS = {
    Outcome.PASSED: Verification.passed("it works"),
    Outcome.FAILED: Verification.failed("it does not"),
    Outcome.INCONCLUSIVE: Verification.inconclusive("nobody knows"),
}


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
    COMPROMISED_COMES_BACK = "a rollback brings back what is compromised"
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
    known: Journal = field(default_factory=lambda: Journal(None, 0))

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
            may_revert=not scenario.compromised or self._unaware(entry),
        )

    def _unaware(self, entry: JournalEntry | None) -> bool:
        """Who is called in the end has not been told what is compromised: the journal knows."""
        called = entry is not None and entry.phase is Phase.NEEDS_INTERVENTION
        return called or self.wrong is Wrong.COMPROMISED_COMES_BACK

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

    def steps(self) -> Generator[object, None, bool]:
        """Stop before each call. Returns True when finished; raises what ends a pass."""
        ports = Ports(self)
        parts = Parts(
            path="path",
            journal_id="journal",
            journal=ports,
            live=LivePort(self),
            target=ports,
            consumers=ports,
            inbox=InboxPort(self),
            negative=self.world.scenario.negative,
            hooks=[
                Hook(name=name, check=check, stages=stages, attempts=1)
                for name, check, stages in (
                    ("pending", ports.judge_pending, frozenset({Stage.PENDING})),
                    ("after", ports.judge_promoted, frozenset({Stage.AFTER_PROMOTE})),
                    ("retire", ports.judge_retiring, frozenset({Stage.BEFORE_RETIRE})),
                )
            ],
        )
        end = yield from Engine(parts, now=self.now).steps(self.policy)
        if isinstance(end, Wait):
            self.world.now = max(self.world.now, end.until)
            return False
        return True

    def now(self) -> datetime:
        entry = self.known.entry
        if self.wrong is Wrong.NO_GRACE and entry is not None and entry.phase is Phase.GRACE:
            return self.world.now + GRACE
        return self.world.now


class InboxPort:
    """Where External takes its values from."""

    def __init__(self, driver: Driver) -> None:
        self._world = driver.world

    def destroy(self, version: int) -> None:
        self._world.call("inbox.destroy", lambda: None)


class LivePort:
    """The live path."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._world = driver.world

    def preflight(self) -> str:
        return ""

    def read(self) -> Live:
        world, entry = self._world, self._driver.known.entry

        def read(behind: bool) -> Live:
            value, version = world.live.read(behind=behind)
            return Live(version, value)

        live = world.call("live.read", lambda: read(False), lambda: read(True))
        if self._driver.wrong is Wrong.MISMATCH_IS_CONFLICT and entry is not None:
            forged: Value = Redacted({"username": "a", "password": "of somebody else"})
            if entry.phase in (Phase.VERIFIED, Phase.ABORTING) and live.value == entry.pending:
                return Live(live.version, forged)
        return live

    def write(self, value: Value, *, cas: int) -> Written:
        world, wrong, journal = self._world, self._driver.wrong, self._driver.known
        entry = journal.entry
        if world.scenario.foreign:
            world.meddle()
        reverting = entry is not None and entry.phase is Phase.REVERTING
        if wrong is Wrong.DELETE_ON_ROLLBACK and reverting:
            world.call("live.delete", lambda: world.live.versions.pop(world.live.current, None))
        if wrong is Wrong.LOCK_BEFORE_WRITING_BACK and reverting and entry is not None:
            rejected = entry.pending
            assert rejected is not None
            world.call("lock", lambda: world.lock(rejected, value, journal.version))
        expected = None if wrong is Wrong.LIVE_WITHOUT_CAS else cas
        try:
            return Written(world.call("live.write", lambda: world.write_live(value, expected)))
        except CasError:
            return Written(None)


class Ports:
    """The journal, the target and the consumers."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._world = driver.world
        self._wrong = driver.wrong
        self.strategy = driver.world.scenario.strategy

    # ── the journal ──────────────────────────────────────────────────────────────────────────────────────────────────

    def read(self, path: str) -> Journal:
        world = self._world
        behind = lambda: Journal(*world.journal.read(behind=True))  # noqa: E731 - one of two like it
        found = world.call("journal.read", lambda: Journal(*world.journal.read()), behind)
        if self._wrong is Wrong.ABORT_OF_WHAT_WAS_SENT and found.entry and found.entry.phase is Phase.VERIFIED:
            found = Journal(replace(found.entry, intent=None), found.version)
        self._driver.known = found
        return found

    def write(self, path: str, entry: JournalEntry, *, cas: int) -> int:
        world, before = self._world, self._driver.known.entry
        if self._is_only_intent(before, entry):
            self._driver.known = Journal(entry, cas)
            return cas
        written = entry
        if self._wrong is Wrong.NO_ROLLBACK_VALUE and entry.phase is Phase.PENDING:
            written = replace(entry, previous=None)
        if self._wrong is Wrong.UNCOUNTED_PROBES:
            written = replace(entry, attempts=0, not_before=None)
        if self._wrong is Wrong.NO_HISTORY:
            written = replace(entry, history=())
        version = world.call(f"journal.write {entry.phase}", lambda: world.write_journal(written, cas))
        if self._wrong is Wrong.PENDING_ON_LIVE and entry.phase is Phase.PENDING and before is None:
            pending = entry.pending
            assert pending is not None
            world.call("live.write", lambda: world.write_live(pending, None))
        self._driver.known = Journal(entry, version)
        return version

    def _is_only_intent(self, before: JournalEntry | None, entry: JournalEntry) -> bool:
        """Whether a wrong design leaves this write out."""
        if before is None or before.phase is not entry.phase or entry.intent is None:
            return False
        probes = self._wrong is Wrong.UNCOUNTED_PROBES and entry.intent is Intent.PROBE
        return probes or self._wrong is Wrong.NO_FENCE

    def wipe(self, path: str, *, keep_version: int) -> None:
        world = self._world
        if self._wrong is Wrong.NO_WIPE:
            return
        if self._wrong is Wrong.METADATA_DELETED:
            world.journal.versions, world.journal.current = {}, 0
        world.call("journal.destroy", lambda: world.journal.destroy(keep_version))

    # ── the target ───────────────────────────────────────────────────────────────────────────────────────────────────

    def preflight(self, current: Value) -> str:
        return ""

    def generate(self, current: Value, taken: int) -> Generated:
        world = self._world
        world.made += 1
        if self.strategy is Strategy.EXTERNAL and world.made > 1 and taken:
            return Generated(None)
        if world.keys:
            return Generated(keyset("k1", "k0", "k1"), keyset("k0", "k0", "k1"))
        held = current.reveal()
        other = self.strategy is Strategy.DUAL_USER and held["username"] == "a"
        user = "b" if other else "a"
        value = credential(user, f"p{world.made}")
        if self._wrong is Wrong.APPLY_BEFORE_PERSIST and self._driver.known.entry is None:
            world.call("apply", lambda: world.change(value, 1, valid=True, alone=other))
        return Generated(value, inbox_version=world.made)

    def verify(self, value: Value, *, timeout: float) -> Verification:
        return VERDICTS[Outcome.PASSED]  # the hooks judge, which know the stage

    def probe(self, value: Value) -> Login:
        world = self._world
        look = lambda: Login.WORKS if world.probe(value) else Login.REFUSED  # noqa: E731 - read below
        return world.call("probe", look, lambda: Login.UNREACHABLE, once=True)

    def apply(self, value: Value, *, fence: Fence) -> Applied:
        world = self._world
        if self._wrong is Wrong.NEW_VALUE_EACH_TRY:
            world.made += 1
            value = credential(str(value.reveal()["username"]), f"p{world.made}")
        if world.scenario.target == "unreachable":
            return world.call("apply", lambda: Applied.UNREACHABLE)
        limit = {"rejects once": 1, "rejects": 99}.get(world.scenario.target, 0)

        def act() -> Applied:
            if limit and (world.rejected < limit or value.reveal()["password"] == "p1"):
                world.rejected += 1
                return Applied.REJECTED
            world.change(value, fence.epoch, valid=True, alone=self._alone)
            return Applied.ACCEPTED

        return world.call("apply", act, lambda: Applied.UNREACHABLE)

    def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:
        world = self._world

        def act() -> Locked:
            if self._wrong is Wrong.LOCK_ONLY_WHAT_WORKS and not world.login(value):
                return Locked.DONE
            return Locked.DONE if world.lock(value, keep, fence.epoch) else Locked.IN_USE

        return world.call("lock", act, lambda: Locked.UNREACHABLE)

    def restore(self, value: Value, *, fence: Fence) -> Restored:
        def act() -> Restored:
            self._world.change(value, fence.epoch, valid=True, alone=self._alone)
            return Restored.ACCEPTED

        return self._world.call("restore", act, lambda: Restored.UNREACHABLE)

    @property
    def _alone(self) -> bool:
        return self.strategy is not Strategy.DUAL_PASSWORD

    # ── hooks ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def judge_pending(self, value: Value) -> Verification:
        if self._wrong is Wrong.NO_VERIFICATION:
            return VERDICTS[Outcome.PASSED]
        return self._judge(value, self._world.scenario.hook)

    def judge_promoted(self, value: Value) -> Verification:
        return self._judge(value, self._world.scenario.after)

    def judge_retiring(self, value: Value) -> Verification:
        if self._wrong is Wrong.NO_SECOND_VERIFICATION:
            return VERDICTS[Outcome.PASSED]
        return self._judge(value, self._world.scenario.after)

    def _judge(self, value: Value, wanted: str) -> Verification:
        world = self._world

        def look() -> Outcome:
            if wanted == "fails":
                return Outcome.FAILED
            if wanted == "inconclusive":
                return Outcome.INCONCLUSIVE
            if world.target and not world.login(value):
                return Outcome.FAILED
            world.verified.add(key(value))
            if world.keys:  # what is handed out first has the same keys
                world.verified.add(key(keyset("k0", "k0", "k1")))
            world.proved_good, world.proved_at = key(value), world.now
            return Outcome.PASSED

        return VERDICTS[world.call("verify", look, lambda: Outcome.INCONCLUSIVE)]

    # ── the consumers ────────────────────────────────────────────────────────────────────────────────────────────────

    def deliver(self, value: Value, live_version: int) -> Delivered:
        world = self._world
        own = world.secrets[0]
        done = world.call("deliver", lambda: world.deliver(own, value, live_version))
        return Delivered.DONE if done else Delivered.SUPERSEDED

    def proofs(self, value: Value, live_version: int) -> Proofs:
        world = self._world
        if self._wrong is Wrong.NO_PROOF:
            return Proofs.PROVED
        only = 1 if self._wrong is Wrong.OWN_PROOF_ONLY else None
        proved: Any = world.call("proofs", lambda: world.look(value, only))
        if not proved:
            world.now += timedelta(seconds=1)
        return Proofs.PROVED if proved else Proofs.WAITING
