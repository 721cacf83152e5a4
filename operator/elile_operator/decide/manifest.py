"""The Secret as it should be, and whether the one in the cluster already is."""

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from elile_operator.api.elilesecret import ElileSecret, SourceStatus
from elile_operator.api.meta import (
    API_VERSION,
    FINGERPRINT_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    METADATA_FILE,
    REVISION_ANNOTATION,
    SECRET_LABEL,
    FieldManager,
    is_reserved,
    merge_manager,
    merged_annotation,
)
from elile_operator.api.reasons import Reason
from elile_operator.decide.fingerprint import Stamp
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.ownership import goes_with
from elile_operator.decide.render import Rendered
from elile_operator.decide.shapes import KUBERNETES_TYPES
from elile_operator.decide.violation import Violation

__all__ = ["METADATA_ROOM", "Frame", "check_metadata", "frame", "is_framed", "manifest"]

METADATA_SCHEMA = 1
# Bytes kept free for the metadata file of the largest spec: 64 sources with names, mounts and paths.
METADATA_ROOM = 64 * 1024


@dataclass(frozen=True, slots=True)
class Frame:
    """All of a Secret but its data: what the spec wants around the values."""

    namespace: str
    name: str
    type: str
    labels: dict[str, str]
    annotations: dict[str, str]
    owner: dict[str, Any]
    owned: bool  # whether the Secret names its ElileSecret as an owner
    merged: bool = False  # whether others have keys in it as well
    tells: bool = False  # whether the metadata file is there

    @property
    def manager(self) -> str:
        """Who applies it."""
        return merge_manager(self.owner["name"]) if self.merged else FieldManager.SECRETS


def check_metadata(secret: ElileSecret) -> Violation | None:
    """Refuse reserved names once more before the write: CEL saw them, an older CRD may not have."""
    target = secret.spec.delivery.secret
    for field, names in (("labels", target.labels), ("annotations", target.annotations)):
        for name in names:
            if is_reserved(name):
                return Violation(
                    Reason.RESERVED_METADATA,
                    f"spec.delivery.secret.{field} holds {name!r}, which is reserved for Kubernetes "
                    "or Elile; remove it",
                )
    return None


def frame(secret: ElileSecret, live: LiveSecret | None = None) -> Frame:
    """Return what surrounds the values; `live` is the Secret as it is.

    The owner reference lets the garbage collector delete the Secret. While another operator's object owns it, ours is
    there in any case: without it, the Secret would go when that object goes. It has one controller at the most.
    """
    meta, target = secret.metadata, secret.spec.delivery.secret
    strangers = live.strangers if live is not None else frozenset()
    controlled = live is not None and live.controller_uid in strangers
    owner = {
        "apiVersion": API_VERSION,
        "kind": secret.crd.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": not controlled,
        "blockOwnerDeletion": False,
    }
    return Frame(
        namespace=meta.namespace or "",
        name=secret.secret_name,
        type=KUBERNETES_TYPES[secret.spec.type],
        # Of a Secret that is shared only the label by which it is watched, with the value of nobody.
        labels={SECRET_LABEL: ""}
        if secret.merges
        else {**target.labels, MANAGED_BY_LABEL: MANAGED_BY, SECRET_LABEL: meta.name},
        annotations=dict(target.annotations),
        owner=owner,
        owned=not secret.merges and (goes_with(secret, live) or bool(strangers)),
        merged=secret.merges,
        tells=secret.has_metadata_file,
    )


def is_framed(wanted: Frame, live: LiveSecret) -> bool:
    """Whether labels, annotations, type, owner and metadata file are there; what others added beside is theirs."""
    return (
        live.type == wanted.type
        and wanted.labels.items() <= live.labels.items()
        and wanted.annotations.items() <= live.annotations.items()
        and (wanted.owner["uid"] in live.owner_uids) == wanted.owned
        and (not wanted.owned or (live.controller_uid == wanted.owner["uid"]) == wanted.owner["controller"])
        and not _marks_of_the_other_mode(wanted) & live.annotations.keys()
        and (wanted.merged or live.told == (live.revision if wanted.tells else None))
    )


def _marks_of_the_other_mode(wanted: Frame) -> set[str]:
    """Annotations that stay when a pass died before it had given up what it held in the mode before."""
    return {FINGERPRINT_ANNOTATION} if wanted.merged else {merged_annotation(wanted.owner["name"])}


def manifest(
    wanted: Frame, data: Rendered, stamp: Stamp, revision: int, sources: Sequence[SourceStatus] = ()
) -> dict[str, Any]:
    """Return the body to apply. It holds the values: pass it to the API server and nowhere else.

    The metadata file tells the sources as they were at this write: what changes without the values is not written.
    """
    marks = {FINGERPRINT_ANNOTATION: str(stamp), REVISION_ANNOTATION: str(revision)}
    if wanted.merged:
        marks = {merged_annotation(wanted.owner["name"]): f"{revision} {stamp}"}
    metadata: dict[str, Any] = {
        "namespace": wanted.namespace,
        "name": wanted.name,
        "labels": wanted.labels,
        "annotations": {**wanted.annotations, **marks},
    }
    if wanted.owned:
        metadata["ownerReferences"] = [wanted.owner]
    content = {name: value.reveal() for name, value in data.items()}
    if wanted.tells:
        content[METADATA_FILE] = _metadata(wanted.owner["name"], revision, sources)
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": wanted.type,
        "data": {name: base64.b64encode(value).decode() for name, value in content.items()},
    }


def _metadata(name: str, revision: int, sources: Sequence[SourceStatus]) -> bytes:
    told = {
        "schema": METADATA_SCHEMA,
        "name": name,
        "revision": revision,
        "sources": [source.model_dump(include={"name", "path", "version"}, exclude_none=True) for source in sources],
    }
    return json.dumps(told, separators=(",", ":")).encode()
