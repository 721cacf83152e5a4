"""The I/O of an ElileSecret before any decision: what its sources say now, each read shared with others."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from elile.secrets.errors import SecretMountNotFoundError, SecretNotFoundError, SecretsError, SecretVersionNotFoundError
from elile_operator.api.elilesecret import ElileSecret, Source, SourceStatus
from elile_operator.decide.access import SourceRead
from elile_operator.decide.failures import explain_read
from elile_operator.decide.render import SourceContent
from elile_operator.decide.violation import Violation
from elile_operator.engine import ObjectKey
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.reads import Entry, SharedReads

__all__ = ["Gatherer", "entry_of"]


def entry_of(read: SourceRead) -> Entry:
    """Return the shared entry that a source reads."""
    return Entry(Identity.of(read), read.mount, read.path)


@dataclass(frozen=True, slots=True)
class Gatherer:
    """Reads the sources of one object, in order, up to the first that fails; messages name the server's `address`."""

    reads: SharedReads[ObjectKey]
    secret: ElileSecret
    plan: Sequence[SourceRead]
    address: str

    async def versions(self, *, max_age: float) -> tuple[SourceStatus, ...] | Violation:
        """Return which version of each source is to be delivered, from answers no older than `max_age` seconds."""
        found = []
        for read in self.plan:
            try:
                version: int | None = await self.reads.version(
                    entry_of(read), read.version, max_age=max_age, on_behalf_of=self._object
                )
            except (SecretsError, IdentityError) as e:
                if not self._may_miss(read, e):
                    return self._explain(e, read)
                version = None
            found.append(_status(read, version))
        return tuple(found)

    async def values(self) -> tuple[tuple[SourceStatus, ...], tuple[SourceContent, ...]] | Violation:
        """Return the versions and the values themselves."""
        statuses, contents = [], []
        for read in self.plan:
            source = self._sources[read.name]
            try:
                value = await self.reads.value(entry_of(read), read.version, on_behalf_of=self._object)
            except (SecretsError, IdentityError) as e:
                if not self._may_miss(read, e):
                    return self._explain(e, read)
                statuses.append(_status(read, None))
                contents.append(SourceContent(source, None))
            else:
                statuses.append(_status(read, value.version))
                contents.append(SourceContent(source, value.data))
        return tuple(statuses), tuple(contents)

    @property
    def _object(self) -> str:
        return f"{self.secret.metadata.namespace}/{self.secret.metadata.name}"

    @property
    def _sources(self) -> Mapping[str, Source]:
        return {source.name: source for source in self.secret.spec.sources}

    def _may_miss(self, read: SourceRead, error: Exception) -> bool:
        """An optional source may have no path. A missing mount or version is a mistake all the same."""
        missing = isinstance(error, SecretNotFoundError) and not isinstance(
            error, SecretMountNotFoundError | SecretVersionNotFoundError
        )
        return missing and self._sources[read.name].optional

    def _explain(self, error: SecretsError | IdentityError, read: SourceRead) -> Violation:
        if isinstance(error, IdentityError):
            return error.violation
        return explain_read(error, read, self.address)


def _status(read: SourceRead, version: int | None) -> SourceStatus:
    return SourceStatus(name=read.name, path=f"{read.mount}/{read.path}", version=version)
