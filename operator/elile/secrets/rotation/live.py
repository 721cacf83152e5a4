"""The live path of a backend that a rotation can write."""

from typing import Protocol

from elile.secrets.errors import (
    SecretConflictError,
    SecretDeletedError,
    SecretMountNotFoundError,
    SecretNotFoundError,
)
from elile.secrets.protocol import Reading
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.steps import Live, Written

__all__ = ["BackendLive", "Numbered"]


class Numbered(Protocol):
    """A backend whose versions are whole numbers that only grow, and that compares them when it writes."""

    def read(self, path: str, *, version: str | None = None) -> Reading: ...
    def write(self, path: str, data: dict[str, object], *, expect: str | None = None) -> Reading: ...


class BackendLive:
    """An entry of such a backend. Blocks; raises SecretsError only."""

    def __init__(self, backend: Numbered, path: str) -> None:
        self._backend = backend
        self._path = path

    def preflight(self) -> str:
        """Nothing keeps it from being written."""
        return ""

    def read(self) -> Live:
        """Return the current version; value None where it was deleted, version 0 where none was ever written."""
        try:
            found = self._backend.read(self._path)
        except SecretMountNotFoundError:
            raise
        except SecretDeletedError as e:
            return Live(e.version, None)
        except SecretNotFoundError:
            return Live(0, None)
        return Live(int(found.metadata.version or 0), found.data)

    def write(self, value: Value, *, cas: int) -> Written:
        """Write the next version, if `cas` is current."""
        try:
            written = self._backend.write(self._path, dict(value.reveal()), expect=str(cas))
        except SecretConflictError:
            return Written(None)
        return Written(int(written.metadata.version or 0))
