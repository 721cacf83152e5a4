"""The image that client pods of tests run: Python as it is on this machine, this commit's wheel, drivers of databases.

No engine is needed, and nothing is fetched: the interpreter with the shared libraries that it loads, and the packages
that the wheel's extras name, are taken from where they are installed, and keep their paths.
"""

import hashlib
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

from lab import images
from lab.errors import LabError
from lab.layout import Layout, cache_root
from lab.slots import lock
from lab.steps import Echo

# What a client of Vault and of databases needs; see the extras of the package.
EXTRAS = frozenset({"vault", "sql", "httpx", "rotation"})
NAME = "docker.io/lab/client"
PACKAGES = "opt/client"
PYTHON = "usr/local/bin/python"
ROOT = Path(__file__).parents[1]
# Parts of the standard library that no client uses, and half of its size.
_LEFT_OUT = re.compile(
    r"(^|/)(__pycache__|test|tests|idlelib|ensurepip|tkinter|turtledemo|lib2to3|config-[^/]*|site-packages"
    r"|dist-packages)(/|$)|\.(a|pyc|pyo)$"
)
_LIBRARY = re.compile(r"^\s*(?:\S+ => )?(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)

File = tuple[str, Path]  # its path in the image without the first slash, and where it is here


def ensure(layout: Layout, busybox: Path, echo: Echo) -> str:
    """Name of the image, made and imported into a lab's containerd first if need be. Seconds. Raises LabError."""
    wheel = build_wheel(echo)
    runtime = [*_interpreter(), *_packages(EXTRAS)]
    name = f"{NAME}:{_key(wheel, runtime)}"
    ctr = ["ctr", "--address", str(layout.containerd_socket), "--namespace", "k8s.io", "images"]
    present = subprocess.run([*ctr, "list", "--quiet"], check=False, capture_output=True, text=True)
    if name not in present.stdout.split():
        echo(f"  importing {name}")
        archive = _archive(name, wheel, _with_libraries(runtime), busybox)
        done = subprocess.run([*ctr, "import", "-"], input=archive, check=False, capture_output=True)
        if done.returncode != 0:
            raise LabError(f"ctr images import failed: {done.stderr.decode(errors='replace').strip()}")
    return name.removeprefix("docker.io/")


def build_wheel(echo: Echo) -> Path:
    """The wheel of the sources as they are, built once for each state of them. Raises LabError."""
    digest = hashlib.sha256()
    sources = sorted(p for p in (ROOT / "operator").rglob("*") if p.is_file() and "__pycache__" not in p.parts)
    for path in (ROOT / "pyproject.toml", ROOT / "README.md", *sources):
        digest.update(str(path.relative_to(ROOT)).encode() + hashlib.sha256(path.read_bytes()).digest())
    folder = cache_root(os.environ) / "wheel" / digest.hexdigest()[:16]
    with lock(folder.parent / f".{folder.name}.lock"):
        if not (found := list(folder.glob("*.whl"))):
            echo("  building the wheel")
            command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
            done = subprocess.run(command, check=False, capture_output=True, text=True)
            if done.returncode != 0:
                raise LabError(f"the wheel cannot be built: {done.stderr.strip()[-1000:] or done.stdout[-1000:]}")
            found = list(folder.glob("*.whl"))
    return found[0]


def _key(wheel: Path, runtime: Iterable[File]) -> str:
    digest = hashlib.sha256(wheel.read_bytes() + sys.version.encode())
    for name, path in sorted(runtime):
        digest.update(f"{name} {path.stat().st_size}\n".encode())
    return digest.hexdigest()[:12]


def _interpreter() -> Iterator[File]:
    """The interpreter and its standard library, at the paths that it looks for them at."""
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
    program = Path(sys.executable).resolve()
    yield str(program).lstrip("/"), program
    for folder in {Path(paths["stdlib"]), Path(paths["platstdlib"])}:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not _LEFT_OUT.search(str(path.relative_to(folder))):
                yield str(path).lstrip("/"), path


def _packages(extras: frozenset[str]) -> Iterator[File]:
    """The files of all packages that the extras of ours need."""
    wanted, seen = [("elile", extras)], {"elile"}
    while wanted:
        name, chosen = wanted.pop()
        distribution = metadata.distribution(name)
        for text in distribution.requires or ():
            requirement = Requirement(text)
            needed = requirement.marker is None or any(
                requirement.marker.evaluate({"extra": extra}) for extra in (chosen or {""})
            )
            if needed and requirement.name.lower() not in seen:
                seen.add(requirement.name.lower())
                wanted.append((requirement.name, frozenset(requirement.extras)))
        if name == "elile":
            continue  # it comes as the wheel
        for file in distribution.files or ():
            path = Path(str(distribution.locate_file(file)))
            if ".." not in file.parts and path.is_file() and not _LEFT_OUT.search(str(file)):
                yield f"{PACKAGES}/{file}", path


def _with_libraries(files: list[File]) -> list[File]:
    """The files, and the shared libraries of the system that those among them load."""
    programs = [str(path) for name, path in files if ".so" in path.name or name.endswith(f"/{files[0][1].name}")]
    told = subprocess.run(["ldd", *programs], check=False, capture_output=True, text=True).stdout
    own = {path for _, path in files}
    libraries = {Path(library) for library in _LIBRARY.findall(told)} - own
    return files + [(str(path).lstrip("/"), path.resolve()) for path in sorted(libraries) if path.exists()]


def _archive(name: str, wheel: Path, runtime: list[File], busybox: Path) -> bytes:
    program = runtime[0][0]
    environment = [f"PATH=/{Path(PYTHON).parent}:/bin", f"PYTHONPATH=/{PACKAGES}", "PYTHONUNBUFFERED=1"]
    config: dict[str, object] = {"Cmd": ["python"], "Env": environment}
    layers = [images.busybox_layer(busybox), _layer(runtime, program), _wheel_layer(wheel)]
    return images.oci_archive([(name, layers, config)])


def _layer(files: list[File], program: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        # The folders on the way may be closed on this machine, and are not in the image: whoever runs there reads all.
        for folder in sorted({str(parent) for name, _ in files for parent in Path(name).parents} - {"."}):
            tar.addfile(images.folder(folder, 0o755))
        for name, path in files:
            content = path.read_bytes()
            member = images.member(name, 0o755 if os.access(path, os.X_OK) else 0o644)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        for link in (PYTHON, f"{PYTHON}3"):
            tar.addfile(images.link(link, f"/{program}"))
    return out.getvalue()


def _wheel_layer(wheel: Path) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(wheel) as packed, tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for info in packed.infolist():
            content = packed.read(info)
            member = images.member(f"{PACKAGES}/{info.filename}", 0o644)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return out.getvalue()
