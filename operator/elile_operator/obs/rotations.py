"""Metrics of single RotationSchedules: how far each is, when next, and whether it needs somebody."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from elile_operator.obs.labels import label

__all__ = ["RotationCollector", "RotationSample"]

_LABELS = ("namespace", "schedule")


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationSample:
    """What a RotationSchedule tells; None is what it does not know. Times are seconds since 1970."""

    namespace: str
    schedule: str
    phase: str
    next: float | None
    succeeded: float | None
    failures: int
    missed: int
    needs_intervention: bool


_GAUGES: tuple[tuple[str, str, Callable[[RotationSample], float | None]], ...] = (
    (
        "elile_rotation_next_timestamp_seconds",
        "When the next run of a RotationSchedule starts; left out where none is due.",
        lambda s: s.next,
    ),
    (
        "elile_rotation_last_success_timestamp_seconds",
        "When a run of a RotationSchedule succeeded last.",
        lambda s: s.succeeded,
    ),
    ("elile_rotation_consecutive_failures", "Runs that failed since one succeeded.", lambda s: s.failures),
    (
        "elile_rotation_needs_intervention",
        "Whether a run can neither be finished nor taken back.",
        lambda s: s.needs_intervention,
    ),
)


class RotationCollector(Collector):
    """Shows the samples that were taken last. They are taken where the objects are, and shown on any thread."""

    def __init__(self) -> None:
        self._samples: tuple[RotationSample, ...] = ()

    def take(self, samples: Iterable[RotationSample]) -> None:
        """Keep these samples instead of those before."""
        self._samples = tuple(samples)

    def collect(self) -> Iterator[Metric]:
        """Yield one family for each thing that is told of a schedule."""
        samples = self._samples
        phases = GaugeMetricFamily(
            "elile_rotation_phase", "1 for the phase of a RotationSchedule, or Idle.", labels=(*_LABELS, "phase")
        )
        missed = CounterMetricFamily(
            "elile_rotation_missed", "Times of a RotationSchedule that passed while nothing could run.", labels=_LABELS
        )
        for sample in samples:
            names = _names(sample)
            phases.add_metric((*names, label(sample.phase)), 1.0)
            if sample.missed:
                missed.add_metric(names, float(sample.missed))
        yield phases
        yield missed
        for name, documentation, told in _GAUGES:
            family = GaugeMetricFamily(name, documentation, labels=_LABELS)
            for sample in samples:
                if (value := told(sample)) is not None:
                    family.add_metric(_names(sample), float(value))
            yield family


def _names(sample: RotationSample) -> tuple[str, str]:
    return label(sample.namespace), label(sample.schedule)
