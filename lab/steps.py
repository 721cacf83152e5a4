"""Progress of what takes seconds: a line per step with its duration, waiting with a deadline, giving up early."""

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TypeVar

from lab.errors import LabError

T = TypeVar("T")
Echo = Callable[[str], object]

# What a check answers: None when it is so, else why not yet.
Check = Callable[[], str | None]


class GaveUpError(LabError):
    """Another step failed meanwhile: that one's error is the one to read."""


def wait_until(
    check: Check, what: str, timeout: float, *, every: float = 0.05, gave_up: threading.Event | None = None
) -> None:
    """Ask again until `check` answers None. Raises LabError with the last answer after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (reason := check()) is not None:
        if gave_up is not None and gave_up.is_set():
            raise GaveUpError(f"gave up waiting for {what}: another step failed")
        if time.monotonic() > deadline:
            raise LabError(f"{what}: not within {timeout:g} s: {reason}")
        time.sleep(every)


class Steps:
    """Runs steps, some beside each other, and prints a line as each one ends.

    Leaving the `with` block by an exception (Ctrl-C too) tells every step still waiting to give up.
    """

    def __init__(self, echo: Echo) -> None:
        self._echo = echo
        self._pool = ThreadPoolExecutor(thread_name_prefix="lab-step")
        self.gave_up = threading.Event()
        self._started = time.monotonic()
        self._failures: list[BaseException] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self.gave_up.set()
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)
        if isinstance(error, GaveUpError) and self._failures:
            raise self._failures[0] from None

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        now = time.monotonic()
        self._echo(f"  {what:<44}{now - began:6.2f} s   (at {now - self._started:5.2f} s)")

    def beside(self, what: str, action: Callable[[], T]) -> Future[T]:
        """Start a step now; its result, or its exception, is there when somebody asks the future."""

        def run() -> T:
            with self.step(what):
                return action()

        def tell(done: Future[T]) -> None:
            # At once, not when the future's turn to be asked comes: the others only wait in vain.
            if not done.cancelled() and (error := done.exception()) is not None:
                self._failures.append(error)
                self.gave_up.set()

        future = self._pool.submit(run)
        future.add_done_callback(tell)
        return future

    def wait(self, check: Check, what: str, timeout: float) -> None:
        wait_until(check, what, timeout, gave_up=self.gave_up)
