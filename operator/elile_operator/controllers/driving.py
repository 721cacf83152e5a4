"""One run of one schedule: the parts of the rotation engine, and its passes in a thread, step by step."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from elile.secrets.errors import SecretAccessDeniedError, SecretNotFoundError
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.engine import End, Engine, Parts
from elile.secrets.rotation.inbox_kv import KVInbox
from elile.secrets.rotation.journal import Journal, JournalEntry, Phase, Value
from elile.secrets.rotation.journal_kv import KVJournal
from elile.secrets.rotation.live_kv import KVLive
from elile.secrets.rotation.policy import Policy
from elile.secrets.rotation.ports import SessionSource, Target
from elile.secrets.rotation.steps import Live, Step, Written
from elile.secrets.rotation.targets.admin import AdminEntry, TargetNotAllowedError
from elile.secrets.rotation.targets.external import ExternalTarget
from elile.secrets.rotation.verify.hooks import Judged
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile.secrets.vault_backend import KV2Entries
from elile_operator.api import verify
from elile_operator.api.reasons import Reason
from elile_operator.api.rotation import VerificationStatus
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.api.targets import Apply, MariaDBApply, PostgreSQLApply, RedisApply
from elile_operator.decide.place import Place
from elile_operator.decide.readers import Reader
from elile_operator.decide.violation import Violation
from elile_operator.delivery.followers import ClusterFollowers, Quiet, Readers
from elile_operator.delivery.hooks import OnTry, build_hooks, wants_negative
from elile_operator.delivery.targets import build_target
from elile_operator.sources.rotator import RotatorCalls

__all__ = ["Driver", "Ground", "RunState"]

T = TypeVar("T")

# In which stage hooks are run, by the phase that the journal is in.
_STAGES = {
    Phase.APPLIED: verify.VerifyStage.PENDING,
    Phase.PROMOTED: verify.VerifyStage.AFTER_PROMOTE,
    Phase.GRACE: verify.VerifyStage.BEFORE_RETIRE,
    Phase.RETIRING: verify.VerifyStage.BEFORE_RETIRE,
}
_RESULTS = {
    Outcome.PASSED: ("Passed", Reason.VERIFICATION_PASSED),
    Outcome.FAILED: ("Failed", Reason.VERIFICATION_FAILED),
    Outcome.INCONCLUSIVE: ("Inconclusive", Reason.VERIFICATION_INCONCLUSIVE),
}


@dataclass(slots=True)
class RunState:
    """What a process remembers of a run between its passes; all of it can be found out again."""

    quiet: Quiet = field(default_factory=Quiet)
    entry: JournalEntry | None = None
    verification: list[VerificationStatus] = field(default_factory=list)
    detail: str = ""  # of the last hook that did not pass
    conflicts: int = 0  # in a row
    tries: Counter[tuple[str, str]] = field(default_factory=Counter)  # of job hooks, by phase and name
    told: Phase | None = None  # the last phase that the statuses tell of
    refusal: Violation | None = None  # of the last preflight
    waits_for: tuple[tuple[Reader, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """What a pass stands on. `can_follow` tells why the readers could not, and blocks as `readers` does."""

    schedule: RotationSchedule
    place: Place
    admin_mount: str
    calls: RotatorCalls
    readers: Readers
    can_follow: Callable[[], Violation | None]
    run_job: Callable[[verify.Hook, Value], Verification]
    journal_id: str
    state: RunState


class Driver:
    """Runs passes of the engine in threads of its own.

    `dialer_of` has what a namespace may connect to; `guard` is asked before each side effect; `on_try` is told of each
    try of a hook, in these threads.
    """

    def __init__(
        self,
        *,
        threads: ThreadPoolExecutor,
        dialer_of: Callable[[str], Dialer],
        now: Callable[[], datetime],
        monotonic: Callable[[], float],
        guard: Callable[[], None],
        on_try: OnTry,
    ) -> None:
        self._threads = threads
        self._dialer_of = dialer_of
        self._now = now
        self._monotonic = monotonic
        self._guard = guard
        self._on_try = on_try

    async def blocking(self, function: Callable[[], T]) -> T:
        """Call a function that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, function)

    async def read_journal(self, ground: Ground) -> Journal:
        """Return the journal as it is now, or as a standby has it. Raises SecretsError."""
        place = ground.place
        journal = KVJournal(ground.calls, mount=place.mount, prefix=place.prefix)
        return await self.blocking(lambda: journal.read(place.path))

    async def drive(
        self, ground: Ground, policy: Callable[[], Policy], on_step: Callable[[Step | None], Awaitable[bool]]
    ) -> End | None:
        """Run one pass. `on_step` is awaited between its steps, and says whether to go on: None when it did not.

        Between two steps it may be cancelled; within one the step is finished, and its answer is lost. Raises as
        `Engine.run` does.
        """
        parts = await self.blocking(lambda: self.parts(ground))
        engine = Engine(
            parts,
            now=self._now,
            guard=self._guard,
            on_record=lambda entry: self._recorded(ground.state, entry),
            on_judged=lambda judged: self._judged(ground.state, judged),
        )
        going = engine.steps(policy)
        while True:
            step, end = await self.blocking(lambda: _advance(going))
            if end is not None:
                return end
            if not await on_step(step):
                return None

    def parts(self, ground: Ground) -> Parts:
        """Return what an engine works with. Blocks where a target needs its administrator's entry at once."""
        spec, place = ground.schedule.spec, ground.place
        dialer = self._dialer_of(place.namespace)
        admin = _Admin(ground)
        inbox = KVInbox(ground.calls, mount=place.mount, path=place.path, prefix=f"{place.prefix}-inbox")
        target = build_target(spec, admin=admin.read, inbox=inbox, dialer=dialer)
        backend = KV2Entries(ground.calls, mount=place.mount)
        live = KVLive(backend, ground.calls, mount=place.mount, path=place.path, prefix=place.prefix)
        return Parts(
            path=place.path,
            journal_id=ground.journal_id,
            journal=KVJournal(ground.calls, mount=place.mount, prefix=place.prefix),
            live=_CheckedLive(live, (ground.can_follow, admin.check), ground.state),
            target=target,
            consumers=self._followers(ground, target),
            inbox=inbox if isinstance(target, ExternalTarget) else None,
            hooks=build_hooks(
                spec,
                dialer=dialer,
                now=self._now,
                run_job=ground.run_job,
                monotonic=self._monotonic,
                on_try=self._on_try,
            ),
            negative=wants_negative(spec),
        )

    def _followers(self, ground: Ground, target: Target) -> ClusterFollowers:
        state = ground.state

        def old(value: Value) -> Value | None:
            entry = state.entry
            if entry is None:
                return None
            return entry.previous if value == entry.pending else entry.pending

        return ClusterFollowers(
            ground.readers,
            sessions=target if isinstance(target, SessionSource) else None,
            quiet=state.quiet,
            quiet_for=ground.schedule.spec.promote.sessions_quiet,
            old=old,
            now=self._now,
        )

    def _recorded(self, state: RunState, entry: JournalEntry) -> None:
        state.entry = entry

    def _judged(self, state: RunState, judged: Judged) -> None:
        phase = state.entry.phase if state.entry is not None else None
        stage = _STAGES.get(phase, verify.VerifyStage.PREFLIGHT) if phase else verify.VerifyStage.PREFLIGHT
        result, reason = _RESULTS[judged.verification.outcome]
        if judged.verification.outcome is not Outcome.PASSED:
            state.detail = f"{judged.hook.name}: {judged.verification.detail}"
        state.verification.append(
            VerificationStatus(
                name=judged.hook.name,
                stage=stage.value,
                result=result,
                reason=reason.value,
                time=self._now().replace(microsecond=0),
            )
        )


