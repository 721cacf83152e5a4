"""The Secret as it should be, and whether the one in the cluster already is."""

import base64
from dataclasses import dataclass
from typing import Any

from elile_operator.api.elilesecret import DeletionPolicy, ElileSecret
from elile_operator.api.meta import (
    API_VERSION,
    FINGERPRINT_ANNOTATION,
    MANAGED_BY,
    MANAGED_BY_LABEL,
    REVISION_ANNOTATION,
    SECRET_LABEL,
    is_reserved,
)
from elile_operator.api.reasons import Reason
from elile_operator.decide.fingerprint import Stamp
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.render import Rendered
from elile_operator.decide.shapes import KUBERNETES_TYPES
from elile_operator.decide.violation import Violation

__all__ = ["Frame", "check_metadata", "frame", "is_framed", "manifest"]


@dataclass(frozen=True, slots=True)
class Frame:
    """All of a Secret but its data: what the spec wants around the values."""

    namespace: str
    name: str
    type: str
    labels: dict[str, str]
    annotations: dict[str, str]
    owner: dict[str, Any]
    owned: bool  # whether the Secret goes with its ElileSecret


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


def frame(secret: ElileSecret) -> Frame:
    """Return what surrounds the values. The owner reference lets the garbage collector delete the Secret."""
    meta, target = secret.metadata, secret.spec.delivery.secret
    owner = {
        "apiVersion": API_VERSION,
        "kind": secret.crd.kind,
        "name": meta.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }
    return Frame(
        namespace=meta.namespace or "",
        name=secret.secret_name,
        type=KUBERNETES_TYPES[secret.spec.type],
        labels={**target.labels, MANAGED_BY_LABEL: MANAGED_BY, SECRET_LABEL: meta.name},
        annotations=dict(target.annotations),
        owner=owner,
        owned=secret.spec.deletion_policy is DeletionPolicy.DELETE,
    )


def is_framed(wanted: Frame, live: LiveSecret) -> bool:
    """Whether labels, annotations, type and owner are there; what others added beside them is theirs."""
    return (
        live.type == wanted.type
        and wanted.labels.items() <= live.labels.items()
        and wanted.annotations.items() <= live.annotations.items()
        and (wanted.owner["uid"] in live.owner_uids) == wanted.owned
    )


def manifest(wanted: Frame, data: Rendered, stamp: Stamp, revision: int) -> dict[str, Any]:
    """Return the body to apply. It holds the values: pass it to the API server and nowhere else."""
    metadata: dict[str, Any] = {
        "namespace": wanted.namespace,
        "name": wanted.name,
        "labels": wanted.labels,
        "annotations": {
            **wanted.annotations,
            FINGERPRINT_ANNOTATION: str(stamp),
            REVISION_ANNOTATION: str(revision),
        },
    }
    if wanted.owned:
        metadata["ownerReferences"] = [wanted.owner]
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": metadata,
        "type": wanted.type,
        "data": {name: base64.b64encode(value.reveal()).decode() for name, value in data.items()},
    }
