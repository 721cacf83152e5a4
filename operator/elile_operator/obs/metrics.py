"""All metrics of the operator, in a registry of their own; no label can hold a secret value or a Vault path."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from elile_operator.obs.labels import label
from elile_operator.obs.objects import ObjectCollector, ObjectSample
from elile_operator.obs.rotations import RotationCollector, RotationSample

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Seconds. What is promised (0.2 s to the Secret, 0.8 s to the file) lies on a bound, so that it can be read off.
FAST = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
ROTATION = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)
DELIVERY = (0.05, 0.1, 0.2, 0.4, 0.8, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
RECONCILE = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


@dataclass(frozen=True, slots=True)
class QueueSample:
    """What a queue tells its gauges; times in seconds."""

    depth: int
    running: int
    scheduled: int
    oldest: float


class Metrics:
    """One per process. Every method is cheap and never blocks.

    Fits `engine.Observer`. Gauges of moving things are set by `sample`, which the owner calls about once a second in
    the event loop; so a scrape, on another thread, touches nothing that the loop is changing.
    """

    def __init__(self, *, version: str, revision: str = "") -> None:
        self.registry = r = CollectorRegistry()
        ProcessCollector(registry=r)
        PlatformCollector(registry=r)
        GCCollector(registry=r)
        Info("elile_build", "What is running.", registry=r).info({"version": version, "revision": revision})

        self._reconciles = Counter("elile_reconcile", "Reconciles by how they ended.", ["kind", "outcome"], registry=r)
        self._reconcile_seconds = Histogram(
            "elile_reconcile_duration_seconds", "Time of a reconcile.", ["kind"], buckets=RECONCILE, registry=r
        )
        self._reconcile_errors = Counter(
            "elile_reconcile_errors", "Exceptions that ended a reconcile, by class.", ["kind", "error"], registry=r
        )
        self._queue_depth = Gauge("elile_queue_depth", "Keys that wait for a worker.", ["queue"], registry=r)
        self._queue_running = Gauge("elile_queue_running", "Keys that a worker has.", ["queue"], registry=r)
        self._queue_scheduled = Gauge("elile_queue_scheduled", "Keys with a due time.", ["queue"], registry=r)
        self._queue_oldest = Gauge(
            "elile_queue_oldest_age_seconds", "How long the oldest waiting key has waited.", ["queue"], registry=r
        )
        self._resyncs = Counter("elile_resync", "Full lists by how they ended.", ["kind", "outcome"], registry=r)
        self._resync_seconds = Histogram(
            "elile_resync_duration_seconds", "Time of a full list.", ["kind"], buckets=RECONCILE, registry=r
        )
        self._resync_repaired = Counter(
            "elile_resync_repaired_objects", "Objects that watch events had left wrong.", ["kind"], registry=r
        )
        self._resync_age = Gauge(
            "elile_resync_age_seconds", "Time since the last complete list of a kind.", ["kind"], registry=r
        )
        self._watch_events = Counter(
            "elile_watch_events", "Watch events by kind and type.", ["kind", "type"], registry=r
        )
        self._vault_seconds = Histogram(
            "elile_vault_request_duration_seconds",
            "Time of a Vault request.",
            ["operation", "outcome"],
            buckets=FAST,
            registry=r,
        )
        self._vault_logins = Counter(
            "elile_vault_logins", "Logins to Vault by how they ended.", ["outcome"], registry=r
        )
        self._holdings = Counter(
            "elile_leases",
            "Leases and certificates by what became of them: taken, renewed, replaced, revoked.",
            ["kind", "action"],
            registry=r,
        )
        self._shared_reads = Counter(
            "elile_shared_reads",
            "Reads by whether another object's read served them (hit) or not (miss).",
            ["result"],
            registry=r,
        )
        self._hints = Counter(
            "elile_hints_received",
            "Hints of writes by VaultServer, and whether anybody reads what they are about.",
            ["server", "wanted"],
            registry=r,
        )
        self._hint_requests = Counter(
            "elile_hint_requests", "Requests of forwarders, by the code of the answer.", ["code"], registry=r
        )
        self._kube_requests = Counter(
            "elile_kube_requests", "Requests to the API server.", ["verb", "resource", "outcome"], registry=r
        )
        self._kube_seconds = Histogram(
            "elile_kube_request_duration_seconds", "Time of an API request.", ["verb"], buckets=FAST, registry=r
        )
        self._secrets_written = Counter(
            "elile_secrets_written", "Secrets written, by what the write did.", ["operation"], registry=r
        )
        self._pokes = Counter("elile_pokes", "Kubelet pokes by how they ended.", ["outcome"], registry=r)
        self._delivery_seconds = Histogram(
            "elile_delivery_latency_seconds",
            "From when a version was made in Vault, by its clock, to when its Secret was applied and pods were poked.",
            buckets=DELIVERY,
            registry=r,
        )
        self._rotations = Counter(
            "elile_rotations",
            "Rotations that ended, by action and result.",
            ["namespace", "schedule", "action", "result"],
            registry=r,
        )
        self._rotation_seconds = Histogram(
            "elile_rotation_duration_seconds",
            "From the beginning of a Rotation to its end.",
            ["result"],
            buckets=ROTATION,
            registry=r,
        )
        self._verification_seconds = Histogram(
            "elile_verification_seconds",
            "Time of one try of a verification hook, by its kind: passed, failed, inconclusive.",
            ["hook", "outcome"],
            buckets=FAST,
            registry=r,
        )
        self._server_ready = Gauge("elile_server_ready", "Whether a VaultServer can be used.", ["server"], registry=r)
        self._leader = Gauge("elile_leader", "Whether this process holds the Lease.", registry=r)
        self._loop_lag = Gauge("elile_loop_lag_seconds", "How late the event loop's last tick was.", registry=r)
        self._samplers: list[Callable[[], None]] = []

    # ── engine ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def reconciled(self, *, kind: str, outcome: str, seconds: float, error: str | None) -> None:
        """One reconcile ended; `error` is the class name of the exception that ended it, if any."""
        kind = label(kind)
        self._reconciles.labels(kind, label(outcome)).inc()
        self._reconcile_seconds.labels(kind).observe(seconds)
        if error is not None:
            self._reconcile_errors.labels(kind, label(error)).inc()

    def resynced(self, *, kind: str, outcome: str, seconds: float, repaired: int) -> None:
        """One full list ended."""
        kind = label(kind)
        self._resyncs.labels(kind, label(outcome)).inc()
        self._resync_seconds.labels(kind).observe(seconds)
        self._resync_repaired.labels(kind).inc(repaired)

    def watch_event(self, *, kind: str, type: str | None) -> None:
        """One watch event of `type` ADDED, MODIFIED or DELETED; None, Kopf's word for what it listed, is LISTED."""
        self._watch_events.labels(label(kind), label(type or "LISTED")).inc()

    def track_queue(self, name: str, read: Callable[[], QueueSample]) -> None:
        """Have `sample` ask `read` for the gauges of queue `name`."""
        name = label(name)

        def take() -> None:
            now = read()
            self._queue_depth.labels(name).set(now.depth)
            self._queue_running.labels(name).set(now.running)
            self._queue_scheduled.labels(name).set(now.scheduled)
            self._queue_oldest.labels(name).set(now.oldest)

        self._samplers.append(take)

    def track_objects(self, read: Callable[[], Iterable[ObjectSample]]) -> None:
        """Show what `read` tells of each object."""
        objects = ObjectCollector()
        self.registry.register(objects)
        self._samplers.append(lambda: objects.take(read()))

    def track_rotations(self, read: Callable[[], Iterable[RotationSample]]) -> None:
        """Show what `read` tells of each RotationSchedule."""
        rotations = RotationCollector()
        self.registry.register(rotations)
        self._samplers.append(lambda: rotations.take(read()))

    def track_resync(self, kind: str, age: Callable[[], float]) -> None:
        """Have `sample` ask `age` for the seconds since the last complete list of `kind`."""
        gauge = self._resync_age.labels(label(kind))
        self._samplers.append(lambda: gauge.set(age()))

    # ── Vault ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def vault_request(self, *, operation: str, outcome: str, seconds: float) -> None:
        """One request to Vault: `operation` as the adapter calls it (read, metadata, scan …), never a path."""
        self._vault_seconds.labels(label(operation), label(outcome)).observe(seconds)

    def holding(self, *, kind: str, action: str) -> None:
        """A lease or a certificate was taken, renewed, replaced or revoked."""
        self._holdings.labels(label(kind), label(action)).inc()

    def vault_login(self, *, outcome: str) -> None:
        """One login to Vault ended."""
        self._vault_logins.labels(label(outcome)).inc()

    def shared_read(self, *, hit: bool) -> None:
        """An object asked for a path: `hit` if the read of another one served it."""
        self._shared_reads.labels("hit" if hit else "miss").inc()

    def hints_received(self, *, server: str, wanted: int, unwanted: int) -> None:
        """A batch of hints was taken; somebody reads what `wanted` of them are about."""
        self._hints.labels(label(server), "yes").inc(wanted)
        self._hints.labels(label(server), "no").inc(unwanted)

    def hint_request(self, *, code: int) -> None:
        """A forwarder was answered. Safe on any thread."""
        self._hint_requests.labels(str(code)).inc()

    def server_ready(self, server: str, ready: bool | None) -> None:
        """Whether the VaultServer `server` can be used; None if it is gone."""
        if ready is None:
            self._server_ready.remove(label(server))
        else:
            self._server_ready.labels(label(server)).set(ready)

    # ── Kubernetes ───────────────────────────────────────────────────────────────────────────────────────────────────

    def kube_request(self, *, verb: str, resource: str, outcome: str, seconds: float) -> None:
        """One request to the API server; `outcome` is ok, the HTTP status, or a reason without one (timeout …)."""
        self._kube_requests.labels(label(verb), label(resource), label(outcome)).inc()
        self._kube_seconds.labels(label(verb)).observe(seconds)

    def secret_written(self, *, operation: str) -> None:
        """A Secret was written: `operation` is created, updated or deleted."""
        self._secrets_written.labels(label(operation)).inc()

    def poke(self, *, outcome: str) -> None:
        """A kubelet was told to look at a pod again."""
        self._pokes.labels(label(outcome)).inc()

    def secret_current(self, *, seconds: float) -> None:
        """A Secret was applied, and pods poked, `seconds` after its version was made; clocks may differ."""
        self._delivery_seconds.observe(max(0.0, seconds))

    def rotation_ended(self, *, namespace: str, schedule: str, action: str, result: str, seconds: float | None) -> None:
        """A Rotation ended; `seconds` since it began, None for one that never did."""
        self._rotations.labels(label(namespace), label(schedule), label(action), label(result)).inc()
        if seconds is not None:
            self._rotation_seconds.labels(label(result)).observe(max(0.0, seconds))

    def verified(self, *, hook: str, outcome: str, seconds: float) -> None:
        """One try of a hook ended: `hook` is its kind, never its name. Safe on any thread."""
        self._verification_seconds.labels(label(hook), label(outcome)).observe(seconds)

    # ── process ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def leader(self, holds: bool) -> None:
        """Whether this process holds the Lease."""
        self._leader.set(holds)

    def loop_lag(self, seconds: float) -> None:
        """How late the last tick of the event loop was."""
        self._loop_lag.set(seconds)

    def sample(self) -> None:
        """Read everything that is tracked. Call it in the event loop."""
        for take in self._samplers:
            take()

    def render(self) -> bytes:
        """The text that Prometheus scrapes, as CONTENT_TYPE. Safe on any thread."""
        return generate_latest(self.registry)
