"""The objects of the fake: one resourceVersion for all, every write an event, and nothing forgotten but by order."""

import datetime as dt
import json
import uuid
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tests.fakes.kube import apply as server_side
from tests.fakes.kube.apply import Managed, Owner
from tests.fakes.kube.errors import (
    already_exists,
    bad_request,
    conflict,
    forbidden,
    internal,
    must_have_version,
    not_found,
)
from tests.fakes.kube.kinds import KINDS, NAMESPACES, SERVICE_ACCOUNTS, Kind, undeclared
from tests.fakes.kube.rules import prepare_new, prepare_update, same

__all__ = ["Event", "Key", "Record", "Storage", "Written"]

# etcd keeps five minutes; nobody who reconnects within a test needs more than this.
HISTORY = 50_000


class Key(NamedTuple):
    """An object of a kind; `namespace` is empty where there is none."""

    namespace: str
    name: str


class Record:
    """One version of one object. Never changed: a write makes another one."""

    __slots__ = ("_raw", "body", "managers")

    def __init__(self, body: dict[str, Any], managers: Mapping[Owner, Managed]) -> None:
        self.body = body
        self.managers = managers
        self._raw: bytes | None = None

    @property
    def version(self) -> int:
        return int(self.body["metadata"]["resourceVersion"])

    @property
    def key(self) -> Key:
        meta = self.body["metadata"]
        return Key(meta.get("namespace", ""), meta["name"])

    @property
    def raw(self) -> bytes:
        """As JSON; made once, because lists and streams of thousands send the same bytes."""
        if self._raw is None:
            self._raw = json.dumps(self.body, separators=(",", ":")).encode()
        return self._raw


