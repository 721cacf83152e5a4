"""What goes, and how soon: objects while Vault is away, and whole namespaces in every state."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import server_manifest
from tests.e2e.support.gate import Gate, Mode
from tests.e2e.support.lifecycle import MERGED, foreign_owner, owners, secret_manifest, states
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# Nothing waits for a deadline here: five times what an idle machine takes.
GONE_WITHIN = 30.0


# ── while Vault is away ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def gate(cluster: Cluster) -> Iterator[Gate]:
    """A gate before OpenBao."""
    assert cluster.lab is not None
    pair = cluster.lab.issue_certificate("gate", ["127.0.0.1"])
    gate = Gate(cluster.bao_address, pair.certificate, pair.key)
    yield gate
    gate.close()


@contextmanager
def served(cluster: Cluster, server: str, gate: Gate, timeout: str) -> Iterator[None]:
    """A VaultServer behind the gate."""
    manifest = server_manifest(cluster, server)
    limits = {"timeout": timeout}
    cluster.apply({**manifest, "spec": {**manifest["spec"], "address": gate.address, "limits": limits}})
    try:
        yield
    finally:
        cluster.kubectl("delete", "vaultserver", server)


def test_a_spec_that_is_edited_while_it_is_read_is_not_written(tenant: Tenant, gate: Gate) -> None:
    cluster, server = tenant.cluster, f"gate-{tenant.namespace}"
    tenant.put("db", password="p1")
    tenant.put("mail", user="u")
    with served(cluster, server, gate, "30s"):
        # No poll comes in between, and tells of the value before it is asked for.
        spec = {"vault": {"server": server}, "refresh": {"interval": "1h"}}
        tenant.want("db", **spec)
        tenant.wait("db", "Synced")
        with states(tenant, "db") as seen:
            tenant.put("db", password="p2")
            gate.mode = Mode.HELD
            cluster.kubectl("-n", tenant.namespace, "annotate", "elilesecret", "db", "elile.io/refresh=now")
            time.sleep(1.0)
            tenant.want("db", {"name": "main", "kv": {"path": f"{tenant.namespace}/mail"}}, **spec)
            assert "handledRefresh" not in tenant.elile("db")["status"], "it waits for its answer"
            gate.mode = Mode.OPEN
            tenant.wait("db", "Synced")
            eventually("the edit is followed", lambda: tenant.data("db") == {"user": "u"})
        assert seen == [{"password": "p1"}, {"user": "u"}]


def test_objects_go_while_vault_is_away(tenant: Tenant, gate: Gate) -> None:
    cluster, server = tenant.cluster, f"gate-{tenant.namespace}"
    with served(cluster, server, gate, "1s"):
        cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}))
        for name in ("own", "merged", "retained"):
            tenant.put(name, **{name: "1"})
        vault = {"server": server}
        tenant.want("own", vault=vault)
        tenant.want("merged", vault=vault, delivery=MERGED)
        tenant.want("retained", vault=vault, deletionPolicy="Retain")
        for name in ("own", "merged", "retained"):
            tenant.wait(name, "Synced")
        gate.mode = Mode.CLOSED
        eventually("it is lost", lambda: cluster.reason(server) == "VaultUnreachable")
        began = time.monotonic()
        cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "--all", f"--timeout={GONE_WITHIN:.0f}s")
        assert time.monotonic() - began < GONE_WITHIN
        eventually("what was owned is gone", lambda: tenant.secret("own") is None)
        assert (tenant.data("app"), tenant.data("retained")) == ({"theirs": "t"}, {"retained": "1"})


# ── whole namespaces ─────────────────────────────────────────────────────────────────────────────────────────────────


def delivered(tenant: Tenant, **spec: Any) -> None:
    tenant.put("db", password="p")
    tenant.want("db", **spec)
    tenant.wait("db", "Synced")


def nothing_there(tenant: Tenant) -> None:
    tenant.want("db")
    tenant.wait("db", "PathNotFound")


def not_owned(tenant: Tenant) -> None:
    tenant.cluster.apply(secret_manifest(tenant, "db", {"theirs": "t"}))
    nothing_to_read(tenant, "SecretNotOwned")


def nothing_to_read(tenant: Tenant, reason: str, **spec: Any) -> None:
    tenant.put("db", password="p")
    tenant.want("db", **spec)
    tenant.wait("db", reason)


def merged(tenant: Tenant) -> None:
    tenant.cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}))
    delivered(tenant, delivery=MERGED)


def conflicting(tenant: Tenant) -> None:
    tenant.cluster.apply(secret_manifest(tenant, "app", {"password": "t"}))
    nothing_to_read(tenant, "SecretConflict", delivery=MERGED)


def taken_over(tenant: Tenant) -> None:
    owner = foreign_owner(tenant)
    body = secret_manifest(tenant, "db", {"password": "p"}, owner=owner)
    body["metadata"]["annotations"] = {"elile.io/adopt": "db"}
    tenant.cluster.apply(body)
    delivered(tenant)
    assert owners(tenant, "db") == [("Legacy", "owner", True), ("ElileSecret", "db", False)]


def gone(tenant: Tenant) -> None:
    delivered(tenant, onMissing="Delete", delivery=MERGED)
    tenant.cluster.bao("kv", "metadata", "delete", "-mount=secret", f"{tenant.namespace}/db")
    tenant.wait("db", "PathNotFound")


def mounted(tenant: Tenant) -> None:
    delivered(tenant)
    tenant.run_pod("app", "db")


STATES: dict[str, Callable[[Tenant], None]] = {
    "delivered": delivered,
    "mounted by a pod": mounted,
    "retained": lambda tenant: delivered(tenant, deletionPolicy="Retain"),
    "merged": merged,
    "merged, retained": lambda tenant: delivered(tenant, delivery=MERGED, deletionPolicy="Retain"),
    "taken over": taken_over,
    "path not there": nothing_there,
    "path going": gone,
    "somebody else's Secret": not_owned,
    "conflicting keys": conflicting,
    "no server": lambda tenant: nothing_to_read(tenant, "ServerNotFound", vault={"server": "none"}),
    "no role": lambda tenant: nothing_to_read(tenant, "RoleNotFound", vault={"role": "none"}),
}


def test_namespaces_go_in_every_state(operator: Operator, new_tenant: Callable[[], Tenant], figure: list[str]) -> None:
    tenants = {state: new_tenant() for state in STATES}
    for state, prepare in STATES.items():
        prepare(tenants[state])
    cluster = next(iter(tenants.values())).cluster
    names = [tenant.namespace for tenant in tenants.values()]
    began = time.monotonic()
    cluster.kubectl("delete", "namespace", *names, "--wait=false")
    took: dict[str, float] = {}
    while len(took) < len(STATES) and time.monotonic() - began < GONE_WITHIN:
        left = set(cluster.kubectl("get", "namespaces", "-o", "name").split())
        for state, tenant in tenants.items():
            if state not in took and f"namespace/{tenant.namespace}" not in left:
                took[state] = time.monotonic() - began
        time.sleep(0.2)
    assert STATES.keys() - took.keys() == set(), "these are still there"
    figure.append(f"{len(took)} namespaces in {len(took)} states gone after {max(took.values()):.1f} s at the latest")
    for line in operator.lines():
        assert line["level"] != "ERROR", line
