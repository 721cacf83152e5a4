"""A manager for the tests of applications: values in memory, rotations and failures at will, time that waits."""

import threading
from collections.abc import Mapping
from typing import Any

from elile.secrets.cache import SecretCache, SecretCacheConfig
from elile.secrets.errors import SecretAccessDeniedError, SecretsError, SecretsUnavailableError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading
from elile.secrets.types import SecretValue

__all__ = ["FakeClock", "FakeSecretsManager"]


class FakeClock:
    """Seconds that pass when they are told to."""

    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


class _Backend(MemoryBackend):
    def __init__(self, data: Mapping[str, Mapping[str, Any]]) -> None:
        super().__init__(data)
        self.guard = threading.Lock()
        self.failures: list[SecretsError] = []
        self.denied: set[str] = set()
        self.reads = 0

    def read(self, path: str, *, version: str | None = None) -> Reading:
        with self.guard:
            self.reads += 1
            failure = self.failures.pop(0) if self.failures else None
        if failure is not None:
            raise failure
        if path in self.denied:
            raise SecretAccessDeniedError("permission denied", path=path, backend=self.name)
        return super().read(path, version=version)


class FakeSecretsManager(BackendSecretsManager):
    """Behaves as the real managers do: the same cache, the same errors, the same news of changes.

    manager = FakeSecretsManager({"shop/db": {"username": "a", "password": "1"}})
    manager.rotate("shop/db", {"username": "b", "password": "2"})   # whoever watches is told
    manager.fail(next=3)                                            # three reads find the backend away
    manager.deny("shop/db")                                         # from now on, refused
    manager.clock.advance(600)                                      # and what is cached is old
    """

    def __init__(
        self, data: Mapping[str, Mapping[str, Any]] | None = None, *, cache: SecretCacheConfig | None = None
    ) -> None:
        self.clock = FakeClock()
        self._memory = _Backend(data or {})
        super().__init__(self._memory, cache=SecretCache(cache, clock=self.clock), follow_interval=0.05)

    def rotate(self, path: str, data: Mapping[str, Any]) -> SecretValue:
        """Replace an entry as somebody else does it, and tell those who follow it."""
        return self.cache.put(path, self._memory.write(path, data))

    def fail(self, next: int = 1, *, error: SecretsError | None = None) -> None:
        """Let the next reads of the backend fail; by default it does not answer."""
        with self._memory.guard:
            self._memory.failures += [error or SecretsUnavailableError("no answer in time", backend="memory")] * next

    def deny(self, path: str) -> None:
        """Refuse a path from now on; what is cached of it is dropped at the next read of the backend."""
        self._memory.denied.add(path)

    def allow(self, path: str) -> None:
        """Refuse a path no more."""
        self._memory.denied.discard(path)

    @property
    def reads(self) -> int:
        """How often the backend was asked for a value."""
        return self._memory.reads
