"""What entries and Secrets have to look like: shapes of the client library, types of Kubernetes."""

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from elile.secrets.errors import SecretValidationError
from elile.secrets.redact import SecretBytes
from elile.secrets.types import SHAPES
from elile_operator.api.elilesecret import SecretType
from elile_operator.api.sources import Shape
from elile_operator.decide.entries import names

__all__ = ["KUBERNETES_TYPES", "REQUIRED_KEYS", "shape_problem", "type_problem"]

KUBERNETES_TYPES: Mapping[SecretType, str] = MappingProxyType(
    {
        SecretType.OPAQUE: "Opaque",
        SecretType.TLS: "kubernetes.io/tls",
        SecretType.BASIC_AUTH: "kubernetes.io/basic-auth",
        SecretType.SSH_AUTH: "kubernetes.io/ssh-auth",
        SecretType.DOCKER_CONFIG_JSON: "kubernetes.io/dockerconfigjson",
    }
)

_DOCKER = ".dockerconfigjson"

# What the API server refuses such a Secret without (pkg/apis/core/validation: ValidateSecret).
REQUIRED_KEYS: Mapping[SecretType, tuple[str, ...]] = MappingProxyType(
    {
        SecretType.OPAQUE: (),
        SecretType.TLS: ("tls.crt", "tls.key"),
        SecretType.BASIC_AUTH: ("username", "password"),
        SecretType.SSH_AUTH: ("ssh-privatekey",),
        SecretType.DOCKER_CONFIG_JSON: (_DOCKER,),
    }
)


def type_problem(wanted: SecretType, data: Mapping[str, SecretBytes]) -> str:
    """Say what data lacks for a type, with the remedy; empty when nothing."""
    needed = REQUIRED_KEYS[wanted]
    missing = [key for key in needed if key not in data]
    # Of these two the API server asks for one.
    if missing and not (wanted is SecretType.BASIC_AUTH and len(missing) < len(needed)):
        return (
            f"spec.type {wanted} needs the key {missing[0]}, which nothing gives; name it with spec.sources[].keys, or "
            f"make it with spec.files (there are: {names(data)})"
        )
    if wanted is SecretType.DOCKER_CONFIG_JSON and not _is_object(data[_DOCKER].reveal()):
        return f"spec.type {wanted} needs a JSON object in the key {_DOCKER}; write one there"
    return ""


def shape_problem(wanted: Shape, entry: Mapping[str, Any], *, path: str) -> str:
    """Say what an entry lacks for a shape, naming fields and no values; empty when nothing."""
    # As the client library does: an entry of a provider need not say whose it is, its path does.
    given = {"provider": path.rpartition("/")[2], **entry} if wanted in _OF_PROVIDERS else entry
    try:
        SHAPES[wanted].parse(given)
    except SecretValidationError as e:
        return e.detail
    return ""


_OF_PROVIDERS = (Shape.AI_PROVIDER, Shape.PROVIDER_API_KEY)


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
