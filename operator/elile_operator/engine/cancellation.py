"""Tells a cancellation that is meant for this task from one that it merely ran into."""

import asyncio


def being_cancelled() -> bool:
    """Whether somebody wants the current task to end.

    If not, a CancelledError came out of something that was awaited and had been cancelled by others (a shared future, a
    closed session): a failure like any other, which must not end a task that is meant to live as long as the process.
    """
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
