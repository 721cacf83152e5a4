"""Metrics and liveness over real HTTP, and what keeps a port from being used."""

import http.client
import socket
from collections.abc import Iterator

import pytest

from elile_operator.hints.gaps import Gap
from elile_operator.hints.metrics import Metrics
from elile_operator.hints.serving import MetricsServer


@pytest.fixture
def ill() -> list[str]:
    return []


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


@pytest.fixture
def server(metrics: Metrics, ill: list[str]) -> Iterator[MetricsServer]:
    server = MetricsServer(host="127.0.0.1", port=0, render=metrics.render, ill=lambda: ill[0] if ill else None)
    server.start()
    yield server
    server.stop()


def get(server: MetricsServer, path: str) -> tuple[int, str, str]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read().decode()
    finally:
        connection.close()


NAMES = (
    "elile_hints_lines_total",
    "elile_hints_unreadable_lines_total",
    "elile_hints_found_total",
    "elile_hints_sent_total",
    "elile_hints_dropped_total",
    *(f'elile_hints_gaps_total{{reason="{gap}"}}' for gap in Gap),
    "elile_hints_pending",
    "elile_hints_behind_bytes",
    "elile_hints_last_taken_timestamp_seconds",
)


def test_every_metric_is_there_from_the_start(server: MetricsServer) -> None:
    status, content_type, text = get(server, "/metrics")
    assert (status, content_type.partition(";")[0]) == (200, "text/plain")
    assert [name for name in NAMES if f"\n{name} 0.0\n" not in text] == []
    assert "\nprocess_resident_memory_bytes " in text


def test_requests_and_gaps_are_counted_by_code_and_reason(server: MetricsServer, metrics: Metrics) -> None:
    metrics.answered("204")
    metrics.answered("timeout")
    metrics.gap(Gap.FULL)
    text = get(server, "/metrics?name[]=x")[2]
    assert 'elile_hints_requests_total{code="204"} 1.0' in text
    assert 'elile_hints_requests_total{code="timeout"} 1.0' in text
    assert 'elile_hints_gaps_total{reason="full"} 1.0' in text


def test_liveness_tells_why_not(server: MetricsServer, ill: list[str]) -> None:
    assert get(server, "/livez")[::2] == (200, "ok")
    ill.append("nothing is sent any more")
    assert get(server, "/livez")[::2] == (503, "nothing is sent any more")


def test_nothing_else_is_served(server: MetricsServer) -> None:
    assert get(server, "/")[0] == 404


def test_a_connection_that_says_nothing_holds_up_nobody(server: MetricsServer) -> None:
    with socket.create_connection(("127.0.0.1", server.port)):
        assert get(server, "/livez")[0] == 200


def test_a_port_that_is_taken_is_an_error_at_once(server: MetricsServer) -> None:
    with pytest.raises(OSError, match="Address already in use"):
        MetricsServer(host="127.0.0.1", port=server.port, render=bytes, ill=lambda: None)
