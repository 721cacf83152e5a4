"""One component of a lab under control: start, stop, kill, freeze and thaw it, ask how it is. For chaos tests."""

import signal
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lab import network, processes, rest
from lab.components import Probe, Spec
from lab.errors import LabError
from lab.layout import Layout
from lab.pki import ca, pair
from lab.processes import Process
from lab.steps import wait_until
from lab.tools import PATH


@dataclass(slots=True)
class Component:
    """`after_spawn` is what a component needs beyond being started before it is of use: OpenBao is unsealed by it."""

    layout: Layout
    spec: Spec
    after_spawn: Callable[[], None] | None = None
    gave_up: threading.Event | None = None

    @property
    def name(self) -> str:
        return self.spec.name

    @property
    def log(self) -> Path:
        return self.layout.logs / f"{self.name}.log"

    @property
    def _record(self) -> Path:
        return self.layout.processes / f"{self.name}.json"

    @property
    def process(self) -> Process | None:
        return processes.recall(self._record, self.layout.folder, self.name)

    @property
    def pid(self) -> int | None:
        """None if it does not run."""
        return process.pid if (process := self.process) else None

    def problem(self) -> str | None:
        """None if it runs and answers that it is healthy, else what is wrong."""
        process = self.process
        if process is None:
            return "not running"
        return "frozen" if is_frozen(process) else ask(self.layout, self.spec.probe)

    def start(self) -> None:
        """Start it unless it runs, thaw it if it is frozen; returns when it is healthy."""
        if (process := self.process) is not None:
            processes.send(process, signal.SIGCONT)
        else:
            argv = network.in_node(self.layout, self.spec.argv) if self.spec.in_node else self.spec.argv
            process = processes.spawn(argv, self._environ(), self.log, self.layout.folder, self.name)
            processes.remember(self._record, process)
        if self.after_spawn is not None:
            self.after_spawn()
        self.wait_healthy()

    def wait_healthy(self) -> None:
        self.wait_until(self.problem, "healthy")

    def wait_until(self, check: Callable[[], str | None], what: str) -> None:
        """Like steps.wait_until, but a component that died is not waited for."""

        def check_alive() -> str | None:
            if self.process is None:
                raise LabError(f"{self.name} ended while starting; the end of {self.log}:\n{tail(self.log, 15)}")
            return check()

        wait_until(check_alive, f"{self.name} {what} (log: {self.log})", self.spec.start_within, gave_up=self.gave_up)

    def is_own(self, argv: list[str]) -> bool:
        """Whether a process with the component's mark is the component itself, not a child like a shim or `nft`."""
        own = [Path(word).name for word in self.spec.argv[:2]]
        return [Path(word).name for word in argv[:2]] == own

    def adopt(self, process: Process) -> None:
        """Take a process whose start was not recorded: whoever started it was killed between the two."""
        processes.remember(self._record, process)

    def stop(self) -> None:
        """SIGTERM, as at a shutdown; SIGKILL if it takes too long."""
        if (process := self.process) is not None:
            processes.stop([process], self.spec.stop_within)

    def kill(self) -> None:
        """SIGKILL: it gets no chance to clean up."""
        if (process := self.process) is not None:
            processes.kill([process])

    def freeze(self) -> None:
        """SIGSTOP: connections stay open and nothing answers, the hardest failure to notice."""
        process = self._running()
        processes.send(process, signal.SIGSTOP)
        wait_until(lambda: None if is_frozen(process) else "still running", f"{self.name} frozen", 5, every=0.001)

    def thaw(self) -> None:
        processes.send(self._running(), signal.SIGCONT)

    def _running(self) -> Process:
        if (process := self.process) is None:
            raise LabError(f"{self.name} does not run")
        return process

    def _environ(self) -> dict[str, str]:
        # Not the caller's environment: proxies, Go settings or tokens in it would make two labs differ.
        return {"PATH": PATH, "HOME": str(self.layout.data), "TMPDIR": "/tmp", "LANG": "C.UTF-8", **self.spec.environ}  # noqa: S108


def is_frozen(process: Process) -> bool:
    stat = processes.read_stat(process.pid)
    return stat is not None and stat.state in "Tt"


def ask(layout: Layout, probe: Probe) -> str | None:
    """None if the probe says healthy, else why not."""
    if probe.socket is not None:
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(2)
            try:
                s.connect(str(probe.socket))
            except OSError as error:
                return f"{probe.socket}: {error}"
        return None
    try:
        status = client(layout, probe.url, as_admin=probe.with_client_certificate, timeout=2).status(probe.path)
    except rest.UnreachableError as error:
        return str(error)
    return None if status in probe.healthy else f"{probe.url}{probe.path} answers {status}"


def client(layout: Layout, url: str, *, as_admin: bool = False, timeout: float = 10) -> rest.Client:
    """A connection to one of the lab's servers, which must show a certificate of the lab's CA."""
    context: ssl.SSLContext | None = None
    if url.startswith("https:"):
        admin = pair(layout.pki, "admin")
        context = rest.tls(ca(layout.pki), *((admin.certificate, admin.key) if as_admin else ()))
    return rest.Client(url, context, timeout=timeout)


def tail(log: Path, lines: int) -> str:
    if not log.exists():
        return "(no log)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 400 * lines))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])
