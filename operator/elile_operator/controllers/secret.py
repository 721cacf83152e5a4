"""ElileSecret: gather what sources and cluster say, decide, write the Secret, poke the pods, tell in the status."""

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SourceStatus
from elile_operator.api.meta import FieldManager
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.consumers import ConsumersWatch
from elile_operator.controllers.gathering import Gatherer, entry_of
from elile_operator.controllers.lasting import Lasting
from elile_operator.controllers.leaving import Leaving
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import SupersededError, Unreadable, World
from elile_operator.controllers.writing import Writing, Written, with_keys
from elile_operator.decide.access import Access, SourceRead, check_access, plan_reads
from elile_operator.decide.binding import not_bound
from elile_operator.decide.conditions import find
from elile_operator.decide.consumers import changed_at
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.generating import check_generated
from elile_operator.decide.lasting import ended
from elile_operator.decide.live import LiveSecret, read_secret
from elile_operator.decide.manifest import METADATA_ROOM, check_metadata, frame
from elile_operator.decide.merge import as_seen
from elile_operator.decide.missing import removes
from elile_operator.decide.ownership import check_ownership
from elile_operator.decide.pods import poke_targets
from elile_operator.decide.render import Rendered, render
from elile_operator.decide.secret import (
    Delivered,
    Freshness,
    Write,
    interrupted,
    is_away,
    needs_values,
    own_part,
    secret_status,
    wants_refresh,
)
from elile_operator.decide.violation import Violation
from elile_operator.delivery.poke import Poker
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import Clock, Following, ObjectKey, Result
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeNotFoundError
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
# Polls tell of another answer, not of the same one once more.
UNTIL_GONE = timedelta(seconds=10)


class SecretObserver(Protocol):
    """Told what was written, for metrics."""

    def secret_written(self, *, operation: str) -> None: ...

    def secret_current(self, *, seconds: float) -> None: ...


