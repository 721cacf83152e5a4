"""One load for many, fresh without a wait, stale only when flagged and for a while, and a refusal is a refusal."""

import asyncio
import logging
import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from elile.secrets.cache import SecretCache, SecretCacheConfig
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsClosedError,
    SecretsConfigurationError,
    SecretsError,
    SecretsRateLimitedError,
    SecretsSealedError,
    SecretsUnavailableError,
)
from elile.secrets.protocol import Reading
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.threads import IoThreads
from elile.secrets.types import SecretChange, SecretMetadata

T = TypeVar("T")
PATIENCE = 10.0
CANARY = "canary-3d1f"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
DOWN = SecretsUnavailableError("connection refused", path="a")
DENIED = SecretAccessDeniedError("permission denied", path="a")
ABSENT = SecretNotFoundError("nothing is stored there", path="a")
DELETED = SecretDeletedError("version 2 is deleted", path="a", version=2, deleted_at=None, destroyed=False)


class Clock:
    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


class Inline(IoThreads):
    """Calls at once, in the thread of the caller; or, once `held`, when `release` says so."""

    def __init__(self) -> None:
        super().__init__(1)
        self.held = False
        self.waiting: list[Callable[[], None]] = []

    def submit(self, fn: Callable[..., T], /, *args: Any) -> Future[T]:
        future: Future[T] = Future()

        def call() -> None:
            future.set_result(fn(*args))

        if self.held:
            self.waiting.append(call)
        else:
            call()
        return future

    def release(self) -> None:
        """Run what waits now; what that starts waits again."""
        waiting, self.waiting = self.waiting, []
        for call in waiting:
            call()


class Store:
    """One entry of a backend, which can be told to fail."""

    def __init__(self, value: str = "one", version: str | None = "1") -> None:
        self.value, self.version = value, version
        self.expires_at: datetime | None = None
        self.error: BaseException | None = None
        self.loads = 0

    def __call__(self) -> Reading:
        self.loads += 1
        if self.error is not None:
            raise self.error
        return reading(self.value, self.version, self.expires_at)


def reading(value: str, version: str | None = "1", expires_at: datetime | None = None) -> Reading:
    return Reading(Redacted({"password": value}), SecretMetadata(version=version, expires_at=expires_at))


class Bench:
    """A cache in which nothing happens by itself."""

    def __init__(self, **config: Any) -> None:
        self.clock, self.threads, self.store = Clock(), Inline(), Store()
        self.now = NOW
        self.rand = 0.5  # no jitter
        self.cache = SecretCache(
            SecretCacheConfig(**config),
            threads=self.threads,
            clock=self.clock,
            now=lambda: self.now,
            rand=lambda: self.rand,
        )
        self.changes: list[SecretChange] = []
        self.cache.subscribe(self.changes.append)

    def get(self, path: str = "a", *, max_age: float | None = None) -> str:
        """The value, with a mark when it is stale."""
        found = self.cache.get_blocking(path, self.store, max_age=max_age)
        return found["password"].reveal() + ("!" if found.is_stale else "")

    def later(self, seconds: float) -> None:
        self.clock.at += seconds


@pytest.fixture
def bench() -> Bench:
    return Bench()


# ── configuration ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("enabled", 1),
        ("default_ttl_seconds", 0),
        ("default_ttl_seconds", "300"),
        ("max_entries", 0),
        ("max_entries", 1.5),
        ("max_entries", True),
        ("refresh_ahead", 0),
        ("refresh_ahead", 1.1),
        ("jitter", -0.1),
        ("jitter", 1),
        ("stale_if_error_seconds", -1),
        ("stale_if_error_seconds", float("inf")),
        ("negative_ttl_seconds", float("nan")),
        ("retry_base_seconds", 0),
        ("retry_max_seconds", 0.5),
        ("max_concurrent_refresh", 0),
        ("min_refresh_interval_seconds", -1),
    ],
)
def test_a_configuration_that_cannot_work_names_the_field(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=field):
        SecretCacheConfig(**{field: value})  # type: ignore[arg-type]


def test_the_documented_call_works() -> None:
    cache = SecretCache(SecretCacheConfig(enabled=True, default_ttl_seconds=300, max_entries=1000))
    assert cache.get_blocking("a", Store())["password"].reveal() == "one"
    cache.close()
    with pytest.raises(SecretsClosedError):
        cache.get_blocking("a", Store())


