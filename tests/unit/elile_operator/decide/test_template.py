"""What a template is, what it gives, and what is said, without a value, when it cannot."""

from typing import Any

import pytest

from elile_operator.api.reasons import Reason
from elile_operator.decide.template import FILTERS, MAX_RENDERED_BYTES, RenderError, TemplateError, parse

CANARY = "canary-9b1e"
KEYS = {
    "user": b"shop",
    "password": b"p@ss/w\xc3\xb6rd",
    "empty": b"",
    "lines": b"one\ntwo\n\nthree\n",
    "blank": b" \t a b \n",
    "hostile": b"'\"\\<&>\n$",
    "nested": b"${user} $${user} ${",
    "binary": b"\x00\xff",
    "nul": b"a\x00" + CANARY.encode(),
    "tls.crt": b"PEM",
}


@pytest.mark.parametrize(
    ("text", "file"),
    [
        pytest.param("", b"", id="nothing"),
        pytest.param("plain ü\n", "plain ü\n".encode(), id="text"),
        pytest.param("${user}", b"shop", id="key"),
        pytest.param("${tls.crt}", b"PEM", id="key with a dot"),
        pytest.param("a${user}b${user}${empty}c", b"ashopbshopc", id="keys within text"),
        pytest.param("$ $a $$ } {} $", b"$ $a $$ } {} $", id="a lone dollar and a lone brace are text"),
        pytest.param("$${user}", b"${user}", id="escape"),
        pytest.param("$${", b"${", id="escape alone"),
        pytest.param("$$${user}", b"$shop", id="an escaped dollar, then a key"),
        pytest.param("$$$${user}", b"$${user}", id="two escaped dollars"),
        pytest.param("$2y$10$$${user}", b"$2y$10$shop", id="dollars elsewhere count nothing"),
        pytest.param("${user}$${user}", b"shop${user}", id="escape after a key"),
        pytest.param("$${$${user}", b"${${user}", id="escape after an escape"),
        pytest.param("${user}}", b"shop}", id="a brace after a placeholder"),
        pytest.param("${nested}", KEYS["nested"], id="what is substituted is not read again"),
        pytest.param("$${${user}}", b"${shop}", id="no placeholder comes of two"),
        pytest.param("${binary}", b"\x00\xff", id="bytes as they are"),
    ],
)
def test_text_and_keys_become_a_file(text: str, file: bytes) -> None:
    assert parse(text).render(KEYS) == file


@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("${password|url}", b"p%40ss%2Fw%C3%B6rd"),
        ("${binary|base64}", b"AP8="),
        ("${user|base64|base64}", b"YzJodmNBPT0="),
        ("${hostile|json}", rb'"' + rb"'\"\\<&>\n$" + rb'"'),
        ("${nul|json}", rb'"a\u0000' + CANARY.encode() + b'"'),
        ("${hostile|yaml}", rb'"' + rb"'\"\\<&>\n$" + rb'"'),
        ("${hostile|properties}", b"'\"" + rb"\\<&>\n$"),
        ("${blank|properties}", rb"\ \t a b \n"),
        ("${lines|dotenv}", rb'"one\ntwo\n\nthree\n"'),
        ("${hostile|shell}", b"''\\''\"\\<&>\n$'"),
        ("${hostile|xml}", b"&#39;&quot;\\&lt;&amp;&gt;&#10;$"),
        ("${password|upper}", "P@SS/WÖRD".encode()),
        ("${password|upper|lower}", "p@ss/wörd".encode()),
        ("${blank|trim}", b"a b"),
        ("${lines|indent:2}", b"one\n  two\n\n  three\n"),
        ("${lines|indent:99}", b"one\n" + b" " * 99 + b"two\n\n" + b" " * 99 + b"three\n"),
        ("${user|default:x}", b"shop"),
        ("${empty|default:x}", b""),
        ("${absent|default:a: b}", b"a: b"),
        ("${absent|default:}", b""),
        ("${absent|default:$}", b"$"),
        ("${absent|default:a}b}", b"ab}"),
        ("${absent|default:x|upper}", b"X"),
        ("${absent|upper|default:x}", b"x"),
        ("${absent|default:x|default:y}", b"x"),
        ("${/absent|default:x}", b"x"),
        ("${binary|default:x}", b"\x00\xff"),
    ],
)
def test_filters_apply_in_their_order(text: str, file: bytes) -> None:
    assert parse(text).render(KEYS) == file


