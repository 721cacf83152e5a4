"""Metrics of single objects: readiness, and the times of what changed last and of what ends."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from elile_operator.obs.labels import label

__all__ = ["ObjectCollector", "ObjectSample"]


@dataclass(frozen=True, slots=True)
class ObjectSample:
    """What an ElileSecret tells; None is what it does not know. Times are seconds since 1970."""

    namespace: str
    name: str
    ready: bool | None
    changed: float | None
    lease_ends: float | None
    certificate_ends: float | None


_FAMILIES: tuple[tuple[str, str, Callable[[ObjectSample], float | None]], ...] = (
    ("elile_secret_ready", "Whether an ElileSecret is ready; unknown ones are left out.", lambda s: s.ready),
    (
        "elile_secret_last_change_timestamp_seconds",
        "When the content of the Secret of an ElileSecret changed last.",
        lambda s: s.changed,
    ),
    (
        "elile_secret_lease_expiry_timestamp_seconds",
        "When the first of the leases of an ElileSecret ends.",
        lambda s: s.lease_ends,
    ),
    (
        "elile_secret_certificate_expiry_timestamp_seconds",
        "When the first of the certificates of an ElileSecret ends.",
        lambda s: s.certificate_ends,
    ),
)


class ObjectCollector(Collector):
    """Shows the samples that were taken last. They are taken where the objects are, and shown on any thread."""

    def __init__(self) -> None:
        self._samples: tuple[ObjectSample, ...] = ()

    def take(self, samples: Iterable[ObjectSample]) -> None:
        """Keep these samples instead of those before."""
        self._samples = tuple(samples)

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each thing that is told of an object."""
        for name, documentation, told in _FAMILIES:
            family = GaugeMetricFamily(name, documentation, labels=["namespace", "name"])
            for sample in self._samples:
                if (value := told(sample)) is not None:
                    family.add_metric([label(sample.namespace), label(sample.name)], float(value))
            yield family
