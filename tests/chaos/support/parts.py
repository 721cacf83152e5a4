"""The parts that are killed, frozen and restarted: API server, etcd, OpenBao, and two replicas of the operator."""

import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from lab.cluster import Lab
from lab.control import Component
from lab.errors import LabError
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM, egress_arguments
from tests.e2e.support.operator import Operator

# What it takes from a dead leader to the next one, five times.
READY_WITHIN = 100.0


class Part(StrEnum):
    """What a fault hits."""

    API_SERVER = "kube-apiserver"
    ETCD = "etcd"
    OPENBAO = "openbao"
    OPERATOR = "operator"


class Fault(StrEnum):
    """What is done to it."""

    KILL = "kill"  # SIGKILL, and started again
    FREEZE = "freeze"  # SIGSTOP, and SIGCONT after seconds
    RESTART = "restart"  # SIGTERM, and started again


@dataclass
class Replicas:
    """Two operators as a Deployment has them: one that ends is started again."""

    cluster: Cluster
    folder: Path
    exits: Counter[str] = field(default_factory=Counter)
    unexplained: list[str] = field(default_factory=list)
    _all: list[Operator] = field(default_factory=list)
    _ours: set[int] = field(default_factory=set)  # pids that were told, or made, to end
    _lock: threading.RLock = field(default_factory=threading.RLock)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Replicas":
        arguments = ("--kubeconfig", str(self.cluster.kubeconfig), "--namespace", SYSTEM)
        arguments += egress_arguments(self.cluster)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._thread = threading.Thread(target=self._supervise, name="chaos-kubelet", daemon=True)
        try:
            for i in range(2):
                self._all.append(Operator(self.folder / f"replica-{i}.log", *arguments))
            eventually("an operator leads", self.has_leader, within=READY_WITHIN)
            self._thread.start()
        except BaseException:
            self._stop_all()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(10)
        self._stop_all()

    def _stop_all(self) -> None:
        for operator in self._all:
            if operator.process.poll() is None:
                operator.process.send_signal(signal.SIGCONT)
            operator.stop()

    def leader(self) -> Operator:
        """Return the replica that works, the first one when none does."""
        return next((o for o in self._all if self._role(o) == "leader"), self._all[0])

    def has_leader(self) -> bool:
        """Whether one replica works and the other one could."""
        roles = [self._role(o) for o in self._all]
        return set(roles) == {"leader", "standby"}

    def kill(self) -> None:
        """Kill the one that works."""
        with self._lock:
            victim = self.leader()
            self._ours.add(victim.pid)
            victim.process.kill()
            victim.process.wait()

    def restart(self) -> None:
        """Stop the one that works as kubelet would."""
        victim = self.leader()
        self._ours.add(victim.pid)
        victim.process.send_signal(signal.SIGTERM)

    def freeze(self, seconds: float) -> None:
        """Freeze the one that works for a while; it ends by itself if it overslept its Lease."""
        victim = self.leader()
        victim.process.send_signal(signal.SIGSTOP)
        time.sleep(seconds)
        victim.process.send_signal(signal.SIGCONT)

    @staticmethod
    def _role(operator: Operator) -> str | None:
        try:
            status, body = operator.probe("/readyz")
        except OSError:  # it died meanwhile, or is frozen
            return None
        return "standby" if status == 200 and '"standby"' in body else "leader" if status == 200 else None

    def _supervise(self) -> None:
        while not self._stopping.wait(0.1):
            with self._lock:
                for operator in self._all:
                    if operator.process.poll() is not None:
                        self._explain(operator)
                        operator.start()

    def _explain(self, operator: Operator) -> None:
        code = operator.process.returncode
        if operator.pid in self._ours:
            self.exits["told to"] += 1
            return
        # As text: a process that crashes ends its log with a traceback, whatever the format of the log is.
        said = operator.log.read_text().splitlines()[-1]
        if code == 1 and "Lease" in said and "this process ends" in said:
            self.exits["Lease lost"] += 1
            return
        self.exits["unexplained"] += 1
        self.unexplained.append(f"operator {operator.pid} ended with {code}: {said} ({operator.log})")


@dataclass(frozen=True)
class Parts:
    """All parts of one lab and its operators."""

    lab: Lab
    replicas: Replicas

    def hit(self, part: Part, fault: Fault, seconds: float) -> None:
        """Do it, and return when the part runs again; `seconds` is how long a freeze lasts."""
        if part is Part.OPERATOR:
            self._hit_operator(fault, seconds)
            return
        component = self.lab.component(part)
        match fault:
            case Fault.KILL:
                component.kill()
            case Fault.RESTART:
                component.stop()
            case Fault.FREEZE:
                component.freeze()
                time.sleep(seconds)
                component.thaw()
        if fault is not Fault.FREEZE:
            self._start(component)

    @staticmethod
    def _start(component: Component) -> None:
        """Start a server until it stays: an API server ends by itself while etcd is frozen, as kubelet would see."""
        ends = time.monotonic() + READY_WITHIN
        while True:
            try:
                component.start()
            except LabError:
                if time.monotonic() > ends:
                    raise
            else:
                return

    def _hit_operator(self, fault: Fault, seconds: float) -> None:
        match fault:
            case Fault.KILL:
                self.replicas.kill()
            case Fault.RESTART:
                self.replicas.restart()
            case Fault.FREEZE:
                self.replicas.freeze(seconds)

    def wait_healthy(self) -> None:
        """Return when everything answers again: the servers, and an operator that leads."""
        servers = [self.lab.component(part) for part in Part if part is not Part.OPERATOR]

        def all_well() -> bool:
            return all(server.problem() is None for server in servers)

        eventually("the servers are healthy", all_well, within=READY_WITHIN, every=0.05)

    def wait_led(self) -> None:
        """Return when one operator leads and another stands by."""
        eventually("an operator leads", self.replicas.has_leader, within=READY_WITHIN, every=0.05)


@contextmanager
def parts(cluster: Cluster) -> Iterator[Parts]:
    """Run two replicas for the time of a storm; everything is thawed and started again afterwards.

    Their logs are kept beside those of the lab: what a storm breaks is understood from them.
    """
    assert cluster.lab is not None
    folder = cluster.lab.layout.logs / "replicas"
    for old in folder.glob("*.log"):
        old.unlink()
    try:
        with Replicas(cluster, folder) as replicas:
            yield Parts(cluster.lab, replicas)
    finally:
        for part in Part:
            if part is not Part.OPERATOR:
                cluster.lab.component(part).start()