def test_every_filter_that_is_promised_is_there() -> None:
    promised = "url base64 json yaml properties dotenv shell xml upper lower trim default indent"
    assert sorted(FILTERS) == sorted(promised.split())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            "a\nb ${user",
            "line 2, column 3: the placeholder is not closed in its line; write '}' after the key, or '$${' for a "
            "literal '${'",
            id="unclosed",
        ),
        pytest.param(
            "${user\n}",
            "line 1, column 1: the placeholder is not closed in its line; write '}' after the key, or '$${' for a "
            "literal '${'",
            id="closed in another line",
        ),
        pytest.param(
            "${a${user}}",
            "line 1, column 1: the placeholder holds another '${'; placeholders do not nest: close it with '}' before "
            "the next one",
            id="nested",
        ),
        pytest.param(
            "${a|default:${user}}",
            "line 1, column 1: the placeholder holds another '${'; placeholders do not nest: close it with '}' before "
            "the next one",
            id="nested in a default",
        ),
        pytest.param(
            "x${user|shout}",
            "line 1, column 2: the placeholder has the unknown filter 'shout'; there are "
            "base64, url, json, yaml, properties, dotenv, shell, xml, upper, lower, trim, default, indent",
            id="unknown filter",
        ),
        pytest.param(
            "${user|default}",
            "line 1, column 1: the placeholder has the filter default without a text; write default:text, or default: "
            "for nothing",
            id="default of nothing",
        ),
        pytest.param(
            "${user|upper:1}",
            "line 1, column 1: the placeholder gives the filter upper an argument, which it does not take; write upper",
            id="argument",
        ),
    ],
)
def test_what_is_no_template_is_said_with_its_place_and_remedy(text: str, message: str) -> None:
    with pytest.raises(TemplateError) as e:
        parse(text)
    assert str(e.value) == message


@pytest.mark.parametrize(
    "text", ["${user|}", "${user| upper}", "${user|upper }", "${user||upper}", "${user|__class__}"]
)
def test_a_filter_is_written_exactly(text: str) -> None:
    with pytest.raises(TemplateError, match=r"line 1, column 1: the placeholder has the unknown filter '"):
        parse(text)


@pytest.mark.parametrize("blanks", ["", "0", "01", "100", "-1", "x", "²", "٣"])
def test_indent_takes_a_number_of_blanks(blanks: str) -> None:
    for text in (f"${{user|indent:{blanks}}}", "${user|indent}"):
        with pytest.raises(TemplateError) as e:
            parse(text)
        assert str(e.value) == (
            "line 1, column 1: the placeholder has the filter indent without a number of blanks; write indent:n with n "
            "from 1 to 99"
        )


@pytest.mark.parametrize(
    "name",
    ["", " user", "a b", "a/b", "a()", "a[0]", "..a", ".", "7*7;", "/a~", "/a~2", "ü", "user.__class__.__mro__ ", "%s"],
)
def test_a_name_is_a_key_or_a_pointer_and_no_expression(name: str) -> None:
    with pytest.raises(TemplateError) as e:
        parse(f"${{{name}}}")
    assert str(e.value) == (
        f"line 1, column 1: the placeholder names {name!r}, which is neither a key of a Secret nor a JSON pointer; "
        "write ${key}, ${/tls/ca}, or '$${' for a literal '${'"
    )


DOCUMENTS: dict[str, dict[str, Any]] = {
    "db": {
        "tls": {"ca": "CA", "chain": ["one", "two"], "": "nothing"},
        "a/b": {"m~n": "slash and tilde"},
        "port": 5432,
        "ratio": -1.5,
        "on": True,
        "null": None,
        "both": CANARY,
        "half": "\ud83d",
        "/literal": "not a pointer",
    },
    "other": {"both": CANARY, "more": "m"},
}


@pytest.mark.parametrize(
    ("pointer", "file"),
    [
        ("/tls/ca", b"CA"),
        ("/tls/chain/1", b"two"),
        ("/tls/chain", b'["one","two"]'),
        ("/tls", b'{"ca":"CA","chain":["one","two"],"":"nothing"}'),
        ("/tls/", b"nothing"),
        ("/a~1b/m~0n", b"slash and tilde"),
        ("/~1literal", b"not a pointer"),
        ("/port", b"5432"),
        ("/ratio", b"-1.5"),
        ("/on", b"true"),
        ("/half", b"\xed\xa0\xbd"),
        ("/more", b"m"),
        ("/tls/chain/0|upper", b"ONE"),
        ("/half|base64", b"7aC9"),
    ],
)
def test_a_pointer_leads_into_the_entry_of_a_source(pointer: str, file: bytes) -> None:
    assert parse(f"${{{pointer}}}").render({}, DOCUMENTS) == file


def refused(text: str, keys: dict[str, bytes] = KEYS, limit: int = MAX_RENDERED_BYTES) -> tuple[Reason, str]:
    with pytest.raises(RenderError) as e:
        parse(text).render(keys, DOCUMENTS, limit=limit)
    shown = repr(e.value)
    assert CANARY not in shown
    assert e.value.__cause__ is None
    assert e.value.__context__ is None  # the errors of decoding hold what they could not decode
    return e.value.reason, str(e.value)


@pytest.mark.parametrize(
    "name", ["absent", "/absent", "/literal", "/tls/absent", "/tls/chain/2", "/tls/chain/01", "/port/x", "/null/x"]
)
def test_a_name_that_nothing_has_is_named_with_those_that_are_there(name: str) -> None:
    for text in (f"${{{name}}}", f"${{{name}|upper}}"):
        assert refused(text, {"b": b"", "a": b""}) == (
            Reason.KEY_NOT_FOUND,
            f"the template names {name!r}, which no source gives; write it there, correct the name, or add '|default:' "
            "and a text (there are: 'a', 'b')",
        )