class SecretController:
    """Reconciles ElileSecrets.

    It is woken by the object itself, its Secret, its pods, its server, and by polls that found another version; it
    asks for no time of its own but the moment at which an object that cannot be compared becomes stale, and while it
    is open whether a path is gone for good.
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
        consumers: ConsumersWatch,
        events: Events,
        key: FingerprintKey,
        account: str,
        clock: Clock,
        standby_lag: timedelta,
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
        self._consumers = consumers
        self._events = events
        self._key = key
        self._account = account
        self._clock = clock
        self._observer = observer
        self._on_server_trouble = on_server_trouble
        self._lasting = Lasting(holdings=holdings, reads=reads, events=events, clock=clock)
        self._leaving = Leaving(
            world=world,
            lasting=self._lasting,
            kube=kube,
            writer=writer,
            events=events,
            key=key,
            clock=clock,
            standby_lag=standby_lag,
            on_deleted=lambda: observer.secret_written(operation="deleted"),
        )
        self._writing = Writing(
            world=world,
            writer=writer,
            key=key,
            account=account,
            hold=self._leaving.hold,
            on_written=lambda operation: observer.secret_written(operation=operation),
        )

    async def reconcile(self, key: ObjectKey) -> Result:
        """Bring one object in line."""
        secret = self._world.secret(key)
        if secret is None or (isinstance(secret, ElileSecret) and secret.metadata.deletion_timestamp):
            self._reads.unsubscribe(key)
            self._consumers.forget(key)
            if isinstance(secret, ElileSecret):
                return await self._leaving.object_goes(secret)
            await self._holdings.release(key)  # one that went without its finalizer
            self._holdings.forget(key)
            return Result.absent()
        if isinstance(secret, Unreadable):
            # Its own status cannot be built from what cannot be read; CEL refuses this unless the CRD is another one.
            fields = {**key._asdict(), "why": secret.message}
            log.error("ElileSecret cannot be read; apply the CRDs of this version", extra={"fields": fields})
            self._reads.unsubscribe(key)
            self._consumers.forget(key)
            return Result.done()
        if self._world.live.following(key.namespace) is Following.STARTING:
            return Result.done()  # what Secrets there are is not known yet; when it is, all of the namespace come again
        try:
            done = await self._deliver(key, secret)
        except SupersededError:
            return Result.done()
        status = await self._tell(secret, done)
        await self._lasting.look_after(secret, status)
        delays = [delay for delay in (self._lasting.wait(key, status), self._next(secret, done)) if delay is not None]
        return Result.after(min(delays)) if delays else Result.done()

    # ── deciding and acting ──────────────────────────────────────────────────────────────────────────────────────────

    async def _deliver(self, key: ObjectKey, secret: ElileSecret) -> Delivered:
        """Take one object through its checks, reads and writes; what stops it is part of the answer."""
        live, body = await self._find(key.namespace, secret)
        found = self._world.servers.get(ObjectKey("", secret.spec.vault.server))
        server = found if isinstance(found, VaultServer) else None
        access = Access(secret=secret, server=server, labels=self._world.labels(key.namespace))
        refused = (
            check_access(access)
            or check_metadata(secret)
            or check_generated(secret)
            or self._check_binding(key.namespace)
        )
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
        self._lasting.keep(key, plan)
        gatherer = Gatherer(self._reads, self._holdings, secret, plan, server.spec.address, self._clock.now)
        if foreign := check_ownership(secret, live):
            return self._stopped(secret, live, await self._explain(secret, foreign, gatherer, body))
        if trouble := self._servers.trouble(server.metadata.name):
            return self._stopped(secret, live, trouble, Freshness(self._compared(entries), interval))
        max_age = 0.0 if wants_refresh(secret) else interval.total_seconds()
        outcome = await self._read_and_write(secret, live, gatherer, max_age)
        fresh = Freshness(self._compared(entries), interval)
        if isinstance(outcome, Violation):
            sightings = [self._reads.missing(entry) for entry in gatherer.required]
            outcome = await self._leaving.if_gone(secret, live, outcome, sightings)
            if is_away(outcome.reason.effect):
                self._on_server_trouble(server.metadata.name)
            return self._stopped(secret, live, outcome, fresh)
        live, sources, write = outcome
        made = gatherer.made(sources) if write is not None else None
        done = await self._expose(secret, live, sources, write, fresh)
        if made is not None:
            self._observer.secret_current(seconds=(self._clock.now() - made).total_seconds())
        return done

    async def _find(self, namespace: str, secret: ElileSecret) -> tuple[LiveSecret | None, Json | None]:
        """Return the Secret as it is known, and its body if it had to be asked for.

        Somebody else's is not watched: once it is known to be there, it must not be asked for with a write.
        """
        live = self._world.live.get(ObjectKey(namespace, secret.secret_name))
        denied = self._world.live.following(namespace) is Following.DENIED
        if live is not None or denied or not _was(secret, Reason.SECRET_NOT_OWNED, Reason.SECRET_CONFLICT):
            return live, None
        body = await self._writer.read(namespace, secret.secret_name)
        return (read_secret(body, self._key) if body else None), body

    async def _explain(
        self, secret: ElileSecret, foreign: Violation, gatherer: Gatherer, body: Json | None
    ) -> Violation:
        """Add how the Secret differs from what would be delivered, when the sources can be read."""
        # Nothing is made, and no lease is taken, for what cannot be delivered.
        if self._servers.trouble(secret.spec.vault.server) or not gatherer.only_reads:
            return foreign
        read = await self._render(secret, gatherer)
        if isinstance(read, Violation):
            return foreign
        body = body or await self._writer.read(secret.metadata.namespace or "", secret.secret_name)
        return with_keys(foreign, read[1], body)

    def _check_binding(self, namespace: str) -> Violation | None:
        denied = self._world.live.following(namespace) is Following.DENIED
        return not_bound(namespace, self._account) if denied else None

    async def _read_and_write(
        self, secret: ElileSecret, live: LiveSecret | None, gatherer: Gatherer, max_age: float
    ) -> Written | Violation:
        seen = as_seen(secret, live)
        if seen is not None and live is not None and secret.status.sources:
            # Versions first: they prove most objects right without any value being read.
            versions = await gatherer.versions(max_age=max_age)
            if isinstance(versions, Violation):
                return versions
            cluster = self._servers.cluster(secret.spec.vault.server)
            if gatherer.tells_by_version and not needs_values(secret, seen, frame(secret, live), versions, cluster):
                return seen, versions, None
        read = await self._render(secret, gatherer)
        return read if isinstance(read, Violation) else await self._writing.write(secret, live, *read)

    async def _render(
        self, secret: ElileSecret, gatherer: Gatherer
    ) -> tuple[tuple[SourceStatus, ...], Rendered] | Violation:
        await self._leaving.hold(secret)  # leases are taken there
        got = await gatherer.values()
        if isinstance(got, Violation):
            return got
        sources, contents = got
        spec, spare = secret.spec, METADATA_ROOM if secret.has_metadata_file else 0
        data = render(contents, spec.files, keep_keys=spec.keep_keys, type_=spec.type, spare=spare)
        return data if isinstance(data, Violation) else (sources, data)

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
        content_changed = write.content_changed if write is not None else interrupted(secret, live)
        shown = content_changed or (write is not None and write.told)
        if shown and secret.spec.delivery.poke:
            await self._poker.poke(name, poke_targets(pods, live.name), live.resource_version)
        await self._leaving.name_left(secret)
        changed = secret.status.last_change_time
        if content_changed:
            made = write.made if write is not None else live.revision == 1
            changed = changed_at(live, made=made, now=self._clock.now())
        poked = not self._poker.owes(namespace, name)
        looked = poked and secret.spec.delivery.poke
        verdict = self._consumers.look(secret, live, pods, changed=changed, poked=looked)
        return Delivered(
            violation=None,
            live=live,
            sources=sources,
            consumers=verdict.status,
            changed=changed,
            poked=poked,
            server=secret.spec.vault.server,
            freshness=fresh,
            next_refresh=self._lasting.next_refresh(secret, sources),
            cluster=self._servers.cluster(secret.spec.vault.server),
            proof=verdict.condition,
            look_after=verdict.look_after,
        )

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
        if status == own_part(secret.status):
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

    def _next(self, secret: ElileSecret, done: Delivered) -> timedelta | None:
        if done.violation is None:
            return done.look_after
        if removes(secret, done.violation) and done.live is not None:
            return UNTIL_GONE
        if done.violation.reason in UNWATCHED:
            return LOOK_AGAIN
        if not is_away(done.violation.reason.effect):
            return None
        stale_at = done.freshness.stale_at
        if stale_at is None or stale_at <= self._clock.now():
            return None
        return stale_at - self._clock.now() + timedelta(seconds=1)


def _was(secret: ElileSecret, *reasons: Reason) -> bool:
    ready = find(secret.status.conditions, "Ready")
    return ready is not None and ready.reason in reasons
