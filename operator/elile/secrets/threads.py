"""Blocking calls in a few threads, and their answers in any event loop: no loop is ever kept."""

import asyncio
import copy
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any, TypeVar

from elile.secrets.errors import SecretsClosedError, SecretsError, SecretsUnavailableError

__all__ = ["IoThreads", "outcome", "settled"]

T = TypeVar("T")


class IoThreads:
    """A pool of at most `max_workers` threads (default 8), which start when they are first needed.

    A process that was forked starts with none, and with what `on_fork` was told of called once. Raises ValueError
    where `max_workers` is less than 1.
    """

    def __init__(self, max_workers: int = 8) -> None:
        if max_workers < 1:
            raise ValueError("max_workers must be at least 1")
        self._max_workers = max_workers
        self._lock = threading.Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._closed = False
        self._fork_hooks: list[weakref.WeakMethod[Callable[[], None]]] = []
        _live.add(self)

    def submit(self, fn: Callable[..., T], /, *args: Any) -> Future[T]:
        """Call `fn(*args)` in a thread, as soon as one is free.

        Raises SecretsClosedError after `close`, and SecretsUnavailableError where the system gives no thread.
        """
        with self._lock:
            if self._closed:
                raise SecretsClosedError("the threads were closed", backend="")
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._max_workers, thread_name_prefix="elile-secrets")
            try:
                return self._pool.submit(fn, *args)
            except RuntimeError:  # out of threads, or the interpreter is going down
                raise SecretsUnavailableError("no thread can be started", backend="") from None

    async def run(self, fn: Callable[..., T], /, *args: Any) -> T:
        """Call `fn(*args)` in a thread and wait for it. A caller that is cancelled leaves the call as it is."""
        return await outcome(self.submit(fn, *args))

    def on_fork(self, hook: Callable[[], None]) -> None:
        """Have a bound method called in each child process; it is held weakly."""
        with self._lock:
            self._fork_hooks = [held for held in self._fork_hooks if held() is not None]
            self._fork_hooks.append(weakref.WeakMethod(hook))

    def close(self) -> None:
        """Start nothing more, cancel what has not begun, and wait for nothing. May be called again."""
        with self._lock:
            self._closed = True
            pool, self._pool = self._pool, None
        # Not under the lock: the callbacks of what is cancelled run here.
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)

    def _forked(self) -> None:
        # The threads exist in the parent only, and one of them may have held the lock.
        self._lock = threading.Lock()
        self._pool = None
        for held in self._fork_hooks:
            if (hook := held()) is not None:
                hook()


_live: weakref.WeakSet[IoThreads] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for threads in list(_live):
        threads._forked()


os.register_at_fork(after_in_child=_after_fork_in_child)


async def outcome(future: Future[T]) -> T:
    """Wait for a future in whichever loop runs. Being cancelled, or the loop's end, does nothing to the future.

    Raises what the future ended with, and SecretsClosedError where somebody cancelled it.
    """
    if not future.done():
        loop = asyncio.get_running_loop()
        woken = loop.create_future()

        def wake() -> None:
            if not woken.done():
                woken.set_result(None)

        def ended(_: Future[T]) -> None:
            # `wrap_future` has the error logged when the loop was closed meanwhile; nobody waits there any more.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(wake)

        future.add_done_callback(ended)
        await woken
    return settled(future)


def settled(future: Future[T]) -> T:
    """Return what a future ended with, waiting for it in this thread. Raises as `outcome` does."""
    if future.cancelled():
        raise SecretsClosedError("closed before it was begun", backend="")
    error = future.exception()
    if error is None:
        return future.result()
    if isinstance(error, SecretsError):
        # Whoever raises adds its frames to the error; shared by all callers, it would collect all of theirs.
        raise copy.copy(error).with_traceback(error.__traceback__)
    raise error
