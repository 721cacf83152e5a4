from datetime import UTC, datetime, timedelta, timezone

import pytest

from elile_operator.api.meta import (
    Condition,
    ConditionStatus,
    FieldManager,
    delivered_annotation,
    is_reserved,
    restart_annotation,
)


@pytest.mark.parametrize(
    "key",
    [
        "kubernetes.io/service-account.name",
        "kubectl.kubernetes.io/last-applied-configuration",
        "a.b.kubernetes.io/c",
        "k8s.io/a",
        "networking.k8s.io/a",
        "elile.io/fingerprint",
        "restart.elile.io/shop",
        "app.kubernetes.io/managed-by",
        "App.Kubernetes.io/Managed-By",
        "x.app.kubernetes.io/name",
        "Kubernetes.io/service-account.name",
    ],
)
def test_reserved(key: str) -> None:
    assert is_reserved(key)


@pytest.mark.parametrize(
    "key",
    ["team", "kubernetes.io", "example.com/elile.io", "notkubernetes.io/a", "kubernetes.io.example.com/a",
     "app.kubernetes.io/name", "app.kubernetes.io/managed-by-us"],
)  # fmt: skip
def test_not_reserved(key: str) -> None:
    assert not is_reserved(key)


def test_names_in_the_cluster() -> None:
    assert delivered_annotation("shop") == "elile.io/delivered.shop"
    assert restart_annotation("shop") == "restart.elile.io/shop"
    assert [f"{manager}" for manager in FieldManager] == [
        "elile",
        "elile-restart",
        "elile-server",
        "elile-secret",
        "elile-schedule",
        "elile-rotation",
    ]


def test_a_condition_is_written_as_kubernetes_writes_times() -> None:
    condition = Condition(
        type="Ready",
        status=ConditionStatus.TRUE,
        reason="Synced",
        message="",
        last_transition_time=datetime(2026, 1, 1, 1, 30, 0, 999_999, tzinfo=timezone(timedelta(hours=1))),
        observed_generation=3,
    )
    written = {
        "type": "Ready",
        "status": "True",
        "reason": "Synced",
        "message": "",
        "lastTransitionTime": "2026-01-01T00:30:00Z",
        "observedGeneration": 3,
    }
    assert condition.dump() == written
    assert Condition.model_validate(written).last_transition_time == datetime(2026, 1, 1, 0, 30, tzinfo=UTC)
