"""What the operator knows of the cluster: one store for each kind it watches, and how objects find each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import SECRET_LABEL
from elile_operator.api.model import InvalidObject, ObjectMeta
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.managed import ManagedSecrets
from elile_operator.controllers.packed import PackedSecret
from elile_operator.decide.pods import PodView, Workload, read_pod
from elile_operator.engine import Change, Entry, ObjectKey, ObjectStore
from elile_operator.engine.body import Body
from elile_operator.obs.objects import ObjectSample

__all__ = ["SECRET_SELECTOR", "Namespace", "SupersededError", "Unreadable", "World", "spec_or_wish_changed"]

V = TypeVar("V")

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
            },
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

    def samples(self) -> list[ObjectSample]:
        """Return what every ElileSecret tells for metrics."""
        found = map(self.secrets.get, self.secrets.keys())
        return [packed.told for packed in found if isinstance(packed, PackedSecret)]

    def server_of(self, key: ObjectKey) -> str:
        """Name the VaultServer that an ElileSecret reads from; none for one that is gone or cannot be read."""
        found = self.secrets.get(key)
        return found.server if isinstance(found, PackedSecret) else ""

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
