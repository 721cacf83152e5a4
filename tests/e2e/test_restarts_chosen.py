"""Which workloads are restarted: those the spec chooses, when they let themselves be, and never a Job."""

import json
import time

import pytest

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.tenant import Tenant
from tests.e2e.support.workloads import QUIET, Workload, change, manifest, restarts, run, want

pytestmark = pytest.mark.lab


def test_several_secrets_of_a_workload_need_one_restart(tenant: Tenant) -> None:
    want(tenant)
    want(tenant, "web")
    body = manifest(tenant.namespace, "app", "db", "Deployment")
    body["spec"]["template"]["spec"]["containers"][0]["envFrom"] = [{"secretRef": {"name": "web"}}]
    tenant.cluster.apply(body)
    app = Workload(tenant, "Deployment", "app")
    app.wait()

    tenant.put("db", value="two")
    tenant.put("web", value="two")
    eventually("it was restarted", lambda: restarts(tenant) == restarts(tenant, "web") == {"app": "Restarted"})
    assert (app.generation, app.restarts.keys()) == (2, {"restart.elile.io/db", "restart.elile.io/web"})


def test_workload_and_secret_made_together_need_no_restart(tenant: Tenant) -> None:
    tenant.put("db", value="one")
    body = manifest(tenant.namespace, "app", "db", "Deployment")
    tenant.cluster.apply(body, tenant.manifest("db", consumers={"restart": {"when": "Changed"}}))
    app = Workload(tenant, "Deployment", "app")
    app.wait()
    tenant.wait("db", "Synced")
    time.sleep(QUIET)
    assert (app.generation, restarts(tenant)) == (1, {})
    assert tenant.elile("db")["status"]["consumers"]["summary"] == "1/1"


def test_a_paused_deployment_is_restarted_when_it_is_resumed(cluster: Cluster, tenant: Tenant) -> None:
    want(tenant)
    app = run(tenant, "app", "db")
    cluster.kubectl("-n", tenant.namespace, "rollout", "pause", "deployment/app")
    before = app.generation
    change(tenant, "two")
    eventually("it waits", lambda: restarts(tenant) == {"app": "NeedsRestart"})
    told = tenant.elile("db")["status"]["consumers"]["restarts"][0]
    assert told["message"] == "it is paused; it is restarted when it is resumed (kubectl rollout resume)"
    time.sleep(QUIET)
    assert (app.generation, app.restarts) == (before, {})

    cluster.kubectl("-n", tenant.namespace, "rollout", "resume", "deployment/app")
    eventually("it has it", lambda: app.reads("two"), within=60)


def test_named_workloads_only_and_changed_ones_that_see_files(tenant: Tenant) -> None:
    named = {"when": "Changed", "workloads": [{"kind": "Deployment", "name": "named"}]}
    want(tenant, restart=named)
    one, other = run(tenant, "named", "db", by="volume"), run(tenant, "other", "db")
    change(tenant, "two")
    eventually("it was restarted", lambda: restarts(tenant) == {"named": "Restarted"})
    assert (one.generation, other.generation) == (2, 1)
    consumers = tenant.elile("db")["status"]["consumers"]
    assert (consumers["needRestart"], consumers["summary"]) == (consumers["stale"], "1/2")


def test_jobs_are_counted_apart_and_left_alone(cluster: Cluster, tenant: Tenant) -> None:
    want(tenant, restart={"when": "Changed"}, proof={"rollout": {}})
    job = manifest(tenant.namespace, "once", "db", "Job")
    job["apiVersion"] = "batch/v1"
    job["spec"] = {"template": job["spec"]["template"]}
    job["spec"]["template"]["spec"]["restartPolicy"] = "Never"
    cluster.apply(job)
    eventually("it runs", lambda: tenant.elile("db")["status"].get("consumers", {}).get("jobs") == 1)
    change(tenant, "two")
    eventually("it is behind", lambda: tenant.elile("db")["status"]["consumers"].get("staleJobs"))
    tenant.wait("db", "ConsumersCurrent", "ConsumersCurrent")
    time.sleep(QUIET / 2)
    assert restarts(tenant) == {}
    pods = json.loads(cluster.kubectl("-n", tenant.namespace, "get", "pods", "-o", "json"))["items"]
    assert [p["status"]["phase"] for p in pods] == ["Running"]
