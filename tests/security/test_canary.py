"""A value written to OpenBao is found nowhere but in OpenBao, the Secret and the pod."""

import base64
import json
import time
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

CANARY = "canary/7f3a9c51+d20e48b6=tweet"
OTHER = "canary/0b8e6d17+c94f25a3=tweet"
FORMS = [
    form for value in (CANARY, OTHER) for form in (value, base64.b64encode(value.encode()).decode(), quote(value, ""))
]


def leaks(text: str) -> list[str]:
    return [form for form in FORMS if form in text]


def test_the_canary_stays_in_its_path(tenant: Tenant, operator: Operator) -> None:
    cluster = tenant.cluster
    tenant.put("bird", song=CANARY, nested={"deep": [CANARY]}, count=1)
    tenant.want("bird")
    tenant.wait("bird", "Synced")
    pod = tenant.run_pod("cage", "bird")
    assert pod.read("song") == CANARY
    # Everything that handles values, and fails at it, once: a change, a repair, an undeliverable value, a bad key.
    tenant.put("bird", song=OTHER, nested={"deep": [CANARY]}, count=1)
    eventually("the change", lambda: pod.read("song") == OTHER)
    cluster.kubectl("-n", tenant.namespace, "delete", "secret", "bird")
    eventually("the repair", lambda: tenant.data("bird").get("song") == OTHER)
    path = f"{tenant.namespace}/bird"
    tenant.want("bad", {"name": "s", "kv": {"path": path}, "keys": [{"from": "song", "decode": "Base64"}]})
    tenant.wait("bad", "ShapeInvalid")
    tenant.want("none", {"name": "s", "kv": {"path": path}, "keys": [{"from": "other"}]})
    tenant.wait("none", "KeyNotFound")
    tenant.put("null", song=CANARY, nothing=None)
    tenant.want("null")
    tenant.wait("null", "ShapeInvalid")
    time.sleep(2)

    log = operator.log.read_text()
    assert '"level": "DEBUG"' in log, "the log must be one that could tell"
    found = {
        "log": log,
        "metrics": operator.probe("/metrics")[1],
        "health": operator.probe("/livez")[1] + operator.probe("/readyz")[1],
        "cmdline": Path(f"/proc/{operator.pid}/cmdline").read_bytes().decode(),
        "environ": Path(f"/proc/{operator.pid}/environ").read_bytes().decode(errors="replace"),
        "elilesecrets": cluster.kubectl("get", "elilesecrets,vaultservers", "-A", "-o", "json"),
        "events": cluster.kubectl("get", "events.events.k8s.io", "-A", "-o", "json"),
        "pods": cluster.kubectl("get", "pods", "-A", "-o", "json"),
        "namespaces": cluster.kubectl("get", "namespaces,configmaps", "-A", "-o", "json"),
        "other secrets": json.dumps(secrets_but(tenant, "bird")),
        "metadata of the secret": json.dumps((tenant.secret("bird") or {})["metadata"]),
    }
    if cluster.lab is not None:
        found["audit of the API server"] = cluster.lab.api_audit_log.read_text()
        found["audit of OpenBao"] = cluster.lab.bao_audit_log.read_text()
    assert {where: leaks(text) for where, text in found.items() if leaks(text)} == {}
    assert all(text for text in found.values()), "nothing to look at is no proof"
    # The same search does find it where it belongs.
    assert leaks(json.dumps(tenant.secret("bird")))


def secrets_but(tenant: Tenant, name: str) -> list[dict[str, object]]:
    listed = json.loads(tenant.cluster.kubectl("get", "secrets", "-A", "-o", "json"))["items"]
    return [s for s in listed if (s["metadata"]["namespace"], s["metadata"]["name"]) != (tenant.namespace, name)]
