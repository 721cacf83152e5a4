"""Merging: several ElileSecrets, and others, have keys in one Secret; each sees its own and touches no other.

Whose a key is stands in `metadata.managedFields`: each ElileSecret applies as a manager of its own, `elile.<name>`, so
that an apply without fields takes out exactly what it had put in.
"""

from collections.abc import Iterable
from dataclasses import replace

from elile_operator.api.elilesecret import DeletionPolicy, ElileSecret
from elile_operator.api.meta import (
    ADOPT_ANNOTATION,
    FINGERPRINT_ANNOTATION,
    SECRET_LABEL,
    FieldManager,
    merge_manager,
    merged_annotation,
)
from elile_operator.api.reasons import Reason
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.ownership import consents, is_ours
from elile_operator.decide.violation import Violation

__all__ = ["as_seen", "check_keys", "former_manager", "takes_out", "undoes"]


def as_seen(secret: ElileSecret, live: LiveSecret | None) -> LiveSecret | None:
    """Return the Secret as this object has to see it: what others have put or noted there counts for nothing.

    * one that is owned: as it is;
    * one that is to be taken over: without the marks of whoever had it;
    * one that is merged into: only what was merged; until then, what was owned.
    """
    if live is None:
        return None
    ours = is_ours(secret, live)
    if not secret.merges:
        return live if ours else replace(live, stamp=None, revision=0)
    share = live.shares.get(secret.metadata.name)
    if share is None:
        return replace(live, stamp=None) if ours else replace(live, keys=frozenset(), stamp=None, revision=0)
    return replace(
        live,
        keys=share.keys,
        content=share.content,
        stamp=share.stamp,
        revision=share.revision,
        applied=share.applied,
    )


def former_manager(secret: ElileSecret, live: LiveSecret | None) -> str | None:
    """Return the manager that holds the fields of the object's other mode, which it gives up once the new ones are in.

    In this order a key is never away: for a moment both hold it.
    """
    if live is None:
        return None
    name = secret.metadata.name
    if secret.merges:
        # A pass may have died in between: by then the label names nobody any more.
        halfway = name in live.shares and live.labels.get(SECRET_LABEL) == ""
        owned = FINGERPRINT_ANNOTATION in live.annotations and (is_ours(secret, live) or halfway)
        return FieldManager.SECRETS if owned else None
    return merge_manager(name) if name in live.shares else None


def check_keys(secret: ElileSecret, live: LiveSecret | None, keys: Iterable[str]) -> Violation | None:
    """Say which keys cannot be merged because they are somebody else's, or None."""
    if live is None or not secret.merges or is_ours(secret, live) or consents(secret, live):
        return None
    name, where = secret.metadata.name, f"Secret {live.namespace}/{live.name}"
    share = live.shares.get(name)
    mine = share.keys if share is not None else frozenset()
    if merged_annotation(name) in live.annotations and secret.status.secret_name == live.name:
        mine |= frozenset(secret.status.keys)  # an edit by hand takes a key away from whoever applied it
    taken = sorted((frozenset(keys) & live.keys) - mine)
    if not taken:
        return None
    cure = "rename them with spec.sources[].keys[].to or spec.sources[].prefix in one of the two"
    for other, theirs in sorted(live.shares.items()):
        if other != name and (both := [key for key in taken if key in theirs.keys]):
            return Violation(
                Reason.SECRET_CONFLICT,
                f"ElileSecret {name!r} and ElileSecret {other!r} both deliver {', '.join(both)} into {where}; {cure}",
            )
    return Violation(
        Reason.SECRET_CONFLICT,
        f"{where} holds {', '.join(taken)} of somebody else; rename them with spec.sources[].keys[].to or "
        f"spec.sources[].prefix, or have them taken over with the Secret's annotation {ADOPT_ANNOTATION}: {name}",
    )


def takes_out(secret: ElileSecret) -> bool:
    """Whether what was merged is taken out again, when the object goes or merges elsewhere."""
    return secret.spec.deletion_policy is not DeletionPolicy.RETAIN


def undoes(secret: ElileSecret) -> bool:
    """Whether the object has something to undo before it may go, once it delivers: keys in a Secret that stays."""
    return secret.merges and takes_out(secret)
