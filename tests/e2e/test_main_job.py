"""The main job: a value in OpenBao becomes a file in a pod, and stays current."""

import statistics
import threading
import time
from datetime import datetime

import pytest

from tests.e2e.support.audit import Tail
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.operator import Operator
from tests.e2e.support.tenant import Pod, Tenant

pytestmark = pytest.mark.lab

TRIES = 20
# The promise at a poll of 1 s is about 1.2 s from write to file.
FILE_WITHIN = 6.0
# kubelet looks by itself every 60 to 90 s.
UNPOKED_WITHIN = 150.0


def seconds_until(pod: Pod, key: str, value: str, within: float) -> float:
    began = time.monotonic()
    eventually(f"{key} in {pod.name} is the new value", lambda: pod.read(key) == value, within=within, every=0.005)
    return time.monotonic() - began


def test_a_value_in_openbao_becomes_a_file_and_every_change_follows(tenant: Tenant, figure: list[str]) -> None:
    tenant.put("db", username="shop", password="p0")
    tenant.want("db")
    tenant.wait("db", "Synced")
    pod = tenant.run_pod("app", "db")
    assert pod.read("username") == "shop"

    took = []
    for i in range(TRIES):
        tenant.put("db", username="shop", password=f"p{i + 1}")
        took.append(seconds_until(pod, "password", f"p{i + 1}", FILE_WITHIN))

    assert len(took) == TRIES
    assert tenant.elile("db")["status"]["revision"] == TRIES + 1
    middle, most = statistics.median(took), max(took)
    figure.append(f"OpenBao write → file, 1 s poll: {TRIES} of {TRIES}, p50 {middle:.2f} s, max {most:.2f} s")


def measured(tenant: Tenant, pod: Pod) -> float | None:
    """Seconds from the API server's answer to the last write of the Secret, to kubelet's swap of the volume."""
    lab = tenant.cluster.lab
    if lab is None:
        return None
    path = f"/api/v1/namespaces/{tenant.namespace}/secrets/{pod.name}"
    written = [
        datetime.fromisoformat(record["stageTimestamp"]).timestamp()
        for record in Tail(lab.api_audit_log, 0).records()
        if record["stage"] == "ResponseComplete" and record["verb"] == "patch" and record["requestURI"].startswith(path)
    ]
    return pod.volume().joinpath("..data").lstat().st_mtime - written[-1]


def test_the_poke_is_what_makes_it_fast(tenant: Tenant, figure: list[str]) -> None:
    for name in ("poked", "plain"):
        tenant.put(name, value="old")
        tenant.want(name, delivery={"poke": name == "poked"})
        tenant.wait(name, "Synced")
    poked, plain = tenant.run_pod("poked", "poked"), tenant.run_pod("plain", "plain")
    # A pod's first minute has syncs of its own; what is measured here is a pod at rest.
    time.sleep(3)

    took: dict[str, float] = {}

    def change(pod: Pod, within: float) -> None:
        tenant.put(pod.name, value="new")
        eventually(f"Secret {pod.name}", lambda: tenant.data(pod.name).get("value") == "new", every=0.02)
        took[pod.name] = seconds_until(pod, "value", "new", within)

    slow = threading.Thread(target=change, args=(plain, UNPOKED_WITHIN))
    slow.start()
    change(poked, FILE_WITHIN)
    slow.join()

    assert took["poked"] < FILE_WITHIN
    assert "plain" in took, "the file of the pod that was not poked never changed"
    fast, slow_one = (measured(tenant, pod) or took[pod.name] for pod in (poked, plain))
    figure.append(f"Secret write → file: poked {fast:.2f} s, beside {slow_one:.0f} s without the poke")
    annotations = tenant.cluster.get("pod", "poked", tenant.namespace)["metadata"]["annotations"]
    secret = tenant.secret("poked") or {}
    # Twice: kubelet may have heard of the pod before it heard of the Secret.
    eventually(
        "the second poke",
        lambda: (
            tenant.cluster.get("pod", "poked", tenant.namespace)["metadata"]["annotations"]["elile.io/delivered.poked"]
            == f"{secret['metadata']['resourceVersion']}-2"
        ),
    )
    assert annotations.keys() == {"elile.io/delivered.poked"}
    assert "annotations" not in tenant.cluster.get("pod", "plain", tenant.namespace)["metadata"]


def test_kubectl_shows_the_state_in_one_line(tenant: Tenant) -> None:
    tenant.put("db", password="p")
    tenant.want("db")
    tenant.wait("db", "Synced")
    time.sleep(1.1)  # the API server's times are whole seconds: in the same one, who was first cannot be told
    tenant.run_pod("app", "db")
    eventually("the pod is counted", lambda: tenant.elile("db")["status"]["consumers"]["summary"] == "1/1")

    header, line = tenant.cluster.kubectl("-n", tenant.namespace, "get", "els", "db").splitlines()
    wide = tenant.cluster.kubectl("-n", tenant.namespace, "get", "elilesecrets", "-o", "wide").splitlines()[0]

    columns = ["NAME", "READY", "REASON", "REVISION", "CONSUMERS", "ROTATION", "NEXT-ROTATION", "LAST-CHANGE", "AGE"]
    assert header.split() == columns
    assert line.split()[:5] == ["db", "True", "Synced", "1", "1/1"]
    assert wide.split()[len(columns) :] == ["TYPE", "SECRET", "SERVER", "MESSAGE"]
    assert "elilesecret.elile.io/db" in tenant.cluster.kubectl("-n", tenant.namespace, "get", "elile")


