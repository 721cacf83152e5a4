"""What becomes of a Secret: retained, merged into, taken over, left for another name, and removed with its source."""

import json
from typing import Any

import pytest

from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.lifecycle import adopted, cleared, owners, patch_secret, secret_manifest, settled
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


def into(name: str, **more: Any) -> dict[str, Any]:
    """A delivery into the Secret of this name, merged."""
    return {"secret": {"name": name, "mode": "Merge", **more}}


# ── deletionPolicy ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_is_retained_has_no_owner_and_can_be_had_back(tenant: Tenant) -> None:
    tenant.put("db", password="p")
    tenant.want("db")
    tenant.wait("db", "Synced")
    assert owners(tenant, "db") == [("ElileSecret", "db", True)]
    made = tenant.secret("db") or {}
    for policy, expected in (("Retain", []), ("Delete", [("ElileSecret", "db", True)]), ("Retain", [])):
        tenant.want("db", deletionPolicy=policy)
        eventually(f"owners with {policy}", lambda expected=expected: owners(tenant, "db") == expected)
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "db")
    tenant.want("db", deletionPolicy="Delete")
    eventually("it is continued", lambda: owners(tenant, "db") == [("ElileSecret", "db", True)])
    now = tenant.secret("db") or {}
    assert (now["metadata"]["uid"], now["data"]) == (made["metadata"]["uid"], made["data"])
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "db")
    eventually("the garbage collector takes it", lambda: tenant.secret("db") is None)


# ── Merge ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_two_objects_merge_into_a_secret_of_somebody_else(tenant: Tenant) -> None:
    tenant.cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}, labels={"app": "shop"}))
    for name in ("a", "b"):
        tenant.put(name, **{name: f"{name}1"})
        tenant.want(name, delivery=into("app"))
    for name in ("a", "b"):
        tenant.wait(name, "Synced")
    assert tenant.data("app") == {"theirs": "t", "a": "a1", "b": "b1"}
    assert owners(tenant, "app") == []
    assert tenant.elile("a")["metadata"]["finalizers"] == ["elile.io/finalizer"]
    assert tenant.elile("a")["status"]["keys"] == ["a"]
    pod = tenant.run_pod("app", "app")

    tenant.put("a", a="a2")
    eventually("the file follows", lambda: pod.read("a") == "a2")
    settled(tenant, "a", "b")
    assert tenant.elile("b")["status"]["revision"] == 1, "what the other merged is no change"
    patch_secret(tenant, "app", {"data": {"b": "d3Jvbmc=", "more": "bQ=="}, "metadata": {"annotations": {"x": "y"}}})
    eventually("our key is repaired", lambda: tenant.data("app")["b"] == "b1")
    patch_secret(tenant, "app", {"data": {"a": None}, "metadata": {"labels": {"elile.io/secret": None}}})
    eventually("our key is back", lambda: tenant.data("app").get("a") == "a2")
    assert tenant.data("app") == {"theirs": "t", "a": "a2", "b": "b1", "more": "m"}
    assert [tenant.elile(name)["status"]["revision"] for name in ("a", "b")] == [2, 1]

    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "a", "--timeout=20s")
    assert tenant.data("app") == {"theirs": "t", "b": "b1", "more": "m"}
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "b", "--timeout=20s")
    body = tenant.secret("app") or {}
    assert tenant.data("app") == {"theirs": "t", "more": "m"}
    assert (body["metadata"]["labels"], body["metadata"]["annotations"]) == ({"app": "shop"}, {"x": "y"})


def test_a_key_has_one_owner(tenant: Tenant) -> None:
    tenant.cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}))
    for name, values in {"a": {"same": "a"}, "b": {"same": "b"}, "c": {"theirs": "c"}}.items():
        tenant.put(name, **values)
    tenant.want("a", delivery=into("app"))
    tenant.wait("a", "Synced")
    for name in ("b", "c"):
        tenant.want(name, delivery=into("app"))
    both = tenant.wait("b", "SecretConflict")["message"]
    assert "ElileSecret 'b' and ElileSecret 'a' both deliver same into Secret" in both
    assert "holds theirs of somebody else" in tenant.wait("c", "SecretConflict")["message"]
    assert tenant.data("app") == {"theirs": "t", "same": "a"}

    tenant.cluster.kubectl("-n", tenant.namespace, "annotate", "secret", "app", "elile.io/adopt=c")
    tenant.wait("c", "Synced")
    assert tenant.data("app") == {"theirs": "c", "same": "a"}
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "a", "--timeout=20s")
    tenant.wait("b", "Synced")
    assert tenant.data("app") == {"theirs": "c", "same": "b"}


def test_a_secret_that_only_we_filled_goes_with_the_last_of_us(tenant: Tenant) -> None:
    tenant.put("a", a="1")
    tenant.want("a", delivery=into("app"))
    tenant.wait("a", "Synced")
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "a", "--timeout=20s")
    assert tenant.secret("app") is None


