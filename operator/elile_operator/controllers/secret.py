"""ElileSecret: gather what sources and cluster say, decide, write the Secret, poke the pods, tell in the status."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SourceStatus
from elile_operator.api.meta import ConditionStatus, FieldManager
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.gathering import Gatherer, entry_of
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import Unreadable, World
from elile_operator.decide.access import Access, SourceIssue, SourceRead, check_access, plan_reads
from elile_operator.decide.binding import not_bound
from elile_operator.decide.conditions import condition, find
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.generating import check_generated
from elile_operator.decide.lasting import ended, ends, next_refresh
from elile_operator.decide.live import LiveSecret, read_secret
from elile_operator.decide.manifest import check_metadata, frame, manifest
from elile_operator.decide.ownership import check_ownership
from elile_operator.decide.pods import poke_targets, summarize
from elile_operator.decide.render import Rendered, render
from elile_operator.decide.secret import (
    Delivered,
    Freshness,
    Write,
    interrupted,
    is_away,
    needs_values,
    plan_write,
    secret_status,
    wants_refresh,
)
from elile_operator.decide.violation import Violation
from elile_operator.delivery.poke import Poker
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import Clock, Following, ObjectKey, Result
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeForbiddenError, KubeInvalidError, KubeNotFoundError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import ELILE_SECRETS
from elile_operator.sources.holdings import Holdings
from elile_operator.sources.reads import Entry, SharedReads
from elile_operator.sources.servers import Servers

__all__ = ["SecretController", "SecretObserver"]

log = logging.getLogger(__name__)

# What ends without an event that the operator could see; the others are watched or polled.
UNWATCHED = frozenset({Reason.SECRET_NOT_OWNED, Reason.SECRET_CONFLICT, Reason.NAMESPACE_NOT_BOUND})
LOOK_AGAIN = timedelta(seconds=30)
LEAST_WAIT = timedelta(seconds=1)


class SecretObserver(Protocol):
    """Told what was written, for metrics."""

    def secret_written(self, *, operation: str) -> None: ...

    def secret_current(self, *, seconds: float) -> None: ...


class SecretController:
    """Reconciles ElileSecrets.

    It is woken by the object itself, its Secret, its pods, its server, and by polls that found another version; it
    asks for no time of its own but the moment at which an object that cannot be compared becomes stale.
    """

    def __init__(
        self,
        *,
        world: World,
        servers: Servers,
        reads: SharedReads[ObjectKey],
        holdings: Holdings[ObjectKey],
        kube: KubeClient,
        writer: SecretWriter,
        poker: Poker,
        events: Events,
        key: FingerprintKey,
        account: str,
        clock: Clock,
        observer: SecretObserver,
        on_server_trouble: Callable[[str], None],
    ) -> None:
        self._world = world
        self._servers = servers
        self._reads = reads
        self._holdings = holdings
        self._kube = kube
        self._writer = writer
        self._poker = poker
        self._events = events
        self._key = key
        self._account = account
        self._clock = clock
        self._observer = observer
        self._on_server_trouble = on_server_trouble

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring one object in line."""
        secret = self._world.secret(key)
        if secret is None or (isinstance(secret, ElileSecret) and secret.metadata.deletion_timestamp):
            self._reads.unsubscribe(key)
            await self._holdings.release(key)
            return Result.absent()
        if isinstance(secret, Unreadable):
            # Its own status cannot be built from what cannot be read; CEL refuses this unless the CRD is another one.
            fields = {**key._asdict(), "why": secret.message}
            log.error("ElileSecret cannot be read; apply the CRDs of this version", extra={"fields": fields})
            self._reads.unsubscribe(key)
            return Result.done()
        if self._world.live.following(key.namespace) is Following.STARTING:
            return Result.done()  # what Secrets there are is not known yet; when it is, all of the namespace come again
        done = await self._deliver(key, secret)
        status = await self._tell(secret, done)
        await self._look_after_leases(key, secret, status)
        return self._next(key, status, done)

    # ── deciding and acting ──────────────────────────────────────────────────────────────────────────────────────────

    async def _deliver(self, key: ObjectKey, secret: ElileSecret) -> Delivered:
        """Take one object through its checks, reads and writes; what stops it is part of the answer."""
        live = self._world.live.get(ObjectKey(key.namespace, secret.secret_name))
        found = self._world.servers.get(ObjectKey("", secret.spec.vault.server))
        server = found if isinstance(found, VaultServer) else None
        access = Access(secret=secret, server=server, labels=self._world.labels(key.namespace))
        refused = (
            check_access(access)
            or check_metadata(secret)
            or check_generated(secret)
            or self._check_binding(key.namespace)
            or check_ownership(secret, live)
        )
        if refused is None and live is None and _was(secret, Reason.SECRET_NOT_OWNED):
            # Somebody else's Secret is not watched, and must not be asked for with a write.
            found_one = await self._writer.read(key.namespace, secret.secret_name)
            refused = check_ownership(secret, read_secret(found_one, self._key) if found_one else None)
        if refused or server is None:
            self._reads.unsubscribe(key)
            return self._stopped(secret, live, refused)
        self._servers.link(server)
        plan = plan_reads(secret, server)
        interval = secret.spec.refresh.interval or server.spec.poll.interval
        entries: dict[Entry, frozenset[int]] = {}
        for read in (planned for planned in plan if isinstance(planned, SourceRead)):
            pinned = frozenset() if read.version is None else frozenset({read.version})
            entries[entry_of(read)] = entries.get(entry_of(read), frozenset()) | pinned
        self._reads.subscribe(key, entries, interval=interval)
        self._holdings.keep(key, frozenset(planned.name for planned in plan if isinstance(planned, SourceIssue)))
        if trouble := self._servers.trouble(server.metadata.name):
            return self._stopped(secret, live, trouble, Freshness(self._compared(entries), interval))
        gatherer = Gatherer(self._reads, self._holdings, secret, plan, server.spec.address, self._clock.now)
        max_age = 0.0 if wants_refresh(secret) else interval.total_seconds()
        outcome = await self._read_and_write(secret, live, gatherer, max_age)
        fresh = Freshness(self._compared(entries), interval)
        if isinstance(outcome, Violation):
            if is_away(outcome.reason.effect):
                self._on_server_trouble(server.metadata.name)
            return self._stopped(secret, live, outcome, fresh)
        live, sources, write = outcome
        return await self._expose(secret, live, sources, write, fresh)

    def _check_binding(self, namespace: str) -> Violation | None:
        denied = self._world.live.following(namespace) is Following.DENIED
        return not_bound(namespace, self._account) if denied else None

    async def _read_and_write(
        self, secret: ElileSecret, live: LiveSecret | None, gatherer: Gatherer, max_age: float
    ) -> tuple[LiveSecret, tuple[SourceStatus, ...], Write | None] | Violation:
        wanted = frame(secret)
        if live is not None and secret.status.sources:
            # Versions first: they prove most objects right without any value being read.
            versions = await gatherer.versions(max_age=max_age)
            if isinstance(versions, Violation):
                return versions
            if gatherer.tells_by_version and not needs_values(secret, live, wanted, versions):
                return live, versions, None
        got = await gatherer.values()
        if isinstance(got, Violation):
            return got
        sources, contents = got
        data = render(contents, secret.spec.files, keep_keys=secret.spec.keep_keys, type_=secret.spec.type)
        if isinstance(data, Violation):
            return data
        stamp = self._key.stamp(data)
        write = plan_write(secret, live, wanted, stamp, sources)
        if write is None and live is not None:
            return live, sources, None
        assert write is not None  # noqa: S101 - a Secret that does not exist is always written
        body = manifest(wanted, data, stamp, write.revision)
        return await self._write(secret, body, data, live, sources, write)

    async def _write(
        self,
        secret: ElileSecret,
        body: dict[str, object],
        data: Rendered,
        live: LiveSecret | None,
        sources: tuple[SourceStatus, ...],
        write: Write,
        *,
        again: bool = False,
    ) -> tuple[LiveSecret, tuple[SourceStatus, ...], Write] | Violation:
        namespace = secret.metadata.namespace or ""
        where = f"Secret {namespace}/{secret.secret_name}"
        try:
            written = await self._writer.write(body, live)
        except KubeConflictError:
            if again:
                raise  # changing under our hands: back off
            return await self._on_conflict(secret, data, sources, write)
        except KubeForbiddenError:
            return not_bound(namespace, self._account)
        except KubeInvalidError:
            return Violation(
                Reason.SECRET_CONFLICT,
                f"the API server refuses to update {where} (immutable, of another type, or an admission policy forbids "
                "it); delete that Secret or allow the update, and it is written anew",
            )
        self._world.observe_own_write(written)
        self._observer.secret_written(operation="updated" if live else "created")
        fields = {"kind": "ElileSecret", "namespace": secret.metadata.namespace, "name": secret.metadata.name}
        log.debug("Secret written", extra={"fields": {**fields, "revision": write.revision}})
        return read_secret(written, self._key), sources, write

    async def _on_conflict(
        self,
        secret: ElileSecret,
        data: Rendered,
        sources: tuple[SourceStatus, ...],
        write: Write,
    ) -> tuple[LiveSecret, tuple[SourceStatus, ...], Write] | Violation:
        """The Secret is not what the watch had told: look at it itself, and decide once more."""
        found = await self._writer.read(secret.metadata.namespace or "", secret.secret_name)
        actual = read_secret(found, self._key) if found else None
        if refused := check_ownership(secret, actual):
            return refused
        stamp, wanted = self._key.stamp(data), frame(secret)
        planned = plan_write(secret, actual, wanted, stamp, sources)
        if planned is None and actual is not None:
            self._world.live.observe(found or {})
            return actual, sources, write
        assert planned is not None  # noqa: S101 - a Secret that does not exist is always written
        body = manifest(wanted, data, stamp, planned.revision)
        return await self._write(secret, body, data, actual, sources, planned, again=True)

    async def _expose(
        self,
        secret: ElileSecret,
        live: LiveSecret,
        sources: tuple[SourceStatus, ...],
        write: Write | None,
        fresh: Freshness,
    ) -> Delivered:
        """Have the pods see what the Secret holds now, and count them."""
        namespace, name = live.namespace, secret.metadata.name
        pods = self._world.users(namespace, live.name)
        content_changed = (write is not None and write.content_changed) or interrupted(secret, live)
        if content_changed and secret.spec.delivery.poke:
            await self._poker.poke(name, poke_targets(pods, live.name), live.resource_version)
        if write is not None and (made := self._made(secret, sources)) is not None:
            self._observer.secret_current(seconds=(self._clock.now() - made).total_seconds())
        await self._remove_previous(secret)
        changed = (live.applied or self._clock.now()) if content_changed else secret.status.last_change_time
        poked = not self._poker.owes(namespace, name)
        consumers = summarize(pods, live.name, changed=changed, poked=poked and secret.spec.delivery.poke)
        return Delivered(
            violation=None,
            live=live,
            sources=sources,
            consumers=consumers,
            changed=changed,
            poked=poked,
            server=secret.spec.vault.server,
            freshness=fresh,
            next_refresh=next_refresh(secret.status.next_refresh_time, self._dues(secret, sources)),
        )

    def _made(self, secret: ElileSecret, sources: tuple[SourceStatus, ...]) -> datetime | None:
        """When the last of the versions that are new with this write was made; the first delivery is none."""
        server = self._world.servers.get(ObjectKey("", secret.spec.vault.server))
        before = {source.name: source.version for source in secret.status.sources}
        followed = {source.name: source.version for source in sources}
        times = [
            self._reads.created(entry_of(planned))
            for planned in (plan_reads(secret, server) if isinstance(server, VaultServer) else ())
            if isinstance(planned, SourceRead)
            and planned.version is None
            and None is not before.get(planned.name) != followed.get(planned.name)
        ]
        return max((time for time in times if time is not None), default=None)

    def _dues(self, secret: ElileSecret, sources: tuple[SourceStatus, ...]) -> list[datetime]:
        """When what ends is due: what is held, what an earlier process delivered, and what the server changes."""
        key = ObjectKey(secret.metadata.namespace or "", secret.metadata.name)
        held = self._holdings.dues(key)
        dues = [*held.values(), *self._reads.ends(key)]
        before = secret.status.next_refresh_time
        if before is not None and any(ends(source) and source.name not in held for source in sources):
            dues.append(before)
        return dues

    async def _remove_previous(self, secret: ElileSecret) -> None:
        """Delete the Secrets of former names, once the new one is there; those that are to be kept have no owner.

        By owner and not by the name in the status: a pass that died after its write left no word of it there. That name
        is looked at too, since a Secret whose label somebody removed is not followed any more.
        """
        namespace, previous = secret.metadata.namespace or "", secret.status.secret_name
        former = self._world.live.owned(namespace, secret.metadata.uid)
        if previous not in (None, secret.secret_name, *(live.name for live in former)):
            found = await self._writer.read(namespace, previous or "")
            unfollowed = read_secret(found, self._key) if found else None
            if unfollowed is not None and secret.metadata.uid in unfollowed.owner_uids:
                former = [*former, unfollowed]
        for live in former:
            if live.name != secret.secret_name and not live.deleting:
                await self._writer.delete(live)
                self._observer.secret_written(operation="deleted")

    def _stopped(
        self,
        secret: ElileSecret,
        live: LiveSecret | None,
        violation: Violation | None,
        fresh: Freshness | None = None,
    ) -> Delivered:
        if violation is not None and is_away(violation.reason.effect):
            # Nothing new is known, but the time: what has ended is known to be wrong.
            violation = ended(secret.status.sources, self._clock.now()) or violation
        return Delivered(
            violation=violation,
            live=live,
            sources=secret.status.sources,
            consumers=None,
            changed=None,
            poked=None,
            server=secret.spec.vault.server,
            freshness=fresh or Freshness(None, timedelta(0)),
        )

    def _compared(self, entries: dict[Entry, frozenset[int]]) -> datetime | None:
        times = [self._reads.compared(entry) for entry in entries]
        known = [t for t in times if t is not None]
        return min(known) if known and len(known) == len(times) else None

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def _tell(self, secret: ElileSecret, done: Delivered) -> ElileSecretStatus:
        meta = secret.metadata
        status = secret_status(secret, done, self._clock.now())
        if status == secret.status:
            log.debug("nothing to tell", extra={"fields": {"namespace": meta.namespace, "name": meta.name}})
            return status
        try:
            written = await apply_status(
                self._kube, ELILE_SECRETS, secret, status, manager=FieldManager.ELILESECRET_STATUS
            )
        except KubeNotFoundError:
            return status
        self._world.secrets.observe(written)
        before, after = find(secret.status.conditions, "Synced"), find(status.conditions, "Synced")
        news = after is not None and (before is None or before.reason != after.reason)
        if after is None or not (news or status.revision != secret.status.revision):
            return status
        warning = done.violation is not None
        note = after.message if warning or not status.revision else f"revision {status.revision}: {after.message}"
        fields = {**ObjectKey(secret.metadata.namespace or "", secret.metadata.name)._asdict(), "reason": after.reason}
        log.log(logging.WARNING if warning else logging.INFO, "%s", note, extra={"fields": fields})
        await self._events.tell(ELILE_SECRETS, secret.metadata, reason=after.reason, note=note, warning=warning)
        return status

    async def _look_after_leases(self, key: ObjectKey, secret: ElileSecret, status: ElileSecretStatus) -> None:
        """Say what was replaced, and revoke it once it is proved that nobody uses it any more."""
        for name in self._holdings.told(key):
            note = f"spec.sources[{name}] has another lease or certificate"
            await self._events.tell(
                ELILE_SECRETS, secret.metadata, reason=Reason.LEASE_REPLACED, note=note, warning=False
            )
        if condition(status.conditions, "ConsumersCurrent") is ConditionStatus.TRUE:
            await self._holdings.settle(key)

    def _next(self, key: ObjectKey, status: ElileSecretStatus, done: Delivered) -> Result:
        delays = [delay for delay in (self._for_leases(key, status), self._for_the_rest(done)) if delay is not None]
        return Result.after(min(delays)) if delays else Result.done()

    def _for_leases(self, key: ObjectKey, status: ElileSecretStatus) -> timedelta | None:
        """Until a lease or certificate is due: one that is held, or one that an earlier process delivered."""
        known = self._holdings.looks(key)
        waits = [timedelta(seconds=at - self._clock.monotonic()) for at in known.values()]
        due = status.next_refresh_time
        if due is not None and any(ends(source) and source.name not in known for source in status.sources):
            waits.append(due - self._clock.now())
        # What is due and was not done waits for its server.
        return max(min(waits), LEAST_WAIT) if waits else None

    def _for_the_rest(self, done: Delivered) -> timedelta | None:
        if done.violation is None:
            return None
        if done.violation.reason in UNWATCHED:
            return LOOK_AGAIN
        if not is_away(done.violation.reason.effect):
            return None
        stale_at = done.freshness.stale_at
        if stale_at is None or stale_at <= self._clock.now():
            return None
        return stale_at - self._clock.now() + timedelta(seconds=1)


def _was(secret: ElileSecret, reason: Reason) -> bool:
    ready = find(secret.status.conditions, "Ready")
    return ready is not None and ready.reason == reason
