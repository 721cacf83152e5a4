"""What was read is kept for a while: one load however many ask, refreshed before it is old, stale only in an outage."""

import copy
import hashlib
import json
import logging
import math
import random
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from datetime import UTC, datetime
from functools import partial
from typing import Any

from elile.secrets.cache_config import CacheObserver, CacheStats, SecretCacheConfig
from elile.secrets.cache_loads import Entry, Flight, Load, done, failed, other_than
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsClosedError,
    SecretsError,
    SecretsRateLimitedError,
    SecretsUnavailableError,
)
from elile.secrets.protocol import Reading
from elile.secrets.redact import Redacted
from elile.secrets.threads import IoThreads, outcome, settled
from elile.secrets.types import SecretChange, SecretValue

__all__ = ["CacheObserver", "CacheStats", "Load", "SecretCache", "SecretCacheConfig"]

log = logging.getLogger(__name__)

_After = list[Callable[[], object]]

# A path that was dropped keeps its generation and digest, so that its next content is told from its last; about 200
# bytes each, for so many times the entries that are kept.
_REMEMBERED = 10


class SecretCache:
    """Current values by path, shared by all threads and event loops of a process; a version that is asked for by its
    name is not cached here.

    Values are dropped by dropping references: Python cannot overwrite a text in memory. A process that was forked keeps
    them, and forgets the loads under way. `clock` is monotonic seconds, `now` the time of day in UTC, `rand` from 0 to
    less than 1. Without `threads` it has threads of its own, which `close` ends.
    """

    def __init__(
        self,
        config: SecretCacheConfig | None = None,
        *,
        threads: IoThreads | None = None,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        rand: Callable[[], float] = random.random,
        observer: CacheObserver | None = None,
    ) -> None:
        self.config = config or SecretCacheConfig()
        self._threads = IoThreads() if threads is None else threads
        self._owns_threads = threads is None
        self._clock = clock
        self._now = now
        self._rand = rand
        self._observer = observer
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, Entry] = OrderedDict()  # least recently used first
        self._absent: OrderedDict[str, tuple[SecretNotFoundError, float]] = OrderedDict()  # since when
        self._seen: OrderedDict[str, tuple[int, bytes]] = OrderedDict()  # generation and digest
        self._digest_key = secrets.token_bytes(32)
        self._flights: dict[str, Flight] = {}
        self._refreshing = 0
        self._subscribers: dict[object, Callable[[SecretChange], None]] = {}
        self._changes: deque[SecretChange] = deque()
        self._delivering = False
        self._hits = self._misses = self._coalesced = self._refreshes = self._refresh_errors = 0
        self._stale_served = self._evictions = self._negative_hits = 0
        self._threads.on_fork(self._forked)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def peek(self, path: str, *, max_age: float | None = None) -> SecretValue | None:
        """Return a fresh value that is here, younger than `max_age` seconds if given; else None. Never waits."""
        after: _After | None = None
        with self._lock:
            entry = self._entries.get(path)
            if entry is None:
                return None
            now = self._clock()
            value = entry.value
            if now >= entry.fresh_until or (max_age is not None and now - value.fetched_at >= max_age):
                return None
            self._hits += 1
            self._entries.move_to_end(path)
            if now >= entry.due:
                after = []
                self._refresh_ahead(path, entry, now, after)
        if self._observer is not None:
            self._observer.hit()
        if after:
            _call(after)
        return value

    async def get(self, path: str, load: Load, *, max_age: float | None = None) -> SecretValue:
        """Return the value, in any event loop; see `fetch`. A caller that is cancelled cancels no load."""
        value = self.peek(path, max_age=max_age)
        return value if value is not None else await outcome(self.fetch(path, load, max_age=max_age))

    def get_blocking(self, path: str, load: Load, *, max_age: float | None = None) -> SecretValue:
        """Return the value, waiting for it in this thread; see `fetch`."""
        value = self.peek(path, max_age=max_age)
        return value if value is not None else settled(self.fetch(path, load, max_age=max_age))

    def fetch(self, path: str, load: Load, *, max_age: float | None = None) -> Future[SecretValue]:
        """Return a future of the value, from here or from `load`, which blocks in a thread and is shared by all.

        `max_age` in seconds: an older value, or a load that began longer ago, is not good enough. 0 or less has it read
        anew in any case, and never gets a stale value: everybody else does, flagged, when the backend has no answer.

        The future ends with a SecretsError: SecretNotFoundError, which is kept for `negative_ttl_seconds`;
        SecretAccessDeniedError and SecretsAuthenticationError, at once, whatever was known before;
        SecretsUnavailableError when there is no value, or one older than `default_ttl_seconds` and
        `stale_if_error_seconds` together.
        """
        after: _After = []
        with self._lock:
            future = self._fetch(path, load, max_age, after)
        _call(after)
        return future

    def refresh(self, path: str, load: Load, *, if_generation: int | None = None) -> Future[SecretValue]:
        """Return a future of what `load` says from now on; no stale value instead.

        With `if_generation` only where that generation is still the one that is kept: of many callers that found the
        same value to be wrong, one has it read anew, and all get the result. Errors as with `fetch`.
        """
        after: _After = []
        with self._lock:
            now = self._clock()
            entry = self._entries.get(path)
            if if_generation is not None and (newer := other_than({if_generation}, entry, now)) is not None:
                return done(newer)
            flight = self._flights.get(path)
            if flight is None:
                flight = self._depart(Flight(path, load, refresh=True), now, after)
            else:
                self._count_coalesced(after)
                if flight.follow is None:
                    flight.follow = Flight(path, load, refresh=True)
                flight = flight.follow
                if if_generation is None:
                    flight.only_if = None
                elif flight.only_if is not None:
                    flight.only_if.add(if_generation)
            future = flight.join(strict=True)
        _call(after)
        return future

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def put(self, path: str, reading: Reading, *, load: Load | None = None) -> SecretValue:
        """Keep what was written just now, in place of whatever is being read meanwhile.

        `load` is what refreshes it ahead of time until somebody fetches it.
        """
        after: _After = []
        digest = self._digest(reading)
        with self._lock:
            now = self._clock()
            value = self._learn(path, reading, digest, load=load, started=now, now=now, after=after)
            if (flight := self._flights.get(path)) is not None:
                flight.superseded, flight.newer = True, value
        _call(after)
        return value

    def invalidate(self, path: str) -> None:
        """Drop what is known of a path; a load under way still answers those who wait, and is not kept."""
        with self._lock:
            self._entries.pop(path, None)
            self._absent.pop(path, None)
            if (flight := self._flights.get(path)) is not None:
                flight.superseded = True

    def clear(self) -> None:
        """Drop all values. Generations go on counting."""
        with self._lock:
            self._entries.clear()
            self._absent.clear()
            for flight in self._flights.values():
                flight.superseded = True

    def close(self) -> None:
        """Drop all values, and end the threads unless they were given. A load after that is a SecretsClosedError."""
        self.clear()
        if self._owns_threads:
            self._threads.close()

    # ── what is known ────────────────────────────────────────────────────────────────────────────────────────────────

    def subscribe(self, callback: Callable[[SecretChange], None]) -> Callable[[], None]:
        """Have `callback` called at each new content of any path, and return what ends that.

        Called in the thread that found it, one change after the other; it should be short. `previous` is None where the
        old value is no longer kept. What it raises is logged by its class.
        """
        key = object()
        with self._lock:
            self._subscribers[key] = callback
        return partial(self._unsubscribe, key)

    def stats(self) -> CacheStats:
        """Return counts and sizes."""
        with self._lock:
            now = self._clock()
            oldest = min((entry.value.fetched_at for entry in self._entries.values()), default=now)
            return CacheStats(
                hits=self._hits,
                misses=self._misses,
                coalesced=self._coalesced,
                refreshes=self._refreshes,
                refresh_errors=self._refresh_errors,
                stale_served=self._stale_served,
                evictions=self._evictions,
                negative_hits=self._negative_hits,
                entries=len(self._entries),
                oldest_age=max(0.0, now - oldest),
            )

    def generations(self) -> Mapping[str, int]:
        """Return the generation of each value that is kept, by path."""
        with self._lock:
            return {path: entry.value.generation for path, entry in self._entries.items()}

    def stale_paths(self) -> tuple[str, ...]:
        """Return the paths whose values are old, may still be given, and could not be had anew; sorted."""
        with self._lock:
            now = self._clock()
            return tuple(
                sorted(
                    path
                    for path, entry in self._entries.items()
                    if entry.down and entry.fresh_until <= now <= entry.stale_until
                )
            )

    # ── inside: all of it under the lock, what is to happen without it goes into `after` ─────────────────────────────

    def _fetch(self, path: str, load: Load, max_age: float | None, after: _After) -> Future[SecretValue]:
        now = self._clock()
        entry = self._entries.get(path)
        if entry is not None:
            entry.load = load
            value = self._given(path, entry, now, max_age, after)
            if value is not None:
                return done(value)
        elif (absence := self._known_absent(path, now, max_age)) is not None:
            self._negative_hits += 1
            return failed(absence)
        flight = self._flights.get(path)
        if flight is None:
            self._misses += 1
            if self._observer is not None:
                after.append(self._observer.miss)
            flight = self._depart(Flight(path, load), now, after)
        else:
            self._count_coalesced(after)
            if flight.superseded or (max_age is not None and now - flight.started >= max_age):
                if flight.follow is None:
                    flight.follow = Flight(path, load)
                flight = flight.follow
                flight.only_if = None
        return flight.join(strict=max_age is not None and max_age <= 0)

    def _given(self, path: str, entry: Entry, now: float, max_age: float | None, after: _After) -> SecretValue | None:
        """What an entry answers without a wait."""
        self._entries.move_to_end(path)
        if now < entry.fresh_until and (max_age is None or now - entry.value.fetched_at < max_age):
            self._hits += 1
            if self._observer is not None:
                after.append(self._observer.hit)
            self._refresh_ahead(path, entry, now, after)
            return entry.value
        # While an outage lasts nobody waits for the next failure. Long after the last one there may be none any more,
        # and a value is not to be stale without need.
        lasts = entry.down and now < entry.due + self.config.retry_max_seconds
        if not lasts or now > entry.stale_until or (max_age is not None and max_age <= 0):
            return None
        self._count_stale(1, after)
        self._refresh_ahead(path, entry, now, after)
        return entry.stale()

    def _refresh_ahead(self, path: str, entry: Entry, now: float, after: _After) -> None:
        if now < entry.due or entry.load is None or path in self._flights:
            return
        if self._refreshing < self.config.max_concurrent_refresh:
            self._refreshing += 1
            self._depart(Flight(path, entry.load, background=True, refresh=True), now, after)

    def _known_absent(self, path: str, now: float, max_age: float | None) -> SecretNotFoundError | None:
        error, since = self._absent.get(path, (None, 0.0))
        if error is None or now - since >= self.config.negative_ttl_seconds:
            self._absent.pop(path, None)
            return None
        return None if max_age is not None and now - since >= max_age else error

    def _depart(self, flight: Flight, now: float, after: _After) -> Flight:
        flight.started = now
        self._flights[flight.path] = flight
        after.append(partial(self._launch, flight))
        return flight

    def _learn(
        self,
        path: str,
        reading: Reading,
        digest: bytes,
        *,
        load: Load | None,
        started: float,
        now: float,
        after: _After,
        keep: bool = True,
    ) -> SecretValue:
        """Make a value of an answer, count its generation, and keep it."""
        before = self._entries.get(path)
        generation, changed = self._count_generation(path, digest)
        value = SecretValue(
            path=str(path),
            raw=reading.data,
            metadata=reading.metadata,
            generation=generation,
            fetched_at=started,
            clock=self._clock,
        )
        if changed and self._subscribers:
            self._changes.append(SecretChange(value.path, value, before.value if before else None))
            after.append(self._deliver)
        if self.config.enabled and keep:
            self._absent.pop(path, None)
            self._keep(path, value, load or (before.load if before else None), now, after)
        return value

    def _keep(self, path: str, value: SecretValue, load: Load | None, now: float, after: _After) -> None:
        config, began = self.config, value.fetched_at
        fresh_until = began + config.default_ttl_seconds
        if (expires := value.metadata.expires_at) is not None:
            aware = expires if expires.tzinfo is not None else expires.replace(tzinfo=UTC)
            fresh_until = min(fresh_until, now + (aware - self._now()).total_seconds())
        due = math.inf
        if config.refresh_ahead < 1:
            spread = 1 + config.jitter * (2 * self._rand() - 1)
            due = began + (fresh_until - began) * config.refresh_ahead * spread
            due = max(due, began + config.min_refresh_interval_seconds)
        stale_until = began + config.default_ttl_seconds + config.stale_if_error_seconds
        self._entries[path] = Entry(value, load, fresh_until, stale_until, due)
        self._entries.move_to_end(path)
        while len(self._entries) > config.max_entries:
            self._entries.popitem(last=False)
            self._evictions += 1
            if self._observer is not None:
                after.append(self._observer.evicted)

    def _count_generation(self, path: str, digest: bytes) -> tuple[int, bool]:
        generation, before = self._seen.get(path, (0, b""))
        changed = digest != before
        if changed:
            generation += 1
            self._seen[path] = (generation, digest)
        self._seen.move_to_end(path)
        while len(self._seen) > self.config.max_entries * _REMEMBERED:
            self._seen.popitem(last=False)
        return generation, changed

    def _arrive(self, flight: Flight, reading: Reading, digest: bytes, now: float, after: _After) -> None:
        value = flight.newer
        if value is None:
            value = self._learn(
                flight.path,
                reading,
                digest,
                load=flight.load,
                started=flight.started,
                now=now,
                after=after,
                keep=not flight.superseded,
            )
        # Before the subscribers hear of it: a caller is not to wait for them.
        after.insert(0, partial(flight.give, value))

    def _crash(self, flight: Flight, error: BaseException, now: float, after: _After) -> None:
        """A load ended badly: what that says about the value that is kept, and what those who wait get."""
        path, instead = flight.path, None
        entry = self._entries.get(path)
        if flight.superseded:
            instead = flight.newer if isinstance(error, SecretsUnavailableError) else None
        elif isinstance(error, SecretNotFoundError):
            self._entries.pop(path, None)
            if self.config.enabled and self.config.negative_ttl_seconds:
                self._absent[path] = (copy.copy(error), now)  # the copy has no frames, which would hold values
                self._absent.move_to_end(path)
                while len(self._absent) > self.config.max_entries:
                    self._absent.popitem(last=False)
        elif isinstance(error, SecretAccessDeniedError | SecretsAuthenticationError):
            self._entries.pop(path, None)
            self._absent.pop(path, None)
        elif entry is not None and not isinstance(error, SecretsClosedError):
            self._back_off(entry, error, now)
            if now > entry.stale_until:
                del self._entries[path]
            elif entry.down:
                instead = entry.stale()
                self._count_stale(flight.waiters, after)
        after.insert(0, partial(flight.fail, error, instead))

    def _back_off(self, entry: Entry, error: BaseException, now: float) -> None:
        config = self.config
        if not entry.failures:
            what = error.safe_text if isinstance(error, SecretsError) else type(error).__name__
            log.warning("a secret that is cached cannot be read anew: %s", what)
        limit = min(config.retry_max_seconds, config.retry_base_seconds * 2.0 ** min(entry.failures, 32))
        delay = max(self._rand() * limit, config.min_refresh_interval_seconds)
        if isinstance(error, SecretsRateLimitedError) and error.retry_after is not None:
            delay = max(delay, error.retry_after)
        entry.failures += 1
        entry.down = isinstance(error, SecretsUnavailableError)
        entry.due = now + delay

    def _next(self, flight: Flight, now: float, after: _After) -> None:
        """Start the load that waits for this one, unless this one has done what it was for."""
        del self._flights[flight.path]
        follow = flight.follow
        if follow is None:
            return
        done = None if follow.only_if is None else other_than(follow.only_if, self._entries.get(flight.path), now)
        if done is not None:
            after.append(partial(follow.give, done))
        else:
            self._depart(follow, now, after)

    def _count_coalesced(self, after: _After) -> None:
        self._coalesced += 1
        if self._observer is not None:
            after.append(self._observer.coalesced)

    def _count_stale(self, answers: int, after: _After) -> None:
        self._stale_served += answers
        if self._observer is not None and answers:
            after.append(partial(self._observer.stale_served, answers))

    # ── inside: none of it under the lock ────────────────────────────────────────────────────────────────────────────

    def _launch(self, flight: Flight) -> None:
        try:
            submitted = self._threads.submit(self._run, flight)
        except Exception as e:
            self._finish(flight, e)
        else:
            submitted.add_done_callback(partial(self._cancelled, flight))

    def _cancelled(self, flight: Flight, submitted: Future[None]) -> None:
        if submitted.cancelled():
            self._finish(flight, SecretsClosedError("closed before it was read", path=flight.path, backend=""))

    def _run(self, flight: Flight) -> None:
        try:
            reading = flight.load()
            digest = self._digest(reading)
        except BaseException as e:  # whatever it is, those who wait are to hear of it
            self._finish(flight, e)
        else:
            self._finish(flight, None, reading, digest)

    def _finish(
        self, flight: Flight, error: BaseException | None, reading: Reading | None = None, digest: bytes = b""
    ) -> None:
        after: _After = []
        with self._lock:
            if flight.ended:
                return
            flight.ended = True
            now = self._clock()
            if error is not None:
                self._crash(flight, error, now, after)
            elif reading is not None:
                self._arrive(flight, reading, digest, now, after)
            if flight.background:
                self._refreshing -= 1
            if flight.refresh:
                self._refreshes += error is None
                self._refresh_errors += error is not None
                if self._observer is not None:
                    after.append(partial(self._observer.refreshed, ok=error is None))
            self._next(flight, now, after)
        _call(after)

    def _deliver(self) -> None:
        """Tell the subscribers; where a thread is at that already, it goes on with what was added meanwhile."""
        while True:
            with self._lock:
                if self._delivering or not self._changes:
                    return
                self._delivering = True
                change = self._changes.popleft()
                callbacks = tuple(self._subscribers.values())
            try:
                for callback in callbacks:
                    _tell(callback, change)
            finally:
                with self._lock:
                    self._delivering = False

    def _unsubscribe(self, key: object) -> None:
        with self._lock:
            self._subscribers.pop(key, None)

    def _digest(self, reading: Reading) -> bytes:
        """Tell contents apart without a copy of them; the key is this process's own, so that none can be guessed."""
        text = json.dumps([reading.metadata.version, dict(reading.data.reveal())], sort_keys=True, default=_plain)
        return hashlib.blake2b(text.encode("ascii"), key=self._digest_key, digest_size=16).digest()

    def _forked(self) -> None:
        # Only the thread that forked is here: what others were doing will not end, and a lock they held stays shut.
        self._lock = threading.Lock()
        self._flights = {}
        self._refreshing = 0
        self._delivering = False


def _call(after: _After) -> None:
    for what in after:
        try:
            what()
        except Exception as e:  # an observer's: what comes after it is awaited by somebody
            log.error("an observer of the cache failed: %s", type(e).__name__)  # noqa: TRY400


def _tell(callback: Callable[[SecretChange], None], change: SecretChange) -> None:
    try:
        callback(change)
    except Exception as e:
        # Its text and its frames may hold the value.
        log.error("a callback for changed secrets failed: %s", type(e).__name__)  # noqa: TRY400


def _plain(value: Any) -> Any:
    if isinstance(value, Redacted):
        return value.reveal()
    if isinstance(value, Mapping):
        return dict(value)
    return [type(value).__name__, repr(value)]