# ── fresh values ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_is_fresh_for_its_time(bench: Bench) -> None:
    assert bench.cache.peek("a") is None
    assert bench.get() == "one"
    bench.store.value = "two"
    bench.later(239)
    assert bench.get() == "one"
    assert (found := bench.cache.peek("a")) is not None
    assert found.age == 239
    assert bench.store.loads == 1


def test_a_value_that_nobody_read_is_read_anew_when_it_is_old(bench: Bench) -> None:
    bench.get()
    bench.store.value = "two"
    bench.later(300)
    assert bench.cache.peek("a") is None
    assert bench.get() == "two"


def test_max_age_is_kept_to(bench: Bench) -> None:
    bench.get()
    bench.later(10)
    assert bench.cache.peek("a", max_age=10) is None
    assert bench.cache.peek("a", max_age=11) is not None
    bench.get(max_age=11)
    assert bench.store.loads == 1
    bench.get(max_age=10)
    assert bench.store.loads == 2
    bench.get(max_age=0)
    bench.get(max_age=0)
    assert bench.store.loads == 4


def test_a_value_is_not_fresh_after_it_expires(bench: Bench) -> None:
    bench.store.expires_at = NOW + timedelta(seconds=50)
    bench.get()
    bench.later(39)
    bench.get()
    assert bench.store.loads == 1
    bench.later(11)
    assert bench.cache.peek("a") is None
    bench.now = NOW + timedelta(seconds=50)
    bench.get()  # expired when it came: good for this call alone
    bench.get()
    assert bench.store.loads == 3


def test_an_expiry_without_a_zone_is_utc(bench: Bench) -> None:
    bench.store.expires_at = (NOW + timedelta(seconds=50)).replace(tzinfo=None)
    bench.get()
    bench.later(50)
    assert bench.cache.peek("a") is None


def test_the_least_recently_used_goes_first() -> None:
    bench = Bench(max_entries=2)
    for path in "ab":
        bench.get(path)
    bench.cache.peek("a")
    bench.get("c")
    assert [bench.cache.peek(path) is not None for path in "abc"] == [True, False, True]
    bench.get("a")  # by fetch this time
    bench.get("b")
    assert bench.cache.generations() == {"a": 1, "b": 1}
    stats = bench.cache.stats()
    assert (stats.evictions, stats.entries) == (2, 2)


def test_what_was_invalidated_or_cleared_is_gone(bench: Bench) -> None:
    bench.get()
    bench.cache.invalidate("a")
    assert bench.cache.peek("a") is None
    bench.get()
    bench.cache.clear()
    assert bench.cache.generations() == {}
    bench.get()
    assert bench.store.loads == 3


def test_a_disabled_cache_keeps_nothing() -> None:
    bench = Bench(enabled=False)
    bench.get()
    bench.store.value = "two"
    assert bench.get() == "two"
    assert bench.cache.put("a", reading("three")).generation == 3
    assert bench.cache.peek("a") is None
    bench.store.error = ABSENT
    for _ in range(2):
        with pytest.raises(SecretNotFoundError):
            bench.get()
    assert bench.store.loads == 4
    assert [change.current.generation for change in bench.changes] == [1, 2, 3]


def test_a_disabled_cache_takes_no_old_answer_for_news() -> None:
    bench = Bench(enabled=False)
    bench.get()
    bench.threads.held = True
    first = bench.cache.fetch("a", bench.store)
    second = bench.cache.fetch("a", bench.store)
    assert bench.cache.stats().coalesced == 1
    bench.cache.put("a", reading("two"))
    bench.threads.release()
    assert first.result(0)["password"].reveal() == "two"
    assert second.result(0)["password"].reveal() == "two"
    assert len(bench.changes) == 2


# ── generations and changes ──────────────────────────────────────────────────────────────────────────────────────────


def test_generations_count_contents_and_versions(bench: Bench) -> None:
    def generation(value: str, version: str | None) -> int:
        bench.store.value, bench.store.version = value, version
        return bench.cache.refresh("a", bench.store).result(0).generation

    assert generation("one", "1") == 1
    assert generation("one", "1") == 1
    assert generation("two", "1") == 2
    assert generation("two", "2") == 3
    assert generation("two", None) == 4
    bench.cache.clear()
    assert generation("two", None) == 4
    assert generation("one", None) == 5
    assert [(c.current.generation, c.previous and c.previous.generation) for c in bench.changes] == [
        (1, None),
        (2, 1),
        (3, 2),
        (4, 3),
        (5, 4),
    ]


