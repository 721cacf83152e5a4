"""The crypto hook: a new key has to work, and old ones must go on to."""

import base64
import os

import pytest

from elile.secrets.rotation.verify.crypto import make_canary, verify_keys
from elile.secrets.rotation.verify.outcome import Outcome
from elile.secrets.types import EncryptionKeys


def material() -> str:
    return base64.b64encode(os.urandom(32)).decode()


MATERIAL = {name: material() for name in "abc"}


def keys(primary: str, *others: str, algorithm: str = "AES256GCM", **replaced: str) -> EncryptionKeys:
    found = {n: {"algorithm": algorithm, "material": replaced.get(n, MATERIAL[n])} for n in (primary, *others)}
    return EncryptionKeys.parse({"primary": primary, "keys": found})


@pytest.mark.parametrize("algorithm", ["AES256GCM", "FERNET"])
def test_a_set_that_decrypts_all(algorithm: str) -> None:
    canaries = {name: make_canary(keys(name, algorithm=algorithm)) for name in "ab"}
    found = verify_keys(keys("c", "a", "b", algorithm=algorithm), canaries)
    assert (found.outcome, found.detail) == (Outcome.PASSED, "the new key works, and so do 2 canaries of others")


@pytest.mark.parametrize("algorithm", ["AES256GCM", "FERNET"])
def test_a_set_that_lost_a_key(algorithm: str) -> None:
    canaries = {"a": make_canary(keys("a", algorithm=algorithm))}
    assert verify_keys(keys("c", "b", algorithm=algorithm), canaries).outcome is Outcome.FAILED


def test_a_set_whose_key_was_replaced_under_its_id() -> None:
    canaries = {"a": make_canary(keys("a"))}
    found = verify_keys(keys("c", "a", a=material()), canaries)
    assert (found.outcome, "was changed" in found.detail) == (Outcome.FAILED, True)


def test_a_key_that_is_too_short() -> None:
    short = base64.b64encode(b"short").decode()
    found = verify_keys(keys("a", a=short), {})
    assert (found.outcome, found.detail) == (
        Outcome.FAILED,
        "the set of keys cannot be used: keys.a.material must be 32 bytes in base64",
    )
    assert short not in found.detail
