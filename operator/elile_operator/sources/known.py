"""What is known of the entries that are read, and of those who read them."""

from collections.abc import Hashable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, TypeVar

from elile.secrets.answers import KVValue, KVVersionState
from elile.secrets.errors import SecretDeletedError, SecretNotFoundError, SecretsError, SecretVersionNotFoundError
from elile_operator.decide.access import Engine
from elile_operator.decide.missing import Sightings
from elile_operator.kube.errors import KubeError
from elile_operator.sources.identity import Identity, IdentityError

__all__ = ["Entry", "Known", "ReadError", "knows", "readable", "said", "sight"]

R = TypeVar("R", bound=Hashable)

# What a read can end in; each knows how to say itself without a value.
ReadError = SecretsError | IdentityError | KubeError


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry as one identity sees it: the unit that is polled. `namespace` is Vault's; None is the root one."""

    identity: Identity
    mount: str
    path: str
    namespace: str | None = None
    engine: Engine = Engine.KV2


@dataclass(slots=True)
class Known(Generic[R]):
    """What is known of one entry. Versions are compared one by one, since reads and polls tell of different ones."""

    entry: Entry  # the one copy of it that is kept
    mark: bytes = b""  # of the value that was read last, where nothing but the value tells whether it changed
    lasts: float | None = None  # seconds, as the server said with it: then there is another one
    readers: dict[R, tuple[float, frozenset[int]]] = field(default_factory=dict)  # interval, pinned versions
    facts: dict[int, KVVersionState] = field(default_factory=dict)  # of the versions that somebody wants and that exist
    current: int | None = None
    created: datetime | None = None  # when the current version was written, by the server's clock
    origin: object = None  # who said that
    behind: float | None = None  # monotonic, of the first of the answers, in a row, that were older than that
    error: ReadError | None = None
    looked: float | None = None  # monotonic, of the last answer, good or bad
    compared: datetime | None = None  # of the last good answer
    failures: int = 0
    missing: Sightings | None = None  # since the last answer of another kind
    refused: bool = False  # since the last poll a value could not be read
    values: dict[int, KVValue] = field(default_factory=dict)
    since: datetime | None = None  # when it was first asked for

    @property
    def interval(self) -> float:
        return min((interval for interval, _ in self.readers.values()), default=60.0)

    @property
    def pinned(self) -> frozenset[int]:
        return frozenset().union(*(pinned for _, pinned in self.readers.values()))


def said(error: ReadError | None) -> tuple[type, str] | None:
    return None if error is None else (type(error), str(error))


def sight(known: Known[R]) -> Hashable:
    """Return what differs after any change that readers are told of, but for versions that they are pinned to."""
    return known.current, known.facts.get(known.current or 0), said(known.error)


def knows(known: Known[R], version: int | None) -> bool:
    """Whether it is no news that a version was made."""
    if version is None or known.error is not None or known.current is None:
        return False
    return known.current >= version


def readable(entry: Entry, known: Known[R], pinned: int | None) -> int:
    version = pinned if pinned is not None else known.current
    where = f"{entry.mount}/data/{entry.path}"
    state = known.facts.get(version or 0)  # 0 is the current version of an entry that was never written
    if version is None or state is None:
        if pinned is None:
            raise SecretNotFoundError("nothing is stored there", path=where)
        raise SecretVersionNotFoundError(f"version {version} does not exist", path=where)
    if not state.readable:
        how = "destroyed" if state.destroyed else "deleted"
        raise SecretDeletedError(
            f"version {version} is {how}", path=where, version=version, deleted_at=None, destroyed=state.destroyed
        )
    return version
