"""One change restarts once, and nothing that happens afterwards does it again."""

import time

import pytest

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.fixtures import SYSTEM
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Tenant
from tests.e2e.support.workloads import QUIET, change, restarts, run, want

pytestmark = pytest.mark.lab


def test_one_change_restarts_once_whatever_happens_afterwards(
    cluster: Cluster, operator: Operator, tenant: Tenant
) -> None:
    want(tenant)
    first, second = run(tenant, "a", "db"), run(tenant, "b", "db", "StatefulSet")
    third, file = run(tenant, "c", "db", "DaemonSet"), run(tenant, "d", "db", by="volume")
    all_ = (first, second, third)
    assert [w.generation for w in all_] == [1, 1, 1]

    change(tenant, "two")
    eventually("all were restarted", lambda: restarts(tenant) == {"a": "Restarted", "b": "Restarted", "c": "Restarted"})
    assert [w.reads("two") for w in all_] == [True, True, True]
    stamp = (tenant.secret("db") or {})["metadata"]["annotations"]["elile.io/fingerprint"]
    assert [w.restarts for w in all_] == [{"restart.elile.io/db": stamp}] * 3
    assert [w.generation for w in (*all_, file)] == [2, 2, 2, 1], "the one that sees files was left alone"
    began = eventually("the events", lambda: [e["note"] for e in tenant.events("db") if e["reason"] == "Restarted"])
    assert len(began) == 3

    operator.stop()
    cluster.kubectl("-n", SYSTEM, "delete", "secret", "elile-fingerprint-key")
    operator.start()
    operator.wait_ready()
    tenant.cluster.kubectl("-n", tenant.namespace, "annotate", "elilesecret", "db", "elile.io/refresh=lost-key")
    eventually("it was read again", lambda: tenant.elile("db")["status"].get("handledRefresh") == "lost-key")
    time.sleep(QUIET)
    assert [w.generation for w in all_] == [2, 2, 2], "another process, and another key of the fingerprints"

    cluster.kubectl("-n", tenant.namespace, "rollout", "undo", "deployment/a")
    first.wait()
    time.sleep(QUIET)
    assert (first.generation, first.restarts) == (3, {}), "somebody's undo is nobody's business"

    change(tenant, "three")
    eventually("the next change restarts again", lambda: first.reads("three") and second.reads("three"))
    assert [w.generation for w in all_[:2]] == [4, 3]
