"""A value that breaks the workload that goes first goes no further, until another value is there."""

import time

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import Tenant
from tests.e2e.support.workloads import QUIET, change, restarts, run, want

pytestmark = pytest.mark.lab


def test_a_value_that_breaks_the_first_workload_never_reaches_the_others(tenant: Tenant) -> None:
    want(tenant, restart={"when": "CannotSeeFile"}, proof={"rollout": {}})
    first, second = run(tenant, "a", "db"), run(tenant, "b", "db")
    tenant.wait("db", "ConsumersCurrent", "ConsumersCurrent")

    change(tenant, "bad")
    eventually("it failed", lambda: restarts(tenant).get("a") == "RestartFailed", within=60)
    waiting = tenant.wait("db", "AwaitingConsumers", "ConsumersCurrent")
    assert waiting["status"] == "False"
    assert "Deployment a (RestartFailed)" in waiting["message"]
    time.sleep(QUIET)
    assert (second.generation, second.value()) == (1, "one")
    told = {each["name"]: each for each in tenant.elile("db")["status"]["consumers"]["restarts"]}
    assert told["a"]["message"].endswith("; mend it, or take the value back")
    assert told["b"]["message"] == "not restarted, since the rollout of Deployment a failed"
    (event,) = [e for e in tenant.events("db") if e["reason"] == "RestartFailed"]
    assert event["type"] == "Warning"

    change(tenant, "three")
    eventually("both have it", lambda: first.reads("three") and second.reads("three"), within=60)
    tenant.wait("db", "ConsumersCurrent", "ConsumersCurrent")
    assert (first.generation, second.generation) == (3, 2)
