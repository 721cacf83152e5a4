"""Sets of keys: how one is added, handed out and made the primary, and how an old one goes."""

import base64
import json
import os
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from elile.secrets.encryption import AESGCMCipher, fernet
from elile.secrets.errors import SecretsConfigurationError, SecretValidationError
from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.targets.keyset import KeysetTarget, destroy, disable, disable_old, oldest_replaced
from elile.secrets.rotation.verify.crypto import make_canary
from elile.secrets.rotation.verify.outcome import Outcome
from elile.secrets.types import EncryptionKeys, KeyAlgorithm

NOW = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
AES, FERNET = KeyAlgorithm.AES256GCM, KeyAlgorithm.FERNET


def material() -> str:
    return base64.urlsafe_b64encode(os.urandom(32)).decode()


ONE, TWO = material(), material()


def entry(*, as_text: bool = False, **changes: Any) -> Value:
    keys = {
        "1": {"algorithm": "AES256GCM", "status": "decrypt", "created": "2025-01-01T00:00:00+00:00", "material": ONE},
        "2": {"algorithm": "AES256GCM", "status": "primary", "created": "2026-01-01T00:00:00+00:00", "material": TWO},
    }
    data = {"primary": "2", "keys": keys, "key": TWO, "owner": "team", **changes}
    return Redacted({**data, "keys": json.dumps(data["keys"]) if as_text else data["keys"]})


def keys_of(value: Value) -> dict[str, dict[str, Any]]:
    found = value.reveal()["keys"]
    return json.loads(found) if isinstance(found, str) else found


def statuses(value: Value) -> dict[str, str]:
    return {name: key["status"] for name, key in keys_of(value).items()}


def target(algorithm: KeyAlgorithm = AES, **settings: Any) -> KeysetTarget:
    return KeysetTarget(algorithm, **{"now": lambda: NOW, **settings})


def made(current: Value, algorithm: KeyAlgorithm = AES) -> tuple[Value, Value]:
    found = target(algorithm).generate(current, 0)
    assert found.pending is not None
    assert found.distributed is not None
    return found.pending, found.distributed


@pytest.mark.parametrize("as_text", [False, True])
def test_the_new_key_only_decrypts_before_it_encrypts(as_text: bool) -> None:
    current = entry(as_text=as_text)
    before = json.dumps(current.reveal())
    pending, distributed = made(current)
    assert (pending.reveal()["primary"], distributed.reveal()["primary"]) == ("3", "2")
    assert statuses(pending) == {"1": "decrypt", "2": "decrypt", "3": "primary"}
    assert statuses(distributed) == {"1": "decrypt", "2": "primary", "3": "decrypt"}
    new = keys_of(pending)["3"]
    assert (new["algorithm"], new["created"]) == ("AES256GCM", "2026-11-24T02:30:00+00:00")
    assert (pending.reveal()["key"], distributed.reveal()["key"]) == (new["material"], TWO)
    assert keys_of(distributed)["3"]["material"] == new["material"]
    for value in (pending, distributed):
        assert value.reveal()["owner"] == "team"
        assert isinstance(value.reveal()["keys"], str) is as_text
        assert {name: keys_of(value)[name]["material"] for name in "12"} == {"1": ONE, "2": TWO}
    assert json.dumps(current.reveal()) == before


@pytest.mark.parametrize(("algorithm", "fields"), [(AES, {}), (AES, {"algorithm": "AES256GCM"}), (FERNET, None)])
def test_an_entry_with_one_key_becomes_a_set(algorithm: KeyAlgorithm, fields: dict[str, str] | None) -> None:
    more = fields if fields is not None else {"algorithm": "FERNET"}
    pending, distributed = made(Redacted({"key": ONE, **more}), algorithm)
    assert statuses(distributed) == {"1": "primary", "2": "decrypt"}
    assert keys_of(distributed)["1"] == {"algorithm": algorithm.value, "status": "primary", "material": ONE}
    assert distributed.reveal()["key"] == ONE
    assert statuses(pending) == {"1": "decrypt", "2": "primary"}
    assert {name: pending.reveal()[name] for name in more} == more


@pytest.mark.parametrize("algorithm", [AES, FERNET])
def test_readers_of_either_set_decrypt_what_the_other_encrypted(algorithm: KeyAlgorithm) -> None:
    current = Redacted({"key": ONE, "algorithm": algorithm.value})
    sets = [EncryptionKeys.parse(value.reveal()) for value in (current, *made(current, algorithm))]
    old, pending, distributed = sets
    assert (pending.ids, distributed.ids) == (("2", "1"), ("1", "2"))

    def cipher(keys: EncryptionKeys) -> Any:
        return AESGCMCipher(keys) if algorithm is AES else fernet(keys)

    assert cipher(distributed).decrypt(cipher(pending).encrypt(b"text")) == b"text"
    assert cipher(pending).decrypt(cipher(old).encrypt(b"text")) == b"text"
    assert cipher(old).decrypt(cipher(distributed).encrypt(b"text")) == b"text"


