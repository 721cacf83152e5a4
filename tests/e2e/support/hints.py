"""A forwarder beside the lab's OpenBao, and an operator that takes its hints."""

import json
import re
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.support.cluster import Cluster
from tests.e2e.support.fixtures import SYSTEM, egress_arguments
from tests.e2e.support.operator import Operator, running

STOP_WITHIN = 20.0


@dataclass(frozen=True)
class HintSite:
    """The files that both sides of hints need, on `port` of loopback."""

    cluster: Cluster
    folder: Path
    port: int
    server: str
    token: str

    @classmethod
    def make(cls, cluster: Cluster, folder: Path, server: str, port: int) -> "HintSite":
        """Issue what is needed for the forwarder of one VaultServer."""
        tokens, token = folder / "tokens", secrets.token_urlsafe(24)
        tokens.mkdir(parents=True)
        (tokens / server).write_text(token)
        (folder / "token").write_text(token)
        return cls(cluster, folder, port, server, token)

    @property
    def address(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def operator_arguments(self) -> tuple[str, ...]:
        assert self.cluster.lab is not None
        pair = self.cluster.lab.issue_certificate("hints", ["127.0.0.1"])
        return (
            *("--hint-port", str(self.port), "--hint-tokens", str(self.folder / "tokens")),
            *("--hint-certificate", str(pair.certificate), "--hint-key", str(pair.key)),
        )

    def forwarder_arguments(self) -> tuple[str, ...]:
        assert self.cluster.lab is not None
        return (
            *("--file", str(self.cluster.lab.bao_audit_log), "--to", self.address, "--server", self.server),
            *("--token-file", str(self.folder / "token"), "--ca-file", str(self.cluster.bao_ca_file)),
            *("--state-file", str(self.folder / "state.json"), "--metrics-port", "0"),
        )

    @contextmanager
    def operator(self, log: Path, *more: str) -> Iterator[Operator]:
        """Run an operator that takes hints."""
        arguments = ("--kubeconfig", str(self.cluster.kubeconfig), "--namespace", SYSTEM, *self.operator_arguments())
        with running(log, *arguments, *egress_arguments(self.cluster), *more) as operator:
            yield operator


class Forwarder:
    """`elile hints forward` as a process of its own."""

    def __init__(self, site: HintSite) -> None:
        self._site = site
        self.log = site.folder / "forwarder.log"
        self._port: int | None = None
        self.start()

    def start(self) -> None:
        """Start it, or start it again."""
        command = [str(Path(sys.executable).with_name("elile")), "hints", "forward", *self._site.forwarder_arguments()]
        with self.log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]


@contextmanager
def forwarding(site: HintSite) -> Iterator[Forwarder]:
    """Run a forwarder for the time of a test."""
    forwarder = Forwarder(site)
    try:
        yield forwarder
    finally:
        forwarder.stop()


def metric(operator: Operator, name: str, **labels: str) -> float:
    """Return a metric of an operator, 0 where it is not there."""
    chosen = ",".join(f'{key}="{value}"' for key, value in labels.items())
    series = re.escape(f"{name}{{{chosen}}}" if labels else name)
    found = re.search(rf"^{series} (\S+)$", operator.probe("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0
