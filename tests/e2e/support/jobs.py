"""The runner of job hooks as the operator's own ServiceAccount; as a program, to be killed in its middle."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from elile.secrets.redact import Redacted
from elile_operator.decide.jobs import HookJob
from elile_operator.delivery.jobs import JobRunner
from elile_operator.engine import SystemClock
from elile_operator.kube.client import KubeClient
from elile_operator.kube.credentials import ServiceAccountCredentials
from tests.e2e.support.cluster import Cluster
from tests.e2e.support.fixtures import SYSTEM

ACCOUNT = f"{SYSTEM}:elile-operator"


class Unobserved:
    def kube_request(self, *, verb: str, resource: str, outcome: str, seconds: float) -> None: ...


def mount(cluster: Cluster, folder: Path) -> dict[str, str]:
    """Fill a folder as kubelet does for the operator, and return the variables that name the API server."""
    token = cluster.kubectl("-n", SYSTEM, "create", "token", "elile-operator", "--duration=30m")
    (folder / "token").write_text(token)
    config = yaml.safe_load(cluster.kubeconfig.read_text())["clusters"][0]["cluster"]
    roots = cluster.kubectl("-n", SYSTEM, "get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}")
    (folder / "ca.crt").write_text(roots)
    server = urlsplit(config["server"])
    return {"KUBERNETES_SERVICE_HOST": server.hostname or "", "KUBERNETES_SERVICE_PORT": str(server.port)}


@asynccontextmanager
async def runner(folder: Path, environ: Mapping[str, str]) -> AsyncIterator[JobRunner]:
    kube = KubeClient(ServiceAccountCredentials(folder, environ), observer=Unobserved())
    try:
        yield JobRunner(kube, clock=SystemClock(), account=ACCOUNT)
    finally:
        await kube.close()


async def _main() -> None:
    """Run one hook: the standard input says where, which, and with what."""
    given = json.load(sys.stdin)
    job: dict[str, Any] = given["job"]
    hook = HookJob(**{**job, "command": tuple(job["command"]), "timeout": timedelta(seconds=job["timeout"])})
    async with runner(Path(given["folder"]), given["environ"]) as jobs:
        await jobs.run(hook, Redacted(given["value"]))


if __name__ == "__main__":
    asyncio.run(_main())
