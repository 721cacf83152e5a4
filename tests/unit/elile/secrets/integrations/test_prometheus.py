"""The cache counts for Prometheus what it counts itself."""

from prometheus_client import CollectorRegistry

from elile.secrets import SecretsUnavailableError
from elile.secrets.cache import SecretCache, SecretCacheConfig
from elile.secrets.integrations.prometheus import PrometheusObserver
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading


def test_what_is_counted() -> None:
    registry, now = CollectorRegistry(), [0.0]
    cache = SecretCache(
        SecretCacheConfig(default_ttl_seconds=10, max_entries=1),
        clock=lambda: now[0],
        observer=PrometheusObserver(registry),
    )
    backend = MemoryBackend({"a": {"k": "1"}, "b": {"k": "1"}})

    def away() -> Reading:
        raise SecretsUnavailableError("no answer in time")

    cache.get_blocking("a", lambda: backend.read("a"))
    cache.get_blocking("a", lambda: backend.read("a"))
    now[0] = 11.0
    assert cache.get_blocking("a", away).is_stale
    cache.get_blocking("b", lambda: backend.read("b"))
    cache.refresh("b", lambda: backend.read("b")).result()
    cache.close()

    def count(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"elile_secrets_cache_{name}_total", labels)

    assert (count("hits"), count("stale_served"), count("evictions")) == (1, 1, 1)
    assert (count("misses"), count("refreshes", result="ok")) == (3, 1)
    assert cache.stats().stale_served == 1
