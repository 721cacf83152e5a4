"""Removes what a lab leaves beside its processes: mounts, cgroups, network, sockets and folders, only its own."""

import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from lab import cgroups, mounts, network, processes
from lab.errors import LabError
from lab.layout import Layout

# Places outside the lab's folder that the components have built in, shared by all labs on the machine. Empty folders
# stay: another lab's kubelet makes its own at its start only, and would miss them.
CNI_RESULTS = Path("/var/lib/cni/results")
CONTAINER_LOGS = Path("/var/log/containers")
SHIM_SOCKETS = Path("/run/containerd/s")
DEVICE_PLUGINS = Path("/var/lib/kubelet/device-plugins/kubelet.sock")


def share_mounts(layout: Layout) -> None:
    """Make the kubelet's folder a shared mount, so that a privileged pod can mount into it for others (CSI drivers).

    Not `/`: that would change how the whole machine mounts, and outlive the lab.
    """
    if layout.kubelet_root not in mounts.below(layout.kubelet_root):
        folder = str(layout.kubelet_root)
        for arguments in (["--bind", folder, folder], ["--make-rshared", folder]):
            subprocess.run(["mount", *arguments], check=True)


def clear_node(layout: Layout) -> None:
    """Everything of the node that is not on its disk. Call it when no process of the node lives."""
    cgroups.kill_members(layout.cgroup)
    sockets = list(_shim_sockets(layout))
    # The cable first: with the mount goes the namespace, and the kernel would take the cable away while we do.
    network.remove(layout)
    # All of them, or it raises: what is removed below must not be somebody's folder that a pod had mounted.
    mounts.unmount_below(layout.folder)
    cgroups.remove(layout.cgroup)
    for path in (*sockets, *_foreign_files(layout), *_dead_sockets()):
        path.unlink(missing_ok=True)
    if layout.run.exists():
        shutil.rmtree(layout.run)


def clear_all(layout: Layout) -> None:
    """The whole lab but its logs: one wants to read them after a failure. The next `up` begins with new ones."""
    clear_node(layout)
    for path in layout.folder.iterdir():
        if path.is_dir() and path != layout.logs:
            shutil.rmtree(path)
        elif path.is_file() and path != layout.record:
            path.unlink()
    # Last: without it a second `down`, after this one was killed, would not know the lab.
    layout.record.unlink()


def leftovers(layout: Layout) -> list[str]:
    """What is still there of the lab. Empty after `down`, or `down` is wrong."""
    found = [f"process {m.process.pid} ({m.component})" for m in processes.marked(layout.folder)]
    found += [f"mount {point}" for point in mounts.below(layout.folder)]
    found += network.leftovers(layout)
    found += cgroups.leftovers(layout.cgroup)
    found += [f"file {path}" for path in _foreign_files(layout)]
    return found


def check_gone(layout: Layout) -> None:
    if found := leftovers(layout):
        raise LabError("`down` left behind: " + "; ".join(found))


def _shim_sockets(layout: Layout) -> Iterator[Path]:
    """Containers' shims put their sockets in one folder for the whole machine, under names only their bundles know."""
    for address in (layout.run / "containerd").glob("io.containerd.runtime.v2.task/*/*/address"):
        path = Path(address.read_text().strip().removeprefix("unix://"))
        if path.parent == SHIM_SOCKETS:
            yield path


def _foreign_files(layout: Layout) -> Iterator[Path]:
    for result in CNI_RESULTS.glob("*"):
        # Known by the network namespace it tells of: the names of those for loopback are the same in every lab.
        with suppress(FileNotFoundError):  # another lab's, gone meanwhile
            if f'"{layout.run}/' in result.read_text():
                yield result
    for link in CONTAINER_LOGS.glob("*"):
        with suppress(FileNotFoundError):
            if link.is_symlink() and layout.folder in link.readlink().parents:
                yield link


def _dead_sockets() -> Iterator[Path]:
    """The kubelet that started last owns it. Nobody listening means that it was this lab's, or a dead one's."""
    if DEVICE_PLUGINS.is_socket() and not _is_listening(DEVICE_PLUGINS):
        yield DEVICE_PLUGINS


def _is_listening(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as s:
        return s.connect_ex(str(path)) == 0