def test_a_set_grows_by_one_key_with_each_rotation() -> None:
    value = entry()
    for _ in range(10):
        value, _ = made(value)
    assert list(keys_of(value)) == [str(number) for number in range(1, 13)]
    assert len({key["material"] for key in keys_of(value).values()}) == 12


@pytest.mark.parametrize(
    ("names", "new"),
    [(("1", "2"), "3"), (("7",), "8"), (("v1", "v2"), "1"), (("2026-01", "1"), "2"), (("9" * 5000,), "1")],
)
def test_the_id_of_a_new_key_was_never_another_ones(names: tuple[str, ...], new: str) -> None:
    keys = {name: {"material": ONE} for name in names}
    pending, _ = made(Redacted({"primary": names[0], "keys": keys, "key": ONE}))
    assert pending.reveal()["primary"] == new
    assert set(keys_of(pending)) == {*names, new}


def test_a_key_that_was_disabled_stays_it() -> None:
    pending, distributed = made(disable(entry(), "1"))
    assert (statuses(pending)["1"], statuses(distributed)["1"]) == ("disabled", "disabled")


def test_the_time_of_a_key_is_told_in_utc() -> None:
    there = datetime(2026, 11, 24, 4, 30, 0, 5, tzinfo=timezone(timedelta(hours=2)))
    found = target(now=lambda: there).generate(entry(), 0).pending
    assert found is not None
    assert keys_of(found)["3"]["created"] == "2026-11-24T02:30:00+00:00"


@pytest.mark.parametrize(
    ("current", "algorithm", "said"),
    [
        (entry(), AES, ""),
        (entry(as_text=True), AES, ""),
        (Redacted({"key": ONE}), AES, ""),
        (Redacted({"key": ONE}), FERNET, "the set encrypts with AES256GCM and the new key would be FERNET"),
        (Redacted({"password": ONE}), AES, "the live entry is no set of keys"),
        (entry(primary="3"), AES, "primary must name one of the keys"),
        (Redacted({"primary": {"id": "1", "material": ONE}}), AES, "keys is missing"),
        (Redacted({"primary": {"id": "1", "material": ONE}, "keys": {}}), AES, "primary must be text"),
        (Redacted({"key": "c2hvcnQ="}), AES, "must be 32 bytes in base64"),
        (entry(key=ONE), AES, "key is not the material of the primary"),
    ],
)
def test_a_set_that_cannot_be_rotated_is_told_beforehand(current: Value, algorithm: KeyAlgorithm, said: str) -> None:
    found = target(algorithm).preflight(current)
    assert said in found
    assert bool(found) is bool(said)
    assert not any(text in found for text in (ONE, TWO, "c2hvcnQ"))


def test_what_is_no_set_of_keys_is_refused_without_its_values() -> None:
    with pytest.raises(SecretValidationError) as caught:
        target().generate(Redacted({"keys": ONE, "primary": TWO}), 0)
    assert ONE not in str(caught.value)
    assert TWO not in str(caught.value)


# ── verification ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_sets_pass() -> None:
    for value in (*made(entry()), entry()):
        assert target().verify(value, timeout=1).outcome is Outcome.PASSED


def test_a_key_that_was_replaced_under_its_id_fails_by_its_canary() -> None:
    canary = make_canary(EncryptionKeys.parse({"key": ONE}))
    keeping = target(canaries={"1": canary})
    assert keeping.verify(entry(), timeout=1).outcome is Outcome.PASSED
    other = {**keys_of(entry()), "1": {"material": material()}}
    assert target().verify(entry(keys=other), timeout=1).outcome is Outcome.PASSED
    assert keeping.verify(entry(keys=other), timeout=1).outcome is Outcome.FAILED


@pytest.mark.parametrize("algorithm", ["AES256GCM", "FERNET"])
def test_an_old_key_that_is_none_fails(algorithm: str) -> None:
    broken = {**keys_of(entry()), "1": {"algorithm": algorithm, "material": "c2hvcnQ="}}
    found = target().verify(entry(keys=broken), timeout=1)
    assert (found.outcome, "keys.1.material must be 32 bytes" in found.detail) == (Outcome.FAILED, True)
    assert target().verify(disable(entry(keys=broken), "1"), timeout=1).outcome is Outcome.PASSED


def test_a_key_of_another_algorithm_is_tried_by_itself() -> None:
    mixed = {**keys_of(entry()), "1": {"algorithm": "FERNET", "material": ONE}}
    assert target().verify(entry(keys=mixed), timeout=1).outcome is Outcome.PASSED


def test_what_is_no_set_fails_and_its_strategy_is_told() -> None:
    assert target().verify(Redacted({"keys": ONE}), timeout=1).outcome is Outcome.FAILED
    assert target().strategy is Strategy.KEYSET


