"""What a place that keeps secrets can do, and what a manager offers over it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, runtime_checkable

from elile.secrets.redact import Redacted
from elile.secrets.types import (
    AIProviderSecrets,
    DatabaseCredentials,
    EncryptionKeys,
    HealthReport,
    ProviderApiKey,
    SecretChange,
    SecretMetadata,
    SecretValue,
)

__all__ = [
    "Backend",
    "Capabilities",
    "Reading",
    "Ref",
    "SecretPath",
    "SecretsManager",
    "Subscription",
    "Version",
    "VersionedBackend",
    "VersionedCapabilities",
]


class SecretPath(StrEnum):
    """Standard paths. The set is open: every text is accepted where one of these is."""

    DATABASE = "elile/database/postgres"
    REDIS = "elile/database/redis"
    AI_ANTHROPIC = "elile/ai/anthropic"
    AI_OPENAI = "elile/ai/openai"
    ENCRYPTION_PRIMARY = "elile/encryption/primary"

    @classmethod
    def ai(cls, provider: str) -> str:
        """Path of an AI provider. Raises ValueError for a name that is not of letters a to z, digits and `-`."""
        return f"elile/ai/{_name(provider)}"

    @classmethod
    def provider(cls, name: str) -> str:
        """Path of any other provider's API key. Raises ValueError as `ai` does."""
        return f"elile/providers/{_name(name)}"


def _name(text: str) -> str:
    if not text or not all(c in "abcdefghijklmnopqrstuvwxyz0123456789-" for c in text):
        raise ValueError("the name of a provider is made of letters a to z, digits and '-'")
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a backend can do; a manager refuses what it cannot, instead of pretending.

    write: values can be set. versions: an older version can be read. version_check: the current version is told without
    the value. expect: a write can be refused when the version is not the expected one. notices: `version` is so cheap
    that it is asked before every read (a mounted volume), so nothing is cached. expiry: values carry an end.
    """

    write: bool = False
    versions: bool = False
    version_check: bool = False
    expect: bool = False
    notices: bool = False
    expiry: bool = False


@dataclass(frozen=True, slots=True)
class Reading:
    """One answer of a backend: all keys of an entry, as stored, and what is known about it."""

    data: Redacted[Mapping[str, Any]]
    metadata: SecretMetadata


class Backend(Protocol):
    """One place that keeps secrets. All methods block, may be called from several threads, and raise SecretsError only.

    Paths are relative to what the backend was configured with (a mount, a folder); no leading or trailing slash.
    """

    name: str
    capabilities: Capabilities

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return an entry, the current version when `version` is None. A deleted one never falls back to an older."""

    def version(self, path: str) -> str:
        """Return the current version without the value. Only where `capabilities.version_check`."""

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Replace an entry. `expect` is the version that must be current, "" for none at all: SecretConflictError."""

    def check(self) -> None:
        """Raise what keeps the backend from working; needs no path."""

    def close(self) -> None:
        """Release connections and tokens."""

    def after_fork(self) -> None:
        """In the child of a fork: have connections, tokens and locks of its own, the parent goes on with those here."""


class Subscription(Protocol):
    """A callback that is called at changes, until it is cancelled."""

    def cancel(self) -> None: ...


@runtime_checkable
class SecretsManager(Protocol):
    """Secrets by path, cached, typed and followed. Every backend has the same face.

    All methods may be called from any thread's event loop. They raise SecretsError only.
    """

    async def get_secret(
        self, path: str, *, version: str | None = None, max_age: float | None = None
    ) -> SecretValue: ...
    async def set_secret(
        self, path: str, data: dict[str, Any], *, expected_version: str | None = None
    ) -> SecretValue: ...
    async def get_database_credentials(self, path: str = SecretPath.DATABASE) -> DatabaseCredentials: ...
    async def get_ai_provider_secrets(self, provider: str) -> AIProviderSecrets: ...
    async def get_provider_api_key(self, provider: str) -> ProviderApiKey: ...
    async def get_encryption_keys(self, path: str = SecretPath.ENCRYPTION_PRIMARY) -> EncryptionKeys: ...
    async def get_metadata(self, path: str) -> SecretMetadata: ...
    async def get_versions(self, path: str, *, overlap: bool = True) -> tuple[SecretValue, ...]: ...
    async def refresh(self, path: str, *, if_generation: int | None = None) -> SecretValue: ...
    def watch(self, path: str) -> AsyncIterator[SecretChange]: ...
    def on_change(
        self, path: str, callback: Callable[[SecretChange], Awaitable[None] | None], *, run_now: bool = False
    ) -> Subscription: ...
    async def health(self) -> HealthReport: ...
    async def close(self) -> None: ...


# ── what rotation needs ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Version:
    """A version that readers see: its id, opaque to callers, and what it holds."""

    id: str
    data: Redacted[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Ref:
    """A staged value: stored, and invisible to ordinary readers."""

    id: str
    key: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionedCapabilities:
    """How a store keeps versions.

    native_stage: a value is staged under the same path; otherwise at a sibling. promote_compares: promoting is atomic
    with the comparison. pointer_rollback: an older version is made current again; otherwise it is written anew.
    """

    native_stage: bool
    promote_compares: bool
    pointer_rollback: bool
    max_bytes: int


class VersionedBackend(Protocol):
    """Staging, promoting and rolling back one entry. Blocks; idempotent, so that a lost answer is asked for again."""

    versioned: VersionedCapabilities

    def current(self, path: str) -> Version:
        """Return what ordinary readers see."""

    def stage(self, path: str, data: Mapping[str, Any], *, key: str) -> Ref:
        """Store a value where ordinary readers do not see it.

        The same key with the same data answers the same Ref; with other data it is a SecretConflictError.
        """

    def read_staged(self, path: str, ref: Ref) -> Redacted[Mapping[str, Any]]:
        """Return what was stored, which is what is to be verified."""

    def promote(self, path: str, ref: Ref, *, expect: Version) -> Version:
        """Make a staged value current. Already promoted: answers it. Current is not `expect`: SecretConflictError."""

    def rollback(self, path: str, *, to: Version, expect: Version) -> Version:
        """Make `to` current again; the caller has kept it. Current is not `expect`: SecretConflictError."""

    def discard(self, path: str, ref: Ref) -> None:
        """Remove a staged value, if it is still there; never touches what is current."""
