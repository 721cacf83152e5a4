"""Names, addresses, ports and paths of one lab, all derived from its name, its folder and its slot. Pure.

A slot is a number that belongs to one lab at a time (see slots.py). Ports and subnets are blocks indexed by it, so labs
with different slots never overlap:

    ports     20000 + 16 * slot ... + 15        below the kernel's ephemeral range, which starts at 32768
    network   the slot-th /20 of 10.192.0.0/10  first /24: bridge and node; +4: pods; +8: Service addresses
"""

import hashlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from lab.errors import LabError

SLOTS = 750
PORTS_PER_SLOT = 16
FIRST_PORT = 20000
FIRST_NETWORK = int(IPv4Address("10.192.0.0"))

# Linux refuses longer paths of unix sockets; those of CSI drivers below a lab's folder are the longest.
LONGEST_SOCKET = 107
ROOM_FOR_SOCKETS = 60

# Ports after these are free for what tests start beside the lab: databases, a second OpenBao.
PORT_NAMES = ("apiserver", "etcd", "etcd-peer", "controller-manager", "scheduler", "openbao", "openbao-cluster")


def check_name(name: str) -> str:
    """A lab's name becomes part of a folder, a bridge, a node and a cgroup: a DNS label fits all of them."""
    if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?", name):
        raise LabError(f"{name!r} is no name for a lab: use up to 30 lower-case letters, digits and inner hyphens")
    return name


def preferred_slot(name: str) -> int:
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") % SLOTS


def state_root(environ: Mapping[str, str]) -> Path:
    """Where the folders of all labs are: `ELILE_LAB_HOME`, else `$XDG_STATE_HOME/elile-lab`."""
    if home := environ.get("ELILE_LAB_HOME"):
        return Path(home).absolute()
    return Path(environ.get("XDG_STATE_HOME") or Path.home() / ".local/state").absolute() / "elile-lab"


def cache_root(environ: Mapping[str, str]) -> Path:
    """Where builds are kept: `ELILE_CACHE`, else `$XDG_CACHE_HOME/elile`."""
    if cache := environ.get("ELILE_CACHE"):
        return Path(cache).absolute()
    return Path(environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").absolute() / "elile"


def folder_of(name: str, environ: Mapping[str, str] = os.environ) -> Path:
    folder = state_root(environ) / check_name(name)
    if len(str(folder)) > LONGEST_SOCKET - ROOM_FOR_SOCKETS:
        raise LabError(f"{folder} is too long for the unix sockets below it; set ELILE_LAB_HOME to a shorter path")
    return folder


@dataclass(frozen=True, slots=True)
class Layout:
    """Everything about a lab that is decided before anything runs."""

    name: str
    folder: Path
    slot: int

    # --- names -------------------------------------------------------------------------------------------------------

    @property
    def tag(self) -> str:
        """Names the lab in the kernel: bridge, nftables table, CNI network. At most 15 characters; unique by slot."""
        return f"el{self.slot:03d}-{self.name[:8]}".rstrip("-")

    @property
    def cut_table(self) -> str:
        """The nftables table by which a test cuts connections; one that was killed leaves it behind."""
        return f"{self.tag}-cut"

    @property
    def bridge(self) -> str:
        return self.tag

    @property
    def node_link(self) -> str:
        """The machine's end of the cable between bridge and node."""
        return f"el{self.slot:03d}n"

    @property
    def node_name(self) -> str:
        return f"lab-{self.name}"

    @property
    def cgroup(self) -> str:
        """Parent of all pods' cgroups. Each lab has its own: kubelet deletes pod cgroups it does not know."""
        return f"elile-lab-{self.tag}"

    # --- addresses ---------------------------------------------------------------------------------------------------

    @property
    def network(self) -> IPv4Network:
        return IPv4Network((FIRST_NETWORK + (self.slot << 12), 20))

    def _part(self, offset: int, prefix: int) -> IPv4Network:
        return IPv4Network((int(self.network.network_address) + (offset << 8), prefix))

    @property
    def bridge_network(self) -> IPv4Network:
        return self._part(0, 24)

    @property
    def pods(self) -> IPv4Network:
        return self._part(4, 22)

    @property
    def services(self) -> IPv4Network:
        return self._part(8, 22)

    @property
    def gateway(self) -> str:
        """The machine on the bridge: here API server, OpenBao and databases listen for the node and its pods."""
        return str(self.bridge_network[1])

    @property
    def node_address(self) -> str:
        return str(self.bridge_network[2])

    @property
    def kubernetes_service(self) -> str:
        return str(self.services[1])

    @property
    def dns_service(self) -> str:
        return str(self.services[10])

    # --- ports -------------------------------------------------------------------------------------------------------

    @property
    def ports(self) -> range:
        first = FIRST_PORT + self.slot * PORTS_PER_SLOT
        return range(first, first + PORTS_PER_SLOT)

    def port(self, name: str) -> int:
        return self.ports[PORT_NAMES.index(name)]

    @property
    def spare_ports(self) -> range:
        return self.ports[len(PORT_NAMES) :]

    # --- paths -------------------------------------------------------------------------------------------------------

    @property
    def record(self) -> Path:
        return self.folder / "lab.json"

    @property
    def pki(self) -> Path:
        return self.folder / "pki"

    @property
    def etc(self) -> Path:
        return self.folder / "etc"

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def data(self) -> Path:
        """Survives a restart of the machine: etcd, OpenBao, container images, the kubelet's folder."""
        return self.folder / "data"

    @property
    def run(self) -> Path:
        """Means something only while the node lives: sockets, mounts, addresses given to pods, its network."""
        return self.folder / "run"

    @property
    def processes(self) -> Path:
        """A record for each process that was started."""
        return self.folder / "processes"

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def netns(self) -> Path:
        return self.run / "node.netns"

    @property
    def containerd_socket(self) -> Path:
        return self.run / "containerd.sock"

    @property
    def kubelet_root(self) -> Path:
        return self.data / "kubelet"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def openbao_keys(self) -> Path:
        return self.folder / "openbao-keys.json"

    @property
    def openbao_audit(self) -> Path:
        return self.logs / "openbao-audit.log"

    @property
    def api_audit(self) -> Path:
        return self.logs / "kube-apiserver-audit.log"

    # --- where things answer -----------------------------------------------------------------------------------------

    @property
    def api_url(self) -> str:
        return f"https://127.0.0.1:{self.port('apiserver')}"

    @property
    def api_url_on_bridge(self) -> str:
        return f"https://{self.gateway}:{self.port('apiserver')}"

    @property
    def bao_url(self) -> str:
        return f"https://127.0.0.1:{self.port('openbao')}"

    @property
    def bao_url_on_bridge(self) -> str:
        return f"https://{self.gateway}:{self.port('openbao')}"
