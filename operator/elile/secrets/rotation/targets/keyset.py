"""A set of keys that encrypt: a new one is handed out to decrypt first, and encrypts once everybody has it.

An entry is `{primary: <id>, keys: {<id>: {algorithm, status, created, material}}, key: <material of the primary>}`, as
`types.EncryptionKeys` reads it; a key that encrypted once has `replaced` as well, the time at which its successor was
made. One with `key` alone is a set of one, whose key has the id "1"; it becomes the long form with the first rotation.
`keys` may be JSON text, and stays it.
"""

import json
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from elile.secrets.errors import SecretsConfigurationError, SecretsError, SecretValidationError
from elile.secrets.redact import Redacted
from elile.secrets.rotation.generators import Generator, RandBytes, aes, fernet
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.steps import Generated
from elile.secrets.rotation.targets.plain import draw
from elile.secrets.rotation.verify.crypto import make_canary, verify_keys
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile.secrets.types import EncryptionKey, EncryptionKeys, KeyAlgorithm, KeyStatus

__all__ = ["KeysetTarget", "destroy", "disable", "disable_old", "oldest_replaced"]

FIRST = "1"
REPLACED = "replaced"
_GENERATORS: Mapping[KeyAlgorithm, Callable[[], Generator]] = MappingProxyType(
    {KeyAlgorithm.AES256GCM: aes, KeyAlgorithm.FERNET: fernet}
)


def _utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class KeysetTarget:
    """Adds a key of one algorithm to a set, first to decrypt, then to encrypt.

    `now` dates the new key, and has to be aware. `canaries` are texts that keys of the set have encrypted once, by the
    id of the key; a key without one is tried with a fresh text, which shows that it works and not that it is the same.
    """

    algorithm: KeyAlgorithm = KeyAlgorithm.AES256GCM
    now: Callable[[], datetime] = _utc_now
    randbytes: RandBytes = secrets.token_bytes
    canaries: Mapping[str, bytes] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def strategy(self) -> Strategy:
        return Strategy.KEYSET

    def preflight(self, current: Value) -> str:
        """Look whether the set can be read and used, and is of the algorithm that is to be added."""
        try:
            keys = _read(current).parsed
        except SecretValidationError as e:
            return f"the live entry is no set of keys: {e.detail}"
        found = keys.primary.algorithm
        if found is not self.algorithm:
            return (
                f"the set encrypts with {found} and the new key would be {self.algorithm}: one cipher reads one of "
                f"them, so keep {found}, or begin another set at a path of its own"
            )
        checked = self.verify(current, timeout=0)
        return "" if checked.outcome is Outcome.PASSED else checked.detail

    def generate(self, current: Value, taken: int) -> Generated:  # noqa: ARG002 - of `ports.Target`
        """Draw a key. pending has it as its primary, distributed only decrypts with it.

        In pending every other key says since when it encrypts no more (`replaced`), unless it says so already.

        Raises SecretValidationError for an entry that is no set of keys, SecretsConfigurationError when the source of
        randomness is broken.
        """
        entry = _read(current)
        new = _next_id(entry.keys)
        material = draw(_GENERATORS[self.algorithm](), self.randbytes)
        now = self.now().astimezone(UTC).isoformat(timespec="seconds")
        added = {"algorithm": self.algorithm.value, "created": now, "material": material.reveal()}
        replaced = {name: {REPLACED: now, **key} for name, key in entry.keys.items()}
        return Generated(
            pending=entry.written({**replaced, new: added}, new),
            distributed=entry.written({**entry.keys, new: added}, entry.primary),
        )

    def verify(self, value: Value, *, timeout: float) -> Verification:  # noqa: ARG002 - nobody is asked
        """Encrypt and decrypt with the primary, decrypt a canary of every other key that is not disabled."""
        try:
            entry = _read(value)
            for key in entry.parsed.decrypt_only:
                if key.algorithm is not entry.parsed.primary.algorithm:
                    # No cipher reads both: this one can only be tried by itself.
                    alone = verify_keys(EncryptionKeys(primary=key), {})
                    if alone.outcome is not Outcome.PASSED:
                        return alone
            canaries = {key.id: self._canary(key) for key in _alike(entry.parsed)}
        except SecretsError as e:
            return Verification.failed(f"the set of keys cannot be used: {e.detail}")
        if entry.data.get("key") != entry.parsed.primary.material.reveal():
            return Verification.failed("key is not the material of the primary: readers of key alone would not decrypt")
        return verify_keys(entry.parsed, canaries)

    def _canary(self, key: EncryptionKey) -> bytes:
        return self.canaries.get(key.id) or make_canary(EncryptionKeys(primary=key))


