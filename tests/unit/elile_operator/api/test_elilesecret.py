from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.elilesecret import (
    ConsumersStatus,
    ElileSecret,
    ElileSecretStatus,
    OnMissing,
    SecretMode,
    SecretType,
    SourceStatus,
)
from elile_operator.api.meta import Condition, ConditionStatus
from elile_operator.api.sources import Decode, KeyMapping


def read(**spec: Any) -> ElileSecret:
    minimal = {"sources": [{"name": "db", "kv": {"path": "shop/db"}}]}
    return ElileSecret.from_body({"metadata": {"name": "shop", "namespace": "team"}, "spec": minimal | spec})


def test_what_is_absent_is_the_default() -> None:
    spec = read().spec
    assert (spec.type, spec.deletion_policy, spec.on_missing) == (SecretType.OPAQUE, None, OnMissing.KEEP)
    assert (spec.vault.server, spec.vault.role, spec.vault.service_account_name) == ("default", None, None)
    assert (spec.delivery.poke, spec.delivery.secret.mode) == (True, SecretMode.OWN)
    assert (spec.delivery.secret.labels, spec.delivery.secret.annotations) == ({}, {})
    assert spec.refresh.interval is None
    source = spec.sources[0]
    assert source.kv is not None
    assert (source.kv.mount, source.kv.version) == (None, None)
    assert (source.keys, source.prefix, source.optional, source.override) == (None, None, False, False)


def test_what_is_said_is_kept_in_order() -> None:
    keys = [{"from": "/tls/ca", "to": "ca.crt", "decode": "Base64"}, {"from": "user"}]
    spec = read(
        sources=[{"name": "b", "kv": {"path": "b", "version": 7}, "keys": keys}, {"name": "a", "kv": {"path": "a"}}],
        refresh={"interval": "1h30m"},
    ).spec
    assert [source.name for source in spec.sources] == ["b", "a"]
    assert spec.sources[0].keys == (
        KeyMapping(from_="/tls/ca", to="ca.crt", decode=Decode.BASE64),
        KeyMapping(from_="user"),
    )
    assert [mapping.target for mapping in spec.sources[0].keys] == ["ca.crt", "user"]
    assert spec.refresh.interval == timedelta(minutes=90)


@pytest.mark.parametrize(
    ("delivery", "name"), [({}, "shop"), ({"secret": {}}, "shop"), ({"secret": {"name": "files"}}, "files")]
)
def test_the_secret_has_the_name_of_the_object_or_its_own(delivery: dict[str, Any], name: str) -> None:
    assert read(delivery=delivery).secret_name == name


def test_the_status_is_written_without_what_is_not_set() -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    status = ElileSecretStatus(
        observed_generation=1,
        revision=2,
        keys=("password",),
        sources=(SourceStatus(name="db", path="secret/shop/db", version=7),),
        conditions=(
            Condition(type="Ready", status=ConditionStatus.TRUE, reason="Synced", message="", last_transition_time=now),
        ),
        last_change_time=now,
        consumers=ConsumersStatus(summary="0/0", total=0),
    )
    assert status.dump() == {
        "observedGeneration": 1,
        "revision": 2,
        "keys": ["password"],
        "sources": [{"name": "db", "path": "secret/shop/db", "version": 7}],
        "conditions": [
            {
                "type": "Ready",
                "status": "True",
                "reason": "Synced",
                "message": "",
                "lastTransitionTime": "2026-01-01T00:00:00Z",
            }
        ],
        "lastChangeTime": "2026-01-01T00:00:00Z",
        "consumers": {"summary": "0/0", "total": 0},
    }
