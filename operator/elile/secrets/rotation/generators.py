"""New values: passwords, keys and identifiers, each with its entropy stated before anything is drawn."""

import math
import re
import secrets
import string
import uuid
import zlib
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from importlib import import_module
from itertools import combinations
from typing import Any

from elile.secrets.errors import SecretBackendMissingError
from elile.secrets.redact import SecretStr

__all__ = [
    "GENERATORS",
    "MINIMUM_BITS",
    "PASSWORD_CLASSES",
    "Generator",
    "GeneratorError",
    "RandBytes",
    "aes",
    "api_key",
    "api_key_is_intact",
    "base64",
    "ed25519",
    "fernet",
    "hex",
    "password",
    "rsa",
    "uuid4",
]

RandBytes = Callable[[int], bytes]

MINIMUM_BITS = 128
# Without quotes, backslash, backtick and space, which connection strings, shells and YAML read as their own.
PASSWORD_CLASSES = {
    "lower": string.ascii_lowercase,
    "upper": string.ascii_uppercase,
    "digits": string.digits,
    "symbols": "!#$%&()*+,-./:;<=>?@[]^_{|}~",
}
_AMBIGUOUS = "0Oo1Il|5S2Z8B"
_BASE62 = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUM = 6  # characters; 62^6 > 2^32
_LONGEST = 1024  # characters or bytes
# NIST SP 800-57 part 1, table 2; a size between is as strong as the next smaller one.
_RSA_STRENGTH = {2048: 112, 3072: 128, 4096: 128}
# A sound source fails this often less than once in 2^256.
_TRIES = 10_000


class GeneratorError(ValueError):
    """The field of a generator is refused, or its randomness is broken; the text names the field and the remedy."""


@dataclass(frozen=True, slots=True)
class Generator:
    """Makes values of one kind.

    `entropy_bits` is the base-2 logarithm of how many values are equally likely; for RSA and Ed25519, whose keys are
    found faster than by guessing, the strength of the algorithm.
    """

    kind: str
    entropy_bits: float
    draw: Callable[[RandBytes], str]

    def generate(self, randbytes: RandBytes = secrets.token_bytes) -> SecretStr:
        """Return a new value; `randbytes` returns as many random bytes as it is asked for.

        Raises GeneratorError when `randbytes` is broken, SecretBackendMissingError for keys without `cryptography`.
        """
        return SecretStr(self.draw(randbytes))


def password(
    length: int = 32,
    *,
    classes: Iterable[str] = tuple(PASSWORD_CLASSES),
    exclude: str = "",
    no_ambiguous: bool = False,
    minimum_bits: float = MINIMUM_BITS,
) -> Generator:
    """A password of `length` characters (16 to 1024) with at least one of each class, all such equally likely.

    `classes` are names of PASSWORD_CLASSES (all), `exclude` characters that must not occur (none), `no_ambiguous`
    leaves out those that are mistaken for each other, such as 0 and O (no). Raises GeneratorError.
    """
    _within("password.length", length, 16, _LONGEST)
    names = tuple(dict.fromkeys(classes))
    _one_of("password.classes", names, tuple(PASSWORD_CLASSES))
    left_out = set(exclude) | set(_AMBIGUOUS if no_ambiguous else "")
    groups = ["".join(c for c in PASSWORD_CLASSES[name] if c not in left_out) for name in names]
    for name, group in zip(names, groups, strict=True):
        if not group:
            raise GeneratorError(
                f"password.exclude leaves no character of the class {name!r}: exclude fewer, or take it out of classes"
            )
    alphabet = "".join(groups)
    bits = math.log2(_accepted([len(group) for group in groups], length)) if len(alphabet) > 1 else 0.0
    _enough("password", bits, minimum_bits, "raise length, add classes, or exclude fewer characters")

    def draw(randbytes: RandBytes) -> str:
        for _ in range(_TRIES):
            text = _text(alphabet, length, randbytes)
            # Drawn anew as a whole: to mend one character would make some passwords likelier than others.
            if all(any(c in group for c in text) for group in groups):
                return text
        raise _broken()

    return Generator("password", bits, draw)


