"""What the servers of Debian's packages have in common: a folder, a user, a port of loopback, a process."""

import os
import signal
import socket
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self

from lab import debian, processes
from lab.errors import LabError
from lab.pki import write_private
from lab.steps import Echo, wait_until

HOST = "127.0.0.1"


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class Server(ABC):
    """One server. `folder` is made if need be, and must be one that the user `user` can reach when run as root."""

    title: ClassVar[str]
    component: ClassVar[str]  # its name in the records of the lab
    user: ClassVar[str]  # of Debian's package
    ends_by: ClassVar[signal.Signals] = signal.SIGTERM

    def __init__(self, folder: Path, *, port: int | None, echo: Echo) -> None:
        """`port` is one of loopback, a free one when None. Nothing is started yet."""
        self.folder = folder.absolute()
        self.host = HOST
        self.port = port or free_port()
        self.log = self.folder / f"{self.component}.log"
        self._record = self.folder / "run" / f"{self.component}.json"
        self._echo = echo
        self._user = debian.user(self.user)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start the server with what it had, return when it answers. Seconds. Raises LabError."""
        if self.is_up():
            return
        self._install()
        self._user = debian.user(self.user)  # the package makes this user
        command = self._prepare()
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        process = processes.spawn(
            [*debian.as_user(self._user), *command], environ, self.log, self.folder, self.component
        )
        processes.remember(self._record, process)

        def ready() -> str | None:
            if not processes.is_alive(process):
                raise LabError(f"{self.title} ended at once, see {self.log}")
            try:
                self._ask()
            except LabError as error:
                return str(error)
            return None

        wait_until(ready, self.title, 60, every=0.03)

    def stop(self) -> None:
        """End it and its connections; what it has stored stays."""
        process = processes.recall(self._record, self.folder, self.component)
        if process is not None:
            processes.send(process, self.ends_by, signal.SIGCONT)
            if left := processes.wait_gone([process], 20):
                processes.kill(left)
        self._record.unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Whether its process lives."""
        return processes.recall(self._record, self.folder, self.component) is not None

    # --- what each has of its own ------------------------------------------------------------------------------------

    @abstractmethod
    def _install(self) -> None:
        """See that the programs are there. Raises LabError."""

    @abstractmethod
    def _prepare(self) -> list[str]:
        """Write what the server needs into its folder; return its command line. Raises LabError."""

    @abstractmethod
    def _ask(self) -> None:
        """Raise LabError while it does not answer."""

    # --- for these ---------------------------------------------------------------------------------------------------

    def _copy(self, name: str, file: Path) -> Path:
        """A copy of a certificate or a key in the folder: servers insist that a key is their own."""
        copy = self.folder / f"tls-{name}"
        write_private(copy, file.read_bytes())
        return copy

    def _hand_over(self, paths: Iterable[Path]) -> None:
        """Give the folder and what is in it to the server's user, and to nobody else. Raises LabError."""
        for path in (self.folder, *paths):
            path.chmod(0o700)
            if self._user is not None:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        if self._run(["test", "-w", str(self.folder)]).returncode != 0:
            raise LabError(f"the user {self.user} cannot reach {self.folder}: a folder above it is closed to others")

    def _run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        """Run a program as the server's user."""
        path = f"{os.environ.get('PATH', os.defpath)}:{debian.SYSTEM_PATH}"
        environ = {"PATH": path, "LC_ALL": "C", "HOME": str(self.folder)}
        argv = [*debian.as_user(self._user), *command]
        return subprocess.run(argv, check=False, capture_output=True, text=True, env=environ, cwd="/", **options)
