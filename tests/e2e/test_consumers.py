"""ConsumersCurrent by the declared proof: what pods answer, what time says, and what the metadata file tells."""

import json
import time
from typing import Any

import pytest

from elile.secrets.mounted import MountedBackend, MountedConfig
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import IMAGE, Pod, Tenant, pod_manifest
from tests.e2e.support.workloads import change

pytestmark = pytest.mark.lab

PORT = 8080
HTTP = {"proof": {"http": {"port": PORT}}}
# Answers as the client library does, from the file that it reads; holds what it says while /tmp/hold is there.
SERVER = r"""
mkdir -p /tmp/www/.well-known
while true; do
  revision=$(sed -n 's/.*"revision":\([0-9]*\).*/\1/p' /etc/elile/.elile.json)
  if [ ! -e /tmp/hold ]; then
    echo "{\"secrets\":{\"db\":$revision}}" > /tmp/new && mv /tmp/new /tmp/www/.well-known/elile
  fi
  sleep 0.2
done &
exec httpd -f -p 8080 -h /tmp/www
"""


def run(tenant: Tenant, name: str, command: str = SERVER, **spec: Any) -> Pod:
    body = pod_manifest(tenant.namespace, name, "db")
    body["spec"]["containers"][0]["command"] = ["sh", "-c", command]
    body["spec"] |= spec
    tenant.cluster.apply(body)
    tenant.cluster.kubectl("-n", tenant.namespace, "wait", "--for=condition=Ready", f"pod/{name}", "--timeout=30s")
    return Pod(tenant, name, tenant.cluster.get("pod", name, tenant.namespace)["metadata"]["uid"])


def execute(tenant: Tenant, pod: str, *command: str) -> None:
    tenant.cluster.kubectl("-n", tenant.namespace, "exec", pod, "--", *command)


def current(tenant: Tenant) -> dict[str, Any]:
    return tenant.wait("db", "ConsumersCurrent", "ConsumersCurrent")


def consumers(tenant: Tenant) -> dict[str, Any]:
    found: dict[str, Any] = tenant.elile("db")["status"]["consumers"]
    return found


def test_every_pod_proves_by_http_that_it_has_loaded_the_value(
    cluster: Cluster, operator: Operator, tenant: Tenant
) -> None:
    tenant.put("db", value="one")
    tenant.want("db", consumers=HTTP)
    tenant.wait("db", "Synced")
    pods = [run(tenant, name) for name in ("a", "b")]
    current(tenant)

    change(tenant, "two")
    began = time.monotonic()
    proved = current(tenant)
    eventually("it is of this revision", lambda: consumers(tenant).get("provedRevision") == 2)
    assert time.monotonic() - began < 15.0
    assert (proved["status"], consumers(tenant)["summary"]) == ("True", "2/2")

    execute(tenant, "b", "sh", "-c", "touch /tmp/hold")
    change(tenant, "three")
    eventually("one proved", lambda: consumers(tenant).get("current") == 1)
    waiting = tenant.wait("db", "AwaitingConsumers", "ConsumersCurrent")
    assert (waiting["status"], waiting["message"]) == (
        "False",
        "revision 3: b of 2 pods did not answer it yet (spec.consumers.proof.http)",
    )
    operator.stop()
    operator.start()
    operator.wait_ready()
    time.sleep(2)
    assert tenant.condition("db", "ConsumersCurrent")["reason"] == "AwaitingConsumers", "another process knows no more"
    execute(tenant, "b", "sh", "-c", "rm /tmp/hold")
    proved = current(tenant)
    assert consumers(tenant)["provedRevision"] == 3

    # What was proved once holds, whatever the pods say afterwards and whoever is asked to remember it.
    for pod in pods:
        execute(tenant, pod.name, "sh", "-c", "touch /tmp/hold; rm /tmp/www/.well-known/elile")
    operator.stop()
    operator.start()
    operator.wait_ready()
    time.sleep(2)
    assert tenant.condition("db", "ConsumersCurrent") == proved
    assert consumers(tenant)["summary"] == "2/2"


def test_the_client_library_reads_what_the_file_tells(tenant: Tenant) -> None:
    tenant.put("db", value="one")
    tenant.want("db", delivery={"metadataFile": True})
    tenant.wait("db", "Synced")
    pod = run(tenant, "app", "sleep 1000000")
    change(tenant, "two")
    eventually("the file follows", lambda: pod.read("value") == "two")
    if tenant.cluster.lab is not None:
        backend = MountedBackend(MountedConfig(root=pod.volume().parent))
        reading = eventually("the revision", lambda: backend.read("elile") if pod.read("value") == "two" else None)
        assert dict(reading.data.reveal()) == {"value": "two"}
        assert reading.metadata.version == "2"
        assert reading.metadata.custom == {"revision": "2", "name": "db"}
    assert json.loads(pod.read(".elile.json") or "") == {
        "schema": 1,
        "name": "db",
        "revision": 2,
        "sources": [{"name": "main", "path": f"secret/{tenant.namespace}/db", "version": 2}],
    }
    assert tenant.elile("db")["status"]["keys"] == ["value"]

    before = tenant.secret("db")
    tenant.put("db", value="two")
    eventually("the version is seen", lambda: tenant.elile("db")["status"]["sources"][0]["version"] == 3)
    assert tenant.secret("db") == before, "the same values: nothing is written for the file's own sake"

    tenant.want("db", delivery={"metadataFile": False})
    eventually("the file goes", lambda: tenant.data("db") == {"value": "two"})
    assert tenant.elile("db")["status"]["revision"] == 2


def test_pods_that_run_already_get_the_file_that_they_need_for_the_proof(tenant: Tenant) -> None:
    tenant.put("db", value="one")
    tenant.want("db")
    tenant.wait("db", "Synced")
    run(tenant, "app")
    change(tenant, "two")
    tenant.want("db", consumers=HTTP)
    current(tenant)
    assert consumers(tenant)["provedRevision"] == 2


def test_time_proves_when_it_is_up(tenant: Tenant) -> None:
    tenant.put("db", value="one")
    tenant.want("db", consumers={"proof": {"elapsed": "5s"}})
    tenant.wait("db", "Synced")
    run(tenant, "app", "sleep 1000000")
    change(tenant, "two")
    waiting = tenant.wait("db", "AwaitingConsumers", "ConsumersCurrent")
    assert waiting["message"].startswith("revision 2: waits until ")
    current(tenant)
    changed = tenant.elile("db")["status"]["lastChangeTime"]
    assert waiting["message"].split()[4] > changed
    assert consumers(tenant)["summary"] == "1/1"


def test_who_cannot_prove_is_named(tenant: Tenant) -> None:
    tenant.put("db", value="one")
    tenant.want("db", consumers=HTTP)
    tenant.wait("db", "Synced")
    run(tenant, "silent", "sleep 1000000")
    run(tenant, "host", "sleep 1000000", hostNetwork=True)
    pull = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "puller", "namespace": tenant.namespace},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "imagePullSecrets": [{"name": "db"}],
            "containers": [
                {"name": "app", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sleep", "1000000"]}
            ],
        },
    }
    tenant.cluster.apply(pull)
    change(tenant, "two")
    eventually(
        "both are named",
        lambda: (
            tenant.condition("db", "ConsumersCurrent")["message"]
            == "revision 2: host, silent of 2 pods did not answer it yet (spec.consumers.proof.http); with hostNetwork "
            "a pod is not asked, so restart host, or declare another proof"
        ),
    )
