"""Values that are made, not read: the kinds of `elile.secrets.rotation.generators`, as a spec names them."""

from dataclasses import replace
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, Rule, between, exactly_one, free_of, matches

MAX_EXCLUDED = 64


class CharacterClass(StrEnum):
    """A class of characters, of which a password holds at least one."""

    LOWER = "lower"
    UPPER = "upper"
    DIGITS = "digits"
    SYMBOLS = "symbols"


class PasswordValue(SpecModel):
    """A password."""

    length: Annotated[int, Checked(between("password.length", 16, 1024))] = Field(
        32, description="Characters. Absent: 32."
    )
    classes: Annotated[tuple[CharacterClass, ...], Field(min_length=1, max_length=4), ListType("set")] = Field(
        tuple(CharacterClass), description="At least one character of each of these. Absent: all four."
    )
    exclude: Annotated[
        str,
        StringConstraints(max_length=MAX_EXCLUDED),
        Checked(free_of("[^\x20-\x7e]", "password.exclude must hold printable ASCII; nothing else is drawn anyway")),
    ] = Field("", description="Characters that must not occur. Absent: none.")
    no_ambiguous: bool = Field(
        False, description="Whether those that are mistaken for each other, as 0 and O, are left out. Absent: false."
    )
    minimum_bits: Annotated[int, Checked(between("password.minimumBits", 64, 1024))] = Field(
        128,
        description="Bits of entropy without which nothing is made. Absent: 128.",
    )


class ApiKeyValue(SpecModel):
    """An API key: letters and digits after a prefix."""

    prefix: Annotated[
        str,
        StringConstraints(max_length=32),
        Checked(matches("[A-Za-z0-9_-]*", "apiKey.prefix must be letters, digits, '_' and '-'")),
    ] = Field("", description="Put in front. Absent: nothing.")
    length: Annotated[int, Checked(between("apiKey.length", 22, 1024))] = Field(
        32, description="Letters and digits after the prefix. Absent: 32."
    )
    checksum: bool = Field(True, description="Whether six more tell a real key from chance. Absent: true.")


class HexValue(SpecModel):
    """Random bytes as hexadecimal digits."""

    size: Annotated[int, Checked(between("hex.size", 16, 1024))] = Field(32, description="Bytes. Absent: 32.")


class Base64Value(SpecModel):
    """Random bytes in base64."""

    size: Annotated[int, Checked(between("base64.size", 16, 1024))] = Field(32, description="Bytes. Absent: 32.")
    url_safe: bool = Field(False, description="Whether '-' and '_' stand for '+' and '/'. Absent: false.")


def _one_of(field: str, *allowed: int) -> Checked:
    shown = ", ".join(str(value) for value in allowed)
    return Checked(Rule(f"self in [{shown}]", f"{field} must be one of: {shown}", lambda v: v in allowed))


class AesValue(SpecModel):
    """An AES key in base64."""

    bits: Annotated[int, _one_of("aes.bits", 128, 192, 256)] = Field(256, description="Bits. Absent: 256.")


class RsaValue(SpecModel):
    """An RSA key, as PKCS #8 in PEM."""

    bits: Annotated[int, _one_of("rsa.bits", 3072, 4096)] = Field(3072, description="Bits. Absent: 3072.")


class NoOptions(SpecModel):
    """A kind of value that has no options: {}."""


class GeneratedValue(SpecModel):
    """One value that is made."""

    password: PasswordValue | None = Field(None, description="A password.")
    api_key: ApiKeyValue | None = Field(None, description="An API key.")
    hex: HexValue | None = Field(None, description="Random bytes as hexadecimal digits.")
    base64: Base64Value | None = Field(None, description="Random bytes in base64.")
    aes: AesValue | None = Field(None, description="An AES key in base64.")
    fernet: NoOptions | None = Field(None, description="A key of Fernet: {}.")
    rsa: RsaValue | None = Field(None, description="An RSA key, as PKCS #8 in PEM.")
    ed25519: NoOptions | None = Field(None, description="An Ed25519 key, as PKCS #8 in PEM: {}.")
    uuid: NoOptions | None = Field(None, description="A random UUID, which has 122 bits: {}.")


GenerateOptions = PasswordValue | ApiKeyValue | HexValue | Base64Value | AesValue | RsaValue | NoOptions
KINDS = tuple(GeneratedValue.model_fields)


def one_kind(field: str) -> Checked:
    """Each key of the map `field` names exactly one kind of value."""
    rule = exactly_one(field, KINDS)
    return Checked(replace(rule, message=rule.message.replace("must hold", "must give each key")))
