"""Encrypting with a set of keys: the primary encrypts, every key that is not disabled decrypts."""

import base64
import os
from collections.abc import Callable
from importlib import import_module
from typing import Any

from elile.secrets.errors import SecretBackendMissingError, SecretsError, SecretValidationError
from elile.secrets.types import EncryptionKey, EncryptionKeys, KeyAlgorithm

__all__ = ["AESGCMCipher", "DecryptionError", "fernet"]

_FORMAT = 1
_NONCE = 12  # bytes; the size AES-GCM is specified for, NIST SP 800-38D 8.2


class DecryptionError(SecretsError):
    """The text was not encrypted by a key of the set, was changed, or belongs to other `associated` data."""


def fernet(keys: EncryptionKeys) -> Any:
    """Return a `cryptography.fernet.MultiFernet` over the FERNET keys of a set, the primary first.

    Raises SecretValidationError when the primary is no FERNET key, SecretBackendMissingError without `cryptography`.
    """
    module = _cryptography("cryptography.fernet")
    _expect(keys.primary, KeyAlgorithm.FERNET)
    usable = [key for key in (keys.primary, *keys.decrypt_only) if key.algorithm is KeyAlgorithm.FERNET]
    return module.MultiFernet([module.Fernet(_urlsafe(key)) for key in usable])


class AESGCMCipher:
    """AES-256-GCM with the id of the key in front, so that the right one decrypts, and old ones go on to.

    A text is: 1 byte format, 1 byte length of the id, the id, 12 bytes nonce, ciphertext with tag. Nonces are random:
    encrypt no more than 2^32 texts with one key (NIST SP 800-38D 8.3), which is what rotation is for.
    """

    def __init__(self, keys: EncryptionKeys, *, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        """Raises SecretValidationError when the primary is no AES256GCM key, or a key is not 32 bytes."""
        module = _cryptography("cryptography.hazmat.primitives.ciphers.aead")
        _expect(keys.primary, KeyAlgorithm.AES256GCM)
        usable = [key for key in (keys.primary, *keys.decrypt_only) if key.algorithm is KeyAlgorithm.AES256GCM]
        self._primary = keys.primary.id
        self._ciphers = {key.id: module.AESGCM(key.key_bytes().reveal()) for key in usable}
        self._random_bytes = random_bytes

    def encrypt(self, text: bytes, associated: bytes = b"") -> bytes:
        """Encrypt; `associated` is not stored, and has to be given again to decrypt."""
        header = bytes([_FORMAT, len(self._primary.encode())]) + self._primary.encode()
        nonce = self._random_bytes(_NONCE)
        sealed: bytes = self._ciphers[self._primary].encrypt(nonce, text, header + associated)
        return header + nonce + sealed

    def decrypt(self, text: bytes, associated: bytes = b"") -> bytes:
        """Decrypt what any key of the set encrypted. Raises DecryptionError."""
        module = _cryptography("cryptography.exceptions")
        size = text[1] if len(text) > 1 and text[0] == _FORMAT else None
        if size is None or len(text) < 2 + size + _NONCE:
            raise DecryptionError("the text was not encrypted by this library", backend="")
        header, nonce = text[: 2 + size], text[2 + size : 2 + size + _NONCE]
        key_id = header[2:].decode(errors="replace")
        cipher = self._ciphers.get(key_id)
        if cipher is None:
            raise DecryptionError(f"the text was encrypted with key {key_id!r}, which is not in the set", backend="")
        try:
            opened: bytes = cipher.decrypt(nonce, text[2 + size + _NONCE :], header + associated)
        except module.InvalidTag:
            raise DecryptionError("the text was changed, or belongs to other associated data", backend="") from None
        return opened

    def needs_rotation(self, text: bytes) -> bool:
        """Whether a text was encrypted with another key than the primary: encrypt it anew when there is time."""
        return text[2 : 2 + text[1]] != self._primary.encode() if len(text) > 1 else True


def _expect(key: EncryptionKey, algorithm: KeyAlgorithm) -> None:
    if key.algorithm is not algorithm:
        raise SecretValidationError({f"keys.{key.id}.algorithm": f"is {key.algorithm}, and {algorithm} is wanted"})


def _urlsafe(key: EncryptionKey) -> bytes:
    return base64.urlsafe_b64encode(key.key_bytes().reveal())


def _cryptography(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise SecretBackendMissingError(
            "the package 'cryptography' is not installed; install elile[crypto]", backend=""
        ) from None
