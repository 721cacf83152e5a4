"""Values that somebody else makes and stages in the inbox, on a real cluster."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.e2e.support.api_server import ApiServer, api_server
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.rotating import Rotating, install_rotator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

URL = "https://maps.example"


@pytest.fixture(scope="module")
def server(cluster: Cluster, installed: None) -> Iterator[ApiServer]:
    install_rotator(cluster)
    with api_server(cluster, slot=6) as api:
        yield api


@pytest.fixture
def api(server: ApiServer) -> ApiServer:
    server.accepts, server.account, server.broken = lambda key: key in ("one", "two"), "shop", False
    return server


@pytest.fixture
def rotating(operator: Operator, tenant: Tenant) -> Rotating:
    made = Rotating(tenant)
    tenant.put("api", api_key="one", base_url=URL)
    tenant.want("api", consumers={"proof": {"elapsed": "1s"}})
    tenant.wait("api", "Synced")
    return made


def follow(rotating: Rotating, api: ApiServer, external: dict[str, Any] | None = None, **spec: Any) -> None:
    rotating.schedule(
        "api",
        "api",
        **{
            "fields": {"value": "api_key"},
            "value": {"external": external or {}},
            "verify": [api.hook()],
            "gracePeriod": "1s",
            **spec,
        },
    )
    eventually("the schedule is looked at", lambda: rotating.schedule_status("api").get("liveVersion"))


def stage(rotating: Rotating, **values: str) -> None:
    rotating.cluster.put(inbox(rotating), **values)


def inbox(rotating: Rotating) -> str:
    return f"elile-journal-inbox/{rotating.namespace}/api"


def staged(rotating: Rotating) -> dict[str, bool]:
    """Which versions of the inbox there were, and whether each is destroyed."""
    known = rotating.cluster.versions(inbox(rotating)) or {"versions": {}}
    return {n: version["destroyed"] for n, version in known["versions"].items()}


def condition(rotating: Rotating, type_: str) -> dict[str, Any]:
    found = rotating.schedule_status("api").get("conditions", [])
    return next((c for c in found if c["type"] == type_), {})


def wait_condition(rotating: Rotating, type_: str, status: str) -> dict[str, Any]:
    return eventually(f"{type_} is {status}", lambda: (c := condition(rotating, type_)).get("status") == status and c)


def rotations(rotating: Rotating) -> list[str]:
    return [r["metadata"]["name"] for r in rotating.cluster.all("rotation", rotating.namespace)]


def test_a_staged_value_is_taken(rotating: Rotating, api: ApiServer) -> None:
    follow(rotating, api, {"remindAfter": "4s"})
    assert "stage another one" in wait_condition(rotating, "ValueDue", "True")["message"]
    stage(rotating, api_key="two")
    status = rotating.wait_result("api-s1", "Succeeded")
    assert (status["trigger"], status["occurrence"]) == ("Staged", "inbox@1")
    assert rotating.live("api") == {"api_key": "two", "base_url": URL, "version": 2}
    assert staged(rotating) == {"1": True}
    unused = wait_condition(rotating, "PreviousUnused", "True")
    assert (unused["reason"], "version 1" in unused["message"]) == ("PreviousUnused", True)
    eventually("it is delivered", lambda: rotating.tenant.data("api").get("api_key") == "two")
    wait_condition(rotating, "ValueDue", "True")  # that one grows old as well
    assert rotations(rotating) == ["api-s1"]


def test_a_key_that_nobody_knows_is_refused(rotating: Rotating, api: ApiServer) -> None:
    follow(rotating, api)
    stage(rotating, apikey="two")
    status = rotating.wait_result("api-s1", "Aborted", "PreflightFailed")
    assert f"the inbox secret/{inbox(rotating)} holds 'apikey', which the live entry has not" in status["message"]
    assert rotating.live("api")["version"] == 1
    stage(rotating, api_key="two")
    rotating.wait_result("api-s2", "Succeeded")
    assert rotating.live("api")["api_key"] == "two"
    assert rotations(rotating) == ["api-s1", "api-s2"]


def test_a_value_that_does_not_work_is_refused(rotating: Rotating, api: ApiServer) -> None:
    follow(rotating, api)
    stage(rotating, api_key="three")
    status = rotating.wait_result("api-s1", "Aborted", "VerificationFailed")
    assert "401" in status["message"]
    assert (rotating.live("api")["version"], staged(rotating)) == (1, {"1": True})


def test_a_staged_value_is_taken_back(rotating: Rotating, api: ApiServer) -> None:
    follow(rotating, api, gracePeriod="10m")
    stage(rotating, api_key="two")
    eventually("it is taken", lambda: "api-s1" in rotations(rotating))
    rotating.wait_phase("api-s1", "Grace")
    rotating.ask("back", "api", "RollBack")
    rotating.wait_result("back", "Succeeded")
    rotating.wait_result("api-s1", "RolledBack")
    assert rotating.live("api") == {"api_key": "one", "base_url": URL, "version": 3}
    assert condition(rotating, "PreviousUnused").get("status") != "True"


def test_a_staged_value_waits_for_its_time(rotating: Rotating, api: ApiServer) -> None:
    while datetime.now(UTC).second > 25:  # the next time must not come before all is looked at
        time.sleep(1)
    follow(rotating, api, {"start": "AtSchedule"}, schedule="* * * * *")
    first = eventually("a time is told", lambda: rotating.schedule_status("api").get("nextRotationTime"))
    stage(rotating, api_key="two")
    eventually("it is seen", lambda: condition(rotating, "ValueDue").get("reason") == "ValueStaged")
    assert rotations(rotating) == []
    assert staged(rotating) == {"1": False}
    made = eventually("its time has come", lambda: rotations(rotating) or None, within=90)
    status = rotating.wait_result(made[0], "Succeeded")
    assert status["trigger"] == "Schedule"
    assert status["startTime"] >= first
    assert rotating.live("api")["api_key"] == "two"
    rotating.cluster.kubectl("-n", rotating.namespace, "delete", "rotationschedule", "api")
