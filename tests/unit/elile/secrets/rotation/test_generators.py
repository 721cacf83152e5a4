"""Generators: what is refused in which words, what values look like, and that all are equally likely."""

import base64
import math
import random
import re
import string
import sys
import uuid
import zlib
from collections import Counter
from collections.abc import Callable
from itertools import product
from typing import Any

import pytest
from cryptography.fernet import Fernet
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from elile.secrets.errors import SecretBackendMissingError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation import generators
from elile.secrets.rotation.generators import GENERATORS, PASSWORD_CLASSES, Generator, GeneratorError, RandBytes

BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase


def seeded(seed: int) -> RandBytes:
    return random.Random(seed).randbytes  # noqa: S311 - to be repeatable


REFUSED: list[tuple[Callable[[], Generator], str]] = [
    (lambda: generators.password(15), "password.length is 15: give 16 to 1024"),
    (lambda: generators.password(1025), "password.length is 1025: give 16 to 1024"),
    (
        lambda: generators.password(classes=["lower", "emoji"]),
        "password.classes is lower, emoji: choose from lower, upper, digits, symbols",
    ),
    (
        lambda: generators.password(classes=[]),
        "password.classes is empty: choose from lower, upper, digits, symbols",
    ),
    (
        lambda: generators.password(exclude=string.digits),
        "password.exclude leaves no character of the class 'digits': exclude fewer, or take it out of classes",
    ),
    (
        lambda: generators.password(classes=["digits"], no_ambiguous=True, exclude="34679"),
        "password.exclude leaves no character of the class 'digits': exclude fewer, or take it out of classes",
    ),
    (
        lambda: generators.password(classes=["digits"], exclude="123456789"),
        "password.minimumBits asks for 128 bits of entropy and this has 0: "
        "raise length, add classes, or exclude fewer characters, or lower minimumBits",
    ),
    (
        lambda: generators.password(16),
        "password.minimumBits asks for 128 bits of entropy and this has 103.6: "
        "raise length, add classes, or exclude fewer characters, or lower minimumBits",
    ),
    (
        lambda: generators.password(classes=["digits"]),
        "password.minimumBits asks for 128 bits of entropy and this has 106.3: "
        "raise length, add classes, or exclude fewer characters, or lower minimumBits",
    ),
    (lambda: generators.api_key(length=15), "apiKey.length is 15: give 16 to 1024"),
    (
        lambda: generators.api_key(length=21),
        "apiKey.minimumBits asks for 128 bits of entropy and this has 125: raise length, or lower minimumBits",
    ),
    (
        lambda: generators.api_key("shop key"),
        "apiKey.prefix must be at most 32 letters, digits, '_' or '-': correct it",
    ),
    (lambda: generators.api_key("a" * 33), "apiKey.prefix must be at most 32 letters, digits, '_' or '-': correct it"),
    (lambda: generators.api_key("shop\n"), "apiKey.prefix must be at most 32 letters, digits, '_' or '-': correct it"),
    (lambda: generators.hex(0), "hex.size is 0: give 1 to 1024"),
    (
        lambda: generators.hex(15),
        "hex.minimumBits asks for 128 bits of entropy and this has 120: raise size, or lower minimumBits",
    ),
    (
        lambda: generators.base64(12),
        "base64.minimumBits asks for 128 bits of entropy and this has 96: raise size, or lower minimumBits",
    ),
    (lambda: generators.aes(512), "aes.bits is 512: choose from 128, 192, 256"),
    (
        lambda: generators.aes(192, minimum_bits=256),
        "aes.minimumBits asks for 256 bits of entropy and this has 192: raise bits, or lower minimumBits",
    ),
    (lambda: generators.rsa(1024), "rsa.bits is 1024: choose from 2048, 3072, 4096"),
    (
        lambda: generators.rsa(2048),
        "rsa.minimumBits asks for 128 bits of entropy and this has 112: take 3072 bits, or lower minimumBits",
    ),
    (
        generators.uuid4,
        "uuid.minimumBits asks for 128 bits of entropy and this has 122: generate hex instead, or lower minimumBits",
    ),
]


