"""A real OpenBao in its dev mode, for tests of the client: up in a second, on loopback, gone with the test."""

import contextlib
import http.client
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elile.secrets.redact import SecretStr
from tests.fakes.http import closed_port

ROOT = SecretStr("root")


@dataclass(frozen=True, slots=True)
class Bao:
    """A running `bao server -dev`, and the administrator's way to it that shares nothing with the client."""

    port: int

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def call(self, method: str, path: str, body: Any = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        with contextlib.closing(connection):
            connection.request(
                method, f"/v1/{path}", None if body is None else json.dumps(body), {"X-Vault-Token": ROOT.reveal()}
            )
            response = connection.getresponse()
            text = response.read()
        assert response.status < 300, f"{method} {path}: {response.status} {text!r}"
        return json.loads(text) if text else None

    def write(self, path: str, data: Any, mount: str = "secret") -> None:
        self.call("POST", f"{mount}/data/{path}", {"data": data})

    def token(self, **fields: Any) -> SecretStr:
        made = self.call("POST", "auth/token/create", {"no_parent": True, **fields})
        return SecretStr(made["auth"]["client_token"])


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Bao]:
    """Start a server on loopback and end it by its process."""
    bao = Bao(closed_port())
    command = [
        str(Path(sys.executable).with_name("bao")),
        *("server", "-dev", "-dev-root-token-id=root", "-dev-no-store-token"),
        f"-dev-listen-address=127.0.0.1:{bao.port}",
    ]
    log = folder / "bao.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdout=output, stderr=output, env={"PATH": os.environ["PATH"], "HOME": str(folder)}
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 30
            while True:
                with contextlib.suppress(OSError, AssertionError):
                    bao.call("GET", "secret/config")  # the last thing that a dev server sets up
                    break
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.05)
            yield bao
        finally:
            process.terminate()
            process.wait(timeout=10)
