"""Dynamic credentials under a pod that logs in all the time: renewed, replaced, and left behind by an operator."""

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.clients import Client
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.engines import Engines, serving
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant
from tests.support.engines import database_role

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def engines(cluster: Cluster, installed: None) -> Iterator[Engines]:
    with serving(cluster) as engines:
        yield engines


@pytest.fixture
def pair(cluster: Cluster, no_operator: None, tmp_path: Path) -> Iterator[list[Operator]]:
    """The leader, and a standby."""
    arguments = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM)
    both: list[Operator] = []
    try:
        for name in ("first", "second"):
            both.append(Operator(tmp_path / name, *arguments))
            both[-1].wait_ready()
        yield both
    finally:
        for operator in both:
            operator.stop()


def lead(operators: list[Operator]) -> Operator:
    """Return the one that leads."""

    def leader() -> Operator | None:
        for operator in operators:
            status, body = operator.probe("/readyz")
            if status and json.loads(body).get("role") == "leader":
                return operator
        return None

    return eventually("one of them leads", leader, within=100)


def deliver(tenant: Tenant, engines: Engines, role: str, **lease: Any) -> Client:
    tenant.want("db", {"name": "dyn", "lease": {"path": f"database/creds/{role}", **lease}}, vault={"role": "engines"})
    tenant.wait("db", "Synced")
    return Client(tenant, engines.host, engines.postgresql.port, "db")


def expires(tenant: Tenant) -> str:
    return str(tenant.elile("db")["status"]["sources"][0]["leaseExpires"])


def renewals(tenant: Tenant, count: int, *, within: float) -> None:
    """Wait until the lease was renewed or replaced so often."""
    seen = {expires(tenant)}
    eventually(f"{count} renewals", lambda: seen.add(expires(tenant)) or len(seen) > count, within=within, every=0.5)  # type: ignore[func-returns-value] # `add` is to be done each time


def test_a_lease_is_renewed_and_replaced_under_a_client(
    engines: Engines, operator: Operator, tenant: Tenant, figure: list[str]
) -> None:
    database_role(engines.call, "short", ttl="20s", longest="26s")
    client = deliver(tenant, engines, "short", renewAt="20%")
    first = tenant.data("db")["username"]
    told = operator.probe("/metrics")[1]
    assert f'elile_secret_lease_expiry_timestamp_seconds{{name="db",namespace="{tenant.namespace}"}}' in told
    renewals(tenant, 2, within=60)
    client.fares_well()
    eventually("another lease was taken before the end", lambda: tenant.data("db")["username"] != first, within=60)
    renewals(tenant, 1, within=60)
    time.sleep(1)
    client.fares_well()
    told = client.told()
    assert told["users"] >= 2
    figure.append(
        f"dynamic credentials: {told['logins']} logins of a pod, {told['users']} users, {told['failed']} failed"
    )


def test_what_was_replaced_is_revoked_once_the_proof_is_there(engines: Engines, tenant: Tenant) -> None:
    database_role(engines.call, "proved", ttl="60s", longest="70s")
    source = {"name": "dyn", "lease": {"path": "database/creds/proved", "renewAt": "20%"}}
    tenant.want("db", source, vault={"role": "engines"}, consumers={"proof": {"elapsed": "2s"}})
    tenant.wait("db", "Synced")
    first = tenant.data("db")
    # A change of the request is one of the ways to another lease, and the soonest.
    other = {**source, "lease": {**source["lease"], "parameters": {"note": "another"}}}
    tenant.want("db", other, vault={"role": "engines"}, consumers={"proof": {"elapsed": "2s"}})
    eventually("another lease is delivered", lambda: tenant.data("db")["username"] != first["username"])
    assert engines.logs_in(first["username"], first["password"]), "nothing is proved yet"
    eventually("the first one is revoked", lambda: not engines.logs_in(first["username"], first["password"]), within=40)
    eventually("that is told", lambda: "LeaseRevoked" in [event["reason"] for event in tenant.events("db")])
    data = tenant.data("db")
    assert engines.logs_in(data["username"], data["password"])


def test_an_operator_that_ends_leaves_the_lease_to_the_next_one(
    engines: Engines, pair: list[Operator], new_tenant: Any
) -> None:
    tenant = new_tenant()
    database_role(engines.call, "handed", ttl="40s", longest="10m")
    client = deliver(tenant, engines, "handed", renewAt="20%")
    first = tenant.data("db")
    leader = lead(pair)
    leader.stop()
    assert engines.logs_in(first["username"], first["password"]), "the end of the operator is not that of the lease"
    other = lead([operator for operator in pair if operator is not leader])
    eventually("the next one took a lease", lambda: tenant.data("db")["username"] != first["username"], within=60)
    time.sleep(1)
    client.fares_well()
    assert other.process.poll() is None


@pytest.mark.chaos
def test_a_lease_lives_through_everything(
    engines: Engines, pair: list[Operator], new_tenant: Any, figure: list[str]
) -> None:
    """Twenty renewals, the end of all renewals, SIGTERM, SIGKILL and a change of the leader, and no login fails."""
    tenant = new_tenant()
    database_role(engines.call, "long", ttl="60s", longest="3m")
    client = deliver(tenant, engines, "long", renewAt="20%")
    first = tenant.data("db")["username"]
    renewals(tenant, 20, within=400)
    assert tenant.data("db")["username"] != first, "three minutes are over"
    client.fares_well()
    for end in ("stop", "kill"):
        leader = lead(pair)
        before = tenant.data("db")["username"]
        leader.stop() if end == "stop" else leader.process.kill()
        leader.process.wait(30)
        lead([operator for operator in pair if operator is not leader])
        eventually("the other took a lease", lambda before=before: tenant.data("db")["username"] != before, within=100)  # type: ignore[misc] # the loop's
        client.fares_well()
        leader.start()
        leader.wait_ready()
    renewals(tenant, 4, within=100)
    told = client.told()
    assert told["failed"] == 0, told
    figure.append(
        f"a lease through everything: {told['logins']} logins, {told['users']} users, {told['failed']} failed"
    )
