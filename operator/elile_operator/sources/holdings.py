"""What was made for one object alone, and ends: leases with the tokens that own them, and certificates.

A lease ends with the token that made it. So each has a token of its own, which is not revoked when the process ends,
and to revoke that token is to revoke the lease: no right beyond those of the `default` policy is needed. After a
restart nothing is held: what was delivered lasts until it is due, and is then replaced.
"""

import logging
import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, TypeVar

from elile.secrets.answers import EngineAnswer, Login
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsError,
    SecretsMalformedResponseError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.vault import VaultClient
from elile_operator.decide.access import SourceIssue
from elile_operator.decide.lasting import certificate_files, due_in, is_cut_short, retry_in
from elile_operator.engine import Clock
from elile_operator.kube.errors import KubeError
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.known import ReadError
from elile_operator.sources.logins import Logins, NoLinkError
from elile_operator.sources.servers import Servers

__all__ = ["Holding", "HoldingObserver", "Holdings"]

R = TypeVar("R", bound=Hashable)
T = TypeVar("T")
log = logging.getLogger(__name__)

_ERRORS = (SecretsError, IdentityError, KubeError)
# The lease has ended, or the token that owns it: waiting mends neither.
_LOST = (SecretAccessDeniedError, SecretNotFoundError)


class HoldingObserver(Protocol):
    """Told what became of leases and certificates, for metrics: `action` is taken, renewed, replaced or revoked."""

    def holding(self, *, kind: str, action: str) -> None: ...


