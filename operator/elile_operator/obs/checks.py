"""The health checks that every process of ours has: tasks that run, times that are fresh, conditions that hold."""

import asyncio
from collections.abc import Callable, Iterable

from elile_operator.obs.health import Check


def running(tasks: Callable[[], Iterable[asyncio.Task[object]]]) -> Check:
    """Fails with the names of the tasks that have ended."""

    def check() -> str | None:
        ended = sorted(task.get_name() for task in tasks() if task.done())
        return f"ended: {', '.join(ended)}" if ended else None

    return check


def fresh(age: Callable[[], float], limit: float, what: str) -> Check:
    """Fails if `age()` is `limit` seconds or more; `what` names what is that old, such as "the last complete list"."""

    def check() -> str | None:
        seconds = age()
        return None if seconds < limit else f"{what} is {seconds:.0f} s old, limit {limit:.0f} s"

    return check


def holds(condition: Callable[[], bool], otherwise: str) -> Check:
    """Fails with `otherwise` while `condition()` is false."""
    return lambda: None if condition() else otherwise
