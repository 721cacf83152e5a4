"""Ends old keys of a set between two rotations: disables them, or destroys one with every version that still holds it.

Both write the live path, as a rotation does, and so pass the same fence: the journal's entry has to be free, an intent
is written to it by check-and-set, the live path by another, and then the intent is taken back. Who dies in between
leaves an intent that nobody minds, and does the same again: what was done already is success.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Protocol

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretManagedElsewhereError,
    SecretNotFoundError,
)
from elile.secrets.rotation.journal import (
    TERMINAL,
    Intent,
    Journal,
    JournalEntry,
    JournalStore,
    Owner,
    Phase,
    Strategy,
    Value,
)
from elile.secrets.rotation.ports import LivePath
from elile.secrets.rotation.steps import Live
from elile.secrets.rotation.targets.keyset import destroy, disable_old

__all__ = ["Keys", "Versions", "destroy_key", "disable_old_keys"]


class Versions(Protocol):
    """The earlier versions of the live path, which hold what its current one does not."""

    def preflight(self) -> str:
        """Look, without side effects, whether they can be destroyed; return what is wrong, with the remedy, or ""."""

    def destroy_up_to(self, last: int) -> None:
        """Destroy all up to and with `last`, for ever; those that are gone already are no error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """A set of keys, and who changes it. `guard` is called before each side effect and raises to end it."""

    path: str
    live: LivePath
    journal: JournalStore
    owner: Owner
    guard: Callable[[], None] = lambda: None


def destroy_key(keys: Keys, versions: Versions, key_id: str) -> None:
    """Destroy the material of a key, in the current version and by destroying all earlier ones. Blocks.

    What the key encrypted is lost. Raises SecretsConfigurationError for the primary and an unknown key,
    SecretAccessDeniedError for what the policy lacks, before anything is written; and as `disable_old_keys` does.
    """
    if problem := versions.preflight():
        raise SecretAccessDeniedError(problem, path=keys.path)
    journal, live, current = _free(keys)
    changed = destroy(current, key_id)
    announced = _announce(keys, journal, live)
    version = live.version if changed == current else _write(keys, changed, live)
    keys.guard()
    versions.destroy_up_to(version - 1)
    _take_back(keys, announced, version)


def disable_old_keys(keys: Keys, *, before: datetime) -> int | None:
    """Disable the keys that encrypt no more since `before`, and return the version that says so. Blocks.

    None where there are none, and nothing is written.

    Raises SecretConflictError while a rotation is under way, and when somebody else writes meanwhile;
    SecretManagedElsewhereError for a journal of another owner, SecretNotFoundError where nothing is live,
    SecretValidationError for what is no set of keys, and outages.
    """
    journal, live, current = _free(keys)
    changed = disable_old(current, before)
    if changed == current:
        return None
    announced = _announce(keys, journal, live)
    version = _write(keys, changed, live)
    _take_back(keys, announced, version)
    return version


def _free(keys: Keys) -> tuple[Journal, Live, Value]:
    """Return the journal, whose entry is nobody else's and under no way, and what is live."""
    journal = keys.journal.read(keys.path)
    entry = journal.entry
    if entry is None and journal.version:
        raise SecretConflictError(
            f"{journal.problem or 'the journal was deleted'}: nobody knows whether a rotation is under way; have a "
            "person look at the entry of the journal",
            path=keys.path,
        )
    if entry is not None and not keys.owner.adopts(entry.owner):
        owner = f"{entry.owner.namespace}/{entry.owner.name}"
        raise SecretManagedElsewhereError(
            f"the rotation of this path belongs to {owner!r}; end keys there, or have it release the path",
            path=keys.path,
        )
    if entry is not None and not (entry.phase in TERMINAL and entry.wiped):
        raise SecretConflictError(
            f"a rotation is under way ({entry.phase}): wait for its end, or abort it", path=keys.path
        )
    live = keys.live.read()
    if live.value is None:
        raise SecretNotFoundError("no set of keys is live: write one, or restore its last version", path=keys.path)
    return journal, live, live.value


def _announce(keys: Keys, journal: Journal, live: Live) -> Journal:
    if journal.entry is None:
        # Of no rotation: it only says whose the path is.
        entry = JournalEntry(
            owner=keys.owner,
            rotation_id="",
            occurrence="",
            strategy=Strategy.KEYSET,
            phase=Phase.DONE,
            base_version=live.version,
            wiped=True,
        )
    else:
        entry = replace(journal.entry, owner=keys.owner)
    entry = replace(entry, intent=Intent.WRITE_LIVE)
    return Journal(entry, keys.journal.write(keys.path, entry, cas=journal.version))


def _write(keys: Keys, changed: Value, live: Live) -> int:
    keys.guard()
    written = keys.live.write(changed, cas=live.version)
    if written.version is None:
        raise SecretConflictError(
            "somebody else wrote the set of keys meanwhile, or a standby answered: do it again", path=keys.path
        )
    return written.version


def _take_back(keys: Keys, announced: Journal, version: int) -> None:
    """Take the intent back, and note the version as ours: it is no change by somebody else."""
    assert announced.entry is not None  # noqa: S101 - it was just written
    entry = replace(announced.entry, intent=None, live_version=version)
    keys.journal.write(keys.path, entry, cas=announced.version)
