"""A PostgreSQL server of Debian's package in a folder of its own: on loopback, with SCRAM, gone with its folder."""

import csv
import io
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from lab import debian
from lab.errors import LabError
from lab.layout import LONGEST_SOCKET
from lab.pki import Pair
from lab.server import HOST, Server
from lab.steps import Echo

ADMIN = "postgres"
PACKAGE = "postgresql"
INSTALLED = Path("/usr/lib/postgresql")
NO_CLUSTER = Path("/etc/postgresql-common/createcluster.conf")

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


class PostgreSQL(Server):
    """One server."""

    title = "PostgreSQL"
    component = "postgresql"
    user = ADMIN
    ends_by = signal.SIGINT  # SIGTERM would wait for the clients to go

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
        """With `tls` it offers TLS. `hba` is all of pg_hba.conf."""
        super().__init__(folder, port=port, echo=echo)
        self._data = self.folder / "data"
        self._tls = tls
        self._given = settings
        self._hba = hba

    def sql(self, statement: str, *, database: str = "postgres") -> list[list[str]]:
        """Run statements as the administrator and return the rows of all of them, as text. Raises LabError.

        Statements go by stdin: they may hold passwords, which an argument would show to everybody on the machine.
        """
        psql = programs(self._echo) / "psql"
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

    def _install(self) -> None:
        programs(self._echo)

    def _ask(self) -> None:
        self.sql("SELECT 1")

    def _prepare(self) -> list[str]:
        if len(f"{self._socket}/.s.PGSQL.{self.port}") > LONGEST_SOCKET:
            raise LabError(f"{self.folder} is too long for the path of a socket")
        self._socket.mkdir(parents=True, exist_ok=True)
        hba = self.folder / "pg_hba.conf"
        hba.write_text(self._hba)
        settings = {
            **self._given,
            "port": str(self.port),
            "unix_socket_directories": str(self._socket),
            "hba_file": str(hba),
        }
        paths = [self._socket, hba]
        if self._tls is not None:
            settings["ssl"] = "on"
            for name, file in (("cert", self._tls.certificate), ("key", self._tls.key)):
                paths.append(self._copy(name, file))
                settings[f"ssl_{name}_file"] = str(paths[-1])
        self._hand_over(paths)
        binaries = programs(self._echo)
        if not (self._data / "PG_VERSION").exists():
            self._make_database(binaries)
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        return [str(binaries / "postgres"), "-D", str(self._data), *options]

    def _make_database(self, binaries: Path) -> None:
        options = ["--no-sync", "--username", ADMIN, "--encoding", "UTF8", "--locale", "C", "--auth", "scram-sha-256"]
        # With SCRAM initdb wants a password for the administrator; nobody ever logs in with it.
        secret = self.folder / "unused"
        secret.write_text(os.urandom(24).hex())
        self._hand_over([secret])
        done = self._run([str(binaries / "initdb"), *options, "--pwfile", str(secret), "-D", str(self._data)])
        secret.unlink()
        if done.returncode != 0:
            raise LabError(f"initdb failed: {done.stderr.strip()[-1000:]}")