@pytest.mark.parametrize(
    ("keys", "names"),
    [
        pytest.param({}, "no keys", id="none"),
        pytest.param({f"k{i:02}": b"" for i in range(12)}, ", ".join(f"'k{i:02}'" for i in range(10)) + " and 2 more"),
    ],
)
def test_ten_names_are_listed(keys: dict[str, bytes], names: str) -> None:
    assert refused("${absent}", keys)[1].endswith(f"(there are: {names})")


def test_a_pointer_that_two_entries_answer_is_refused() -> None:
    assert refused("${/both}") == (
        Reason.KEY_CONFLICT,
        "the template names '/both', which spec.sources[db] and spec.sources[other] both have; give the right one a "
        "key with its keys (from and to), and name that",
    )


@pytest.mark.parametrize("text", ["${/null}", "${/null|default:x}"])
def test_null_is_refused_also_with_a_default(text: str) -> None:
    assert refused(text) == (
        Reason.SHAPE_INVALID,
        "the value at '/null' is null, which no file can hold; write a string there",
    )


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = CANARY
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(RenderError) as e:
        parse("${/deep}").render({}, {"s": {"deep": deep}})
    assert (e.value.reason, str(e.value)) == (
        Reason.SHAPE_INVALID,
        "the value at '/deep' is nested too deeply; write it less deep, or as a string",
    )
    assert e.value.__context__ is None


@pytest.mark.parametrize("name", [name for name in FILTERS if name not in ("base64", "default")])
def test_a_filter_of_text_takes_no_other_bytes(name: str) -> None:
    written = "indent:2" if name == "indent" else name
    assert refused(f"${{binary|{written}}}") == (
        Reason.SHAPE_INVALID,
        f"'binary' holds bytes that are no UTF-8 text, which the filter {name} cannot take; use base64, or no filter",
    )


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("dotenv", "holds a NUL character"),
        ("shell", "holds a NUL character"),
        ("xml", "holds a character that XML does not have"),
    ],
)
def test_a_filter_refuses_what_its_language_cannot_hold(name: str, what: str) -> None:
    assert refused(f"${{nul|{name}}}") == (
        Reason.SHAPE_INVALID,
        f"'nul' {what}, which the filter {name} cannot write; use another, or deliver the key as a file of its own",
    )


def too_much(limit: int) -> tuple[Reason, str]:
    return (
        Reason.TOO_LARGE,
        f"the template gives more than {limit} bytes; name fewer or smaller keys in it, or make several files",
    )


@pytest.mark.parametrize(
    ("text", "size"),
    [
        pytest.param("x" * 9, 9, id="text"),
        pytest.param("${user}${user}", 8, id="keys"),
        pytest.param("${user|base64}", 8, id="a filter"),
        pytest.param("${lines|indent:5}", 25, id="indent"),
        pytest.param("${absent|default:abc}", 3, id="a default"),
        pytest.param("${/tls/chain}", 13, id="a pointer"),
    ],
)
def test_a_file_holds_the_bound_and_no_byte_more(text: str, size: int) -> None:
    assert len(parse(text).render(KEYS, DOCUMENTS, limit=size)) == size
    assert refused(text, limit=size - 1) == too_much(size - 1)


def test_a_whole_mebibyte_is_allowed_and_no_more() -> None:
    assert len(parse("${a}").render({"a": b"x" * MAX_RENDERED_BYTES})) == MAX_RENDERED_BYTES == 1024 * 1024
    assert refused("${a}x", {"a": b"x" * MAX_RENDERED_BYTES}) == too_much(MAX_RENDERED_BYTES)


def test_filters_that_make_much_of_little_stop_at_the_bound() -> None:
    assert refused("${a" + "|json" * 1000 + "}", {"a": b"\\"}) == too_much(MAX_RENDERED_BYTES)


def test_filters_that_make_little_of_much_stop_too() -> None:
    text = "${a|trim}" * 17
    assert refused(text, {"a": b" " * 100}, limit=100) == (
        Reason.TOO_LARGE,
        "filters have more than 1600 bytes to go through at 'a'; use fewer of them",
    )
    assert parse("${a|trim}" * 16).render({"a": b" " * 100}, limit=100) == b""


def test_a_long_name_is_cut_in_messages() -> None:
    with pytest.raises(TemplateError) as e:
        parse("${" + "k" * 10_000 + "}")
    assert f"'{'k' * 252}…'" in str(e.value)
    assert len(refused("${/" + "k" * 10_000 + "}")[1]) < 1000


def test_a_default_may_be_half_a_surrogate_pair() -> None:
    assert parse("\ud83d${a|default:\ud83d}").render({}) == b"\xed\xa0\xbd" * 2