def test_the_status_tells_what_was_delivered(tenant: Tenant) -> None:
    tenant.put("db", username="shop", password="p")
    tenant.want("db")
    tenant.wait("db", "Synced")
    status = tenant.elile("db")["status"]
    assert (status["revision"], status["keys"], status["secretName"], status["server"]) == (
        1,
        ["password", "username"],
        "db",
        "default",
    )
    assert status["sources"] == [{"name": "main", "path": f"secret/{tenant.namespace}/db", "version": 1}]
    shown = {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}
    assert shown == {
        "Ready": ("True", "Synced"),
        "Stalled": ("False", "Synced"),
        "Synced": ("True", "Synced"),
        "SecretCurrent": ("True", "SecretCurrent"),
        "ConsumersCurrent": ("Unknown", "ProofUndeclared"),
    }
    events = eventually("an event", lambda: tenant.events("db"))
    assert [(e["type"], e["reason"], e["note"]) for e in events] == [
        ("Normal", "Synced", "revision 1: Secret db holds 2 keys of 1 source")
    ]


def test_the_server_tells_how_it_is(operator: Operator, cluster: Cluster) -> None:
    header, line = cluster.kubectl("get", "vsrv", "default").splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "FLAVOR", "VERSION", "ADDRESS", "AGE"]
    assert line.split()[:4] == ["default", "True", "ServerReady", "OpenBao"]
    assert operator.probe("/livez")[0] == 200


def test_sources_are_merged_as_the_spec_says(tenant: Tenant) -> None:
    tenant.put("db", username="shop", password="p", port=5432)
    tenant.put("tls", bundle={"ca": "PEM"}, key="aGVsbG8=")
    tenant.put("pinned", value="one")
    tenant.put("pinned", value="two")
    n = tenant.namespace
    tenant.want(
        "app",
        {"name": "db", "kv": {"path": f"{n}/db"}, "prefix": "DB_"},
        {
            "name": "tls",
            "kv": {"path": f"{n}/tls"},
            "keys": [{"from": "/bundle/ca", "to": "ca.pem"}, {"from": "key", "to": "key.bin", "decode": "Base64"}],
        },
        {"name": "pinned", "kv": {"path": f"{n}/pinned", "version": 1}},
        {"name": "absent", "kv": {"path": f"{n}/absent"}, "optional": True},
        {"name": "again", "kv": {"path": f"{n}/pinned"}, "override": True},
    )
    tenant.wait("app", "Synced")
    assert tenant.data("app") == {
        "DB_username": "shop",
        "DB_password": "p",
        "DB_port": "5432",
        "ca.pem": "PEM",
        "key.bin": "hello",
        "value": "two",
    }


def test_a_spec_edit_and_a_wish_to_refresh_are_followed_at_once(tenant: Tenant) -> None:
    tenant.put("a", value="a")
    tenant.put("b", value="b")
    tenant.want("app", {"name": "s", "kv": {"path": f"{tenant.namespace}/a"}}, refresh={"interval": "1h"})
    tenant.wait("app", "Synced")
    tenant.want("app", {"name": "s", "kv": {"path": f"{tenant.namespace}/b"}}, refresh={"interval": "1h"})
    eventually("the other path", lambda: tenant.data("app") == {"value": "b"})

    tenant.put("b", value="c")
    tenant.cluster.kubectl("-n", tenant.namespace, "annotate", "elilesecret", "app", "elile.io/refresh=now-1")
    eventually("the refresh", lambda: tenant.data("app") == {"value": "c"})
    eventually("the answer", lambda: tenant.elile("app")["status"].get("handledRefresh"))
    assert tenant.elile("app")["status"]["handledRefresh"] == "now-1"


def test_deletion_follows_the_policy_and_a_renamed_secret_leaves_nothing_behind(tenant: Tenant) -> None:
    tenant.put("a", value="a")
    tenant.want("goes", {"name": "s", "kv": {"path": f"{tenant.namespace}/a"}})
    tenant.want("stays", {"name": "s", "kv": {"path": f"{tenant.namespace}/a"}}, deletionPolicy="Retain")
    tenant.wait("goes", "Synced")
    tenant.wait("stays", "Synced")
    renamed = {"secret": {"name": "other"}}
    tenant.want("goes", {"name": "s", "kv": {"path": f"{tenant.namespace}/a"}}, delivery=renamed)
    eventually("the new Secret", lambda: tenant.data("other") == {"value": "a"})
    eventually("the old Secret goes", lambda: tenant.secret("goes") is None)

    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "goes", "stays")
    eventually("the owned Secret goes", lambda: tenant.secret("other") is None)
    assert tenant.data("stays") == {"value": "a"}
