"""Bodies as the API server may give them: read, or refused with the field and without its value."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.model import ApiObject, InvalidObject
from elile_operator.api.vaultserver import VaultServer

SOURCE = {"name": "db", "kv": {"path": "shop/db"}}
CANARY = "c4n4ry-value"


def body(**spec: Any) -> dict[str, Any]:
    return {"metadata": {"name": "shop", "namespace": "team"}, "spec": {"sources": [SOURCE]} | spec}


def refused(content: dict[str, Any], kind: type[ApiObject] = ElileSecret) -> InvalidObject:
    with pytest.raises(InvalidObject) as raised:
        kind.from_body(content)
    return raised.value


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param({}, "metadata must be an object; spec must be an object", id="nothing"),
        pytest.param(body(sources=None), "spec.sources: should be a valid tuple", id="null"),
        pytest.param(body(sources=[]), "spec.sources must hold at least 1", id="too few"),
        pytest.param(
            body(sources=[SOURCE | {"name": f"s{n}"} for n in range(65)]),
            "spec.sources must hold at most 64",
            id="too many",
        ),
        pytest.param(
            body(sources=[SOURCE, SOURCE]), "spec.sources holds two entries with the same name; remove one", id="twice"
        ),
        pytest.param(body(sources=[{"name": "db", "kv": {}}]), "spec.sources[0].kv.path is required", id="missing"),
        pytest.param(body(vault="a"), "spec.vault must be an object", id="no object"),
        pytest.param(
            body(colour={}),
            "spec.colour is not known to this version of Elile; correct its name or remove it",
            id="field of another version",
        ),
        pytest.param(
            body(delivery={"secret": {"allow_plain": 1}}),
            "spec.delivery.secret.allow_plain is not known to this version of Elile; correct its name or remove it",
            id="unknown",
        ),
        pytest.param(
            body(vault={"service_account_name": "a"}),
            "spec.vault.service_account_name is not known to this version of Elile; correct its name or remove it",
            id="name of Python",
        ),
        pytest.param(
            body(deletionPolicy="Keep"), "spec.deletionPolicy: should be 'Delete' or 'Retain'", id="no member"
        ),
        pytest.param(
            body(sources=[SOURCE, {"name": "b", "kv": {"path": "a/../b"}}]),
            "spec.sources[1].kv.path must not hold the segments '.' or '..'; write the path they lead to",
            id="rule, of the entry that breaks it",
        ),
        pytest.param(
            body(sources=[SOURCE | {"keys": [{"from": "a"}, {"from": "/b"}]}]),
            "spec.sources[0].keys[1].from is no key of a Secret; say in spec.sources[].keys[].to which one it becomes",
            id="rule that stands at the parent",
        ),
        pytest.param(
            body(sources=[SOURCE | {"keys": [{"from": ""}]}]),
            "spec.sources[0].keys[0].from: String should have at least 1 character",
            id="all entries wrong",
        ),
        pytest.param(
            body(delivery={"secret": {"labels": {"team": "a b"}}}),
            "spec.delivery.secret.labels must hold values of letters, digits, '-', '_' and '.'",
            id="rule on the values of a map",
        ),
        pytest.param(
            body() | {"metadata": {"name": "a" * 54}},
            "metadata.name must be at most 53 characters, since it becomes part of labels and annotations; shorten it",
            id="rule on the name",
        ),
    ],
)
def test_a_refusal_names_field_and_remedy(content: dict[str, Any], message: str) -> None:
    assert str(refused(content)) == message


def test_a_refusal_lists_every_field_and_shows_the_first() -> None:
    error = refused(body(a=1, b=2, c=3, d=4, e=5, f=6, g=7))
    assert error.kind == "ElileSecret"
    assert [problem.field for problem in error.problems] == [f"spec.{name}" for name in "abcdefg"]
    assert str(error).count("is not known") == 5
    assert str(error).endswith("; and 2 more")


def test_a_name_in_a_refusal_is_bounded_and_of_one_line() -> None:
    error = refused(body(**{"a\nFATAL: " + "b" * 300: 1}))
    assert str(error).startswith(r"spec.a\nFATAL: bbb")
    assert len(error.problems[0].field) < 80


@pytest.mark.parametrize(
    "content",
    [
        body(sources=[{"name": "db", "kv": {"path": f"{CANARY}//"}}]),
        body(sources=[{"name": CANARY.upper(), "kv": {"path": "a", "version": CANARY}}]),
        body(type=CANARY),
        body(refresh={"interval": CANARY}),
        body(delivery={"secret": {"labels": {"team": f"{CANARY} "}}}),
        body(vault=CANARY),
    ],
)
def test_a_refusal_holds_no_value(content: dict[str, Any]) -> None:
    error = refused(content)
    assert CANARY not in f"{error!r} {error.problems!r}".lower()
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize("status", ["text", {"conditions": [{"type": "Ready"}]}, {"revision": "many"}, None])
def test_a_status_that_cannot_be_read_counts_as_none(status: Any) -> None:
    assert ElileSecret.from_body(body() | {"status": status}).status.dump() == {}


def test_a_status_of_another_version_is_read_as_far_as_known() -> None:
    found = ElileSecret.from_body(body() | {"status": {"revision": 3, "invented": True}})
    assert found.status.dump() == {"revision": 3}


def test_metadata_is_read_as_far_as_used() -> None:
    metadata = {"name": "shop", "namespace": "team", "uid": "u", "generation": 2, "resourceVersion": "9", "x": 1}
    found = ElileSecret.from_body(body() | {"metadata": metadata}).metadata
    assert (found.namespace, found.uid, found.generation, found.resource_version) == ("team", "u", 2, "9")
    assert (found.labels, found.annotations, found.deletion_timestamp) == ({}, {}, None)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
NAMES = st.sampled_from(["sources", "delivery", "vault", "address", "auth", "tls", "refresh", "limits"])


# Drawing nested values takes seconds where the machine has other work, which says nothing about what is tested.
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(st.sampled_from([VaultServer, ElileSecret]), JSON, st.dictionaries(NAMES, JSON), JSON)
def test_any_body_is_read_or_refused(kind: type[ApiObject], metadata: Any, spec: Any, status: Any) -> None:
    found: ApiObject | None = None
    with suppress(InvalidObject):
        found = kind.from_body({"metadata": metadata, "spec": spec, "status": status})
    assert found is None or isinstance(found, kind)
