"""Profile a cold start and rest, and print where the CPU goes: `python -m bench.profile`."""

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench import progress
from bench.fleet import Arrivals, Fleet
from bench.process import Cpu, unwind_on_sigterm
from bench.profile.record import Record, less
from bench.profile.table import render
from bench.world import World, world
from tests.e2e.support.cluster import eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import Operator

EXPLAINED = """# Where the operator's CPU goes

CPU time of each thread, by functions and the builtins that they call. The profiler takes its own time at each call, so
that many small calls look dearer than they are, against what works in C. Shares tell what to look at, and figures of
`make bench` what it costs.
"""


class Profiled(Operator):
    """An operator that writes down where its CPU goes."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self._folder = folder
        super().__init__(folder / "operator.log", *arguments)

    def start(self) -> None:
        module = self._command.index("elile_operator")
        self._command[module : module + 1] = ["bench.profile.inside", str(self._folder)]
        # The package is installed, the bench is not.
        self._env["PYTHONPATH"] = "."
        super().start()

    def written(self, number: int) -> list[Record]:
        """Have it write once more; `number` is of how many times it has."""
        file = self._folder / f"{number}.json"
        self.process.send_signal(signal.SIGUSR1)

        def written() -> bool:
            assert self.process.poll() is None, f"the operator has ended: {self.log.read_text()[-500:]}"
            return file.exists()

        eventually("the profile is written", written, within=60)
        return [Record(*values) for values in json.loads(file.read_text())]


def main(arguments: Sequence[str] | None = None) -> int:
    """Print Markdown."""
    parser = argparse.ArgumentParser(prog="python -m bench.profile", description=__doc__)
    parser.add_argument("--objects", type=int, default=1_000)
    parser.add_argument("--settle", type=float, default=20.0, help="seconds before the rest that is measured")
    parser.add_argument("--rest", type=float, default=60.0, help="seconds of rest, at a poll of 60 s")
    parser.add_argument("--top", type=int, default=30, help="lines of each table")
    parser.add_argument("--lab-name", default="bench")
    given = parser.parse_args(arguments)
    unwind_on_sigterm()
    if sys.version_info >= (3, 12):
        parser.error("needs Python 3.11: from 3.12 on a process has one profiler, not each thread")
    with world(given.lab_name) as w:
        print(measure(w, given.objects, settle=given.settle, rest=given.rest, top=given.top))
    return 0


def measure(w: World, objects: int, *, settle: float, rest: float, top: int) -> str:
    fleet = Fleet(w, objects, objects)
    fleet.fill()
    folder = w.folder / "profile"
    folder.mkdir()
    arrivals = Arrivals(w)
    # To write a profile takes longer than a Lease may go without its renewal.
    arguments = ("--kubeconfig", str(w.cluster.kubeconfig), "--namespace", SYSTEM, "--leader-election=false")
    operator = Profiled(folder, *arguments)
    try:
        operator.wait_ready()
        ready = operator.written(0)
        fleet.wait_synced(arrivals)
        time.sleep(3)
        start = operator.written(1)
        progress.sleep(settle, "all comes to rest")
        before, cpu = operator.written(2), Cpu(operator.pid)
        progress.sleep(rest, "at rest")
        used, end = cpu.used(), operator.written(3)
    finally:
        operator.stop()
    polls = max(1, round(objects * rest / 60))
    return "\n".join(
        (
            EXPLAINED,
            render("The process until it is ready", less(ready, []), per=1, of="start", top=top),
            render(f"From there on, {fleet.what}", less(start, ready), per=objects, of="object", top=top),
            render(
                f"At rest for {rest:.0f} s, {used:.1f} s by the kernel",
                less(end, before),
                per=polls,
                of="poll",
                top=top,
            ),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
