"""The binary that holds etcd and Kubernetes: built from lab/kube once, then cached by what it is made of."""

import hashlib
import os
import shutil
import subprocess
import threading
import time
from pathlib import Path

from lab.errors import LabError
from lab.layout import cache_root
from lab.slots import lock
from lab.steps import Echo

SOURCE = Path(__file__).parent / "kube"
VERSION = "v1.37.2"
_VERSION = "k8s.io/component-base/version.git"
FLAGS = (
    "-trimpath",
    "-mod=readonly",
    "-buildvcs=false",
    "-ldflags",
    # Without a version, clients and kubelet refuse the skew to v0.0.0.
    f"-s -w -X {_VERSION}Version={VERSION} -X {_VERSION}Major=1 -X {_VERSION}Minor=37",
)
ENVIRON = {"CGO_ENABLED": "0", "GOFLAGS": "", "GOWORK": "off"}


def key(source: Path = SOURCE, flags: tuple[str, ...] = FLAGS) -> str:
    """Changes when, and only when, another binary would come out."""
    digest = hashlib.sha256()
    for part in ((source / name).read_bytes() for name in ("go.mod", "go.sum", "main.go")):
        digest.update(hashlib.sha256(part).digest())
    digest.update(repr((flags, sorted(ENVIRON.items()))).encode())
    return digest.hexdigest()[:16]


def cached() -> Path:
    return cache_root(os.environ) / "kubelab" / key() / "kubelab"


def kubelab(echo: Echo) -> Path:
    """The binary's path, built first if need be: minutes when Go's own cache is cold, half a minute when it is warm."""
    binary = cached()
    if binary.exists():
        return binary
    # Two labs starting together on a fresh machine: one builds, the other waits here and then finds the result.
    with lock(binary.parent.parent / f".{binary.parent.name}.lock"):
        if not binary.exists():
            binary.parent.mkdir(parents=True, exist_ok=True)
            # The compiler of an `up` killed with -9 may still be writing: its file is not ours.
            unfinished = binary.with_name(f"unfinished.{os.getpid()}")
            _build(unfinished, echo)
            unfinished.replace(binary)
    return binary


def _build(target: Path, echo: Echo) -> None:
    go = shutil.which("go")
    if go is None:
        raise LabError(
            "building the lab's Kubernetes binary needs Go, see lab/kube/go.mod for the version; put it on PATH"
        )
    environ = {**os.environ, **ENVIRON}
    echo(f"  building Kubernetes {VERSION} and etcd from source, once: 6 to 10 minutes on two cores with cold caches")
    listing = subprocess.run(
        [go, "list", "-mod=readonly", "-deps", "."],
        cwd=SOURCE,
        env=environ,
        check=False,
        capture_output=True,
        text=True,
    )
    if listing.returncode != 0:
        raise LabError(f"go list failed in {SOURCE}: {listing.stderr.strip()[-1000:]}")
    _run_with_progress([go, "build", "-v", *FLAGS, "-o", str(target), "."], environ, len(listing.stdout.split()), echo)


def _run_with_progress(command: list[str], environ: dict[str, str], packages: int, echo: Echo) -> None:
    """`go build -v` names each package as it is compiled: enough to see that it moves and how far it is."""
    began, lines = time.monotonic(), list[str]()
    with subprocess.Popen(command, cwd=SOURCE, env=environ, stderr=subprocess.PIPE, text=True) as build:

        def read() -> None:
            assert build.stderr is not None  # noqa: S101  # asked for above
            lines.extend(line.rstrip() for line in build.stderr)

        reader = threading.Thread(target=read, name="lab-go-build", daemon=True)
        reader.start()
        said = began
        while reader.is_alive():
            reader.join(timeout=1)
            if time.monotonic() - said >= 10:
                said = time.monotonic()
                phase = "compiled" if len(lines) < packages - 1 else "linking, compiled"
                echo(f"    {said - began:4.0f} s: {phase} {len(lines)} of at most {packages} packages")
    if build.returncode != 0:
        raise LabError(f"{' '.join(command)} failed in {SOURCE}: " + "\n".join(lines[-20:]))
    echo(f"    built in {time.monotonic() - began:.0f} s: {command[-2]}")
