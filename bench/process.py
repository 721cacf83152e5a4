"""What the kernel tells of a process, and of the whole machine; and how this process ends."""

import signal
import sys
import time
from pathlib import Path
from types import FrameType

from tests.e2e.support.cluster import ROOT
from tests.support.proc import cpu_seconds, rss_mib

__all__ = ["ROOT", "Cpu", "busy", "cpu_seconds", "machine_busy", "rss_mib", "unwind_on_sigterm"]


class Cpu:
    """CPU time that a process has used since this was made; all of its life with `whole`."""

    def __init__(self, pid: int, *, whole: bool = False) -> None:
        self._pid = pid
        self._before = 0.0 if whole else cpu_seconds(pid)

    def used(self) -> float:
        return cpu_seconds(self._pid) - self._before


def busy(pid: int, *, seconds: float) -> float:
    """The part of a core that a process uses for some seconds."""
    cpu = Cpu(pid)
    time.sleep(seconds)
    return cpu.used() / seconds


def machine_busy(seconds: float) -> float:
    """The part of all cores that is used for some seconds, by whomever."""
    idle, whole = _jiffies()
    time.sleep(seconds)
    idle_after, whole_after = _jiffies()
    return 1.0 - (idle_after - idle) / max(1, whole_after - whole)


def _jiffies() -> tuple[int, int]:
    """Idle ones, those that wait for a disk included, and all."""
    numbers = [int(x) for x in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
    return numbers[3] + numbers[4], sum(numbers)


def unwind_on_sigterm() -> None:
    """End at SIGTERM as after an exception, so that operators are stopped and the lab goes down."""

    def stop(_number: int, _frame: FrameType | None) -> None:
        sys.exit(128 + signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
