"""Whether a path is gone for good, which takes more than one answer: what was delivered may go with it."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from elile_operator.api.elilesecret import ElileSecret, OnMissing
from elile_operator.api.reasons import Reason
from elile_operator.decide.conditions import find
from elile_operator.decide.live import LiveSecret
from elile_operator.decide.violation import Violation

__all__ = ["APART", "Sightings", "gone", "is_gone", "removes", "still_gone"]

# One answer may come from a server that is just being restored, or is behind.
APART = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Sightings:
    """When a server said first, and last, that nothing is at a path; any other answer in between begins anew.

    Seconds of a monotonic clock. They are kept by the process that asks: after a restart it counts anew.
    """

    first: float
    last: float

    @property
    def apart(self) -> timedelta:
        """Time between the two."""
        return timedelta(seconds=self.last - self.first)


def is_gone(sightings: Iterable[Sightings | None], live: LiveSecret, *, now: datetime, lag: timedelta) -> bool:
    """Whether one of the paths is gone, as far as servers can be believed that are at most `lag` behind.

    What was delivered a moment ago was there a moment ago: a standby that is behind may not know of it yet.
    """
    delivered_long_ago = live.applied is None or now - live.applied >= lag
    return delivered_long_ago and any(seen is not None and seen.apart >= APART for seen in sightings)


def removes(secret: ElileSecret, violation: Violation) -> bool:
    """Whether the object wants to lose what was delivered, should this turn out to be for good."""
    return secret.spec.on_missing is OnMissing.DELETE and violation.reason is Reason.PATH_NOT_FOUND


def still_gone(secret: ElileSecret) -> Violation | None:
    """Return what was said when an earlier pass, perhaps of another process, removed it; None if the spec changed."""
    ready = find(secret.status.conditions, "Ready")
    if ready is None or ready.reason != Reason.SOURCE_GONE:
        return None
    current = ready.observed_generation == secret.metadata.generation
    return Violation(Reason.SOURCE_GONE, ready.message) if current else None


def gone(secret: ElileSecret, missing: Violation) -> Violation:
    """Return what is said once it was removed."""
    where = f"Secret {secret.metadata.namespace}/{secret.secret_name}"
    what = f"the keys in {where} were taken out" if secret.merges else f"{where} was deleted"
    return Violation(Reason.SOURCE_GONE, f"{missing.message}; {what}, as spec.onMissing says, until the path is back")
