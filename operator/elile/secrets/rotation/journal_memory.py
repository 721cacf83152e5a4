"""A journal in memory, with the manners of KV version 2: for tests, and for trying a schedule out."""

from collections.abc import Mapping
from typing import Any

from elile.secrets.errors import SecretConflictError
from elile.secrets.rotation.journal import Journal, JournalEntry, JournalFormatError, decode, encode

__all__ = ["MemoryJournal"]


class MemoryJournal:
    """Keeps what a server would: every version as JSON, until it is destroyed."""

    def __init__(self) -> None:
        self._versions: dict[str, dict[int, Mapping[str, Any]]] = {}
        self._current: dict[str, int] = {}

    def read(self, path: str) -> Journal:
        """Return the current version; one that was destroyed never falls back to an older."""
        version = self._current.get(path, 0)
        stored = self._versions.get(path, {}).get(version)
        if stored is None:
            return Journal(None, version)
        try:
            return Journal(decode(stored), version)
        except JournalFormatError as e:
            return Journal(None, version, str(e))

    def write(self, path: str, entry: JournalEntry, *, cas: int) -> int:
        """Write the next version. Raises SecretConflictError."""
        return self.put(path, encode(entry), cas=cas)

    def wipe(self, path: str, *, keep_version: int) -> None:
        """Destroy all versions before `keep_version`."""
        kept = self._versions.get(path, {})
        self._versions[path] = {number: stored for number, stored in kept.items() if number >= keep_version}

    def put(self, path: str, stored: Mapping[str, Any], *, cas: int) -> int:
        """Write what need not be a journal at all. Raises SecretConflictError."""
        version = self._current.get(path, 0)
        if cas != version:
            raise SecretConflictError("the current version is not the one that was expected", path=path)
        self._versions.setdefault(path, {})[version + 1] = stored
        self._current[path] = version + 1
        return version + 1

    def readable(self, path: str) -> tuple[Mapping[str, Any], ...]:
        """Return all versions that are not destroyed, oldest first, values and all."""
        return tuple(self._versions.get(path, {}).values())
