"""Which kinds the fake serves, and what their schemas say: our own from `crds/`, the others as far as it matters."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

__all__ = ["KINDS", "NAMESPACES", "SERVICE_ACCOUNTS", "Kind", "Schema", "complete", "find_kind", "undeclared"]

Schema: TypeAlias = Mapping[str, Any]
"""One node of an OpenAPI v3 schema, with the `x-kubernetes-…` marks that say how lists and maps are merged."""

CRDS = Path(__file__).parents[3] / "crds"

METADATA: Schema = {
    "properties": {
        "ownerReferences": {
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["uid"],
            "items": {"x-kubernetes-map-type": "atomic"},
        },
        "finalizers": {"x-kubernetes-list-type": "set"},
    }
}


def _map_by(key: str, items: Schema | None = None) -> Schema:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key], "items": items or {}}


@dataclass(frozen=True, slots=True, eq=False)
class Kind:
    """One kind, and where the rules of its registry differ from those of others (kubernetes/pkg/registry/…)."""

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = False
    generation: bool = False  # counts changes of what is not metadata nor status
    custom: bool = False  # defined by a CRD: pruned, defaulted, its lists tell the kind of each item
    status_writes_metadata: bool = False  # pods/status takes annotations; a custom resource's status nothing else
    create_on_update: bool = False  # PUT may create
    unconditional_update: bool = True  # PUT without a resourceVersion is taken
    properties: Schema = field(default_factory=dict)

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def qualified(self) -> str:
        """As error messages name it."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def schema(self) -> Schema:
        return {"properties": {**self.properties, "metadata": METADATA}}


def _custom_kinds() -> Iterator[Kind]:
    for file in sorted(CRDS.glob("*.yaml")):
        crd = yaml.safe_load(file.read_text())["spec"]
        for version in crd["versions"]:
            names, properties = crd["names"], version["schema"]["openAPIV3Schema"]["properties"]
            yield Kind(
                crd["group"],
                version["name"],
                names["plural"],
                names["kind"],
                namespaced=crd["scope"] == "Namespaced",
                status="status" in version.get("subresources", {}),
                generation=True,
                custom=True,
                unconditional_update=False,
                properties={k: v for k, v in properties.items() if k not in ("apiVersion", "kind", "metadata")},
            )


_CONDITIONS: Schema = {"status": {"properties": {"conditions": _map_by("type")}}}
NAMESPACES = Kind("", "v1", "namespaces", "Namespace", namespaced=False, status=True)
SERVICE_ACCOUNTS = Kind("", "v1", "serviceaccounts", "ServiceAccount")
KINDS = (
    NAMESPACES,
    SERVICE_ACCOUNTS,
    Kind("", "v1", "secrets", "Secret"),
    Kind("", "v1", "configmaps", "ConfigMap"),
    Kind(
        *("", "v1", "pods", "Pod"),
        status=True,
        generation=True,
        status_writes_metadata=True,
        properties={
            "spec": {"properties": {"containers": _map_by("name"), "volumes": _map_by("name")}},
            **_CONDITIONS,
        },
    ),
    Kind("events.k8s.io", "v1", "events", "Event"),
    Kind(
        *("coordination.k8s.io", "v1", "leases", "Lease"),
        create_on_update=True,
        unconditional_update=False,
    ),
    Kind("rbac.authorization.k8s.io", "v1", "rolebindings", "RoleBinding"),
    *_custom_kinds(),
)


def find_kind(name: str) -> Kind:
    """Return a kind by its name, singular or plural. Raises KeyError."""
    for kind in KINDS:
        if name.lower() in (kind.kind.lower(), kind.plural):
            return kind
    raise KeyError(name)


def complete(value: Any, schema: Schema) -> Any:
    """Return a value of a custom resource as the API server would store it: unknown fields pruned, defaults set."""
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        if schema.get("x-kubernetes-preserve-unknown-fields"):
            return value
        found = {}
        for key, inner in value.items():
            if key in known:
                found[key] = complete(inner, known[key])
            elif more:
                found[key] = complete(inner, more if isinstance(more, dict) else {})
        for key, node in known.items():
            if key not in found and "default" in node:
                found[key] = complete(node["default"], node)
        return found
    if isinstance(value, list):
        return [complete(item, schema.get("items", {})) for item in value]
    return value


def undeclared(value: Any, schema: Schema, path: str = "") -> str | None:
    """Return the path of the first field that a custom resource's schema does not know."""
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        return None
    if isinstance(value, dict):
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        for key, inner in value.items():
            node = known.get(key, more if isinstance(more, dict) else {} if more else None)
            where = f"{path}.{key}" if node is None else undeclared(inner, node, f"{path}.{key}")
            if where:
                return where
    if isinstance(value, list):
        found = (undeclared(item, schema.get("items", {}), f"{path}[{n}]") for n, item in enumerate(value))
        return next(filter(None, found), None)
    return None
