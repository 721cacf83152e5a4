"""Whose a Secret is: an existing one that is not ours is taken over with its consent, and never without."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from elile_operator.api.elilesecret import DeletionPolicy, ElileSecret
from elile_operator.api.meta import ADOPT_ANNOTATION
from elile_operator.api.reasons import Reason
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.render import Rendered
from elile_operator.decide.violation import Violation

__all__ = ["Comparison", "check_ownership", "compare", "goes_with", "is_adopted", "is_ours"]

SHOWN = 10  # names of keys of one sort in a message


def is_ours(secret: ElileSecret, live: LiveSecret) -> bool:
    """Whether the Secret is this object's: by its owner reference, or by the labels that name the object.

    The reference holds a uid and decides alone where there is one: labels could name a predecessor of the same name,
    which is ours to continue, or be removed by hand, which is repaired. One that holds nothing but what this object has
    merged into it is ours as well, once it is to be owned.
    """
    share = live.shares.get(secret.metadata.name)
    filled = share is not None and bool(share.keys) and share.keys == live.keys and live.controller is None
    return secret.metadata.uid in live.owner_uids or live.owner == secret.metadata.name or (filled and not live.owner)


def consents(secret: ElileSecret, live: LiveSecret) -> bool:
    """Whether the Secret says that this object may take it over."""
    return live.consent == secret.metadata.name


def is_adopted(secret: ElileSecret, live: LiveSecret | None) -> bool:
    """Whether the Secret was somebody else's before: it says so itself, or an earlier pass did, of this name."""
    if secret.merges:
        return False
    noted = secret.status.adopted and secret.status.secret_name == secret.secret_name
    return noted or (live is not None and live.name == secret.secret_name and consents(secret, live))


def goes_with(secret: ElileSecret, live: LiveSecret | None) -> bool:
    """Whether the Secret goes when its object goes: what was not made by us stays, unless the spec says otherwise."""
    asked = secret.spec.deletion_policy
    return asked is DeletionPolicy.DELETE or (asked is None and not is_adopted(secret, live))


def check_ownership(secret: ElileSecret, live: LiveSecret | None) -> Violation | None:
    """Say why the Secret may not be written, or None. Which keys may be merged into one is another question."""
    if live is None or is_ours(secret, live):
        return None
    where = f"Secret {live.namespace}/{live.name}"
    if secret.merges:
        if live.owner or live.owner_uids - live.strangers:
            owner = live.owner or (live.controller or "").removeprefix("ElileSecret ")  # labels can be removed by hand
            return Violation(
                Reason.SECRET_NOT_OWNED,
                f"{where} belongs as a whole to ElileSecret {owner!r}; set spec.delivery.secret.mode: Merge there "
                "as well, or choose another name with spec.delivery.secret.name",
            )
        if live.type != "Opaque":
            return Violation(
                Reason.SECRET_NOT_OWNED,
                f"{where} is of type {live.type}, and keys are merged into Opaque ones only; choose another name with "
                "spec.delivery.secret.name",
            )
        return None
    if consents(secret, live):
        return None
    belongs = f"ElileSecret {live.owner!r}" if live.owner else live.controller or "somebody else"
    return Violation(
        Reason.SECRET_NOT_OWNED,
        f"{where} exists and belongs to {belongs}; have it taken over with its annotation {ADOPT_ANNOTATION}: "
        f"{secret.metadata.name}, delete it, or choose another name with spec.delivery.secret.name",
    )


@dataclass(frozen=True, slots=True)
class Comparison:
    """How what the sources say differs from what a Secret holds, by names of keys alone."""

    equal: tuple[str, ...]
    different: tuple[str, ...]
    missing: tuple[str, ...]  # in the Secret
    more: tuple[str, ...]  # in the Secret

    def __str__(self) -> str:
        sorts = (
            ("equal", self.equal),
            ("different", self.different),
            ("only in the sources", self.missing),
            ("only in the Secret", self.more),
        )
        return "keys " + "; ".join(f"{sort}: {_listed(names)}" for sort, names in sorts if names)


def compare(data: Rendered, found: Mapping[str, bytes]) -> Comparison:
    """Compare the values that the sources give with those of a Secret."""
    both = sorted(data.keys() & found.keys())
    same = {key for key in both if hmac.compare_digest(data[key].reveal(), found[key])}
    return Comparison(
        equal=tuple(key for key in both if key in same),
        different=tuple(key for key in both if key not in same),
        missing=tuple(sorted(data.keys() - found.keys())),
        more=tuple(sorted(found.keys() - data.keys())),
    )


def _listed(names: tuple[str, ...]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more
