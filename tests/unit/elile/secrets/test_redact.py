"""Wrapped values: no ordinary way of writing an object down shows what is inside."""

import copy
import dataclasses
import io
import json
import logging
import pickle
import pprint
import traceback
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError

from elile.secrets.answers import KVValue, Login
from elile.secrets.redact import MASK, Redacted, SecretBytes, SecretStr

CANARY = "canary-5d1f0c"

WRAPPED = [
    pytest.param(SecretStr(CANARY), id="text"),
    pytest.param(SecretBytes(CANARY.encode()), id="bytes"),
    pytest.param(Redacted({"password": CANARY}), id="mapping"),
]
every_kind = pytest.mark.parametrize("secret", WRAPPED)


class Account(BaseModel):
    """A model as users of the library write them."""

    user: str
    password: SecretStr


def formatted(error: BaseException) -> str:
    """The traceback with the locals of every frame, as crash reporters print it."""
    return "".join(traceback.TracebackException.from_exception(error, capture_locals=True).format())


WRITERS: list[Callable[[Any], str]] = [
    str,
    repr,
    ascii,
    lambda s: f"{s}",
    lambda s: f"{s!s} {s!r} {s!a}",
    lambda s: f"{s:>12}",
    lambda s: f"{s:.2}",
    lambda s: "%s %r %a" % (s, s, s),  # noqa: UP031 - the way of writing is what is tested
    "{0} {0!r}".format,
    lambda s: format(s, ""),
    lambda s: str([s]) + str({"key": s}) + str((s,)),
    lambda s: pprint.pformat({"key": [s]}),
    lambda s: json.dumps({"key": s}, default=str),
    lambda s: json.dumps({"key": s}, default=repr),
]


@every_kind
@pytest.mark.parametrize("write", WRITERS)
def test_no_text_form_shows_the_value(secret: Redacted[Any], write: Callable[[Any], str]) -> None:
    written = write(secret)
    assert CANARY not in written
    assert "*" in written


def test_text_forms_are_the_mask_alone_or_with_the_name_of_the_class() -> None:
    assert (str(SecretStr(CANARY)), repr(SecretStr(CANARY))) == (MASK, "SecretStr(***)")
    assert (str(SecretBytes(b"x")), repr(SecretBytes(b"x"))) == (MASK, "SecretBytes(***)")
    assert (str(Redacted(7)), repr(Redacted(7))) == (MASK, "Redacted(***)")
    assert f"{SecretStr(CANARY):>5}" == "  ***"


@every_kind
@pytest.mark.parametrize("spec", ["d", "x", ".3f"])
def test_format_that_does_not_fit_fails_without_the_value(secret: Redacted[Any], spec: str) -> None:
    with pytest.raises(ValueError, match="format code") as caught:
        format(secret, spec)
    assert CANARY not in formatted(caught.value)


@every_kind
def test_log_records_do_not_show_the_value(secret: Redacted[Any]) -> None:
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(logging.Formatter("%(message)s %(args)s %(fields)s"))
    log = logging.Logger("test", logging.DEBUG)
    log.addHandler(handler)
    try:
        raise LookupError(secret)
    except LookupError:
        log.exception("as argument %s %r, in a mapping %s", secret, secret, {"key": secret}, extra={"fields": secret})
    assert MASK in out.getvalue()
    assert CANARY not in out.getvalue()


@every_kind
def test_a_traceback_that_prints_locals_does_not_show_the_value(secret: Redacted[Any]) -> None:
    try:
        raise LookupError(secret, {"key": secret})
    except LookupError as e:
        printed = formatted(e)
    assert MASK in printed
    assert CANARY not in printed


@every_kind
def test_json_refuses_it_and_does_not_show_it(secret: Redacted[Any]) -> None:
    with pytest.raises(TypeError, match="not JSON serializable") as caught:
        json.dumps({"key": secret})
    assert CANARY not in formatted(caught.value)


@every_kind
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_refuses_it_also_inside_of_others(secret: Redacted[Any], protocol: int) -> None:
    for holder in (secret, [secret], LookupError(secret)):
        out = io.BytesIO()
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            pickle.Pickler(out, protocol).dump(holder)
        assert CANARY.encode() not in out.getvalue()
        assert CANARY not in formatted(caught.value)


@every_kind
def test_copies_are_the_object_itself(secret: Redacted[Any]) -> None:
    assert copy.copy(secret) is secret
    assert copy.deepcopy(secret) is secret
    assert copy.deepcopy({"key": [secret]})["key"][0] is secret


@every_kind
def test_the_object_has_no_dictionary_to_print(secret: Redacted[Any]) -> None:
    with pytest.raises(TypeError):
        vars(secret)


def test_answers_that_hold_secrets_do_not_show_them() -> None:
    for answer in (
        KVValue(3, Redacted({"password": CANARY})),
        Login(token=SecretStr(CANARY), ttl=60.0, renewable=True),
    ):
        assert CANARY not in f"{answer} {answer!r} {dataclasses.asdict(answer)}"


def test_reveal_is_the_way_to_the_value() -> None:
    data = {"password": CANARY}
    assert Redacted(data).reveal() is data
    assert SecretStr(CANARY).reveal() == SecretStr(CANARY).get_secret_value() == CANARY
    assert SecretBytes(b"\x00\xff").reveal() == b"\x00\xff"


