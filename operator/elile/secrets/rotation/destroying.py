"""Ending versions of an entry of the KV engine for ever, without touching what is current."""

from elile.secrets.errors import SecretMountNotFoundError, SecretNotFoundError
from elile.secrets.rotation.allowed_kv import lacking
from elile.secrets.vault_session import VaultCalls

__all__ = ["KVVersions", "destroy_up_to"]


class KVVersions:
    """The versions of one entry of the KV engine, version 2. Blocks; raises SecretsError only."""

    def __init__(self, session: VaultCalls, *, mount: str, path: str) -> None:
        self._session = session
        self._mount = mount
        self._path = path

    def preflight(self) -> str:
        """Return what the policy lacks to destroy one, with the remedy; empty when nothing."""
        needed = {
            f"{self._mount}/metadata/{self._path}": ("read",),
            f"{self._mount}/destroy/{self._path}": ("update",),
        }
        return lacking(self._session, needed)

    def destroy_up_to(self, last: int) -> None:
        """Destroy all up to and with `last`, for ever."""
        destroy_up_to(self._session, mount=self._mount, path=self._path, last=last)


def destroy_up_to(session: VaultCalls, *, mount: str, path: str, last: int) -> None:
    """Destroy all versions up to and with `last`; those that are gone already, and no entry at all, are no error.

    The metadata stays: version numbers would begin again, and an old check-and-set might fit. Needs the right to read
    it. Raises SecretMountNotFoundError, SecretAccessDeniedError, and outages.
    """
    try:
        found = session.call(
            f"{mount}/metadata/{path}", lambda client, token: client.kv2_metadata(token, mount=mount, path=path)
        )
    except SecretMountNotFoundError:
        raise
    except SecretNotFoundError:
        return
    left = tuple(number for number, version in found.versions.items() if number <= last and not version.destroyed)
    if left:
        session.call(
            f"{mount}/destroy/{path}",
            lambda client, token: client.kv2_destroy(token, mount=mount, path=path, versions=left),
        )
