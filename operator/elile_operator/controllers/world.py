"""What the operator knows of the cluster: one store for each kind it watches, and how objects find each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from elile.secrets.rotation.journal import Phase
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import SECRET_LABEL
from elile_operator.api.model import InvalidObject, ObjectMeta
from elile_operator.api.rotation import Rotation
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.api.targets import RedisApply
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.managed import ManagedSecrets
from elile_operator.controllers.packed import PackedSecret
from elile_operator.decide.orders import is_open
from elile_operator.decide.pods import PodView, Workload, read_pod
from elile_operator.decide.schedule_status import IDLE
from elile_operator.engine import Change, Entry, ObjectKey, ObjectStore
from elile_operator.engine.body import Body
from elile_operator.obs.objects import ObjectSample
from elile_operator.obs.rotations import RotationSample

__all__ = ["SECRET_SELECTOR", "Namespace", "SupersededError", "Unreadable", "World", "spec_or_wish_changed"]

V = TypeVar("V")

_NEVER = datetime.min.replace(tzinfo=UTC)

# On all that we own, with a name; on what we merge into, without one.
SECRET_SELECTOR = SECRET_LABEL


class SupersededError(Exception):
    """An object was edited or deleted while its sources were read; the change has asked for a pass of its own."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that this version cannot read: written under another version's CRD. `message` names the fields."""

    metadata: ObjectMeta
    message: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace, as far as a VaultServer may select it, and whether it is on its way out."""

    labels: Mapping[str, str]
    terminating: bool = False


class World:
    """The stores. Secrets (`live`) are kept without their data, pods only while they use a Secret."""

    def __init__(self, live: ManagedSecrets) -> None:
        self._writer: ObjectKey | None = None
        self.servers: ObjectStore[ObjectKey, VaultServer | Unreadable] = ObjectStore(
            kind="VaultServer", key_of=_key, project=lambda body: _read(VaultServer.from_body, body)
        )
        self.secrets: ObjectStore[ObjectKey, PackedSecret | Unreadable] = ObjectStore(
            kind="ElileSecret",
            key_of=_key,
            project=lambda body: _read(PackedSecret.of, body),
            indexes={
                "server": lambda v: (v.server,) if isinstance(v, PackedSecret) else (),
                "namespace": lambda v: (v.namespace if isinstance(v, PackedSecret) else v.metadata.namespace,),
                "target": lambda v: [(v.namespace, name) for name in v.targets] if isinstance(v, PackedSecret) else (),
                "read": lambda v: [(v.cluster, path) for path in v.paths] if isinstance(v, PackedSecret) else (),
            },
        )
        self.schedules: ObjectStore[ObjectKey, RotationSchedule | Unreadable] = ObjectStore(
            kind="RotationSchedule",
            key_of=_key,
            project=lambda body: _read(RotationSchedule.from_body, body),
            indexes={"secret": _secret_of, "group": _group_of},
        )
        self.rotations: ObjectStore[ObjectKey, Rotation | Unreadable] = ObjectStore(
            kind="Rotation",
            key_of=_key,
            project=lambda body: _read(Rotation.from_body, body),
            indexes={"schedule": _schedule_of},
        )
        self.live = live
        self.pods: ObjectStore[ObjectKey, PodView] = ObjectStore(
            kind="Pod",
            key_of=_key,
            project=read_pod,
            indexes={
                "secret": lambda pod: ((pod.namespace, name) for name in pod.secrets),
                "owner": lambda pod: ((pod.namespace, pod.owner),) if pod.owner else (),
            },
        )
        self.namespaces: ObjectStore[ObjectKey, Namespace] = ObjectStore(
            kind="Namespace",
            key_of=_key,
            project=lambda body: Namespace(
                body["metadata"].get("labels") or {}, terminating="deletionTimestamp" in body["metadata"]
            ),
        )

    def secret(self, key: ObjectKey) -> ElileSecret | Unreadable | None:
        """Return an ElileSecret as it is known."""
        found = self.secrets.get(key)
        return found.unpack() if isinstance(found, PackedSecret) else found

    def schedule(self, key: ObjectKey) -> RotationSchedule | None:
        """Return a RotationSchedule as it is known; none for one that cannot be read."""
        found = self.schedules.get(key)
        return found if isinstance(found, RotationSchedule) else None

    def rotations_of(self, schedule: ObjectKey) -> list[Rotation]:
        """Return the Rotations of a schedule in the order in which they were made."""
        found = (self.rotations.get(key) for key in self.rotations.by("schedule", schedule))
        readable = [rotation for rotation in found if isinstance(rotation, Rotation)]
        return sorted(readable, key=lambda r: (r.metadata.creation_timestamp or _NEVER, r.metadata.name))

    def open_rotations(self, schedule: ObjectKey) -> list[Rotation]:
        """Return those of them that have not ended."""
        return [rotation for rotation in self.rotations_of(schedule) if is_open(rotation)]

    def current(self, rotation: Rotation | None) -> Rotation | None:
        """Return a Rotation as it is known now; None for one that has ended, is gone or is another one by now."""
        if rotation is None:
            return None
        meta = rotation.metadata
        found = self.rotations.get(ObjectKey(meta.namespace or "", meta.name))
        if not isinstance(found, Rotation) or found.metadata.uid != meta.uid:
            return None
        return found if is_open(found) else None

    def readers(self, cluster: str, path: str) -> list[ElileSecret]:
        """Return the ElileSecrets that have read a path of a Vault, by their status."""
        found = (self.secret(key) for key in self.secrets.by("read", (cluster, path)))
        return [secret for secret in found if isinstance(secret, ElileSecret)]

    def samples(self) -> list[ObjectSample]:
        """Return what every ElileSecret tells for metrics."""
        found = map(self.secrets.get, self.secrets.keys())
        return [packed.told for packed in found if isinstance(packed, PackedSecret)]

    def rotation_samples(self) -> list[RotationSample]:
        """Return what every RotationSchedule tells for metrics."""
        found = map(self.schedule, self.schedules.keys())
        return [_rotation_sample(schedule) for schedule in found if schedule is not None]

    def server_of(self, key: ObjectKey) -> str:
        """Name the VaultServer that an ElileSecret reads from; none for one that is gone or cannot be read."""
        found = self.secrets.get(key)
        return found.server if isinstance(found, PackedSecret) else ""

    def target_of(self, schedule: ObjectKey) -> str:
        """Name the server whose accounts a schedule changes; its own name where there is none."""
        found = self.schedule(schedule)
        target = found.spec.apply.target if found is not None and found.spec.apply is not None else None
        match target:
            case None:
                return f"{schedule.namespace}/{schedule.name}"
            case RedisApply():
                return f"{target.nodes[0].host}:{target.nodes[0].port}"
            case _:
                return f"{target.host}:{target.port}"

    def observe_own_write(self, body: Body, writer: ObjectKey) -> None:
        """Take a Secret that was just written for an ElileSecret: that one knows, and the watch's echo is no change."""
        self._writer = writer
        try:
            self.live.observe(body)
        finally:
            self._writer = None

    @property
    def writer(self) -> ObjectKey | None:
        """For which ElileSecret the change of a Secret was made that is being told now; None: not by us."""
        return self._writer

    def check_current(self, secret: ElileSecret) -> None:
        """Raise SupersededError unless an ElileSecret is still wanted in the way it was when a pass began."""
        meta = secret.metadata
        known = self.secrets.entry(ObjectKey(meta.namespace or "", meta.name))
        if known is None or (known.meta.uid, known.meta.generation) != (meta.uid, meta.generation):
            raise SupersededError

    def terminating(self, namespace: str) -> bool:
        """Whether a namespace is being deleted, with all that is in it."""
        found = self.namespaces.get(ObjectKey("", namespace))
        return found is not None and found.terminating

    def users(self, namespace: str, secret_name: str) -> list[PodView]:
        """Return the pods that use a Secret."""
        found = (self.pods.get(key) for key in self.pods.by("secret", (namespace, secret_name)))
        return [pod for pod in found if pod is not None]

    def pods_of(self, namespace: str, workload: Workload) -> list[PodView]:
        """Return the pods of a workload that use Secrets."""
        found = (self.pods.get(key) for key in self.pods.by("owner", (namespace, workload)))
        return [pod for pod in found if pod is not None]

    def labels(self, namespace: str) -> Mapping[str, str]:
        """Return the labels of a namespace; none while it is unknown."""
        found = self.namespaces.get(ObjectKey("", namespace))
        return found.labels if found else {}


