"""Says on the standard error what is going on, so that nobody wonders whether it still does."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from tests.e2e.support.cluster import eventually

__all__ = ["each", "say", "sleep", "until"]

T = TypeVar("T")
EVERY = 5.0  # seconds between two lines of one wait


def say(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


def each(what: str, items: Iterable[T], total: int) -> Iterator[T]:
    """Yield items, and tell now and then how many there were."""
    said = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        if time.monotonic() - said >= EVERY:
            said = time.monotonic()
            say(f"  {what}: {done} of {total}")


def sleep(seconds: float, what: str) -> None:
    """Sleep, and tell what for."""
    end = time.monotonic() + seconds
    say(f"  {what}: {seconds:.0f} s")
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, 6 * EVERY))
        if (left := end - time.monotonic()) > 1:
            say(f"  {what}: {left:.0f} s more")


def until(
    what: str, done: Callable[[], int], total: int, *, within: float = 600.0, every: float = 0.1, tell: bool = True
) -> float:
    """Return the seconds until `done` has counted up to `total`. Raises AssertionError when it does not in time."""
    began = said = time.monotonic()

    def check() -> bool:
        nonlocal said
        found = done()
        if tell and time.monotonic() - said >= EVERY:
            said = time.monotonic()
            say(f"  {what}: {found} of {total}")
        return found >= total

    eventually(f"{what}: {total}", check, within=within, every=every)
    return time.monotonic() - began
