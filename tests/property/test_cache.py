"""The cache against a model too simple to be wrong, in any order of calls, answers, failures and waits.

The model does not predict when the cache loads: it sees each load, and says what a caller may get, given the loads
before the call and those within it.
"""

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from elile.secrets.cache import SecretCache, SecretCacheConfig
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsError,
    SecretsRateLimitedError,
    SecretsUnavailableError,
)
from elile.secrets.protocol import Reading
from elile.secrets.redact import Redacted
from elile.secrets.threads import IoThreads
from elile.secrets.types import SecretChange, SecretMetadata, SecretValue

T = TypeVar("T")
# Sums of quarters and halves are exact, so that model and cache must agree on every bound.
TTL, STALE, ABSENT, RETRY, RETRY_MAX = 8.0, 16.0, 2.0, 1.0, 4.0
DUE = TTL * 0.75
ENTRIES = 3
PATHS = "abcde"

paths = st.sampled_from(PATHS)
waits = st.sampled_from([0.25, 0.5, 1.0, 2.0, 3.0, 6.0, 7.0, 8.0, 15.0, 24.0, 25.0])
max_ages = st.sampled_from([None, None, None, 0.0, 0.25, 4.0, 20.0])
errors = st.sampled_from(
    [
        SecretsUnavailableError("down"),
        SecretsRateLimitedError("slow", retry_after=3.0),
        SecretAccessDeniedError("no"),
        SecretsAuthenticationError("who"),
        SecretNotFoundError("nothing"),
    ]
)


class Inline(IoThreads):
    def submit(self, fn: Callable[..., T], /, *args: Any) -> Future[T]:
        future: Future[T] = Future()
        future.set_result(fn(*args))
        return future


@dataclass
class Kept:
    value: str
    since: float


@dataclass
class Path:
    """What is known of a path, from the loads and writes that were seen."""

    kept: Kept | None = None
    absent: float | None = None
    failures: int = 0  # answers in a row that did not come, while something was kept
    again: float = 0.0  # after those, not sooner
    contents: list[str] = field(default_factory=list)  # each that differs from the one before

    def learn(self, value: str, now: float) -> None:
        self.kept, self.absent, self.failures = Kept(value, now), None, 0
        if self.contents[-1:] != [value]:
            self.contents.append(value)

    def forget(self) -> None:
        self.kept, self.absent, self.failures = None, None, 0


class CacheMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.now = 64.0
        self.backend = dict.fromkeys(PATHS, "v0")
        self.failing: SecretsError | None = None
        self.known = {path: Path() for path in PATHS}
        self.recent: list[str] = []  # paths that are kept, least recently used first
        self.missed: list[str] = []  # paths that are absent, and some that were, in the order of their last answer
        self.loads: list[tuple[str, SecretsError | None]] = []
        self.heard: dict[str, list[tuple[int, str]]] = {path: [] for path in PATHS}
        config = SecretCacheConfig(
            default_ttl_seconds=TTL,
            max_entries=ENTRIES,
            refresh_ahead=0.75,
            jitter=0.5,
            stale_if_error_seconds=STALE,
            negative_ttl_seconds=ABSENT,
            retry_base_seconds=RETRY,
            retry_max_seconds=RETRY_MAX,
            min_refresh_interval_seconds=0.25,
        )
        self.cache = SecretCache(config, threads=Inline(), clock=lambda: self.now, rand=lambda: 0.5)
        self.cache.subscribe(self.hear)

    def hear(self, change: SecretChange) -> None:
        self.heard[change.path].append((change.current.generation, change.current["v"].reveal()))

    def loader(self, path: str) -> Callable[[], Reading]:
        def load() -> Reading:
            self.loads.append((path, self.failing))
            if self.failing is not None:
                raise self.failing
            return Reading(Redacted({"v": self.backend[path]}), SecretMetadata())

        return load

    # ── the model ────────────────────────────────────────────────────────────────────────────────────────────────────

    def see_loads(self, path: str) -> list[SecretsError | None]:
        """What was loaded since the last look, which is of one path, once at most; known from now on."""
        seen, self.loads = self.loads, []
        assert [where for where, _ in seen] in ([], [path])
        known = self.known[path]
        for _, error in seen:
            if error is None:
                self.keep(path, self.backend[path])
            elif isinstance(error, SecretNotFoundError):
                known.forget()
                self.miss(path)
            elif not isinstance(error, SecretsUnavailableError):
                known.forget()
            elif known.kept is not None:
                delay = max(0.5 * min(RETRY_MAX, RETRY * 2**known.failures), 0.25)
                known.again = self.now + max(delay, getattr(error, "retry_after", None) or 0.0)
                known.failures += 1
                if self.now - known.kept.since > TTL + STALE:
                    known.kept, known.failures = None, 0
        if known.kept is None and path in self.recent:
            self.recent.remove(path)
        return [error for _, error in seen]

    def keep(self, path: str, value: str) -> None:
        self.known[path].learn(value, self.now)
        self.use(path)
        while len(self.recent) > ENTRIES:
            self.known[self.recent.pop(0)].kept = None

    def miss(self, path: str) -> None:
        self.known[path].absent = self.now
        if path in self.missed:
            self.missed.remove(path)
        self.missed.append(path)
        while len(found := [p for p in self.missed if self.known[p].absent is not None]) > ENTRIES:
            self.known[found[0]].absent = None

    def use(self, path: str) -> None:
        if path in self.recent:
            self.recent.remove(path)
        self.recent.append(path)

    # ── the world ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(seconds=waits)
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @rule(path=paths, value=st.sampled_from(["v0", "v1", "v2"]))
    def write_elsewhere(self, path: str, value: str) -> None:
        self.backend[path] = value

    @rule(error=errors)
    def fail(self, error: SecretsError) -> None:
        self.failing = error

    @rule()
    def recover(self) -> None:
        self.failing = None

    # ── the calls ────────────────────────────────────────────────────────────────────────────────────────────────────

    @rule(path=paths, max_age=max_ages, peek_first=st.booleans())
    def get(self, path: str, max_age: float | None, peek_first: bool) -> None:
        known = self.known[path]
        before, absent, failures, again = known.kept, known.absent, known.failures, known.again
        if before is not None:
            self.use(path)
        found: SecretValue | SecretsError
        try:
            if peek_first:
                found = self.cache.get_blocking(path, self.loader(path), max_age=max_age)
            else:
                found = self.cache.fetch(path, self.loader(path), max_age=max_age).result(0)
        except SecretsError as e:
            found = e
        loads = self.see_loads(path)
        strict = max_age == 0.0
        if before is not None and self.young(before.since, TTL, max_age):
            assert said(found) == before.value
            assert bool(loads) == (self.now >= (again if failures else before.since + DUE))
        elif before is None and absent is not None and self.young(absent, ABSENT, max_age):
            assert isinstance(found, SecretNotFoundError)
            assert not loads
        elif (
            before is not None
            and failures
            and not strict
            and self.now < again + RETRY_MAX
            and self.now - before.since <= TTL + STALE
        ):
            # An outage: nobody waits for what the load says, if there is one at all.
            assert said(found) == before.value + "!"
            assert bool(loads) == (self.now >= again)
        else:
            assert len(loads) == 1
            error = loads[0]
            if error is None:
                assert said(found) == self.backend[path]
            elif isinstance(error, SecretsUnavailableError) and not strict and known.kept is not None:
                assert before is not None
                assert self.now - before.since <= TTL + STALE
                assert said(found) == before.value + "!"
            else:
                assert type(found) is type(error)

    def young(self, since: float, limit: float, max_age: float | None) -> bool:
        age = self.now - since
        return age < limit and (max_age is None or age < max_age)

    @rule(path=paths, max_age=max_ages)
    def peek(self, path: str, max_age: float | None) -> None:
        known = self.known[path]
        before, due = known.kept, known.again
        found = self.cache.peek(path, max_age=max_age)
        if before is None or not self.young(before.since, TTL, max_age):
            assert found is None
            assert not self.loads
            return
        due = due if known.failures else before.since + DUE
        self.use(path)
        assert found is not None
        assert said(found) == before.value
        loads = self.see_loads(path)
        assert not loads or self.now >= due

    @rule(path=paths, generation=st.sampled_from([None, 0, 1, 2, 3]))
    def refresh(self, path: str, generation: int | None) -> None:
        known = self.known[path]
        before = known.kept
        other = before is not None and self.young(before.since, TTL, None) and len(known.contents) != generation
        future = self.cache.refresh(path, self.loader(path), if_generation=generation)
        loads = self.see_loads(path)
        if generation is not None and other:
            assert before is not None
            assert said(future.result(0)) == before.value
            assert not loads
        else:
            assert len(loads) == 1
            error = future.exception(0)
            assert error is loads[0]
            if error is None:
                assert said(future.result(0)) == self.backend[path]

    @rule(path=paths, value=st.sampled_from(["v0", "v1", "v2"]))
    def put(self, path: str, value: str) -> None:
        self.backend[path] = value
        reading = Reading(Redacted({"v": value}), SecretMetadata())
        found = self.cache.put(path, reading, load=self.loader(path))
        assert said(found) == value
        self.keep(path, value)
        assert found.generation == len(self.known[path].contents)

    @rule(path=paths)
    def invalidate(self, path: str) -> None:
        self.cache.invalidate(path)
        self.known[path].forget()
        if path in self.recent:
            self.recent.remove(path)

    @rule()
    def clear(self) -> None:
        self.cache.clear()
        for known in self.known.values():
            known.forget()
        self.recent.clear()

    # ── what always holds ────────────────────────────────────────────────────────────────────────────────────────────

    @invariant()
    def the_same_is_kept(self) -> None:
        kept = {path: len(known.contents) for path, known in self.known.items() if known.kept is not None}
        assert self.cache.generations() == kept
        assert sorted(kept) == sorted(self.recent)
        assert self.cache.stats().entries == len(kept)

    @invariant()
    def each_change_was_told_once_and_in_order(self) -> None:
        for path, known in self.known.items():
            assert self.heard[path] == list(enumerate(known.contents, 1))

    @invariant()
    def stale_is_what_could_not_be_had(self) -> None:
        stale = [
            path
            for path, known in self.known.items()
            if known.kept and known.failures and TTL <= self.now - known.kept.since <= TTL + STALE
        ]
        assert self.cache.stale_paths() == tuple(sorted(stale))

    @invariant()
    def nothing_is_left_under_way(self) -> None:
        assert not self.cache._flights
        assert not self.cache._refreshing


def said(found: SecretValue | SecretsError) -> str:
    """The value, with a mark when it is stale."""
    assert isinstance(found, SecretValue), type(found)
    return found["v"].reveal() + ("!" if found.is_stale else "")


TestCache = CacheMachine.TestCase
TestCache.settings = settings(max_examples=200, stateful_step_count=60, deadline=None)
