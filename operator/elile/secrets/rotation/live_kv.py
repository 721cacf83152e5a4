"""The live path in the KV engine, version 2: what a rotation needs there is asked for before it begins."""

from elile.secrets.errors import SecretAccessDeniedError
from elile.secrets.rotation.allowed_kv import lacking
from elile.secrets.rotation.journal_kv import PREFIX
from elile.secrets.rotation.live import BackendLive, Numbered
from elile.secrets.vault_session import VaultCalls

__all__ = ["KVLive"]

# What a rotation writes while the value it began with must stay readable: promote, and roll back.
SPARE_VERSIONS = 3
_NEEDED = {
    "{mount}/data/{path}": ("read", "update"),
    "{mount}/data/{prefix}/{path}": ("create", "read", "update"),
    "{mount}/metadata/{prefix}/{path}": ("read",),
    "{mount}/destroy/{prefix}/{path}": ("update",),
}


class KVLive(BackendLive):
    """An entry of the KV engine, version 2, with its journal at `prefix` in the same mount."""

    def __init__(self, backend: Numbered, session: VaultCalls, *, mount: str, path: str, prefix: str = PREFIX) -> None:
        super().__init__(backend, path)
        self._session = session
        self._names = {"mount": mount, "path": path, "prefix": prefix}

    def preflight(self) -> str:
        """Ask what the token may do, and how many versions are kept."""
        wanted = {where.format(**self._names): what for where, what in _NEEDED.items()}
        return lacking(self._session, wanted) or self._pruned()

    def _pruned(self) -> str:
        mount, path = self._names["mount"], self._names["path"]
        try:
            found = self._session.call(
                f"{mount}/metadata/{path}", lambda client, token: client.kv2_metadata(token, mount=mount, path=path)
            )
        except SecretAccessDeniedError:
            return ""  # the policy need not show it, and the journal holds the old value as well
        if 0 < found.max_versions < SPARE_VERSIONS:
            return (
                f"{mount}/{path} keeps {found.max_versions} versions, and a rotation with its rollback takes "
                f"{SPARE_VERSIONS}: raise max_versions"
            )
        return ""
