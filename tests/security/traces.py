"""Everything a run leaves behind where no value may be, as text by the name of the place."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

KINDS = "elilesecrets,vaultservers,rotationschedules,rotations"


def forms(values: Iterable[str]) -> list[str]:
    """Return how values may be written: as they are, in base64, in a URL, in JSON."""
    return [
        form
        for value in values
        for form in (value, base64.b64encode(value.encode()).decode(), quote(value, ""), json.dumps(value)[1:-1])
    ]


def leaks(text: str, wanted: Iterable[str]) -> list[str]:
    return [form for form in wanted if form in text]


def traces(tenant: Tenant, operator: Operator, *, but: Iterable[str]) -> dict[str, str]:
    """Return log, metrics, process, objects, events and audit; of the Secrets of the tenant all `but` these."""
    cluster = tenant.cluster
    log = operator.log.read_text()
    assert '"level": "DEBUG"' in log, "the log must be one that could tell"
    listed = json.loads(cluster.kubectl("get", "secrets", "-A", "-o", "json"))["items"]
    mine = {(tenant.namespace, name) for name in but}
    found = {
        "log": log,
        "metrics": operator.probe("/metrics")[1],
        "health": operator.probe("/livez")[1] + operator.probe("/readyz")[1],
        "cmdline": Path(f"/proc/{operator.pid}/cmdline").read_bytes().decode(),
        "environ": Path(f"/proc/{operator.pid}/environ").read_bytes().decode(errors="replace"),
        "objects": cluster.kubectl("get", KINDS, "-A", "-o", "json"),
        "events": cluster.kubectl("get", "events.events.k8s.io", "-A", "-o", "json"),
        "pods and jobs": cluster.kubectl("get", "pods,jobs", "-A", "-o", "json"),
        "namespaces": cluster.kubectl("get", "namespaces,configmaps", "-A", "-o", "json"),
        "other secrets": json.dumps(
            [s for s in listed if (s["metadata"]["namespace"], s["metadata"]["name"]) not in mine]
        ),
        "metadata of the secrets": json.dumps(
            [s["metadata"] for s in listed if (s["metadata"]["namespace"], s["metadata"]["name"]) in mine]
        ),
    }
    if cluster.lab is not None:
        found["audit of the API server"] = cluster.lab.api_audit_log.read_text()
        found["audit of OpenBao"] = cluster.lab.bao_audit_log.read_text()
    assert all(text for text in found.values()), "nothing to look at is no proof"
    return found
