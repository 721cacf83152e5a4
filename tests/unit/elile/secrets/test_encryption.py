"""What one key of a set encrypted, every later state of the set decrypts, as long as the key is in it."""

import base64
import os

import pytest

from elile.secrets.encryption import AESGCMCipher, DecryptionError, fernet
from elile.secrets.errors import SecretValidationError
from elile.secrets.types import EncryptionKeys


def material() -> str:
    return base64.b64encode(os.urandom(32)).decode()


A, B = material(), material()


def keys(primary: str, algorithm: str = "AES256GCM", **statuses: str) -> EncryptionKeys:
    values = {"a": A, "b": B}
    found = {n: {"algorithm": algorithm, "status": s, "material": values[n]} for n, s in statuses.items()}
    return EncryptionKeys.parse({"primary": primary, "keys": found})


def test_it_comes_back() -> None:
    cipher = AESGCMCipher(keys("a", a="primary"))
    sealed = cipher.encrypt(b"text", b"row 1")
    assert b"text" not in sealed
    assert cipher.decrypt(sealed, b"row 1") == b"text"
    assert cipher.encrypt(b"text", b"row 1") != sealed


def test_a_later_set_decrypts_and_says_what_is_old() -> None:
    sealed = AESGCMCipher(keys("a", a="primary")).encrypt(b"text")
    later = AESGCMCipher(keys("b", a="decrypt", b="primary"))
    assert later.decrypt(sealed) == b"text"
    assert later.needs_rotation(sealed)
    assert not later.needs_rotation(later.encrypt(b"text"))


def test_a_disabled_key_decrypts_no_more() -> None:
    sealed = AESGCMCipher(keys("a", a="primary")).encrypt(b"text")
    with pytest.raises(DecryptionError, match="with key 'a', which is not in the set"):
        AESGCMCipher(keys("b", a="disabled", b="primary")).decrypt(sealed)


@pytest.mark.parametrize("at", [2, 5, -1])
def test_a_changed_text_is_refused(at: int) -> None:
    cipher = AESGCMCipher(keys("a", a="primary"))
    sealed = bytearray(cipher.encrypt(b"text"))
    sealed[at] ^= 1
    with pytest.raises(DecryptionError):
        cipher.decrypt(bytes(sealed))


def test_other_associated_data_is_refused() -> None:
    cipher = AESGCMCipher(keys("a", a="primary"))
    with pytest.raises(DecryptionError, match="other associated data"):
        cipher.decrypt(cipher.encrypt(b"text", b"row 1"), b"row 2")


@pytest.mark.parametrize("text", [b"", b"\x01", b"\x02abc", b"\x01\xff" + b"x" * 20, b"plain text of somebody"])
def test_what_was_never_encrypted_here(text: bytes) -> None:
    with pytest.raises(DecryptionError, match="not encrypted by this library"):
        AESGCMCipher(keys("a", a="primary")).decrypt(text)


def test_fernet_of_several_keys() -> None:
    old = fernet(keys("a", "FERNET", a="primary"))
    new = fernet(keys("b", "FERNET", a="decrypt", b="primary"))
    token = old.encrypt(b"text")
    assert new.decrypt(token) == b"text"
    assert new.decrypt(new.rotate(token)) == b"text"


def test_a_key_of_another_kind() -> None:
    with pytest.raises(SecretValidationError, match=r"keys\.a\.algorithm is FERNET, and AES256GCM is wanted"):
        AESGCMCipher(keys("a", "FERNET", a="primary"))
    with pytest.raises(SecretValidationError, match="is AES256GCM, and FERNET is wanted"):
        fernet(keys("a", a="primary"))