@dataclass(frozen=True, slots=True)
class Event:
    """One change: from `old` (None: it is new) to `new` (None: it is gone), at a resourceVersion."""

    kind: Kind
    version: int
    old: Record | None
    new: Record | None


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to: the object, and `created`, `changed` or `unchanged`."""

    record: Record
    effect: str


@dataclass(slots=True)
class _Shelf:
    records: dict[Key, Record] = field(default_factory=dict)
    history: deque[Event] = field(default_factory=lambda: deque(maxlen=HISTORY))
    compacted: int = 0  # watches from before this version are told 410


class Storage:
    """All objects. Not thread-safe: everything happens in one event loop."""

    def __init__(self) -> None:
        self.version = 1000
        self.garbage_collection = True
        self._shelves: dict[Kind, _Shelf] = {kind: _Shelf() for kind in KINDS}
        self._subscribers: list[Callable[[Event], None]] = []
        self._owned: dict[str, set[tuple[Kind, Key]]] = {}
        self._uids: set[str] = set()
        for name in ("default", "kube-system"):
            self.create(NAMESPACES, "", {"metadata": {"name": name}}, "kube-apiserver")

    def subscribe(self, callback: Callable[[Event], None]) -> None:
        """Call back after every change."""
        self._subscribers.append(callback)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, kind: Kind, key: Key) -> Record:
        """Return an object. Raises StatusError 404."""
        found = self._shelves[kind].records.get(key)
        if found is None:
            raise not_found(kind, key.name)
        return found

    def records(self, kind: Kind, namespace: str | None = None) -> list[Record]:
        """All objects of a kind, or of a kind in a namespace, in the order of etcd's keys."""
        found = self._shelves[kind].records
        return [found[key] for key in sorted(found) if namespace is None or key.namespace == namespace]

    def since(self, kind: Kind, version: int) -> list[Event] | None:
        """Return what happened after a resourceVersion; None when that is too long ago."""
        shelf = self._shelves[kind]
        if version < shelf.compacted:
            return None
        return [event for event in shelf.history if event.version > version]

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def create(self, kind: Kind, namespace: str, body: Mapping[str, Any], manager: str) -> Written:
        """POST."""
        meta = body.get("metadata") or {}
        if meta.get("resourceVersion"):
            raise internal("resourceVersion should not be set on objects to be created")
        name = meta.get("name") or f"{meta.get('generateName', '')}{uuid.uuid4().hex[:5]}"
        named = {**body, "metadata": {**meta, "name": name}}
        return self._create(kind, Key(namespace, name), named, Owner(manager, "Update"), given=None)

    def replace(self, kind: Kind, key: Key, body: Mapping[str, Any], manager: str, subresource: str = "") -> Written:
        """PUT."""
        meta = body.get("metadata") or {}
        _check_name(key, meta)
        owner = Owner(manager, "Update", subresource)
        if key not in self._shelves[kind].records and kind.create_on_update and not subresource:
            return self._create(kind, key, body, owner, given=None)
        live = self.get(kind, key)
        if meta.get("uid") not in (None, "", live.body["metadata"]["uid"]):
            why = f"Precondition failed: UID in precondition: {meta['uid']}, UID in object meta: "
            raise conflict(kind, key.name, why + live.body["metadata"]["uid"])
        if not meta.get("resourceVersion") and not kind.unconditional_update:
            raise must_have_version(kind, key.name)
        return self._update(kind, live, body, owner, given=None)

    def patch(
        self, kind: Kind, key: Key, change: Callable[[dict[str, Any]], Any], manager: str, subresource: str = ""
    ) -> Written:
        """PATCH by merge or JSON patch; `change` gets a copy of the object and returns what it shall be."""
        live = self.get(kind, key)
        body = change(json.loads(live.raw))
        return self._update(kind, live, body, Owner(manager, "Update", subresource), given=None)

    def apply(
        self, kind: Kind, key: Key, body: Mapping[str, Any], manager: str, *, force: bool, subresource: str = ""
    ) -> Written:
        """PATCH by server-side apply, which creates what does not exist."""
        meta = body.get("metadata") or {}
        if body.get("apiVersion") != kind.api_version or body.get("kind") != kind.kind:
            raise bad_request("invalid object type: /, Kind=")
        if meta.get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        _check_name(key, meta)
        owner = Owner(manager, "Apply", subresource)
        given = _ownable(kind, body, subresource)
        live = self._shelves[kind].records.get(key)
        if live is None:
            return self._create_by_apply(kind, key, body, given, owner)
        merged = server_side.apply(kind, live.body, live.managers, given, owner, force=force)
        preconditions = {name: meta[name] for name in ("uid", "resourceVersion") if meta.get(name)}
        merged["metadata"] = {**merged["metadata"], **preconditions}
        return self._update(kind, live, merged, owner, given=given)

    def delete(self, kind: Kind, key: Key, preconditions: Mapping[str, Any] | None = None) -> Record | None:
        """DELETE. Return the object while finalizers keep it, None when it is gone."""
        live = self.get(kind, key)
        meta = live.body["metadata"]
        for name, label in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            wanted = (preconditions or {}).get(name)
            if wanted and wanted != meta[name]:
                why = f"the {label} in the precondition ({wanted}) does not match the {label} in record ({meta[name]})"
                raise conflict(kind, key.name, why)
        if kind is NAMESPACES:
            self._empty(key.name)
        if meta.get("finalizers"):
            if "deletionTimestamp" in meta:
                return live
            deleting = {**meta, "deletionTimestamp": _now(), "deletionGracePeriodSeconds": 0}
            if kind.generation:
                deleting["generation"] = meta.get("generation", 0) + 1
            return self._store(kind, live, {**live.body, "metadata": deleting}, live.managers).record
        self._remove(kind, live)
        return None

    def vanish(self, kind: Kind, key: Key) -> None:
        """Remove an object as no real server would: without an event, now or in the history."""
        self._forget(kind, self.get(kind, key))
        self.version += 1

    def compact(self) -> None:
        """Forget the history: every watch from an earlier version is told 410."""
        self.version += 1
        for shelf in self._shelves.values():
            shelf.history.clear()
            shelf.compacted = self.version

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _create_by_apply(
        self, kind: Kind, key: Key, body: Mapping[str, Any], given: Mapping[str, Any], owner: Owner
    ) -> Written:
        if owner.subresource:
            raise not_found(kind, key.name)
        if uid := (body.get("metadata") or {}).get("uid"):
            why = f"uid mismatch: the provided object specified uid {uid}, and no existing object was found"
            raise conflict(kind, key.name, why)
        named = {**given, "metadata": {**(given.get("metadata") or {}), "name": key.name}}
        return self._create(kind, key, named, owner, given=given)

    def _create(
        self, kind: Kind, key: Key, body: Mapping[str, Any], owner: Owner, given: Mapping[str, Any] | None
    ) -> Written:
        if kind.namespaced:
            home = self._shelves[NAMESPACES].records.get(Key("", key.namespace))
            if home is None:
                raise not_found(NAMESPACES, key.namespace)
            if "deletionTimestamp" in home.body["metadata"]:
                why = f"unable to create new content in namespace {key.namespace} because it is being terminated"
                raise forbidden(kind, key.name, why)
        if key in self._shelves[kind].records:
            raise already_exists(kind, key.name)
        named = {**body, "metadata": {**(body.get("metadata") or {}), "name": key.name}}
        new = prepare_new(kind, key.namespace, named, uid=str(uuid.uuid4()), time=_now())
        managers = server_side.track(kind, {}, new, {}, owner, time=_now(), given=given)
        written = self._store(kind, None, new, managers)
        if kind is NAMESPACES:
            # As the ServiceAccount controller does.
            self.create(SERVICE_ACCOUNTS, key.name, {"metadata": {"name": "default"}}, "kube-controller-manager")
        self._collect_orphan(kind, written.record)
        return written

    def _update(
        self, kind: Kind, live: Record, body: Mapping[str, Any], owner: Owner, given: Mapping[str, Any] | None
    ) -> Written:
        meta = body.get("metadata") or {}
        if meta.get("resourceVersion") not in (None, "", live.body["metadata"]["resourceVersion"]):
            raise conflict(kind, live.key.name)
        new = prepare_update(kind, live.body, body, owner.subresource)
        managers = server_side.track(kind, live.body, new, live.managers, owner, time=_now(), given=given)
        return self._store(kind, live, new, managers)

    def _store(
        self, kind: Kind, live: Record | None, body: dict[str, Any], managers: Mapping[Owner, Managed]
    ) -> Written:
        if live is not None and same(live.body, body) and _paths(live.managers) == _paths(managers):
            return Written(live, "unchanged")
        self.version += 1
        meta = {**body["metadata"], "resourceVersion": str(self.version)}
        meta["managedFields"] = server_side.render(kind, managers)
        record = Record({**body, "metadata": meta}, managers)
        shelf = self._shelves[kind]
        if live is not None:
            self._unlink(kind, live)
        if "deletionTimestamp" in meta and not meta.get("finalizers"):
            shelf.records[record.key] = record
            self._remove(kind, record)
            return Written(record, "changed")
        shelf.records[record.key] = record
        self._link(kind, record)
        self._tell(Event(kind, self.version, live, record))
        return Written(record, "created" if live is None else "changed")

    def _remove(self, kind: Kind, live: Record) -> None:
        self.version += 1
        self._forget(kind, live)
        self._tell(Event(kind, self.version, live, None))
        self._collect_dependents(live.body["metadata"]["uid"])

    def _forget(self, kind: Kind, live: Record) -> None:
        self._unlink(kind, live)
        self._uids.discard(live.body["metadata"]["uid"])
        del self._shelves[kind].records[live.key]

    def _tell(self, event: Event) -> None:
        self._shelves[event.kind].history.append(event)
        for callback in self._subscribers:
            callback(event)

    def _empty(self, namespace: str) -> None:
        for kind in (k for k in KINDS if k.namespaced):
            for record in self.records(kind, namespace):
                if record.key in self._shelves[kind].records:  # the garbage collector may have been faster
                    self.delete(kind, record.key)

    # ── the garbage collector ────────────────────────────────────────────────────────────────────────────────────────

    def _link(self, kind: Kind, record: Record) -> None:
        self._uids.add(record.body["metadata"]["uid"])
        for owner in _owners(record):
            self._owned.setdefault(owner, set()).add((kind, record.key))

    def _unlink(self, kind: Kind, record: Record) -> None:
        for owner in _owners(record):
            self._owned.get(owner, set()).discard((kind, record.key))

    def _collect_orphan(self, kind: Kind, record: Record) -> None:
        owners = _owners(record)
        if self.garbage_collection and owners and not any(uid in self._uids for uid in owners):
            self.delete(kind, record.key)

    def _collect_dependents(self, uid: str) -> None:
        for kind, key in sorted(self._owned.pop(uid, ()), key=lambda owned: owned[1]):
            record = self._shelves[kind].records.get(key)
            if record is not None:
                self._collect_orphan(kind, record)


