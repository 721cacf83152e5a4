"""What entries of Vault become as files, and what is said, without a value, when they cannot."""

import base64
import json
from typing import Any

import pytest

from elile.secrets.redact import Redacted, SecretBytes
from elile_operator.api.elilesecret import SecretType
from elile_operator.api.files import File
from elile_operator.api.reasons import Reason
from elile_operator.api.sources import Source
from elile_operator.decide.render import MAX_DATA_BYTES, Rendered, SourceContent, render
from elile_operator.decide.violation import Violation

CANARY = "canary-9b1e"


def source(content: dict[str, Any] | None, name: str = "main", **spec: Any) -> SourceContent:
    model = Source.model_validate({"name": name, "kv": {"path": "p"}, **spec}, by_alias=True)
    return SourceContent(model, None if content is None else Redacted(content))


def shown(rendered: Rendered | Violation) -> dict[str, bytes] | Violation:
    """The bytes, which a test may look at."""
    if isinstance(rendered, Violation):
        return rendered
    assert all(isinstance(value, SecretBytes) for value in rendered.values())
    return {key: value.reveal() for key, value in rendered.items()}


def render_one(content: dict[str, Any] | None, **spec: Any) -> dict[str, bytes] | Violation:
    return shown(render([source(content, **spec)]))


@pytest.mark.parametrize(
    ("value", "file"),
    [
        pytest.param("plain", b"plain", id="text"),
        pytest.param("", b"", id="empty text"),
        pytest.param(" with spaces\n", b" with spaces\n", id="spaces stay"),
        pytest.param("pässwörd ☃ 🔑", "pässwörd ☃ 🔑".encode(), id="unicode"),
        pytest.param("a\x00b", b"a\x00b", id="control characters"),
        pytest.param("half \ud83d", b"half \xed\xa0\xbd", id="half a surrogate pair"),
        pytest.param('{"a": 1}', b'{"a": 1}', id="a text that is JSON stays as it is"),
        pytest.param(5432, b"5432", id="number"),
        pytest.param(0, b"0", id="zero"),
        pytest.param(-1.5, b"-1.5", id="fraction"),
        pytest.param(2**80, b"1208925819614629174706176", id="large number, exactly"),
        pytest.param(True, b"true", id="true"),
        pytest.param(False, b"false", id="false"),
        pytest.param({"b": [1, "ü", None], "a": {}}, '{"b":[1,"ü",null],"a":{}}'.encode(), id="object, compact"),
        pytest.param([], b"[]", id="empty list"),
        pytest.param({}, b"{}", id="empty object"),
    ],
)
def test_a_value_becomes_bytes(value: Any, file: bytes) -> None:
    assert render_one({"key": value}) == {"key": file}


WRAPPED = base64.encodebytes(bytes(range(200))).decode()


@pytest.mark.parametrize(
    ("value", "file"),
    [
        pytest.param("aGVsbG8=", b"hello", id="text"),
        pytest.param("AP8=", b"\x00\xff", id="bytes"),
        pytest.param("", b"", id="nothing"),
        pytest.param(WRAPPED, bytes(range(200)), id="wrapped lines"),
        pytest.param(" aGVs\r\n\tbG8= ", b"hello", id="spaces of any kind"),
    ],
)
def test_base64_is_decoded_when_asked_for(value: str, file: bytes) -> None:
    assert "\n" in WRAPPED.strip()
    assert render_one({"key": value}, keys=[{"from": "key", "decode": "Base64"}]) == {"key": file}
    assert render_one({"key": value}) == {"key": value.encode()}


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(CANARY, id="text"),
        pytest.param("YQ", id="no padding"),
        pytest.param("YQ==YQ==", id="after its end"),
        pytest.param("_-8=", id="of the other alphabet"),
        pytest.param("pässwörd", id="not ASCII"),
        pytest.param(1234, id="number of four digits"),
        pytest.param(True, id="true"),
        pytest.param({"a": CANARY}, id="object"),
    ],
)
def test_what_is_not_base64_is_refused(value: Any) -> None:
    assert render_one({"key": value}, keys=[{"from": "key", "decode": "Base64"}]) == Violation(
        Reason.SHAPE_INVALID,
        "spec.sources[main]: the value of 'key' is not base64; write it so, or remove decode from "
        "spec.sources[main].keys",
    )