@pytest.mark.parametrize(("make", "why"), REFUSED)
def test_a_field_is_refused_with_the_remedy(make: Callable[[], Generator], why: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        make()
    assert str(caught.value) == why


def accepted(sizes: list[int], length: int) -> int:
    """Count by walking through all of them: only for a few characters."""
    alphabet = [(group, n) for group, size in enumerate(sizes) for n in range(size)]
    return sum({group for group, _ in text} == set(range(len(sizes))) for text in product(alphabet, repeat=length))


@pytest.mark.parametrize(
    ("sizes", "length"), [([3], 4), ([2, 3], 5), ([1, 1, 1], 3), ([1, 2, 3], 5), ([1, 1, 1, 2], 6)]
)
def test_passwords_are_counted_as_they_are(sizes: list[int], length: int) -> None:
    assert generators._accepted(sizes, length) == accepted(sizes, length)


BITS = [
    (generators.password(), 32 * math.log2(90), 0.1),
    (generators.password(16, minimum_bits=100), 103.7, 0.1),
    (generators.password(22, classes=["lower", "upper", "digits"]), 22 * math.log2(62), 0.1),
    (generators.api_key(), 32 * math.log2(62), 0),
    (generators.api_key("sk-", 22, checksum=False), 22 * math.log2(62), 0),
    (generators.hex(), 256, 0),
    (generators.hex(16), 128, 0),
    (generators.base64(24), 192, 0),
    (generators.aes(), 256, 0),
    (generators.aes(128), 128, 0),
    (generators.fernet(), 256, 0),
    (generators.rsa(), 128, 0),
    (generators.rsa(2048, minimum_bits=112), 112, 0),
    (generators.ed25519(), 128, 0),
    (generators.uuid4(minimum_bits=122), 122, 0),
]


@pytest.mark.parametrize(("generator", "bits", "less"), BITS)
def test_the_entropy_is_stated(generator: Generator, bits: float, less: float) -> None:
    assert bits - less <= generator.entropy_bits <= bits


def test_every_kind_has_128_bits_unless_it_is_asked_for_less() -> None:
    for kind, make in GENERATORS.items():
        if kind != "uuid":
            generator = make()
            assert generator.kind == kind
            assert generator.entropy_bits >= 128
    assert set(GENERATORS) == {"password", "apiKey", "hex", "base64", "aes", "fernet", "rsa", "ed25519", "uuid"}


@pytest.mark.parametrize("seed", range(50))
def test_a_password_has_each_class_and_nothing_excluded(seed: int) -> None:
    text = generators.password(20, exclude=":/@", no_ambiguous=True, minimum_bits=100).generate(seeded(seed)).reveal()
    assert len(text) == 20
    assert not set(text) & set(":/@0Oo1Il|5S2Z8B")
    assert all(set(text) & set(group) for group in PASSWORD_CLASSES.values())


def test_a_class_named_twice_counts_once() -> None:
    twice = generators.password(40, classes=["digits", "digits"])
    assert twice.entropy_bits == pytest.approx(40 * math.log2(10))
    assert set(twice.generate(seeded(1)).reveal()) <= set(string.digits)


def chi_square(seen: Counter[str], alphabet: str) -> float:
    expected = seen.total() / len(alphabet)
    return sum((seen[c] - expected) ** 2 / expected for c in alphabet)


# The quantile at 99.9 % is about df + 3.1 sqrt(2 df) + 6: 61 -> 100, 25 -> 53, 9 -> 28; the seeds are fixed.
@pytest.mark.parametrize(
    ("generator", "alphabet", "limit"),
    [
        (generators.password(1000, classes=["lower", "upper", "digits"]), BASE62, 100.9),
        (generators.password(1000, classes=["lower"]), string.ascii_lowercase, 52.6),
        (generators.password(1000, classes=["digits"]), string.digits, 27.9),
        (generators.api_key(length=1000, checksum=False), BASE62, 100.9),
        (generators.hex(500), string.hexdigits[:16], 37.7),
    ],
)
def test_all_characters_are_equally_likely(generator: Generator, alphabet: str, limit: float) -> None:
    draw = seeded(2026)
    seen = Counter("".join(generator.generate(draw).reveal() for _ in range(100)))
    assert set(seen) == set(alphabet)
    assert chi_square(seen, alphabet) < limit


def test_the_test_of_likelihood_sees_the_bias_of_a_remainder() -> None:
    biased = Counter(BASE62[byte % 62] for byte in seeded(2026)(100_000))
    assert chi_square(biased, BASE62) > 500


def test_bytes_beyond_the_last_full_round_are_thrown_away() -> None:
    offered = iter([bytes([255] * 8 + [0] * 8), bytes([248] * 8 + [247] * 8), bytes(16)])
    assert generators._text(BASE62, 16, lambda count: next(offered)[:count]) == "0" * 8 + "z" * 8


def test_an_api_key_has_a_checksum_of_all_before_it() -> None:
    key = generators.api_key("shop_").generate(seeded(3)).reveal()
    assert re.fullmatch(r"shop_[0-9A-Za-z]{38}", key)
    number = 0
    for c in key[-6:]:
        number = number * 62 + BASE62.index(c)
    assert number == zlib.crc32(key[:-6].encode())
    assert generators.api_key_is_intact(key)


@pytest.mark.parametrize(
    "damage", [lambda k: k[:-1], lambda k: "S" + k[1:], lambda k: k[:9] + k[10:], lambda k: "ß" + k]
)
def test_a_key_that_was_cut_or_mistyped_is_not_intact(damage: Callable[[str], str]) -> None:
    assert not generators.api_key_is_intact(damage(generators.api_key("shop_").generate(seeded(3)).reveal()))
    assert not generators.api_key_is_intact("")


def test_an_api_key_without_a_checksum_is_prefix_and_characters() -> None:
    assert re.fullmatch(r"sk-[0-9A-Za-z]{24}", generators.api_key("sk-", 24, checksum=False).generate().reveal())


DATA = bytes(range(224, 256))
SHAPES: list[tuple[Generator, str]] = [
    (generators.hex(), DATA.hex()),
    (generators.base64(), base64.b64encode(DATA).decode()),
    (generators.base64(url_safe=True), base64.urlsafe_b64encode(DATA).decode()),
    (generators.aes(128), base64.b64encode(DATA[:16]).decode()),
    (generators.aes(192), base64.b64encode(DATA[:24]).decode()),
    (generators.aes(256), base64.b64encode(DATA).decode()),
    (generators.fernet(), base64.urlsafe_b64encode(DATA).decode()),
    (generators.uuid4(minimum_bits=122), "e0e1e2e3-e4e5-46e7-a8e9-eaebecedeeef"),
]


@pytest.mark.parametrize(("generator", "expected"), SHAPES)
def test_bytes_are_written_as_promised(generator: Generator, expected: str) -> None:
    assert generator.generate(lambda count: DATA[:count]).reveal() == expected


def test_a_uuid_is_of_version_4() -> None:
    made = uuid.UUID(generators.uuid4(minimum_bits=122).generate().reveal())
    assert (made.version, made.variant) == (4, uuid.RFC_4122)


def test_a_fernet_key_encrypts() -> None:
    key = Fernet(generators.fernet().generate().reveal())
    assert key.decrypt(key.encrypt(b"text")) == b"text"


@pytest.mark.parametrize("bits", [2048, 3072])
def test_an_rsa_key_has_its_size(bits: int) -> None:
    key = load_pem_private_key(generators.rsa(bits, minimum_bits=112).generate().reveal().encode(), None)
    assert isinstance(key, RSAPrivateKey)
    assert key.key_size == bits
    assert key.public_key().public_numbers().e == 65537


def test_an_ed25519_key_is_the_bytes_drawn() -> None:
    text = generators.ed25519().generate(lambda count: DATA[:count]).reveal()
    key = load_pem_private_key(text.encode(), None)
    assert isinstance(key, Ed25519PrivateKey)
    assert key.private_bytes_raw() == DATA


@pytest.mark.parametrize("kind", sorted(GENERATORS))
def test_two_values_differ_and_none_shows_itself(kind: str) -> None:
    options: dict[str, Any] = {"uuid": {"minimum_bits": 122}, "rsa": {"bits": 2048, "minimum_bits": 112}}.get(kind, {})
    generator = GENERATORS[kind](**options)
    one, other = generator.generate(), generator.generate()
    assert isinstance(one, SecretStr)
    assert one != other
    assert str(one) == f"{one}" == "***"
    assert one.reveal() not in repr((one, generator))


def test_a_source_that_repeats_itself_is_refused() -> None:
    for generator in (generators.password(), generators.api_key()):
        with pytest.raises(GeneratorError) as caught:
            generator.generate(lambda count: b"\xff" * count)
        assert str(caught.value) == "randbytes returns the same bytes again and again: mend the source"
    with pytest.raises(GeneratorError, match="the same bytes again and again"):
        generators.password().generate(bytes)


@pytest.mark.parametrize("kind", ["password", "apiKey", "hex", "base64", "aes", "fernet", "ed25519"])
def test_a_source_that_returns_too_little_is_refused(kind: str) -> None:
    with pytest.raises(GeneratorError) as caught:
        GENERATORS[kind]().generate(lambda count: b"\x00" * (count - 1))
    assert str(caught.value) == "randbytes returned 31 bytes, 32 were asked for: mend the source"


@pytest.mark.parametrize("kind", ["rsa", "ed25519"])
def test_without_cryptography_it_says_what_to_install(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, f"cryptography.hazmat.primitives.asymmetric.{kind}", None)
    with pytest.raises(SecretBackendMissingError) as caught:
        GENERATORS[kind]().generate()
    assert str(caught.value) == "the package 'cryptography' is not installed; install elile[crypto]"
