"""What the cache keeps of a path, and one load of it that many wait for; both are guarded by the lock of the cache."""

import copy
import dataclasses
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from elile.secrets.protocol import Reading
from elile.secrets.types import SecretValue

__all__ = ["Entry", "Flight", "Load", "done", "failed", "other_than"]

Load = Callable[[], Reading]


@dataclass(slots=True)
class Entry:
    """A value that is kept, and until when it is good for what; times are monotonic seconds."""

    value: SecretValue
    load: Load | None
    fresh_until: float
    stale_until: float
    due: float  # when a hit starts a refresh
    failures: int = 0
    down: bool = False  # the last load had no answer
    flagged: SecretValue | None = None

    def stale(self) -> SecretValue:
        """Return the value, flagged as stale."""
        if self.flagged is None:
            self.flagged = dataclasses.replace(self.value, is_stale=True)
        return self.flagged


def pending() -> Future[SecretValue]:
    """Return a future that nobody can cancel."""
    future: Future[SecretValue] = Future()
    # A running future cannot be cancelled: no waiter can take it from the others.
    future.set_running_or_notify_cancel()
    return future


@dataclass(slots=True, eq=False)
class Flight:
    """One load. `follow` is the next one, for callers that came too late to be content with this one's answer."""

    path: str
    load: Load
    started: float = 0.0
    background: bool = False
    refresh: bool = False
    superseded: bool = False  # what it finds is not to be kept
    newer: SecretValue | None = None  # was put since it started
    ended: bool = False
    waiters: int = 0
    follow: "Flight | None" = None
    only_if: set[int] | None = field(default_factory=set)  # generations that are still to be replaced; None is any
    lenient: Future[SecretValue] = field(default_factory=pending)
    strict: Future[SecretValue] | None = None  # for those who want no stale value

    def join(self, *, strict: bool) -> Future[SecretValue]:
        """Wait for it; `strict` takes no stale value."""
        if not strict:
            self.waiters += 1
            return self.lenient
        if self.strict is None:
            self.strict = pending()
        return self.strict

    def give(self, value: SecretValue) -> None:
        """Answer all who wait."""
        self.lenient.set_result(value)
        if self.strict is not None:
            self.strict.set_result(value)

    def fail(self, error: BaseException, instead: SecretValue | None) -> None:
        """Answer all who wait: those who may have one, with a stale value instead of the error."""
        if instead is not None:
            self.lenient.set_result(instead)
        else:
            self.lenient.set_exception(error)
        if self.strict is not None:
            self.strict.set_exception(error)


def other_than(generations: set[int], entry: Entry | None, now: float) -> SecretValue | None:
    """Return a fresh value of another generation than these, if it is there."""
    if entry is None or now >= entry.fresh_until or entry.value.generation in generations:
        return None
    return entry.value


def done(value: SecretValue) -> Future[SecretValue]:
    """Return a future that has its answer."""
    future: Future[SecretValue] = Future()
    future.set_result(value)
    return future


def failed(error: BaseException) -> Future[SecretValue]:
    """Return a future that has failed, with an error of its own: frames pile up on one that is shared."""
    future: Future[SecretValue] = Future()
    future.set_exception(copy.copy(error))
    return future
