"""What the lab asks of its own API server: the reviewer account for OpenBao, and whether the node can take pods."""

from typing import Any

from lab import rest
from lab.control import client
from lab.layout import Layout

# In kube-system, which reset leaves alone.
REVIEWER = "lab-openbao-reviewer"
REVIEWER_NAMESPACE = "kube-system"
TEN_YEARS = 10 * 365 * 24 * 3600

# Marks what belongs to the lab among cluster-wide objects, so that reset can tell.
LABEL = "lab.elile.io/base"


def admin(layout: Layout) -> rest.Client:
    # The bridge address, not loopback: one way less between a test that cuts networks and this.
    return client(layout, layout.api_url_on_bridge, as_admin=True, timeout=30)


def reviewer_token(layout: Layout) -> str:
    """A token of an account that may do one thing: ask the API server whose a token is."""
    api = admin(layout)
    metadata = {"name": REVIEWER, "labels": {LABEL: "true"}}
    accounts = f"/api/v1/namespaces/{REVIEWER_NAMESPACE}/serviceaccounts"
    _create(api, accounts, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata})
    binding = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:auth-delegator"},
        "subjects": [{"kind": "ServiceAccount", "name": REVIEWER, "namespace": REVIEWER_NAMESPACE}],
    }
    _create(api, "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", binding)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TEN_YEARS},
    }
    token: str = api.request("POST", f"{accounts}/{REVIEWER}/token", request)["status"]["token"]
    return token


def _create(api: rest.Client, path: str, manifest: dict[str, Any]) -> None:
    try:
        api.request("POST", path, manifest)
    except rest.RefusedError as error:
        if error.status != 409:  # exists already
            raise


def has_namespace(layout: Layout, name: str) -> str | None:
    """None if it exists. The API server makes its own namespaces a moment after it says that it is ready."""
    status = admin(layout).status(f"/api/v1/namespaces/{name}")
    return None if status == 200 else f"namespace {name}: {status}"


def has_node(layout: Layout) -> str | None:
    """None if the kubelet has registered its node, ready or not."""
    status = admin(layout).status(f"/api/v1/nodes/{layout.node_name}")
    return None if status == 200 else f"node {layout.node_name}: {status}"


def node_problem(layout: Layout) -> str | None:
    """None if pods can run: the node is ready, and the controller manager has seen it and taken its taint off."""
    try:
        node = admin(layout).get(f"/api/v1/nodes/{layout.node_name}")
    except (rest.RefusedError, rest.UnreachableError) as error:
        return str(error)
    ready = next((c for c in node["status"].get("conditions", []) if c["type"] == "Ready"), None)
    if ready is None or ready["status"] != "True":
        return f"node {layout.node_name} is not ready: {ready['message'] if ready else 'no condition yet'}"
    taints = [taint["key"] for taint in node["spec"].get("taints", [])]
    return f"node {layout.node_name} is tainted: {', '.join(taints)}" if taints else None


def default_account_problem(layout: Layout) -> str | None:
    """None if pods can be made in the default namespace: the controller manager has made its account."""
    status = admin(layout).status("/api/v1/namespaces/default/serviceaccounts/default")
    return None if status == 200 else f"ServiceAccount default/default: {status}"