@pytest.mark.parametrize("keys", [{}, {"keys": [{"from": "key", "decode": "Base64"}]}], ids=["plain", "base64"])
def test_null_is_refused(keys: dict[str, Any]) -> None:
    assert render_one({"key": None, "other": CANARY}, **keys) == Violation(
        Reason.SHAPE_INVALID,
        "spec.sources[main]: the value of 'key' is null, which no file can hold; write a string there",
    )


def test_what_is_nested_too_deeply_is_refused() -> None:
    deep: Any = CANARY
    for _ in range(100_000):
        deep = [deep]
    assert render_one({"key": deep}) == Violation(
        Reason.SHAPE_INVALID,
        "spec.sources[main]: the value of 'key' is nested too deeply; write it less deep, or as a string",
    )


NESTED = {
    "tls": {"ca": "CA", "chain": ["one", "two"], "": "empty"},
    "a/b": {"m~n": "slash and tilde"},
    "~1": "tilde one",
    "/literal": "not a pointer",
    "01": {"0": "name of digits"},
    "nothing": None,
    "text": "abc",
}


@pytest.mark.parametrize(
    ("pointer", "file"),
    [
        ("/tls/ca", b"CA"),
        ("/tls/chain/0", b"one"),
        ("/tls/chain/1", b"two"),
        ("/tls/chain", b'["one","two"]'),
        ("/tls/", b"empty"),
        ("/a~1b/m~0n", b"slash and tilde"),
        ("/~01", b"tilde one"),
        ("/01/0", b"name of digits"),
        ("/literal", b"not a pointer"),
    ],
)
def test_a_pointer_leads_into_a_value(pointer: str, file: bytes) -> None:
    assert render_one(NESTED, keys=[{"from": pointer, "to": "out"}]) == {"out": file}


HAS = "'/literal', '01', 'a/b', 'nothing', 'text', 'tls', '~1'"


@pytest.mark.parametrize(
    "wanted",
    [
        pytest.param("absent", id="key"),
        pytest.param("tls/ca", id="a path is no pointer"),
        pytest.param("/absent", id="pointer"),
        pytest.param("/tls/absent", id="within an object"),
        pytest.param("/tls/chain/2", id="after the end of a list"),
        pytest.param("/tls/chain/-", id="the end of a list"),
        pytest.param("/tls/chain/-1", id="from the end of a list"),
        pytest.param("/tls/chain/00", id="an index has no leading zero"),
        pytest.param("/tls/chain/٠", id="digits of another script"),
        pytest.param("/text/0", id="within a text"),
        pytest.param("/nothing/0", id="within null"),
        pytest.param("/tls/ca/x", id="below a text"),
    ],
)
def test_a_key_that_is_not_there_is_named_with_those_that_are(wanted: str) -> None:
    assert render_one(NESTED, keys=[{"from": wanted, "to": "out"}]) == Violation(
        Reason.KEY_NOT_FOUND,
        f"spec.sources[main].keys names {wanted!r}, which the entry does not have; write it there, or correct "
        f"the name (the entry has: {HAS})",
    )


@pytest.mark.parametrize(
    ("entry", "names"),
    [
        pytest.param({}, "no keys", id="none"),
        pytest.param({"b": CANARY, "a": CANARY}, "'a', 'b'", id="sorted"),
        pytest.param({f"k{i}": CANARY for i in range(10)}, ", ".join(f"'k{i}'" for i in range(10)), id="ten"),
        pytest.param(
            {f"k{i:02}": CANARY for i in range(12)},
            ", ".join(f"'k{i:02}'" for i in range(10)) + " and 2 more",
            id="more",
        ),
        pytest.param({"line\nbreak": CANARY}, r"'line\nbreak'", id="one line whatever it holds"),
        pytest.param({"k" * 254: CANARY}, f"'{'k' * 252}…'", id="a long name is cut"),
    ],
)
def test_ten_names_are_listed_and_no_values(entry: dict[str, str], names: str) -> None:
    found = render_one(entry, keys=[{"from": "wanted"}])
    assert isinstance(found, Violation)
    assert found.message.endswith(f"(the entry has: {names})")


