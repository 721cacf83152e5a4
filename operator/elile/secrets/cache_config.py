"""How the cache is set up, what it counts, and whom it tells of that."""

import math
from dataclasses import dataclass
from typing import Protocol

__all__ = ["CacheObserver", "CacheStats", "SecretCacheConfig"]


@dataclass(frozen=True)
class SecretCacheConfig:
    """How long values are kept, and what happens around that. Raises ValueError that names the field.

    enabled: False keeps nothing; calls at the same time still share one load.
    default_ttl_seconds: how long a value is fresh, from the start of its load; less where it expires earlier.
    max_entries: the least recently used one goes when there are more.
    refresh_ahead: part of that time after which a hit starts a refresh in the background; 1 turns that off.
    jitter: part by which that moment varies, to both sides.
    stale_if_error_seconds: how long after `default_ttl_seconds` a value may still be given when there is no answer.
    negative_ttl_seconds: how long the answer that nothing is there is kept.
    retry_base_seconds, retry_max_seconds: bounds of the wait after failures, which doubles, with full jitter.
    max_concurrent_refresh: loads in the background at once.
    min_refresh_interval_seconds: the least time between two of them for one path.
    """

    enabled: bool = True
    default_ttl_seconds: float = 300
    max_entries: int = 1000
    refresh_ahead: float = 0.8
    jitter: float = 0.1
    stale_if_error_seconds: float = 900
    negative_ttl_seconds: float = 5
    retry_base_seconds: float = 1
    retry_max_seconds: float = 60
    max_concurrent_refresh: int = 4
    min_refresh_interval_seconds: float = 1

    def __post_init__(self) -> None:
        if not isinstance(self.enabled, bool):
            raise ValueError("enabled must be true or false")  # noqa: TRY004 # one error for all that is wrong
        for name in ("max_entries", "max_concurrent_refresh"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} must be a whole number of at least 1")
        above, not_below = math.nextafter(0.0, 1.0), 0.0
        for name, low, high in (
            ("default_ttl_seconds", above, math.inf),
            ("refresh_ahead", above, 1.0),
            ("jitter", not_below, math.nextafter(1.0, 0.0)),
            ("stale_if_error_seconds", not_below, math.inf),
            ("negative_ttl_seconds", not_below, math.inf),
            ("retry_base_seconds", above, math.inf),
            ("retry_max_seconds", above, math.inf),
            ("min_refresh_interval_seconds", not_below, math.inf),
        ):
            value = getattr(self, name)
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number or not low <= value <= high:
                least = "more than 0" if low == above else "at least 0"
                most = "" if high == math.inf else " and at most 1" if high == 1.0 else " and less than 1"
                raise ValueError(f"{name} must be {least}{most}")
        if self.retry_max_seconds < self.retry_base_seconds:
            raise ValueError("retry_max_seconds must not be less than retry_base_seconds")


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counts since the start, and what is kept now.

    hits: fresh values given without a wait. misses: loads that a caller had to start. coalesced: callers that shared
    one. refreshes, refresh_errors: loads ahead of time or asked for by `refresh`, good and bad. stale_served: answers
    flagged as stale. negative_hits: answers that nothing is there. oldest_age: seconds, 0 when nothing is kept.
    """

    hits: int
    misses: int
    coalesced: int
    refreshes: int
    refresh_errors: int
    stale_served: int
    evictions: int
    negative_hits: int
    entries: int
    oldest_age: float


class CacheObserver(Protocol):
    """Told what the cache does, for metrics; from any thread, and never with a path or a value."""

    def hit(self) -> None: ...
    def miss(self) -> None: ...
    def coalesced(self) -> None: ...
    def refreshed(self, *, ok: bool) -> None: ...
    def stale_served(self, answers: int) -> None: ...
    def evicted(self) -> None: ...
