"""A MariaDB server of Debian's package in a folder of its own: on loopback, gone with its folder."""

import getpass
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import debian, processes
from lab.errors import LabError
from lab.layout import LONGEST_SOCKET
from lab.pki import Pair, write_private
from lab.postgresql import HOST, free_port
from lab.steps import Echo, wait_until

USER = "mysql"
PACKAGE = "mariadb-server"
COMPONENT = "mariadb"

# What is in the folder is never needed after a crash of the machine.
SETTINGS = {
    "bind-address": HOST,
    "skip-name-resolve": "ON",
    "innodb-flush-log-at-trx-commit": "0",
    "innodb-flush-method": "nosync",
    "innodb-buffer-pool-size": "32M",
    "innodb-log-file-size": "8M",
    "performance-schema": "OFF",
    "character-set-server": "utf8mb4",
}


class MariaDB:
    """One server. `folder` is made if need be, and must be one that the user `mysql` can reach when run as root.

    The administrator comes by the socket, as the user of the system that the server runs as.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: Pair | None = None,
        settings: Mapping[str, str] = SETTINGS,
        echo: Echo = print,
    ) -> None:
        """`port` is one of loopback, a free one when None; with `tls` it offers TLS. Nothing is started yet."""
        self.folder = folder.absolute()
        self.host = HOST
        self.port = port or free_port()
        self.log = self.folder / "mariadb.log"
        self._data = self.folder / "data"
        self._record = self.folder / "run" / f"{COMPONENT}.json"
        self._echo = echo
        self._tls = tls
        self._given = settings
        self._user = debian.user(USER)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the databases if there are none, start the server, return when it answers. Seconds. Raises LabError."""
        if self.is_up():
            return
        program = debian.ensure(PACKAGE, "mariadbd", self._echo)
        self._user = debian.user(USER)  # the package makes this user
        self._prepare()
        options = [f"--{name}={value}" for name, value in self._settings().items()]
        argv = [*debian.as_user(self._user), str(program), "--no-defaults", f"--datadir={self._data}", *options]
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        process = processes.spawn(argv, environ, self.log, self.folder, COMPONENT)
        processes.remember(self._record, process)

        def ready() -> str | None:
            if not processes.is_alive(process):
                raise LabError(f"MariaDB ended at once, see {self.log}")
            try:
                self.sql("SELECT 1")
            except LabError as error:
                return str(error)
            return None

        wait_until(ready, "MariaDB", 60, every=0.05)

    def stop(self) -> None:
        """End it and its connections; the data stays."""
        process = processes.recall(self._record, self.folder, COMPONENT)
        if process is not None:
            processes.send(process, signal.SIGTERM, signal.SIGCONT)
            if left := processes.wait_gone([process], 20):
                processes.kill(left)
        self._record.unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Whether its process lives."""
        return processes.recall(self._record, self.folder, COMPONENT) is not None

    def sql(self, statement: str, *, database: str = "mysql") -> list[list[str]]:
        """Run statements as the administrator and return the rows of all of them, as text. Raises LabError.

        Statements go by stdin: they may hold passwords, which an argument would show to everybody on the machine.
        """
        client = debian.ensure(PACKAGE, "mariadb", self._echo)
        target = [f"--socket={self._socket}", f"--user={self._admin}", f"--database={database}"]
        done = self._run([str(client), "--no-defaults", *target, "--batch", "--skip-column-names"], input=statement)
        if done.returncode != 0:
            # Of "ERROR 1064 (42000) at line 1: ...", since the rest of it, and what is before it, quote the statement.
            said = [line.partition(":")[0] for line in done.stderr.splitlines() if line.startswith("ERROR")]
            raise LabError(f"mariadb: {', '.join(said) or 'no answer'}")
        return [line.split("\t") for line in done.stdout.splitlines()]

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _admin(self) -> str:
        return getpass.getuser() if self._user is None else self._user.pw_name

    @property
    def _socket(self) -> Path:
        return self.folder / "socket" / "mariadb.sock"

    def _copy(self, name: str) -> Path:
        return self.folder / f"tls-{name}"

    def _settings(self) -> dict[str, str]:
        tls = {f"ssl-{name}": str(self._copy(name)) for name in ("cert", "key")}
        return {
            **self._given,
            **({"skip-ssl": "ON"} if self._tls is None else tls),
            "port": str(self.port),
            "socket": str(self._socket),
            "pid-file": str(self.folder / "socket" / "mariadb.pid"),
        }

    def _prepare(self) -> None:
        if len(str(self._socket)) > LONGEST_SOCKET:
            raise LabError(f"{self.folder} is too long for the path of a socket")
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        paths = [self.folder, self._socket.parent]
        if self._tls is not None:
            for name, path in (("cert", self._tls.certificate), ("key", self._tls.key)):
                write_private(self._copy(name), path.read_bytes())
                paths.append(self._copy(name))
        for path in paths:
            path.chmod(0o700)
            if self._user is not None:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        if self._run(["test", "-w", str(self.folder)]).returncode != 0:
            raise LabError(f"the user {USER} cannot reach {self.folder}: a folder above it is closed to others")
        if (self._data / "mysql").exists():
            return
        install = debian.ensure(PACKAGE, "mariadb-install-db", self._echo)
        # Or there would be administrators without a password, for whoever is on the machine.
        admin = ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={self._admin}"]
        options = [*admin, "--skip-test-db", "--skip-name-resolve"]
        done = self._run([str(install), "--no-defaults", f"--datadir={self._data}", *options])
        if done.returncode != 0:
            raise LabError(f"mariadb-install-db failed: {(done.stderr or done.stdout).strip()[-1000:]}")

    def _run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        path = f"{os.environ.get('PATH', os.defpath)}:{debian.SYSTEM_PATH}"
        environ = {"PATH": path, "LC_ALL": "C", "HOME": str(self.folder)}
        return subprocess.run(
            [*debian.as_user(self._user), *command],
            check=False,
            capture_output=True,
            text=True,
            env=environ,
            cwd="/",
            **options,
        )
