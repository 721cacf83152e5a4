"""A MariaDB server of Debian's package in a folder of its own: on loopback, gone with its folder."""

import getpass
from collections.abc import Mapping
from pathlib import Path

from lab import debian
from lab.errors import LabError
from lab.layout import LONGEST_SOCKET
from lab.pki import Pair
from lab.server import HOST, Server
from lab.steps import Echo

USER = "mysql"
PACKAGE = "mariadb-server"

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


class MariaDB(Server):
    """One server. The administrator comes by the socket, as the user of the system that the server runs as."""

    title = "MariaDB"
    component = "mariadb"
    user = USER

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: Pair | None = None,
        settings: Mapping[str, str] = SETTINGS,
        echo: Echo = print,
    ) -> None:
        """With `tls` it offers TLS."""
        super().__init__(folder, port=port, echo=echo)
        self._data = self.folder / "data"
        self._tls = tls
        self._given = settings

    def sql(self, statement: str, *, database: str = "mysql") -> list[list[str]]:
        """Run statements as the administrator and return the rows of all of them, as text. Raises LabError.

        Statements go by stdin: they may hold passwords, which an argument would show to everybody on the machine.
        """
        target = [f"--socket={self._socket}", f"--user={self._admin}", f"--database={database}"]
        done = self._run(["mariadb", "--no-defaults", *target, "--batch", "--skip-column-names"], input=statement)
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

    def _install(self) -> None:
        for program in ("mariadbd", "mariadb", "mariadb-install-db"):
            debian.ensure(PACKAGE, program, self._echo)

    def _ask(self) -> None:
        self.sql("SELECT 1")

    def _prepare(self) -> list[str]:
        if len(str(self._socket)) > LONGEST_SOCKET:
            raise LabError(f"{self.folder} is too long for the path of a socket")
        self._socket.parent.mkdir(parents=True, exist_ok=True)
        settings = {
            **self._given,
            "port": str(self.port),
            "socket": str(self._socket),
            "pid-file": str(self.folder / "socket" / "mariadb.pid"),
        }
        paths = [self._socket.parent]
        if self._tls is None:
            settings["skip-ssl"] = "ON"
        else:
            for name, file in (("cert", self._tls.certificate), ("key", self._tls.key)):
                paths.append(self._copy(name, file))
                settings[f"ssl-{name}"] = str(paths[-1])
        self._hand_over(paths)
        if not (self._data / "mysql").exists():
            self._make_databases()
        options = [f"--{name}={value}" for name, value in settings.items()]
        program = str(debian.ensure(PACKAGE, "mariadbd", self._echo))
        return [program, "--no-defaults", f"--datadir={self._data}", *options]

    def _make_databases(self) -> None:
        # Or there would be administrators without a password, for whoever is on the machine.
        admin = ["--auth-root-authentication-method=socket", f"--auth-root-socket-user={self._admin}"]
        options = [*admin, "--skip-test-db", "--skip-name-resolve"]
        done = self._run(["mariadb-install-db", "--no-defaults", f"--datadir={self._data}", *options])
        if done.returncode != 0:
            raise LabError(f"mariadb-install-db failed: {(done.stderr or done.stdout).strip()[-1000:]}")
