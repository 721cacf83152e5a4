"""Metrics of schedules show what was taken last: one phase for each, and nothing of what is not known."""

from dataclasses import replace

from elile_operator.obs.metrics import Metrics
from elile_operator.obs.rotations import RotationSample

SHOP = RotationSample(
    namespace="shop",
    schedule="db",
    phase="Promoted",
    next=200.0,
    succeeded=100.0,
    failures=2,
    missed=3,
    needs_intervention=False,
)
ALL = {
    "elile_rotation_next_timestamp_seconds": 200.0,
    "elile_rotation_last_success_timestamp_seconds": 100.0,
    "elile_rotation_consecutive_failures": 2.0,
    "elile_rotation_needs_intervention": 0.0,
    "elile_rotation_missed_total": 3.0,
}
LABELS = {"namespace": "shop", "schedule": "db"}


def test_what_a_schedule_tells_is_shown_once_it_is_sampled() -> None:
    schedules = [SHOP]
    metrics = Metrics(version="1")
    metrics.track_rotations(lambda: schedules)
    value = metrics.registry.get_sample_value
    assert [value(name, LABELS) for name in ALL] == [None] * 5
    metrics.sample()
    assert {name: value(name, LABELS) for name in ALL} == ALL
    assert value("elile_rotation_phase", {**LABELS, "phase": "Promoted"}) == 1.0
    schedules[:] = [replace(SHOP, phase="NeedsIntervention", next=None, missed=0, needs_intervention=True)]
    metrics.sample()
    assert value("elile_rotation_phase", {**LABELS, "phase": "Promoted"}) is None
    assert value("elile_rotation_phase", {**LABELS, "phase": "NeedsIntervention"}) == 1.0
    assert value("elile_rotation_needs_intervention", LABELS) == 1.0
    assert value("elile_rotation_next_timestamp_seconds", LABELS) is None
    assert value("elile_rotation_missed_total", LABELS) is None
    schedules.clear()
    metrics.sample()
    assert b'schedule="db"' not in metrics.render()


def test_rotations_and_tries_of_hooks_are_counted() -> None:
    metrics = Metrics(version="1")
    value = metrics.registry.get_sample_value
    ended = {**LABELS, "action": "Rotate"}
    metrics.rotation_ended(**ended, result="Succeeded", seconds=7.0)
    metrics.rotation_ended(**ended, result="Aborted", seconds=None)
    metrics.verified(hook="http", outcome="inconclusive", seconds=0.5)
    assert value("elile_rotations_total", {**ended, "result": "Succeeded"}) == 1
    assert value("elile_rotations_total", {**ended, "result": "Aborted"}) == 1
    assert value("elile_rotation_duration_seconds_sum", {"result": "Succeeded"}) == 7.0
    assert value("elile_rotation_duration_seconds_count", {"result": "Aborted"}) is None
    assert value("elile_verification_seconds_sum", {"hook": "http", "outcome": "inconclusive"}) == 0.5
