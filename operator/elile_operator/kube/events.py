"""Kubernetes Events: one for each thing that happened to an object, for people who run `kubectl describe`."""

import datetime as dt
import logging
from collections.abc import Callable
from typing import Protocol

from elile_operator.api.meta import FieldManager
from elile_operator.api.model import ObjectMeta
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeError
from elile_operator.kube.resources import EVENTS, Resource

__all__ = ["EventWriter", "Events"]

log = logging.getLogger(__name__)

# The API server's limit for a note, in bytes: it counts with Go's len.
MAX_NOTE = 1024
CUT = "…"


class Events(Protocol):
    """Where what happened is told; telling never fails."""

    async def tell(self, resource: Resource, meta: ObjectMeta, *, reason: str, note: str, warning: bool) -> None: ...


class EventWriter:
    """Writes events.k8s.io/v1. An event that cannot be written is logged and let go: it must not hold up the work.

    `unique` gives a text that no other event of this process has; it becomes part of the name.
    """

    def __init__(
        self, kube: KubeClient, *, instance: str, now: Callable[[], dt.datetime], unique: Callable[[], str]
    ) -> None:
        self._kube = kube
        self._instance = instance
        self._now = now
        self._unique = unique

    async def tell(self, resource: Resource, meta: ObjectMeta, *, reason: str, note: str, warning: bool) -> None:
        """Write one event about an object. `reason` is of the closed list; `note` holds no value."""
        # Events about objects without a namespace live in `default`, as everywhere in Kubernetes.
        namespace = meta.namespace or "default"
        body: Json = {
            "apiVersion": EVENTS.api_version,
            "kind": EVENTS.kind,
            "metadata": {"namespace": namespace, "name": f"{meta.name}.{self._unique()}"},
            "eventTime": self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "action": "Reconcile",
            "note": _shortened(note),
            "reportingController": "elile.io/operator",
            "reportingInstance": self._instance,
            "regarding": {
                "apiVersion": resource.api_version,
                "kind": resource.kind,
                "namespace": meta.namespace,
                "name": meta.name,
                "uid": meta.uid,
            },
        }
        try:
            await self._kube.create(EVENTS, namespace, body, manager=FieldManager.SECRETS)
        except KubeError as e:
            fields = {"kind": resource.kind, "namespace": namespace, "name": meta.name, "error": e.safe_text}
            log.warning("event lost", extra={"fields": {**fields, "reason": reason}})


def _shortened(note: str) -> str:
    encoded = note.encode()
    if len(encoded) <= MAX_NOTE:
        return note
    return encoded[: MAX_NOTE - len(CUT.encode())].decode(errors="ignore") + CUT
