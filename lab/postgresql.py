"""A PostgreSQL server of Debian's package in a folder of its own: on loopback, with SCRAM, gone with its folder."""

import csv
import io
import os
import signal
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from lab import debian, processes
from lab.errors import LabError
from lab.layout import LONGEST_SOCKET
from lab.pki import Pair, write_private
from lab.steps import Echo, wait_until

HOST = "127.0.0.1"
ADMIN = "postgres"
PACKAGE = "postgresql"
INSTALLED = Path("/usr/lib/postgresql")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")
COMPONENT = "postgresql"

# What is in the folder is never needed after a crash of the machine.
SETTINGS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "100",
    "listen_addresses": HOST,
    "password_encryption": "scram-sha-256",
    "logging_collector": "off",
    "lc_messages": "C",
}
# The socket is in a folder that only the server's user can enter.
HBA = f"local all {ADMIN} trust\nhost all all {HOST}/32 scram-sha-256\n"


def programs(echo: Echo = print) -> Path:
    """Folder of the newest PostgreSQL that is installed; as root it is installed first. Raises LabError."""
    found = _newest()
    if found is None:
        _install(echo)
        found = _newest()
    if found is None:
        raise LabError(f"no {INSTALLED}/*/bin/postgres after apt-get install {PACKAGE}")
    return found


def _newest() -> Path | None:
    versions = [
        path for path in INSTALLED.glob("*/bin") if path.parent.name.isdecimal() and (path / "postgres").exists()
    ]
    return max(versions, key=lambda path: int(path.parent.name), default=None)


def _install(echo: Echo) -> None:
    if os.geteuid() == 0 and not NO_CLUSTER.exists():
        # Or the package makes a server of its own.
        NO_CLUSTER.parent.mkdir(parents=True, exist_ok=True)
        NO_CLUSTER.write_text("create_main_cluster = false\n")
    debian.install(PACKAGE, echo)


def free_port() -> int:
    """A port of loopback that nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


class PostgreSQL:
    """One server. `folder` is made if need be, and must be one that the user `postgres` can reach when run as root."""

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: Pair | None = None,
        settings: Mapping[str, str] = SETTINGS,
        hba: str = HBA,
        echo: Echo = print,
    ) -> None:
        """`port` is one of loopback, a free one when None; with `tls` it offers TLS. `hba` is all of pg_hba.conf.

        Nothing is started yet.
        """
        self.folder = folder.absolute()
        self.host = HOST
        self.port = port or free_port()
        self.log = self.folder / "postgresql.log"
        self._data = self.folder / "data"
        self._record = self.folder / "run" / f"{COMPONENT}.json"
        self._echo = echo
        self._tls = tls
        self._given = settings
        self._hba = hba
        self._user = debian.user(ADMIN)
        self._bin: Path | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Make the database if there is none, start the server, return when it answers. Seconds. Raises LabError."""
        if self.is_up():
            return
        self._bin = programs(self._echo)
        self._user = debian.user(ADMIN)  # the package makes this user
        self._prepare(self._bin)
        options = [part for name, value in self._settings().items() for part in ("-c", f"{name}={value}")]
        argv = [*debian.as_user(self._user), str(self._bin / "postgres"), "-D", str(self._data), *options]
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        process = processes.spawn(argv, environ, self.log, self.folder, COMPONENT)
        processes.remember(self._record, process)

        def ready() -> str | None:
            if not processes.is_alive(process):
                raise LabError(f"PostgreSQL ended at once, see {self.log}")
            try:
                self.sql("SELECT 1")
            except LabError as error:
                return str(error)
            return None

        wait_until(ready, "PostgreSQL", 30, every=0.05)

    def stop(self) -> None:
        """End it and its connections; the data stays."""
        process = processes.recall(self._record, self.folder, COMPONENT)
        if process is not None:
            # SIGTERM would wait for the clients to go.
            processes.send(process, signal.SIGINT, signal.SIGCONT)
            if left := processes.wait_gone([process], 10):
                processes.kill(left)
        self._record.unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Whether its process lives."""
        return processes.recall(self._record, self.folder, COMPONENT) is not None

    def sql(self, statement: str, *, database: str = "postgres") -> list[list[str]]:
        """Run statements as the administrator and return the rows of all of them, as text. Raises LabError.

        Statements go by stdin: they may hold passwords, which an argument would show to everybody on the machine.
        """
        psql = (self._bin or programs(self._echo)) / "psql"
        target = ["-h", str(self._socket), "-p", str(self.port), "-U", ADMIN, "-d", database]
        options = ["-X", "-q", "--csv", "-t", "-v", "ON_ERROR_STOP=1", "-v", "VERBOSITY=terse", "-f", "-"]
        done = self._run([str(psql), *target, *options], input=statement)
        if done.returncode != 0:
            raise LabError(f"psql: {done.stderr.strip()[-500:]}")
        return list(csv.reader(io.StringIO(done.stdout)))

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        return self.folder / "socket"

    def _copy(self, name: str) -> Path:
        return self.folder / f"tls-{name}"

    def _settings(self) -> dict[str, str]:
        tls = {"ssl": "on", **{f"ssl_{name}_file": str(self._copy(name)) for name in ("cert", "key")}}
        return {
            **self._given,
            **({} if self._tls is None else tls),
            "port": str(self.port),
            "unix_socket_directories": str(self._socket),
            "hba_file": str(self.folder / "pg_hba.conf"),
        }

    def _prepare(self, binaries: Path) -> None:
        if len(f"{self._socket}/.s.PGSQL.{self.port}") > LONGEST_SOCKET:
            raise LabError(f"{self.folder} is too long for the path of a socket")
        self._socket.mkdir(parents=True, exist_ok=True)
        (self.folder / "pg_hba.conf").write_text(self._hba)
        paths = [self.folder, self._socket, self.folder / "pg_hba.conf"]
        if self._tls is not None:
            # Copies, since the server insists that its key is its own.
            for name, path in (("cert", self._tls.certificate), ("key", self._tls.key)):
                write_private(self._copy(name), path.read_bytes())
                paths.append(self._copy(name))
        for path in paths:
            path.chmod(0o700)
            if self._user is not None:
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        if self._run(["test", "-w", str(self.folder)]).returncode != 0:
            raise LabError(f"the user {ADMIN} cannot reach {self.folder}: a folder above it is closed to others")
        if (self._data / "PG_VERSION").exists():
            return
        options = ["--no-sync", "--username", ADMIN, "--encoding", "UTF8", "--locale", "C", "--auth", "scram-sha-256"]
        # With SCRAM initdb wants a password for the administrator; nobody ever logs in with it.
        secret = self.folder / "unused"
        secret.write_text(os.urandom(24).hex())
        if self._user is not None:
            os.chown(secret, self._user.pw_uid, self._user.pw_gid)
        done = self._run([str(binaries / "initdb"), *options, "--pwfile", str(secret), "-D", str(self._data)])
        secret.unlink()
        if done.returncode != 0:
            raise LabError(f"initdb failed: {done.stderr.strip()[-1000:]}")

    def _run(self, command: list[str], **options: Any) -> "subprocess.CompletedProcess[str]":
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        return subprocess.run(
            [*debian.as_user(self._user), *command],
            check=False,
            capture_output=True,
            text=True,
            env=environ,
            cwd="/",
            **options,
        )
