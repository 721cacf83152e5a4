"""Metrics of single objects show what was taken last, and nothing of what is not known."""

from dataclasses import replace

from elile_operator.obs.metrics import Metrics
from elile_operator.obs.objects import ObjectSample

SHOP = ObjectSample("shop", "db", ready=True, changed=100.0, lease_ends=200.0, certificate_ends=300.0)
ALL = {
    "elile_secret_ready": 1.0,
    "elile_secret_last_change_timestamp_seconds": 100.0,
    "elile_secret_lease_expiry_timestamp_seconds": 200.0,
    "elile_secret_certificate_expiry_timestamp_seconds": 300.0,
}


def test_what_an_object_tells_is_shown_once_it_is_sampled() -> None:
    objects = [SHOP]
    metrics = Metrics(version="1")
    metrics.track_objects(lambda: objects)
    value = metrics.registry.get_sample_value
    labels = {"namespace": "shop", "name": "db"}
    assert [value(name, labels) for name in ALL] == [None] * 4
    metrics.sample()
    assert {name: value(name, labels) for name in ALL} == ALL
    objects[:] = [replace(SHOP, ready=False, lease_ends=None), replace(SHOP, name="other", ready=None)]
    assert {name: value(name, labels) for name in ALL} == ALL, "as it was taken"
    metrics.sample()
    assert value("elile_secret_ready", labels) == 0.0
    assert value("elile_secret_lease_expiry_timestamp_seconds", labels) is None
    assert value("elile_secret_ready", {"namespace": "shop", "name": "other"}) is None
    objects.clear()
    metrics.sample()
    assert b'name="db"' not in metrics.render()
