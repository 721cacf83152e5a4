"""Goes on with one rotation, pass by pass, until it has ended or only time is missing."""

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from elile.secrets.errors import SecretConflictError, SecretManagedElsewhereError, SecretsError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.rotation.callbacks import Callback
from elile.secrets.rotation.engine import End, Engine, Parts
from elile.secrets.rotation.journal import JournalEntry, Owner, Phase, Reason
from elile.secrets.rotation.place import Place
from elile.secrets.rotation.policy import Command, Policy, Request, Retire
from elile.secrets.rotation.ports import Inbox, Target
from elile.secrets.rotation.readers import ManagerReaders
from elile.secrets.rotation.results import RotationPolicy, RotationResult, RotationStatus, status_of
from elile.secrets.rotation.steps import Finished, NeedsPerson, Wait
from elile.secrets.rotation.targets.external import ExternalTarget
from elile.secrets.rotation.verify.hooks import Hook, Judged
from elile.secrets.threads import IoThreads

__all__ = ["Driving", "Plan"]

log = logging.getLogger(__name__)

MANAGED_BY = "managed-by"
CONFLICT_PAUSE = timedelta(seconds=0.2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be done with one path, whenever it is rotated."""

    path: str
    target: Target
    hooks: tuple[Hook, ...]
    prove: Callback | None
    settle: float
    grace: timedelta
    retire: Retire
    negative: bool
    policy: RotationPolicy | None = None
    anchor: datetime | None = None
    command: Command | None = None


class Driving:
    """Drives rotations of one manager for one owner, in threads of its own: hooks may block for long."""

    def __init__(
        self,
        manager: BackendSecretsManager,
        place: Place,
        owner: Owner,
        *,
        retry: timedelta,
        now: Callable[[], datetime],
        sleep: Callable[[float], Awaitable[None]],
    ) -> None:
        self.threads = IoThreads()
        self._manager = manager
        self._place = place
        self._owner = owner
        self._retry = retry
        self._now = now
        self._sleep = sleep
        self._locks: defaultdict[str, threading.Lock] = defaultdict(threading.Lock)

    async def drive(
        self, plan: Plan, request: Request | None, *, timeout: float, closes: datetime | None = None
    ) -> RotationResult:
        """Run passes until it has ended, or waits for its grace, or the time is up."""
        await self._refuse_what_is_managed(plan.path)
        began, run = time.monotonic(), _Run(plan)
        while True:
            left = timeout - (time.monotonic() - began)
            try:
                end = await self.threads.run(self._pass, plan, request, closes, run)
            except SecretConflictError as e:
                # Most likely another process of this name is at it, and what it has done is in the journal. If it is
                # somebody else, such as another rotation of the same account, it stays so: then the text says who.
                run.detail = e.safe_text
                end = Wait(self._now() + CONFLICT_PAUSE, Reason.EXTERNAL_CHANGE)
            except SecretsError as e:
                if not e.retryable or (left <= 0 and not run.phases):
                    raise
                log.warning("the rotation of %s waits: %s", plan.path, e.safe_text)
                run.detail = e.safe_text
                end = Wait(self._now() + self._retry, Reason.TARGET_UNREACHABLE)
            took = timedelta(seconds=time.monotonic() - began)
            if not isinstance(end, Wait):
                return await self.threads.run(self._result, plan, request, end, run, took)
            pause = (end.until - self._now()).total_seconds()
            if end.reason is Reason.IN_GRACE or pause > left:
                result = await self.threads.run(self._result, plan, request, end, run, took)
                return replace(result, until=end.until)
            await self._sleep(max(0.0, pause))

    def _pass(self, plan: Plan, request: Request | None, closes: datetime | None, run: "_Run") -> End:
        parts = Parts(
            path=plan.path,
            journal_id=self._place.rotation_id(plan.path, "journal"),
            journal=self._place.journal,
            live=self._place.live(plan.path),
            target=plan.target,
            consumers=run.readers(self._manager),
            inbox=_inbox(plan.target),
            hooks=plan.hooks,
            negative=plan.negative,
        )

        def policy() -> Policy:
            return Policy(
                owner=self._owner,
                strategy=plan.target.strategy,
                request=request,
                command=plan.command,
                window_closes=closes,
                grace=plan.grace,
                retire=plan.retire,
                retry=self._retry,
            )

        engine = Engine(parts, now=self._now, on_record=run.record, on_judged=run.judged)
        with self._locks[plan.path]:
            return engine.run(policy)

    def _result(self, plan: Plan, request: Request | None, end: End, run: "_Run", took: timedelta) -> RotationResult:
        journal = self._place.journal.read(plan.path)
        entry = journal.entry
        wanted = request.rotation_id if request is not None else (entry.rotation_id if entry is not None else "")
        made = RotationResult(
            path=plan.path,
            status=RotationStatus.PENDING,
            rotation_id=wanted,
            reason=end.reason,
            detail=getattr(end, "detail", ""),
            from_version=entry.base_version if entry is not None and entry.rotation_id == wanted else None,
            to_version=entry.live_version if entry is not None and entry.rotation_id == wanted else None,
            steps=tuple(run.phases),
            duration=took,
        )
        if isinstance(end, Finished) and end.reason is Reason.MANAGED_ELSEWHERE:
            raise SecretManagedElsewhereError(
                f"the rotation of this path belongs to {end.detail!r}; stop that one, or use its name", path=plan.path
            )
        past = next((p for p in reversed(entry.history) if p.rotation_id == wanted), None) if entry else None
        if isinstance(end, NeedsPerson):
            return replace(made, status=RotationStatus.STUCK, detail=run.detail or made.detail)
        if past is not None and not isinstance(end, Wait):
            return replace(made, status=status_of(past), reason=past.reason, detail=run.detail)
        if isinstance(end, Finished):  # it was not begun
            return replace(made, status=RotationStatus.ABORTED)
        return replace(made, detail=run.detail)

    async def _refuse_what_is_managed(self, path: str) -> None:
        value = await self._manager.refresh(path)
        managed_by = value.metadata.custom.get(MANAGED_BY, self._owner.name)
        if managed_by != self._owner.name:
            raise SecretManagedElsewhereError(
                f"the entry says that it is managed by {managed_by!r}: rotate it there, or take {MANAGED_BY} out "
                "of its custom metadata",
                path=path,
            )


class _Run:
    """What one call has seen of a rotation."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._readers: ManagerReaders | None = None
        self.phases: list[Phase] = []
        self.detail = ""

    def readers(self, manager: BackendSecretsManager) -> ManagerReaders:
        if self._readers is None:
            plan = self._plan
            self._readers = ManagerReaders(manager, plan.path, settle=plan.settle, prove=plan.prove)
        return self._readers

    def record(self, entry: JournalEntry) -> None:
        if not self.phases or self.phases[-1] is not entry.phase:
            self.phases.append(entry.phase)
            log.info("rotation of %s: %s %s", self._plan.path, entry.phase, entry.reason)

    def judged(self, one: Judged) -> None:
        self.detail = f"{one.hook.name}: {one.verification.detail}"


def _inbox(target: Target) -> Inbox | None:
    inbox = target.inbox if isinstance(target, ExternalTarget) else None
    return inbox if isinstance(inbox, Inbox) else None