def _owners(record: Record) -> list[str]:
    return [reference["uid"] for reference in record.body["metadata"].get("ownerReferences") or ()]


def _paths(managers: Mapping[Owner, Managed]) -> dict[Owner, frozenset[Any]]:
    return {owner: managed.paths for owner, managed in managers.items()}


def _ownable(kind: Kind, body: Mapping[str, Any], subresource: str) -> dict[str, Any]:
    """What an apply may claim: the status through its subresource, all but the status otherwise."""
    if subresource:
        given = {"status": body.get("status") or {}}
    else:
        given = {k: v for k, v in body.items() if v is not None and not (k == "status" and kind.status)}
        meta = body.get("metadata") or {}
        named = ("labels", "annotations", "ownerReferences", "finalizers")
        given["metadata"] = {name: meta[name] for name in named if meta.get(name) is not None}
    if kind.custom and (where := undeclared(given, {"properties": {**kind.properties, **_UNCHECKED}})):
        # 1.37 answers 500 here, not 422.
        raise internal(f"failed to create typed patch object: {where}: field not declared in schema")
    return given


_UNCHECKED: dict[str, Any] = {
    key: {"x-kubernetes-preserve-unknown-fields": True} for key in ("apiVersion", "kind", "metadata")
}


def _check_name(key: Key, meta: Mapping[str, Any]) -> None:
    if meta.get("name") not in (None, "", key.name):
        text = f"the name of the object ({meta['name']}) does not match the name on the URL ({key.name})"
        raise bad_request(text)
    if meta.get("namespace") not in (None, "", key.namespace):
        raise bad_request("the namespace of the provided object does not match the namespace sent on the request")


def _now() -> str:
    return dt.datetime.now(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
