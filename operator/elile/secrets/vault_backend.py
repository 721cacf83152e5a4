"""Vault and OpenBao as a place that keeps secrets: the KV engine, version 1 or 2."""

from collections.abc import Mapping
from typing import Any

from elile.secrets.answers import KVValue
from elile.secrets.errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Capabilities, Reading, Ref, Version, VersionedCapabilities
from elile.secrets.redact import Redacted
from elile.secrets.types import SecretMetadata
from elile.secrets.vault_session import VaultCalls, VaultSession

__all__ = ["STAGING", "KV1Backend", "KV2Backend", "KV2Entries"]

# Staged values stand beside what readers may read, so that a policy for their own paths does not show them.
STAGING = "elile-staging"
# The server's own limit for one entry in its default storage, less the rest of the request.
MAX_BYTES = 1024 * 1024 - 4096


class KV2Entries:
    """Entries of version 2 of the KV engine at one mount, whoever sees to the login."""

    def __init__(self, session: VaultCalls, *, mount: str = "secret") -> None:
        self._calls = session
        self._mount = mount

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return one version. Raises SecretVersionNotFoundError for one that is no number."""
        number = None if version is None else _number(version, path)
        return _reading(self._read(path, number))

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Write the next version. `expect` "" writes only where nothing was ever written."""
        cas = None if expect is None else 0 if expect == "" else _number(expect, path)
        number = self._write(path, data, cas)
        return Reading(Redacted(dict(data)), SecretMetadata(version=str(number), source="vault"))

    def _read(self, path: str, version: int | None) -> KVValue:
        return self._calls.call(
            f"{self._mount}/data/{path}",
            lambda client, token: client.kv2_read(token, mount=self._mount, path=path, version=version),
        )

    def _write(self, path: str, data: Mapping[str, Any], cas: int | None) -> int:
        return self._calls.call(
            f"{self._mount}/data/{path}",
            lambda client, token: client.kv2_write(token, mount=self._mount, path=path, data=data, cas=cas),
        )


class KV2Backend(KV2Entries):
    """Version 2 of the KV engine: versions, check-and-set, and staging at sibling paths."""

    name = "vault"
    capabilities = Capabilities(write=True, versions=True, version_check=True, expect=True)
    versioned = VersionedCapabilities(
        native_stage=False, promote_compares=True, pointer_rollback=False, max_bytes=MAX_BYTES
    )

    def __init__(self, session: VaultSession, *, mount: str = "secret") -> None:
        super().__init__(session, mount=mount)
        self._session = session

    @property
    def session(self) -> VaultSession:
        """The login, for what else needs it."""
        return self._session

    @property
    def mount(self) -> str:
        """Where the engine is mounted."""
        return self._mount

    def version(self, path: str) -> str:
        """Return the number of the current version. Needs the right to read the metadata of the path."""
        found = self._session.call(
            f"{self._mount}/metadata/{path}",
            lambda client, token: client.kv2_metadata(token, mount=self._mount, path=path),
        )
        return str(found.current)

    def check(self) -> None:
        """Log in, if that was not done yet, and ask for the token's state."""
        self._session.call("auth/token/lookup-self", lambda client, token: client.look_up(token))

    def close(self) -> None:
        """Revoke the token of our own login and close the connections."""
        self._session.close()

    def after_fork(self) -> None:
        """In the child: log in anew, over connections of its own."""
        self._session.after_fork()

    # ── versions ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def current(self, path: str) -> Version:
        """Return the current version."""
        found = self._read(path, None)
        return Version(str(found.version), found.data)

    def stage(self, path: str, data: Mapping[str, Any], *, key: str) -> Ref:
        """Store a value at a sibling path, once for each key."""
        where = _staging(path, key)
        try:
            self._write(where, {"data": dict(data)}, 0)
        except SecretConflictError:
            # Somebody was first: most likely ourselves, and the answer was lost.
            if self._read(where, None).data.reveal().get("data") != dict(data):
                raise SecretConflictError(f"other data was staged with the key {key!r}", path=path) from None
        return Ref(where, key)

    def read_staged(self, path: str, ref: Ref) -> Redacted[Mapping[str, Any]]:
        """Return what was staged."""
        return Redacted(self._read(_staging(path, ref.key), None).data.reveal()["data"])

    def promote(self, path: str, ref: Ref, *, expect: Version) -> Version:
        """Write what was staged, if the current version is `expect`."""
        return self._become(path, self.read_staged(path, ref), expect)

    def rollback(self, path: str, *, to: Version, expect: Version) -> Version:
        """Write what an earlier version held, if the current version is `expect`."""
        return self._become(path, to.data, expect)

    def discard(self, path: str, ref: Ref) -> None:
        """Remove what was staged, with all its versions."""
        where = _staging(path, ref.key)
        self._session.call(
            f"{self._mount}/metadata/{where}",
            lambda client, token: client.kv2_remove(token, mount=self._mount, path=where),
        )

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _become(self, path: str, data: Redacted[Mapping[str, Any]], expect: Version) -> Version:
        try:
            return Version(str(self._write(path, data.reveal(), _number(expect.id, path))), data)
        except SecretConflictError:
            now = self._read(path, None)
            # The write came through and its answer was lost: cas let nobody else in between.
            if now.version == _number(expect.id, path) + 1 and now.data == data:
                return Version(str(now.version), now.data)
            raise SecretConflictError(
                f"version {now.version} is current, and {expect.id} was expected", path=path
            ) from None


