"""Secrets in the process's own memory, with versions: for tests, and the reference of what a backend has to do."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from threading import RLock
from types import MappingProxyType
from typing import Any

from elile.secrets.errors import (
    SecretConflictError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretValidationError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Capabilities, Reading, Ref, Version, VersionedCapabilities
from elile.secrets.redact import Redacted
from elile.secrets.types import SecretMetadata

__all__ = ["KEPT_VERSIONS", "MAX_BYTES", "MemoryBackend", "as_json"]

KEPT_VERSIONS = 10  # as many as KV v2 keeps when nothing else is configured
MAX_BYTES = 1024 * 1024


def as_json(data: Mapping[str, Any], *, path: str, backend: str) -> Redacted[str]:
    """Return an entry as the JSON text a store would keep. Raises SecretValidationError: not JSON, or over 1 MiB."""
    try:
        text = json.dumps(dict(data), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        text = None
    if text is None:
        what = "must be made of JSON values; wrapped ones are revealed first"
        raise SecretValidationError({"the entry": what}, path=path, backend=backend)
    if len(text) > MAX_BYTES:
        raise SecretValidationError({"the entry": f"is larger than {MAX_BYTES} bytes"}, path=path, backend=backend)
    return Redacted(text)


def _data(text: Redacted[str]) -> Redacted[Mapping[str, Any]]:
    return Redacted(json.loads(text.reveal()))  # anew for every reader: what one changes, no other sees


@dataclass(slots=True)
class _Stored:
    text: Redacted[str]
    metadata: SecretMetadata
    deleted_at: datetime | None = None
    destroyed: bool = False


@dataclass(slots=True)
class _Staged:
    ref: Ref
    text: Redacted[str]
    promoted: int | None = None


@dataclass(slots=True)
class _Entry:
    versions: dict[int, _Stored] = field(default_factory=dict)
    staged: dict[str, _Staged] = field(default_factory=dict)  # by idempotency key
    rollbacks: dict[tuple[str, str], int] = field(default_factory=dict)  # (to, expect) to what came of it
    last: int = 0  # the highest number is the current version; 0 when nothing was ever written


class MemoryBackend:
    """Keeps entries in memory; safe to share between threads.

    Versions are "1", "2" and so on; the last ten of an entry are kept. `data` is what is there at first, by path; `now`
    tells the time of a write. Values are copied in and out as JSON, so no caller shares an object with another.

    It is a VersionedBackend as well: staging keeps a value aside, promoting and rolling back write a new version.
    """

    def __init__(
        self,
        data: Mapping[str, Mapping[str, Any]] = MappingProxyType({}),
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.name = "memory"
        self.capabilities = Capabilities(write=True, versions=True, version_check=True, expect=True, expiry=True)
        self.versioned = VersionedCapabilities(
            native_stage=True, promote_compares=True, pointer_rollback=False, max_bytes=MAX_BYTES
        )
        self._now = now
        self._lock = RLock()
        self._entries: dict[str, _Entry] = {}
        self._refs = 0
        for path, entry in data.items():
            self.write(path, entry)

    def __repr__(self) -> str:
        return f"MemoryBackend({len(self._entries)} entries)"

    # ── reading and writing ──────────────────────────────────────────────────────────────────────────────────────────

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return an entry, the current version when `version` is None.

        Raises SecretNotFoundError (no such path), SecretVersionNotFoundError (never written, or no longer kept) or
        SecretDeletedError.
        """
        with self._lock:
            stored = self._find(path, version)[1]
            return Reading(_data(stored.text), stored.metadata)

    def version(self, path: str) -> str:
        """Return the current version. Raises SecretNotFoundError or SecretDeletedError."""
        with self._lock:
            return str(self._find(path)[0])

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Store the next version. `expect` is the version that must be current, "" for a path never written.

        Raises SecretConflictError, or SecretValidationError when the data is not JSON or over 1 MiB. A deleted version
        counts: writing over it needs its number, as in KV v2.
        """
        text = as_json(data, path=path, backend=self.name)
        with self._lock:
            entry = self._entries.setdefault(path, _Entry())
            if expect is not None and expect != (str(entry.last) if entry.last else ""):
                raise self._conflict(path)
            stored = entry.versions[self._append(entry, text)]
            return Reading(_data(stored.text), stored.metadata)

    def check(self) -> None:
        """Do nothing: memory is always there."""

    def after_fork(self) -> None:
        """In the child: another thread may have held the lock."""
        self._lock = RLock()

    def close(self) -> None:
        """Do nothing: what was written stays readable, which a test wants after the manager is gone."""

    # ── what tests arrange ───────────────────────────────────────────────────────────────────────────────────────────

    def delete(self, path: str, *, version: str | None = None, destroy: bool = False) -> None:
        """Delete a version, the current one when None; reading it raises SecretDeletedError. Raises as `read` does.

        A destroyed version has lost its data and cannot be undeleted.
        """
        with self._lock:
            stored = self._find(path, version, deleted=True)[1]
            stored.deleted_at = stored.deleted_at or self._now()
            if destroy:
                stored.destroyed, stored.text = True, Redacted("{}")

    def undelete(self, path: str, *, version: str | None = None) -> None:
        """Make a deleted version readable again. Raises as `read` does, SecretDeletedError when it was destroyed."""
        with self._lock:
            number, stored = self._find(path, version, deleted=True)
            if stored.destroyed:
                raise self._deleted(path, number, stored)
            stored.deleted_at = None

    def annotate(
        self,
        path: str,
        *,
        expires_at: datetime | None = None,
        rotated_at: datetime | None = None,
        next_rotation: datetime | None = None,
        custom: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """Set what the current version's metadata tells beside its number. Raises as `read` does."""
        with self._lock:
            stored = self._find(path)[1]
            stored.metadata = replace(
                stored.metadata,
                expires_at=expires_at,
                rotated_at=rotated_at,
                next_rotation=next_rotation,
                custom=MappingProxyType(dict(custom)),
            )

    # ── staging ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def current(self, path: str) -> Version:
        """Return what ordinary readers see. Raises SecretNotFoundError or SecretDeletedError."""
        with self._lock:
            number, stored = self._find(path)
            return Version(str(number), _data(stored.text))

    def stage(self, path: str, data: Mapping[str, Any], *, key: str) -> Ref:
        """Keep a value where ordinary readers do not see it; the path need not exist.

        The same key with the same data answers the same Ref, also after it was promoted. Raises SecretConflictError
        when the key was used for other data, and SecretValidationError when the data is not JSON or over 1 MiB.
        """
        text = as_json(data, path=path, backend=self.name)
        with self._lock:
            entry = self._entries.setdefault(path, _Entry())
            if (staged := entry.staged.get(key)) is None:
                self._refs += 1
                staged = entry.staged[key] = _Staged(Ref(f"staged-{self._refs}", key), text)
            elif _data(staged.text) != _data(text):
                raise SecretConflictError("the key was used to stage other data", path=path, backend=self.name)
            return staged.ref

    def read_staged(self, path: str, ref: Ref) -> Redacted[Mapping[str, Any]]:
        """Return what was stored. Raises SecretVersionNotFoundError when it was discarded or never staged."""
        with self._lock:
            return _data(self._staged(path, ref)[1].text)

    def promote(self, path: str, ref: Ref, *, expect: Version) -> Version:
        """Make a staged value the next version; `expect.id` is "" where nothing was ever written.

        Promoted before: answers that version, even if another is current by now. Raises SecretConflictError when
        `expect` is not current, SecretVersionNotFoundError when the value is not staged (any more).
        """
        with self._lock:
            entry, staged = self._staged(path, ref)
            if staged.promoted is None:
                self._expect(path, entry, expect)
                staged.promoted = self._append(entry, staged.text)
            return Version(str(staged.promoted), _data(staged.text))

    def rollback(self, path: str, *, to: Version, expect: Version) -> Version:
        """Write `to` anew, from the data the caller has kept. Done before, or `to` is still current: answers that.

        Raises SecretConflictError when `expect` is not current.
        """
        text = as_json(to.data.reveal(), path=path, backend=self.name)
        with self._lock:
            entry = self._entries.get(path, _Entry())
            done = entry.rollbacks.get((to.id, expect.id))
            if entry.last and (done == entry.last or to.id == str(entry.last)):
                return self.current(path)
            self._expect(path, entry, expect)
            number = self._append(entry, text)
            entry.rollbacks[to.id, expect.id] = number
            return Version(str(number), _data(text))

    def discard(self, path: str, ref: Ref) -> None:
        """Forget a staged value, if it is still there and was not promoted."""
        with self._lock:
            entry = self._entries.get(path)
            staged = entry.staged.get(ref.key) if entry else None
            if entry and staged and staged.ref == ref and staged.promoted is None:
                del entry.staged[ref.key]

    # ── inside, with the lock held ───────────────────────────────────────────────────────────────────────────────────

    def _find(self, path: str, version: str | None = None, *, deleted: bool = False) -> tuple[int, _Stored]:
        entry = self._entries.get(path)
        if entry is None or not entry.last:
            raise SecretNotFoundError("nothing is stored here", path=path, backend=self.name)
        for number, stored in entry.versions.items():
            if str(number) == (version or str(entry.last)):
                if stored.deleted_at and not deleted:
                    raise self._deleted(path, number, stored)
                return number, stored
        raise SecretVersionNotFoundError(
            f"there is no such version, or it is no longer kept (the current one is {entry.last})",
            path=path,
            backend=self.name,
        )

    def _append(self, entry: _Entry, text: Redacted[str]) -> int:
        previous, entry.last = entry.last, entry.last + 1
        entry.versions[entry.last] = _Stored(
            text,
            SecretMetadata(
                version=str(entry.last),
                created_at=self._now(),
                previous_version=str(previous) if previous else None,
                source=self.name,
            ),
        )
        for number in [n for n in entry.versions if n <= entry.last - KEPT_VERSIONS]:
            del entry.versions[number]
        entry.staged = {k: s for k, s in entry.staged.items() if s.promoted is None or s.promoted in entry.versions}
        entry.rollbacks = {pair: number for pair, number in entry.rollbacks.items() if number in entry.versions}
        return entry.last

    def _staged(self, path: str, ref: Ref) -> tuple[_Entry, _Staged]:
        entry = self._entries.get(path)
        staged = entry.staged.get(ref.key) if entry else None
        if entry is None or staged is None or staged.ref != ref:
            raise SecretVersionNotFoundError("the value is not staged (any more)", path=path, backend=self.name)
        return entry, staged

    def _expect(self, path: str, entry: _Entry, expect: Version) -> None:
        if expect.id != (str(entry.last) if entry.last else ""):
            raise self._conflict(path)

    def _conflict(self, path: str) -> SecretConflictError:
        return SecretConflictError(
            "the current version is not the expected one: read it, and decide anew", path=path, backend=self.name
        )

    def _deleted(self, path: str, number: int, stored: _Stored) -> SecretDeletedError:
        what = "destroyed" if stored.destroyed else "deleted"
        error = SecretDeletedError(
            f"version {number} was {what}",
            path=path,
            version=number,
            deleted_at=stored.deleted_at,
            destroyed=stored.destroyed,
        )
        error.backend = self.name
        return error
