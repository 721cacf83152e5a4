"""What a spec asks to have made is made by the generator of that name, with its options."""

import base64
import random
import re
from typing import Any

import pytest

from elile_operator.api.generate import KINDS, GeneratedValue
from elile_operator.api.reasons import Reason
from elile_operator.decide.generating import check_generated, generate, generator_of
from elile_operator.decide.violation import Violation
from tests.fakes.objects import elile_secret


def value(**spec: Any) -> GeneratedValue:
    return GeneratedValue.model_validate(spec)


randbytes = random.Random(1).randbytes  # noqa: S311 - repeatable


@pytest.mark.parametrize(
    ("spec", "pattern"),
    [
        pytest.param({"password": {}}, "[!-~]{32}", id="password"),
        pytest.param({"password": {"length": 26, "classes": ["digits", "lower"]}}, "[0-9a-z]{26}", id="some classes"),
        pytest.param({"password": {"length": 16, "minimumBits": 64}}, "[!-~]{16}", id="a short password"),
        pytest.param({"apiKey": {"prefix": "sk_"}}, "sk_[0-9A-Za-z]{38}", id="api key"),
        pytest.param({"apiKey": {"checksum": False}}, "[0-9A-Za-z]{32}", id="api key without checksum"),
        pytest.param({"hex": {"size": 16}}, "[0-9a-f]{32}", id="hex"),
        pytest.param({"base64": {"urlSafe": True}}, "[-_0-9A-Za-z]{43}=", id="base64"),
        pytest.param({"aes": {"bits": 128}}, "[+/0-9A-Za-z]{22}==", id="aes"),
        pytest.param({"fernet": {}}, "[-_0-9A-Za-z]{43}=", id="fernet"),
        pytest.param({"ed25519": {}}, "-----BEGIN PRIVATE KEY-----(.|\n)*", id="ed25519"),
        pytest.param({"rsa": {}}, "-----BEGIN PRIVATE KEY-----(.|\n)*", id="rsa"),
        pytest.param({"uuid": {}}, "[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}", id="uuid"),
    ],
)
def test_each_kind(spec: dict[str, Any], pattern: str) -> None:
    made = generator_of(value(**spec)).generate(randbytes)
    assert re.fullmatch(pattern, made.reveal())


def test_every_kind_of_the_api_has_its_generator() -> None:
    for kind in KINDS:
        assert generator_of(GeneratedValue.model_validate({kind: {}})).kind == GeneratedValue.model_fields[kind].alias


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        pytest.param(
            {"length": 20, "classes": ["digits", "lower"]},
            "password.minimumBits asks for 128 bits of entropy and this has 103.3: raise length, add classes, or "
            "exclude fewer characters, or lower minimumBits",
            id="guessed too easily",
        ),
        pytest.param(
            {"exclude": "0123456789"},
            "password.exclude leaves no character of the class 'digits': exclude fewer, or take it out of classes",
            id="nothing left",
        ),
    ],
)
def test_what_cannot_be_made_is_said_before_anything_is(spec: dict[str, Any], why: str) -> None:
    source = {"name": "s", "generate": {"kv": {"path": "a"}, "keys": {"ok": {"uuid": {}}, "bad": {"password": spec}}}}
    assert check_generated(elile_secret(sources=[source])) == Violation(
        Reason.SPEC_INVALID, f"spec.sources[s].generate.keys[bad].{why}"
    )
    assert check_generated(elile_secret()) is None


def test_one_value_for_each_key() -> None:
    drawn: list[int] = []

    def count(size: int) -> bytes:
        drawn.append(size)
        return bytes([len(drawn)]) * size

    made = generate({"a": value(aes={}), "b": value(hex={"size": 16})}, count)
    assert base64.b64decode(made["a"].reveal()) == b"\x01" * 32
    assert made["b"].reveal() == "02" * 16
    assert repr(made["a"]) != made["a"].reveal()
