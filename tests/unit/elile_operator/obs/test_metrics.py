"""Metrics have the names of the field, count what they are told, and hold no value and no path in any label."""

import inspect
import re
from typing import Any

import pytest

from elile_operator.engine import Observer
from elile_operator.obs.labels import OTHER, label
from elile_operator.obs.metrics import Metrics, QueueSample
from tests.unit.elile_operator.obs.test_redact import HVS, JWT, LEGACY


@pytest.fixture
def metrics() -> Metrics:
    return Metrics(version="1.2.3", revision="abc")


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_fits_the_engine(metrics: Metrics) -> None:
    observer: Observer = metrics
    observer.reconciled(kind="ElileSecret", outcome="error", seconds=0.3, error="ValueError")
    observer.resynced(kind="ElileSecret", outcome="ok", seconds=2.0, repaired=4)
    assert value(metrics, "elile_reconcile_total", kind="ElileSecret", outcome="error") == 1
    assert value(metrics, "elile_reconcile_errors_total", kind="ElileSecret", error="ValueError") == 1
    assert value(metrics, "elile_reconcile_duration_seconds_sum", kind="ElileSecret") == 0.3
    assert value(metrics, "elile_resync_total", kind="ElileSecret", outcome="ok") == 1
    assert value(metrics, "elile_resync_duration_seconds_count", kind="ElileSecret") == 1
    assert value(metrics, "elile_resync_repaired_objects_total", kind="ElileSecret") == 4


def test_a_reconcile_without_error_counts_none(metrics: Metrics) -> None:
    metrics.reconciled(kind="ElileSecret", outcome="done", seconds=0.3, error=None)
    assert b"elile_reconcile_errors_total{" not in metrics.render()


@pytest.mark.parametrize(
    ("method", "arguments", "sample", "labels", "expected"),
    [
        ("watch_event", {"kind": "K", "type": "ADDED"}, "elile_watch_events_total", {"kind": "K", "type": "ADDED"}, 1),
        ("watch_event", {"kind": "K", "type": None}, "elile_watch_events_total", {"kind": "K", "type": "LISTED"}, 1),
        (
            "vault_request",
            {"operation": "read", "outcome": "ok", "seconds": 0.5},
            "elile_vault_request_duration_seconds_sum",
            {"operation": "read", "outcome": "ok"},
            0.5,
        ),
        ("vault_login", {"outcome": "denied"}, "elile_vault_logins_total", {"outcome": "denied"}, 1),
        ("shared_read", {"hit": True}, "elile_shared_reads_total", {"result": "hit"}, 1),
        ("shared_read", {"hit": False}, "elile_shared_reads_total", {"result": "miss"}, 1),
        (
            "kube_request",
            {"verb": "patch", "resource": "secrets", "outcome": "409", "seconds": 0.5},
            "elile_kube_requests_total",
            {"verb": "patch", "resource": "secrets", "outcome": "409"},
            1,
        ),
        ("secret_written", {"operation": "created"}, "elile_secrets_written_total", {"operation": "created"}, 1),
        ("poke", {"outcome": "ok"}, "elile_pokes_total", {"outcome": "ok"}, 1),
        ("secret_current", {"seconds": 0.15}, "elile_delivery_latency_seconds_bucket", {"le": "0.2"}, 1),
        ("secret_current", {"seconds": -3.0}, "elile_delivery_latency_seconds_sum", {}, 0),
        (
            "holding",
            {"kind": "lease", "action": "taken"},
            "elile_leases_total",
            {"kind": "lease", "action": "taken"},
            1,
        ),
        ("secret_current", {"seconds": 0.25}, "elile_delivery_latency_seconds_bucket", {"le": "0.2"}, 0),
        ("holding", {"kind": "lease", "action": "x"}, "elile_leases_total", {"kind": "lease", "action": "x"}, 1),
        ("leader", {"holds": True}, "elile_leader", {}, 1),
        ("loop_lag", {"seconds": 0.25}, "elile_loop_lag_seconds", {}, 0.25),
    ],
)
def test_each_metric(
    metrics: Metrics, method: str, arguments: dict[str, Any], sample: str, labels: dict[str, str], expected: float
) -> None:
    getattr(metrics, method)(**arguments)
    assert value(metrics, sample, **labels) == expected


