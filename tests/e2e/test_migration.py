"""Moving from another operator: its Secrets are taken over one by one, and no pod notices."""

import pytest

from tests.e2e.support.cluster import eventually
from tests.e2e.support.lifecycle import adopted, foreign_owner, owners, secret_manifest
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


def test_twenty_secrets_move_from_another_operator_while_pods_mount_them(tenant: Tenant) -> None:
    """The owner is an object of a kind of its own; when it goes, the garbage collector looks at every Secret of it."""
    owner = foreign_owner(tenant)
    names = [f"s{n:02}" for n in range(20)]
    for name in names:
        tenant.put(name, password=f"p-{name}", username="u")
    values = {name: {"password": f"p-{name}", "username": "u"} for name in names}
    # One of them differs, and has a key more: it is told which, and delivered as the sources say.
    theirs = values | {"s19": {"password": "other", "username": "u", "legacy": "x"}}
    tenant.cluster.apply(*(secret_manifest(tenant, name, theirs[name], owner=owner) for name in names))
    pods = {name: tenant.run_pod(f"pod-{name}", name) for name in names[:4]}
    secrets = {name: tenant.secret(name) or {} for name in names}
    bodies = {name: tenant.cluster.get("pod", f"pod-{name}", tenant.namespace) for name in pods}

    tenant.cluster.apply(*(tenant.manifest(name) for name in names))
    for name in names:
        message = tenant.wait(name, "SecretNotOwned")["message"]
        assert "belongs to Legacy owner; have it taken over with its annotation" in message
    assert "(keys equal: password, username)" in tenant.condition("s00")["message"]
    assert "(keys equal: username; different: password; only in the Secret: legacy)" in message
    for name in names:
        tenant.cluster.kubectl("-n", tenant.namespace, "annotate", "secret", name, f"elile.io/adopt={name}")
        # As soon as a look every half minute comes; a touch of the object is sooner.
        tenant.want(name, refresh={"interval": "1h"})
    for name in names:
        tenant.wait(name, "Synced")
        assert adopted(tenant, name)
        assert owners(tenant, name) == [("Legacy", "owner", True), ("ElileSecret", name, False)]
    tenant.cluster.kubectl("-n", tenant.namespace, "delete", "legacies.migration.test", "owner")
    for name in names:
        eventually(f"nobody owns {name}", lambda name=name: owners(tenant, name) == [], within=60)
        after = tenant.secret(name) or {}
        assert after["metadata"]["uid"] == secrets[name]["metadata"]["uid"]
        assert tenant.data(name) == values[name]
        if name != "s19":
            assert after["data"] == secrets[name]["data"]
    for name, pod in pods.items():
        after = tenant.cluster.get("pod", f"pod-{name}", tenant.namespace)
        assert after["metadata"] == bodies[name]["metadata"], "not even poked"
        assert after["status"]["containerStatuses"][0]["restartCount"] == 0
        assert pod.read("password") == f"p-{name}"
