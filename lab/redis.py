"""A Redis server of Debian's package in a folder of its own: on loopback, with users, gone with its folder."""

import os
import secrets
import shlex
import signal
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Self

from lab import debian, processes
from lab.errors import LabError
from lab.layout import LONGEST_SOCKET
from lab.pki import Pair, write_private
from lab.postgresql import HOST, free_port
from lab.steps import Echo, wait_until

ADMIN = "admin"
USER = "redis"
PACKAGE = "redis-server"
PROGRAM = "redis-server"
CLIENT = "redis-cli"
COMPONENT = "redis"
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


class Redis:
    """One server. `folder` is made if need be, and must be one that the user `redis` can reach when run as root.

    The default user is off. The administrator is `ADMIN`, with a password that is made with the folder.
    """

    def __init__(
        self,
        folder: Path,
        *,
        port: int | None = None,
        tls: Tls | None = None,
        acl_file: bool = True,
        echo: Echo = print,
    ) -> None:
        """`port` is one of loopback, a free one when None; with `tls` it speaks nothing else.

        Without `acl_file` its users are in its configuration, and forgotten when it ends. Nothing is started yet.
        """
        self.folder = folder.absolute()
        self.host = HOST
        self.port = port or free_port()
        self.log = self.folder / "redis.log"
        self.acl = self.folder / "users.acl"
        self._tls = tls
        self._acl_file = acl_file
        self._record = self.folder / "run" / f"{COMPONENT}.json"
        self._echo = echo
        self._user = debian.user(USER)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def password(self) -> str:
        """The administrator's."""
        return (self.folder / "password").read_text()

    def start(self) -> None:
        """Start the server with the users it had, return when it answers. Raises LabError."""
        if self.is_up():
            return
        program = debian.ensure(PACKAGE, PROGRAM, self._echo)
        self._user = debian.user(USER)  # the package makes this user
        self._prepare()
        argv = [*debian.as_user(self._user), str(program), str(self.folder / "redis.conf")]
        environ = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
        process = processes.spawn(argv, environ, self.log, self.folder, COMPONENT)
        processes.remember(self._record, process)

        def ready() -> str | None:
            if not processes.is_alive(process):
                raise LabError(f"Redis ended at once, see {self.log}")
            try:
                self.run("PING")
            except LabError as error:
                return str(error)
            return None

        wait_until(ready, "Redis", 30, every=0.02)

    def stop(self) -> None:
        """End it and its connections; the folder stays."""
        process = processes.recall(self._record, self.folder, COMPONENT)
        if process is not None:
            processes.send(process, signal.SIGTERM, signal.SIGCONT)
            if left := processes.wait_gone([process], 10):
                processes.kill(left)
        self._record.unlink(missing_ok=True)

    def is_up(self) -> bool:
        """Whether its process lives."""
        return processes.recall(self._record, self.folder, COMPONENT) is not None

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

    def _prepare(self) -> None:
        if len(str(self._socket)) > LONGEST_SOCKET:
            raise LabError(f"{self.folder} is too long for the path of a socket")
        self.folder.mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o700)
        if not (self.folder / "password").exists():
            write_private(self.folder / "password", secrets.token_hex(16).encode())
        users = ["user default off", f"user {ADMIN} on #{sha256(self.password.encode()).hexdigest()} ~* &* +@all"]
        settings = {**SETTINGS, "dir": str(self.folder), "unixsocket": str(self._socket), "unixsocketperm": "700"}
        if self._tls is None:
            settings["port"] = str(self.port)
        else:
            files = {
                "cert": self._tls.pair.certificate,
                "key": self._tls.pair.key,
                "ca-cert": self._tls.ca,
            }
            for name, path in files.items():
                write_private(self.folder / f"tls-{name}", path.read_bytes())
                settings[f"tls-{name}-file"] = str(self.folder / f"tls-{name}")
            settings |= {"port": "0", "tls-port": str(self.port), "tls-auth-clients": "no"}
        if self._acl_file:
            settings["aclfile"] = str(self.acl)
            if not self.acl.exists():
                write_private(self.acl, "".join(f"{line}\n" for line in users).encode())
        lines = [f"{name} {value}" for name, value in settings.items()] + ([] if self._acl_file else users)
        write_private(self.folder / "redis.conf", "".join(f"{line}\n" for line in lines).encode())
        if self._user is not None:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, self._user.pw_uid, self._user.pw_gid)
        reach = subprocess.run([*debian.as_user(self._user), "test", "-w", str(self.folder)], check=False, cwd="/")
        if reach.returncode != 0:
            raise LabError(f"the user {USER} cannot reach {self.folder}: a folder above it is closed to others")
