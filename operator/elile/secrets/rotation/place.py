"""Where a manager keeps a path and the journal of its rotations."""

import weakref
from collections.abc import Callable
from dataclasses import dataclass

from elile.secrets.errors import SecretManagedElsewhereError, SecretsConfigurationError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import SecretsManager
from elile.secrets.rotation.journal import JournalStore, rotation_id
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.rotation.live import BackendLive
from elile.secrets.rotation.ports import LivePath

__all__ = ["Place", "own", "place_of"]

# A journal in memory lives as long as the values that it is about.
_journals: "weakref.WeakKeyDictionary[MemoryBackend, MemoryJournal]" = weakref.WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Place:
    """Where a manager keeps a path, and its journal. `cluster` asks the server who it is."""

    cluster: Callable[[], str]
    namespace: str
    mount: str
    journal: JournalStore
    live: Callable[[str], LivePath]

    def rotation_id(self, path: str, trigger: str) -> str:
        return rotation_id(
            cluster_id=self.cluster(), namespace=self.namespace, mount=self.mount, path=path, trigger=trigger
        )


def own(manager: SecretsManager) -> BackendSecretsManager:
    """Return the manager as one of this library. Raises SecretsConfigurationError."""
    if not isinstance(manager, BackendSecretsManager):
        raise SecretsConfigurationError("a SecretRotator needs a manager of this library, such as VaultSecretsManager")
    return manager


def place_of(manager: BackendSecretsManager) -> Place:
    """Return where a manager keeps its paths.

    Raises SecretManagedElsewhereError for one that cannot write, SecretsConfigurationError for one without versions
    that are compared.
    """
    backend = manager.backend
    if isinstance(backend, MemoryBackend):
        journal = _journals.setdefault(backend, MemoryJournal())
        return Place(lambda: "memory", "", "", journal, lambda path: BackendLive(backend, path))
    if backend.name == "vault":
        from elile.secrets.rotation.journal_kv import KVJournal
        from elile.secrets.rotation.live_kv import KVLive
        from elile.secrets.vault_backend import KV2Backend

        if isinstance(backend, KV2Backend):
            session, mount = backend.session, backend.mount
            return Place(
                lambda: session.client.state().cluster_id,
                session.client.endpoint.namespace or "",
                mount,
                KVJournal(session, mount=mount),
                lambda path: KVLive(backend, session, mount=mount, path=path),
            )
    if not backend.capabilities.write:
        raise SecretManagedElsewhereError(
            "what this manager reads is written by somebody else, who has to rotate it", backend=backend.name
        )
    raise SecretsConfigurationError(
        "rotation needs versions that are compared when they are written: use Vault or OpenBao, KV version 2",
        backend=backend.name,
    )