def _advance(going: Generator[Step | None, None, End]) -> tuple[Step | None, End | None]:
    # StopIteration cannot be the exception of a future.
    try:
        return next(going), None
    except StopIteration as end:
        found: End = end.value
        return None, found


class _Admin:
    """The administrator's entry of a target, for one pass: where it may be used is compared before anybody connects."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._entry: AdminEntry | None = None

    def read(self) -> AdminEntry:
        """Return the entry, read once in a pass: the administrator's own password changes too. Raises SecretsError."""
        if self._entry is None:
            self._entry = self._read()
        return self._entry

    def _read(self) -> AdminEntry:
        apply = self._ground.schedule.spec.apply
        assert apply is not None  # noqa: S101 - only targets ask for it
        mount, path = self._where(apply)
        found = self._ground.calls.call(
            f"{mount}/data/{path}", lambda client, token: client.kv2_read(token, mount=mount, path=path)
        )
        return AdminEntry.parse(found.data.reveal(), where=f"{mount}/{path}")

    def check(self) -> Violation | None:
        """Return why the target may not be touched with it. Raises outages."""
        apply = self._ground.schedule.spec.apply
        if apply is None:
            return None
        try:
            entry = self.read()
            match apply.target:
                case PostgreSQLApply() | MariaDBApply() as target:
                    entry.check(host=target.host, port=target.port, database=target.database, users=target.users)
                case RedisApply() as target:
                    entry.check_nodes([(node.host, node.port) for node in target.nodes], (target.user,))
        except TargetNotAllowedError as e:
            return Violation(Reason.TARGET_NOT_ALLOWED, e.detail)
        except SecretNotFoundError:
            return Violation(
                Reason.PATH_NOT_FOUND,
                f"the administrator's entry {'/'.join(self._where(apply))} does not exist: write it, or correct "
                f"spec.apply.{apply.kind}.admin",
            )
        except SecretAccessDeniedError:
            return Violation(
                Reason.PERMISSION_DENIED,
                f"role {self._ground.place.role!r} may not read the administrator's entry "
                f"{'/'.join(self._where(apply))}, which spec.apply.{apply.kind}.admin names: allow read on it",
            )
        return None

    def _where(self, apply: Apply) -> tuple[str, str]:
        return apply.target.admin.mount or self._ground.admin_mount, apply.target.admin.path


class _CheckedLive:
    """The live path, with all that is looked at before a rotation begins."""

    def __init__(self, live: KVLive, checks: tuple[Callable[[], Violation | None], ...], state: RunState) -> None:
        self._live = live
        self._checks = checks
        self._state = state

    def preflight(self) -> str:
        """Return what is wrong, with the remedy; the reason for it is kept in the state."""
        self._state.refusal = next((found for check in self._checks if (found := check()) is not None), None)
        return self._state.refusal.message if self._state.refusal else self._live.preflight()

    def read(self) -> Live:
        return self._live.read()

    def write(self, value: Value, *, cas: int) -> Written:
        return self._live.write(value, cas=cas)
