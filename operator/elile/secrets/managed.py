"""A manager: one backend, one cache, typed secrets and news of changes, with an asyncio and a blocking face."""

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import replace
from types import TracebackType
from typing import Any, Self, TypeVar

from elile.secrets.cache import SecretCache, SecretCacheConfig
from elile.secrets.errors import (
    SecretNotFoundError,
    SecretsClosedError,
    SecretsConfigurationError,
    SecretsError,
    SecretVersionNotFoundError,
)
from elile.secrets.following import Callback, Followed, Followers
from elile.secrets.protocol import Backend, Reading, SecretPath
from elile.secrets.threads import IoThreads, outcome, settled
from elile.secrets.types import (
    AIProviderSecrets,
    BackendHealth,
    DatabaseCredentials,
    EncryptionKeys,
    Health,
    HealthReport,
    ProviderApiKey,
    SecretChange,
    SecretMetadata,
    SecretValue,
    TypedSecret,
)

__all__ = ["BackendSecretsManager"]

S = TypeVar("S", bound=TypedSecret)

# Seconds between two looks at a path that somebody follows.
NOTICE_INTERVAL = 0.5  # where a look is a `readlink`
POLL_INTERVAL = 30.0


class BackendSecretsManager:
    """Secrets of one backend. It implements `SecretsManager`; methods in `blocking` are the same without asyncio.

    Use it as an asynchronous context manager, or call `start` (which fails early where the backend does not work) and
    `close`. It may be shared by threads and event loops. After a fork the child keeps what is cached and makes
    connections of its own.
    """

    def __init__(
        self,
        backend: Backend,
        *,
        cache: SecretCache | SecretCacheConfig | None = None,
        follow_interval: float | None = None,
    ) -> None:
        self.backend = backend
        self.threads = IoThreads()
        self.cache = cache if isinstance(cache, SecretCache) else SecretCache(cache, threads=self.threads)
        notices = backend.capabilities.notices
        self._followers = Followers(
            self._look, interval=follow_interval or (NOTICE_INTERVAL if notices else POLL_INTERVAL)
        )
        self._cancel = self.cache.subscribe(self._followers.tell)
        self._seen: dict[str, tuple[Reading, SecretValue]] = {}  # of a backend that notices
        self._closed = False
        _managers.add(self)

    # ── values ───────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get_secret(self, path: str, *, version: str | None = None, max_age: float | None = None) -> SecretValue:
        """Return an entry: from the cache while it is fresh, no older than `max_age` seconds where that is given.

        Raises SecretNotFoundError, SecretDeletedError, SecretAccessDeniedError, SecretsAuthenticationError, and
        SecretsUnavailableError when there is no answer and nothing cached that may still be given.
        """
        path = self._open(path)
        if version is not None:
            return await self.threads.run(self._read_version, path, version)
        if self.backend.capabilities.notices:
            return self._noticed(path)
        found = self.cache.peek(path, max_age=max_age)
        return found if found is not None else await outcome(self.cache.fetch(path, self._load(path), max_age=max_age))

    def get_secret_blocking(
        self, path: str, *, version: str | None = None, max_age: float | None = None
    ) -> SecretValue:
        """As `get_secret`, for code without an event loop; in one it would stop the loop while it waits."""
        path = self._open(path)
        if version is not None:
            return self._read_version(path, version)
        if self.backend.capabilities.notices:
            return self._noticed(path)
        found = self.cache.peek(path, max_age=max_age)
        return found if found is not None else settled(self.cache.fetch(path, self._load(path), max_age=max_age))

    async def set_secret(
        self, path: str, data: Mapping[str, Any], *, expected_version: str | None = None
    ) -> SecretValue:
        """Replace an entry. `expected_version` must be the current one, "" for none: SecretConflictError."""
        return await self.threads.run(self.set_secret_blocking, path, data, expected_version)

    def set_secret_blocking(
        self, path: str, data: Mapping[str, Any], expected_version: str | None = None
    ) -> SecretValue:
        """As `set_secret`, for code without an event loop."""
        path = self._open(path)
        able = self.backend.capabilities
        if not able.write:
            # The backend knows best who changes it instead.
            self.backend.write(path, data)
            raise SecretsConfigurationError("this backend cannot be written", path=path, backend=self.backend.name)
        if expected_version is not None and not able.expect:
            raise SecretsConfigurationError(
                "this backend compares no versions; leave expected_version out", path=path, backend=self.backend.name
            )
        written = self.backend.write(path, data, expect=expected_version)
        return self.cache.put(path, written, load=self._load(path))

    async def refresh(self, path: str, *, if_generation: int | None = None) -> SecretValue:
        """Ask the backend now; with `if_generation` only if that is still the one that is known.

        So of many who find a credential refused at the same time, one asks.
        """
        path = self._open(path)
        if self.backend.capabilities.notices:
            return self._noticed(path)
        return await outcome(self.cache.refresh(path, self._load(path), if_generation=if_generation))

    def refresh_blocking(self, path: str, *, if_generation: int | None = None) -> SecretValue:
        """As `refresh`, for code without an event loop."""
        path = self._open(path)
        if self.backend.capabilities.notices:
            return self._noticed(path)
        return settled(self.cache.refresh(path, self._load(path), if_generation=if_generation))

    async def get_versions(self, path: str, *, overlap: bool = True) -> tuple[SecretValue, ...]:
        """Return the current version, and with `overlap` the one before it: verifiers accept both for a while."""
        current = await self.get_secret(path)
        previous = current.metadata.previous_version
        if not overlap or previous is None or not self.backend.capabilities.versions:
            return (current,)
        try:
            return (current, await self.get_secret(path, version=previous))
        except SecretNotFoundError:  # deleted, or pruned
            return (current,)

    async def get_metadata(self, path: str) -> SecretMetadata:
        """Return what is known of the current version; where the backend can tell it, without fetching the value."""
        path = self._open(path)
        if self.backend.capabilities.version_check:
            version = await self.threads.run(self.backend.version, path)
            known = self.cache.peek(path)
            if known is not None and known.version == version:
                return known.metadata
            return SecretMetadata(version=version, source=self.backend.name)
        return (await self.get_secret(path)).metadata

    # ── typed ────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def get_database_credentials(self, path: str = SecretPath.DATABASE) -> DatabaseCredentials:
        """Return how to reach a database. Raises SecretValidationError, which names the fields at fault."""
        return as_typed(DatabaseCredentials, await self.get_secret(path))

    async def get_ai_provider_secrets(self, provider: str) -> AIProviderSecrets:
        """Return what a client of an AI provider needs; `provider` such as anthropic, openai, azure-openai."""
        return as_provider(AIProviderSecrets, await self.get_secret(SecretPath.ai(provider)), provider)

    async def get_provider_api_key(self, provider: str) -> ProviderApiKey:
        """Return the API key of any other provider."""
        return as_provider(ProviderApiKey, await self.get_secret(SecretPath.provider(provider)), provider)

    async def get_encryption_keys(self, path: str = SecretPath.ENCRYPTION_PRIMARY) -> EncryptionKeys:
        """Return a set of keys: one that encrypts, and those that still decrypt."""
        return as_typed(EncryptionKeys, await self.get_secret(path))

    # ── changes ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def watch(self, path: str) -> AsyncIterator[SecretChange]:
        """Yield what is there, then every change, until the iterator is closed. Changes in a row may be one.

        Raises what the first read raises; later failures are waited out.
        """
        path = self._open(path)
        news: asyncio.Queue[SecretChange] = asyncio.Queue()
        followed = self._followers.add(path, news.put_nowait)
        try:
            last = await self.get_secret(path)
            yield SecretChange(path, last)
            while True:
                change = await news.get()
                while not news.empty():
                    change = replace(news.get_nowait(), previous=last)
                if change.current.generation != last.generation:
                    yield replace(change, previous=last)
                    last = change.current
        finally:
            followed.cancel()

    def on_change(self, path: str, callback: Callback, *, run_now: bool = False) -> Followed:
        """Call back at every change, in the event loop that runs now, else in a thread of the manager's.

        `run_now` calls back with what is there as well. An error of the callback is logged by class, and ends nothing.
        """
        followed = self._followers.add(self._open(path), callback)
        if run_now:
            self.threads.submit(self._tell_now, followed)
        return followed

    def revisions(self) -> dict[str, int]:
        """Return what this process has loaded: revisions by the names of ElileSecrets, for `/.well-known/elile`.

        Mounted secrets have them where the ElileSecret sets `delivery.metadataFile`; other backends have none.
        """
        loaded = [value.metadata.custom for _, value in list(self._seen.values())]
        return {told["name"]: int(told["revision"]) for told in loaded if {"name", "revision"} <= told.keys()}

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    async def start(self) -> None:
        """Check that the backend works: logged in, reachable. Raises what keeps it from working."""
        self._open("start")
        await self.threads.run(self.backend.check)

    async def health(self) -> HealthReport:
        """Tell how the backend fares: `degraded` while something stale is being served."""
        return await self.threads.run(self.health_blocking)

    def health_blocking(self) -> HealthReport:
        """As `health`, for code without an event loop."""
        try:
            self.backend.check()
        except SecretsError as e:
            health = Health.DEGRADED if self.cache.generations() else Health.DOWN
            return HealthReport((BackendHealth(self.backend.name, health, str(e)),))
        stale = sorted(self.cache.stale_paths())
        if stale:
            return HealthReport((BackendHealth(self.backend.name, Health.DEGRADED, f"stale: {', '.join(stale)}"),))
        return HealthReport((BackendHealth(self.backend.name, Health.OK),))

    async def close(self) -> None:
        """Stop following, forget the values, release connections and tokens. A closed manager stays closed."""
        if not self._closed:
            await self.threads.run(self._release)
            self.threads.close()

    def close_blocking(self) -> None:
        """As `close`, for code without an event loop."""
        if not self._closed:
            self._release()
            self.threads.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _open(self, path: str) -> str:
        if self._closed:
            raise SecretsClosedError("the manager was closed; make another one", path=path, backend=self.backend.name)
        return str(path)

    def _load(self, path: str) -> Callable[[], Reading]:
        return lambda: self.backend.read(path)

    def _look(self, path: str) -> None:
        if self.backend.capabilities.notices:
            self._noticed(path)
        else:
            settled(self.cache.refresh(path, self._load(path)))

    def _noticed(self, path: str) -> SecretValue:
        reading = self.backend.read(path)
        seen = self._seen.get(path)
        if seen is not None and seen[0] is reading:
            return seen[1]
        value = self.cache.put(path, reading)
        self._seen[path] = (reading, value)
        return value

    def _read_version(self, path: str, version: str) -> SecretValue:
        if not self.backend.capabilities.versions:
            raise SecretVersionNotFoundError("this backend keeps no versions", path=path, backend=self.backend.name)
        reading = self.backend.read(path, version=version)
        return SecretValue(path, reading.data, reading.metadata)

    def _tell_now(self, followed: Followed) -> None:
        # Where there is nothing to tell yet, the first good answer is a change, and told as one.
        with contextlib.suppress(SecretsError):
            followed.tell(SecretChange(followed.path, self.get_secret_blocking(followed.path)))

    def _release(self) -> None:
        self._closed = True
        self._cancel()
        self._followers.close()
        self.cache.clear()
        self._seen.clear()
        self.backend.close()

    def _after_fork(self) -> None:
        self._followers.forget_thread()
        self.backend.after_fork()


def as_typed(model: type[S], value: SecretValue) -> S:
    """Read a value as one of the typed shapes. Raises SecretValidationError."""
    return model.parse(value.raw.reveal(), path=value.path)


def as_provider(model: type[S], value: SecretValue, provider: str) -> S:
    """As `as_typed`, with the provider's name where the entry does not say it."""
    return model.parse({"provider": provider, **value.raw.reveal()}, path=value.path)


_managers: "weakref.WeakSet[BackendSecretsManager]" = weakref.WeakSet()


def _after_fork() -> None:
    for manager in list(_managers):
        manager._after_fork()


os.register_at_fork(after_in_child=_after_fork)