def test_a_message_fits_into_a_condition_whatever_names_the_entry_has() -> None:
    # Whatever does not print is written as ten characters: the longest that a name can become.
    entry = {f"{i}" + "\U000e0001" * 100_000: CANARY for i in range(20)}
    for found in (render_one(entry, keys=[{"from": "k" * 253}]), render_one(entry)):
        assert isinstance(found, Violation)
        assert len(found.message) < 32_768


@pytest.mark.parametrize("name", ["a b", "a/b", "ü", "", ".", "..", "..data", "k" * 254, "a\nb"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    shown_name = f"'{'k' * 252}…'" if len(name) > 253 else repr(name)
    assert render_one({name: CANARY}) == Violation(
        Reason.SHAPE_INVALID,
        f"spec.sources[main]: {shown_name} is no key of a Secret; give it another name with spec.sources[main].keys",
    )


@pytest.mark.parametrize("name", ["a", ".env", "A-b_c.d", "k" * 253, "-", "_"])
def test_a_name_that_a_file_can_have_is_taken(name: str) -> None:
    assert render_one({name: "v"}) == {name: b"v"}


def test_a_prefix_can_make_a_name_too_long() -> None:
    found = render_one({"k" * 250: CANARY}, prefix="DB__")
    assert isinstance(found, Violation)
    assert found.reason is Reason.SHAPE_INVALID


@pytest.mark.parametrize(
    ("spec", "files"),
    [
        pytest.param({}, {"a": b"1", "b": b"2"}, id="all, as they are"),
        pytest.param({"prefix": "DB_"}, {"DB_a": b"1", "DB_b": b"2"}, id="all, with a prefix"),
        pytest.param({"keys": [{"from": "a"}]}, {"a": b"1"}, id="some"),
        pytest.param({"keys": [{"from": "a", "to": "x"}]}, {"x": b"1"}, id="renamed"),
        pytest.param({"prefix": "P.", "keys": [{"from": "b", "to": "x"}]}, {"P.x": b"2"}, id="renamed with a prefix"),
        pytest.param(
            {"keys": [{"from": "a", "to": "b"}, {"from": "b", "to": "a"}]}, {"b": b"1", "a": b"2"}, id="swapped"
        ),
    ],
)
def test_keys_are_chosen_and_named_by_the_spec(spec: dict[str, Any], files: dict[str, bytes]) -> None:
    assert render_one({"a": "1", "b": "2"}, **spec) == files


def test_a_key_that_is_not_wanted_may_be_anything() -> None:
    assert render_one({"a": "1", "not a file": None}, keys=[{"from": "a"}]) == {"a": b"1"}


def test_an_optional_source_that_is_absent_gives_nothing() -> None:
    found = shown(render([source(None, "one", optional=True), source({"a": "1"}, "two")]))
    assert found == {"a": b"1"}
    assert render_one(None, optional=True) == {}
    assert shown(render([])) == {}


def test_a_key_given_twice_names_both_sources() -> None:
    sources = [source({"a": "1"}, "one"), source({"b": CANARY}, "two"), source({"b": CANARY}, "three")]
    assert render(sources) == Violation(
        Reason.KEY_CONFLICT,
        "spec.sources[two] and spec.sources[three] both give key 'b'; "
        "set a prefix or keys on one of them, or override: true on the later one",
    )


def test_an_override_replaces_and_is_then_the_origin() -> None:
    one, two = source({"a": "1", "b": "1"}, "one"), source({"a": "2"}, "two", override=True)
    assert shown(render([one, two])) == {"a": b"2", "b": b"1"}
    found = render([one, two, source({"a": "3"}, "three")])
    assert isinstance(found, Violation)
    assert found.message.startswith("spec.sources[two] and spec.sources[three] both give key 'a'")


def test_an_override_must_be_the_later_one() -> None:
    found = render([source({"a": "1"}, "one", override=True), source({"a": "2"}, "two")])
    assert isinstance(found, Violation)
    assert found.reason is Reason.KEY_CONFLICT


def test_names_conflict_as_they_are_with_their_prefix() -> None:
    found = render([source({"x-a": "1"}, "one"), source({"a": "2"}, "two", prefix="x-")])
    assert isinstance(found, Violation)
    assert found.message.startswith("spec.sources[one] and spec.sources[two] both give key 'x-a'")


@pytest.mark.parametrize("sizes", [(MAX_DATA_BYTES,), (MAX_DATA_BYTES - 5, 5), (0, MAX_DATA_BYTES)])
def test_a_secret_of_exactly_a_mebibyte_is_delivered(sizes: tuple[int, ...]) -> None:
    # Keys are not counted, as the API server does not.
    found = shown(render([source({f"key-{i}": "x" * size}, f"s{i}") for i, size in enumerate(sizes)]))
    assert isinstance(found, dict)
    assert tuple(map(len, found.values())) == sizes


def test_room_that_is_asked_for_is_left_free() -> None:
    fits = source({"a": "x" * (MAX_DATA_BYTES - 10)})
    assert not isinstance(render([fits], spare=10), Violation)
    found = render([fits], spare=11)
    assert isinstance(found, Violation)
    assert found.message.startswith(f"the data has {MAX_DATA_BYTES - 10} bytes, and a Secret holds at most")
    assert str(MAX_DATA_BYTES - 11) in found.message


@pytest.mark.parametrize("value", ["x" * (MAX_DATA_BYTES + 1), "x" * (MAX_DATA_BYTES - 1) + "ü"])
def test_one_byte_more_is_refused(value: str) -> None:
    assert render_one({"a": value}) == Violation(
        Reason.TOO_LARGE,
        "the data has 1048577 bytes, and a Secret holds at most 1048576; deliver fewer keys "
        "(spec.sources[].keys) or smaller files, or split the ElileSecret",
    )


def test_what_is_replaced_is_not_counted() -> None:
    big = "x" * MAX_DATA_BYTES
    assert shown(render([source({"a": big}, "one"), source({"a": "1"}, "two", override=True)])) == {"a": b"1"}


def test_what_decodes_to_less_counts_as_less() -> None:
    value = base64.b64encode(b"x" * MAX_DATA_BYTES).decode()
    assert len(value) > MAX_DATA_BYTES
    found = render_one({"a": value}, keys=[{"from": "a", "decode": "Base64"}])
    assert isinstance(found, dict)
    assert len(found["a"]) == MAX_DATA_BYTES


def test_the_first_fault_is_told() -> None:
    found = render([source({"a": None}, "one"), source({"b c": "1"}, "two")])
    assert isinstance(found, Violation)
    assert found.message.startswith("spec.sources[one]: the value of 'a' is null")


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────

DATABASE = {"host": "db", "port": 5432, "database": "shop", "username": "a:b", "password": f"{CANARY}/x"}


def files(*wanted: dict[str, Any]) -> tuple[File, ...]:
    return tuple(File.model_validate(one, by_alias=True) for one in wanted)


def test_files_take_the_place_of_the_keys_they_are_made_of() -> None:
    wanted = files(
        {"key": "dsn", "template": "postgresql://${username|url}:${password|url}@${host}:${/port}/${database}"},
        {"key": ".pgpass", "derive": "pgpass", "source": "main"},
        {"key": "app.env", "format": "dotenv", "keys": [{"from": "password", "to": "DB_PASSWORD"}]},
        {"key": "all.json", "format": "json"},
    )
    rendered = shown(render([source(DATABASE)], wanted))
    assert isinstance(rendered, dict)
    assert list(rendered) == ["dsn", ".pgpass", "app.env", "all.json"]
    assert rendered["dsn"] == f"postgresql://a%3Ab:{CANARY}%2Fx@db:5432/shop".encode()
    assert rendered[".pgpass"] == f"db:5432:shop:a\\:b:{CANARY}/x\n".encode()
    assert b"DB_PASSWORD=" in rendered["app.env"]
    assert json.loads(rendered["all.json"]) == {key: str(value) for key, value in DATABASE.items()}


def test_keys_may_be_kept_beside_files() -> None:
    wanted = files({"key": "dsn", "template": "${host}"})
    rendered = shown(render([source({"host": "db"})], wanted, keep_keys=True))
    assert rendered == {"host": b"db", "dsn": b"db"}
    clash = render([source({"host": "db"})], files({"key": "host", "template": "x"}), keep_keys=True)
    assert isinstance(clash, Violation)
    assert (clash.reason, "spec.files[host]" in clash.message) == (Reason.KEY_CONFLICT, True)
    assert shown(render([source({"host": "db"})], files({"key": "host", "template": "${host}!"}))) == {"host": b"db!"}


@pytest.mark.parametrize(
    ("file", "reason", "said"),
    [
        ({"template": "${host"}, Reason.TEMPLATE_INVALID, "spec.files[f]: line 1, column 1: the placeholder is not"),
        ({"template": "${hots}"}, Reason.KEY_NOT_FOUND, "spec.files[f]: the template names 'hots'"),
        ({"template": "${/host}"}, Reason.KEY_CONFLICT, "spec.sources[main] and spec.sources[other]"),
        ({"derive": "url", "source": "other"}, Reason.SHAPE_INVALID, "spec.files[f]: spec.sources[other]: "),
        ({"derive": "url", "source": "absent"}, Reason.KEY_NOT_FOUND, "spec.sources[absent] is optional"),
        ({"format": "json", "keys": [{"from": "none"}]}, Reason.KEY_NOT_FOUND, "spec.files[f].keys names 'none'"),
        ({"format": "shell", "keys": [{"from": "password", "to": "a b"}]}, Reason.SHAPE_INVALID, "spec.files[f]: key"),
    ],
)
def test_a_file_that_cannot_be_made_is_told_without_a_value(file: dict[str, Any], reason: Reason, said: str) -> None:
    sources = [source(DATABASE), source({"host": CANARY}, "other", prefix="o_"), source(None, "absent", optional=True)]
    found = render(sources, files({"key": "f", **file}))
    assert isinstance(found, Violation)
    assert (found.reason, said in found.message) == (reason, True), found.message
    assert CANARY not in found.message


def test_files_together_are_bounded_too() -> None:
    wanted = files(*({"key": f"f{i}", "template": "${a}"} for i in range(3)))
    found = render([source({"a": "x" * (MAX_DATA_BYTES // 2)})], wanted)
    assert isinstance(found, Violation)
    assert found.reason is Reason.TOO_LARGE


def test_the_keys_that_a_type_needs_are_delivered_beside_files() -> None:
    wanted = files({"key": "bundle.pem", "template": "${tls.crt}${tls.key}"})
    sources = [source({"tls.crt": "C", "tls.key": "K", "ca": "A"})]
    found = shown(render(sources, wanted, type_=SecretType.TLS))
    assert found == {"tls.crt": b"C", "tls.key": b"K", "bundle.pem": b"CK"}
    lacking = render([source({"tls.crt": "C"})], type_=SecretType.TLS)
    assert isinstance(lacking, Violation)
    assert lacking.reason is Reason.SHAPE_INVALID


def test_a_key_that_a_type_needs_may_be_made_as_a_file() -> None:
    wanted = files({"key": ".dockerconfigjson", "template": '{"auths": {${registry|json}: {"auth": ${auth|json}}}}'})
    found = shown(render([source({"registry": "r", "auth": "a"})], wanted, type_=SecretType.DOCKER_CONFIG_JSON))
    assert found == {".dockerconfigjson": b'{"auths": {"r": {"auth": "a"}}}'}


def test_an_entry_of_another_shape_is_not_delivered() -> None:
    found = render([source({"host": "db", "password": CANARY}, shape="Database")])
    assert isinstance(found, Violation)
    assert found.reason is Reason.SHAPE_INVALID
    assert found.message.startswith("spec.sources[main].shape is Database, and the entry is none: ")
    assert "username" in found.message
    assert CANARY not in found.message
    assert shown(render([source(DATABASE, shape="Database")])) == {k: str(v).encode() for k, v in DATABASE.items()}
