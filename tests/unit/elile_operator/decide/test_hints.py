"""What a hint says survives its way, and nothing else is taken for one."""

import json
from typing import Any

import pytest

from elile_operator.decide.hints import (
    MAX_BODY,
    MAX_HINTS,
    MAX_TEXT,
    Batch,
    Hint,
    MalformedHintsError,
    decode,
    encode,
)

HINT = Hint("team", "secret", "data/shop/db", 3)


@pytest.mark.parametrize(
    "batch",
    [
        pytest.param(Batch(), id="heartbeat"),
        pytest.param(Batch(gap=True), id="gap"),
        pytest.param(Batch((HINT, Hint("", "kv/one", "metadata/ä b"))), id="hints"),
        pytest.param(Batch((HINT,) * MAX_HINTS), id="full"),
    ],
)
def test_what_is_sent_is_what_is_read(batch: Batch) -> None:
    assert decode(encode(batch)) == batch


@pytest.mark.parametrize(
    ("path", "entry"),
    [
        ("data/shop/db", "shop/db"),
        ("delete/db", "db"),
        ("undelete/db", "db"),
        ("destroy/db", "db"),
        ("metadata/db", "db"),
        ("data/data/db", "data/db"),
        ("shop/db", None),
        ("data", None),
        ("data/", None),
        ("config/x", None),
    ],
)
def test_the_entry_of_a_path(path: str, entry: str | None) -> None:
    assert Hint("", "secret", path).entry == entry


def body(**changed: Any) -> bytes:
    hint = {"namespace": "", "mount": "secret", "path": "data/db", **changed}
    return json.dumps({"hints": [{k: v for k, v in hint.items() if v is not ...}]}).encode()


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (b"", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[]", "no object"),
        (b'{"gap": 1}', "no object"),
        (b'{"hints": {}}', '"hints" is no list of at most 1000'),
        (json.dumps({"hints": [{}] * (MAX_HINTS + 1)}).encode(), '"hints" is no list of at most 1000'),
        (b'{"hints": ["x"]}', "hints[0] is no object"),
        (body(namespace=...), "hints[0].namespace"),
        (body(mount=""), "hints[0].mount"),
        (body(path=5), "hints[0].path"),
        (body(path="p" * (MAX_TEXT + 1)), "hints[0].path"),
        (body(version=0), "hints[0].version"),
        (body(version=-1), "hints[0].version"),
        (body(version=True), "hints[0].version"),
        (body(version="1"), "hints[0].version"),
        (body(version=2**53 + 1), "hints[0].version"),
        (b" " * (MAX_BODY + 1), "longer than"),
    ],
)
def test_what_is_no_batch_is_named_and_not_repeated(given: bytes, says: str) -> None:
    with pytest.raises(MalformedHintsError, match=r"^[^{]*$") as refused:
        decode(given)
    assert says in str(refused.value)


def test_what_is_unknown_is_passed_over() -> None:
    assert decode(b'{"hints": [], "later": 1}') == Batch()
    assert decode(body(more=1)) == Batch((Hint("", "secret", "data/db"),))
