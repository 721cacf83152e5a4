"""What the forwarder counts, in a registry of its own; no label can hold a path."""

from prometheus_client import CollectorRegistry, Counter, Gauge
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.process_collector import ProcessCollector

from elile_operator.hints.gaps import Gap

__all__ = ["CONTENT_TYPE", "Metrics"]

CONTENT_TYPE = CONTENT_TYPE_LATEST


class Metrics:
    """One per process; safe on any thread."""

    def __init__(self) -> None:
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)
        self.lines = Counter("elile_hints_lines", "Lines of the audit file that were read.", registry=r)
        self.unreadable = Counter(
            "elile_hints_unreadable_lines",
            "Lines that are no JSON, too long, or of a shape that nobody knows.",
            registry=r,
        )
        self.found = Counter("elile_hints_found", "Lines that tell of a write of a KV engine.", registry=r)
        self.sent = Counter(
            "elile_hints_sent", "Hints that the operator took, one for each path and batch.", registry=r
        )
        self.dropped = Counter("elile_hints_dropped", "Hints that nobody was told; a gap is told instead.", registry=r)
        self._gaps = Counter(
            "elile_hints_gaps", "Times after which the operator is told to look at everything.", ["reason"], registry=r
        )
        self._requests = Counter(
            "elile_hints_requests",
            "Requests to the operator by the status of its answer; without one by what failed: resolve, connect, "
            "timeout, tls, broken.",
            ["code"],
            registry=r,
        )
        self.pending = Gauge("elile_hints_pending", "Hints that wait for the operator to take them.", registry=r)
        self.behind = Gauge("elile_hints_behind_bytes", "Bytes of the audit file that are not read.", registry=r)
        self.last_taken = Gauge(
            "elile_hints_last_taken_timestamp_seconds",
            "When the operator last took a batch, which may be empty, in Unix time.",
            registry=r,
        )
        for reason in Gap:
            self._gaps.labels(reason.value)

    def gap(self, reason: Gap) -> None:
        """Something may have been written that no hint tells of."""
        self._gaps.labels(reason.value).inc()

    def answered(self, code: str) -> None:
        """One request ended: `code` is a status, or a code of UnreachableError."""
        self._requests.labels(code).inc()

    def render(self) -> bytes:
        """The text that Prometheus scrapes, as CONTENT_TYPE."""
        return generate_latest(self.registry)