def test_a_server_is_ready_or_not_or_gone(metrics: Metrics) -> None:
    for ready, expected in ((True, 1.0), (False, 0.0), (None, None), (None, None)):
        metrics.server_ready("default", ready)
        assert value(metrics, "elile_server_ready", server="default") == expected


def test_gauges_move_when_sampled_and_not_when_scraped(metrics: Metrics) -> None:
    sample, age = QueueSample(depth=3, running=2, scheduled=9, oldest=1.5), 30.0
    metrics.track_queue("secrets", lambda: sample)
    metrics.track_resync("ElileSecret", lambda: age)
    metrics.sample()
    sample, age = QueueSample(depth=0, running=0, scheduled=0, oldest=0.0), 60.0
    metrics.render()
    assert value(metrics, "elile_queue_depth", queue="secrets") == 3
    assert value(metrics, "elile_queue_running", queue="secrets") == 2
    assert value(metrics, "elile_queue_scheduled", queue="secrets") == 9
    assert value(metrics, "elile_queue_oldest_age_seconds", queue="secrets") == 1.5
    assert value(metrics, "elile_resync_age_seconds", kind="ElileSecret") == 30.0
    metrics.sample()
    assert value(metrics, "elile_queue_depth", queue="secrets") == 0
    assert value(metrics, "elile_resync_age_seconds", kind="ElileSecret") == 60.0


def test_build_info_and_process(metrics: Metrics) -> None:
    assert value(metrics, "elile_build_info", version="1.2.3", revision="abc") == 1
    assert b"process_resident_memory_bytes" in metrics.render()


def test_two_registries_do_not_meet() -> None:
    first, second = Metrics(version="1"), Metrics(version="2")
    assert value(first, "elile_build_info", version="2", revision="") is None
    assert value(second, "elile_build_info", version="2", revision="") == 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("ElileSecret", "ElileSecret"),
        ("_Private", "_Private"),
        ("409", "409"),
        ("default.example-1", "default.example-1"),
        ("kv/data/shop/db", OTHER),
        ("https://vault", OTHER),
        ("two words", OTHER),
        ("", OTHER),
        ("x" * 254, OTHER),
        ("ünicode", OTHER),
        ("name\n", OTHER),
        (HVS, OTHER),
        (LEGACY, OTHER),
        (JWT, OTHER),
    ],
)
def test_labels(text: str, expected: str) -> None:
    assert label(text) == expected


def test_no_method_lets_a_value_or_a_path_into_a_label(metrics: Metrics) -> None:
    """Calls every method with a Vault path, then with a token, in place of every string."""
    called = 0
    for evil in ("kv/data/shop/db", HVS):
        for name, method in inspect.getmembers(metrics, inspect.ismethod):
            annotations = inspect.get_annotations(method)
            if name.startswith("_") or str not in {*annotations.values(), *map(_without_none, annotations.values())}:
                continue
            samples: dict[str, Any] = {
                "read": lambda: QueueSample(1, 1, 1, 1.0),
                "age": lambda: 1.0,
                "seconds": 1.0,
                "repaired": 1,
                "ready": True,
                "hit": True,
                "wanted": 1,
                "unwanted": 1,
                "code": 204,
            }
            parameters = inspect.signature(method).parameters
            method(**{p: samples.get(p, evil) for p in parameters})
            called += 1
    metrics.sample()
    text = metrics.render().decode()
    assert called >= 20
    assert "shop" not in text
    assert "hvs." not in text
    assert f'kind="{OTHER}"' in text


def _without_none(annotation: Any) -> Any:
    return str if annotation == str | None else annotation


def test_names_follow_the_conventions(metrics: Metrics) -> None:
    families = [family for family in metrics.registry.collect() if family.name.startswith("elile")]
    assert len(families) >= 20
    for family in families:
        assert re.fullmatch(r"elile(_[a-z]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        if family.type == "histogram":
            assert family.name.endswith("_seconds"), family.name
        assert not family.name.endswith(("_total", "_count", "_sum", "_ms", "_milliseconds")), family.name
