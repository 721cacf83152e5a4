"""Rotates the secrets of a manager in an application's own process; the operator does the same with objects.

Every rotation is written down beside the path that it changes. So a process may die at any point, and this one or
another with the same name goes on: nothing is done twice, and nothing is lost.
"""

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

from elile.secrets.errors import SecretNotFoundError, SecretsConfigurationError, SecretsError
from elile.secrets.protocol import SecretPath, SecretsManager
from elile.secrets.rotation.callbacks import Callback, VerifyFn
from elile.secrets.rotation.driving import Driving, Plan
from elile.secrets.rotation.generators import Generator, api_key
from elile.secrets.rotation.journal import TERMINAL, JournalEntry, Owner, Past, Value, release
from elile.secrets.rotation.moves import TRAITS
from elile.secrets.rotation.place import own, place_of
from elile.secrets.rotation.policy import Command, CommandKind, Request, Retire
from elile.secrets.rotation.ports import Target
from elile.secrets.rotation.results import PendingRotation, RotationPolicy, RotationResult
from elile.secrets.rotation.steps import Stage
from elile.secrets.rotation.targets.keyset import KeysetTarget
from elile.secrets.rotation.targets.plain import ReplaceTarget
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.types import DatabaseCredentials, EncryptionKeys, KeyAlgorithm, SecretValue

__all__ = ["RotationOptions", "SecretRotator"]

log = logging.getLogger(__name__)

# Seconds.
SHORTEST_SLEEP = 0.2
NEWS_INTERVAL = 1.0  # between two looks at what else was scheduled
LONGEST_SLEEP = 60.0


class RotationOptions(TypedDict, total=False):
    """What may be said of every rotation; see `SecretRotator.rotate`."""

    hooks: Sequence[Hook]
    verify_timeout: float
    retire_now: bool
    check_retired: bool
    proof_fn: VerifyFn[Any]


