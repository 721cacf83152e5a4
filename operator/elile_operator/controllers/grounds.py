"""What a pass of a rotation stands on: the live path, the login, the readers; and what is remembered of it."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from elile.secrets.errors import SecretsError
from elile.secrets.rotation.journal import JournalEntry, Owner, Value
from elile.secrets.rotation.journal import rotation_id as make_id
from elile.secrets.rotation.verify.outcome import Verification
from elile_operator.api import verify
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import FieldManager
from elile_operator.api.reasons import SCHEDULE_EFFECTS, Mark, Reason
from elile_operator.api.rotation import Rotation
from elile_operator.api.rotationschedule import LivePath, RotationSchedule, RotationScheduleStatus
from elile_operator.api.vaultserver import VaultServer, resolve
from elile_operator.controllers.driving import Ground, RunState
from elile_operator.controllers.status import apply_status
from elile_operator.controllers.world import World
from elile_operator.decide.orders import label_of
from elile_operator.decide.place import Place, explain_rotator, find_place, recorded_place
from elile_operator.decide.readers import (
    Counted,
    Followed,
    Reader,
    can_follow,
    count,
    has_followed,
    name_others,
    read_readers,
)
from elile_operator.decide.violation import Violation
from elile_operator.engine import ObjectKey
from elile_operator.kube.client import KubeClient
from elile_operator.kube.resources import ROTATION_SCHEDULES
from elile_operator.sources.identity import Identity
from elile_operator.sources.logins import Logins
from elile_operator.sources.reads import Entry, SharedReads
from elile_operator.sources.rotator import RotatorCalls, RotatorRefusedError
from elile_operator.sources.servers import Servers

__all__ = ["Grounds", "RunJob"]

T = TypeVar("T")

SYSTEM = ObjectKey("", "kube-system")


class RunJob(Protocol):
    """Runs the container of a hook on a value. Blocks."""

    def __call__(
        self,
        schedule: RotationSchedule,
        rotation_id: str,
        hook: verify.Hook,
        value: Value,
        attempt: str,
        *,
        loop: asyncio.AbstractEventLoop,
    ) -> Verification: ...


class Grounds:
    """Finds the ground of each pass in what is known of the cluster."""

    def __init__(
        self,
        *,
        world: World,
        servers: Servers,
        logins: Logins,
        reads: SharedReads[ObjectKey],
        kube: KubeClient,
        now: Callable[[], datetime],
        run_job: RunJob,
    ) -> None:
        self._world = world
        self._servers = servers
        self._logins = logins
        self._reads = reads
        self._kube = kube
        self._now = now
        self._run_job = run_job

    async def find(self, schedule: RotationSchedule, state: RunState, *, flying: bool) -> Ground | Violation:
        """Return the ground, or why there is none now. A run that is under way keeps to where it began."""
        namespace = schedule.metadata.namespace or ""
        place = self.place(schedule, flying=flying)
        if isinstance(place, Violation):
            return place
        server = self._server(place.server)
        assert server is not None  # noqa: S101 - the place is on it
        self._servers.link(server)
        if trouble := self._servers.trouble(place.server):
            return trouble
        cluster = self._servers.cluster(place.server)
        if cluster is None:
            return Violation(Reason.SERVER_NOT_READY, f"VaultServer {place.server!r} was not asked yet who it is")
        loop = asyncio.get_running_loop()
        calls = RotatorCalls(
            self._logins,
            Identity(
                place.server,
                place.role,
                namespace,
                place.service_account,
                place.method,
                place.login_namespace,
            ),
            place.vault_namespace,
            loop=loop,
            on_behalf_of=f"{namespace}/{schedule.metadata.name}",
        )
        readers = _Readers(self, schedule, place, cluster, loop)

        def run_job(hook: verify.Hook, value: Value) -> Verification:
            entry = state.entry
            phase = entry.phase.value if entry is not None else ""
            state.tries[phase, hook.name] += 1
            attempt = f"{phase}/{state.tries[phase, hook.name]}"
            rotation_id = entry.rotation_id if entry is not None else ""
            return self._run_job(schedule, rotation_id, hook, value, attempt, loop=loop)

        return Ground(
            schedule=schedule,
            place=place,
            admin_mount=resolve(server.spec.defaults.mount, namespace=namespace),
            calls=calls,
            readers=readers,
            can_follow=readers.can_follow,
            run_job=run_job,
            journal_id=self._id(place, "journal"),
            state=state,
        )

    def place(self, schedule: RotationSchedule, *, flying: bool) -> Place | Violation:
        """Return where the value is kept."""
        namespace = schedule.metadata.namespace or ""
        live = schedule.status.live_path
        server = self._server(live.server) if flying and live is not None else None
        if server is not None and (place := recorded_place(schedule, server)) is not None:
            return place
        found = self._world.secret(ObjectKey(namespace, schedule.spec.secret_ref.name))
        secret = found if isinstance(found, ElileSecret) else None
        server = self._server(secret.spec.vault.server) if secret is not None else None
        return find_place(schedule, secret, server, self._world.labels(namespace))

    async def record(self, schedule: RotationSchedule, place: Place) -> None:
        """Note in the status where the run begins, if that is not there yet."""
        live = LivePath(
            server=place.server,
            namespace=place.vault_namespace,
            mount=place.mount,
            path=place.path,
            prefix=place.prefix,
        )
        key = ObjectKey(schedule.metadata.namespace or "", schedule.metadata.name)
        current = self._world.schedule(key) or schedule
        if current.status.live_path == live:
            return
        written = await apply_status(
            self._kube,
            ROTATION_SCHEDULES,
            current,
            RotationScheduleStatus(live_path=live),
            manager=FieldManager.ROTATION_STATUS,
        )
        self._world.schedules.observe(written)

    def owner(self, schedule: RotationSchedule) -> Owner:
        """Return whose the journal is."""
        entry = self._world.namespaces.entry(SYSTEM)
        meta = schedule.metadata
        return Owner(entry.meta.uid if entry else "", meta.namespace or "", meta.name, meta.uid)

    def rotation_ids(self, place: Place, rotations: Sequence[Rotation]) -> Mapping[str, str]:
        """Return the identity of the run that each Rotation asks for, by the name of the Rotation."""
        return {r.metadata.name: self._id(place, label_of(r)) for r in rotations}

    def leaves(self, key: ObjectKey, schedule: RotationSchedule) -> bool:
        """Whether a schedule, or the ElileSecret whose value it rotates, is gone or on its way out."""
        secret = self._world.secret(ObjectKey(key.namespace, schedule.spec.secret_ref.name))
        found = (self._world.schedule(key), secret if isinstance(secret, ElileSecret) else None)
        return any(one is None or one.metadata.deletion_timestamp is not None for one in found)

    def explain(self, error: SecretsError, place: Place) -> Violation:
        """Return what an error of a call as the rotator says."""
        if isinstance(error, RotatorRefusedError):
            return error.violation
        server = self._server(place.server)
        return explain_rotator(error, place, server.spec.address if server is not None else place.server)

    def poll_interval(self, place: Place) -> timedelta:
        """Return how often the server is looked at."""
        server = self._server(place.server)
        return server.spec.poll.interval if server is not None else timedelta(minutes=1)

    def is_final(self, why: Violation) -> bool:
        """Whether a person has to change an object before the rotation can begin."""
        effect = SCHEDULE_EFFECTS.get(why.reason)
        return effect is not None and effect.stalled is Mark.TRUE

    # ── readers ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def readers(self, place: Place, cluster: str) -> tuple[Reader, ...]:
        """Return who reads the live path."""
        return read_readers(self._world.readers(cluster, place.where), cluster, place.where)

    def check_readers(self, ground: Ground) -> Violation | None:
        """Return why the readers could not follow a rotation, as far as is known now."""
        cluster = self._servers.cluster(ground.place.server) or ""
        schedule = ground.schedule
        return can_follow(self.readers(ground.place, cluster), schedule.spec.promote, schedule.metadata.namespace or "")

    def other_readers(self, ground: Ground) -> tuple[str, ...]:
        """Name who else reads the live path; those of other namespaces are counted."""
        schedule = ground.schedule
        readers = self.readers(ground.place, self._servers.cluster(ground.place.server) or "")
        return name_others(readers, schedule.metadata.namespace or "", schedule.spec.secret_ref.name)

    async def waits_for(self, ground: Ground, state: RunState) -> tuple[tuple[Reader, str], ...]:
        """Return the readers that a run waits for now."""
        entry = state.entry
        if entry is None or entry.live_version is None:
            return ()
        return self._followed(ground.schedule, ground.place, entry.live_version).waits_for

    async def count(self, ground: Ground, entry: JournalEntry) -> Counted | None:
        """Add up the pods of all readers; None before there is anything to follow."""
        if entry.live_version is None:
            return None
        cluster = self._servers.cluster(ground.place.server) or ""
        namespace = ground.schedule.metadata.namespace or ""
        return count(self.readers(ground.place, cluster), entry.live_version, namespace)

    def holds_up(self, waits_for: tuple[tuple[Reader, str], ...]) -> Mapping[ObjectKey, str]:
        """Return what is told to each object that a run waits for."""
        return {
            ObjectKey(reader.namespace, reader.name): f"a rotation of {reader.where} waits for this object: {why}"
            for reader, why in waits_for
        }

    def describe(self, ground: Ground, waits_for: tuple[tuple[Reader, str], ...]) -> str:
        """Say who is waited for; those of other namespaces are counted."""
        namespace = ground.schedule.metadata.namespace or ""
        own = [f"ElileSecret {r.name!r}: {why}" for r, why in waits_for if r.namespace == namespace]
        others = len({(r.namespace, r.name) for r, _ in waits_for if r.namespace != namespace})
        if others:
            own.append(f"{others} ElileSecret{'s' if others > 1 else ''} of other namespaces")
        return "; ".join(own[:3])

    def _followed(self, schedule: RotationSchedule, place: Place, live_version: int) -> Followed:
        readers = self.readers(place, self._servers.cluster(place.server) or "")
        return has_followed(readers, live_version, schedule.spec.promote, self._now())

    def _urge(self, place: Place, cluster: str, live_version: int) -> None:
        late = {r.namespace for r in self.readers(place, cluster) if r.version < live_version}

        def is_late(entry: Entry) -> bool:
            same = (entry.namespace, entry.mount, entry.path) == (place.vault_namespace, place.mount, place.path)
            mine = entry.identity.namespace in late and self._servers.cluster(entry.identity.server) == cluster
            return same and mine

        self._reads.expect(is_late)

    # ── small things ─────────────────────────────────────────────────────────────────────────────────────────────────

    def _server(self, name: str) -> VaultServer | None:
        found = self._world.servers.get(ObjectKey("", name))
        return found if isinstance(found, VaultServer) else None

    def _id(self, place: Place, trigger: str) -> str:
        return make_id(
            cluster_id=self._servers.cluster(place.server) or "",
            namespace=place.vault_namespace or "",
            mount=place.mount,
            path=place.path,
            trigger=trigger,
        )


class _Readers:
    """The readers of one live path, for the engine's thread: what is known of the cluster belongs to the loop's."""

    def __init__(
        self,
        grounds: Grounds,
        schedule: RotationSchedule,
        place: Place,
        cluster: str,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._grounds = grounds
        self._schedule = schedule
        self._place = place
        self._cluster = cluster
        self._loop = loop

    def can_follow(self) -> Violation | None:
        """Return why they could not follow a rotation."""
        namespace = self._schedule.metadata.namespace or ""
        promote = self._schedule.spec.promote
        return self._ask(lambda: can_follow(self._grounds.readers(self._place, self._cluster), promote, namespace))

    def urge(self, live_version: int) -> None:
        self._ask(lambda: self._grounds._urge(self._place, self._cluster, live_version))

    def followed(self, live_version: int) -> Followed:
        return self._ask(lambda: self._grounds._followed(self._schedule, self._place, live_version))

    def _ask(self, function: Callable[[], T]) -> T:
        async def ask() -> T:
            return function()

        return asyncio.run_coroutine_threadsafe(ask(), self._loop).result()
