"""A real OpenBao in development mode, in memory: what the operator reads from, and its audit log."""

import json
import os
import socket
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests

from tests.e2e.support.audit import Tail, bao_requests
from tests.e2e.support.cluster import eventually
from tests.fault.support.certificate import Authority

BINARY = Path(sys.executable).with_name("bao")
ROOT_TOKEN = "root"
POLICY = 'path "secret/*" { capabilities = ["read"] }'
STOP_WITHIN = 10.0


class Bao:
    """One server. Every cluster that logs in has an auth mount of its own."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        self.authority = authority
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self.audit_log = folder / "audit.log"
        # OpenBao 2.7 refuses audit devices made by API; they are declared.
        audit = {"description": "what tests count in", "options": {"file_path": str(self.audit_log)}}
        config = folder / "config.json"
        config.write_text(json.dumps({"audit": [{"file": {"file": audit}}]}))
        arguments = ("-dev", "-dev-no-store-token", f"-dev-root-token-id={ROOT_TOKEN}")
        with (folder / "bao.log").open("wb") as log:
            self.process = subprocess.Popen(
                [BINARY, "server", f"-config={config}", f"-dev-listen-address=127.0.0.1:{port}", *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, "HOME": str(folder)},
            )
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["X-Vault-Token"] = ROOT_TOKEN

    def wait_ready(self) -> None:
        def ready() -> bool:
            assert self.process.poll() is None, "OpenBao has ended"
            try:
                return self._session.get(f"{self.address}/v1/secret/config", timeout=2).ok
            except requests.ConnectionError:
                return False

        eventually("OpenBao is ready", ready)
        self.request("PUT", "sys/policies/acl/reader", policy=POLICY)
        self.request("PUT", "sys/config/auditing/request-headers/X-Elile-Object", hmac=False)

    def request(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        answer = self._session.request(method, f"{self.address}/v1/{path}", json=body or None, timeout=30)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text}"
        return dict(answer.json()) if answer.content else {}

    def trust(self, api_server: str) -> str:
        """Let the ServiceAccounts of a cluster log in; answers the mount of its auth method."""
        mount = f"kubernetes-{uuid.uuid4().hex[:8]}"
        self.request("POST", f"sys/auth/{mount}", type="kubernetes")
        # Without a reviewer of its own it shows the token under review as its credential, which the fake lets pass.
        self.request(
            "POST",
            f"auth/{mount}/config",
            kubernetes_host=api_server,
            kubernetes_ca_cert=self.authority.pem,
            disable_local_ca_jwt=True,
        )
        self.request(
            "POST",
            f"auth/{mount}/role/elile",
            audience="elile",
            bound_service_account_names="*",
            bound_service_account_namespaces="*",
            token_policies="reader",
            token_ttl="20m",
        )
        return mount

    def put(self, path: str, **values: str) -> None:
        """Write a KV entry below `secret/`."""
        self.request("POST", f"secret/data/{path}", data=values)

    def tail(self) -> Tail:
        return Tail.of(self.audit_log)

    def stop(self) -> None:
        self._session.close()
        self.process.terminate()
        try:
            self.process.wait(STOP_WITHIN)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def polled(tail: Tail) -> Counter[str]:
    """How often the versions of each path were asked for."""
    found = (r["path"] for r in bao_requests(tail) if r["path"].startswith("secret/metadata/"))
    return Counter(path.removeprefix("secret/metadata/") for path in found)


@contextmanager
def running(folder: Path) -> Iterator[Bao]:
    """Run a server for the time of a test session."""
    bao = Bao(folder, Authority.make(folder))
    try:
        bao.wait_ready()
        yield bao
    finally:
        bao.stop()
