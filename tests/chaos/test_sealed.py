"""OpenBao sealed and unsealed: what was delivered stays, nobody is told twice, and what changed comes at once."""

import time

import pytest

from tests.chaos.support.clients import Api, Bao, elilesecrets
from tests.chaos.support.expect import differences
from tests.chaos.support.writes import Writes
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

OBJECTS = 30
CHANGED = 5
# The promise is 2 s after the unseal.
RECOVER_WITHIN = 10.0


@pytest.mark.parametrize(
    "seconds", [5, pytest.param(60, marks=pytest.mark.chaos), pytest.param(180, marks=pytest.mark.chaos)]
)
def test_a_sealed_server_costs_one_word_and_no_wait(
    cluster: Cluster, tenant: Tenant, seconds: int, figure: list[str]
) -> None:
    lab = cluster.lab
    assert lab is not None
    api, bao, namespace = Api(lab, 10), Bao(lab), tenant.namespace
    names = [f"o-{i}" for i in range(OBJECTS)]
    for name in names:
        bao.put(f"{namespace}/{name}", {"value": "old"})
        # Half of them become stale while the server is sealed, half do not.
        refresh = {"interval": "1s" if name < "o-2" else "1h"}
        tenant.want(name, refresh=refresh)
    eventually("all is delivered", lambda: not differences(api, bao, [namespace]))
    pod = tenant.run_pod("app", names[0])
    # That there is a pod is written into the status as well, a moment later, and has nothing to do with the seal.
    eventually("the pod is counted", lambda: tenant.elile(names[0])["status"].get("consumers", {}).get("total") == 1)

    writes = Writes.since(lab)
    for name in names[-CHANGED:]:
        bao.put(f"{namespace}/{name}", {"value": "new"})
    lab.seal()
    try:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends:
            for body in api.list(elilesecrets(namespace)):
                ready = next(c for c in body["status"]["conditions"] if c["type"] == "Ready")
                assert (ready["status"], ready["reason"]) == ("True", "Synced"), body["metadata"]["name"]
            assert pod.read("value") == "old"
            time.sleep(0.5)
        statuses, events = writes.statuses(namespace), writes.events(namespace)
        assert writes.secrets(namespace).keys() <= set(names[-CHANGED:])
    finally:
        lab.unseal()
    began = time.monotonic()
    eventually("all is current", lambda: not differences(api, bao, [namespace]), within=RECOVER_WITHIN, every=0.02)
    took = time.monotonic() - began
    assert max(statuses.values(), default=0) <= 1, statuses
    assert events <= OBJECTS
    assert tenant.data(names[-1]) == {"value": "new"}
    assert pod.read("value") == "old"
    figure.append(
        f"sealed for {seconds} s: {sum(statuses.values())} status writes and {events} events for {OBJECTS} objects, "
        f"all current {took:.2f} s after the unseal (promise 2 s)"
    )
