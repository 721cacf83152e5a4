"""Many requests by several threads, each with a client of its own."""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from bench.progress import each

__all__ = ["parallel"]

C = TypeVar("C")
T = TypeVar("T")


def parallel(
    what: str, client: Callable[[], C], act: Callable[[C, T], object], items: Sequence[T], *, threads: int
) -> float:
    """Act on all items and return the seconds that took, connecting included. Raises what an act raises."""
    own = threading.local()

    def one(item: T) -> None:
        if not hasattr(own, "client"):
            own.client = client()
        act(own.client, item)

    began = time.monotonic()
    with ThreadPoolExecutor(threads) as pool:
        for _ in each(what, pool.map(one, items), len(items)):
            pass
    return time.monotonic() - began
