"""What tests of the life cycle say and ask: owners, consent, and whether a key was ever away."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.e2e.support.cluster import eventually
from tests.e2e.support.tenant import Tenant

LEGACY = "legacies.migration.test"
# A delivery into the Secret `app`, which others use as well.
MERGED = {"secret": {"name": "app", "mode": "Merge"}}


def owners(tenant: Tenant, secret: str) -> list[tuple[str, str, bool]]:
    """Kind, name and controller flag of each owner of a Secret."""
    found = (tenant.secret(secret) or {"metadata": {}})["metadata"].get("ownerReferences", [])
    return [(owner["kind"], owner["name"], owner.get("controller", False)) for owner in found]


def adopted(tenant: Tenant, name: str) -> bool:
    return tenant.elile(name)["status"].get("adopted") is True


def patch_secret(tenant: Tenant, name: str, body: object) -> None:
    tenant.cluster.kubectl("-n", tenant.namespace, "patch", "secret", name, "--type=merge", "-p", json.dumps(body))


def settled(tenant: Tenant, *names: str) -> None:
    """Return once objects have answered a wish to be refreshed: what happened before was seen."""
    for name in names:
        wish = tenant.elile(name)["metadata"]["resourceVersion"]
        tenant.cluster.kubectl(
            *("-n", tenant.namespace, "annotate", "elilesecret", name, f"elile.io/refresh={wish}", "--overwrite")
        )

        def answered(name: str = name, wish: str = wish) -> bool:
            return bool(tenant.elile(name)["status"].get("handledRefresh") == wish)

        eventually(f"{name} answers", answered)


def secret_manifest(
    tenant: Tenant,
    name: str,
    data: dict[str, str],
    *,
    labels: dict[str, str] | None = None,
    owner: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """A Secret as somebody else makes it."""
    meta: dict[str, Any] = {"name": name, "namespace": tenant.namespace}
    if labels:
        meta["labels"] = labels
    if owner:
        meta["ownerReferences"] = [owner]
    encoded = {key: base64.b64encode(value.encode()).decode() for key, value in data.items()}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "Opaque", "data": encoded}


def foreign_owner(tenant: Tenant) -> dict[str, Any]:
    """Make an object of another operator's kind, and return the reference by which it controls Secrets."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    tenant.cluster.apply(
        {
            "apiVersion": "apiextensions.k8s.io/v1",
            "kind": "CustomResourceDefinition",
            "metadata": {"name": LEGACY},
            "spec": {
                "group": "migration.test",
                "scope": "Namespaced",
                "names": {"kind": "Legacy", "plural": "legacies", "singular": "legacy"},
                "versions": [version],
            },
        }
    )
    tenant.cluster.kubectl("wait", "--for=condition=Established", "--timeout=30s", "crd", LEGACY)
    about = {"name": "owner", "namespace": tenant.namespace}
    tenant.cluster.apply({"apiVersion": "migration.test/v1", "kind": "Legacy", "metadata": about})
    uid = tenant.cluster.kubectl("-n", tenant.namespace, "get", LEGACY, "owner", "-o", "jsonpath={.metadata.uid}")
    return {"apiVersion": "migration.test/v1", "kind": "Legacy", "name": "owner", "uid": uid, "controller": True}


@contextmanager
def cleared(tenant: Tenant, secret: str, key: str) -> Iterator[list[str]]:
    """Watch a Secret; the list names every state in which it, or the key, was not there."""
    gaps: list[str] = []
    with states(tenant, secret) as seen:
        yield gaps
    gaps += [str(state) for state in seen if state is None or key not in state]


@contextmanager
def states(tenant: Tenant, secret: str) -> Iterator[list[dict[str, str] | None]]:
    """Watch a Secret; the list holds its data in every state it had, None where it was not there."""
    seen: list[dict[str, str] | None] = []
    process = tenant.cluster.watch("secrets", tenant.namespace)

    def follow() -> None:
        for line in process.stdout or ():
            event = json.loads(line)
            if event["object"]["metadata"]["name"] == secret:
                data = event["object"].get("data") or {}
                decoded = {key: base64.b64decode(value).decode() for key, value in data.items()}
                seen.append(None if event["type"] == "DELETED" else decoded)

    thread = threading.Thread(target=follow, name="watch", daemon=True)
    thread.start()
    try:
        eventually("the watch has begun", lambda: bool(seen))
        yield seen
    finally:
        process.terminate()
        process.wait(10)
        thread.join(10)
        assert process.stdout is not None
        process.stdout.close()
