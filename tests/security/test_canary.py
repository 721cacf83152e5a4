"""A value written to OpenBao is found nowhere but in OpenBao, the Secret and the pod."""

import json
import time

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant
from tests.security.traces import forms, leaks, traces

pytestmark = pytest.mark.lab

CANARY = "canary/7f3a9c51+d20e48b6=tweet"
OTHER = "canary/0b8e6d17+c94f25a3=tweet"
FORMS = forms((CANARY, OTHER))


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

    found = traces(tenant, operator, but=["bird"])
    assert {where: leaks(text, FORMS) for where, text in found.items() if leaks(text, FORMS)} == {}
    # The same search does find it where it belongs.
    assert leaks(json.dumps(tenant.secret("bird")), FORMS)
