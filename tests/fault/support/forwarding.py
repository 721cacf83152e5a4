"""A real OpenBao that writes an audit file in the clear, and the forwarder as a process beside it."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from tests.e2e.support.cluster import eventually
from tests.fakes.http import closed_port

__all__ = ["AuditedBao", "Forwarder", "audited_bao"]

BIN = Path(sys.executable).parent
STOP_WITHIN = 10.0
ROOT_TOKEN = "root"


class AuditedBao:
    """In development mode, in memory; `audit` is its file, with log_raw."""

    def __init__(self, folder: Path) -> None:
        self.audit = folder / "audit.log"
        self._folder = folder
        self._port = closed_port()
        options = f'file_path = "{self.audit}"\nlog_raw = "true"'
        (folder / "config.hcl").write_text(f'audit "file" "file" {{\noptions {{\n{options}\n}}\n}}\n')

    def start(self) -> None:
        """Start it, or start it again: it has forgotten everything, and its audit file goes on."""
        arguments = ("-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}")
        with (self._folder / "bao.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(BIN / "bao", "server", f"-config={self._folder / 'config.hcl'}"),
                    *(f"-dev-listen-address=127.0.0.1:{self._port}", *arguments),
                ],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"], "HOME": str(self._folder)},
            )
        self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        eventually("OpenBao is ready", self._ready, within=30)

    def _ready(self) -> bool:
        assert self._process.poll() is None, (self._folder / "bao.log").read_text()
        try:
            self.call("GET", "secret/config")  # the last thing that a dev server sets up
        except (OSError, AssertionError):
            self._connection.close()
            return False
        return True

    def call(self, method: str, path: str, body: Any = None, *, namespace: str = "") -> Any:
        headers = {"X-Vault-Token": ROOT_TOKEN, **({"X-Vault-Namespace": namespace} if namespace else {})}
        self._connection.request(method, f"/v1/{path}", None if body is None else json.dumps(body), headers)
        answer = self._connection.getresponse()
        text = answer.read()
        assert answer.status < 300, f"{method} {path}: {answer.status} {text!r}"
        return json.loads(text) if text else None

    def put(self, name: str, value: str, *, mount: str = "secret", namespace: str = "") -> int:
        """Write an entry of KV v2; answers its version."""
        answer = self.call("POST", f"{mount}/data/{name}", {"data": {"password": value}}, namespace=namespace)
        return int(answer["data"]["version"])

    def reopen(self) -> None:
        """Have it open its audit file anew, as after a rotation; it does so in its own time."""
        self._process.send_signal(signal.SIGHUP)

    def stop(self) -> None:
        self._connection.close()
        self._process.terminate()
        try:
            self._process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@contextlib.contextmanager
def audited_bao(folder: Path) -> Iterator[AuditedBao]:
    """Run one for the time of some tests."""
    bao = AuditedBao(folder)
    try:
        bao.start()
        yield bao
    finally:
        bao.stop()


class Forwarder:
    """`elile hints forward` in a process of its own; its log is a file."""

    def __init__(self, folder: Path, **options: Path | str) -> None:
        self.log = folder / "forwarder.log"
        self.state = folder / "state"
        given = {"state-file": self.state, "metrics-port": "0", "log-level": "debug", **options}
        self._command = [str(BIN / "elile"), "hints", "forward"]
        self._command += [part for name, value in given.items() for part in (f"--{name}", str(value))]
        self.start()

    def start(self) -> None:
        """Start it, or start it again: the log goes on."""
        clean = {k: v for k, v in os.environ.items() if not k.startswith("ELILE_")}
        with self.log.open("ab") as out:
            self._began = out.tell()
            self.process = subprocess.Popen(self._command, stdout=out, stderr=subprocess.STDOUT, env=clean)

    def get(self, path: str) -> str:
        """Ask its port of metrics."""
        with urlopen(f"http://127.0.0.1:{eventually('it serves metrics', self._port)}{path}", timeout=10) as answer:
            return str(answer.read().decode())

    def _port(self) -> int | None:
        assert self.process.poll() is None, self.log.read_text()
        found = re.search(r'"message": "metrics served".*?"port": (\d+)', self.log.read_bytes()[self._began :].decode())
        return int(found[1]) if found else None

    def metric(self, name: str) -> float:
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics"), re.MULTILINE)
        assert found is not None, name
        return float(found[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(STOP_WITHIN)

    def terminate(self) -> int:
        """Tell it to stop; answers its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_WITHIN)
