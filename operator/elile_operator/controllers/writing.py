"""Writing the Secret of an ElileSecret: what differs, once more after a conflict, and what to say to a refusal."""

import logging
from collections.abc import Awaitable, Callable

from elile_operator.api.elilesecret import ElileSecret, SourceStatus
from elile_operator.api.reasons import Reason
from elile_operator.controllers.world import World
from elile_operator.decide.binding import not_bound
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.live import LiveSecret, read_data, read_secret
from elile_operator.decide.manifest import frame, manifest
from elile_operator.decide.merge import as_seen, check_keys, former_manager
from elile_operator.decide.ownership import check_ownership, compare
from elile_operator.decide.render import Rendered
from elile_operator.decide.secret import Write, plan_write
from elile_operator.decide.violation import Violation
from elile_operator.delivery.secrets import SecretWriter
from elile_operator.engine import ObjectKey
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeConflictError, KubeForbiddenError, KubeInvalidError

__all__ = ["Writing", "Written", "with_keys"]

log = logging.getLogger(__name__)

# The Secret as it is then, what was delivered of each source, and the write; None when nothing differed.
Written = tuple[LiveSecret, tuple[SourceStatus, ...], Write | None]


class Writing:
    """Writes Secrets. `hold` sees to the finalizer before the first write, `on_written` is told what a write did."""

    def __init__(
        self,
        *,
        world: World,
        writer: SecretWriter,
        key: FingerprintKey,
        account: str,
        hold: Callable[[ElileSecret], Awaitable[None]],
        on_written: Callable[[str], None],
    ) -> None:
        self._world = world
        self._writer = writer
        self._key = key
        self._account = account
        self._hold = hold
        self._on_written = on_written

    async def write(
        self,
        secret: ElileSecret,
        live: LiveSecret | None,
        sources: tuple[SourceStatus, ...],
        data: Rendered,
        *,
        again: bool = False,
    ) -> Written | Violation:
        """Write what differs from the Secret as it is known."""
        if taken := check_keys(secret, live, data):
            return taken
        namespace = secret.metadata.namespace or ""
        where = f"Secret {namespace}/{secret.secret_name}"
        seen, wanted, stamp = as_seen(secret, live), frame(secret, live), self._key.stamp(data)
        write = plan_write(secret, seen, wanted, stamp, sources)
        if write is None and seen is not None:
            return seen, sources, None
        assert write is not None  # noqa: S101 - a Secret that does not exist is always written
        self._world.check_current(secret)
        await self._hold(secret)
        body = manifest(wanted, data, stamp, write.revision, sources)
        former = former_manager(secret, live)
        try:
            written = await self._writer.write(
                body, live, manager=wanted.manager, former=former, exact=not wanted.merged
            )
        except KubeConflictError:
            if again:
                raise  # changing under our hands: back off
            return await self._on_conflict(secret, sources, data)
        except KubeForbiddenError:
            return not_bound(namespace, self._account)
        except KubeInvalidError:
            return Violation(
                Reason.SECRET_CONFLICT,
                f"the API server refuses to update {where} (immutable, of another type, or an admission policy forbids "
                "it); delete that Secret or allow the update, and it is written anew",
            )
        self._world.observe_own_write(written, ObjectKey(namespace, secret.metadata.name))
        self._on_written("updated" if live else "created")
        fields = {"kind": "ElileSecret", "namespace": secret.metadata.namespace, "name": secret.metadata.name}
        log.debug("Secret written", extra={"fields": {**fields, "revision": write.revision}})
        after = as_seen(secret, read_secret(written, self._key))
        assert after is not None  # noqa: S101 - it was just written
        return after, sources, write

    async def _on_conflict(
        self, secret: ElileSecret, sources: tuple[SourceStatus, ...], data: Rendered
    ) -> Written | Violation:
        """The Secret is not what the watch had told: look at it itself, and decide once more."""
        found = await self._writer.read(secret.metadata.namespace or "", secret.secret_name)
        actual = read_secret(found, self._key) if found else None
        if refused := check_ownership(secret, actual):
            return with_keys(refused, data, found)
        done = await self.write(secret, actual, sources, data, again=True)
        if found is not None and not isinstance(done, Violation) and done[2] is None:
            self._world.live.observe(found)
        return done


def with_keys(foreign: Violation, data: Rendered, body: Json | None) -> Violation:
    """Add which keys of a Secret that is not ours are equal, and which differ; names only."""
    return Violation(foreign.reason, f"{foreign.message} ({compare(data, read_data(body or {}))})")
