"""The Secret is ours: hand edits and deletions are repaired at once, and what is somebody else's is left alone."""

import json

import pytest

from tests.e2e.support.cluster import CommandError, eventually
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

# A poll would not find these for an hour: it is the watch that does.
NO_POLL = {"interval": "1h"}


@pytest.fixture
def delivered(tenant: Tenant) -> Tenant:
    tenant.put("db", password="right")
    labels = {"secret": {"labels": {"team": "shop"}, "annotations": {"example.com/note": "n"}}}
    tenant.want("db", refresh=NO_POLL, delivery=labels)
    tenant.wait("db", "Synced")
    return tenant


def patch(tenant: Tenant, body: object, kind: str = "merge") -> None:
    tenant.cluster.kubectl("-n", tenant.namespace, "patch", "secret", "db", f"--type={kind}", "-p", json.dumps(body))


def test_a_changed_value_is_put_right_with_the_same_revision(delivered: Tenant) -> None:
    patch(delivered, {"data": {"password": "d3Jvbmc="}})
    eventually("the value is right again", lambda: delivered.data("db") == {"password": "right"})
    assert (delivered.secret("db") or {})["metadata"]["annotations"]["elile.io/revision"] == "1"
    assert delivered.elile("db")["status"]["revision"] == 1


def test_a_foreign_key_is_removed(delivered: Tenant) -> None:
    patch(delivered, {"data": {"more": "d3Jvbmc="}})
    eventually("the key is gone", lambda: "more" not in delivered.data("db"))
    assert delivered.data("db") == {"password": "right"}


def test_a_removed_label_comes_back_and_others_stay(delivered: Tenant) -> None:
    patch(delivered, {"metadata": {"labels": {"app.kubernetes.io/managed-by": None, "team": None, "mine": "1"}}})
    want = {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "db", "team": "shop", "mine": "1"}
    eventually("the labels", lambda: (delivered.secret("db") or {})["metadata"]["labels"].keys() == want.keys())
    assert (delivered.secret("db") or {})["metadata"]["labels"] == want


def test_a_deleted_secret_is_made_again(delivered: Tenant) -> None:
    uid = (delivered.secret("db") or {})["metadata"]["uid"]
    delivered.cluster.kubectl("-n", delivered.namespace, "delete", "secret", "db")
    made = eventually("the Secret is back", lambda: delivered.secret("db"))
    assert made["metadata"]["uid"] != uid
    assert delivered.data("db") == {"password": "right"}
    assert delivered.elile("db")["status"]["revision"] == 1


def test_labels_that_the_spec_drops_are_dropped(delivered: Tenant) -> None:
    before = (delivered.secret("db") or {})["metadata"]
    assert before["annotations"]["example.com/note"] == "n"
    delivered.want("db", refresh=NO_POLL, delivery={"secret": {"labels": {"tier": "1"}}})

    def framed() -> bool:
        meta = (delivered.secret("db") or {})["metadata"]
        return "team" not in meta["labels"] and meta["labels"].get("tier") == "1"

    # An apply without a field gives it up: nothing else held it.
    eventually("the labels follow the spec", framed)
    assert "example.com/note" not in (delivered.secret("db") or {})["metadata"]["annotations"]


@pytest.mark.parametrize("labelled", [False, True])
def test_a_foreign_secret_is_never_taken_over(tenant: Tenant, labelled: bool) -> None:
    labels = {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "other"} if labelled else {}
    theirs = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": tenant.namespace, "labels": labels},
        "stringData": {"password": "theirs"},
    }
    tenant.cluster.apply(theirs)
    version = (tenant.secret("db") or {})["metadata"]["resourceVersion"]
    tenant.put("db", password="ours")
    tenant.want("db")
    condition = tenant.wait("db", "SecretNotOwned")
    assert condition["status"] == "False"
    assert f"Secret {tenant.namespace}/db" in condition["message"]
    assert "spec.delivery.secret.name" in condition["message"]
    assert tenant.condition("db", "Stalled")["status"] == "True"
    assert (tenant.secret("db") or {})["metadata"]["resourceVersion"] == version

    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "secret", "db")
    # Without a nudge: it looks again every half minute.
    eventually("the Secret is ours now", lambda: tenant.data("db") == {"password": "ours"}, within=150, every=0.5)
    tenant.wait("db", "Synced")
    assert tenant.data("db") == {"password": "ours"}


def test_two_objects_cannot_have_one_secret(tenant: Tenant) -> None:
    tenant.put("a", value="a")
    tenant.put("b", value="b")
    same = {"secret": {"name": "one"}}
    tenant.want("a", delivery=same)
    tenant.wait("a", "Synced")
    tenant.want("b", delivery=same)
    assert "ElileSecret 'a'" in tenant.wait("b", "SecretNotOwned")["message"]
    assert tenant.data("one") == {"value": "a"}


def test_a_wrong_spec_is_refused_by_kubectl(tenant: Tenant) -> None:
    body = json.dumps(tenant.manifest("db", {"name": "s", "kv": {"path": "../other"}}))
    with pytest.raises(CommandError, match=r"spec.sources\[\].kv.path"):
        tenant.cluster.kubectl("apply", "-f", "-", given=body)