def api_key(
    prefix: str = "", length: int = 32, *, checksum: bool = True, minimum_bits: float = MINIMUM_BITS
) -> Generator:
    """An API key: `prefix`, then `length` (16 to 1024) letters and digits, then a checksum of 6 more when asked for.

    `prefix` is put in front as it is, 32 letters, digits, '_' or '-' at most. The checksum is the CRC-32 of all before
    it in base 62: scanners for leaked keys tell a real one from chance by it. Raises GeneratorError.
    """
    if not re.fullmatch(r"[A-Za-z0-9_-]{0,32}", prefix):
        raise GeneratorError("apiKey.prefix must be at most 32 letters, digits, '_' or '-': correct it")
    _within("apiKey.length", length, 16, _LONGEST)
    bits = length * math.log2(len(_BASE62))
    _enough("apiKey", bits, minimum_bits, "raise length")

    def draw(randbytes: RandBytes) -> str:
        text = prefix + _text(_BASE62, length, randbytes)
        return text + _crc(text) if checksum else text

    return Generator("apiKey", bits, draw)


def api_key_is_intact(key: str) -> bool:
    """Whether a key with a checksum was copied in full; says nothing about whether it is valid."""
    return len(key) > _CHECKSUM and key.isascii() and _crc(key[:-_CHECKSUM]) == key[-_CHECKSUM:]


def hex(size: int = 32, *, minimum_bits: float = MINIMUM_BITS) -> Generator:
    """`size` random bytes (1 to 1024) as two lower-case hexadecimal digits each. Raises GeneratorError."""
    return _of_bytes("hex", size, minimum_bits, bytes.hex)


def base64(size: int = 32, *, url_safe: bool = False, minimum_bits: float = MINIMUM_BITS) -> Generator:
    """`size` random bytes (1 to 1024) in base64 with padding, `url_safe` with '-' and '_'. Raises GeneratorError."""
    encode = urlsafe_b64encode if url_safe else b64encode
    return _of_bytes("base64", size, minimum_bits, lambda data: encode(data).decode())


