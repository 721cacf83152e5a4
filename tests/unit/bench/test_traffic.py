"""Requests in audit logs are counted once, by who made them, and sorted by what they are for."""

from typing import Any

import pytest

from bench.traffic import Kind, api_calls, by_kind, kind_of, told, vault_calls


def api(verb: str, resource: str, *, stage: str = "ResponseComplete", agent: str = "elile-operator", **ref: str) -> Any:
    return {"verb": verb, "stage": stage, "userAgent": agent, "objectRef": {"resource": resource, **ref}}


def test_requests_to_the_api_server_are_those_of_the_operator_and_of_kopf() -> None:
    records = [
        api("patch", "secrets"),
        api("patch", "elilesecrets", subresource="status"),
        api("patch", "elilesecrets", subresource="status"),
        api("get", "secrets", agent="kubectl/v1.37"),
        api("patch", "secrets", stage="ResponseStarted"),
        api("watch", "pods", stage="ResponseStarted", agent="kopf/1.45"),
        api("watch", "pods", stage="ResponseComplete", agent="kopf/1.45"),
        {"verb": "get", "stage": "ResponseComplete", "userAgent": "elile-operator", "requestURI": "/version"},
    ]
    found = {"patch secrets": 1, "patch elilesecrets/status": 2, "watch pods": 1, "get ?": 1}
    assert api_calls(records) == found


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        ("update leases", Kind.LEASE),
        ("get leases", Kind.LEASE),
        ("create serviceaccounts/token", Kind.TOKEN),
        ("patch secrets", Kind.WRITE),
        ("create events", Kind.WRITE),
        ("delete secrets", Kind.WRITE),
        ("list pods", Kind.RESYNC),
        ("watch pods", Kind.WATCH),
        ("get secrets", Kind.READ),
        ("get ?", Kind.READ),
    ],
)
def test_each_request_is_for_one_thing(call: str, kind: Kind) -> None:
    assert kind_of(call) is kind


def test_sums_have_every_kind() -> None:
    found = by_kind({"patch secrets": 2, "create events": 3, "list pods": 4})
    assert found[Kind.WRITE] == 5
    assert found[Kind.RESYNC] == 4
    assert set(found) == set(Kind)
    assert sum(found.values()) == 9


def test_requests_to_vault_are_those_of_others_than_root() -> None:
    def bao(path: str, *policies: str, type_: str = "request") -> Any:
        return {"type": type_, "auth": {"policies": list(policies)}, "request": {"path": path}}

    records = [
        bao("secret/data/shop/db", "elile"),
        bao("secret/data/shop/db", "elile", type_="response"),
        bao("secret/data/shop/db", "root"),
        bao("secret/metadata/shop/web/a", "elile"),
        {"type": "request", "request": {"path": "auth/kubernetes/login"}},
    ]
    assert vault_calls(records) == {"secret/data": 1, "secret/metadata": 1, "auth/kubernetes": 1}


def test_what_is_told_is_sorted_and_leaves_out_the_rare() -> None:
    assert told({"a": 10, "b": 300, "c": 0}) == "300 b, 10 a"
    assert told({"a": 10, "b": 300}, per=100, least=0.5, digits=2) == "3.00 b"
    assert told({}) == "none"
