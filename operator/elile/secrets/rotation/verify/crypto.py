"""Tries a set of keys: the new one encrypts and decrypts, and every old one still decrypts what it encrypted once."""

from collections.abc import Mapping

from elile.secrets.encryption import AESGCMCipher, DecryptionError, fernet
from elile.secrets.errors import SecretsError
from elile.secrets.rotation.verify.outcome import Verification
from elile.secrets.types import EncryptionKeys, KeyAlgorithm

__all__ = ["make_canary", "verify_keys"]

TEXT = b"elile-canary"


def make_canary(keys: EncryptionKeys) -> bytes:
    """Encrypt a known text with the primary key, to be kept and decrypted by later sets. Raises SecretsError."""
    if keys.primary.algorithm is KeyAlgorithm.FERNET:
        sealed: bytes = fernet(keys).encrypt(TEXT)
        return sealed
    return AESGCMCipher(keys).encrypt(TEXT)


def verify_keys(keys: EncryptionKeys, canaries: Mapping[str, bytes]) -> Verification:
    """Encrypt and decrypt with the primary key; decrypt the canary of each old key, by its id."""
    try:
        if _open(keys, make_canary(keys)) != TEXT:
            return Verification.failed("the new key does not decrypt what it encrypts")
        for key_id, canary in canaries.items():
            if _open(keys, canary) != TEXT:
                return Verification.failed(f"what key {key_id!r} encrypted does not come back")
    except DecryptionError as e:
        return Verification.failed(e.detail)
    except SecretsError as e:
        return Verification.failed(f"the set of keys cannot be used: {e.detail}")
    return Verification.passed(f"the new key works, and so do {len(canaries)} canaries of others")


def _open(keys: EncryptionKeys, sealed: bytes) -> bytes:
    if keys.primary.algorithm is not KeyAlgorithm.FERNET:
        return AESGCMCipher(keys).decrypt(sealed)
    from cryptography.fernet import InvalidToken

    try:
        opened: bytes = fernet(keys).decrypt(sealed)
    except InvalidToken:
        raise DecryptionError("no key of the set decrypts the text", backend="") from None
    return opened