def aes(bits: int = 256, *, minimum_bits: float = MINIMUM_BITS) -> Generator:
    """An AES key of 128, 192 or 256 `bits`, in base64. Raises GeneratorError."""
    _one_of("aes.bits", (bits,), (128, 192, 256))
    _enough("aes", bits, minimum_bits, "raise bits")
    return Generator("aes", bits, lambda randbytes: b64encode(_bytes(bits // 8, randbytes)).decode())


def fernet() -> Generator:
    """A key of `cryptography.fernet`: 32 bytes in URL-safe base64, half for signing and half for AES-128."""
    return Generator("fernet", 256, lambda randbytes: urlsafe_b64encode(_bytes(32, randbytes)).decode())


def rsa(bits: int = 3072, *, minimum_bits: float = MINIMUM_BITS) -> Generator:
    """An RSA private key of 2048, 3072 or 4096 `bits` with exponent 65537, as PKCS #8 in PEM, not encrypted.

    2048 bits are worth 112 and need `minimum_bits=112`. OpenSSL draws the key: `randbytes` is not asked.
    Raises GeneratorError.
    """
    _one_of("rsa.bits", (bits,), tuple(_RSA_STRENGTH))
    _enough("rsa", _RSA_STRENGTH[bits], minimum_bits, "take 3072 bits")

    def draw(_randbytes: RandBytes) -> str:
        module = _cryptography("cryptography.hazmat.primitives.asymmetric.rsa")
        return _pem(module.generate_private_key(public_exponent=65537, key_size=bits))

    return Generator("rsa", _RSA_STRENGTH[bits], draw)


def ed25519() -> Generator:
    """An Ed25519 private key, as PKCS #8 in PEM, not encrypted."""

    def draw(randbytes: RandBytes) -> str:
        module = _cryptography("cryptography.hazmat.primitives.asymmetric.ed25519")
        return _pem(module.Ed25519PrivateKey.from_private_bytes(_bytes(32, randbytes)))

    return Generator("ed25519", 128, draw)


def uuid4(*, minimum_bits: float = MINIMUM_BITS) -> Generator:
    """A random UUID. It has room for 122 bits and needs `minimum_bits=122`. Raises GeneratorError."""
    _enough("uuid", 122, minimum_bits, "generate hex instead")
    return Generator("uuid", 122, lambda randbytes: str(uuid.UUID(bytes=_bytes(16, randbytes), version=4)))


# By the names that `generate` of a RotationSchedule has for them.
GENERATORS: dict[str, Callable[..., Generator]] = {
    "password": password,
    "apiKey": api_key,
    "hex": hex,
    "base64": base64,
    "aes": aes,
    "fernet": fernet,
    "rsa": rsa,
    "ed25519": ed25519,
    "uuid": uuid4,
}


def _of_bytes(kind: str, size: int, minimum_bits: float, encode: Callable[[bytes], str]) -> Generator:
    _within(f"{kind}.size", size, 1, _LONGEST)
    _enough(kind, 8 * size, minimum_bits, "raise size")
    return Generator(kind, 8 * size, lambda randbytes: encode(_bytes(size, randbytes)))


def _accepted(sizes: list[int], length: int) -> int:
    """How many texts of a length have at least one character of each group, by inclusion and exclusion."""
    return sum(
        (-1) ** count * (sum(sizes) - sum(absent)) ** length
        for count in range(len(sizes) + 1)
        for absent in combinations(sizes, count)
    )


def _text(alphabet: str, length: int, randbytes: RandBytes) -> str:
    """Draw characters, all equally likely: bytes beyond the last full round of the alphabet are thrown away."""
    limit = 256 - 256 % len(alphabet)
    found: list[str] = []
    for _ in range(_TRIES):
        found += [alphabet[byte % len(alphabet)] for byte in _bytes(length, randbytes) if byte < limit]
        if len(found) >= length:
            return "".join(found[:length])
    raise _broken()


def _bytes(count: int, randbytes: RandBytes) -> bytes:
    data = randbytes(count)
    if len(data) != count:
        raise GeneratorError(f"randbytes returned {len(data)} bytes, {count} were asked for: mend the source")
    return data


def _crc(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_BASE62))
        digits = _BASE62[digit] + digits
    return digits


def _within(field: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise GeneratorError(f"{field} is {value}: give {low} to {high}")


def _one_of(field: str, values: tuple[Any, ...], allowed: tuple[Any, ...]) -> None:
    if not values or not set(values) <= set(allowed):
        shown = ", ".join(str(value) for value in values) or "empty"
        raise GeneratorError(f"{field} is {shown}: choose from {', '.join(str(value) for value in allowed)}")


def _enough(kind: str, bits: float, minimum: float, remedy: str) -> None:
    if bits < minimum:
        # Rounded down: 127.99 must not read as 128.
        raise GeneratorError(
            f"{kind}.minimumBits asks for {minimum:g} bits of entropy and this has {math.floor(bits * 10) / 10:g}: "
            f"{remedy}, or lower minimumBits"
        )


def _broken() -> GeneratorError:
    return GeneratorError("randbytes returns the same bytes again and again: mend the source")


def _pem(key: Any) -> str:
    serialization = _cryptography("cryptography.hazmat.primitives.serialization")
    text: bytes = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return text.decode()


def _cryptography(module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError:
        raise SecretBackendMissingError(
            "the package 'cryptography' is not installed; install elile[crypto]", backend=""
        ) from None
