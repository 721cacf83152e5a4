"""What Vault and OpenBao answer, as far as Elile asks."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any

from elile.secrets.redact import Redacted, SecretStr

__all__ = ["EngineAnswer", "Flavor", "KVMetadata", "KVValue", "KVVersionState", "Login", "ServerState"]


class Flavor(StrEnum):
    """Which product answers. Told apart by `sys/seal-status`, where only OpenBao reports a commit date."""

    OPENBAO = "OpenBao"
    VAULT = "Vault"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerState:
    """What `sys/seal-status` tells without a token; `cluster_id` is empty while sealed."""

    flavor: Flavor
    version: str
    initialized: bool
    sealed: bool
    cluster_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """A token, the seconds it is granted for, and whether it can be renewed."""

    token: SecretStr
    ttl: float
    renewable: bool


@dataclass(frozen=True, slots=True)
class TokenState:
    """What a token says of itself: the seconds it has left, None for one without an end, and whether it renews."""

    ttl: float | None
    renewable: bool


@dataclass(frozen=True, slots=True)
class KVVersionState:
    """Whether one version of a KV v2 entry is still readable, and when it was written."""

    deleted: bool
    destroyed: bool
    created: datetime | None = field(default=None, compare=False)

    @property
    def readable(self) -> bool:
        return not (self.deleted or self.destroyed)


@dataclass(frozen=True, slots=True)
class KVMetadata:
    """The versions of a KV v2 entry, without any value; `current` is 0 when nothing was written yet.

    max_versions is how many are kept, 0 for as many as the mount says.
    """

    current: int
    versions: Mapping[int, KVVersionState]
    max_versions: int = 0


@dataclass(frozen=True, slots=True)
class KVValue:
    """One version of a KV v2 entry."""

    version: int
    data: Redacted[Mapping[str, Any]]
    created: datetime | None = field(default=None, compare=False)
    custom: Mapping[str, str] = field(default_factory=dict, compare=False)  # the entry's custom metadata


@dataclass(frozen=True, slots=True)
class EngineAnswer:
    """What an engine gave. Without a lease its id is empty; `seconds` is how long the lease is granted for."""

    data: Redacted[Mapping[str, Any]]
    lease_id: str = ""
    seconds: float = 0.0
    renewable: bool = False
