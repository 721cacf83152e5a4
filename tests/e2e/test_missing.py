"""spec.onMissing: what was delivered goes with its path, if that is gone for good, and comes back with it."""

import time
from typing import Any

import pytest

from tests.e2e.support.cluster import CommandError, eventually
from tests.e2e.support.lifecycle import MERGED, secret_manifest
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab


def mounted_for(tenant: Tenant) -> str:
    """Make a secrets engine with an entry, and a role of the same name that may read there."""
    bao, mount = tenant.cluster.bao, f"kv-{tenant.namespace}"
    bao("secrets", "enable", f"-path={mount}", "kv-v2")
    bao("policy", "write", mount, "-", given=f'path "{mount}/*" {{ capabilities = ["read"] }}')
    bao(
        *("write", f"auth/kubernetes/role/{mount}", "audience=elile", f"token_policies={mount}", "token_ttl=20m"),
        *("bound_service_account_names=*", f"bound_service_account_namespaces={tenant.namespace}"),
    )
    # An engine that was just made is upgraded at first, and refuses writes meanwhile.
    eventually("the engine takes an entry", lambda: _put(tenant, mount))
    return mount


def _put(tenant: Tenant, mount: str) -> bool:
    try:
        tenant.cluster.bao("kv", "put", f"-mount={mount}", "entry", "mount=1")
    except CommandError:
        return False
    return True


def test_only_a_path_that_is_gone_takes_along_what_was_delivered(tenant: Tenant) -> None:
    cluster, ns = tenant.cluster, tenant.namespace
    tenant.cluster.apply(secret_manifest(tenant, "app", {"theirs": "t"}))
    mount = mounted_for(tenant)
    for name in ("own", "merged", "kept", "deleted", "destroyed"):
        tenant.put(name, **{name: "1"})
    remove: dict[str, Any] = {"onMissing": "Delete"}
    tenant.want("own", **remove)
    tenant.want("merged", **remove, delivery=MERGED)
    tenant.want("kept")
    tenant.want("deleted", **remove)
    tenant.want("destroyed", **remove)
    tenant.want("mount", {"name": "main", "kv": {"mount": mount, "path": "entry"}}, vault={"role": mount}, **remove)
    for name in ("own", "merged", "kept", "deleted", "destroyed", "mount"):
        tenant.wait(name, "Synced")
    pod = tenant.run_pod("app", "own")
    try:
        began = time.monotonic()
        for name in ("own", "merged", "kept"):
            cluster.bao("kv", "metadata", "delete", "-mount=secret", f"{ns}/{name}")
        cluster.bao("secrets", "disable", mount)
        cluster.bao("kv", "delete", "-mount=secret", f"{ns}/deleted")
        cluster.bao("kv", "destroy", "-mount=secret", "-versions=1", f"{ns}/destroyed")
        assert "has nothing at" in tenant.wait("own", "PathNotFound")["message"]
        eventually("it is gone", lambda: tenant.secret("own") is None, within=150, every=0.3)
        assert time.monotonic() - began >= 30, "the server has to say so twice, half a minute apart"
        message = tenant.wait("own", "SourceGone")["message"]
        assert f"Secret {ns}/own was deleted, as spec.onMissing says" in message
        current = tenant.condition("own", "SecretCurrent")
        assert (current["status"], current["reason"]) == ("False", "SourceGone")
        eventually("the keys are gone", lambda: tenant.data("app") == {"theirs": "t"})
        tenant.wait("merged", "SourceGone")
        # As long again: what is kept is kept, and nothing is said twice.
        assert (tenant.condition("kept")["reason"], tenant.data("kept")) == ("PathNotFound", {"kept": "1"})
        for name in ("deleted", "destroyed"):
            assert (tenant.condition(name)["reason"], tenant.data(name)) == ("VersionDeleted", {name: "1"})
        assert (tenant.condition("mount")["reason"], tenant.data("mount")) == ("MountNotFound", {"mount": "1"})
        assert pod.read("own") == "1", "kubelet leaves running pods what they have"

        for name in ("own", "merged"):
            tenant.put(name, **{name: "2"})
            tenant.wait(name, "Synced")
        assert tenant.data("own") == {"own": "2"}
        assert tenant.data("app") == {"theirs": "t", "merged": "2"}
        assert tenant.elile("own")["status"]["revision"] == 2
        eventually("the pod has it", lambda: pod.read("own") == "2", within=150)
    finally:
        cluster.bao("delete", f"auth/kubernetes/role/{mount}")
        cluster.bao("policy", "delete", mount)
