"""The operator as a process that profiles itself: `python -m bench.profile.inside FOLDER ARGUMENTS…`.

Every thread has a profiler of its own, which counts the thread's CPU time: what waits for a server, or for the
interpreter's lock, takes none. At each SIGUSR1, and at the end, all that was counted up to then is written to FOLDER.
"""

import cProfile
import itertools
import json
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from bench.profile.record import Record

PROFILES: list[tuple[str, cProfile.Profile]] = []


def main(folder: Path, arguments: list[str]) -> int:
    """Run the operator; its exit code."""
    numbers = itertools.count()

    def write(_number: int = 0, _frame: FrameType | None = None) -> None:
        own.disable()  # to write is no part of the operator's work
        unfinished = folder / "unfinished"
        unfinished.write_text(json.dumps([record.values for record in _records()]))
        unfinished.replace(folder / f"{next(numbers)}.json")
        own.enable()

    signal.signal(signal.SIGUSR1, write)
    _profile_new_threads()
    own = _begin("main")
    from elile_operator.__main__ import main as run  # under the profiler: imports are part of a start

    try:
        return run(arguments)
    finally:
        write()


def _profile_new_threads() -> None:
    run = threading.Thread.run

    def profiled(thread: threading.Thread) -> None:
        _begin(thread.name)
        run(thread)

    threading.Thread.run = profiled  # type: ignore[method-assign, assignment]


def _begin(name: str) -> cProfile.Profile:
    profile = cProfile.Profile(time.thread_time_ns, 1e-9)
    PROFILES.append((name, profile))
    profile.enable()
    return profile


def _records() -> Iterator[Record]:
    """What a builtin took is told of whoever called it: by itself it says little."""
    for thread, profile in PROFILES:
        for entry in profile.getstats():
            if isinstance(entry.code, CodeType):
                caller = entry.code.co_filename, entry.code.co_name
                yield Record(thread, *caller, "", entry.callcount, entry.inlinetime)
                yield from _builtins(thread, caller, entry.calls or ())


def _builtins(thread: str, caller: tuple[str, str], calls: Any) -> Iterator[Record]:
    for call in calls:
        if isinstance(call.code, str):
            yield Record(thread, *caller, call.code, call.callcount, call.inlinetime)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
