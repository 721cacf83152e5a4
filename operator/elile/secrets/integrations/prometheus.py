"""The cache's counters for Prometheus, without paths: those can say more than a metric should."""

from importlib import import_module
from typing import Any

from elile.secrets.errors import SecretBackendMissingError

__all__ = ["PrometheusObserver"]


class PrometheusObserver:
    """Pass it as `observer` to a SecretCache: `SecretCache(observer=PrometheusObserver())`.

    Metrics: `elile_secrets_cache_{hits,misses,coalesced,stale_served,evictions}_total`, and
    `elile_secrets_cache_refreshes_total` by `result` (ok, error). `registry` is prometheus_client's own by default.
    Raises SecretBackendMissingError where prometheus-client is not installed.
    """

    def __init__(self, registry: Any = None) -> None:
        try:
            client = import_module("prometheus_client")
        except ModuleNotFoundError:
            raise SecretBackendMissingError("the package 'prometheus-client' is not installed", backend="") from None
        into = {"registry": registry if registry is not None else client.REGISTRY}
        prefix = "elile_secrets_cache"
        self._hits = client.Counter(f"{prefix}_hits", "Values that were given from the cache.", **into)
        self._misses = client.Counter(f"{prefix}_misses", "Values that had to be loaded.", **into)
        self._coalesced = client.Counter(f"{prefix}_coalesced", "Callers that shared a load of another one.", **into)
        self._stale = client.Counter(f"{prefix}_stale_served", "Values given though they were old: an outage.", **into)
        self._evictions = client.Counter(f"{prefix}_evictions", "Values that made room for others.", **into)
        self._refreshes = client.Counter(f"{prefix}_refreshes", "Loads ahead of time.", ["result"], **into)

    def hit(self) -> None:
        """A value was given from the cache."""
        self._hits.inc()

    def miss(self) -> None:
        """A value had to be loaded."""
        self._misses.inc()

    def coalesced(self) -> None:
        """A caller shared the load of another one."""
        self._coalesced.inc()

    def refreshed(self, *, ok: bool) -> None:
        """A load ahead of time has ended."""
        self._refreshes.labels("ok" if ok else "error").inc()

    def stale_served(self, answers: int) -> None:
        """Old values were given, to so many callers."""
        self._stale.inc(answers)

    def evicted(self) -> None:
        """A value made room for another one."""
        self._evictions.inc()
