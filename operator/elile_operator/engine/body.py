"""What the engine reads of a Kubernetes object: its key, uid, generation, resourceVersion, deletion."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

Body: TypeAlias = Mapping[str, Any]
"""An object as the API server serves it, parsed from JSON. The engine never changes one."""


class ObjectKey(NamedTuple):
    """Names one object of one kind. `namespace` is empty for kinds without namespaces."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" if self.namespace else self.name


def object_key(body: Body) -> ObjectKey:
    """The key of `body`. Raises KeyError if it has no name."""
    metadata = body["metadata"]
    return ObjectKey(metadata.get("namespace") or "", metadata["name"])


@dataclass(frozen=True, slots=True)
class Meta:
    """The part of `metadata` that tells older from newer and specs from touches."""

    uid: str
    generation: int | None  # None: the kind has none (Secret, ServiceAccount, …)
    resource_version: str
    deleting: bool

    @property
    def version(self) -> int | None:
        """The resourceVersion as a number, or None if this server's versions cannot be compared."""
        return parse_version(self.resource_version)


def read_meta(body: Body) -> Meta:
    """Read `body` without trusting it: what is missing or of a wrong type counts as unknown."""
    metadata = body["metadata"]
    generation = metadata.get("generation")
    return Meta(
        uid=str(metadata.get("uid") or ""),
        generation=generation if isinstance(generation, int) else None,
        resource_version=str(metadata.get("resourceVersion") or ""),
        deleting=bool(metadata.get("deletionTimestamp")),
    )


def parse_version(text: str) -> int | None:
    """A resourceVersion as a number; None for anything but plain decimal digits.

    Kubernetes documents since 1.35 that the versions of one resource compare as whole numbers. Anything else, a fake or
    an aggregated API server, is compared by order of arrival instead.
    """
    return int(text) if text.isascii() and text.isdigit() else None
