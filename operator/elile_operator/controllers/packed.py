"""An ElileSecret at rest: ten thousand of them are kept, and one at a time is looked at."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Self

from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus
from elile_operator.api.meta import GROUP, REFRESH_ANNOTATION, ConditionStatus
from elile_operator.decide.conditions import condition
from elile_operator.engine.body import Body
from elile_operator.obs.objects import ObjectSample

__all__ = ["PackedSecret"]

_META = ("name", "namespace", "uid", "generation", "resourceVersion", "labels", "finalizers", "deletionTimestamp")


@dataclass(frozen=True, slots=True)
class PackedSecret:
    """The JSON of an object that was read once already, beside what it is searched by.

    The model takes 14 KiB, its JSON one, and 25 µs to be read again (1.2 KB of JSON, CPython 3.11).
    """

    raw: bytes
    server: str
    namespace: str
    targets: tuple[str, ...]  # the Secret it wants, and the one it had, which goes after a change of name
    wish: str | None  # the value of the annotation that asks for a refresh
    cluster: str  # identity of the Vault that it has read, if any
    paths: tuple[str, ...]  # what it has read there, of what has versions
    told: ObjectSample  # for metrics

    @classmethod
    def of(cls, body: Body) -> Self:
        """Pack an object as the API server gives it. Raises InvalidObject, as the model does."""
        secret = ElileSecret.from_body(body)
        meta = body["metadata"]
        annotations = {k: v for k, v in secret.metadata.annotations.items() if k.startswith(f"{GROUP}/")}
        kept = {
            "metadata": {k: meta[k] for k in _META if k in meta} | {"annotations": annotations},
            "spec": body["spec"],
            # A status that cannot be read counts as none.
            "status": body.get("status") or {} if secret.status != ElileSecretStatus() else {},
        }
        names = dict.fromkeys(name for name in (secret.secret_name, secret.status.secret_name) if name)
        return cls(
            raw=json.dumps(kept, ensure_ascii=False, separators=(",", ":")).encode(),
            server=secret.spec.vault.server,
            namespace=secret.metadata.namespace or "",
            targets=tuple(names),
            wish=secret.metadata.annotations.get(REFRESH_ANNOTATION),
            cluster=secret.status.cluster_id or "",
            paths=tuple({s.path: None for s in secret.status.sources if s.path and s.version is not None}),
            told=_sample(secret),
        )

    def unpack(self) -> ElileSecret:
        """Return the model."""
        return ElileSecret.model_validate_json(self.raw, by_alias=True, by_name=False)


def _sample(secret: ElileSecret) -> ObjectSample:
    status = secret.status
    ready = condition(status.conditions, "Ready")
    return ObjectSample(
        namespace=secret.metadata.namespace or "",
        name=secret.metadata.name,
        ready=ready is ConditionStatus.TRUE if ready in (ConditionStatus.TRUE, ConditionStatus.FALSE) else None,
        changed=status.last_change_time.timestamp() if status.last_change_time else None,
        lease_ends=_first(source.lease_expires for source in status.sources),
        certificate_ends=_first(source.certificate_expires for source in status.sources),
    )


def _first(times: Iterable[datetime | None]) -> float | None:
    return min((time.timestamp() for time in times if time is not None), default=None)
