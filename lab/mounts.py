"""Mounts below the lab's folder: lists and unmounts them, however many a dead kubelet and containerd left behind."""

import ctypes
import errno
import os
import re
from pathlib import Path

from lab.errors import LabError

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8


def parse(mountinfo: str, folder: Path) -> list[Path]:
    """Mount points at or below `folder` in the text of /proc/self/mountinfo, in the order they were mounted."""
    points = [Path(_unescape(line.split()[4])) for line in mountinfo.splitlines()]
    return [point for point in points if point == folder or folder in point.parents]


def _unescape(field: str) -> str:
    # The kernel writes space, tab, newline and backslash as octal numbers.
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), field)


def below(folder: Path) -> list[Path]:
    return parse(Path("/proc/self/mountinfo").read_text(), folder)


def unmount_below(folder: Path) -> None:
    """Last mounted first. Detached: a process that still sits in one must not keep all others from going."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Unmounting a shared mount takes its copies along, and one point may be mounted on twice: look again until done.
    for _ in range(20):
        points = below(folder)
        if not points:
            return
        for point in reversed(points):
            if libc.umount2(os.fsencode(point), MNT_DETACH | UMOUNT_NOFOLLOW) != 0:
                number = ctypes.get_errno()
                if number not in (errno.EINVAL, errno.ENOENT):  # no longer a mount
                    raise LabError(f"cannot unmount {point}: {os.strerror(number)}")
    raise LabError(f"still mounted below {folder}: {', '.join(map(str, below(folder)))}")
