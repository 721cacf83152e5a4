"""Rotation of secrets: schedules, generators, and the engine that knows nothing of Kubernetes.

What an application needs is here by name; nothing is loaded before it is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elile.secrets.rotation.callbacks import Inconclusive as Inconclusive
    from elile.secrets.rotation.egress import Dialer as Dialer
    from elile.secrets.rotation.egress import EgressRule as EgressRule
    from elile.secrets.rotation.results import PendingRotation as PendingRotation
    from elile.secrets.rotation.results import RotationPolicy as RotationPolicy
    from elile.secrets.rotation.results import RotationResult as RotationResult
    from elile.secrets.rotation.results import RotationStatus as RotationStatus
    from elile.secrets.rotation.rotator import SecretRotator as SecretRotator
    from elile.secrets.rotation.verify.hooks import Hook as Hook

_HOME_OF = {
    "Dialer": "egress",
    "EgressRule": "egress",
    "Hook": "verify.hooks",
    "Inconclusive": "callbacks",
    "PendingRotation": "results",
    "RotationPolicy": "results",
    "RotationResult": "results",
    "RotationStatus": "results",
    "SecretRotator": "rotator",
}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
