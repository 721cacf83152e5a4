"""The Secret as it is in the cluster, reduced to what decisions need: names and a fingerprint, no value."""

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from elile_operator.api.meta import (
    FINGERPRINT_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    REVISION_ANNOTATION,
    SECRET_LABEL,
    FieldManager,
)
from elile_operator.decide.fingerprint import FingerprintKey, Stamp

__all__ = ["LiveSecret", "read_secret"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveSecret:
    """One Secret. `content` is the fingerprint of its data as it is now, under our key; `stamp` is the annotation."""

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
    controller: str | None  # "Kind name" of the controller that owns it, when there is one
    applied: datetime | None  # when our field manager changed it last, by the API server's clock
    deleting: bool

    @property
    def owner(self) -> str | None:
        """Name of the ElileSecret that the labels name, if they name one."""
        return self.labels.get(SECRET_LABEL) if self.labels.get(MANAGED_BY_LABEL) == MANAGED_BY else None


def read_secret(body: Mapping[str, Any], key: FingerprintKey) -> LiveSecret:
    """Reduce a Secret as the API server gives it."""
    meta = body["metadata"]
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    owners = meta.get("ownerReferences") or []
    data = {name: _decoded(value) for name, value in (body.get("data") or {}).items()}
    revision = annotations.get(REVISION_ANNOTATION, "")
    return LiveSecret(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        resource_version=meta.get("resourceVersion", ""),
        type=body.get("type", "Opaque"),
        keys=frozenset(data),
        content=key.stamp(data),
        stamp=Stamp.parse(annotations.get(FINGERPRINT_ANNOTATION)),
        revision=int(revision) if re.fullmatch("[0-9]{1,18}", revision) else 0,  # people can write there, too
        labels=labels,
        annotations=annotations,
        owner_uids=frozenset(o["uid"] for o in owners),
        controller=next((f"{o['kind']} {o['name']}" for o in owners if o.get("controller")), None),
        applied=_applied(meta.get("managedFields") or []),
        deleting="deletionTimestamp" in meta,
    )


def _decoded(value: str | None) -> bytes:
    try:
        return base64.b64decode(value or "", validate=True)
    except (binascii.Error, ValueError):
        return b""


def _applied(managed: list[Mapping[str, Any]]) -> datetime | None:
    times = [
        m["time"]
        for m in managed
        if m.get("manager") == FieldManager.SECRETS and m.get("operation") == "Apply" and m.get("time")
    ]
    return datetime.fromisoformat(max(times)) if times else None
