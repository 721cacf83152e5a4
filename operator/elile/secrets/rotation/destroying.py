"""Ending versions of an entry of the KV engine for ever, without touching what is current."""

from elile.secrets.errors import SecretMountNotFoundError, SecretNotFoundError
from elile.secrets.vault_session import VaultSession

__all__ = ["destroy_up_to"]


def destroy_up_to(session: VaultSession, *, mount: str, path: str, last: int) -> None:
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
