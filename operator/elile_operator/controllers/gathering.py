"""The I/O of an ElileSecret before any decision: what its sources say now, each read shared with others."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from elile.secrets.answers import KVValue
from elile.secrets.errors import (
    SecretDeletedError,
    SecretMountNotFoundError,
    SecretNotFoundError,
    SecretsError,
    SecretVersionNotFoundError,
)
from elile_operator.api.elilesecret import ElileSecret, SourceStatus
from elile_operator.api.sources import GenerateSource, Source
from elile_operator.decide.access import Engine, Planned, SourceIssue, SourceRead
from elile_operator.decide.failures import explain_read
from elile_operator.decide.generating import generate
from elile_operator.decide.lasting import ends
from elile_operator.decide.render import SourceContent
from elile_operator.decide.violation import Violation
from elile_operator.engine import ObjectKey
from elile_operator.sources.holdings import Holding, Holdings
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.reads import Entry, SharedReads

__all__ = ["Gatherer", "entry_of"]


def entry_of(read: SourceRead) -> Entry:
    """Return the shared entry that a source reads."""
    return Entry(Identity.of(read), read.mount, read.path, read.vault_namespace, read.engine)


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Reads the sources of one object, in order, up to the first that fails; messages name the server's `address`."""

    reads: SharedReads[ObjectKey]
    holdings: Holdings[ObjectKey]
    secret: ElileSecret
    plan: Sequence[Planned]
    address: str
    now: Callable[[], datetime]

    async def versions(self, *, max_age: float) -> tuple[SourceStatus, ...] | Violation:
        """Return what of each source is to be delivered, from answers no older than `max_age` seconds.

        A lease or certificate that an earlier process delivered is to be delivered still, until it is due.
        """
        found = []
        for planned in self.plan:
            try:
                match planned:
                    case SourceRead():
                        found.append(await self._version(planned, max_age))
                    case SourceIssue():
                        found.append(await self._standing(planned, at_once=not max_age))
            except (SecretsError, IdentityError) as e:
                return self._explain(e, planned)
        return tuple(found)

    async def values(self) -> tuple[tuple[SourceStatus, ...], tuple[SourceContent, ...]] | Violation:
        """Return what is to be delivered of each source, and the values themselves; what is missing is made."""
        statuses, contents = [], []
        for planned in self.plan:
            source = self._sources[planned.name]
            try:
                match planned:
                    case SourceRead():
                        value = await self._value(planned, source)
                        statuses.append(_status(planned, value.version if value else None))
                        contents.append(SourceContent(source, value.data if value else None))
                    case SourceIssue():
                        held = await self._hold(planned)
                        statuses.append(_held_status(planned, held))
                        contents.append(SourceContent(source, held.data))
            except (SecretsError, IdentityError) as e:
                return self._explain(e, planned)
        return tuple(statuses), tuple(contents)

    @property
    def tells_by_version(self) -> bool:
        """Whether the versions alone tell that nothing changed: some engines have none, and their values are read."""
        return all(isinstance(planned, SourceIssue) or planned.engine is Engine.KV2 for planned in self.plan)

    @property
    def only_reads(self) -> bool:
        """Whether to ask for the values takes no lease, issues no certificate and makes nothing."""
        return all(
            isinstance(planned, SourceRead) and self._sources[planned.name].generate is None for planned in self.plan
        )

    @property
    def required(self) -> tuple[Entry, ...]:
        """The entries without which nothing can be delivered; what is made when it is missing is none of them."""
        reads = (planned for planned in self.plan if isinstance(planned, SourceRead))
        return tuple(entry_of(read) for read in reads if not self._sources[read.name].optional)

    def made(self, sources: Sequence[SourceStatus]) -> datetime | None:
        """When the last of the versions that are new with a delivery was made; the first delivery has none."""
        before = {source.name: source.version for source in self.secret.status.sources}
        after = {source.name: source.version for source in sources}
        times = [
            self.reads.created(entry_of(read))
            for read in self.plan
            if isinstance(read, SourceRead)
            and read.version is None
            and None is not before.get(read.name) != after.get(read.name)
        ]
        return max((time for time in times if time is not None), default=None)

    @property
    def _key(self) -> ObjectKey:
        return ObjectKey(self.secret.metadata.namespace or "", self.secret.metadata.name)

    @property
    def _object(self) -> str:
        return str(self._key)

    @property
    def _sources(self) -> Mapping[str, Source]:
        return {source.name: source for source in self.secret.spec.sources}

    async def _version(self, read: SourceRead, max_age: float) -> SourceStatus:
        try:
            version: int | None = await self.reads.version(
                entry_of(read), read.version, max_age=max_age, on_behalf_of=self._object
            )
        except (SecretsError, IdentityError) as e:
            if not self._may_miss(read, e) and not self._makes(read, e):
                raise
            version = None
        return _status(read, version)

    async def _standing(self, issue: SourceIssue, *, at_once: bool) -> SourceStatus:
        delivered = next((status for status in self.secret.status.sources if status.name == issue.name), None)
        if not self.holdings.held(self._key, issue):
            due = self.secret.status.next_refresh_time
            end = ends(delivered) if delivered and delivered.path == issue.where else None
            now = self.now()
            if delivered is not None and end is not None and due is not None and now < min(due, end):
                return delivered
            return SourceStatus(name=issue.name, path=issue.where)
        return _held_status(issue, await self._hold(issue, at_once=at_once))

    async def _hold(self, issue: SourceIssue, *, at_once: bool = False) -> Holding:
        return await self.holdings.hold(self._key, issue, on_behalf_of=self._object, at_once=at_once)

    async def _value(self, read: SourceRead, source: Source) -> KVValue | None:
        entry = entry_of(read)
        try:
            return await self.reads.value(entry, read.version, on_behalf_of=self._object)
        except (SecretsError, IdentityError) as e:
            if self._may_miss(read, e):
                return None
            if not self._makes(read, e):
                raise
        assert source.generate is not None  # noqa: S101 - nothing else makes anything
        await self._make(entry, source.generate)
        return await self.reads.value(entry, None, on_behalf_of=self._object)

    async def _make(self, entry: Entry, wanted: GenerateSource) -> None:
        # In a thread: an RSA key takes seconds, and the loop serves everybody.
        made = await asyncio.to_thread(generate, wanted.keys, secrets.token_bytes)
        await self.reads.create(entry, made, on_behalf_of=self._object)

    def _may_miss(self, read: SourceRead, error: Exception) -> bool:
        """An optional source may have no path. A missing mount or version is a mistake all the same."""
        return _is_missing(error) and self._sources[read.name].optional

    def _makes(self, read: SourceRead, error: Exception) -> bool:
        """A source that generates makes what nobody has made; a version that was deleted is none of its business."""
        nothing = _is_missing(error) and not isinstance(error, SecretDeletedError)
        return nothing and self._sources[read.name].generate is not None

    def _explain(self, error: SecretsError | IdentityError, planned: Planned) -> Violation:
        if isinstance(error, IdentityError):
            return error.violation
        return explain_read(error, planned, self.address)


def _is_missing(error: Exception) -> bool:
    return isinstance(error, SecretNotFoundError) and not isinstance(
        error, SecretMountNotFoundError | SecretVersionNotFoundError
    )


def _status(read: SourceRead, version: int | None) -> SourceStatus:
    # Numbers of what has no versions are this process's own.
    return SourceStatus(name=read.name, path=read.where, version=version if read.engine is Engine.KV2 else None)


def _held_status(issue: SourceIssue, held: Holding) -> SourceStatus:
    end = held.expires.replace(microsecond=0)
    if issue.is_certificate:
        return SourceStatus(name=issue.name, path=issue.where, certificate_expires=end, serial=held.serial)
    return SourceStatus(name=issue.name, path=issue.where, lease_expires=end)
