"""Which slot a lab uses: kept in its folder once chosen, and never one that is taken on this machine."""

import fcntl
import json
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Network
from pathlib import Path

from lab.errors import LabError
from lab.layout import SLOTS, Layout, preferred_slot
from lab.tools import PATH


def recorded(name: str, folder: Path) -> Layout | None:
    """The layout this lab was given when it first came up, or None if it is not on this machine."""
    layout = Layout(name, folder, slot=0)
    try:
        slot = json.loads(layout.record.read_text())["slot"]
    except FileNotFoundError:
        return None
    return Layout(name, folder, slot)


def choose(name: str, folder: Path) -> Layout:
    """The recorded layout, else the first free slot from the name's own on; recorded before anyone else may look."""
    with lock(folder.parent / ".slots.lock"):
        if layout := recorded(name, folder):
            return layout
        taken = _slots_of_other_labs(folder.parent)
        networks, links = _networks_in_use(), _links_in_use()
        for step in range(SLOTS):
            layout = Layout(name, folder, (preferred_slot(name) + step) % SLOTS)
            if layout.slot not in taken and is_free(layout, networks, links):
                folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                layout.record.write_text(json.dumps({"name": name, "slot": layout.slot}))
                return layout
    raise LabError(
        "every block of ports and addresses a lab could use is taken; run `python -m lab down` for those not needed"
    )


def is_free(layout: Layout, networks: list[IPv4Network], links: set[str]) -> bool:
    if layout.node_link in links or any(link.startswith(f"el{layout.slot:03d}-") for link in links):
        return False
    if any(layout.network.overlaps(network) for network in networks):
        return False
    return all(_can_listen(port) for port in layout.ports)


def busy_ports(layout: Layout) -> list[int]:
    return [port for port in layout.ports if not _can_listen(port)]


def _slots_of_other_labs(root: Path) -> set[int]:
    return {json.loads(record.read_text())["slot"] for record in root.glob("*/lab.json")}


def _can_listen(port: int) -> bool:
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _ip(*args: str) -> list[dict[str, str]]:
    environ = {**os.environ, "PATH": PATH}
    out = subprocess.run(["ip", "-json", *args], check=True, capture_output=True, text=True, env=environ).stdout
    found: list[dict[str, str]] = json.loads(out or "[]")
    return found


def _networks_in_use() -> list[IPv4Network]:
    return [IPv4Network(route["dst"]) for route in _ip("-4", "route") if route["dst"] != "default"]


def _links_in_use() -> set[str]:
    return {link["ifname"] for link in _ip("link")}


@contextmanager
def lock(path: Path) -> Iterator[None]:
    """Held by one process at a time; the kernel lets go when that process dies, however it dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
