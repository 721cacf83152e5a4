"""Single flight: however many ask for the same thing at once, it is fetched once."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

__all__ = ["Flights"]

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


class Flights(Generic[K]):
    """Shared fetches by key, in one event loop.

    The fetch runs in a task of its own: a caller that is cancelled takes nothing away from the others.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._tasks: dict[K, asyncio.Task[Any]] = {}

    async def share(self, key: K, fetch: Callable[[], Awaitable[T]]) -> T:
        """Return what `fetch` returns, or raise what it raises; joins a fetch for this key that is under way."""
        task = self._tasks.get(key)
        if task is None:
            task = asyncio.create_task(self._run(fetch), name=f"elile-{self._name}")
            self._tasks[key] = task
            task.add_done_callback(lambda done: self._landed(key, done))
        outcome: tuple[T | None, Exception | None] = await asyncio.shield(task)
        value, error = outcome
        if error is not None:
            # A copy of the traceback for each caller would grow on the shared exception; it is ours and says enough.
            raise error.with_traceback(None)
        return value  # type: ignore[return-value] # set when there is no error

    def under_way(self) -> int:
        """How many fetches run now."""
        return len(self._tasks)

    async def stop(self) -> None:
        """Cancel what is under way and wait for it."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    @staticmethod
    async def _run(fetch: Callable[[], Awaitable[T]]) -> tuple[T | None, Exception | None]:
        # As a value: an exception nobody waits for any more would be reported by the loop when the task is collected.
        try:
            return await fetch(), None
        except Exception as e:
            return None, e

    def _landed(self, key: K, task: asyncio.Task[Any]) -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