def test_own_and_merge_are_changed_into_each_other_without_a_gap(tenant: Tenant) -> None:
    tenant.put("db", password="p")
    tenant.want("db")
    tenant.wait("db", "Synced")
    tenant.run_pod("app", "db")
    poked = pod_annotations(tenant)
    with cleared(tenant, "db", "password") as gaps:
        tenant.want("db", delivery={"secret": {"mode": "Merge"}})
        eventually("it is merged", lambda: owners(tenant, "db") == [])
        tenant.wait("db", "Synced")
        patch_secret(tenant, "db", {"data": {"theirs": "dA=="}})
        tenant.want("db")
        message = tenant.wait("db", "SecretNotOwned")["message"]
        assert "keys equal: password; only in the Secret: theirs" in message
        patch_secret(tenant, "db", {"data": {"theirs": None}})
        eventually("it is owned", lambda: owners(tenant, "db") == [("ElileSecret", "db", True)])
        tenant.wait("db", "Synced")
        eventually("nothing is left of the merge", lambda: "elile.io/merged.db" not in annotations(tenant, "db"))
    assert gaps == []
    assert pod_annotations(tenant) == poked, "the content was the same all the time"
    assert (tenant.data("db"), tenant.elile("db")["status"]["revision"]) == ({"password": "p"}, 1)
    eventually("no finalizer is left", lambda: "finalizers" not in tenant.elile("db")["metadata"])


def annotations(tenant: Tenant, name: str) -> dict[str, str]:
    found: dict[str, str] = (tenant.secret(name) or {})["metadata"].get("annotations", {})
    return found


def pod_annotations(tenant: Tenant) -> dict[str, str]:
    found: dict[str, str] = tenant.cluster.get("pod", "app", tenant.namespace)["metadata"].get("annotations", {})
    return found


# ── adoption ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_secret_passes_from_one_object_to_another_without_a_gap(tenant: Tenant) -> None:
    tenant.put("db", password="p")
    one = {"delivery": {"secret": {"name": "one"}}}
    source = {"name": "main", "kv": {"path": f"{tenant.namespace}/db"}}
    tenant.want("old", source, **one)
    tenant.wait("old", "Synced")
    pod = tenant.run_pod("app", "one")
    before, poked = tenant.secret("one") or {}, pod_annotations(tenant)
    tenant.want("new", source, **one)
    message = tenant.wait("new", "SecretNotOwned")["message"]
    assert "belongs to ElileSecret 'old'" in message
    assert message.endswith("(keys equal: password)")
    with cleared(tenant, "one", "password") as gaps:
        tenant.cluster.kubectl("-n", tenant.namespace, "annotate", "secret", "one", "elile.io/adopt=new")
        tenant.wait("new", "Synced")
        assert "belongs to ElileSecret 'new'" in tenant.wait("old", "SecretNotOwned")["message"]
        assert adopted(tenant, "new")
        tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "old", "--timeout=20s")
        settled(tenant, "new")
    after = tenant.secret("one") or {}
    assert gaps == []
    assert (after["metadata"]["uid"], after["data"]) == (before["metadata"]["uid"], before["data"])
    assert pod_annotations(tenant) == poked
    assert owners(tenant, "one") == [], "what was taken over is retained unless the spec says otherwise"
    tenant.put("db", password="q")
    eventually("the new one delivers", lambda: pod.read("password") == "q")
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "elilesecret", "new", "--timeout=20s")
    assert tenant.data("one") == {"password": "q"}


# ── another name ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_after_a_change_of_name_the_former_secret_is_cleared_as_its_policy_says(tenant: Tenant) -> None:
    tenant.cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}))
    for name in ("owned", "retained", "merged"):
        tenant.put(name, **{name: "1"})
    tenant.want("owned")
    tenant.want("retained")
    tenant.want("merged", delivery=into("app"))
    for name in ("owned", "retained", "merged"):
        tenant.wait(name, "Synced")
    tenant.want("owned", delivery={"secret": {"name": "owned-2"}})
    tenant.want("retained", delivery={"secret": {"name": "retained-2"}}, deletionPolicy="Retain")
    tenant.want("merged", delivery=into("app-2"))
    for name in ("owned", "retained", "merged"):
        tenant.wait(name, "Synced")
    eventually("the former one is gone", lambda: tenant.secret("owned") is None)
    eventually("the retained one has no owner", lambda: owners(tenant, "retained") == [])
    eventually("the keys are gone", lambda: tenant.data("app") == {"theirs": "t"})
    assert (tenant.data("retained"), tenant.data("app-2")) == ({"retained": "1"}, {"merged": "1"})


def test_everything_in_a_server_side_apply_is_given_up_again(cluster: Cluster, tenant: Tenant) -> None:
    """What `release` relies on: an apply without fields removes exactly what its manager alone has."""
    tenant.cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}))
    namespace = tenant.namespace
    ours = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "app", "namespace": namespace}}
    for manager, data in (("elile.a", {"a": "YQ==", "both": "Yg=="}), ("elile.b", {"both": "Yg=="}), ("elile.a", {})):
        body = {**ours, "data": data} if data else ours
        cluster.kubectl("apply", "--server-side", f"--field-manager={manager}", "-f", "-", given=json.dumps(body))
    assert tenant.data("app") == {"theirs": "t", "both": "b"}
