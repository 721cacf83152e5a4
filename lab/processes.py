"""Processes that outlive the command that starts them: starts, recognises and ends them, by pid and never by name.

A pid says nothing by itself: after a crash or a restart of the machine it may be somebody else's. A process is one of
the lab's when its environment has the lab's mark, which says more than a command line: children inherit it. It is the
one that a record means when its start time is the recorded one too.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from lab.errors import LabError

MARK = "ELILE_LAB_PROCESS"
TICKS = os.sysconf("SC_CLK_TCK")
KERNEL_THREAD = 0x00200000  # PF_KTHREAD


@dataclass(frozen=True, slots=True)
class Process:
    """One process, as opposed to one pid: `started` is its start time in clock ticks since boot."""

    pid: int
    started: int


@dataclass(frozen=True, slots=True)
class Marked:
    """A living process of a lab, and the component it was started as or descends from."""

    process: Process
    component: str
    argv: list[str]


def spawn(argv: list[str], environ: Mapping[str, str], log: Path, folder: Path, component: str) -> Process:
    """Start a process in a session of its own, out of reach of Ctrl-C; output goes to `log`."""
    _reap()
    pid = os.posix_spawnp(
        argv[0],
        argv,
        {**environ, MARK: mark(folder, component)},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
        setsigmask=[],
        # Python ignores SIGPIPE, and a shell's background jobs ignore SIGINT: children would inherit both.
        setsigdef=[signal.SIGPIPE, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP],
    )
    stat = read_stat(pid)
    if stat is None:
        raise LabError(f"{component} ended at once, see {log}")
    _children.add(pid)
    return Process(pid, stat.started)


def mark(folder: Path, component: str) -> str:
    return f"{folder}|{component}"


# --- what /proc says -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stat:
    state: str
    started: int  # clock ticks since boot
    resident: int  # bytes
    of_kernel: bool


def parse_stat(text: str) -> Stat:
    """One line of /proc/<pid>/stat. Its second field is a name in parentheses that may itself hold some, and spaces."""
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(
        state=fields[0],
        started=int(fields[19]),
        resident=int(fields[21]) * os.sysconf("SC_PAGE_SIZE"),
        of_kernel=bool(int(fields[6]) & KERNEL_THREAD),
    )


def read_stat(pid: int) -> Stat | None:
    """None if there is no such process, or only its zombie.

    The first thread of a killed process may be a zombie while others still hold its sockets: that is a living process.
    """
    try:
        stat = parse_stat(Path(f"/proc/{pid}/stat").read_text())
        threads = len(list(Path(f"/proc/{pid}/task").iterdir()))
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if stat.state in "ZX" and threads <= 1 else stat


def uptime(process: Process) -> float:
    """Seconds since it started."""
    return float(Path("/proc/uptime").read_text().split()[0]) - process.started / TICKS


def is_alive(process: Process) -> bool:
    _reap()
    stat = read_stat(process.pid)
    return stat is not None and stat.started == process.started


def environment(pid: int) -> list[bytes]:
    """`NAME=value` for each variable; none if the process is gone or the kernel's."""
    for _ in range(1000):
        try:
            text = Path(f"/proc/{pid}/environ").read_bytes()
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return []
        stat = read_stat(pid)
        if text or stat is None or stat.of_kernel:
            return text.split(b"\0")
        # In the middle of exec, for a millisecond or so, a process has no environment, neither its old nor its new one.
        time.sleep(0.001)
    return []


def marked(folder: Path) -> Iterator[Marked]:
    """Every living process of the lab in `folder`, recorded or not: started just before `up` was killed too."""
    _reap()
    wanted = f"{MARK}={folder}|".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal():
            continue
        pid = int(entry.name)
        component = next((v[len(wanted) :] for v in environment(pid) if v.startswith(wanted)), None)
        if component is None or (stat := read_stat(pid)) is None:
            continue
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may end right here
            argv = (entry / "cmdline").read_bytes().decode(errors="replace").rstrip("\0").split("\0")
            yield Marked(Process(pid, stat.started), component.decode(), argv)


# --- ending them -----------------------------------------------------------------------------------------------------


def send(process: Process, *signals: signal.Signals) -> None:
    """Signal exactly this process or nothing: the descriptor pins the pid before its start time is compared."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        if is_alive(process):
            for number in signals:
                with contextlib.suppress(ProcessLookupError):
                    signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)


def stop(processes: Iterable[Process], grace: float) -> None:
    """SIGTERM to all, SIGKILL to those that are still there after `grace` seconds. Returns when all are gone."""
    waiting = list(processes)
    for process in waiting:
        # A stopped process hears SIGTERM only when it goes on.
        send(process, signal.SIGTERM, signal.SIGCONT)
    if left := wait_gone(waiting, grace):
        kill(left)


def kill(processes: Iterable[Process]) -> None:
    waiting = list(processes)
    for process in waiting:
        send(process, signal.SIGKILL)
    if left := wait_gone(waiting, 10):
        _stuck(left)


def wait_gone(processes: Iterable[Process], timeout: float) -> list[Process]:
    """Those still alive after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while (left := [process for process in processes if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _stuck(left: list[Process]) -> NoReturn:
    pids = ", ".join(str(process.pid) for process in left)
    raise LabError(f"not even SIGKILL ends process {pids}: it hangs in the kernel, see /proc/<pid>/stack")


# Children of this very process stay zombies until they are waited for. Only ours are: pytest has children of its own.
_children: set[int] = set()


def _reap() -> None:
    for pid in list(_children):
        with contextlib.suppress(ChildProcessError):
            if os.waitpid(pid, os.WNOHANG) == (0, 0):
                continue
        _children.discard(pid)


# --- records ---------------------------------------------------------------------------------------------------------


def remember(record: Path, process: Process) -> None:
    record.parent.mkdir(exist_ok=True)
    unfinished = record.with_suffix(".unfinished")
    unfinished.write_text(json.dumps({"pid": process.pid, "started": process.started}))
    unfinished.replace(record)


def recall(record: Path, folder: Path, component: str) -> Process | None:
    """The recorded process if it lives and is what the record says: same start time, same mark."""
    try:
        process = Process(**json.loads(record.read_text()))
    except FileNotFoundError:
        return None
    if not is_alive(process) or f"{MARK}={mark(folder, component)}".encode() not in environment(process.pid):
        return None
    return process