def test_contents_that_are_no_plain_json_are_told_apart(bench: Bench) -> None:
    found = []
    for value in (b"one", b"two", SecretStr("one"), SecretStr("two"), {"k": [1]}, {"k": [2]}, "\ud800", 1.5):
        answer = Reading(Redacted({"password": value}), SecretMetadata())
        found.append(bench.cache.put("a", answer).generation)
    assert found == [1, 2, 3, 4, 5, 6, 7, 8]


def test_subscribers_hear_in_order_even_of_what_they_do_themselves(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[int] = []

    def write_again(change: SecretChange) -> None:
        if change.current.generation < 3:
            bench.cache.put("a", reading(f"{CANARY}-{change.current.generation}"))
        raise ValueError(change.current["password"].reveal())

    bench.cache.subscribe(write_again)
    cancel = bench.cache.subscribe(lambda change: heard.append(change.current.generation))
    bench.cache.put("a", reading(CANARY))
    cancel()
    cancel()
    bench.cache.put("a", reading("last"))
    assert heard == [1, 2, 3]
    assert [change.current.generation for change in bench.changes] == [1, 2, 3, 4]
    assert "ValueError" in caplog.text
    assert CANARY not in caplog.text


def test_callers_have_their_value_before_subscribers_hear(bench: Bench) -> None:
    bench.threads.held = True
    future = bench.cache.fetch("a", bench.store)
    done: list[bool] = []
    bench.cache.subscribe(lambda _: done.append(future.done()))
    bench.threads.release()
    assert done == [True]


def test_a_write_wins_over_a_read_that_began_before(bench: Bench) -> None:
    bench.threads.held = True
    before = bench.cache.fetch("a", bench.store)
    written = bench.cache.put("a", reading("two"))
    bench.threads.release()
    assert before.result(0) is written
    assert bench.cache.peek("a") is written
    assert len(bench.changes) == 1
    bench.threads.held = True
    bench.store.error = DOWN
    strict = bench.cache.refresh("a", bench.store)
    written = bench.cache.put("a", reading("three"))
    bench.threads.release()
    with pytest.raises(SecretsUnavailableError):
        strict.result(0)
    assert bench.cache.peek("a") is written


def test_a_read_that_began_before_an_invalidation_is_not_kept(bench: Bench) -> None:
    bench.threads.held = True
    before = bench.cache.fetch("a", bench.store)
    bench.cache.invalidate("a")
    after = bench.cache.fetch("a", bench.store)
    bench.threads.release()
    assert before.result(0)["password"].reveal() == "one"
    assert bench.cache.peek("a") is None
    bench.store.value = "two"
    bench.threads.release()
    assert after.result(0)["password"].reveal() == "two"


# ── compare and refresh ──────────────────────────────────────────────────────────────────────────────────────────────


def test_only_the_generation_that_was_wrong_is_replaced(bench: Bench) -> None:
    bench.get()
    bench.store.value = "two"
    assert bench.cache.refresh("a", bench.store, if_generation=1).result(0).generation == 2
    assert bench.cache.refresh("a", bench.store, if_generation=1).result(0).generation == 2
    assert bench.store.loads == 2
    assert bench.cache.refresh("a", bench.store).result(0).generation == 2
    assert bench.store.loads == 3
    bench.cache.invalidate("a")
    bench.cache.refresh("a", bench.store, if_generation=1).result(0)
    assert bench.store.loads == 4


def test_of_many_with_the_same_wrong_value_one_refreshes(bench: Bench) -> None:
    bench.get()
    bench.store.value = "two"
    bench.threads.held = True
    futures = [bench.cache.refresh("a", bench.store, if_generation=1) for _ in range(20)]
    bench.threads.release()
    assert {future.result(0).generation for future in futures} == {2}
    assert bench.store.loads == 2


def test_a_refresh_that_found_nothing_new_is_done_once_more_for_those_who_came_later(bench: Bench) -> None:
    bench.get()
    bench.threads.held = True
    futures = [bench.cache.refresh("a", bench.store, if_generation=1) for _ in range(20)]
    bench.threads.release()
    assert [future.done() for future in futures] == [True, *[False] * 19]
    bench.store.value = "two"  # after the first of them was read, maybe before the others asked
    bench.threads.release()
    assert {future.result(0).generation for future in futures[1:]} == {2}
    assert bench.store.loads == 3


def test_no_stale_value_for_a_refresh_or_for_max_age_zero(bench: Bench) -> None:
    bench.get()
    bench.store.error = DOWN
    with pytest.raises(SecretsUnavailableError):
        bench.cache.refresh("a", bench.store).result(0)
    with pytest.raises(SecretsUnavailableError):
        bench.get(max_age=0)
    assert bench.get() == "one"
    bench.later(5)
    assert bench.get(max_age=5) == "one!"  # and has it tried again behind its back
    assert bench.cache.stats().refresh_errors == 2


def test_who_takes_a_stale_value_gets_it_from_the_load_of_one_who_does_not(bench: Bench) -> None:
    bench.get()
    bench.later(300)
    bench.store.error = DOWN
    bench.threads.held = True
    strict = bench.cache.refresh("a", bench.store)
    lenient = bench.cache.fetch("a", bench.store)
    bench.threads.release()
    assert lenient.result(0).is_stale
    with pytest.raises(SecretsUnavailableError):
        strict.result(0)


def test_an_unconditional_refresh_is_not_content_with_what_came_before_it(bench: Bench) -> None:
    bench.get()
    bench.threads.held = True
    bench.cache.refresh("a", bench.store)
    compared = bench.cache.refresh("a", bench.store, if_generation=1)
    late = bench.cache.refresh("a", bench.store)
    bench.store.value = "two"
    bench.threads.release()
    bench.store.value = "three"
    bench.threads.release()
    assert late.result(0)["password"].reveal() == "three"
    assert compared.result(0) is late.result(0)


# ── ahead of time ────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("way", ["peek", "fetch"])
def test_a_hit_on_an_old_value_refreshes_it_without_a_wait(bench: Bench, way: str) -> None:
    def hit() -> str:
        found = bench.cache.peek("a") if way == "peek" else bench.cache.fetch("a", bench.store).result(0)
        assert found is not None
        return found["password"].reveal()

    bench.get()
    bench.threads.held = True
    bench.store.value = "two"
    bench.later(239.9)
    assert hit() == "one"
    assert not bench.threads.waiting
    bench.later(0.1)
    assert [hit(), hit()] == ["one", "one"]
    assert len(bench.threads.waiting) == 1
    bench.threads.release()
    assert hit() == "two"
    assert bench.store.loads == 2
    assert bench.cache.stats().refreshes == 1


@pytest.mark.parametrize(("rand", "due"), [(0.0, 216.0), (0.5, 240.0), (1.0, 264.0)])
def test_the_moment_of_the_refresh_varies(bench: Bench, rand: float, due: float) -> None:
    bench.rand = rand
    bench.get()
    bench.later(due - 0.1)
    bench.get()
    assert bench.store.loads == 1
    bench.later(0.2)
    bench.get()
    assert bench.store.loads == 2


def test_nothing_is_refreshed_that_nobody_reads_or_when_it_is_turned_off() -> None:
    bench = Bench(refresh_ahead=1)
    bench.get()
    bench.later(299.9)
    bench.get()
    assert bench.store.loads == 1
    quiet = Bench()
    quiet.get()
    quiet.later(10_000)
    assert quiet.store.loads == 1


def test_only_so_many_refreshes_at_once() -> None:
    bench = Bench(max_concurrent_refresh=2)
    for path in "abcd":
        bench.get(path)
    bench.threads.held = True
    bench.later(250)
    for path in "abcd":
        assert bench.get(path) == "one"
    assert len(bench.threads.waiting) == 2
    bench.threads.release()
    for path in "abcd":
        bench.get(path)
    assert len(bench.threads.waiting) == 2
    bench.threads.release()
    assert bench.store.loads == 8


def test_refreshes_of_one_path_keep_their_distance() -> None:
    bench = Bench(default_ttl_seconds=10, min_refresh_interval_seconds=9)
    bench.get()
    bench.later(8.9)
    bench.get()
    assert bench.store.loads == 1
    bench.later(0.1)
    bench.get()
    assert bench.store.loads == 2


def test_a_written_value_is_refreshed_by_its_load(bench: Bench) -> None:
    bench.cache.put("a", reading("one"), load=bench.store)
    bench.cache.put("b", reading("one"))
    bench.later(250)
    bench.cache.peek("a")
    bench.cache.peek("b")
    assert bench.store.loads == 1


# ── outages ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_stale_values_are_flagged_and_end(bench: Bench) -> None:
    bench.get()
    bench.store.error = SecretsSealedError("sealed")
    bench.later(300)
    assert bench.get() == "one!"
    assert bench.cache.stale_paths() == ("a",)
    assert bench.cache.peek("a") is None
    bench.later(899)
    assert bench.get() == "one!"
    bench.later(1.1)
    with pytest.raises(SecretsSealedError):
        bench.get()
    assert bench.cache.stale_paths() == ()
    assert bench.cache.stats().stale_served == 2
    bench.store.error = None
    assert bench.get() == "one"
    assert len(bench.changes) == 1


def test_without_a_value_an_outage_is_an_error_each_time(bench: Bench) -> None:
    bench.store.error = DOWN
    for loads in (1, 2):
        with pytest.raises(SecretsUnavailableError, match="connection refused"):
            bench.get()
        assert bench.store.loads == loads


def test_a_minute_of_outage_costs_no_caller() -> None:
    bench = Bench()
    bench.get()
    bench.later(270)  # the outage ends well after the value's time
    bench.store.error = DOWN
    bench.get()
    bench.threads.held = True  # from here, whoever had to wait would have an unfinished future
    answers = []
    for _ in range(60):
        bench.later(1)
        future = bench.cache.fetch("a", bench.store)
        assert future.done()
        answers.append(future.result(0).is_stale)
        bench.threads.release()
    assert answers == [False] * 29 + [True] * 31
    assert 3 <= bench.store.loads <= 10
    bench.store.error, bench.store.value = None, "two"
    for _ in range(60):
        bench.later(1)
        assert bench.cache.fetch("a", bench.store).done()
        bench.threads.release()
    assert bench.get() == "two"


def test_long_after_an_outage_a_stale_value_is_not_given_without_need(bench: Bench) -> None:
    bench.get()
    bench.later(290)
    bench.store.error = DOWN
    bench.get()
    bench.store.error, bench.store.value = None, "two"
    bench.later(500)
    assert bench.get() == "two"


def test_failures_back_off_with_full_jitter(bench: Bench) -> None:
    bench.get()
    bench.store.error = DOWN
    bench.later(299)
    bench.rand = 1.0
    bench.get()
    waits = []
    for _ in range(8):
        waited = 0
        before = bench.store.loads
        while bench.store.loads == before:
            bench.later(1)
            waited += 1
            bench.get()
        waits.append(waited)
    assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
    bench.rand = 0.0
    bench.later(60)
    bench.get()
    loads = bench.store.loads
    bench.later(0.9)
    bench.get()
    assert bench.store.loads == loads  # at least the distance of two refreshes


def test_a_server_that_throttles_says_when(bench: Bench) -> None:
    bench.get()
    bench.later(299)
    bench.store.error = SecretsRateLimitedError("too many requests", retry_after=120)
    bench.get()
    bench.later(119)
    assert bench.get() == "one!"
    assert bench.store.loads == 2
    bench.later(1)
    bench.get()
    assert bench.store.loads == 3


def test_what_is_no_outage_is_never_covered(bench: Bench) -> None:
    bench.get()
    bench.later(300)
    for error in (SecretsConfigurationError("no such thing"), KeyError("x"), SystemExit(3)):
        bench.store.error = error
        with pytest.raises(type(error)):
            bench.get()
    bench.store.error = DOWN
    assert bench.get() == "one!"


# ── refusals and absence ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [DENIED, SecretsAuthenticationError("login refused")])
def test_a_refusal_ends_a_good_value_at_once(bench: Bench, error: SecretsError) -> None:
    bench.get()
    bench.store.error = error
    bench.later(250)
    assert bench.get() == "one"  # this hit finds out, in the background
    for loads in (3, 4):  # not cached either
        with pytest.raises(type(error)):
            bench.get()
        assert bench.store.loads == loads
    bench.store.error = DOWN
    with pytest.raises(SecretsUnavailableError):  # an outage does not bring it back
        bench.get()
    assert bench.cache.stats().stale_served == 0


@pytest.mark.parametrize("error", [DENIED, ABSENT, DELETED])
def test_a_refusal_ends_a_stale_value_too(bench: Bench, error: SecretsError) -> None:
    bench.get()
    bench.later(300)
    bench.store.error = DOWN
    assert bench.get() == "one!"
    bench.store.error = error
    bench.later(1)
    assert bench.get() == "one!"
    with pytest.raises(type(error)):
        bench.get()


@pytest.mark.parametrize("error", [ABSENT, DELETED])
def test_absence_is_remembered_for_a_moment(bench: Bench, error: SecretNotFoundError) -> None:
    bench.store.error = error
    raised = []
    for _ in range(3):
        with pytest.raises(type(error)) as caught:
            bench.get()
        raised.append(caught.value)
    direct = [bench.cache.fetch("a", bench.store).exception() for _ in range(2)]
    assert direct[0] is not direct[1]
    assert bench.store.loads == 1
    assert bench.cache.stats().negative_hits == 4
    assert raised[1] is not raised[2]
    assert vars(raised[1]) == vars(error)
    bench.store.error = None
    with pytest.raises(type(error)):
        bench.get(max_age=4)
    assert bench.get(max_age=0) == "one"
    assert bench.get() == "one"


def test_a_refusal_ends_an_absence(bench: Bench) -> None:
    for error in (ABSENT, DENIED):
        bench.store.error = error
        with pytest.raises(type(error)):
            bench.get(max_age=0)
    with pytest.raises(SecretAccessDeniedError):
        bench.get()


def test_absence_ends(bench: Bench) -> None:
    def absent() -> None:
        bench.cache.invalidate("a")
        bench.store.error = ABSENT
        with pytest.raises(SecretNotFoundError):
            bench.get()
        bench.store.error = None

    absent()
    bench.later(5)
    assert bench.get() == "one"
    absent()
    bench.cache.put("a", reading("two"))
    assert bench.get() == "two"
    absent()
    bench.cache.invalidate("a")
    assert bench.get() == "one"


def test_an_absence_does_not_come_back_when_the_value_is_evicted() -> None:
    bench = Bench(max_entries=1)
    bench.store.error = ABSENT
    with pytest.raises(SecretNotFoundError):
        bench.get()
    bench.store.error = None
    bench.cache.put("a", reading("one"))
    bench.get("b")
    assert bench.get() == "one"


def test_what_is_remembered_of_dropped_paths_is_bounded() -> None:
    bench = Bench(max_entries=2)
    for i in range(100):
        bench.get(str(i))
    assert len(bench.cache._seen) == 20
    bench.get("99")
    assert len(bench.changes) == 100


def test_absences_are_bounded() -> None:
    bench = Bench(max_entries=2)
    bench.store.error = ABSENT
    for path in "abca":
        with pytest.raises(SecretNotFoundError):
            bench.get(path)
    assert bench.store.loads == 4


def test_no_error_holds_frames_of_the_load(bench: Bench) -> None:
    bench.store.error = SecretNotFoundError("nothing is stored there")
    with pytest.raises(SecretNotFoundError):
        bench.get()
    with pytest.raises(SecretNotFoundError) as caught:
        bench.get()
    assert "__call__" not in [frame.name for frame in traceback.extract_tb(caught.value.__traceback__)]


# ── many callers ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cache() -> Iterator[SecretCache]:
    made = SecretCache()
    yield made
    made.close()


class Slow(Store):
    """Answers once it is let."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.gate = threading.Event(), threading.Event()

    def __call__(self) -> Reading:
        self.begun.set()
        assert self.gate.wait(PATIENCE)
        return super().__call__()


def wait_until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_a_thousand_callers_in_threads_and_three_loops_cause_one_load(cache: SecretCache) -> None:
    store, found, lock = Slow(), [0], threading.Lock()

    def note(count: int) -> None:
        with lock:
            found[0] += count

    def blocking() -> None:
        note(cache.get_blocking("a", store)["password"].reveal() == "one")

    async def many() -> None:
        answers = await asyncio.gather(*(cache.get("a", store) for _ in range(300)))
        note(sum(answer["password"].reveal() == "one" for answer in answers))

    workers = [threading.Thread(target=blocking) for _ in range(100)]
    workers += [threading.Thread(target=lambda: asyncio.run(many())) for _ in range(3)]
    for worker in workers:
        worker.start()
    wait_until(lambda: cache.stats().coalesced == 999)
    store.gate.set()
    for worker in workers:
        worker.join(PATIENCE)
    assert found[0] == 1000
    assert store.loads == 1
    assert cache.stats().misses == 1


async def test_a_leader_that_is_cancelled_still_serves_the_others(cache: SecretCache) -> None:
    store = Slow()
    leader = asyncio.create_task(cache.get("a", store))
    assert await asyncio.to_thread(store.begun.wait, PATIENCE)
    others = [asyncio.create_task(cache.get("a", store)) for _ in range(4)]
    future = cache.fetch("a", store)
    await asyncio.sleep(0)
    leader.cancel()
    others[0].cancel()
    assert not future.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    store.gate.set()
    values = await asyncio.gather(*others[1:])
    assert {value["password"].reveal() for value in values} == {"one"}
    assert store.loads == 1


def test_a_loop_that_closes_leaves_the_load_to_the_next(cache: SecretCache, caplog: pytest.LogCaptureFixture) -> None:
    store = Slow()

    async def impatient() -> None:
        await asyncio.wait_for(cache.get("a", store), 0.05)

    with pytest.raises(TimeoutError):
        asyncio.run(impatient())
    store.gate.set()
    assert asyncio.run(cache.get("a", store))["password"].reveal() == "one"
    assert store.loads == 1
    assert not caplog.records


async def test_an_error_reaches_all_callers_and_is_not_shared(cache: SecretCache) -> None:
    store = Slow()
    store.error = DENIED
    tasks = [asyncio.create_task(cache.get("a", store)) for _ in range(10)]
    assert await asyncio.to_thread(store.begun.wait, PATIENCE)
    store.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(error) for error in errors} == {SecretAccessDeniedError}
    assert len({id(error) for error in errors}) == 10


def test_who_needs_a_newer_answer_does_not_join_an_older_load(bench: Bench) -> None:
    bench.threads.held = True
    first = bench.cache.fetch("a", bench.store)
    bench.later(5)
    joined = bench.cache.fetch("a", bench.store, max_age=6)
    late = [bench.cache.fetch("a", bench.store, max_age=5) for _ in range(3)]
    bench.threads.release()
    assert first.result(0) is joined.result(0)
    bench.store.value = "two"
    assert not any(future.done() for future in late)
    bench.threads.release()
    assert {future.result(0)["password"].reveal() for future in late} == {"two"}
    assert bench.store.loads == 2


def test_closing_ends_the_wait_for_what_had_not_begun() -> None:
    threads, store = IoThreads(1), Slow()
    cache = SecretCache(threads=threads)
    first = cache.fetch("a", store)
    second = cache.fetch("b", store)
    assert store.begun.wait(PATIENCE)
    threads.close()
    with pytest.raises(SecretsClosedError):
        second.result(PATIENCE)
    with pytest.raises(SecretsClosedError):
        cache.get_blocking("c", store)
    store.gate.set()
    assert first.result(PATIENCE)["password"].reveal() == "one"


def test_no_caller_is_lost_among_reads_writes_and_failures() -> None:
    """Everything at once, with real threads: each call ends, and one load of a path runs at a time."""
    cache = SecretCache(SecretCacheConfig(max_entries=3, default_ttl_seconds=0.01, min_refresh_interval_seconds=0))
    running: dict[str, int] = dict.fromkeys("abcde", 0)
    wrong: list[str] = []

    def loader(path: str) -> Callable[[], Reading]:
        def load() -> Reading:
            running[path] += 1
            if running[path] > 1:
                wrong.append(path)
            time.sleep(0.001)
            running[path] -= 1
            n = time.monotonic_ns() // 1_000_000 % 7
            if n < 3:
                raise (DOWN, DENIED, ABSENT)[n]
            return reading(str(n))

        return load

    def work(seed: int) -> None:
        for i in range(100):
            path = "abcde"[(seed + i) % 5]
            what = (seed * 7 + i) % 11
            try:
                if what == 0:
                    cache.put(path, reading("put"))
                elif what == 1:
                    cache.invalidate(path)
                elif what == 2:
                    cache.refresh(path, loader(path), if_generation=i % 3).result(PATIENCE)
                else:
                    max_age = None if what % 2 else 0.0
                    cache.fetch(path, loader(path), max_age=max_age).result(PATIENCE)
            except SecretsError:
                pass
            except BaseException as e:
                wrong.append(type(e).__name__)
                raise

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong
    assert cache.stats().entries <= 3
    wait_until(lambda: not cache._flights)
    assert cache._refreshing == 0
    cache.close()


# ── a forked process ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")  # of Python 3.12
def test_a_forked_process_keeps_values_and_forgets_loads(cache: SecretCache) -> None:
    store, slow = Store(), Slow()
    cache.get_blocking("a", store)
    under_way = cache.fetch("b", slow)
    assert slow.begun.wait(PATIENCE)
    heard: list[int] = []
    cache.subscribe(lambda change: heard.append(change.current.generation))

    def check() -> None:
        assert cache.peek("a") is not None
        found = cache.get_blocking("b", Store("child"))
        assert found["password"].reveal() == "child"
        store.value = "two"
        assert cache.refresh("a", store).result(PATIENCE).generation == 2
        wait_until(lambda: heard == [1, 2])
        assert asyncio.run(cache.get("c", Store()))["password"].reveal() == "one"

    with cache._lock:  # as if another thread held it
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                check()
                code = 0
            except BaseException:
                traceback.print_exc()
            finally:
                os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    slow.gate.set()
    assert under_way.result(PATIENCE)["password"].reveal() == "one"
    assert cache.generations() == {"a": 1, "b": 1}


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_process_may_refresh_though_its_parent_was_at_it() -> None:
    bench = Bench(max_concurrent_refresh=1)
    bench.get()
    bench.threads.held = True
    bench.later(250)
    bench.get()
    pid = os.fork()
    if pid == 0:
        bench.threads.held = False
        bench.get()
        os._exit(0 if bench.store.loads == 2 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    bench.threads.release()
    assert bench.store.loads == 2


# ── what is told ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Counting:
    def __init__(self) -> None:
        self.told: list[str] = []

    def hit(self) -> None:
        self.told.append("hit")

    def miss(self) -> None:
        self.told.append("miss")

    def coalesced(self) -> None:
        self.told.append("coalesced")

    def refreshed(self, *, ok: bool) -> None:
        self.told.append("refreshed" if ok else "failed")

    def stale_served(self, answers: int) -> None:
        self.told.append(f"stale {answers}")

    def evicted(self) -> None:
        self.told.append("evicted")


def test_the_observer_hears_what_the_counts_say() -> None:
    observer, clock, threads, store = Counting(), Clock(), Inline(), Store()
    config = SecretCacheConfig(max_entries=1)
    cache = SecretCache(config, clock=clock, threads=threads, rand=lambda: 0.5, observer=observer)
    cache.get_blocking("a", store)
    cache.get_blocking("a", store)
    clock.at += 250
    cache.fetch("a", store)
    clock.at += 300
    store.error = DOWN
    threads.held = True
    cache.fetch("a", store)
    cache.fetch("a", store)
    threads.release()
    threads.held = False
    cache.fetch("a", store)
    with pytest.raises(SecretsUnavailableError):
        cache.refresh("a", store).result(0)
    cache.put("b", reading("one"))
    assert observer.told == [
        *("miss", "hit", "hit", "refreshed", "miss", "coalesced", "stale 2", "stale 1", "failed", "evicted"),
    ]
    clock.at += 7
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.coalesced, stats.stale_served) == (2, 2, 1, 3)
    assert (stats.refreshes, stats.refresh_errors, stats.evictions) == (1, 1, 1)
    assert (stats.entries, stats.oldest_age) == (1, 7)


def test_an_observer_that_fails_stops_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Counting):
        def miss(self) -> None:
            raise RuntimeError(CANARY)

    cache = SecretCache(threads=Inline(), observer=Broken())
    assert cache.get_blocking("a", Store())["password"].reveal() == "one"
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text


def test_nothing_that_is_logged_or_shown_holds_a_value(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.store.value = CANARY
    with caplog.at_level(logging.DEBUG):
        bench.get()
        bench.later(300)
        for error in (RuntimeError(CANARY), DOWN):
            bench.store.error = error
            bench.cache.fetch("a", bench.store)
        bench.later(2)
        bench.get()
    shown = [repr(bench.cache), repr(bench.cache.stats()), repr(bench.cache._entries), repr(bench.cache._seen)]
    assert "RuntimeError" in caplog.text
    assert CANARY not in caplog.text + "".join(shown) + repr(bench.changes)


def test_an_outage_is_logged_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.get()
    bench.store.error = DOWN
    for _ in range(20):
        bench.later(30)
        bench.get()
    assert [record.getMessage() for record in caplog.records] == [
        "a secret that is cached cannot be read anew: a: connection refused"
    ]