def disable(entry: Value, key_id: str) -> Value:
    """Return the entry with a key that no longer decrypts and can be enabled again.

    Raises SecretsConfigurationError for the primary or an unknown id, SecretValidationError for no set of keys.
    """
    found = _read(entry)
    key = found.other(key_id, "disabled")
    return found.written({**found.keys, key_id: {**key, "status": KeyStatus.DISABLED.value}}, found.primary)


def disable_old(entry: Value, before: datetime) -> Value:
    """Return the entry with all keys disabled that encrypt no more since `before`, which is aware, or earlier.

    A key that does not say since when (`replaced`) stays: nobody knows what it encrypted last. Raises
    SecretValidationError for no set of keys, and for what is no time.
    """
    for name, since in _replaced(_read(entry)).items():
        if since <= before:
            entry = disable(entry, name)
    return entry


def oldest_replaced(entry: Value) -> datetime | None:
    """Return since when the first of the keys that only decrypt encrypts no more; None where no key says so.

    Raises as `disable_old` does.
    """
    return min(_replaced(_read(entry)).values(), default=None)


def destroy(entry: Value, key_id: str) -> Value:
    """Return the entry with a key whose material is gone; what it encrypted is lost.

    Its id stays, disabled, so that it is never given to another key. Earlier versions of the entry still hold the
    material: whoever writes this one destroys them. Raises as `disable` does.
    """
    found = _read(entry)
    key = {name: held for name, held in found.other(key_id, "destroyed").items() if name != "material"}
    return found.written({**found.keys, key_id: {**key, "status": KeyStatus.DISABLED.value}}, found.primary)


@dataclass(frozen=True, slots=True)
class _Entry:
    """An entry in its long form; `as_text`: its `keys` are JSON text."""

    data: Mapping[str, Any]
    primary: str
    keys: Mapping[str, Mapping[str, Any]]
    as_text: bool
    parsed: EncryptionKeys

    def other(self, key_id: str, what: str) -> Mapping[str, Any]:
        if key_id not in self.keys:
            raise SecretsConfigurationError(
                f"there is no key {key_id!r} in the set: name one of {', '.join(sorted(self.keys))}", backend=""
            )
        if key_id == self.primary:
            raise SecretsConfigurationError(
                f"key {key_id!r} is the primary and cannot be {what}: rotate first, so that another one is", backend=""
            )
        return self.keys[key_id]

    def written(self, keys: Mapping[str, Mapping[str, Any]], primary: str) -> Value:
        held = {name: {**key, "status": _status(name, key, primary)} for name, key in keys.items()}
        held[primary].pop(REPLACED, None)  # it encrypts again
        return Redacted(
            {
                **self.data,
                "primary": primary,
                "keys": json.dumps(held) if self.as_text else held,
                "key": held[primary]["material"],
            }
        )


def _read(value: Value) -> _Entry:
    data = value.reveal()
    parsed = EncryptionKeys.parse(data)
    stored, primary = data.get("keys"), data.get("primary")
    if stored is None:
        if "key" not in data:
            raise SecretValidationError({"keys": "is missing"})
        only = {"algorithm": parsed.primary.algorithm.value, "material": data["key"]}  # when it was made nobody knows
        return _Entry(data, FIRST, {FIRST: only}, False, parsed)
    if not isinstance(primary, str):
        raise SecretValidationError({"primary": "must be text"})
    keys: Mapping[str, Mapping[str, Any]] = json.loads(stored) if isinstance(stored, str) else stored
    return _Entry(data, primary, keys, isinstance(stored, str), parsed)


def _replaced(entry: _Entry) -> dict[str, datetime]:
    """Return since when keys only decrypt, by id; without those that are disabled, or do not say it."""
    return {
        name: _time(name, key[REPLACED])
        for name, key in entry.keys.items()
        if name != entry.primary and key.get("status") != KeyStatus.DISABLED and REPLACED in key
    }


def _time(key_id: str, stored: object) -> datetime:
    try:
        found = datetime.fromisoformat(str(stored))
    except ValueError:
        found = None
    if found is None or found.tzinfo is None:
        raise SecretValidationError({f"keys.{key_id}.{REPLACED}": "must be a time with its zone, in ISO 8601"})
    return found


def _status(key_id: str, key: Mapping[str, Any], primary: str) -> str:
    if key_id == primary:
        return KeyStatus.PRIMARY.value
    disabled = key.get("status") == KeyStatus.DISABLED
    return KeyStatus.DISABLED.value if disabled else KeyStatus.DECRYPT.value


def _next_id(keys: Mapping[str, object]) -> str:
    """Return the number after the largest: one in a gap may have belonged to a key that was taken out by hand."""
    numbers = [int(name) for name in keys if re.fullmatch(r"[0-9]{1,9}", name)]
    return str(max(numbers, default=0) + 1)


def _alike(keys: EncryptionKeys) -> list[EncryptionKey]:
    return [key for key in keys.decrypt_only if key.algorithm is keys.primary.algorithm]
