"""Two operators, one works: takeover after a kill, a freeze and a clean stop."""

import json
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.support.audit import Tail
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# The promises: 20 s after a kill (15 s of Lease and the next look), 2 s after a clean stop.
TAKEOVER_WITHIN = 100.0
HANDOVER_WITHIN = 10.0


@pytest.fixture
def pair(cluster: Cluster, no_operator: None, tmp_path: Path) -> Iterator[tuple[Operator, Operator]]:
    """The leader, and a standby."""
    arguments = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM)
    both = []
    try:
        for name in ("first", "second"):
            both.append(Operator(tmp_path / name, *arguments))
            both[-1].wait_ready()
        yield both[0], both[1]
    finally:
        for operator in both:
            if operator.process.poll() is None:
                operator.process.send_signal(signal.SIGCONT)
            operator.stop()


def role(operator: Operator) -> str:
    return str(json.loads(operator.probe("/readyz")[1]).get("role"))


def holder(cluster: Cluster) -> str:
    return str(cluster.get("lease", "elile-operator", SYSTEM)["spec"]["holderIdentity"])


def change_is_delivered(tenant: Tenant, value: str) -> None:
    tenant.put("db", value=value)
    eventually("the change is delivered", lambda: tenant.data("db") == {"value": value})


def test_a_kill_is_survived_and_the_standby_was_ready_and_quiet(
    cluster: Cluster, pair: tuple[Operator, Operator], tenant: Tenant, figure: list[str]
) -> None:
    first, second = pair
    assert (role(first), role(second)) == ("leader", "standby")
    tenant.put("db", value="1")
    tenant.want("db")
    tenant.wait("db", "Synced")
    assert cluster.lab is not None
    tail = Tail.of(cluster.lab.api_audit_log)
    time.sleep(5)
    asked = {r["requestURI"].partition("?")[0] for r in tail.records() if r["sourceIPs"] and by(second, r)}
    assert asked <= {f"/apis/coordination.k8s.io/v1/namespaces/{SYSTEM}/leases/elile-operator"}
    assert second.probe("/livez")[0] == second.probe("/readyz")[0] == 200

    first.process.kill()
    began = time.monotonic()
    eventually("the standby leads", lambda: role(second) == "leader", within=TAKEOVER_WITHIN)
    figure.append(f"takeover after kill -9 of the leader: {time.monotonic() - began:.1f} s (promise 20 s)")
    change_is_delivered(tenant, "2")


def by(operator: Operator, record: dict[str, object]) -> bool:
    """Whether a request can be this operator's: everything of the operator's kind but a leader's own work.

    Both have one user agent; the leader's requests are about its objects, its watches and its Lease.
    """
    verb, uri = record["verb"], str(record["requestURI"])
    ours = str(record.get("userAgent", "")).startswith(("elile-operator", "kopf"))
    return ours and (verb in ("list", "watch") or "/leases/" in uri)


def test_a_clean_stop_hands_over_at_once(
    cluster: Cluster, pair: tuple[Operator, Operator], tenant: Tenant, figure: list[str]
) -> None:
    first, second = pair
    tenant.put("db", value="1")
    tenant.want("db")
    tenant.wait("db", "Synced")
    assert first.stop() == 0
    began = time.monotonic()
    eventually("the standby leads", lambda: role(second) == "leader", within=HANDOVER_WITHIN)
    figure.append(f"handover after a clean stop of the leader: {time.monotonic() - began:.1f} s")
    change_is_delivered(tenant, "2")


def test_a_leader_that_was_frozen_ends_instead_of_acting(
    cluster: Cluster, pair: tuple[Operator, Operator], tenant: Tenant
) -> None:
    first, second = pair
    tenant.put("db", value="1")
    tenant.want("db")
    tenant.wait("db", "Synced")
    before = holder(cluster)
    first.process.send_signal(signal.SIGSTOP)
    eventually("the standby leads", lambda: role(second) == "leader", within=TAKEOVER_WITHIN)
    after = holder(cluster)
    assert after != before
    change_is_delivered(tenant, "2")
    first.process.send_signal(signal.SIGCONT)
    assert first.process.wait(30) == 1
    assert any("this process ends" in line["message"] for line in first.lines())
    assert holder(cluster) == after
    change_is_delivered(tenant, "3")


def test_a_standby_stops_cleanly(pair: tuple[Operator, Operator]) -> None:
    _, second = pair
    began = time.monotonic()
    assert second.stop() == 0
    assert time.monotonic() - began < 15  # of kubelet's 30
