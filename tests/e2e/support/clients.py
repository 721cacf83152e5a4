"""A pod of an application that uses its credentials all the time, and tells how it fares."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import Tenant, pod_manifest

PROGRAM = Path(__file__).parent / "client.py"


class Client:
    """A pod that logs in to PostgreSQL ten times a second by its mounted files."""

    def __init__(self, tenant: Tenant, host: str, port: int, secret: str, name: str = "client") -> None:
        self._tenant = tenant
        self._name = name
        lab = tenant.cluster.lab
        assert lab is not None
        body = pod_manifest(tenant.namespace, name, secret)
        body["spec"]["containers"][0] |= {
            "image": lab.client_image(echo=lambda _: None),
            "command": ["python", "-c", PROGRAM.read_text(), host, str(port)],
        }
        tenant.cluster.apply(body)
        eventually("the client logs in", lambda: self.told().get("logins", 0) > 0, within=60)

    def told(self) -> dict[str, Any]:
        """What it said last."""
        found = self._tenant.cluster.find("pod", self._name, self._tenant.namespace) or {}
        if found.get("status", {}).get("phase") != "Running":
            return {}
        line = self._tenant.cluster.last_line(self._name, self._tenant.namespace)
        told: dict[str, Any] = json.loads(line) if line else {}
        return told

    def fares_well(self) -> None:
        """Not one login failed, up to now."""
        before = self.told()["logins"]
        told = eventually("it goes on", lambda: (t := self.told())["logins"] > before and t)
        assert told["failed"] == 0, told

    def keep_silent(self) -> None:
        """Have it answer no request for proof."""
        self._kubectl("exec", self._name, "--", "touch", "/tmp/silent")  # noqa: S108 - in the pod

    def speak(self) -> None:
        """Have it answer again."""
        self._kubectl("exec", self._name, "--", "rm", "/tmp/silent")  # noqa: S108 - in the pod

    def _kubectl(self, *arguments: str) -> str:
        return self._tenant.cluster.kubectl("-n", self._tenant.namespace, *arguments)
