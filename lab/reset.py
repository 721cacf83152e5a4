"""Empties the cluster: what tests made is gone, what Kubernetes and the lab made stays. Within a second or two.

Deletion waits for finalizers, and a controller that would remove them is often what a test has just killed: so they are
stripped.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from lab import apiserver, rest
from lab.layout import Layout
from lab.steps import wait_until

OUR_GROUP = "elile.io"
SYSTEM_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
# In `default`, made by Kubernetes itself.
KEPT_IN_DEFAULT = frozenset(
    {("services", "kubernetes"), ("serviceaccounts", "default"), ("configmaps", "kube-root-ca.crt")}
)
# Made for every Service, and deleted with it; events tell about what was and fade by themselves.
DERIVED = frozenset({"endpoints", "endpointslices", "events"})

NAMESPACES = "/api/v1/namespaces"
DEFINITIONS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
AT_ONCE = {"gracePeriodSeconds": 0}  # a pod's 30 seconds of grace would hold up everything

_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}

# Cluster-wide kinds that tests make objects of. The gates decide what may be done to others.
GATES = (
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicybindings",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies",
)
CLUSTER_WIDE = (
    "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/storage.k8s.io/v1/csidrivers",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/scheduling.k8s.io/v1/priorityclasses",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/api/v1/persistentvolumes",
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A resource as it is addressed: `api/v1` or `apis/<group>/<version>`, and its plural name."""

    base: str
    plural: str
    namespaced: bool
    deletable: bool
    deletable_at_once: bool  # as a whole collection

    @property
    def group(self) -> str:
        return self.base.split("/")[1] if self.base.startswith("apis/") else ""

    def path(self, namespace: str = "", name: str = "") -> str:
        scope = f"namespaces/{namespace}/" if namespace else ""
        return f"/{self.base}/{scope}{self.plural}" + (f"/{name}" if name else "")


def is_ours(group: str) -> bool:
    return group == OUR_GROUP or group.endswith(f".{OUR_GROUP}")


def is_system(item: dict[str, Any]) -> bool:
    """Made by Kubernetes at its start, or by `up`."""
    metadata = item["metadata"]
    labels = metadata.get("labels", {})
    return (
        labels.get("kubernetes.io/bootstrapping") == "rbac-defaults"
        or apiserver.LABEL in labels
        or metadata["name"].startswith("system:")
        or metadata["name"].startswith("system-")  # priority classes
    )


def kinds(discovery: dict[str, Any]) -> Iterator[Kind]:
    """One answer of aggregated discovery, flattened: each resource once, in its preferred version."""
    for group in discovery.get("items", []):
        group_name = group["metadata"].get("name", "")
        seen = set[str]()
        for version in group.get("versions", []):
            base = f"apis/{group_name}/{version['version']}" if group_name else f"api/{version['version']}"
            for resource in version.get("resources", []):
                plural, verbs = resource["resource"], resource["verbs"]
                if plural in seen or "list" not in verbs:
                    continue
                seen.add(plural)
                yield Kind(
                    base, plural, resource["scope"] == "Namespaced", "delete" in verbs, "deletecollection" in verbs
                )


def reset(layout: Layout) -> None:
    api = apiserver.admin(layout)
    known = [kind for root in ("/api", "/apis") for kind in kinds(api.get(root, Accept=_DISCOVERY))]
    _delete_gates(api)
    doomed = [name for name in _names(api, NAMESPACES) if name not in SYSTEM_NAMESPACES]
    for namespace in doomed:
        # From here on nothing can be made in it any more, by no controller either.
        _ignore_missing(api, "DELETE", f"{NAMESPACES}/{namespace}")
    _delete_ours(api, known)
    _empty(api, known, frozenset(doomed))
    for namespace in doomed:
        _finalize(api, namespace)
    # What a controller made in the moment before it saw that the namespace is doomed.
    _empty(api, known, frozenset(doomed))
    for path in CLUSTER_WIDE:
        for item in _items(api, path):
            if not is_system(item):
                _ignore_missing(api, "DELETE", f"{path}/{item['metadata']['name']}")


def _delete_gates(api: rest.Client) -> None:
    """Admission first: a policy under test must not forbid the clearing up."""
    for path in GATES:
        for name in _names(api, path):
            _ignore_missing(api, "DELETE", f"{path}/{name}")


def _delete_ours(api: rest.Client, known: list[Kind]) -> None:
    for kind in known:
        if is_ours(kind.group):
            for item in _items(api, kind.path()):
                _strip(api, kind, item)
    ours = {item["metadata"]["name"] for item in _items(api, DEFINITIONS) if is_ours(item["spec"]["group"])}
    for name in ours:
        _ignore_missing(api, "DELETE", f"{DEFINITIONS}/{name}")

    def gone() -> str | None:
        left = ours.intersection(_names(api, DEFINITIONS)) if ours else None
        return f"still there: {', '.join(left)}" if left else None

    wait_until(gone, "our custom resource definitions deleted", 20)


def _empty(api: rest.Client, known: list[Kind], doomed: frozenset[str]) -> None:
    """Delete what the doomed namespaces hold, and what tests made in `default`: one list a kind for all namespaces."""
    for kind in known:
        if not kind.namespaced or not kind.deletable or is_ours(kind.group):
            continue
        touched = set[str]()
        for item in _items(api, kind.path()):
            namespace, name = item["metadata"]["namespace"], item["metadata"]["name"]
            if namespace in doomed:
                touched.add(namespace)
                _strip(api, kind, item)
            elif namespace == "default" and kind.plural not in DERIVED and (kind.plural, name) not in KEPT_IN_DEFAULT:
                _strip(api, kind, item)
                _ignore_missing(api, "DELETE", kind.path(namespace, name), AT_ONCE)
        for namespace in touched:
            if kind.deletable_at_once:
                _ignore_missing(api, "DELETE", kind.path(namespace), AT_ONCE)
            else:
                for item in _items(api, kind.path(namespace)):
                    _ignore_missing(api, "DELETE", kind.path(namespace, item["metadata"]["name"]), AT_ONCE)


def _finalize(api: rest.Client, namespace: str) -> None:
    """Let go of a namespace that we emptied. Its controller would too, but waits five seconds before it looks."""
    try:
        found = api.get(f"{NAMESPACES}/{namespace}")
        found["spec"]["finalizers"] = []
        api.request("PUT", f"{NAMESPACES}/{namespace}/finalize", found)
        if found["metadata"].get("finalizers"):
            api.request("PATCH", f"{NAMESPACES}/{namespace}", {"metadata": {"finalizers": None}}, _MERGE_PATCH)
    except rest.RefusedError as error:
        if error.status != 404:
            raise


def _names(api: rest.Client, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in _items(api, path)]


def _strip(api: rest.Client, kind: Kind, item: dict[str, Any]) -> None:
    metadata = item["metadata"]
    if metadata.get("finalizers"):
        path = kind.path(metadata.get("namespace", ""), metadata["name"])
        _ignore_missing(api, "PATCH", path, {"metadata": {"finalizers": None}}, _MERGE_PATCH)


def _items(api: rest.Client, path: str) -> list[dict[str, Any]]:
    """All objects at a path; none if the kind itself is gone."""
    try:
        found: list[dict[str, Any]] = api.get(path)["items"]
    except rest.RefusedError as error:
        if error.status in (404, 405):
            return []
        raise
    return found


def _ignore_missing(
    api: rest.Client, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
) -> None:
    try:
        api.request(method, path, body, headers)
    except rest.RefusedError as error:
        # Somebody else deleted it, or deletes it right now.
        if error.status not in (404, 409):
            raise