class KV1Backend:
    """Version 1 of the KV engine: the last value and nothing else."""

    name = "vault"
    capabilities = Capabilities(write=True)

    def __init__(self, session: VaultSession, *, mount: str = "secret") -> None:
        self._session = session
        self._mount = mount

    def read(self, path: str, *, version: str | None = None) -> Reading:
        """Return the value. Raises SecretVersionNotFoundError when a version is asked for."""
        if version is not None:
            raise SecretVersionNotFoundError("the engine is KV version 1 and keeps no versions", path=path)
        data = self._session.call(
            f"{self._mount}/{path}", lambda client, token: client.kv1_read(token, mount=self._mount, path=path)
        )
        return Reading(data, SecretMetadata(source=self.name))

    def version(self, path: str) -> str:
        """Not offered (`capabilities.version_check`)."""
        raise SecretNotFoundError("the engine is KV version 1 and keeps no versions", path=path)

    def write(self, path: str, data: Mapping[str, Any], *, expect: str | None = None) -> Reading:
        """Replace the value. Raises SecretsConfigurationError for `expect`, which this engine cannot compare."""
        if expect is not None:
            raise SecretsConfigurationError("KV version 1 compares no versions; leave expected_version out", path=path)
        self._session.call(
            f"{self._mount}/{path}",
            lambda client, token: client.kv1_write(token, mount=self._mount, path=path, data=data),
        )
        return Reading(Redacted(dict(data)), SecretMetadata(source=self.name))

    def check(self) -> None:
        """Log in, if that was not done yet, and ask for the token's state."""
        self._session.call("auth/token/lookup-self", lambda client, token: client.look_up(token))

    def close(self) -> None:
        """Revoke the token of our own login and close the connections."""
        self._session.close()

    def after_fork(self) -> None:
        """In the child: log in anew, over connections of its own."""
        self._session.after_fork()


def _reading(value: KVValue) -> Reading:
    metadata = SecretMetadata(
        version=str(value.version),
        created_at=value.created,
        previous_version=str(value.version - 1) if value.version > 1 else None,
        custom=value.custom,
        source="vault",
    )
    return Reading(value.data, metadata)


def _number(version: str, path: str) -> int:
    if not version.isascii() or not version.isdigit():
        raise SecretVersionNotFoundError("versions of this engine are whole numbers", path=path)
    return int(version)


def _staging(path: str, key: str) -> str:
    if not key or "/" in key:
        raise SecretsConfigurationError("the key of a staged value is one part of a path, without '/'", path=path)
    return f"{STAGING}/{path}/{key}"
