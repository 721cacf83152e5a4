"""What is known of the objects of one kind: the newest version of each, whichever of watch, list and write told first.

Three writers race: watch events, list pages (a snapshot that may be minutes old when its last page arrives) and the
answers to our own writes. The rules that make their order irrelevant:

1. A body never replaces a newer one, by resourceVersion.
2. A deleted object stays deleted for bodies that are not newer than its deletion (a tombstone says so).
3. Only a complete list may remove what it does not name, and only what nobody has told of since that list began.
4. Where versions cannot be compared, the order of arrival decides between watch events, and a watch event beats a list.
"""

import logging
from collections.abc import Callable, Hashable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from elile_operator.engine.body import Body, Meta, parse_version, read_meta
from elile_operator.engine.index import Filed, Indexes, IndexFunction

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry(Generic[V]):
    """One object as it is known: the projected value, and the metadata it came with."""

    value: V
    meta: Meta


@dataclass(frozen=True, slots=True)
class Change(Generic[K, V]):
    """One object became known (`old` is None), became another (both) or vanished (`new` is None)."""

    key: K
    old: Entry[V] | None
    new: Entry[V] | None

    @property
    def spec_changed(self) -> bool:
        """False for a mere touch: status, labels, annotations, the echo of our own write.

        True if the object came, went, was recreated, is now being deleted, or its generation moved. For kinds without
        generations always True.
        """
        if self.old is None or self.new is None:
            return True
        old, new = self.old.meta, self.new.meta
        return new.generation is None or (old.uid, old.generation, old.deleting) != (
            new.uid,
            new.generation,
            new.deleting,
        )


@dataclass(slots=True)
class _Slot(Generic[V]):
    entry: Entry[V]
    filed: Filed
    observed: int  # when somebody last told of it, in ticks


@dataclass(frozen=True, slots=True)
class _Tombstone:
    version: int | None
    buried: int  # in ticks


