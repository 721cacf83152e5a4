"""Metadata is read without trust."""

from typing import Any

import pytest

from elile_operator.engine import ObjectKey, object_key
from elile_operator.engine.body import Meta, parse_version, read_meta


@pytest.mark.parametrize(
    ("metadata", "key"),
    [
        ({"namespace": "shop", "name": "db"}, ObjectKey("shop", "db")),
        ({"name": "default"}, ObjectKey("", "default")),
        ({"namespace": None, "name": "default"}, ObjectKey("", "default")),
    ],
)
def test_key(metadata: dict[str, Any], key: ObjectKey) -> None:
    assert object_key({"metadata": metadata}) == key


def test_key_as_text() -> None:
    assert str(ObjectKey("shop", "db")) == "shop/db"
    assert str(ObjectKey("", "default")) == "default"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("42", 42),
        ("340282366920938463463374607431768211456", 2**128),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("...", None),
        ("٤٢", None),
        ("²", None),
    ],
)
def test_version(text: str, version: int | None) -> None:
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("metadata", "meta"),
    [
        pytest.param({}, Meta("", None, "", False), id="nothing"),
        pytest.param(
            {"uid": "u", "generation": 3, "resourceVersion": "7", "deletionTimestamp": "2030-01-01T00:00:00Z"},
            Meta("u", 3, "7", True),
            id="everything",
        ),
        pytest.param(
            {"generation": "3", "resourceVersion": 7, "uid": None}, Meta("", None, "7", False), id="odd types"
        ),
    ],
)
def test_meta(metadata: dict[str, Any], meta: Meta) -> None:
    assert read_meta({"metadata": metadata}) == meta
