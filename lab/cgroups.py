"""The cgroup that holds all of a lab's pods, on either version of cgroups: made, emptied and removed."""

import os
import signal
import time
from pathlib import Path

from lab import processes
from lab.errors import LabError

ROOT = Path("/sys/fs/cgroup")
UNIFIED = ROOT / "cgroup.controllers"


def hierarchies() -> list[Path]:
    """Version 2 has one tree. Version 1 has one for each controller, and often one of version 2 beside them."""
    if UNIFIED.exists():
        return [ROOT]
    folders = (folder for folder in ROOT.iterdir() if folder.is_dir() and not folder.is_symlink())
    return sorted(folder for folder in folders if (folder / "cgroup.procs").exists())


def create(name: str) -> None:
    """kubelet refuses to start when the parent it is told to use is missing in any hierarchy."""
    for hierarchy in hierarchies():
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        if UNIFIED.exists():
            for parent in (hierarchy, group):
                controllers = (parent / "cgroup.controllers").read_text().split()
                (parent / "cgroup.subtree_control").write_text(" ".join(f"+{controller}" for controller in controllers))
        # A new cpuset of version 1 owns no CPU and no memory, and then nothing can run in it.
        for setting in ("cpuset.cpus", "cpuset.mems"):
            if not UNIFIED.exists() and (group / setting).exists() and not (group / setting).read_text().strip():
                (group / setting).write_text((hierarchy / setting).read_text())


def _groups(name: str) -> list[Path]:
    """All of the lab's cgroups, children before their parents."""
    found: list[Path] = []
    for hierarchy in hierarchies():
        found += [Path(folder) for folder, _, _ in os.walk(hierarchy / name, topdown=False)]
    return found


def members(name: str) -> set[int]:
    """Pids of everything that runs in the lab's pods."""
    pids: set[int] = set()
    for group in _groups(name):
        try:
            pids.update(int(pid) for pid in (group / "cgroup.procs").read_text().split())
        except (FileNotFoundError, OSError):
            continue  # removed meanwhile, by containerd for a container that ended
    return pids


def kill_members(name: str, timeout: float = 10) -> None:
    """SIGKILL to all of them, again until none is left: some may be just starting others."""
    deadline = time.monotonic() + timeout
    while pids := members(name):
        if time.monotonic() > deadline:
            raise LabError(f"processes {sorted(pids)} in cgroup {name} do not end")
        for pid in pids:
            if (process := _member(pid, name)) is not None:
                processes.send(process, signal.SIGKILL)
        time.sleep(0.02)


def _member(pid: int, name: str) -> processes.Process | None:
    """The process that has this pid now, if it is in the cgroup: the one that had it when we listed may be gone."""
    stat = processes.read_stat(pid)
    try:
        inside = f":/{name}/" in Path(f"/proc/{pid}/cgroup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return processes.Process(pid, stat.started) if stat is not None and inside else None


def remove(name: str, timeout: float = 5) -> None:
    """The kernel needs a moment to let go of a cgroup whose last process has just ended."""
    deadline = time.monotonic() + timeout
    while groups := [group for group in _groups(name) if group.exists()]:
        for group in groups:
            try:
                group.rmdir()
            except OSError as error:
                if time.monotonic() > deadline:
                    raise LabError(f"cannot remove cgroup {group}: {error}") from error
        time.sleep(0.02)


def leftovers(name: str) -> list[str]:
    return [f"cgroup {hierarchy / name}" for hierarchy in hierarchies() if (hierarchy / name).exists()]
