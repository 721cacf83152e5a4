"""Journals in Vault or OpenBao: one entry of KV version 2 for each live path, under a prefix in the same mount."""

from elile.secrets.errors import SecretDeletedError, SecretMountNotFoundError, SecretNotFoundError
from elile.secrets.rotation.destroying import destroy_up_to
from elile.secrets.rotation.journal import Journal, JournalEntry, JournalFormatError, decode, encode
from elile.secrets.vault_session import VaultCalls

__all__ = ["PREFIX", "KVJournal"]

PREFIX = "elile-journal"


class KVJournal:
    """Journals at `<mount>/data/<prefix>/<live path>`. Blocks; raises SecretsError only.

    The metadata is never deleted: version numbers would begin again, and an old check-and-set might fit.
    """

    def __init__(self, session: VaultCalls, *, mount: str = "secret", prefix: str = PREFIX) -> None:
        self._session = session
        self._mount = mount
        self._prefix = prefix

    def read(self, path: str) -> Journal:
        """Return the current version. Raises SecretMountNotFoundError, SecretAccessDeniedError, and outages."""
        where = f"{self._prefix}/{path}"
        try:
            found = self._session.call(
                f"{self._mount}/data/{where}",
                lambda client, token: client.kv2_read(token, mount=self._mount, path=where),
            )
        except SecretMountNotFoundError:
            raise
        except SecretDeletedError as e:
            return Journal(None, e.version)
        except SecretNotFoundError:
            return Journal(None, 0)
        try:
            return Journal(decode(found.data.reveal()), found.version)
        except JournalFormatError as e:
            return Journal(None, found.version, str(e))

    def write(self, path: str, entry: JournalEntry, *, cas: int) -> int:
        """Write the next version. Raises SecretConflictError, which ends the pass, and outages."""
        where = f"{self._prefix}/{path}"
        return self._session.call(
            f"{self._mount}/data/{where}",
            lambda client, token: client.kv2_write(token, mount=self._mount, path=where, data=encode(entry), cas=cas),
        )

    def wipe(self, path: str, *, keep_version: int) -> None:
        """Destroy all versions before `keep_version`, for ever. Needs the right to read the metadata."""
        destroy_up_to(self._session, mount=self._mount, path=f"{self._prefix}/{path}", last=keep_version - 1)