@pytest.mark.parametrize(
    ("one", "other", "equal"),
    [
        (SecretStr("a"), SecretStr("a"), True),
        (SecretStr("a"), SecretStr("b"), False),
        (SecretStr("ä€"), SecretStr("ä€"), True),
        (SecretStr(""), SecretStr(""), True),
        (SecretStr("a"), "a", False),
        (SecretBytes(b"a"), SecretBytes(b"a"), True),
        (SecretBytes(b"a"), SecretBytes(b"ab"), False),
        (SecretBytes(b"a"), b"a", False),
        (SecretStr("a"), SecretBytes(b"a"), False),
        (Redacted({"k": 1}), Redacted({"k": 1}), True),
        (Redacted({"k": 1}), Redacted({"k": 2}), False),
        (Redacted(1), 1, False),
        (SecretStr("a"), None, False),
    ],
)
def test_equality_is_of_the_values_within_one_kind(one: object, other: object, equal: bool) -> None:
    assert (one == other) is equal
    assert (other == one) is equal
    assert (one != other) is not equal


def test_text_that_is_not_unicode_is_compared_all_the_same() -> None:
    lone = json.loads('"\\ud800"')  # JSON may hold half a surrogate pair, and so may an entry of Vault
    assert SecretStr(lone) == SecretStr(lone)
    assert SecretStr(lone) != SecretStr("?")


@pytest.mark.parametrize(
    ("secret", "truth"),
    [
        (SecretStr("a"), True),
        (SecretStr(""), False),
        (SecretStr("0"), True),
        (SecretBytes(b"\x00"), True),
        (SecretBytes(b""), False),
        (Redacted({}), False),
        (Redacted(0), False),
        (Redacted([0]), True),
    ],
)
def test_truth_is_that_of_the_value(secret: Redacted[Any], truth: bool) -> None:
    assert bool(secret) is truth


def test_length_is_that_of_the_value() -> None:
    assert len(SecretStr("ä€")) == 2
    assert len(SecretBytes(b"\x00\xff\x00")) == 3


@every_kind
def test_it_cannot_be_hashed_ordered_joined_or_iterated(secret: Redacted[Any]) -> None:
    attempts: list[Callable[[Any], object]] = [hash, lambda s: {s}, lambda s: s < s, lambda s: "".join([s]), list]  # type: ignore[list-item]
    for attempt in attempts:
        with pytest.raises(TypeError) as caught:
            attempt(secret)
        assert CANARY not in formatted(caught.value)


class TestPydantic:
    def test_field_takes_text_and_the_type_itself(self) -> None:
        given = SecretStr(CANARY)
        assert Account(user="u", password=given).password is given
        assert Account.model_validate({"user": "u", "password": CANARY}).password == given
        assert Account.model_validate_json(json.dumps({"user": "u", "password": CANARY})).password == given

    def test_no_form_of_the_model_shows_the_value(self) -> None:
        account = Account(user="u", password=SecretStr(CANARY))
        dumps = [account.model_dump(), account.model_dump(mode="json"), json.loads(account.model_dump_json())]
        assert dumps == [{"user": "u", "password": MASK}] * 3
        for shown in (str(account), repr(account), f"{account}", pprint.pformat(account), str(dict(account))):
            assert CANARY not in shown

    def test_copies_of_the_model_keep_the_value(self) -> None:
        account = Account(user="u", password=SecretStr(CANARY))
        for copied in (account.model_copy(), account.model_copy(deep=True), copy.copy(account), copy.deepcopy(account)):
            assert copied.password.reveal() == CANARY
            assert copied == account

    def test_the_model_cannot_be_pickled(self) -> None:
        with pytest.raises(TypeError, match="cannot be pickled") as caught:
            pickle.dumps(Account(user="u", password=SecretStr(CANARY)))
        assert CANARY not in formatted(caught.value)

    def test_error_of_another_field_does_not_show_it(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Account.model_validate({"user": 7, "password": CANARY})
        assert [e["loc"] for e in caught.value.errors()] == [("user",)]
        assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.errors()} {caught.value.json()}"

    def test_error_of_the_whole_model_does_not_show_what_was_wrapped_before(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Account.model_validate({"password": SecretStr(CANARY)})
        assert [e["type"] for e in caught.value.errors()] == ["missing"]
        assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.errors()}"

    def test_error_of_the_field_itself_does_not_show_what_was_given(self) -> None:
        for wrong in (SecretBytes(CANARY.encode()), Redacted([CANARY])):
            with pytest.raises(ValidationError) as caught:
                Account.model_validate({"user": "u", "password": wrong})
            assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.errors()}"

    def test_raw_input_of_the_wrong_type_is_not_shown_by_the_error(self) -> None:
        for raw in ([CANARY], {"value": CANARY}, ("a", CANARY)):
            with pytest.raises(ValidationError) as caught:
                Account.model_validate({"user": "u", "password": raw})
            assert {e["loc"][0] for e in caught.value.errors()} == {"password"}
            assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.errors()} {caught.value.json()}"

    def test_raw_json_of_the_wrong_type_is_not_shown_by_the_error(self) -> None:
        with pytest.raises(ValidationError) as caught:
            Account.model_validate_json(json.dumps({"user": "u", "password": [CANARY]}))
        assert CANARY not in f"{caught.value} {caught.value!r} {caught.value.errors()} {caught.value.json()}"

    def test_json_schema_is_that_of_a_text(self) -> None:
        assert Account.model_json_schema()["properties"]["password"]["type"] == "string"
        TypeAdapter(SecretStr).json_schema(mode="serialization")

    def test_bytes_and_others_are_held_as_foreign_types_and_not_dumped(self) -> None:
        class Holder(BaseModel):
            model_config = ConfigDict(arbitrary_types_allowed=True)
            data: SecretBytes

        holder = Holder(data=SecretBytes(CANARY.encode()))
        assert CANARY not in f"{holder} {holder!r} {holder.model_dump()}"
        with pytest.raises(PydanticSerializationError) as caught:
            holder.model_dump_json()
        assert CANARY not in formatted(caught.value)
