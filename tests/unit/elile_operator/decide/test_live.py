"""A Secret is reduced to names and fingerprints; whatever people wrote on it is read without a failure."""

import base64
from datetime import UTC, datetime
from typing import Any

import pytest

from elile_operator.decide.fingerprint import Stamp
from elile_operator.decide.live import LiveSecret, Share, read_secret
from tests.fakes.objects import KEY

CANARY = b"canary-5d1f"


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def body(*, data: Any = None, type_: str | None = "Opaque", **metadata: Any) -> dict[str, Any]:
    found: dict[str, Any] = {"metadata": {"namespace": "shop", "name": "db", **metadata}}
    if data is not None:
        found["data"] = data
    if type_ is not None:
        found["type"] = type_
    return found


def test_everything_that_decisions_need_is_read() -> None:
    stamp = KEY.stamp({"old": b"content"})
    found = read_secret(
        body(
            data={"password": encoded(CANARY), "empty": ""},
            type_="example.com/own",
            uid="u-1",
            resourceVersion="42",
            labels={"team": "a"},
            annotations={"elile.io/fingerprint": str(stamp), "elile.io/revision": "12", "note": "n"},
            ownerReferences=[
                {"apiVersion": "elile.io/v1alpha1", "kind": "ElileSecret", "name": "db", "uid": "o-1"},
                {"kind": "Other", "name": "x", "uid": "o-2", "controller": True},
            ],
            managedFields=[{"manager": "elile", "operation": "Apply", "time": "2030-01-01T12:00:00Z"}],
            deletionTimestamp="2030-01-01T13:00:00Z",
        ),
        KEY,
    )
    assert found == LiveSecret(
        namespace="shop",
        name="db",
        uid="u-1",
        resource_version="42",
        type="example.com/own",
        keys=frozenset({"password", "empty"}),
        content=KEY.stamp({"password": CANARY, "empty": b""}),
        stamp=stamp,
        revision=12,
        labels={"team": "a"},
        annotations={"elile.io/fingerprint": str(stamp), "elile.io/revision": "12", "note": "n"},
        owner_uids=frozenset({"o-1", "o-2"}),
        strangers=frozenset({"o-2"}),
        controller="Other x",
        controller_uid="o-2",
        applied=datetime(2030, 1, 1, 12, tzinfo=UTC),
        deleting=True,
    )
    assert CANARY.decode() not in repr(found)
    assert encoded(CANARY) not in repr(found)


@pytest.mark.parametrize("nothing", [{}, {"labels": None, "annotations": None, "ownerReferences": None}])
def test_a_bare_secret_has_nothing_of_ours(nothing: dict[str, Any]) -> None:
    found = read_secret(body(type_=None, **nothing, managedFields=None), KEY)
    assert found == LiveSecret(
        namespace="shop",
        name="db",
        uid="",
        resource_version="",
        type="Opaque",
        keys=frozenset(),
        content=KEY.stamp({}),
        stamp=None,
        revision=0,
        labels={},
        annotations={},
        owner_uids=frozenset(),
        controller=None,
        applied=None,
        deleting=False,
    )


@pytest.mark.parametrize("broken", ["%%%", "YQ", "YQ=é", None])
def test_a_value_that_is_no_base64_counts_as_empty_but_is_there(broken: str | None) -> None:
    found = read_secret(body(data={"a": broken}), KEY)
    assert (found.keys, found.content) == (frozenset({"a"}), KEY.stamp({"a": b""}))


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ("0", 0),
        ("7", 7),
        ("007", 7),
        ("", 0),
        ("-1", 0),
        ("seven", 0),
        ("1.5", 0),
        (" 7", 0),
        ("٧", 0),
        ("9" * 18, int("9" * 18)),
        ("9" * 19, 0),  # more than a status holds
        ("9" * 5000, 0),  # more than Python reads
    ],
)
def test_a_revision_that_people_wrote_is_read_or_ignored(text: str, revision: int) -> None:
    assert read_secret(body(annotations={"elile.io/revision": text}), KEY).revision == revision


@pytest.mark.parametrize(
    ("text", "stamp"), [("k9:abc", Stamp("k9", "abc")), ("nonsense", None), ("", None), (None, None)]
)
def test_a_fingerprint_is_read_as_it_stands(text: str | None, stamp: Stamp | None) -> None:
    annotations = {} if text is None else {"elile.io/fingerprint": text}
    assert read_secret(body(annotations=annotations), KEY).stamp == stamp


