"""Pods that run `consumer.py` in the image of clients, and tell how they fare by their log."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lab.cluster import Lab
from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import Tenant, pod_manifest

PROGRAM = Path(__file__).parent / "consumer.py"
PORT = 8080
PROOF = {"http": {"port": PORT}}


@cache
def _image(lab: str) -> str:
    """Return the image, which takes seconds to find out: the sources are those that the run began with."""
    return Lab.open(lab).client_image(echo=lambda _: None)


@dataclass(frozen=True)
class Program:
    """One pod, which has a Secret at /etc/elile and answers PROOF."""

    tenant: Tenant
    name: str

    def told(self) -> dict[str, Any]:
        """What it said last; nothing before it runs."""
        found = self.tenant.cluster.find("pod", self.name, self.tenant.namespace) or {}
        if found.get("status", {}).get("phase") != "Running":
            return {}
        line = self.tenant.cluster.last_line(self.name, self.tenant.namespace)
        told: dict[str, Any] = json.loads(line) if line.startswith("{") else {}
        return told

    def wait(self, what: str, key: str, at_least: int) -> dict[str, Any]:
        """Return what it says once a number of it is as large."""
        try:
            return eventually(
                what, lambda: (told := self.told()).get(key, 0) >= at_least and told, within=90, every=0.3
            )
        except AssertionError as e:
            raise AssertionError(f"{e}; it says {self.told()}") from None

    def fares_well(self, values: int) -> None:
        """Wait until it has used so many values, none of which ever failed."""
        told = self.wait(f"{self.name} has used {values} values", "values", values)
        assert (told["failed"], told["values"]) == (0, values), told


def run_program(tenant: Tenant, name: str, secret: str, *arguments: str, exchange: Path | None = None) -> Program:
    """Start one; `exchange` is a folder of the node that it shares with others."""
    lab = tenant.cluster.lab
    assert lab is not None
    body = pod_manifest(tenant.namespace, name, secret)
    container = body["spec"]["containers"][0]
    container |= {
        "image": _image(lab.name),
        "command": ["python", "-c", PROGRAM.read_text(), *arguments],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
    }
    if exchange is not None:
        container["volumeMounts"].append({"name": "exchange", "mountPath": "/exchange"})
        body["spec"]["volumes"].append({"name": "exchange", "hostPath": {"path": str(exchange)}})
    tenant.cluster.apply(body)
    return Program(tenant, name)
