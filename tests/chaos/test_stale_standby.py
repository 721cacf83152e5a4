"""A standby of OpenBao that is behind: what it says is older than what was delivered, and is not delivered."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.chaos.support.clients import Api, Bao, decoded, elilesecrets, secrets
from tests.chaos.support.cut import cut
from tests.chaos.support.history import History
from tests.chaos.support.two_nodes import Balancer, Standby, balancer, standby
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

BEHIND_FOR = 10.0


@pytest.fixture
def second(cluster: Cluster) -> Iterator[Standby]:
    assert cluster.lab is not None
    with standby(cluster.lab) as node:
        yield node


@pytest.fixture
def front(cluster: Cluster) -> Iterator[Balancer]:
    """The address of both nodes; it leads to the first one."""
    assert cluster.lab is not None
    with balancer(cluster.lab.spare_ports[2], cluster.lab.layout.port("openbao")) as made:
        yield made


@pytest.mark.parametrize("restart", [False, True], ids=["the same operator", "a new operator"])
def test_an_older_version_never_replaces_a_newer_one(
    cluster: Cluster,
    operator: Operator,
    second: Standby,
    front: Balancer,
    new_tenant: Callable[[], Tenant],
    restart: bool,
    figure: list[str],
) -> None:
    lab = cluster.lab
    assert lab is not None
    tenant, name = new_tenant(), "balanced"
    api, bao, behind = Api(lab, 10), Bao(lab), Bao(lab, second.address)
    path = f"{tenant.namespace}/db"
    server = server_manifest(cluster, name)
    server["spec"]["address"] = front.address  # type: ignore[index] # a manifest is what it is

    def value() -> str | None:
        found = api.get(secrets(tenant.namespace, "db"))
        return decoded(found).get("value") if found else None

    def behind_has(version: int) -> bool:
        entry = behind.get(path)
        return entry is not None and entry.version == version

    cluster.apply(server)
    try:
        bao.put(path, {"value": "1"})
        api.apply(elilesecrets(tenant.namespace, "db"), tenant.manifest("db", vault={"server": name}))
        eventually("the first version", lambda: value() == "1")
        eventually("the standby has it", lambda: behind_has(1))
        with History(lab) as history:
            # The nodes speak with each other through their cluster ports.
            with cut(lab, lab.layout.port("openbao-cluster"), lab.spare_ports[1]):
                bao.put(path, {"value": "2"})
                eventually("the second version", lambda: value() == "2")
                assert behind_has(1), "the standby is behind"
                if restart:
                    operator.stop()
                front.switch(second.port)
                if restart:
                    operator.start()
                    operator.wait_ready()
                time.sleep(BEHIND_FOR)
                assert behind_has(1), "the standby is still behind"
                assert value() == "2"
            eventually("the standby has caught up", lambda: behind_has(2), within=60)
            bao.put(path, {"value": "3"})
            began = time.monotonic()
            eventually("the third version, from the standby", lambda: value() == "3")
            took = time.monotonic() - began
            time.sleep(0.5)
        seen = [(v.data or {}).get("value") for v in history.of(tenant.namespace, "db")]
        assert [v for v, before in zip(seen, [None, *seen], strict=False) if v != before] == ["2", "3"]
        tenant.wait("db", "Synced")
        figure.append(
            f"standby behind for {BEHIND_FOR:.0f} s: nothing older delivered, the next one after {took:.1f} s"
        )
    finally:
        cluster.kubectl("delete", "vaultserver", name)
