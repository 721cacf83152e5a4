"""Leases and certificates of ElileSecrets: when to look after them, and what becomes of those that were replaced."""

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus, SourceStatus
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.reasons import Reason
from elile_operator.decide.access import Planned, SourceIssue
from elile_operator.decide.conditions import condition
from elile_operator.decide.lasting import ends, next_refresh, unheld_leases
from elile_operator.engine import Clock, ObjectKey
from elile_operator.kube.events import Events
from elile_operator.kube.resources import ELILE_SECRETS
from elile_operator.sources.holdings import Holdings
from elile_operator.sources.reads import SharedReads

__all__ = ["Lasting"]

log = logging.getLogger(__name__)

LEAST_WAIT = timedelta(seconds=1)


class Lasting:
    """What has an end. The holdings do the work when a pass asks for a source; this says when one is to ask."""

    def __init__(
        self, *, holdings: Holdings[ObjectKey], reads: SharedReads[ObjectKey], events: Events, clock: Clock
    ) -> None:
        self._holdings = holdings
        self._reads = reads
        self._events = events
        self._clock = clock

    def keep(self, key: ObjectKey, plan: Sequence[Planned]) -> None:
        """Only what these sources name is wanted from now on."""
        self._holdings.keep(key, frozenset(planned.name for planned in plan if isinstance(planned, SourceIssue)))

    def next_refresh(self, secret: ElileSecret, sources: Sequence[SourceStatus]) -> datetime | None:
        """When the next thing is due: what is held, what an earlier process delivered, and what the server changes."""
        key = key_of(secret)
        held = self._holdings.dues(key)
        dues = [*held.values(), *self._reads.ends(key)]
        before = secret.status.next_refresh_time
        if before is not None and any(ends(source) and source.name not in held for source in sources):
            dues.append(before)
        return next_refresh(before, dues)

    def wait(self, key: ObjectKey, status: ElileSecretStatus) -> timedelta | None:
        """How long until a lease or certificate is due: one that is held, or that an earlier process delivered."""
        known = self._holdings.looks(key)
        waits = [timedelta(seconds=at - self._clock.monotonic()) for at in known.values()]
        due = status.next_refresh_time
        if due is not None and any(ends(source) and source.name not in known for source in status.sources):
            waits.append(due - self._clock.now())
        # What is due and was not done waits for its server.
        return max(min(waits), LEAST_WAIT) if waits else None

    async def look_after(self, secret: ElileSecret, status: ElileSecretStatus) -> None:
        """Say what was replaced, and revoke it once it is proved that nobody uses it any more."""
        key = key_of(secret)
        for name in self._holdings.told(key):
            note = f"spec.sources[{name}] has another lease or certificate"
            await self._tell(secret, Reason.LEASE_REPLACED, note, warning=False)
        if condition(status.conditions, "ConsumersCurrent") is ConditionStatus.TRUE:
            for name in await self._holdings.settle(key):
                note = f"the lease or certificate that spec.sources[{name}] had before is revoked"
                await self._tell(secret, Reason.LEASE_REVOKED, note, warning=False)

    async def object_goes(self, secret: ElileSecret, *, last_try: bool) -> bool:
        """Revoke what the object has; False while that fails and is to be tried again.

        What an earlier process took cannot be revoked: its token is not known any more. It is told, and runs out.
        """
        key = key_of(secret)
        taken = self._holdings.taken(key)
        left = await self._holdings.release(key)
        if left and not last_try:
            return False
        self._holdings.forget(key)
        if orphans := [*left, *unheld_leases(secret.status.sources, taken, self._clock.now())]:
            names = ", ".join(f"spec.sources[{name}]" for name in orphans)
            note = f"what {names} took cannot be revoked here: revoke it in Vault, or it ends with its time"
            await self._tell(secret, Reason.LEASE_ORPHANED, note, warning=True)
        return True

    async def _tell(self, secret: ElileSecret, reason: Reason, note: str, *, warning: bool) -> None:
        fields = {**key_of(secret)._asdict(), "reason": reason}
        log.log(logging.WARNING if warning else logging.INFO, "%s", note, extra={"fields": fields})
        await self._events.tell(ELILE_SECRETS, secret.metadata, reason=reason, note=note, warning=warning)


def key_of(secret: ElileSecret) -> ObjectKey:
    """Return the key of an object."""
    return ObjectKey(secret.metadata.namespace or "", secret.metadata.name)
