"""An object comes out of its packing as it went in."""

from typing import Any

import pytest

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.model import InvalidObject
from elile_operator.controllers.packed import PackedSecret
from tests.fakes.api import elile_secret

CONDITION = {
    "type": "Ready",
    "status": "True",
    "reason": "Synced",
    "message": "Größe „1“\u2028\n",
    "lastTransitionTime": "2026-01-02T03:04:05Z",
    "observedGeneration": 3,
}
STATUS = {
    "observedGeneration": 3,
    "revision": 2,
    "keys": ["ca.crt", "user"],
    "secretName": "former",
    "server": "second",
    "handledRefresh": "now",
    "sources": [{"name": "db", "path": "secret/shop/db", "version": 7}, {"name": "more", "path": "secret/a"}],
    "conditions": [CONDITION, {**CONDITION, "type": "Synced", "status": "Unknown"}],
    "lastChangeTime": "2026-01-02T03:04:05+02:00",
    "consumers": {"summary": "1+2?/3", "total": 3, "current": 1, "assumed": 2, "stale": ["a"], "needRestart": ["b"]},
}
SPEC: dict[str, Any] = {
    "type": "Opaque",
    "vault": {"server": "second", "role": "shop", "serviceAccountName": "app"},
    "sources": [
        {
            "name": "db",
            "kv": {"mount": "kv", "path": "shop/db", "version": 7},
            "keys": [{"from": "user"}, {"from": "/tls/ca", "to": "ca.crt", "decode": "Base64"}],
            "prefix": "db-",
            "optional": True,
            "override": True,
        },
        {"name": "more", "kv": {"path": "a"}},
    ],
    "delivery": {"secret": {"name": "credentials", "labels": {"a": "b"}, "annotations": {"c": "d"}}, "poke": False},
    "refresh": {"interval": "1h30m"},
    "deletionPolicy": "Retain",
}


def body(**parts: Any) -> dict[str, Any]:
    return {**elile_secret(generation=3), "spec": SPEC, "status": STATUS, **parts}


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(elile_secret(), id="new"),
        pytest.param(body(), id="all fields"),
        pytest.param(body(status=None), id="status null"),
        pytest.param(body(status={"conditions": "odd"}), id="a status that cannot be read"),
        pytest.param(body(status={**STATUS, "ofAnotherVersion": {"a": 1}}), id="a status that knows more"),
    ],
)
def test_it_comes_out_as_it_went_in(given: dict[str, Any]) -> None:
    assert PackedSecret.of(given).unpack() == ElileSecret.from_body(given)


def test_what_it_is_searched_by() -> None:
    given = body()
    given["metadata"]["annotations"] = {"elile.io/refresh": "now"}
    packed = PackedSecret.of(given)
    assert (packed.server, packed.namespace, packed.targets) == ("second", "shop", ("credentials", "former"))
    assert packed.wish == "now"
    assert PackedSecret.of(elile_secret()).targets == ("db",)


def test_annotations_of_others_are_left_out() -> None:
    given = elile_secret()
    applied = "kubectl.kubernetes.io/last-applied-configuration"
    given["metadata"]["annotations"] = {applied: "x" * 10_000, "elile.io/refresh": "1"}
    packed = PackedSecret.of(given)
    assert packed.unpack().metadata.annotations == {"elile.io/refresh": "1"}
    assert len(packed.raw) < 500


def test_what_cannot_be_read_is_not_packed() -> None:
    with pytest.raises(InvalidObject):
        PackedSecret.of(elile_secret(sources=[]))


def test_what_it_tells_for_metrics() -> None:
    lasting = [
        {"name": "a", "leaseExpires": "2026-01-02T03:04:07Z"},
        {"name": "b", "leaseExpires": "2026-01-02T03:04:06Z"},
        {"name": "c", "certificateExpires": "2026-01-02T03:04:08Z"},
    ]
    body = elile_secret() | {"status": {**STATUS, "sources": lasting}}
    told = PackedSecret.of(body).told
    assert (told.namespace, told.name, told.ready) == ("shop", "db", True)
    assert (told.lease_ends, told.certificate_ends) == (1767323046.0, 1767323048.0)
    assert told.changed == 1767315845.0
    body["status"]["conditions"] = [{**CONDITION, "status": "False"}]
    assert PackedSecret.of(body).told.ready is False
    body["status"] = {"conditions": [{**CONDITION, "status": "Unknown"}]}
    told = PackedSecret.of(body).told
    assert (told.ready, told.changed, told.lease_ends, told.certificate_ends) == (None, None, None, None)
