"""What the operator knows of the cluster: one store for each kind it watches, and how objects find each other."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import MANAGED_BY, MANAGED_BY_LABEL
from elile_operator.api.model import InvalidObject, ObjectMeta
from elile_operator.api.vaultserver import VaultServer
from elile_operator.controllers.managed import ManagedSecrets
from elile_operator.controllers.packed import PackedSecret
from elile_operator.decide.pods import PodView, read_pod
from elile_operator.engine import Change, Entry, ObjectKey, ObjectStore
from elile_operator.engine.body import Body
from elile_operator.obs.objects import ObjectSample

__all__ = ["SECRET_SELECTOR", "Namespace", "Unreadable", "World", "spec_or_wish_changed"]

V = TypeVar("V")

SECRET_SELECTOR = f"{MANAGED_BY_LABEL}={MANAGED_BY}"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """An object that this version cannot read: written under another version's CRD. `message` names the fields."""

    metadata: ObjectMeta
    message: str


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace, as far as a VaultServer may select it."""

    labels: Mapping[str, str]


class World:
    """The stores. Secrets (`live`) are kept without their data, pods only while they use a Secret."""

    def __init__(self, live: ManagedSecrets) -> None:
        self._writing = False
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
            indexes={"secret": lambda pod: ((pod.namespace, name) for name in pod.secrets)},
        )
        self.namespaces: ObjectStore[ObjectKey, Namespace] = ObjectStore(
            kind="Namespace",
            key_of=_key,
            project=lambda body: Namespace(body["metadata"].get("labels") or {}),
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

    def observe_own_write(self, body: Body) -> None:
        """Take a Secret that was just written by us: its change wakes nobody, and neither does the watch's echo."""
        self._writing = True
        try:
            self.live.observe(body)
        finally:
            self._writing = False

    @property
    def writing(self) -> bool:
        """Whether the change of a Secret that is being told now is our own write."""
        return self._writing

    def users(self, namespace: str, secret_name: str) -> list[PodView]:
        """Return the pods that use a Secret."""
        found = (self.pods.get(key) for key in self.pods.by("secret", (namespace, secret_name)))
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