class ObjectStore(Generic[K, V]):
    """The objects of one kind by key, in one event loop. Not thread-safe; nothing here awaits or does I/O.

    `key_of` and `project` read a body; `project` returns what is worth keeping (a Secret without its data), or None for
    an object that is none of our business. `indexes` maps names to functions of the projected value. All are pure. A
    body they choke on is logged by exception class and leaves what is known as it was. Every store needs its Resync,
    which also clears the tombstones of deleted objects away.
    """

    def __init__(
        self,
        *,
        kind: str,
        key_of: Callable[[Body], K],
        project: Callable[[Body], V | None],
        indexes: Mapping[str, IndexFunction[V]] | None = None,
    ) -> None:
        self.kind = kind
        self._key_of = key_of
        self._project = project
        self._indexes: Indexes[K, V] = Indexes(indexes or {})
        self._slots: dict[K, _Slot[V]] = {}
        self._tombstones: dict[K, _Tombstone] = {}
        self._subscribers: list[Callable[[Change[K, V]], None]] = []
        self._tick = 0
        self._last_listing = 0

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def get(self, key: K) -> V | None:
        """The value of `key`, None if there is no such object."""
        slot = self._slots.get(key)
        return slot.entry.value if slot else None

    def entry(self, key: K) -> Entry[V] | None:
        """Value and metadata of `key`, None if there is no such object."""
        slot = self._slots.get(key)
        return slot.entry if slot else None

    def by(self, index: str, index_key: Hashable) -> frozenset[K]:
        """Keys of the objects that `index` files under `index_key`. Raises KeyError for an unknown index."""
        return self._indexes.by(index, index_key)

    def keys(self) -> tuple[K, ...]:
        """All keys, as of now."""
        return tuple(self._slots)

    def __iter__(self) -> Iterator[K]:
        return iter(self.keys())

    def __len__(self) -> int:
        return len(self._slots)

    def __contains__(self, key: object) -> bool:
        return key in self._slots

    def subscribe(self, callback: Callable[[Change[K, V]], None]) -> None:
        """Call `callback` after every change, at once and in order. It must be quick; what it raises is only logged."""
        self._subscribers.append(callback)

    # ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def observe(self, body: Body, *, deleted: bool = False) -> Change[K, V] | None:
        """A watch event, or the answer to a write. Answers the change, None if it told nothing new. Never raises."""
        return self._observe(body, deleted=deleted)

    def forget(self, key: K) -> Change[K, V] | None:
        """`key` does not exist, as a 404 says. Unlike a deletion event this cannot tell which version was the last."""
        slot = self._slots.get(key)
        if slot is None:
            return None
        self._bury(key, slot.entry.meta.version)
        return self._remove(key, slot)

    def begin_listing(self) -> "Listing[K, V]":
        """Call before the first page is asked for: what is observed from here on outlives the list that comes."""
        self._tick += 1
        # A tombstone is against bodies that were under way when the object went: after a whole listing, none are.
        self._tombstones = {k: t for k, t in self._tombstones.items() if t.buried > self._last_listing}
        self._last_listing = self._tick
        return Listing(self, self._tick)

    def replace_all(self, seen: Mapping[K, Any], started_at: int, *, version: str = "") -> tuple[K, ...]:
        """Remove what a complete list did not name: objects neither in `seen` nor observed since `started_at`.

        `started_at` is `Listing.started_at`; `version` the list's resourceVersion, if known. Answers the removed keys.
        """
        snapshot = parse_version(version)
        vanished = []
        for key, slot in list(self._slots.items()):
            if key in seen or slot.observed > started_at:
                continue
            known = slot.entry.meta.version
            if snapshot is not None and known is not None and known > snapshot:
                continue  # the list is older than what we know, as from a replica that lags: it has no say
            # No tombstone: should the list have lied, the next one must be able to bring the object back.
            self._remove(key, slot)
            vanished.append(key)
        return tuple(vanished)

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _key(self, body: Body) -> K | None:
        try:
            return self._key_of(body)
        except Exception as error:
            self._cannot_read(error)
            return None

    def _observe(self, body: Body, *, deleted: bool = False, listing_since: int | None = None) -> Change[K, V] | None:
        if (key := self._key(body)) is None:
            return None
        slot = self._slots.get(key)
        try:
            meta = read_meta(body)
            # Before the projection, which is most of the work: of a list, nearly every body is known already.
            if self._is_stale(meta, deleted, slot, self._tombstones.get(key), listing_since):
                return None
            value = None if deleted else self._project(body)
            filed = self._indexes.compute(value) if value is not None else ()
        except Exception as error:  # a body nobody foresaw must not end the watch
            self._cannot_read(error)
            return None
        self._tick += 1
        if value is None:
            # Also for an unknown key: a page that was cut before this event may still bring the object.
            if deleted or slot is not None or listing_since is None:
                self._bury(key, meta.version)
            return self._remove(key, slot) if slot else None
        self._tombstones.pop(key, None)
        return self._put(key, slot, Entry(value, meta), filed)

    @staticmethod
    def _is_stale(
        meta: Meta, deleted: bool, slot: _Slot[V] | None, tombstone: _Tombstone | None, listing_since: int | None
    ) -> bool:
        """Whether a body is outdated, or an echo of what is known."""
        version = meta.version
        if tombstone is not None:
            if version is not None and tombstone.version is not None:
                return version <= tombstone.version
            return listing_since is not None and tombstone.buried > listing_since
        if slot is None:
            return False
        known = slot.entry.meta
        if version is not None and known.version is not None:
            # A deletion may carry the version that was deleted; anything else with a known version is an echo.
            return version < known.version or (version == known.version and not deleted)
        if listing_since is not None and slot.observed > listing_since:
            return True
        if deleted:
            return bool(meta.uid and known.uid and meta.uid != known.uid)  # of a predecessor with the same name
        return bool(meta.resource_version) and meta == known

    def _put(self, key: K, slot: _Slot[V] | None, entry: Entry[V], filed: Filed) -> Change[K, V]:
        self._indexes.put(key, slot.filed if slot else (), filed)
        self._slots[key] = _Slot(entry, filed, self._tick)
        return self._tell(Change(key, slot.entry if slot else None, entry))

    def _remove(self, key: K, slot: _Slot[V]) -> Change[K, V]:
        del self._slots[key]
        self._indexes.put(key, slot.filed, ())
        return self._tell(Change(key, slot.entry, None))

    def _bury(self, key: K, version: int | None) -> None:
        self._tombstones[key] = _Tombstone(version, self._tick)

    def _tell(self, change: Change[K, V]) -> Change[K, V]:
        for callback in self._subscribers:
            try:
                callback(change)
            except Exception as error:  # the other subscribers, and the watch, have done nothing wrong
                log.error(  # noqa: TRY400 — the traceback of a foreign exception ends in its text
                    "a subscriber failed", extra={"fields": {"kind": self.kind, "error": type(error).__name__}}
                )
        return change

    def _cannot_read(self, error: Exception) -> None:
        # Only the class: the text of a KeyError or a validation error quotes the body.
        log.warning("cannot read an object", extra={"fields": {"kind": self.kind, "error": type(error).__name__}})


class Listing(Generic[K, V]):
    """One list of all objects of a kind, page by page. Drop it if the list fails; what it observed stays right."""

    def __init__(self, store: ObjectStore[K, V], started_at: int) -> None:
        self.started_at = started_at
        self.seen: dict[K, None] = {}
        self.repaired = 0  # bodies and gaps that watch events had not told of
        self._store = store

    def observe(self, body: Body) -> Change[K, V] | None:
        """One body of a page."""
        store = self._store
        # Seen even if it cannot be read further: an object that exists must not vanish because it is odd.
        if (key := store._key(body)) is None:
            return None
        self.seen[key] = None
        change = store._observe(body, listing_since=self.started_at)
        self.repaired += change is not None
        return change

    def complete(self, version: str = "") -> tuple[K, ...]:
        """The last page is in: remove what vanished. `version` is the resourceVersion of the list, not of an object."""
        vanished = self._store.replace_all(self.seen, self.started_at, version=version)
        self.repaired += len(vanished)
        return vanished