@dataclass(slots=True)
class Holding:
    """One lease or certificate. Times with `at` are monotonic; `expires` is the same end by the clock."""

    issue: SourceIssue
    data: Redacted[Mapping[str, Any]]
    granted: float
    expires: datetime
    ends_at: float
    due_at: float
    due: datetime
    serial: str = ""
    lease_id: str = ""
    renewable: bool = False
    token: SecretStr | None = None  # that owns the lease
    token_renewable: bool = False

    @property
    def kind(self) -> str:
        return "certificate" if self.issue.is_certificate else "lease"


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why what is due was not to be had, and when it is asked for again."""

    issue: SourceIssue
    error: ReadError
    count: int
    retry_at: float


@dataclass(slots=True)
class _Shelf:
    """What one reader has: by source what is in use, what was in use before it, and what is due and failed."""

    current: dict[str, Holding] = field(default_factory=dict)
    failures: dict[str, _Failure] = field(default_factory=dict)
    former: list[Holding] = field(default_factory=list)
    replaced: list[str] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)  # sources that ever had something


class Holdings(Generic[R]):
    """Leases and certificates by their reader and source. One reader asks from one task at a time."""

    def __init__(
        self,
        *,
        servers: Servers,
        logins: Logins,
        clock: Clock,
        rand: Callable[[], float],
        observer: HoldingObserver,
    ) -> None:
        self._servers = servers
        self._logins = logins
        self._clock = clock
        self._rand = rand
        self._observer = observer
        self._shelves: dict[R, _Shelf] = {}

    async def hold(self, reader: R, issue: SourceIssue, *, on_behalf_of: str, at_once: bool = False) -> Holding:
        """Return what the reader holds for a source; make it, renew it or replace it when that is due.

        Raises SecretsError, IdentityError or KubeError; the same again until the next try, which `at_once` is now.
        """
        shelf = self._shelves.setdefault(reader, _Shelf())
        held, now = shelf.current.get(issue.name), self._clock.monotonic()
        usable = held if held is not None and held.issue == issue and now < held.ends_at else None
        if usable is not None:
            usable.issue = issue
            if now < usable.due_at:
                return usable
        failure = shelf.failures.get(issue.name)
        if failure is not None and failure.issue != issue:
            failure = None
        if failure is not None and now < failure.retry_at and not at_once:
            raise failure.error.with_traceback(None)
        try:
            if usable is None or not await self._renew(usable, on_behalf_of):
                usable = await self._replace(shelf, issue, held, on_behalf_of)
        except _ERRORS as e:
            count = failure.count + 1 if failure else 1
            left = usable.ends_at - self._clock.monotonic() if usable else math.inf
            shelf.failures[issue.name] = _Failure(issue, e, count, self._clock.monotonic() + retry_in(count, left))
            raise
        shelf.failures.pop(issue.name, None)
        return usable

    def held(self, reader: R, issue: SourceIssue) -> bool:
        """Whether this process holds what the source asks for."""
        shelf = self._shelves.get(reader)
        current = shelf.current.get(issue.name) if shelf else None
        return current is not None and current.issue == issue

    def looks(self, reader: R) -> dict[str, float]:
        """When, by the monotonic clock, each source of the reader's is to be looked after: due, or tried again."""
        shelf = self._shelves.get(reader)
        if shelf is None:
            return {}
        times = {name: held.due_at for name, held in shelf.current.items()}
        return times | {name: failure.retry_at for name, failure in shelf.failures.items()}

    def taken(self, reader: R) -> frozenset[str]:
        """Return the sources for which this process has ever taken something."""
        shelf = self._shelves.get(reader)
        return frozenset(shelf.taken) if shelf else frozenset()

    def dues(self, reader: R) -> dict[str, datetime]:
        """When, by the clock, what the reader holds is due, by source."""
        shelf = self._shelves.get(reader)
        return {name: held.due for name, held in shelf.current.items()} if shelf else {}

    def keep(self, reader: R, names: frozenset[str]) -> None:
        """Sources of other names are wanted no more: what they have runs out, or is revoked with what was replaced."""
        shelf = self._shelves.get(reader)
        if shelf is None:
            return
        shelf.former += [shelf.current.pop(name) for name in list(shelf.current) if name not in names]
        for name in [name for name in shelf.failures if name not in names]:
            del shelf.failures[name]

    def told(self, reader: R) -> list[str]:
        """Return the names of the sources that were replaced since the last time that was asked."""
        shelf = self._shelves.get(reader)
        if shelf is None:
            return []
        replaced, shelf.replaced = shelf.replaced, []
        return replaced

    async def settle(self, reader: R) -> list[str]:
        """Everybody uses what is in use: revoke what was in use before. Returns the sources of which that was done."""
        shelf = self._shelves.get(reader)
        if shelf is None:
            return []
        former, shelf.former = shelf.former, []
        lasting = [held for held in former if held.ends_at > self._clock.monotonic()]
        return [held.issue.name for held in lasting if await self._revoke(held)]

    async def release(self, reader: R) -> list[str]:
        """The reader goes: revoke all that it has. Returns the sources of which that failed, to be tried again."""
        shelf = self._shelves.get(reader)
        if shelf is None:
            return []
        everything = [*shelf.former, *shelf.current.values()]
        shelf.current, shelf.former = {}, [held for held in everything if not await self._revoke(held)]
        return [held.issue.name for held in shelf.former]

    def forget(self, reader: R) -> None:
        """The reader is gone; what could not be revoked ends with its time."""
        self._shelves.pop(reader, None)

    def __len__(self) -> int:
        return sum(len(shelf.current) for shelf in self._shelves.values())

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _replace(self, shelf: _Shelf, issue: SourceIssue, old: Holding | None, on_behalf_of: str) -> Holding:
        fresh = await self._take(issue, on_behalf_of)
        self._observer.holding(kind=fresh.kind, action="replaced" if old else "taken")
        if old is not None:
            shelf.former = [held for held in shelf.former if held.ends_at > self._clock.monotonic()] + [old]
            shelf.replaced.append(issue.name)
        shelf.current[issue.name] = fresh
        shelf.taken.add(issue.name)
        return fresh

    async def _take(self, issue: SourceIssue, on_behalf_of: str) -> Holding:
        identity = Identity.of(issue)

        def ask(client: VaultClient, token: SecretStr) -> EngineAnswer:
            given = dict(issue.parameters)
            within = client.within(issue.vault_namespace)
            return within.ask(token, issue.path, parameters=given, write=issue.write, on_behalf_of=on_behalf_of)

        if issue.is_certificate:
            answer = await self._logins.call(identity, "issue", ask, on_behalf_of=on_behalf_of)
            return self._certificate(issue, answer)
        login = await self._logins.login(identity, on_behalf_of=on_behalf_of)
        try:
            answer = await self._call(identity.server, "issue", lambda client: ask(client, login.token))
            return self._lease(issue, answer, login)
        except _ERRORS:
            await self._revoke_token(issue, login.token)
            raise

    def _lease(self, issue: SourceIssue, answer: EngineAnswer, login: Login) -> Holding:
        if not answer.lease_id or answer.seconds <= 0:
            raise SecretsMalformedResponseError("gives no lease: read it with `read` or `kv`", path=issue.path)
        # A token without a time to live (0) never ends.
        granted = min(answer.seconds, login.ttl) if login.ttl > 0 else answer.seconds
        held = self._holding(issue, answer.data, granted)
        held.lease_id, held.renewable = answer.lease_id, answer.renewable
        held.token, held.token_renewable = login.token, login.renewable
        return held

    def _certificate(self, issue: SourceIssue, answer: EngineAnswer) -> Holding:
        data = answer.data.reveal()
        try:
            files, serial = certificate_files(data), str(data["serial_number"])
            granted = float(data["expiration"]) - self._clock.now().timestamp()
        except (KeyError, TypeError, ValueError, OverflowError):
            raise SecretsMalformedResponseError(
                "the answer holds no certificate with its key", path=issue.path
            ) from None
        held = self._holding(issue, Redacted(files), granted)
        held.serial = serial
        return held

    def _holding(self, issue: SourceIssue, data: Redacted[Mapping[str, Any]], granted: float) -> Holding:
        now, monotonic = self._clock.now(), self._clock.monotonic()
        held = Holding(
            issue=issue,
            data=data,
            granted=granted,
            expires=now + timedelta(seconds=granted),
            ends_at=monotonic + granted,
            due_at=monotonic,
            due=now,
        )
        self._due(held, due_in(granted, issue.renew_at, self._rand()))
        return held

    def _due(self, held: Holding, seconds: float) -> None:
        held.due_at = self._clock.monotonic() + seconds
        held.due = self._clock.now() + timedelta(seconds=seconds)

    async def _renew(self, held: Holding, on_behalf_of: str) -> bool:
        """Renew a lease and the token that owns it; False when another one is to be asked for."""
        if held.token is None or not held.renewable or not held.token_renewable:
            return False
        server, token, wanted = held.issue.server, held.token, round(held.granted)
        try:
            login = await self._call(
                server, "renew", lambda client: client.within(held.issue.login_namespace).renew(token)
            )
            seconds = await self._call(
                server,
                "renew-lease",
                lambda client: client.within(held.issue.vault_namespace).renew_lease(
                    token, held.lease_id, seconds=wanted, on_behalf_of=on_behalf_of
                ),
            )
        except _LOST:
            return False
        left = min(seconds, login.ttl) if login.ttl > 0 else seconds
        held.ends_at = self._clock.monotonic() + left
        held.expires = self._clock.now() + timedelta(seconds=left)
        if is_cut_short(held.granted, left):
            return False
        self._due(held, due_in(left, held.issue.renew_at, self._rand()))
        self._observer.holding(kind=held.kind, action="renewed")
        return True

    async def _revoke(self, held: Holding) -> bool:
        """Revoke one; what cannot be revoked ends with its time."""
        if held.ends_at <= self._clock.monotonic():
            return True
        if held.token is not None:
            done = await self._revoke_token(held.issue, held.token)
        else:
            done = await self._revoke_certificate(held)
        if done:
            self._observer.holding(kind=held.kind, action="revoked")
        return done

    async def _revoke_token(self, issue: SourceIssue, token: SecretStr) -> bool:
        try:
            await self._call(issue.server, "revoke", lambda client: client.within(issue.login_namespace).revoke(token))
        except SecretAccessDeniedError:
            return True  # it had ended before
        except (SecretsError, RuntimeError) as e:  # RuntimeError: the link was closed meanwhile
            log.info(
                "a lease could not be revoked, it ends with its time", extra={"fields": {"error": type(e).__name__}}
            )
            return False
        return True

    async def _revoke_certificate(self, held: Holding) -> bool:
        try:
            await self._logins.call(
                Identity.of(held.issue),
                "revoke-certificate",
                lambda client, token: client.within(held.issue.vault_namespace).revoke_certificate(
                    token, mount=held.issue.mount, serial=held.serial
                ),
            )
        except (*_ERRORS, RuntimeError) as e:
            fields = {"error": type(e).__name__, "serial": held.serial}
            log.info("a certificate could not be revoked, it ends with its time", extra={"fields": fields})
            return False
        return True

    async def _call(self, server: str, operation: str, function: Callable[[VaultClient], T]) -> T:
        link = self._servers.find(server)
        if link is None:
            raise NoLinkError(f"VaultServer {server!r} is gone")
        return await link.call(operation, function)
