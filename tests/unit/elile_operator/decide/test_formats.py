"""What several keys become as one file, and what is said, without a value, when a format cannot hold them."""

import json

import pytest
import yaml

from elile_operator.api.files import Format
from elile_operator.decide.formats import (
    FormatError,
    encode,
    escape_properties,
    escape_xml,
    quote_dotenv,
    quote_json,
    quote_shell,
)

CANARY = "canary-9b1e"
VALUES = {"DB_USER": b"shop", "DB_PASSWORD": b'it\'s "q" \\ #x\n', "EMPTY": b""}


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        (Format.JSON, '{\n  "DB_USER": "shop",\n  "DB_PASSWORD": "it\'s \\"q\\" \\\\ #x\\n",\n  "EMPTY": ""\n}\n'),
        (Format.YAML, '"DB_USER": "shop"\n"DB_PASSWORD": "it\'s \\"q\\" \\\\ #x\\n"\n"EMPTY": ""\n'),
        (Format.PROPERTIES, 'DB_USER=shop\nDB_PASSWORD=it\'s "q" \\\\ \\#x\\n\nEMPTY=\n'),
        (Format.DOTENV, 'DB_USER="shop"\nDB_PASSWORD="it\'s \\"q\\" \\\\ #x\\n"\nEMPTY=""\n'),
        (Format.SHELL, "DB_USER='shop'\nDB_PASSWORD='it'\\''s \"q\" \\ #x\n'\nEMPTY=''\n"),
    ],
)
def test_keys_become_a_file_in_their_order(wanted: Format, file: str) -> None:
    assert encode(wanted, VALUES) == file.encode()


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        (Format.JSON, b"{}\n"),
        (Format.YAML, b"{}\n"),
        (Format.PROPERTIES, b""),
        (Format.DOTENV, b""),
        (Format.SHELL, b""),
    ],
)
def test_no_keys_are_a_file_as_well(wanted: Format, file: bytes) -> None:
    assert encode(wanted, {}) == file


LOOKALIKES = ["5432", "0x10", "1e3", "1_000", "true", "no", "null", "~", "", "2024-01-01", "12:30:45", "<<", "=", "- a"]


@pytest.mark.parametrize("text", [*LOOKALIKES, "{a: b}", "&a", "*a", "!!int 1", "|", "a: b", " a ", "#"])
def test_a_value_that_looks_like_something_else_stays_a_text(text: str) -> None:
    values = {"a": text.encode()}
    assert yaml.safe_load(encode(Format.YAML, values)) == {"a": text}
    assert json.loads(encode(Format.JSON, values)) == {"a": text}


@pytest.mark.parametrize("key", ["yes", "1", "1.5", "-", "null", "2024-01-01", "tls.crt"])
def test_a_key_that_looks_like_something_else_stays_a_text(key: str) -> None:
    assert yaml.safe_load(encode(Format.YAML, {key: b"x"})) == {key: "x"}


def test_yaml_holds_bytes_by_its_own_tag() -> None:
    assert encode(Format.YAML, {"a": b"\x00\xff"}) == b'"a": !!binary "AP8="\n'
    assert yaml.safe_load(encode(Format.YAML, {"a": b"\x00\xff"})) == {"a": b"\x00\xff"}


def test_shell_holds_bytes_as_they_are() -> None:
    assert encode(Format.SHELL, {"A": b"\xff'"}) == b"A='\xff'\\'''\n"


@pytest.mark.parametrize("wanted", [Format.JSON, Format.PROPERTIES, Format.DOTENV])
def test_bytes_that_are_no_text_are_refused_elsewhere(wanted: Format) -> None:
    assert refused(wanted, "a", CANARY.encode() + b"\xff") == (
        f"key 'a' holds bytes that are no UTF-8 text, which format {wanted} cannot hold; choose format yaml, or "
        "deliver the key as a file of its own"
    )


@pytest.mark.parametrize("wanted", [Format.DOTENV, Format.SHELL])
def test_nul_is_refused_where_a_variable_would_hold_it(wanted: Format) -> None:
    assert refused(wanted, "a", CANARY.encode() + b"\x00") == (
        f"key 'a' holds a NUL character, which format {wanted} cannot hold; choose format yaml, or deliver the key as "
        "a file of its own"
    )


def refused(wanted: Format, key: str, value: bytes) -> str:
    with pytest.raises(FormatError) as e:
        encode(wanted, {key: value})
    assert CANARY not in repr(e.value)
    assert e.value.__context__ is None  # the errors of decoding hold what they could not decode
    return str(e.value)