# ── old keys ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("as_text", [False, True])
def test_a_disabled_key_keeps_its_material_and_a_destroyed_one_does_not(as_text: bool) -> None:
    disabled = disable(entry(as_text=as_text), "1")
    assert keys_of(disabled)["1"] == {**keys_of(entry())["1"], "status": "disabled"}
    destroyed = destroy(entry(as_text=as_text), "1")
    assert keys_of(destroyed)["1"] == {
        "algorithm": "AES256GCM",
        "status": "disabled",
        "created": "2025-01-01T00:00:00+00:00",
    }
    assert ONE not in str(destroyed.reveal())
    for value in (disabled, destroyed, destroy(disabled, "1"), disable(disabled, "1"), destroy(destroyed, "1")):
        assert EncryptionKeys.parse(value.reveal()).ids == ("2",)
        assert target().verify(value, timeout=1).outcome is Outcome.PASSED
        assert (value.reveal()["owner"], isinstance(value.reveal()["keys"], str)) == ("team", as_text)


def test_since_when_a_key_encrypts_no_more_is_told_by_the_set_that_is_promoted() -> None:
    pending, distributed = made(entry())
    assert {name: key.get("replaced") for name, key in keys_of(pending).items()} == {
        "1": "2026-11-24T02:30:00+00:00",
        "2": "2026-11-24T02:30:00+00:00",
        "3": None,
    }
    assert not any("replaced" in key for key in keys_of(distributed).values())
    later = target(now=lambda: NOW + timedelta(days=60)).generate(pending, 0).pending
    assert later is not None
    assert [keys_of(later)[name].get("replaced") for name in "1234"] == [
        "2026-11-24T02:30:00+00:00",
        "2026-11-24T02:30:00+00:00",
        "2027-01-23T02:30:00+00:00",
        None,
    ]


def test_a_key_that_a_rollback_makes_primary_again_is_counted_from_its_next_successor() -> None:
    """Counted from the key that was rejected, it would be disabled while what it encrypted last is new."""
    _, back = made(entry())
    later = target(now=lambda: NOW + timedelta(days=60)).generate(back, 0).pending
    assert later is not None
    assert statuses(disable_old(later, NOW + timedelta(days=59))) == statuses(later)
    old = disable_old(later, NOW + timedelta(days=60))
    assert statuses(old) == {"1": "disabled", "2": "disabled", "3": "disabled", "4": "primary"}


@pytest.mark.parametrize("as_text", [False, True])
def test_keys_are_disabled_once_they_are_old(as_text: bool) -> None:
    pending, _ = made(entry(as_text=as_text))
    assert disable_old(pending, NOW - timedelta(seconds=1)) == pending
    old = disable_old(pending, NOW)
    assert statuses(old) == {"1": "disabled", "2": "disabled", "3": "primary"}
    assert keys_of(old)["1"]["material"] == ONE
    assert disable_old(old, NOW + timedelta(days=900)) == old
    assert target().verify(old, timeout=1).outcome is Outcome.PASSED
    assert isinstance(old.reveal()["keys"], str) is as_text
    unknown = entry(as_text=as_text)
    assert disable_old(unknown, NOW + timedelta(days=900)) is unknown
    assert [oldest_replaced(value) for value in (pending, old, unknown)] == [NOW, None, None]


def test_a_key_that_somebody_made_primary_again_is_not_old() -> None:
    stamped = {name: {**key, "replaced": NOW.isoformat()} for name, key in keys_of(entry()).items()}
    old = disable_old(entry(keys=stamped), NOW)
    assert statuses(old) == {"1": "disabled", "2": "primary"}
    assert ["replaced" in keys_of(old)[name] for name in "12"] == [True, False]
    assert disable_old(old, NOW) is old  # what is disabled already is no reason to write


@pytest.mark.parametrize("time", ["yesterday", "2026-11-24T02:30:00", 7])
def test_what_is_no_time_is_named(time: object) -> None:
    odd = entry(keys={**keys_of(entry()), "1": {**keys_of(entry())["1"], "replaced": time}})
    with pytest.raises(SecretValidationError, match=r"keys\.1\.replaced must be a time with its zone") as caught:
        disable_old(odd, NOW)
    assert ONE not in str(caught.value)


def test_the_id_of_a_destroyed_key_is_not_given_away() -> None:
    _, handed_out = made(entry())
    pending, _ = made(destroy(handed_out, "3"))
    assert pending.reveal()["primary"] == "4"


@pytest.mark.parametrize("act", [disable, destroy])
@pytest.mark.parametrize(
    ("key_id", "said"),
    [
        ("2", "key '2' is the primary and cannot be (disabled|destroyed): rotate first"),
        ("9", "there is no key '9' in the set: name one of 1, 2"),
    ],
)
def test_the_primary_and_unknown_keys_are_refused(act: Any, key_id: str, said: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=said):
        act(entry(), key_id)
    with pytest.raises(SecretsConfigurationError):
        act(Redacted({"key": ONE}), "1")
