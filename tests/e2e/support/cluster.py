"""What e2e tests say to the cluster and to OpenBao: kubectl and bao, as a user would, and REST for what is frequent."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from elile_operator.kube.resources import PODS
from lab.cluster import Lab
from tests.e2e.support.rest import KINDS, CommandError, Rest

T = TypeVar("T")
ROOT = Path(__file__).parents[3]
BIN = Path(sys.executable).parent

# Five times the promise, at least: a busy machine is no defect.
SOON = 30.0


def run(*command: str, given: str | None = None, env: dict[str, str] | None = None, timeout: float = 120) -> str:
    done = subprocess.run(
        command, input=given, capture_output=True, text=True, env={**os.environ, **(env or {})}, timeout=timeout
    )
    if done.returncode:
        raise CommandError(f"{Path(command[0]).name} {' '.join(command[1:])}: {done.stderr.strip()}")
    return done.stdout


@dataclass(frozen=True)
class Cluster:
    """A cluster and an OpenBao that it can log in to. `lab` is None on a cluster given by --kubeconfig."""

    kubeconfig: Path
    bao_address: str
    bao_pod_address: str
    bao_ca: str
    bao_ca_file: Path
    bao_token: str
    lab: Lab | None

    @classmethod
    def of_lab(cls, lab: Lab) -> "Cluster":
        """A lab that is up."""
        return cls(
            kubeconfig=lab.kubeconfig,
            bao_address=lab.bao_address,
            bao_pod_address=lab.bao_pod_address,
            bao_ca=lab.ca_file.read_text(),
            bao_ca_file=lab.ca_file,
            bao_token=lab.root_token,
            lab=lab,
        )

    def kubectl(self, *arguments: str, given: str | None = None) -> str:
        return run(str(BIN / "kubectl"), "--kubeconfig", str(self.kubeconfig), *arguments, given=given)

    def apply(self, *bodies: dict[str, Any]) -> None:
        """Apply objects, each as `kubectl apply --server-side --force-conflicts` does."""
        for body in bodies:
            kind, meta = KINDS.get(body["kind"].lower()), body["metadata"]
            if kind is None or kind.api_version != body["apiVersion"]:
                # JSON: an unquoted "n" in YAML is a boolean to kubectl, and none to PyYAML.
                self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", given=json.dumps(body))
                continue
            namespace = meta.get("namespace", "default") if kind.namespaced else None
            self._api.apply(kind.path(namespace, meta["name"]), body)

    def create(self, body: dict[str, Any]) -> None:
        """Create an object that is not there yet."""
        kind = KINDS[body["kind"].lower()]
        self._api.post(kind.path(body["metadata"].get("namespace")), body)

    def delete(self, what: str, name: str, namespace: str | None = None) -> None:
        """Ask for the deletion of an object that may be there, and do not wait for it."""
        self._api.delete(KINDS[what.lower()].path(namespace, name))

    def get(self, what: str, name: str, namespace: str | None = None) -> dict[str, Any]:
        """Return an object that is there."""
        found = self.find(what, name, namespace)
        if found is None:
            raise CommandError(f"there is no {what} {name}" + (f" in {namespace}" if namespace else ""))
        return found

    def find(self, what: str, name: str, namespace: str | None = None) -> dict[str, Any] | None:
        """Return an object, None where there is none."""
        return self._api.get(KINDS[what.lower()].path(namespace, name))

    def all(self, what: str, namespace: str | None = None) -> list[dict[str, Any]]:
        """Return the objects of a kind, of one namespace or of all."""
        found = self._api.get(KINDS[what.lower()].path(namespace)) or {}
        items: list[dict[str, Any]] = found["items"]
        return items

    def reason(self, server: str) -> str:
        """Return why a VaultServer is ready or not, empty while it says nothing."""
        conditions = self.get("vaultserver", server).get("status", {}).get("conditions", [])
        return next((str(c["reason"]) for c in conditions if c["type"] == "Ready"), "")

    def last_line(self, pod: str, namespace: str) -> str:
        """Return what a pod printed last, empty for nothing."""
        return self._api.text(f"{PODS.path(namespace, pod, 'log')}?tailLines=1").strip()

    def watch(self, what: str, namespace: str) -> subprocess.Popen[str]:
        """Print what happens to a kind of the core group in a namespace, a line of JSON each, until it is stopped."""
        command = [str(BIN / "kubectl"), "--kubeconfig", str(self.kubeconfig), "get", "--raw"]
        path = f"/api/v1/namespaces/{namespace}/{what}?watch=true"
        return subprocess.Popen([*command, path], stdout=subprocess.PIPE, text=True)

    def bao(self, *arguments: str, given: str | None = None) -> str:
        env = {"BAO_ADDR": self.bao_address, "BAO_CACERT": str(self.bao_ca_file), "BAO_TOKEN": self.bao_token}
        return run(str(BIN / "bao"), *arguments, given=given, env=env)

    def put(self, path: str, **values: Any) -> None:
        """Write a KV entry below `secret/`."""
        self._vault.post(f"/v1/secret/data/{quote(path)}", {"data": values})

    def entry(self, path: str, version: int = 0) -> dict[str, Any] | None:
        """Return `data` and `metadata` of a version below `secret/`, 0 for the newest; None for none, or deleted."""
        found = self._vault.get(f"/v1/secret/data/{quote(path)}?version={version}")
        data: dict[str, Any] | None = None if found is None else found["data"]
        return data

    def versions(self, path: str) -> dict[str, Any] | None:
        """Return what is known of the versions of an entry below `secret/`; None where there is no entry."""
        found = self._vault.get(f"/v1/secret/metadata/{quote(path)}")
        data: dict[str, Any] | None = None if found is None else found["data"]
        return data

    def close(self) -> None:
        """Close the connections."""
        self._api.close()
        self._vault.close()

    @cached_property
    def _api(self) -> Rest:
        return Rest.of_kubeconfig(self.kubeconfig)

    @cached_property
    def _vault(self) -> Rest:
        return Rest.of_bao(self.bao_address, self.bao_ca, self.bao_token)


def eventually(what: str, check: Callable[[], T | None], *, within: float = SOON, every: float = 0.1) -> T:
    """Return the first answer that counts as true; fail with `what` when there is none in time."""
    deadline = time.monotonic() + within
    while True:
        if found := check():
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within:.0f} s: {what}")
        time.sleep(every)
