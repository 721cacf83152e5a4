"""The operator as a process of its own, the way it runs for users."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import urlopen

from tests.e2e.support.cluster import ROOT, eventually

STOP_WITHIN = 25.0
# Two seconds of CPU, of which a machine that runs several suites gives little.
START_WITHIN = 120.0


class Operator:
    """One running process; its log is a file of JSON lines."""

    def __init__(self, log: Path, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.log = log
        self._command = [sys.executable, "-m", "elile_operator", "--probe-port=0", *arguments]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("KUBE", "ELILE_"))}
        self._env = {**clean, **(env or {})}
        self.start()

    def start(self) -> None:
        """Start it, or start it again: the log goes on."""
        with self.log.open("ab") as out:
            self._began = out.tell()
            self.process = subprocess.Popen(
                self._command, stdout=out, stderr=subprocess.STDOUT, env=self._env, cwd=ROOT
            )

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self) -> list[dict[str, Any]]:
        found = []
        for line in self.log.read_text().splitlines():
            assert line.startswith("{"), f"not a JSON line: {line}"
            found.append(json.loads(line))
        return found

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            return self.probe("/readyz")[0] == 200

        eventually("the operator is ready", ready, within=START_WITHIN)

    def probe(self, path: str) -> tuple[int, str]:
        """Return status and body of a probe; 0 while nothing listens."""
        text = self.log.read_bytes()[self._began :].decode()
        port = re.search(r'"message": "probes served".*?"port": (\d+)', text)
        if port is None:
            return 0, ""
        try:
            with urlopen(f"http://127.0.0.1:{port[1]}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except HTTPError as e:
            return e.code, e.read().decode()

    def stop(self) -> int:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise


@contextmanager
def running(log: Path, *arguments: str, env: dict[str, str] | None = None) -> Iterator[Operator]:
    """Run an operator for the time of a test."""
    operator = Operator(log, *arguments, env=env)
    try:
        operator.wait_ready()
        yield operator
    finally:
        operator.stop()
