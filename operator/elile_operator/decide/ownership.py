"""Whose a Secret is: an existing one that is not ours is never taken over."""

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.violation import Violation

__all__ = ["check_ownership", "is_ours"]


def is_ours(secret: ElileSecret, live: LiveSecret) -> bool:
    """Whether the Secret is this object's: by its owner reference, or by the labels that name the object.

    The reference holds a uid and decides alone where there is one: labels could name a predecessor of the same name,
    which is ours to continue, or be removed by hand, which is repaired.
    """
    return secret.metadata.uid in live.owner_uids or live.owner == secret.metadata.name


def check_ownership(secret: ElileSecret, live: LiveSecret | None) -> Violation | None:
    """Say why the Secret may not be written, or None."""
    if live is None or is_ours(secret, live):
        return None
    belongs = f"ElileSecret {live.owner!r}" if live.owner else live.controller or "somebody else"
    return Violation(
        Reason.SECRET_NOT_OWNED,
        f"Secret {live.namespace}/{live.name} exists and belongs to {belongs}; delete it, or choose another name with "
        "spec.delivery.secret.name",
    )
