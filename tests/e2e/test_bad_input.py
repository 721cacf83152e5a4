"""Each mistake gets its reason, a message that helps, and one event; nothing else suffers, and its end is noticed."""

import json
from collections.abc import Callable, Iterator

import pytest

from tests.e2e.bad_input import AWAY, OBJECTS, Case, Scene
from tests.e2e.support.cluster import eventually
from tests.e2e.support.gate import Gate
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# Polls are a second apart; an error is looked at again within that, a login at most every 30 s after a refusal.
CURED_WITHIN = 90.0


@pytest.fixture
def scene(operator: Operator, new_tenant: Callable[[], Tenant]) -> Iterator[Scene]:
    """A tenant with two delivered objects: `db`, which the case breaks, and `fine`, which must not notice."""
    tenant = new_tenant()
    scene = Scene(tenant)
    scene.put()
    scene.put("fine", value="fine")
    tenant.want("fine")
    tenant.wait("fine", "Synced")
    eventually("the event", lambda: tenant.events("fine"))
    try:
        yield scene
    finally:
        for cleanup in reversed(scene.cleanups):
            cleanup()


@pytest.fixture
def gate(scene: Scene) -> Iterator[Gate]:
    """A gate before OpenBao, and the object reading through it."""
    cluster = scene.tenant.cluster
    assert cluster.lab is not None
    pair = cluster.lab.issue_certificate("gate", ["127.0.0.1"])
    gate = Gate(cluster.bao_address, pair.certificate, pair.key)
    scene.gate = gate
    yield gate
    gate.close()


def untouched(scene: Scene) -> tuple[object, object, object]:
    """What would differ if the other object had been worked on."""
    fine, secret = scene.tenant.elile("fine"), scene.tenant.secret("fine") or {}
    return fine["metadata"]["resourceVersion"], secret["metadata"]["resourceVersion"], len(scene.tenant.events("fine"))


@pytest.mark.parametrize("case", OBJECTS, ids=lambda case: case.name)
def test_a_mistake_is_named_harms_nobody_and_its_end_is_noticed(scene: Scene, case: Case) -> None:
    tenant = scene.tenant
    case.before(scene)
    scene.want()
    tenant.wait("db", "Synced")
    good, others = tenant.data("db"), untouched(scene)

    case.broken(scene)
    condition = tenant.wait("db", case.reason)
    assert condition["status"] == "False"
    for part in case.says:
        assert part in condition["message"]
    assert tenant.condition("db", "Stalled")["status"] == case.reason.effect.stalled
    assert tenant.condition("db", "Synced")["status"] == case.reason.effect.synced
    assert tenant.data("db") == good, "the last good content stays"
    assert tenant.notes("db", case.reason) == [condition["message"]]
    assert untouched(scene) == others

    case.cured(scene)
    eventually("it is cured", lambda: tenant.condition("db")["reason"] == "Synced", within=CURED_WITHIN)
    assert tenant.condition("db", "Stalled")["status"] == "False"
    assert untouched(scene) == others


@pytest.mark.parametrize("case", AWAY, ids=lambda case: case.name)
def test_a_server_that_is_away_costs_nothing_but_freshness(scene: Scene, gate: Gate, case: Case) -> None:
    tenant = scene.tenant
    scene.want(vault=scene.through_gate())
    tenant.wait("db", "Synced")
    scene.put("later", value="later")

    case.broken(scene)
    server = eventually("the server says so", lambda: server_reason(scene, case.reason))
    for part in case.says:
        assert part in server["message"]
    assert server["status"] == "False"
    stale = tenant.wait("db", "ReadStale", "Synced")
    assert stale["status"] == "False"
    assert case.says[0] in stale["message"]
    ready = tenant.condition("db")
    assert (ready["status"], ready["reason"]) == ("True", "Synced"), "delivered, and not known to be wrong"
    assert tenant.data("db") == {"password": "good"}
    tenant.want("later", vault={"server": scene.own})
    unknown = tenant.wait("later", case.reason)
    assert unknown["status"] == "Unknown"
    assert tenant.notes("db", "ReadStale") == [stale["message"]]
    writes = json.dumps(tenant.elile("db")["status"])

    case.cured(scene)
    eventually("it is cured", lambda: tenant.condition("db", "Synced")["reason"] == "Synced", within=CURED_WITHIN)
    tenant.wait("later", "Synced")
    assert writes != json.dumps(tenant.elile("db")["status"])
    assert tenant.notes("db", "ReadStale") == [stale["message"]]


def server_reason(scene: Scene, reason: str) -> dict[str, str] | None:
    conditions = scene.tenant.cluster.get("vaultserver", scene.own).get("status", {}).get("conditions", [])
    found: dict[str, str] | None = next((c for c in conditions if c["type"] == "Ready"), None)
    return found if found and found["reason"] == reason else None
