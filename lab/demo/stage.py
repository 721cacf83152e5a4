"""What both stories of the demo stand on: the lab, the operator as a process, and telling what happens."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from lab import slots
from lab.cluster import Lab

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
SYSTEM, SHOP = "elile-system", "shop"


class DemoError(Exception):
    """A step did not come to its end; the message says which, and where to look."""


class Stage:
    """The lab of the demo; each step is printed when it begins, with the seconds since the demo did."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.folder = lab.folder / "demo"
        self.began = time.monotonic()

    # ── telling ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def say(self, what: str) -> None:
        """Print a step."""
        print(f"[{time.monotonic() - self.began:5.1f} s] {what}", flush=True)

    def note(self, what: str) -> None:
        """Print something about the step."""
        print(textwrap.indent(what, "    "), flush=True)

    def show(self, what: str, *command: str) -> None:
        """Print a command of kubectl and what it prints."""
        self.note(f"{what}: {' '.join(command)}")
        self.note(textwrap.indent(self.lab.kubectl(*command[1:]).rstrip(), "    "))

    def until(self, what: str, check: Callable[[], bool], within: float = 60.0) -> None:
        """Wait. Raises DemoError."""
        deadline = time.monotonic() + within
        while not check():
            if time.monotonic() > deadline:
                raise DemoError(
                    f"not within {within:.0f} s: {what}; the operator's log: {self.folder / 'operator.log'}"
                )
            time.sleep(0.02)

    # ── the cluster ──────────────────────────────────────────────────────────────────────────────────────────────────

    def lab_is_there(self) -> bool:
        """Whether the lab was brought up and not taken down."""
        return slots.recorded(self.lab.name, self.lab.folder) is not None

    def apply_example(self, name: str, values: Mapping[str, str] | None = None) -> None:
        """Apply a file of examples/, with the places `${NAME}` filled in."""
        text = (EXAMPLES / name).read_text()
        for key, value in (values or {}).items():
            place = f"${{{key}}}"
            # Every line of a certificate stands as far in as the place it goes to.
            line = next(line for line in text.splitlines() if place in line)
            indent = line.partition("$")[0] if "\n" in value else ""
            text = text.replace(place, textwrap.indent(value, indent).strip())
        self.lab.kubectl("apply", "-f", "-", input=text)

    def pod_runs(self, name: str) -> bool:
        """Whether a pod of the shop runs."""
        return self.lab.kubectl("-n", SHOP, "get", "pod", name, "-o", "jsonpath={.status.phase}") == "Running"

    def accessor(self) -> str:
        """The name that OpenBao gave its auth method `kubernetes`, which policies need."""
        found: str = json.loads(self.lab.bao("auth", "list", "-format=json"))["kubernetes/"]["accessor"]
        return found

    # ── the operator ─────────────────────────────────────────────────────────────────────────────────────────────────

    def start_operator(self, *more: str) -> None:
        """Start it on this machine. Raises DemoError."""
        self.folder.mkdir(exist_ok=True)
        log = self.folder / "operator.log"
        arguments = ["--kubeconfig", str(self.lab.kubeconfig), "--namespace", SYSTEM, "--probe-port", "0", *more]
        with log.open("wb") as out:
            process = subprocess.Popen(
                [sys.executable, "-m", "elile_operator", "--log-format", "console", *arguments],
                stdout=out,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        (self.folder / "operator.pid").write_text(str(process.pid))

        def started() -> bool:
            if process.poll() is not None:
                raise DemoError(f"the operator ended: {log.read_text().strip()}")
            return "started" in log.read_text()

        self.until("the operator has started", started)
        self.note(f"its log: {log}")

    def stop_operator(self) -> None:
        """Stop the operator of this demo, if it runs: by its pid, and only if that still is an operator of ours."""
        file = self.folder / "operator.pid"
        if not file.exists():
            return
        pid = int(file.read_text())
        file.unlink()
        command = Path(f"/proc/{pid}/cmdline")
        if not command.exists() or str(self.lab.kubeconfig).encode() not in command.read_bytes():
            return
        os.kill(pid, signal.SIGTERM)
        deadline = time.monotonic() + 15
        while command.exists() and command.read_bytes():
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                return
            try:  # our own child, when up and down are one process
                os.waitpid(pid, os.WNOHANG)
            except ChildProcessError:
                time.sleep(0.05)