def spec_or_wish_changed(change: Change[ObjectKey, Any]) -> bool:
    """Whether an object must be looked at again: our own status writes are no reason, a wish to refresh is."""
    return change.spec_changed or _wish(change.old) != _wish(change.new)


def _wish(entry: Entry[Any] | None) -> str | None:
    return entry.value.wish if entry is not None and isinstance(entry.value, PackedSecret) else None


def _secret_of(value: RotationSchedule | Unreadable) -> tuple[ObjectKey, ...]:
    if not isinstance(value, RotationSchedule):
        return ()
    return (ObjectKey(value.metadata.namespace or "", value.spec.secret_ref.name),)


def _group_of(value: RotationSchedule | Unreadable) -> tuple[tuple[str, str], ...]:
    if not isinstance(value, RotationSchedule) or value.spec.group is None:
        return ()
    return ((value.metadata.namespace or "", value.spec.group.name),)


def _rotation_sample(schedule: RotationSchedule) -> RotationSample:
    status = schedule.status
    next_, succeeded = status.next_rotation_time, status.last_successful_time
    return RotationSample(
        namespace=schedule.metadata.namespace or "",
        schedule=schedule.metadata.name,
        phase=status.phase or IDLE,
        next=next_.timestamp() if next_ is not None else None,
        succeeded=succeeded.timestamp() if succeeded is not None else None,
        failures=status.consecutive_failures or 0,
        missed=status.missed_runs or 0,
        needs_intervention=status.phase == Phase.NEEDS_INTERVENTION,
    )


def _schedule_of(value: Rotation | Unreadable) -> tuple[ObjectKey, ...]:
    if not isinstance(value, Rotation):
        return ()
    return (ObjectKey(value.metadata.namespace or "", value.spec.schedule_ref.name),)


def _key(body: Body) -> ObjectKey:
    meta = body["metadata"]
    return ObjectKey(meta.get("namespace") or "", meta["name"])


def _read(read: Callable[[Body], V], body: Body) -> V | Unreadable:
    try:
        return read(body)
    except InvalidObject as e:
        meta = body["metadata"]
        return Unreadable(
            ObjectMeta(
                name=meta["name"],
                namespace=meta.get("namespace"),
                uid=str(meta.get("uid", "")),
                generation=int(meta.get("generation") or 0),
            ),
            str(e),
        )
