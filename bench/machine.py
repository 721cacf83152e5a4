"""What a run was made on: the machine, and the versions of what ran there."""

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path

from bench.process import ROOT

__all__ = ["commit", "cpu_model", "machine", "memory_gib", "versions"]

BIN = Path(sys.executable).parent


def machine() -> dict[str, str]:
    """Cores, memory, processor and kernel."""
    return {
        "cores": str(os.cpu_count()),
        "memory": f"{memory_gib(Path('/proc/meminfo').read_text()):.0f} GiB",
        "processor": f"{cpu_model(Path('/proc/cpuinfo').read_text())}, {platform.machine()}",
        "kernel": f"Linux {platform.release()}",
    }


def versions() -> dict[str, str]:
    """Versions of what is measured, and of what it is measured with."""
    return {
        "Elile": f"{version('elile')}, commit {commit()}",
        "Python": platform.python_version(),
        "OpenBao": found(said("bao", "version"), r"v(\d+\.\d+\.\d+)"),
        "Kubernetes": found((ROOT / "lab" / "kube" / "go.mod").read_text(), r"k8s\.io/kubernetes v(\S+)"),
        **{name: version(name) for name in ("kopf", "kubernetes", "aiohttp", "hvac", "requests")},
    }


def commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    short = said("git", "rev-parse", "--short=10", "HEAD").strip()
    return f"{short or 'unknown'}{' + changes' if said('git', 'status', '--porcelain') else ''}"


def cpu_model(cpuinfo: str) -> str:
    return found(cpuinfo, r"(?m)^model name\s*:\s*(.+)$")


def memory_gib(meminfo: str) -> float:
    return int(found(meminfo, r"(?m)^MemTotal:\s*(\d+)", otherwise="0")) / 1024**2


def found(text: str, pattern: str, otherwise: str = "unknown") -> str:
    match = re.search(pattern, text)
    return match[1].strip() if match else otherwise


def said(*command: str) -> str:
    """What a program prints, empty if it fails."""
    path: Mapping[str, str] = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"}
    try:
        return subprocess.run(command, cwd=ROOT, env=path, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return ""
