"""Programs of Debian's packages, installed when they are missing; a server that comes with one is not started."""

import os
import pwd
import shutil
import subprocess
from pathlib import Path

from lab.errors import LabError
from lab.steps import Echo

SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
# What maintainers' scripts ask before they start a service; 101 is "no".
POLICY = Path("/usr/sbin/policy-rc.d")
NOTHING_STARTS = "#!/bin/sh\nexit 101\n"


def ensure(package: str, program: Path | str, echo: Echo = print) -> Path:
    """Path of a program, given by its path or its name; as root its package is installed first. Raises LabError."""
    found = _find(program)
    if found is None:
        install(package, echo)
        found = _find(program)
    if found is None:
        raise LabError(f"no {program} after apt-get install {package}")
    return found


def install(package: str, echo: Echo = print) -> None:
    """Install a package and what it needs, without starting any service of them. Minutes. Raises LabError."""
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise LabError(f"a program is missing: install what Debian calls {package}")
    echo(f"  installing {package} with apt-get")
    ours = not POLICY.exists()
    if ours:
        POLICY.write_text(NOTHING_STARTS)
        POLICY.chmod(0o755)
    try:
        _apt_get("update")
        _apt_get("install", "--no-upgrade", "--no-install-recommends", "-o", "Dpkg::Options::=--force-confold", package)
    finally:
        if ours:
            POLICY.unlink(missing_ok=True)


def user(name: str) -> pwd.struct_passwd | None:
    """The user that a server is to run as: None when that is whoever starts it, or when its package is missing."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(name)
    except KeyError:
        return None


def as_user(found: pwd.struct_passwd | None) -> list[str]:
    """What comes before a command that this user is to run."""
    if found is None:
        return []
    return ["setpriv", f"--reuid={found.pw_uid}", f"--regid={found.pw_gid}", "--clear-groups", "--"]


def _find(program: Path | str) -> Path | None:
    if isinstance(program, Path):
        return program if program.exists() else None
    found = shutil.which(program, path=f"{os.environ.get('PATH', os.defpath)}:{SYSTEM_PATH}")
    return None if found is None else Path(found)


def _apt_get(*arguments: str) -> None:
    # Somebody else may be installing just now: the lock is waited for.
    command = ["apt-get", "--yes", "-o", "DPkg::Lock::Timeout=300", *arguments]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environ)
    if done.returncode != 0:
        raise LabError(f"{' '.join(command)} failed: {done.stderr.strip()[-1000:]}")
