"""A Redis server of Debian's package in a folder of its own: on loopback, with users, gone with its folder."""

import os
import secrets
import shlex
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from lab import debian
from lab.errors import LabError
from lab.layout import LONGEST_SOCKET
from lab.pki import Pair, write_private
from lab.server import HOST, Server
from lab.steps import Echo

ADMIN = "admin"
USER = "redis"
PACKAGE = "redis-server"
PROGRAM = "redis-server"
CLIENT = "redis-cli"
REFUSALS = ("ERR ", "NOPERM ", "NOAUTH ", "WRONGPASS ", "LOADING ", "MISCONF ")

# What is in the folder is never needed after a crash of the machine.
SETTINGS = {
    "bind": HOST,
    "save": '""',
    "appendonly": "no",
    "databases": "1",
    "logfile": '""',
    # A title of its own would be written over the environment, and with it over the mark that it is known by.
    "set-proc-title": "no",
}


@dataclass(frozen=True, slots=True)
class Tls:
    """What a server shows, and the authority that its clients trust."""

    pair: Pair
    ca: Path


class Redis(Server):
    """One server. The default user is off, the administrator `ADMIN` has a password that is made with the folder."""

    title = "Redis"
    component = "redis"
    user = USER

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: Tls | None = None,
        acl_file: bool = True,
        settings: Mapping[str, str] = SETTINGS,
        echo: Echo = print,
    ) -> None:
        """With `tls` it speaks nothing else. Without `acl_file` its users are forgotten when it ends."""
        super().__init__(folder, port=port, echo=echo)
        self.acl = self.folder / "users.acl"
        self._tls = tls
        self._acl_file = acl_file
        self._given = settings

    @property
    def password(self) -> str:
        """The administrator's."""
        return (self.folder / "password").read_text()

    def run(self, *words: str) -> str:
        """Run a command as the administrator and return what redis-cli prints. Raises LabError, without the command.

        It goes by stdin, and the password by the environment: an argument is shown to everybody on the machine.
        """
        done = subprocess.run(
            [CLIENT, "-s", str(self._socket), "--user", ADMIN, "--no-auth-warning"],
            input=" ".join(map(shlex.quote, words)) + "\n",
            check=False,
            capture_output=True,
            text=True,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "REDISCLI_AUTH": self.password},
        )
        said = done.stdout.rstrip("\n")
        # With commands from stdin it ends with 0 whatever happens.
        if done.returncode != 0 or done.stderr:
            raise LabError(f"redis-cli: {done.stderr.strip()[-500:]}")
        if said.startswith(REFUSALS):
            raise LabError(f"redis-cli: the server answers {said.split(' ', 1)[0]}")
        return said

    # --- inside ------------------------------------------------------------------------------------------------------

    @property
    def _socket(self) -> Path:
        return self.folder / "redis.sock"

    def _install(self) -> None:
        debian.ensure(PACKAGE, PROGRAM, self._echo)

    def _ask(self) -> None:
        self.run("PING")

    def _prepare(self) -> list[str]:
        if len(str(self._socket)) > LONGEST_SOCKET:
            raise LabError(f"{self.folder} is too long for the path of a socket")
        self.folder.mkdir(parents=True, exist_ok=True)
        password = self.folder / "password"
        if not password.exists():
            write_private(password, secrets.token_hex(16).encode())
        users = ["user default off", f"user {ADMIN} on #{sha256(self.password.encode()).hexdigest()} ~* &* +@all"]
        settings = {**self._given, "dir": str(self.folder), "unixsocket": str(self._socket), "unixsocketperm": "700"}
        paths = [password]
        if self._tls is None:
            settings["port"] = str(self.port)
        else:
            files = {"cert": self._tls.pair.certificate, "key": self._tls.pair.key, "ca-cert": self._tls.ca}
            for name, file in files.items():
                paths.append(self._copy(name, file))
                settings[f"tls-{name}-file"] = str(paths[-1])
            settings |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
        if self._acl_file:
            settings["aclfile"] = str(self.acl)
            if not self.acl.exists():
                write_private(self.acl, "".join(f"{line}\n" for line in users).encode())
            paths.append(self.acl)
        configuration = self.folder / "redis.conf"
        lines = [f"{name} {value}" for name, value in settings.items()] + ([] if self._acl_file else users)
        write_private(configuration, "".join(f"{line}\n" for line in lines).encode())
        self._hand_over([*paths, configuration])
        return [str(debian.ensure(PACKAGE, PROGRAM, self._echo)), str(configuration)]
