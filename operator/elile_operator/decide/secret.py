"""Decide what an ElileSecret needs next: whether values must be read, what is written, what its status says."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from elile_operator.api.consumers import ConsumersStatus
from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SourceStatus
from elile_operator.api.meta import REFRESH_ANNOTATION, Condition, ConditionStatus
from elile_operator.api.reasons import Effect, Mark, Reason
from elile_operator.decide.conditions import condition, find, set_conditions
from elile_operator.decide.fingerprint import Stamp
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.manifest import Frame, frame, is_framed
from elile_operator.decide.merge import as_seen
from elile_operator.decide.ownership import is_adopted
from elile_operator.decide.violation import Violation

__all__ = [
    "STALE_AFTER",
    "Delivered",
    "Freshness",
    "Standing",
    "Write",
    "as_observed",
    "interrupted",
    "is_away",
    "needs_values",
    "plan_write",
    "secret_status",
    "standing",
    "wants_refresh",
]

# Three missed comparisons, by the design; one or two may be a restart of the server.
STALE_AFTER = 3


@dataclass(frozen=True, slots=True)
class Write:
    """A Secret to be written: its revision, and whether its content changes or only what surrounds it.

    `made`: there is none yet.
    """

    revision: int
    content_changed: bool
    made: bool = False
    told: bool = False  # whether the metadata file appears, which pods are to see as well


@dataclass(frozen=True, slots=True)
class Freshness:
    """When the oldest of the sources was last compared with the server, and how often it should be."""

    compared: datetime | None
    interval: timedelta

    @property
    def stale_at(self) -> datetime | None:
        return self.compared + STALE_AFTER * self.interval if self.compared else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """What a pass through an object ended in. `poked` is None where nothing is known: no Secret yet."""

    violation: Violation | None
    live: LiveSecret | None
    sources: tuple[SourceStatus, ...]
    consumers: ConsumersStatus | None
    changed: datetime | None
    poked: bool | None
    server: str
    freshness: Freshness
    next_refresh: datetime | None = None
    cluster: str | None = None  # identity of the Vault that was read, as far as it is known
    proof: tuple[Mark, Reason, str] | None = None  # ConsumersCurrent; None where consumers were not looked at
    look_after: timedelta | None = None  # when time alone may prove more


# What the controller of ElileSecrets writes; RotationHealthy is of the one that rotates.
CONDITIONS = ("Ready", "Stalled", "Synced", "SecretCurrent", "ConsumersCurrent")


def own_part(status: ElileSecretStatus) -> ElileSecretStatus:
    """Return what this controller has written of a status: an apply that names more would take it from its writer."""
    return status.model_copy(
        update={
            "conditions": tuple(c for c in status.conditions if c.type in CONDITIONS),
            "rotations": (),
            "rotation": None,
            "next_rotation_time": None,
        }
    )


def wants_refresh(secret: ElileSecret) -> bool:
    """Whether somebody asked to read the sources now, and was not answered yet."""
    asked = secret.metadata.annotations.get(REFRESH_ANNOTATION)
    return asked is not None and asked != secret.status.handled_refresh


def as_observed(secret: ElileSecret, sources: tuple[SourceStatus, ...]) -> bool:
    """Whether spec and versions are those that were delivered last.

    `observedGeneration` alone does not tell: it is also that of a pass that failed. SecretCurrent is known as soon as
    a pass of this generation delivered, and is kept through failures.
    """
    current = find(secret.status.conditions, "SecretCurrent")
    return (
        current is not None
        and current.status is not ConditionStatus.UNKNOWN
        and current.observed_generation == secret.metadata.generation
        and secret.status.sources == sources
    )


def needs_values(
    secret: ElileSecret,
    live: LiveSecret | None,
    wanted: Frame,
    sources: tuple[SourceStatus, ...],
    cluster: str | None = None,
) -> bool:
    """Whether the values must be read, or versions alone prove that the Secret is right.

    They do when the last pass delivered exactly these versions, and the data still has the fingerprint that pass
    stamped. A stamp under another key proves nothing, so the values are read and compared, and the stamp stays; nor do
    the same numbers in another Vault, which the server may be by now (`cluster`, None: not known).
    """
    moved = None not in (cluster, secret.status.cluster_id) and cluster != secret.status.cluster_id
    ready = condition(secret.status.conditions, "Ready") is ConditionStatus.TRUE
    return moved or not (
        ready
        and as_observed(secret, sources)
        and live
        and live.stamp == live.content
        and live.revision == secret.status.revision
        and is_framed(wanted, live)
    )


class Standing(StrEnum):
    """How an object stands when its server is back."""

    CURRENT = "current"  # right, and said to be: nothing to do, unless its sources turn out to have changed
    STALE = "stale"  # right, and said to be unknown for too long
    OPEN = "open"  # not delivered as it is wanted, or touched meanwhile


def standing(secret: ElileSecret, live: LiveSecret | None, cluster: str | None = None) -> Standing:
    """Return what is due for an object whose sources could not be asked for a while."""
    wanted, seen = frame(secret, live), as_seen(secret, live)
    if wants_refresh(secret) or needs_values(secret, seen, wanted, secret.status.sources, cluster):
        return Standing.OPEN
    synced = condition(secret.status.conditions, "Synced") is ConditionStatus.TRUE
    return Standing.CURRENT if synced else Standing.STALE


def plan_write(
    secret: ElileSecret, live: LiveSecret | None, wanted: Frame, stamp: Stamp, sources: tuple[SourceStatus, ...]
) -> Write | None:
    """Return what is to be written; None, the common case, when the live Secret already is what it should be.

    The revision counts distinct contents: a Secret that is repaired, or made again with the same content, keeps it.
    """
    known = max(secret.status.revision or 0, live.revision if live else 0)
    if live is not None and live.content == stamp:
        marked = live.stamp is not None and live.revision == known > 0  # else somebody took our annotations away
        # What an earlier pass changed without coming to the pods is still to be told to them.
        owed, told = interrupted(secret, live), wanted.tells and live.told != live.revision
        return None if marked and is_framed(wanted, live) else Write(known or 1, content_changed=owed, told=told)
    repaired = known > 0 and (as_observed(secret, sources) or (live is not None and live.stamp == stamp))
    return Write(known if repaired else known + 1, content_changed=True, made=live is None)


def interrupted(secret: ElileSecret, live: LiveSecret | None) -> bool:
    """Whether an earlier pass wrote the Secret and died before its status: pods may not have been poked."""
    return live is not None and live.revision > (secret.status.revision or 0)


def is_away(effect: Effect) -> bool:
    """Whether a reason means that there was no answer: nothing new is known about what is delivered."""
    return effect.ready is Mark.KEEP


def secret_status(secret: ElileSecret, done: Delivered, now: datetime) -> ElileSecretStatus:
    """Return the status after a pass. Equal to the old one when nothing happened, so that nothing is written."""
    if done.violation is not None and is_away(done.violation.reason.effect):
        return _away(secret, done, now)
    previous = own_part(secret.status)
    good = done.violation is None
    gone = done.violation is not None and done.violation.reason is Reason.SOURCE_GONE
    live = done.live
    return ElileSecretStatus(
        observed_generation=secret.metadata.generation,
        revision=live.revision if good and live else previous.revision,
        keys=() if gone else tuple(sorted(live.keys)) if good and live else previous.keys,
        secret_name=secret.secret_name if good else previous.secret_name,
        adopted=is_adopted(secret, live) if good else previous.adopted,
        server=done.server,
        cluster_id=(done.cluster if good else None) or previous.cluster_id,
        handled_refresh=secret.metadata.annotations.get(REFRESH_ANNOTATION, previous.handled_refresh),
        sources=() if gone else done.sources if good else previous.sources,
        conditions=_conditions(secret, done, now),
        last_change_time=done.changed or previous.last_change_time,
        next_refresh_time=done.next_refresh if good else previous.next_refresh_time,
        consumers=done.consumers or previous.consumers,
    )


def _away(secret: ElileSecret, done: Delivered, now: datetime) -> ElileSecretStatus:
    """No answer. An outage costs one write at most: when the object was never judged, or when it becomes stale."""
    assert done.violation is not None  # noqa: S101 - the caller looked
    previous = own_part(secret.status)
    ready = find(previous.conditions, "Ready")
    judged = (
        ready is not None
        and ready.status is not ConditionStatus.UNKNOWN
        and ready.observed_generation == secret.metadata.generation
    )
    stale_at = done.freshness.stale_at
    stale = judged and stale_at is not None and now >= stale_at
    synced = find(previous.conditions, "Synced")
    # Said once: what keeps it away may change on the way back, from no answer to sealed.
    said = synced is not None and synced.reason == Reason.READ_STALE
    if judged and (said or not stale):
        return previous
    violation = done.violation
    if stale and stale_at is not None:
        since = f"{done.freshness.compared:%Y-%m-%dT%H:%M:%SZ}"
        violation = Violation(Reason.READ_STALE, f"not compared with the server since {since}: {violation.message}")
    return previous.model_copy(
        update={
            "observed_generation": secret.metadata.generation,
            "server": done.server,
            "conditions": _conditions(secret, _with(done, violation), now),
        }
    )


def _with(done: Delivered, violation: Violation) -> Delivered:
    return replace(done, violation=violation)


def _conditions(secret: ElileSecret, done: Delivered, now: datetime) -> tuple[Condition, ...]:
    reason = done.violation.reason if done.violation else Reason.SYNCED
    message = done.violation.message if done.violation else _success(secret, done)
    effect = reason.effect
    current: tuple[Mark, Reason, str]
    if reason is Reason.SOURCE_GONE:
        current = (Mark.FALSE, reason, message)  # the last one that says anything of it removed it
    elif done.violation is not None or done.poked is None:
        current = (Mark.KEEP, reason, message)
    elif done.poked:
        current = (Mark.TRUE, Reason.SECRET_CURRENT, Reason.SECRET_CURRENT.sentence)
    else:
        current = (Mark.FALSE, Reason.POKE_PENDING, Reason.POKE_PENDING.sentence)
    return set_conditions(
        secret.status.conditions,
        {
            "Ready": (effect.ready, reason, message),
            "Stalled": (effect.stalled, reason, message),
            "Synced": (effect.synced, reason, message),
            "SecretCurrent": current,
            "ConsumersCurrent": done.proof or _unproved(secret, reason, message),
        },
        generation=secret.metadata.generation,
        now=now,
    )


def _unproved(secret: ElileSecret, reason: Reason, message: str) -> tuple[Mark, Reason, str]:
    """Return ConsumersCurrent where consumers were not looked at, for the reason that is given."""
    if secret.spec.consumers.proof is None:
        return Mark.UNKNOWN, Reason.PROOF_UNDECLARED, Reason.PROOF_UNDECLARED.sentence
    return Mark.KEEP, reason, message


def _success(secret: ElileSecret, done: Delivered) -> str:
    keys, sources = len(done.live.keys) if done.live else 0, len(secret.spec.sources)
    return f"Secret {secret.secret_name} holds {_count(keys, 'key')} of {_count(sources, 'source')}"


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
