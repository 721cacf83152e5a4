"""Several backends as one: the first that has an entry answers."""

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

from elile.secrets.errors import (
    SecretConflictError,
    SecretDeletedError,
    SecretManagedElsewhereError,
    SecretMountNotFoundError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Backend, Capabilities, Reading

__all__ = ["ChainBackend"]

# Each of these says something else than "this backend has no such entry", so the next one must not answer instead.
_FINAL = (SecretDeletedError, SecretVersionNotFoundError, SecretMountNotFoundError)


class ChainBackend:
    """Asks backends in turn, and goes on to the next only where nothing is stored at the path.

    A deleted entry, a refusal and an outage end the search: otherwise a value that somebody took away, or that this
    process may not see, would be replaced by an older one of another backend.

    Versions are told as `<backend>:<version>` (`vault:3`), since two backends number alike; `metadata.source` names who
    answered. Capabilities are those that all backends have, but for `write` and `expect`, which are the writing
    backend's: the first one that can write.
    """

    def __init__(self, *backends: Backend) -> None:
        """Raises SecretsConfigurationError when no backend is given."""
        if not backends:
            raise SecretsConfigurationError("a chain needs at least one backend", backend="chain")
        self.name = "chain"
        self.backends = backends
        self._labelled: dict[str, Backend] = {}
        for backend in backends:
            count = sum(label.partition("#")[0] == backend.name for label in self._labelled)
            self._labelled[f"{backend.name}#{count + 1}" if count else backend.name] = backend
        self._writer = next((label for label, b in self._labelled.items() if b.capabilities.write), None)
        shared = {f.name: all(getattr(b.capabilities, f.name) for b in backends) for f in fields(Capabilities)}
        writing = self._labelled[self._writer].capabilities if self._writer else Capabilities()
        self.capabilities = Capabilities(**{**shared, "write": writing.write, "expect": writing.expect})

    def __repr__(self) -> str:
        return f"ChainBackend({', '.join(self._labelled)})"

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return the entry of the first backend that has one. A version `<backend>:<version>` asks that one only.

        Raises SecretNotFoundError, which says what each of them looked for, and what else a backend raises.
        """
        label, number = self._split(version)
        if label is not None:
            return _told_by(label, self._labelled[label].read(path, version=number))
        label, reading = self._first(path, number)
        return _told_by(label, reading)

    def version(self, path: str) -> str:
        """Return the current version of the first backend that has the entry. Raises as `read` does."""
        missing: list[str] = []
        for label, backend in self._labelled.items():
            try:
                return f"{label}:{backend.version(path)}"
            except SecretNotFoundError as e:
                if isinstance(e, _FINAL):
                    raise
                missing.append(f"{label}: {e.detail}")
        raise SecretNotFoundError("; ".join(missing), path=path, backend=self.name)

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Write to the first backend that can. `expect` is a version as `read` tells it, "" for no entry anywhere.

        Raises SecretManagedElsewhereError when none can, or when a backend before it has the entry and would go on
        giving its own value; SecretConflictError when `expect` is another backend's version; else what it raises.
        """
        if self._writer is None:
            raise SecretManagedElsewhereError("no backend of the chain can be written", path=path, backend=self.name)
        labels = list(self._labelled)
        place = labels.index(self._writer)
        for label in labels[:place]:
            if self._has(label, path):
                what = f"is given by {label}, which cannot be written and comes before {self._writer}"
                raise SecretManagedElsewhereError(what, path=path, backend=self.name)
        label_expected, number = self._split(expect)
        elsewhere = expect == "" and any(self._has(label, path) for label in labels[place + 1 :])
        if elsewhere or label_expected not in (None, self._writer):
            what = f"the expected version is not one of {self._writer}, which is written"
            raise SecretConflictError(what, path=path, backend=self.name)
        return _told_by(self._writer, self._labelled[self._writer].write(path, data, expect=number))

    def check(self) -> None:
        """Raise what keeps the first of them from working: any that does not work may hide entries."""
        for backend in self.backends:
            backend.check()

    def after_fork(self) -> None:
        """In the child: have all of them begin anew."""
        for backend in self.backends:
            backend.after_fork()

    def close(self) -> None:
        """Close all of them, also when one fails to; its error is raised at the end."""
        failed: SecretsError | None = None
        for backend in self.backends:
            try:
                backend.close()
            except SecretsError as e:
                failed = failed or e
        if failed is not None:
            raise failed

    def _first(self, path: str, version: str | None = None) -> tuple[str, Reading]:
        missing: list[str] = []
        for label, backend in self._labelled.items():
            try:
                return label, backend.read(path, version=version)
            except SecretNotFoundError as e:
                if isinstance(e, _FINAL):
                    raise
                missing.append(f"{label}: {e.detail}")
        raise SecretNotFoundError("; ".join(missing), path=path, backend=self.name)

    def _has(self, label: str, path: str) -> bool:
        try:
            self._labelled[label].read(path)
        except SecretNotFoundError as e:
            if isinstance(e, _FINAL):
                raise
            return False
        return True

    def _split(self, version: str | None) -> tuple[str | None, str | None]:
        label, colon, number = (version or "").partition(":")
        return (label, number) if colon and label in self._labelled else (None, version)


def _told_by(label: str, reading: Reading) -> Reading:
    told = reading.metadata
    return Reading(
        reading.data,
        replace(
            told,
            version=told.version and f"{label}:{told.version}",
            previous_version=told.previous_version and f"{label}:{told.previous_version}",
            source=label if told.source in ("", label.partition("#")[0]) else told.source,
        ),
    )
