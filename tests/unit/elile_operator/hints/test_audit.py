"""What a line of an audit log says was written, and that nothing else of it gets out."""

import json
import logging
from typing import Any

import pytest

from elile_operator.decide.hints import MAX_TEXT, MAX_VERSION, Hint
from elile_operator.hints.audit import Nothing, may_tell, written
from tests.support.audit_lines import CANARY, line, record

DB = Hint("", "secret", "data/shop/db")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        pytest.param(line(version=1), Hint("", "secret", "data/shop/db", 1), id="v2, first version"),
        pytest.param(line(operation="update", version=7), Hint("", "secret", "data/shop/db", 7), id="v2, next version"),
        pytest.param(line(operation="patch", version=8), Hint("", "secret", "data/shop/db", 8), id="v2, patch"),
        pytest.param(line(operation="delete"), DB, id="v2, delete of the latest"),
        pytest.param(
            line("delete/shop/db", operation="update"),
            Hint("", "secret", "delete/shop/db"),
            id="v2, delete of versions",
        ),
        pytest.param(line("undelete/a", operation="update"), Hint("", "secret", "undelete/a"), id="v2, undelete"),
        pytest.param(line("destroy/a", operation="update"), Hint("", "secret", "destroy/a"), id="v2, destroy"),
        pytest.param(line("metadata/a", operation="delete"), Hint("", "secret", "metadata/a"), id="v2, delete of all"),
        pytest.param(
            line("metadata/a", operation="update"), Hint("", "secret", "metadata/a"), id="may be an entry of v1"
        ),
        pytest.param(line("shop/db", mount="kv1/"), Hint("", "kv1", "shop/db"), id="v1"),
        pytest.param(line("db", mount="team/kv/"), Hint("", "team/kv", "db"), id="a mount with a slash"),
        pytest.param(line("a", mount="metadata/"), Hint("", "metadata", "a"), id="a mount with a name of v2"),
        pytest.param(line(namespace="team/"), Hint("team", "secret", "data/shop/db"), id="namespace of OpenBao"),
        pytest.param(
            line(namespace="team/", prefixed=False), Hint("team", "secret", "data/shop/db"), id="namespace of Vault"
        ),
        pytest.param(line(namespace="a/b/"), Hint("a/b", "secret", "data/shop/db"), id="namespace in a namespace"),
        pytest.param(
            line(namespace="team/", mount="team/kv/"),
            Hint("team", "team/kv", "data/shop/db"),
            id="mount like namespace",
        ),
        pytest.param(
            line(namespace="team/", mount="team/kv/", prefixed=False),
            Hint("team", "team/kv", "data/shop/db"),
            id="mount like namespace, in Vault",
        ),
        pytest.param(line("a/x", namespace="a/", mount="a/"), Hint("a", "a", "a/x"), id="both readings fit"),
        pytest.param(line("data/größe"), Hint("", "secret", "data/größe"), id="letters beyond ASCII"),
        pytest.param(b"vault-1: " + line(), DB, id="prefix"),
        pytest.param(b"{vault} [1] " + line(), DB, id="prefix with a brace"),
        pytest.param(line(error=""), DB, id="empty error"),
    ],
)
def test_a_write_is_told(text: bytes, told: Hint) -> None:
    assert written(text) == told
    assert may_tell(text)


def test_blanks_between_what_json_has_change_nothing() -> None:
    assert written(json.dumps(record(version=3), separators=(", ", " : ")).encode()) == Hint(
        "", "secret", "data/shop/db", 3
    )


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(line(kind="request"), id="request"),
        pytest.param(line(error="1 error occurred:\n\t* permission denied\n\n"), id="failed"),
        pytest.param(line(operation="read"), id="read"),
        pytest.param(line("metadata/", operation="list"), id="list"),
        pytest.param(line(mount_type="system", mount="sys/", operation="update"), id="another engine"),
        pytest.param(line(mount_type="transit", operation="update"), id="one that is no KV"),
        pytest.param(line(""), id="the mount itself"),
        pytest.param(line("a" * (MAX_TEXT + 1)), id="a path that no object can name"),
        pytest.param(b"", id="empty"),
        pytest.param(b" \r", id="blank"),
        pytest.param(
            line(operation="read").replace(b'"options":{}', b'"options":{"operation":"update","type":"response"}'),
            id="a read that holds what a write holds",
        ),
    ],
)
def test_what_is_no_write_is_silent(text: bytes) -> None:
    assert written(text) is Nothing.NO_WRITE