@pytest.mark.parametrize("key", ["db-password", "tls.crt", "1a", "-", "é", "a b", "A=", "A\n", "", "A;x"])
def test_a_name_that_no_shell_variable_has_is_refused_with_the_remedy(key: str) -> None:
    assert refused(Format.SHELL, key, b"x") == (
        f"key {key!r} is no name of a variable, so format shell cannot hold it; give it one with keys[].to, for "
        "example DB_PASSWORD"
    )


@pytest.mark.parametrize("key", ["1a", "-", ".a", "é", "a b", "A=", "A\n", "", "#a", "'a'"])
def test_a_name_that_no_dotenv_variable_has_is_refused_with_the_remedy(key: str) -> None:
    assert refused(Format.DOTENV, key, b"x") == (
        f"key {key!r} is no name of a variable, so format dotenv cannot hold it; give it one with keys[].to, for "
        "example DB_PASSWORD"
    )


def test_dotenv_takes_names_with_dots_and_hyphens_as_its_readers_do() -> None:
    assert encode(Format.DOTENV, {"db.pass-word": b"x"}) == b'db.pass-word="x"\n'


def test_a_long_name_is_cut_in_messages() -> None:
    assert refused(Format.SHELL, "-" * 1000, b"x").startswith(f"key '{'-' * 252}…' is no name")


@pytest.mark.parametrize(
    ("text", "written"),
    [
        pytest.param("plain", '"plain"', id="plain"),
        pytest.param("a#b 'c' \"d\" \\e", '"a#b \'c\' \\"d\\" \\\\e"', id="double quotes"),
        pytest.param("a\r\n\tb", '"a\\r\\n\tb"', id="line breaks"),
        pytest.param("a$b", "'a$b'", id="single quotes keep the dollar"),
        pytest.param("$it's \\n", "'$it\\'s \\n'", id="within them a backslash is one"),
        pytest.param("$\n", "'$\n'", id="and a line break too"),
        pytest.param("$a\\\n", "'$a\\\n'", id="a backslash before the last line break is not at the end"),
        pytest.param("a\\b\\", "a\\b\\", id="a backslash at the end, without quotes"),
    ],
)
def test_dotenv_quotes_as_its_readers_agree(text: str, written: str) -> None:
    assert quote_dotenv(text) == written


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("a${b}", "holds '${', which is replaced even within quotes"),
        ("a\x00", "holds a NUL character"),
        ("$\r", "holds '$' beside a carriage return or backslashes that readers take differently"),
        ("$\\\\", "holds '$' beside a carriage return or backslashes that readers take differently"),
        ("$\\'", "holds '$' beside a carriage return or backslashes that readers take differently"),
        ("$a\\", "holds '$' beside a carriage return or backslashes that readers take differently"),
        ("a b\\", "ends with a backslash and needs quotes"),
        ("a#\\", "ends with a backslash and needs quotes"),
        ("a'\\", "ends with a backslash and needs quotes"),
    ],
)
def test_dotenv_refuses_what_its_readers_disagree_about(text: str, what: str) -> None:
    with pytest.raises(FormatError) as e:
        quote_dotenv(text)
    assert str(e.value) == what


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("", ""),
        ("  a  ", "\\  a  "),
        ("\ta\f", "\\ta\\f"),
        ("a=b:c#d!e\\f", "a\\=b\\:c\\#d\\!e\\\\f"),
        ("ü☃🔑\x00\x7f", "\\u00fc\\u2603\\ud83d\\udd11\\u0000\\u007f"),
    ],
)
def test_a_property_is_written_as_java_does(text: str, written: str) -> None:
    assert escape_properties(text) == written


def test_the_name_of_a_property_is_escaped_whole() -> None:
    assert encode(Format.PROPERTIES, {" a b:=#!ü\n": b"x"}) == b"\\ a\\ b\\:\\=\\#\\!\\u00fc\\n=x\n"


def test_a_string_of_json_is_one_of_yaml() -> None:
    assert quote_json('a"\\\n\x00\x7f\x85\u2028\ufeff\uffffü🔑') == (
        '"a\\"\\\\\\n\\u0000\\u007f\\u0085\\u2028\\ufeff\\uffffü🔑"'
    )


def test_nothing_has_a_meaning_within_single_quotes_of_a_shell() -> None:
    assert quote_shell("$(id) `id` '\\\n") == "'$(id) `id` '\\''\\\n'"


def test_xml_is_escaped_for_elements_and_attributes() -> None:
    assert escape_xml("<a b=\"c\" d='&'>\t\r\n ü") == "&lt;a b=&quot;c&quot; d=&#39;&amp;&#39;&gt;&#9;&#13;&#10; ü"


@pytest.mark.parametrize("char", ["\x00", "\x1f", "\x0b", "\ufffe", "\uffff"])
def test_a_character_that_xml_does_not_have_is_refused(char: str) -> None:
    with pytest.raises(FormatError, match=r"^holds a character that XML does not have$"):
        escape_xml(char)
