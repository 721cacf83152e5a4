"""What an API server makes of a body before it stores it: what it sets itself, what it refuses to change."""

import base64
import binascii
import copy
from collections.abc import Mapping
from typing import Any

from tests.fakes.kube.errors import StatusError, invalid
from tests.fakes.kube.kinds import NAMESPACES, Kind, complete

__all__ = ["fill_in", "prepare_new", "prepare_update", "same"]

IMMUTABLE = "field is immutable"
MAX_SECRET = 1024 * 1024
# Set by the server, whatever a client sends (rest.FillObjectMetaSystemFields, rest.BeforeUpdate).
SYSTEM_FIELDS = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation")


def prepare_new(kind: Kind, namespace: str, body: Mapping[str, Any], *, uid: str, time: str) -> dict[str, Any]:
    """Return a body to be stored under a new name. 1.37: also an apply that creates loses its uid and times here."""
    new = fill_in(kind, body)
    meta = {k: v for k, v in new["metadata"].items() if k not in (*SYSTEM_FIELDS, "resourceVersion", "managedFields")}
    meta.update(uid=uid, creationTimestamp=time)
    if kind.namespaced:
        meta["namespace"] = namespace
    if kind.generation:
        meta["generation"] = 1
    if kind is NAMESPACES:
        meta["labels"] = {**(meta.get("labels") or {}), "kubernetes.io/metadata.name": meta["name"]}
        new["spec"], new["status"] = {"finalizers": ["kubernetes"]}, {"phase": "Active"}
    elif kind.custom and kind.status:
        new.pop("status", None)  # custom resources are born without a status (customresource/strategy.go)
    new["metadata"] = meta
    _check(kind, new)
    return new


def prepare_update(kind: Kind, old: Mapping[str, Any], body: Mapping[str, Any], subresource: str) -> dict[str, Any]:
    """Return a body to be stored in place of `old`, through the object itself or its status."""
    if subresource == "status":
        return _status_update(kind, old, body)
    new = fill_in(kind, body)
    meta, before = dict(new["metadata"]), old["metadata"]
    name = before["name"]
    for key in ("uid", "name", "namespace"):
        if meta.get(key) not in (None, "", before.get(key)):
            raise invalid(kind, name, f"metadata.{key}", f'Invalid value: "{meta[key]}": {IMMUTABLE}')
        if key in before:
            meta[key] = before[key]
    for key in SYSTEM_FIELDS[1:]:
        meta.pop(key, None)
        if key in before:
            meta[key] = before[key]
    _check_finalizers(kind, name, meta, before)
    new["metadata"] = meta
    if kind.status:
        _keep(new, old, "status")
    if kind.kind == "Secret":
        _check_secret_update(kind, name, old, new)
    _check(kind, new)
    if kind.generation and _counted(new) != _counted(old):
        meta["generation"] = before.get("generation", 0) + 1
    return new


def _status_update(kind: Kind, old: Mapping[str, Any], body: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing but the status, and for pods labels and annotations, is taken; the rest is not even looked at.

    1.37: so a `metadata.uid` in the body is no precondition here, and a resourceVersion is.
    """
    new = copy.copy(dict(old))
    _keep(new, fill_in(kind, body), "status")
    if kind.status_writes_metadata:
        meta = dict(old["metadata"])
        for key in ("labels", "annotations"):
            _keep(meta, body.get("metadata", {}), key)
        new["metadata"] = meta
    return new


def fill_in(kind: Kind, body: Mapping[str, Any]) -> dict[str, Any]:
    """Prune and default a body as its kind says."""
    meta = {k: v for k, v in (body.get("metadata") or {}).items() if v not in (None, {}, [])}
    new = {"apiVersion": kind.api_version, "kind": kind.kind, **{k: v for k, v in body.items() if v is not None}}
    new["metadata"] = meta
    if kind.custom:
        for key, node in kind.properties.items():
            if key in new:
                new[key] = complete(new[key], node)
        return {k: v for k, v in new.items() if k in ("apiVersion", "kind", "metadata", *kind.properties)}
    if kind.kind == "Secret":
        plain = new.pop("stringData", {})
        new["data"] = {**new.get("data", {}), **{k: base64.b64encode(v.encode()).decode() for k, v in plain.items()}}
        if not new["data"]:
            del new["data"]  # `omitempty`
        new.setdefault("type", "Opaque")
    return new


def _keep(new: dict[str, Any], source: Mapping[str, Any], key: str) -> None:
    new.pop(key, None)
    if key in source:
        new[key] = source[key]


def _counted(body: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in body.items() if k not in ("metadata", "status", "apiVersion", "kind")}


def _check(kind: Kind, new: Mapping[str, Any]) -> None:
    name = new["metadata"]["name"]
    if kind.custom:
        missing = [k for k in ("spec",) if k in kind.properties and k not in new]
        if missing:
            raise invalid(kind, name, missing[0], "Required value")
    if kind.kind != "Secret":
        return
    size = 0
    for key, value in new.get("data", {}).items():
        try:
            size += len(base64.b64decode(value or "", validate=True))
        except (binascii.Error, ValueError):
            raise StatusError(400, "BadRequest", f"Secret in version v1 cannot be handled: data.{key}") from None
    if size > MAX_SECRET:
        raise invalid(kind, name, "data", "Too long: may not be more than 1048576 bytes")


def _check_secret_update(kind: Kind, name: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> None:
    if new["type"] != old["type"]:
        raise invalid(kind, name, "type", f'Invalid value: "{new["type"]}": {IMMUTABLE}')
    if old.get("immutable") and (not new.get("immutable") or new.get("data") != old.get("data")):
        raise invalid(kind, name, "data", "Forbidden: field is immutable when `immutable` is set")


def _check_finalizers(kind: Kind, name: str, new: Mapping[str, Any], old: Mapping[str, Any]) -> None:
    added = set(new.get("finalizers") or ()) - set(old.get("finalizers") or ())
    if added and "deletionTimestamp" in old:
        why = "Forbidden: no new finalizers can be added if the object is being deleted"
        raise invalid(kind, name, "metadata.finalizers", why)


def same(old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a write changes anything that is stored: ownership counts, its times do not."""
    return _comparable(old) == _comparable(new)


def _comparable(body: Mapping[str, Any]) -> dict[str, Any]:
    meta = {k: v for k, v in body["metadata"].items() if k not in ("resourceVersion", "managedFields")}
    return {**body, "metadata": meta}
