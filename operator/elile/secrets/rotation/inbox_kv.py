"""The inbox in Vault or OpenBao: where people and pipelines leave the next value, beside the live path."""

from elile.secrets.errors import SecretMountNotFoundError, SecretNotFoundError
from elile.secrets.rotation.destroying import destroy_up_to
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.journal_kv import PREFIX as JOURNALS
from elile.secrets.vault_session import VaultCalls

__all__ = ["PREFIX", "KVInbox"]

PREFIX = f"{JOURNALS}-inbox"


class KVInbox:
    """One entry of KV version 2 at `<mount>/data/<prefix>/<live path>`. Blocks; raises SecretsError only.

    What was taken is told by its version, so nobody may delete the metadata: numbers would begin again, and a new
    value would count as taken.
    """

    def __init__(self, session: VaultCalls, *, mount: str, path: str, prefix: str = PREFIX) -> None:
        self._session = session
        self._mount = mount
        self._where = f"{prefix}/{path}"

    @property
    def where(self) -> str:
        """Where to write: `<mount>/<prefix>/<live path>`, as the command lines of both servers take it."""
        return f"{self._mount}/{self._where}"

    def read(self) -> tuple[int, Value] | None:
        """Return the current version and what it holds; None for nothing, or one that was deleted or destroyed.

        Raises SecretMountNotFoundError, SecretAccessDeniedError, and outages.
        """
        try:
            found = self._session.call(
                f"{self._mount}/data/{self._where}",
                lambda client, token: client.kv2_read(token, mount=self._mount, path=self._where),
            )
        except SecretMountNotFoundError:
            raise
        except SecretNotFoundError:
            return None
        return found.version, found.data

    def destroy(self, version: int) -> None:
        """Destroy all versions up to and with this one, for ever. Needs the right to read the metadata."""
        destroy_up_to(self._session, mount=self._mount, path=self._where, last=version)