class SecretRotator:
    """Rotates paths of a manager over Vault or OpenBao (KV version 2), or over memory, which is for tests.

    `name` tells rotators apart: what one of them has begun, another one of the same name goes on with, and one of
    another name leaves alone. `retry` is the pause after no answer. All methods may be used from any event loop.

    Raises SecretsConfigurationError for a manager whose backend has no versions that can be compared.
    """

    def __init__(
        self,
        manager: SecretsManager,
        *,
        name: str = "secret-rotator",
        retry: timedelta = timedelta(seconds=5),
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._manager = own(manager)
        self._place = place_of(self._manager)
        self._owner = Owner("application", "", name, "")
        self._retry = retry
        self._now = now
        self._sleep = sleep
        self._driving = Driving(self._manager, self._place, self._owner, retry=retry, now=now, sleep=sleep)
        self._plans: dict[str, Plan] = {}

    # ── now ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def rotate_encryption_key(
        self,
        path: str = SecretPath.ENCRYPTION_PRIMARY,
        verify_fn: VerifyFn[EncryptionKeys] | None = None,
        *,
        algorithm: KeyAlgorithm = KeyAlgorithm.AES256GCM,
        settle: timedelta | None = None,
        key: str | None = None,
        timeout: float = 900.0,
        **options: Unpack[RotationOptions],
    ) -> RotationResult:
        """Add a key to a set, have every reader decrypt with it, and only then encrypt with it.

        `verify_fn` is given the whole set as it will be. Old keys stay, to decrypt; a rollback makes the old one
        primary again and keeps the new one too, since something may have been encrypted with it. The time between
        the two halves is `settle`: absent, as long as a cache that is set up as this manager's may hold the old set;
        zero where this is the only process. `proof_fn` asks the readers instead. Options are those of `rotate`.
        """
        if settle is None:
            config = self._manager.cache.config
            settle = timedelta(seconds=config.default_ttl_seconds if config.enabled else 0)
        plan = self._plan(
            path,
            KeysetTarget(algorithm=algorithm, now=self._now),
            verify_fn,
            shape=lambda value: EncryptionKeys.parse(value.reveal(), path=path),
            stages=frozenset({Stage.PENDING}),
            settle=settle,
            **options,
        )
        return await self._once(plan, key=key, timeout=timeout)

    async def rotate_api_key(
        self,
        path: str,
        verify_fn: VerifyFn[SecretValue] | None = None,
        *,
        generator: Generator | None = None,
        field: str = "api_key",
        key: str | None = None,
        timeout: float = 600.0,
        **options: Unpack[RotationOptions],
    ) -> RotationResult:
        """Replace an API key that others accept, such as one of our own making. Options are those of `rotate`."""
        made = generator or api_key()
        return await self.rotate(path, made, verify_fn, field=field, key=key, timeout=timeout, **options)

    async def rotate_database_credentials(
        self,
        path: str,
        target: Target,
        verify_fn: VerifyFn[DatabaseCredentials] | None = None,
        *,
        grace: timedelta = timedelta(hours=1),
        key: str | None = None,
        timeout: float = 600.0,
        **options: Unpack[RotationOptions],
    ) -> RotationResult:
        """Make a new login at a database, prove it, put it live, and lock the old one after `grace`.

        `target` is a PostgreSQLTarget, MariaDBTarget or RedisTarget. Returns when the grace begins, with the status
        `pending` and `until`; `run` or `resume` locks the old one then. Options are those of `rotate`.
        """
        plan = self._plan(
            path,
            target,
            verify_fn,
            shape=lambda value: DatabaseCredentials.parse(value.reveal(), path=path),
            grace=grace,
            **options,
        )
        return await self._once(plan, key=key, timeout=timeout)

    async def rotate(
        self,
        path: str,
        generator: Generator | Target,
        verify_fn: VerifyFn[SecretValue] | None = None,
        *,
        field: str | None = None,
        grace: timedelta = timedelta(0),
        key: str | None = None,
        timeout: float = 600.0,
        **options: Unpack[RotationOptions],
    ) -> RotationResult:
        """Replace one key of an entry, or whatever a target is for, and return when nothing but time is missing.

        generator: makes the value of `field`, which may be absent where the entry has one key; or a target. verify_fn:
        given the new entry before anybody sees it, and again before the old one ends; truthy lets it pass, falsy or an
        exception takes it back, `Inconclusive` has it asked again. It may be asynchronous, and may be called more
        than once. grace: how long both values work before the old one is locked, where a target can (none). key: the
        same key is rotated at most once, so that a call can be repeated after a crash. timeout:
        seconds after which it returns with the status `pending`; what was begun is not given up.

        Options: hooks (further verifications), verify_timeout (30 s, for `verify_fn` and `proof_fn`), retire_now (lock
        the old value at once and end its sessions), check_retired (the old value has to work until it is locked, and to
        be refused then; yes), proof_fn (asked whether every reader has the new value; absent: they are not waited for,
        but for a set of keys).

        Raises SecretNotFoundError, SecretManagedElsewhereError for what the operator or another rotator manages, and
        SecretsError when the store does not answer and nothing was begun.
        """
        plan = self._plan(path, _target(generator, field), verify_fn, grace=grace, **options)
        return await self._once(plan, key=key, timeout=timeout)

    async def roll_back(self, path: str) -> RotationResult:
        """Take back a rotation that has not retired the old value yet, such as one in its grace.

        Raises SecretNotFoundError where none is under way.
        """
        known = self._known(path)
        if known.path not in {one.path for one in await self.pending()}:
            raise SecretNotFoundError(
                "no rotation is under way that could be taken back; once the old value is retired, rotate again",
                path=known.path,
                backend="",
            )
        plan = replace(known, command=Command(CommandKind.ROLL_BACK, str(uuid.uuid4())))
        return await self._driving.drive(plan, None, timeout=600.0)

    # ── by schedule ──────────────────────────────────────────────────────────────────────────────────────────────────

    def schedule(
        self,
        path: str,
        policy: RotationPolicy,
        generator: Generator | Target,
        verify_fn: VerifyFn[SecretValue] | None = None,
        *,
        field: str | None = None,
        grace: timedelta = timedelta(0),
        **options: Unpack[RotationOptions],
    ) -> None:
        """Have `run` rotate a path whenever it is due; must be called in an event loop. Arguments as for `rotate`.

        The first sight of a path does not rotate it. What was missed while no process ran is caught up with once.
        """
        made = self._plan(path, _target(generator, field), verify_fn, grace=grace, **options)
        self._plans[made.path] = replace(made, policy=policy, anchor=self._now())

    async def run(self) -> None:
        """Rotate what is scheduled and go on with what is pending, until it is cancelled."""
        following: dict[str, asyncio.Task[None]] = {}
        try:
            while True:
                following = {path: task for path, task in following.items() if not task.done()}
                for path in self._plans.keys() - following.keys():
                    following[path] = asyncio.create_task(self._follow(path))
                await self._sleep(NEWS_INTERVAL)
        finally:
            for task in following.values():
                task.cancel()
            await asyncio.gather(*following.values(), return_exceptions=True)

    async def _follow(self, path: str) -> None:
        while True:
            plan = self._plans.get(path)
            if plan is None:
                return  # it was released
            again = await self._turn(plan)
            left = (again - self._now()).total_seconds()
            await self._sleep(max(SHORTEST_SLEEP, min(left, LONGEST_SLEEP)))

    async def pending(self) -> tuple[PendingRotation, ...]:
        """Return the rotations that have begun and not ended, of the paths that this rotator was told of."""
        found = []
        for path in list(self._plans):
            journal = await self._driving.threads.run(self._place.journal.read, path)
            entry = journal.entry
            if entry is not None and entry.phase not in TERMINAL:
                found.append(PendingRotation(path, entry.rotation_id, entry.occurrence, entry.phase, entry.reason))
        return tuple(found)

    async def resume(self) -> tuple[RotationResult, ...]:
        """Go on with all that is pending, as far as it comes now. After a restart say first what is rotated how."""
        found = await self.pending()
        return tuple([await self._driving.drive(self._plans[one.path], None, timeout=600.0) for one in found])

    async def history(self, path: str) -> tuple[Past, ...]:
        """Return the last 50 rotations of a path that have ended, the oldest first."""
        journal = await self._driving.threads.run(self._place.journal.read, str(path))
        return journal.entry.history if journal.entry is not None else ()

    async def release(self, path: str) -> bool:
        """Let a rotator of another name, or the operator, rotate the path.

        False where it is not this one's, or a rotation is under way; then nothing changes, and `run` goes on with it.
        """
        released = await self._driving.threads.run(release, self._place.journal, str(path), self._owner)
        if released:
            self._plans.pop(str(path), None)
        return released

    async def close(self) -> None:
        """Begin nothing more. What runs ends with its pass, and is pending."""
        self._driving.threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _plan(
        self,
        path: str,
        target: Target,
        verify_fn: VerifyFn[Any] | None,
        *,
        shape: Callable[[Value], Any] | None = None,
        stages: frozenset[Stage] = frozenset({Stage.PENDING, Stage.BEFORE_RETIRE}),
        hooks: Sequence[Hook] = (),
        verify_timeout: float = 30.0,
        grace: timedelta = timedelta(0),
        settle: timedelta = timedelta(0),
        retire_now: bool = False,
        check_retired: bool = True,
        proof_fn: VerifyFn[Any] | None = None,
    ) -> Plan:
        path = str(path)
        loop = asyncio.get_running_loop()
        shaped = shape or (lambda value: SecretValue(path, value))
        called = list(hooks)
        if verify_fn is not None:
            check = Callback(verify_fn, shaped, loop=loop, timeout=verify_timeout)
            # One attempt: who cannot tell is asked again in the next pass.
            called.append(Hook(name="verify_fn", check=check, stages=stages, attempts=1))
        plan = Plan(
            path=path,
            target=target,
            hooks=tuple(called),
            prove=None if proof_fn is None else Callback(proof_fn, shaped, loop=loop, timeout=verify_timeout),
            settle=settle.total_seconds(),
            grace=grace,
            retire=Retire.NOW if retire_now else Retire.WHEN_PROVED,
            negative=check_retired and TRAITS[target.strategy].locks,
        )
        known = self._plans.get(path)
        self._plans[path] = plan if known is None else replace(plan, policy=known.policy, anchor=known.anchor)
        return self._plans[path]

    def _known(self, path: str) -> Plan:
        plan = self._plans.get(str(path))
        if plan is None:
            raise SecretsConfigurationError(
                "this rotator was not told how the path is rotated: call `schedule`, or a `rotate` method, first",
                path=path,
            )
        return plan

    async def _once(self, plan: Plan, *, key: str | None = None, timeout: float = 600.0) -> RotationResult:
        trigger = key if key is not None else str(uuid.uuid4())
        request = await self._driving.threads.run(self._request, plan, trigger)
        return await self._driving.drive(plan, request, timeout=timeout)

    async def _turn(self, plan: Plan) -> datetime:
        """Do what one path needs now; return when to look again."""
        try:
            journal = await self._driving.threads.run(self._place.journal.read, plan.path)
            entry = journal.entry
            if entry is not None and not (entry.phase in TERMINAL and entry.wiped):
                result = await self._driving.drive(plan, None, timeout=LONGEST_SLEEP)
                return result.until or self._now() + self._retry
            request, at, closes = await self._driving.threads.run(self._due, plan, entry)
            if request is None:
                return at
            result = await self._driving.drive(plan, request, timeout=LONGEST_SLEEP, closes=closes)
            return result.until or self._now() + self._retry
        except SecretsError as e:
            log.warning("the rotation of %s waits: %s", plan.path, e.safe_text)
            return self._now() + self._retry
        except Exception as e:
            # A defect, here or in a target of the application's. Only the class: its text may hold a value.
            log.error("the rotation of %s failed with %s and is tried again", plan.path, type(e).__name__)  # noqa: TRY400
            return self._now() + timedelta(seconds=LONGEST_SLEEP)

    def _due(self, plan: Plan, last: JournalEntry | None) -> tuple[Request | None, datetime, datetime | None]:
        """Return what is due now, else the time at which something will be, and when that has to have begun."""
        now, policy = self._now(), plan.policy
        if policy is None or plan.anchor is None:
            return None, now + timedelta(seconds=LONGEST_SLEEP), None
        ended = [past.at for past in last.history if past.occurrence.endswith("]")] if last is not None else []
        since = min(ended[-1] if ended else plan.anchor, now)
        if policy.interval is not None:
            label = f"after {since.astimezone(UTC).isoformat(timespec='seconds')}[interval]"
            at = since + policy.interval
            return (self._request(plan, label) if now >= at else None), at, None
        schedule = policy.schedule(f"{self._owner.name}/{plan.path}")
        due = schedule.due(now, anchor=since)
        if due is None or now >= schedule.closes(due):
            return None, schedule.next_due(now, anchor=since).at, None
        return self._request(plan, due.label), now, schedule.closes(due) if policy.window is not None else None

    def _request(self, plan: Plan, label: str) -> Request:
        return Request(self._place.rotation_id(plan.path, label), label)


def _target(made: Generator | Target, field: str | None) -> Target:
    if isinstance(made, Generator):
        return ReplaceTarget(made, field)
    if field is not None:
        raise SecretsConfigurationError("field belongs to a generator; a target knows its fields")
    return made