def altered(**fields: Any) -> bytes:
    """A line of a write with other fields of its request; None takes one out."""
    found = record()
    found["request"] = {k: v for k, v in {**found["request"], **fields}.items() if v is not None}
    return json.dumps(found).encode()


@pytest.mark.parametrize(
    ("text", "nothing"),
    [
        pytest.param(b"<json:object name=", Nothing.NO_JSON, id="jsonx"),
        pytest.param(b"\x00\xff\xfe", Nothing.NO_JSON, id="bytes"),
        pytest.param(line()[:-10], Nothing.UNREADABLE, id="cut"),
        pytest.param(line()[:100] + line(), Nothing.UNREADABLE, id="two in one"),
        pytest.param(line().replace(b"shop", b"sh\xffop"), Nothing.UNREADABLE, id="no UTF-8"),
        pytest.param(b'["' + line() + b'"]', Nothing.UNREADABLE, id="more after it"),
        pytest.param(line().replace(b'"options":{}', b'"options":' + b"[" * 100_000), Nothing.UNREADABLE, id="deep"),
        pytest.param(
            line().replace(b'"options":{}', b'"options":' + b"9" * 5_000), Nothing.UNREADABLE, id="huge number"
        ),
        pytest.param(altered(path=None), Nothing.UNREADABLE, id="no path"),
        pytest.param(altered(path=["secret/data/a"]), Nothing.UNREADABLE, id="path is a list"),
        pytest.param(altered(path="other/data/a"), Nothing.UNREADABLE, id="path is not below the mount"),
        pytest.param(altered(mount_point=None), Nothing.UNREADABLE, id="no mount"),
        pytest.param(altered(mount_point=""), Nothing.UNREADABLE, id="empty mount"),
        pytest.param(altered(mount_point="/", path="/data/a"), Nothing.UNREADABLE, id="mount without a name"),
        pytest.param(altered(mount_point="secret", path="secrets/a"), Nothing.UNREADABLE, id="mount without its slash"),
        pytest.param(altered(namespace="team/"), Nothing.UNREADABLE, id="namespace is a text"),
        pytest.param(altered(namespace={"path": 1}), Nothing.UNREADABLE, id="namespace is a number"),
        pytest.param(
            json.dumps({**record(), "request": [record()["request"]]}).encode(),
            Nothing.UNREADABLE,
            id="request is a list",
        ),
    ],
)
def test_an_odd_line_is_never_an_exception(text: bytes, nothing: Nothing) -> None:
    assert written(text) is nothing


def test_a_namespace_that_is_not_there_is_the_root() -> None:
    assert written(altered(namespace=None)) == DB
    assert written(altered(namespace={})) == DB


@pytest.mark.parametrize(
    ("version", "said"),
    [(1, 1), (MAX_VERSION, MAX_VERSION), (MAX_VERSION + 1, None), (0, None), (-1, None), (True, None), ("hmac", None)],
)
def test_only_a_version_that_can_be_told_is(version: Any, said: int | None) -> None:
    assert written(line(version=version)) == Hint("", "secret", "data/shop/db", said)


@pytest.mark.parametrize("response", [None, [], "wrapped", {"data": None}, {"data": []}])
def test_without_a_version_the_write_is_told_all_the_same(response: Any) -> None:
    assert written(json.dumps({**record(), "response": response}).encode()) == DB


def test_a_beginning_tells_whether_the_line_may() -> None:
    whole = line(padding=5_000)
    assert may_tell(whole[:1_000])
    assert not may_tell(line(operation="list", padding=5_000)[:1_000])


@pytest.mark.parametrize("text", [line(version=2), line()[:-10], line("x" * 2_000), altered(path=None)])
def test_no_value_gets_out(text: bytes, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        told = written(text)
    assert CANARY.encode() in text
    assert CANARY not in repr(told) + caplog.text