@pytest.mark.parametrize(
    ("managed", "applied"),
    [
        pytest.param([], None, id="nobody"),
        pytest.param([("elile", "Apply", "2030-01-01T00:00:01Z")], 1, id="ours"),
        pytest.param([("kubectl", "Apply", "2030-01-01T00:00:01Z")], None, id="somebody else"),
        pytest.param([("elile", "Update", "2030-01-01T00:00:01Z")], None, id="not by apply"),
        pytest.param([("elile", "Apply", None)], None, id="without a time"),
        pytest.param(
            [
                ("elile", "Apply", "2030-01-01T00:00:02Z"),
                ("elile", "Apply", "2030-01-01T00:00:03Z"),
                ("elile", "Apply", "2030-01-01T00:00:01Z"),
                ("kubectl", "Update", "2030-01-01T00:00:09Z"),
            ],
            3,
            id="the last of ours",
        ),
    ],
)
def test_the_time_of_our_last_apply_is_the_api_servers(
    managed: list[tuple[str, str, str | None]], applied: int | None
) -> None:
    fields = [
        {"manager": manager, "operation": operation} | ({"time": time} if time else {})
        for manager, operation, time in managed
    ]
    want = None if applied is None else datetime(2030, 1, 1, 0, 0, applied, tzinfo=UTC)
    assert read_secret(body(managedFields=fields), KEY).applied == want


@pytest.mark.parametrize(
    ("labels", "owner"),
    [
        ({"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "db"}, "db"),
        ({"app.kubernetes.io/managed-by": "elile"}, None),
        ({"app.kubernetes.io/managed-by": "Helm", "elile.io/secret": "db"}, None),
        ({"elile.io/secret": "db"}, None),
        ({}, None),
    ],
)
def test_the_labels_name_the_owner_together(labels: dict[str, str], owner: str | None) -> None:
    assert read_secret(body(labels=labels), KEY).owner == owner


def test_an_owner_that_is_no_controller_is_an_owner_only() -> None:
    references = [{"kind": "ElileSecret", "name": "db", "uid": "o-1", "controller": False}]
    found = read_secret(body(ownerReferences=references), KEY)
    assert (found.owner_uids, found.controller) == (frozenset({"o-1"}), None)


def merged_by(name: str, *keys: str, operation: str = "Apply") -> dict[str, Any]:
    fields = {"f:data": {f"f:{key}": {} for key in keys}}
    time = "2030-01-01T12:00:00Z"
    return {"manager": f"elile.{name}", "operation": operation, "time": time, "fieldsV1": fields}


def test_what_each_object_has_merged_is_told_apart_by_its_manager() -> None:
    stamp = KEY.stamp({"a": CANARY})
    found = read_secret(
        body(
            data={"a": encoded(CANARY), "b": encoded(CANARY), "c": encoded(CANARY)},
            annotations={"elile.io/merged.one": f"3 {stamp}", "elile.io/merged.two": "many of them"},
            managedFields=[
                merged_by("one", "a", "gone"),
                merged_by("two", "b"),
                {"manager": "elile.three", "operation": "Apply"},
                merged_by("four", "c", operation="Update"),
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:data": {"f:c": {}}}},
            ],
        ),
        KEY,
    )
    moment = datetime(2030, 1, 1, 12, tzinfo=UTC)
    b = KEY.stamp({"b": CANARY})
    assert found.shares == {
        "one": Share(keys=frozenset({"a"}), content=stamp, stamp=stamp, revision=3, applied=moment),
        "two": Share(keys=frozenset({"b"}), content=b, stamp=None, revision=0, applied=moment),
        "three": Share(keys=frozenset(), content=KEY.stamp({}), stamp=None, revision=0, applied=None),
    }
    assert found.applied is None
    assert CANARY.decode() not in repr(found)


@pytest.mark.parametrize(
    ("labels", "owner"),
    [
        ({"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "db"}, "db"),
        ({"app.kubernetes.io/managed-by": "elile", "elile.io/secret": ""}, None),
        ({"elile.io/secret": ""}, None),
    ],
)
def test_a_shared_secret_names_no_owner(labels: dict[str, str], owner: str | None) -> None:
    assert read_secret(body(labels=labels), KEY).owner == owner


@pytest.mark.parametrize(
    ("content", "told"),
    [
        pytest.param(b'{"schema":1,"name":"db","revision":7,"sources":[]}', 7, id="as written"),
        pytest.param(b'{"revision":"7"}', 0, id="text"),
        pytest.param(b'{"revision":true}', 0, id="no number"),
        pytest.param(b"{}", 0, id="none"),
        pytest.param(b"7", 0, id="no object"),
        pytest.param(b"\xff", 0, id="no JSON"),
        pytest.param(b"[" * 100_000, 0, id="deep"),
    ],
)
def test_the_metadata_file_tells_a_revision_and_is_no_part_of_the_content(content: bytes, told: int) -> None:
    found = read_secret(body(data={"password": encoded(CANARY), ".elile.json": encoded(content)}), KEY)
    assert found.told == told
    assert (found.keys, found.content) == (frozenset({"password"}), KEY.stamp({"password": CANARY}))
    assert read_secret(body(data={"password": encoded(CANARY)}), KEY).told is None


def test_when_it_was_made_is_read() -> None:
    assert read_secret(body(creationTimestamp="2030-01-01T11:00:00Z"), KEY).created == datetime(
        2030, 1, 1, 11, tzinfo=UTC
    )
    assert read_secret(body(), KEY).created is None
