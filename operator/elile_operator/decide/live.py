"""The Secret as it is in the cluster, reduced to what decisions need: names and a fingerprint, no value."""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from elile_operator.api.meta import (
    ADOPT_ANNOTATION,
    FINGERPRINT_ANNOTATION,
    GROUP,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    MERGERS,
    METADATA_FILE,
    REVISION_ANNOTATION,
    SECRET_LABEL,
    FieldManager,
    merged_annotation,
)
from elile_operator.decide.fingerprint import FingerprintKey, Stamp

__all__ = ["LiveSecret", "Share", "read_data", "read_secret"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one ElileSecret has merged into a Secret: the same as of a whole one, of its keys alone."""

    keys: frozenset[str]
    content: Stamp
    stamp: Stamp | None
    revision: int
    applied: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSecret:
    """One Secret. `content` is the fingerprint of its data as it is now, under our key; `stamp` is the annotation.

    `keys` and `content` leave the metadata file out: it tells of the data, and is none.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str
    type: str
    keys: frozenset[str]
    content: Stamp
    stamp: Stamp | None
    revision: int
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    owner_uids: frozenset[str]
    strangers: frozenset[str] = frozenset()  # those of them that are of other kinds than ours
    controller: str | None  # "Kind name" of the controller that owns it, when there is one
    controller_uid: str | None = None
    applied: datetime | None  # when our field manager changed it last, by the API server's clock
    deleting: bool
    shares: Mapping[str, Share] = field(default_factory=lambda: _NO_SHARES)  # by the name of the ElileSecret
    created: datetime | None = None  # by the API server's clock
    told: int | None = None  # the revision in the metadata file, 0 where that says none; None: there is no such file

    @property
    def owner(self) -> str | None:
        """Name of the ElileSecret that the labels name, if they name one."""
        return self.labels.get(SECRET_LABEL) or None if self.labels.get(MANAGED_BY_LABEL) == MANAGED_BY else None

    @property
    def consent(self) -> str | None:
        """Name of the ElileSecret that may take it over."""
        return self.annotations.get(ADOPT_ANNOTATION)


def read_secret(body: Mapping[str, Any], key: FingerprintKey) -> LiveSecret:
    """Reduce a Secret as the API server gives it."""
    meta = body["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    owners = meta.get("ownerReferences") or []
    data = read_data(body)
    told = _told(_decoded(body["data"][METADATA_FILE])) if METADATA_FILE in (body.get("data") or {}) else None
    managed = meta.get("managedFields") or []
    controller = next((o for o in owners if o.get("controller")), None)
    return LiveSecret(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        resource_version=meta.get("resourceVersion", ""),
        type=body.get("type", "Opaque"),
        keys=frozenset(data),
        content=key.stamp(data),
        stamp=Stamp.parse(annotations.get(FINGERPRINT_ANNOTATION)),
        revision=_revision(annotations.get(REVISION_ANNOTATION, "")),
        labels=labels,
        annotations=annotations,
        owner_uids=frozenset(o["uid"] for o in owners),
        strangers=frozenset(o["uid"] for o in owners if o.get("apiVersion", "").partition("/")[0] != GROUP),
        controller=f"{controller['kind']} {controller['name']}" if controller else None,
        controller_uid=controller["uid"] if controller else None,
        applied=_applied(managed, FieldManager.SECRETS),
        deleting="deletionTimestamp" in meta,
        shares=_shares(managed, data, annotations, key),
        created=datetime.fromisoformat(meta["creationTimestamp"]) if "creationTimestamp" in meta else None,
        told=told,
    )


def read_data(body: Mapping[str, Any]) -> dict[str, bytes]:
    """Return the values of a Secret: pass them on to what compares or fingerprints them, and nowhere else."""
    data = body.get("data") or {}
    return {name: _decoded(value) for name, value in data.items() if name != METADATA_FILE}


def _told(content: bytes) -> int:
    try:
        revision = json.loads(content)["revision"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return 0
    return revision if type(revision) is int else 0


# Shared by all Secrets that are owned, which are thousands.
_NO_SHARES: Mapping[str, Share] = MappingProxyType({})


def _shares(
    managed: list[Mapping[str, Any]], data: Mapping[str, bytes], annotations: Mapping[str, str], key: FingerprintKey
) -> Mapping[str, Share]:
    found = {
        m["manager"].removeprefix(MERGERS): _share(m, managed, data, annotations, key)
        for m in managed
        if m.get("manager", "").startswith(MERGERS) and m.get("operation") == "Apply"
    }
    return found or _NO_SHARES


def _share(
    entry: Mapping[str, Any],
    managed: list[Mapping[str, Any]],
    data: Mapping[str, bytes],
    annotations: Mapping[str, str],
    key: FingerprintKey,
) -> Share:
    """What one manager holds. The fields say whose a key is, and the annotation what was written there."""
    fields = (entry.get("fieldsV1") or {}).get("f:data") or {}
    held = {name: value for name, value in data.items() if f"f:{name}" in fields}
    revision, _, stamp = annotations.get(merged_annotation(entry["manager"].removeprefix(MERGERS)), "").partition(" ")
    return Share(
        keys=frozenset(held),
        content=key.stamp(held),
        stamp=Stamp.parse(stamp),
        revision=_revision(revision),
        applied=_applied(managed, entry["manager"]),
    )


def _revision(text: str) -> int:
    return int(text) if re.fullmatch("[0-9]{1,18}", text) else 0  # people can write there, too


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _applied(managed: list[Mapping[str, Any]], manager: str) -> datetime | None:
    times = [
        m["time"] for m in managed if m.get("manager") == manager and m.get("operation") == "Apply" and m.get("time")
    ]
    return datetime.fromisoformat(max(times)) if times else None
