"""What is as it should be is not written: not by a new process, a new leader, a re-apply or a new fingerprint key."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chaos.support.clients import Api, Bao
from tests.chaos.support.expect import differences
from tests.chaos.support.writes import Writes
from tests.e2e.support.audit import Tail, bao_requests
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM, install
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

OBJECTS = 20
KEY = "elile-fingerprint-key"
TAKEOVER_WITHIN = 100.0


class World:
    """A namespace with objects, a pod on one of them, and operators that come and go."""

    def __init__(self, cluster: Cluster, tenant: Tenant, folder: Path) -> None:
        assert cluster.lab is not None
        self.cluster, self.tenant, self.lab = cluster, tenant, cluster.lab
        self._folder = folder
        self._operators: list[Operator] = []
        self.names = [f"o-{i}" for i in range(OBJECTS)]

    def start(self) -> Operator:
        log = self._folder / f"operator-{len(self._operators)}.log"
        operator = Operator(log, "--kubeconfig", str(self.cluster.kubeconfig), "--namespace", SYSTEM)
        self._operators.append(operator)
        operator.wait_ready()
        return operator

    def stop(self) -> None:
        for operator in self._operators:
            operator.stop()

    def want_all(self) -> None:
        for name in self.names:
            self.tenant.want(name)

    def right(self) -> bool:
        return not differences(Api(self.lab, 10), Bao(self.lab), [self.tenant.namespace])

    def wait_compared(self, tail: Tail) -> None:
        """Return when every path was asked for since `tail`, and what may follow from it had its time."""

        def asked() -> bool:
            paths = {request["path"].partition("/")[2].partition("/")[2] for request in bao_requests(tail)}
            return {f"{self.tenant.namespace}/{name}" for name in self.names} <= paths

        eventually("every path was compared", asked, within=TAKEOVER_WITHIN, every=0.2)
        time.sleep(3)


@pytest.fixture
def world(cluster: Cluster, no_operator: None, new_tenant: Callable[[], Tenant], tmp_path: Path) -> Iterator[World]:
    world = World(cluster, new_tenant(), tmp_path)
    try:
        yield world
    finally:
        world.stop()


def test_nothing_is_rewritten(world: World, figure: list[str]) -> None:
    tenant, lab = world.tenant, world.lab
    for name in world.names:
        tenant.put(name, value="1")
    first = world.start()
    world.want_all()
    eventually("all is delivered", world.right)
    tenant.run_pod("app", world.names[0])
    # The pod is counted in a status, and the Secret's own pokes are over.
    eventually(
        "the pod is counted",
        lambda: (tenant.elile(world.names[0])["status"].get("consumers") or {}).get("total") == 1,
    )
    time.sleep(3)

    def after(what: str, act: Callable[[], object]) -> None:
        writes, asked = Writes.since(lab), Tail.of(lab.bao_audit_log)
        act()
        world.wait_compared(asked)
        found = [sum(c(tenant.namespace).values()) for c in (writes.secrets, writes.pokes, writes.statuses)]
        figure.append(
            f"{what}: Secrets rewritten {found[0]} of {OBJECTS}, pokes {found[1]}, statuses {found[2]} (audit log)"
        )
        assert found == [0, 0, 0], what
        assert world.right()

    def restart() -> None:
        assert first.stop() == 0
        first.start()
        first.wait_ready()

    def change_of_leader() -> None:
        world.start()
        first.process.kill()
        first.process.wait()

    def re_apply() -> None:
        install(world.cluster)
        world.want_all()

    def lose_the_key() -> None:
        world.cluster.kubectl("-n", SYSTEM, "delete", "secret", KEY)
        world.stop()
        world.start()

    after("operator restart", restart)
    after("leader change, by kill -9", change_of_leader)
    after("re-apply of all manifests", re_apply)
    after("lost fingerprint key, and a restart", lose_the_key)

    # The counters can count: the same again with a change.
    writes = Writes.since(lab)
    tenant.put(world.names[0], value="2")
    eventually("the change", lambda: tenant.data(world.names[0]) == {"value": "2"})
    eventually("both pokes", lambda: writes.pokes(tenant.namespace) == {"app": 2})
    assert writes.secrets(tenant.namespace) == {world.names[0]: 1}
