"""Fingerprints are equal for equal contents under one key, and for nothing else."""

import pytest

from elile.secrets.redact import SecretBytes
from elile_operator.decide.fingerprint import FingerprintKey, Stamp
from tests.fakes.objects import KEY, OTHER_KEY

CONTENTS: list[dict[str, bytes]] = [
    {},
    {"a": b""},
    {"a": b"bc"},
    {"ab": b"c"},
    {"abc": b""},
    {"a": b"b", "c": b""},
    {"a": b"", "b": b"c"},
    {"a": b"bc\x00"},
    {"a": b"b", "b": b"b"},
    {"a": b"\x00\x00\x00\x00\x00\x00\x00\x01b"},
]


def test_no_two_contents_read_alike() -> None:
    assert len({KEY.stamp(data) for data in CONTENTS}) == len(CONTENTS)


def test_the_fingerprint_is_the_hmac_of_lengths_and_parts() -> None:
    # printf '\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\2bc' | openssl dgst -sha256 -hmac key
    digest = "ba41d3aaace0b4bb31fb49a559ae1df182e1fd8add9b6b3b5603e6cb342dce22"
    assert FingerprintKey("k", SecretBytes(b"key")).stamp({"a": b"bc"}) == Stamp("k", digest)


def test_order_and_wrapping_do_not_matter() -> None:
    assert KEY.stamp({"a": b"1", "b": b"2"}) == KEY.stamp({"b": SecretBytes(b"2"), "a": SecretBytes(b"1")})


def test_another_key_gives_another_fingerprint_and_says_which_key_it_was() -> None:
    ours, theirs = KEY.stamp({"a": b"b"}), OTHER_KEY.stamp({"a": b"b"})
    assert (ours.key_id, theirs.key_id) == ("k1", "k2")
    assert ours.digest != theirs.digest
    same_name = FingerprintKey("k1", OTHER_KEY.secret).stamp({"a": b"b"})
    assert (same_name.key_id, same_name.digest) == ("k1", theirs.digest)


def test_a_key_does_not_show_itself() -> None:
    assert repr(KEY) == "FingerprintKey(key_id='k1', secret=SecretBytes(***))"


@pytest.mark.parametrize(
    ("text", "stamp"),
    [
        ("k1:abc", Stamp("k1", "abc")),
        ("k1:a:b", Stamp("k1", "a:b")),
        (None, None),
        ("", None),
        ("abc", None),
        (":abc", None),
        ("k1:", None),
    ],
)
def test_an_annotation_is_read_when_it_is_one_of_ours(text: str | None, stamp: Stamp | None) -> None:
    assert Stamp.parse(text) == stamp


def test_a_stamp_is_read_as_it_was_written() -> None:
    stamp = KEY.stamp({"a": b"b"})
    assert Stamp.parse(str(stamp)) == stamp
    assert str(stamp) == f"k1:{stamp.digest}"
    assert len(stamp.digest) == 64
