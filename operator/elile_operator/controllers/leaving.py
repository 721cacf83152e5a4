"""What becomes of delivered Secrets when their object, their name or their source goes."""

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import merge_manager
from elile_operator.api.reasons import Reason
from elile_operator.controllers import finalizer
from elile_operator.controllers.lasting import Lasting
from elile_operator.controllers.world import World
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.lasting import leases
from elile_operator.decide.live import LiveSecret, read_secret
from elile_operator.decide.merge import as_seen, takes_out, undoes
from elile_operator.decide.missing import Sightings, gone, is_gone, removes, still_gone
from elile_operator.decide.ownership import goes_with
from elile_operator.decide.violation import Violation
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import Clock, Following, Result
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeConflictError, KubeForbiddenError, KubeInvalidError
from elile_operator.kube.events import Events
from elile_operator.kube.resources import ELILE_SECRETS

__all__ = ["Leaving"]

log = logging.getLogger(__name__)

# What is refused is tried again until the deadline: rights come back, and edits of others come to an end.
TRY_AGAIN = timedelta(seconds=5)


class Leaving:
    """Deletes what was owned, takes out what was merged, lets go of what is to stay."""

    def __init__(
        self,
        *,
        world: World,
        lasting: Lasting,
        kube: KubeClient,
        writer: SecretWriter,
        events: Events,
        key: FingerprintKey,
        clock: Clock,
        standby_lag: timedelta,
        on_deleted: Callable[[], None],
    ) -> None:
        self._world = world
        self._lasting = lasting
        self._kube = kube
        self._writer = writer
        self._events = events
        self._key = key
        self._clock = clock
        self._standby_lag = standby_lag
        self._on_deleted = on_deleted

    async def object_goes(self, secret: ElileSecret) -> Result:
        """The object is being deleted: undo what the garbage collector does not, then let the object go.

        Vault is needed only to revoke leases. In a namespace that is being deleted no key is taken out, since all of it
        goes; there the rights are often gone first.
        """
        namespace = secret.metadata.namespace or ""
        # Without the finalizer there is one try: the object is gone the next time.
        last_try = not finalizer.held(secret) or finalizer.overdue(secret, self._clock.now())
        if not await self._lasting.object_goes(secret, last_try=last_try):
            return Result.after(TRY_AGAIN)
        if not finalizer.held(secret):
            return Result.absent()
        if takes_out(secret) and not self._world.terminating(namespace):
            if self._world.live.following(namespace) is Following.STARTING:
                return Result.done()  # when it is known what there is, all of the namespace come again
            try:
                await self._take_out(secret)
            except (KubeForbiddenError, KubeInvalidError, KubeConflictError):
                if not finalizer.overdue(secret, self._clock.now()):
                    return Result.after(TRY_AGAIN)
                await self._tell_orphaned(secret)
        await finalizer.let_go(self._kube, ELILE_SECRETS, secret)
        return Result.absent()

    async def hold(self, secret: ElileSecret) -> None:
        """See to it that the object does not go before `object_goes` was there, if there is something to undo."""
        if _undoes(secret) and (body := await finalizer.hold(self._kube, ELILE_SECRETS, secret)):
            self._world.secrets.observe(body)

    async def name_left(self, secret: ElileSecret) -> None:
        """The object delivers, and perhaps under another name or in another mode than before: clear away the former.

        By owner and not by the name in the status: a pass that died after its write left no word of it there. That name
        is looked at too, since a Secret whose label somebody removed is not followed any more.
        """
        namespace, uid, name = secret.metadata.namespace or "", secret.metadata.uid, secret.metadata.name
        former = {
            live.name: live
            for live in (*self._world.live.owned(namespace, uid), *self._world.live.shared(namespace, name))
        }
        previous = secret.status.secret_name
        if previous not in (None, secret.secret_name, *former):
            found = await self._writer.read(namespace, previous or "")
            if found is not None:
                former[previous or ""] = read_secret(found, self._key)
        for live in former.values():
            if live.name != secret.secret_name and not live.deleting:
                await self._clear(secret, live)
        if not _undoes(secret) and (body := await finalizer.let_go(self._kube, ELILE_SECRETS, secret)):
            self._world.secrets.observe(body)

    async def if_gone(
        self,
        secret: ElileSecret,
        live: LiveSecret | None,
        violation: Violation,
        sightings: Iterable[Sightings | None],
    ) -> Violation:
        """Its sources cannot be read: remove what was delivered if that is wanted, and they are gone for good.

        Answers what is to be said: that it was removed, or else the violation. `sightings` are those of the paths
        without which nothing can be delivered. Raises KubeConflictError when the Secret changed meanwhile.
        """
        if not removes(secret, violation):
            return violation
        seen = as_seen(secret, live)
        if live is None or seen is None or not seen.keys:
            return still_gone(secret) or violation
        if not is_gone(sightings, seen, now=self._clock.now(), lag=self._standby_lag):
            return violation
        self._world.check_current(secret)
        if secret.merges and secret.metadata.name in live.shares:
            await self._writer.release(live, merge_manager(secret.metadata.name))
        else:  # owned, perhaps until it can be merged
            await self._delete(live)
        return gone(secret, violation)

    async def _clear(self, secret: ElileSecret, live: LiveSecret) -> None:
        if secret.metadata.uid in live.owner_uids:
            if goes_with(secret, live) and not live.strangers:
                await self._delete(live)
                return
            await self._writer.disown(live, secret.metadata.uid)
        elif secret.metadata.name in live.shares and takes_out(secret):
            await self._writer.release(live, merge_manager(secret.metadata.name))

    async def _take_out(self, secret: ElileSecret) -> None:
        """Take our keys out of every Secret that is known to have some, and out of the one in the status."""
        namespace, name = secret.metadata.namespace or "", secret.metadata.name
        names = {live.name for live in self._world.live.shared(namespace, name)}
        for each in sorted(names | {secret.status.secret_name or secret.secret_name}):
            # As it is now, and not as the watch told last: a conflict would only cost another pass.
            found = await self._writer.read(namespace, each)
            live = read_secret(found, self._key) if found else None
            if live is not None and name in live.shares:
                await self._writer.release(live, merge_manager(name))

    async def _delete(self, live: LiveSecret) -> None:
        await self._writer.delete(live)
        self._on_deleted()

    async def _tell_orphaned(self, secret: ElileSecret) -> None:
        meta = secret.metadata
        note = (
            f"the API server does not let the operator take {', '.join(secret.status.keys)} out of Secret "
            f"{meta.namespace}/{secret.status.secret_name}, where they stay; remove them by hand"
        )
        fields = {"namespace": meta.namespace, "name": meta.name, "reason": Reason.KEYS_ORPHANED}
        log.warning("%s", note, extra={"fields": fields})
        await self._events.tell(ELILE_SECRETS, meta, reason=Reason.KEYS_ORPHANED, note=note, warning=True)


def _undoes(secret: ElileSecret) -> bool:
    return undoes(secret) or leases(secret)
