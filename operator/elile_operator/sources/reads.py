"""Shared reads: however many objects want an entry, it is polled once, and read once after it changed."""

import logging
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Generic, Protocol, TypeVar

from elile.secrets.answers import KVMetadata, KVValue, KVVersionState
from elile.secrets.errors import (
    SecretConflictError,
    SecretNotFoundError,
    SecretsError,
    SecretsStaleAnswerError,
)
from elile.secrets.redact import SecretStr
from elile_operator.decide.access import Engine
from elile_operator.decide.hints import Hint
from elile_operator.decide.missing import Sightings
from elile_operator.decide.polling import Pace, together
from elile_operator.engine import Clock, Priority, Result, WorkQueue
from elile_operator.kube.errors import KubeError
from elile_operator.sources.fetching import Marks, fetcher
from elile_operator.sources.flight import Flights
from elile_operator.sources.folders import Folders
from elile_operator.sources.hinted import HintedEntries
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.known import Entry, Known, ReadError, knows, readable, said, sight
from elile_operator.sources.logins import Logins
from elile_operator.sources.pace import Pacer

__all__ = ["Entry", "ReadError", "ReadObserver", "SharedReads"]

R = TypeVar("R", bound=Hashable)
log = logging.getLogger(__name__)

_READ_ERRORS = (SecretsError, IdentityError, KubeError)

# Values wait this long for the other objects that were told of the same change.
HOLD_VALUES = 30.0
# A failing entry is looked at sooner than its interval says, at first: most causes are mended within a minute.
RETRY_BASE = 1.0
# Of one server, after hints were lost; leaves the rest of its limit to what is known to have changed.
COMPARED_PER_SECOND = 250.0
# What lasts for a while is asked for a moment after it ended: clocks differ, and engines work in rounds.
AFTER_ITS_END = 0.5
LEAST_DELAY = 1.0
_NOTHING_PINNED: frozenset[int] = frozenset()
# Answers that are older than one before come from a standby that is behind; if they say nothing else for so long, it is
# the entry that went back, as it does when a backup is restored.
BEHIND = 600.0


class ReadObserver(Protocol):
    """Told whether a read was shared, for metrics."""

    def shared_read(self, *, hit: bool) -> None: ...


class SharedReads(Generic[R]):
    """Entries by identity and path, and who reads them. It is also the reconciler of the polls: the keys are entries.

    `on_change` is called for each reader of an entry whose versions, or whose error, changed, whoever found that out: a
    poll, or one reader that looked or read for itself. `usable` tells whether a server is worth asking: while it is
    not, nothing is polled, and `look_again` makes up for it. `origin` tells a server from another one of the same name,
    `same_vault` whether two of them are one Vault.
    """

    def __init__(
        self,
        *,
        logins: Logins,
        clock: Clock,
        rand: Callable[[], float],
        polls: WorkQueue[Entry],
        on_change: Callable[[R], None],
        observer: ReadObserver,
        usable: Callable[[str], bool],
        origin: Callable[[str], object] = lambda _server: None,
        same_vault: Callable[[str, str], bool] = lambda _one, _other: False,
        marks: Marks | None = None,
    ) -> None:
        self._marks = marks or Marks()
        self._logins = logins
        self._clock = clock
        self._rand = rand
        self._polls = polls
        self._on_change = on_change
        self._observer = observer
        self._usable = usable
        self._origin = origin
        self._known: dict[Entry, Known[R]] = {}
        self._of_reader: dict[R, tuple[Entry, ...]] = {}
        self._flights: Flights[tuple[Entry, int | str]] = Flights("read")
        self._folders = Folders(logins=logins, clock=clock, tell=self._listed)
        self._hinted = HintedEntries(same_vault=same_vault)
        self._pacer = Pacer()

    # ── who reads ────────────────────────────────────────────────────────────────────────────────────────────────────

    def subscribe(self, reader: R, entries: Mapping[Entry, frozenset[int]], *, interval: timedelta) -> None:
        """Have entries polled for a reader at its interval, with the versions it is pinned to; replaces what it had."""
        seconds = interval.total_seconds()
        for before in self._of_reader.get(reader, ()):
            if before not in entries:
                self._leave(reader, before)
        kept = []
        for entry, pinned in entries.items():
            known = self._known.get(entry)
            if known is None:
                known = self._known[entry] = Known(entry, since=self._clock.now())
                self._folders.join(entry)
                self._hinted.join(entry)
                # The first look is the reader's own; the polls after it are spread over the interval.
                self._polls.add_after(entry, seconds * (0.5 + 0.5 * self._rand()))
            interval_before = known.interval if known.readers else seconds
            known.readers[reader] = (seconds, pinned or _NOTHING_PINNED)
            if known.interval < interval_before:
                self._polls.add_after(entry, known.interval * self._rand())
            kept.append(known.entry)
        self._of_reader[reader] = tuple(kept)

    def unsubscribe(self, reader: R) -> None:
        """Forget a reader, and the entries that nobody else reads."""
        for entry in self._of_reader.pop(reader, ()):
            self._leave(reader, entry)

    def in_use(self, identity: Identity) -> bool:
        """Whether anybody reads as this identity."""
        return any(entry.identity == identity for entry in self._known)

    def entries_of(self, server: str) -> list[Entry]:
        """All entries that are read from a server."""
        return [entry for entry in self._known if entry.identity.server == server]

    def pace(self, server: str) -> Pace:
        """How the polls of a server kept their intervals since this was asked last."""
        needed = sum(1.0 / self._known[entry].interval for entry in self.entries_of(server))
        return self._pacer.take(server, needed=needed)

    def follows(self, reader: R) -> bool:
        """Whether a reader will be told of the next change of its entries: this process has read all of them."""
        entries = self._of_reader.get(reader, ())
        return bool(entries) and all(self._known[entry].current is not None for entry in entries)

    def look_again(self, server: str) -> None:
        """A server is back, or is another one: what it was last heard to say counts no more, and all is polled soon."""
        entries = self.entries_of(server)
        self._folders.ask_again(server)
        for entry in entries:
            self._known[entry].looked, self._known[entry].failures = None, 0
            self._known[entry].missing = None
            self._known[entry].values.clear()
        self._polls.retry_now(entries)

    def expect(self, changed: Callable[[Entry], bool]) -> None:
        """Entries were written just now: their readers look at the server, whatever it said before."""
        for known in [known for entry, known in self._known.items() if changed(entry)]:
            known.looked = None
            self._tell(known)

    def hint(self, server: str, hint: Hint) -> bool:
        """A write was hinted at: whatever entry it is about is looked at, at once. Whether anybody reads such a one.

        Nothing is taken on trust: a hint only has its entry read, and not at once where the last one was wrong.
        """
        entries = list(self._hinted.about(server, hint))
        for entry in entries:
            known = self._known[entry]
            if not knows(known, hint.version):
                likely = known.current is not None and hint.version == known.current + 1
                due = self._hinted.note(entry, hint.version, sight(known), likely=likely)
                if due is not None:
                    self._polls.add_at(entry, due, priority=Priority.URGENT)
        return bool(entries)

    def compare_all(self, server: str) -> None:
        """Hints of a server may have been lost: all entries of that Vault are polled soon, each once."""
        entries = [entry for entry in self._known if self._hinted.concerns(server, entry)]
        for entry in entries:
            self._known[entry].looked = None
        self._polls.retry_now(entries, spread=max(1.0, len(entries) / COMPARED_PER_SECOND))

    def compared(self, entry: Entry) -> datetime | None:
        """When the entry was last compared with the server; before the first time, since when that is wanted."""
        known = self._known.get(entry)
        return (known.compared or known.since) if known else None

    def created(self, entry: Entry) -> datetime | None:
        """When the current version was made, by the server's clock; None while that is not known."""
        known = self._known.get(entry)
        return known.created if known else None

    def ends(self, reader: R) -> list[datetime]:
        """When the values of a reader's entries end, as far as the server said so."""
        found = (self._known[entry] for entry in self._of_reader.get(reader, ()))
        return [k.compared + timedelta(seconds=k.lasts) for k in found if k.lasts is not None and k.compared]

    def missing(self, entry: Entry) -> Sightings | None:
        """Since when, and until when, the server has said that nothing is there."""
        known = self._known.get(entry)
        return known.missing if known else None

    def __len__(self) -> int:
        return len(self._known)

    # ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────

    async def version(self, entry: Entry, pinned: int | None, *, max_age: float, on_behalf_of: str) -> int:
        """Return the version to deliver, asking the server when the last answer is older than `max_age` seconds.

        Raises what the last answer was, if it was an error, and SecretDeletedError or SecretNotFoundError.
        """
        known = self._known[entry]
        fresh = known.looked is not None and self._clock.monotonic() - known.looked <= max_age
        complete = pinned is None or pinned in known.facts or known.error is not None
        if not (fresh and complete):
            await self._look(entry, on_behalf_of)
        else:
            self._observer.shared_read(hit=True)
        if known.error is not None:
            raise known.error.with_traceback(None)
        return readable(entry, known, pinned)

    async def value(self, entry: Entry, version: int | None, *, on_behalf_of: str) -> KVValue:
        """Return a version, the current one for None; shared with everybody who wants it within half a minute."""
        known = self._known[entry]
        wanted = version if version is not None else known.current
        held = known.values.get(wanted) if wanted is not None else None
        self._observer.shared_read(hit=held is not None)
        if held is not None:
            return held
        return await self._flights.share(
            (entry, version if version is not None else "current"), lambda: self._fetch(entry, version, on_behalf_of)
        )

    async def create(self, entry: Entry, data: Mapping[str, SecretStr], *, on_behalf_of: str) -> None:
        """Write the first version of a KV v2 entry, unless somebody was first, whose version then is the one."""
        values = {key: value.reveal() for key, value in data.items()}
        with suppress(SecretConflictError):
            await self._logins.call(
                entry.identity,
                "write",
                lambda client, token: client.within(entry.namespace).kv2_write(
                    token, mount=entry.mount, path=entry.path, data=values, cas=0, on_behalf_of=on_behalf_of
                ),
                on_behalf_of=on_behalf_of,
            )

    async def reconcile(self, key: Entry) -> Result:
        """Poll one entry."""
        known = self._known.get(key)
        if known is None:
            return Result.absent()
        if not self._usable(key.identity.server):
            return Result.after(timedelta(seconds=known.interval))
        now = self._clock.monotonic()
        hinted = self._hinted.is_due(key, now)
        # With a failure on the books the delay may be shorter than the answer is old, which would be a tight loop.
        fine = known.error is None and not known.refused and not known.failures
        # A reader that looked for itself since has done it for this poll: after an outage, all of them do.
        if fine and not hinted and known.looked is not None and now - known.looked < self._regular(known) / 2:
            return self._next(known, known.looked + self._delay(known) - now)
        # A poll is for all readers; the audit log is told of one of them, so that it can be found at all.
        reader = str(next(iter(known.readers), ""))
        if hinted or not (fine and await self._folders.look(key, reader)):
            await self._look(key, reader)
        if hinted:
            current = known.current if known.error is None else None
            self._hinted.looked(key, sight(known), current, self._clock.monotonic())
        if known.refused:
            known.refused = False
            self._tell(known)  # who wanted the value tries again
        return self._next(known, self._delay(known))

    async def stop(self) -> None:
        """Cancel what is under way and drop all values."""
        await self._folders.stop()
        await self._flights.stop()
        for known in self._known.values():
            known.values.clear()
        self._known.clear()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _leave(self, reader: R, entry: Entry) -> None:
        known = self._known.get(entry)
        if known is None:
            return
        known.readers.pop(reader, None)
        if not known.readers:
            known.values.clear()
            del self._known[entry]
            self._folders.leave(entry)
            self._hinted.leave(entry)
            self._polls.drop(entry)

    async def _look(self, entry: Entry, on_behalf_of: str) -> None:
        """Ask for the versions, and tell all readers if anything that was known is different now."""
        await self._flights.share((entry, "metadata"), lambda: self._ask(entry, on_behalf_of))

    async def _ask(self, entry: Entry, on_behalf_of: str) -> None:
        known = self._known.get(entry)
        if known is None:
            return
        before = said(known.error)
        self._observer.shared_read(hit=False)
        if entry.engine is not Engine.KV2:
            # The value is what there is to compare; who wants it just now shares this read.
            try:
                await self._flights.share((entry, "current"), lambda: self._fetch(entry, None, on_behalf_of))
            except _READ_ERRORS:
                if said(known.error) != before:
                    self._tell(known)
            return
        try:
            found = await self._logins.call(
                entry.identity,
                "metadata",
                lambda client, token: client.within(entry.namespace).kv2_metadata(
                    token, mount=entry.mount, path=entry.path, on_behalf_of=on_behalf_of
                ),
                on_behalf_of=on_behalf_of,
            )
        except _READ_ERRORS as e:
            self._failed(entry, known, e)
            if said(known.error) != before:
                self._tell(known)
        else:
            self._heard(entry, known, found)

    def _heard(self, entry: Entry, known: Known[R], found: KVMetadata) -> None:
        before, changed = said(known.error), False
        state = found.versions.get(found.current)
        try:
            self._refuse_older(entry, found.current, state.created if state else None)
        except SecretsStaleAnswerError as e:
            self._failed(entry, known, e)
        else:
            changed = self._learn(entry, known, found)
        if changed or said(known.error) != before:
            self._tell(known)

    def _listed(self, entry: Entry, found: KVMetadata, asked: float) -> None:
        known = self._known.get(entry)
        # What an entry's own look says counts more: it may have been refused, or be younger than this answer.
        if known is not None and known.error is None and (known.looked is None or known.looked <= asked):
            self._heard(entry, known, found)

    async def _fetch(self, entry: Entry, version: int | None, on_behalf_of: str) -> KVValue:
        try:
            value, lasts = await self._logins.call(
                entry.identity, "read", fetcher(entry, version, on_behalf_of), on_behalf_of=on_behalf_of
            )
            if version is None and entry.engine is Engine.KV2:
                self._refuse_older(entry, value.version, value.created)
        except _READ_ERRORS as e:
            if (known := self._known.get(entry)) is not None:
                self._could_not_fetch(entry, known, e)
            raise
        known = self._known.get(entry)
        if known is None:
            return value
        if entry.engine is not Engine.KV2:
            value, known.lasts = self._numbered(known, value), lasts
            if lasts is not None:
                self._polls.add_after(entry, self._regular(known))
        known.values[value.version] = value
        self._clock.call_at(self._clock.monotonic() + HOLD_VALUES, partial(_let_go, known.values, value.version))
        known.facts[value.version] = KVVersionState(deleted=False, destroyed=False, created=value.created)
        if version is None:
            changed = known.current not in (None, value.version) or known.error is not None
            self._note_current(entry, known, value.version, value.created)
            self._answered(known)
            if changed:
                self._tell(known)
        return value

    def _could_not_fetch(self, entry: Entry, known: Known[R], error: ReadError) -> None:
        if entry.engine is not Engine.KV2:
            self._failed(entry, known, error)
            return
        # Not an error of the entry: what is known of its versions holds, also for those who have the value.
        known.refused, known.failures = True, known.failures + 1
        self._polls.add_after(entry, self._delay(known))

    def _numbered(self, known: Known[R], value: KVValue) -> KVValue:
        """Give a value that has no version the number of the one before, or the next one if it is another."""
        mark = self._marks.mark(value.data)
        number = known.current or 0
        if mark != known.mark or not number:
            number, known.mark = number + 1, mark
            known.facts.clear()
        return KVValue(number, value.data, value.created)

    def _tell(self, known: Known[R]) -> None:
        for reader in list(known.readers):
            self._on_change(reader)

    def _refuse_older(self, entry: Entry, version: int, created: datetime | None) -> None:
        """Take no answer that is older than one before: standbys answer reads, and may be behind.

        Two answers that cross on the way are the same case. A lower number may be newer all the same, once an entry was
        deleted with all its versions and written anew: its time tells.
        """
        known = self._known.get(entry)
        if known is None or known.current is None or version >= known.current:
            return
        anew = created is not None and known.created is not None and created > known.created
        if anew or known.origin is not self._origin(entry.identity.server):
            return
        now = self._clock.monotonic()
        if known.behind is None:
            known.behind = now
        if now - known.behind >= BEHIND:
            return
        raise SecretsStaleAnswerError(
            f"version {version} is said to be the last one, after version {known.current} was read",
            path=f"{entry.mount}/data/{entry.path}",
        )

    def _note_current(self, entry: Entry, known: Known[R], version: int, created: datetime | None) -> None:
        known.current, known.created, known.behind = version, created, None
        known.origin = self._origin(entry.identity.server)

    def _learn(self, entry: Entry, known: Known[R], found: KVMetadata) -> bool:
        facts = {v: found.versions[v] for v in {found.current, *known.pinned} if v in found.versions}
        told = {found.current, *known.pinned} & known.facts.keys()
        changed = any(known.facts[v] != facts.get(v) for v in told) or known.current not in (None, found.current)
        known.facts = facts
        state = found.versions.get(found.current)
        self._note_current(entry, known, found.current, state.created if state else None)
        self._answered(known)
        return changed

    def _answered(self, known: Known[R]) -> None:
        known.error = known.missing = None
        if not known.refused:  # the versions can be read and a value cannot: the next try is to come later, not sooner
            known.failures = 0
        now = self._clock.monotonic()
        if known.looked is not None:
            self._pacer.note(known.entry.identity.server, gap=now - known.looked, interval=known.interval)
        known.looked, known.compared = now, self._clock.now()

    def _failed(self, entry: Entry, known: Known[R], error: ReadError) -> None:
        known.error, known.failures = error, known.failures + 1
        known.looked = now = self._clock.monotonic()
        absent = type(error) is SecretNotFoundError and error.confirmed  # not its kinds, which are about something else
        known.missing = Sightings(known.missing.first if known.missing else now, now) if absent else None
        self._polls.add_after(entry, self._delay(known))

    def _regular(self, known: Known[R]) -> float:
        regular = known.interval * (0.95 + 0.05 * self._rand())
        return regular if known.lasts is None else min(regular, max(known.lasts + AFTER_ITS_END, LEAST_DELAY))

    def _next(self, known: Known[R], delay: float) -> Result:
        """Poll again after a delay, or sooner for a change that was hinted at."""
        now = self._clock.monotonic()
        left = self._hinted.left(known.entry, now)
        if left is not None:
            return Result.after(timedelta(seconds=min(delay, left)))
        if known.failures or known.lasts is not None:
            return Result.after(timedelta(seconds=delay))
        return Result.after(timedelta(seconds=together(now, delay, known.interval)))

    def _delay(self, known: Known[R]) -> float:
        """Seconds to the next poll: a little less than the interval, which is a promise; much less after an error."""
        regular = self._regular(known)
        if not known.failures:
            return regular
        return min(regular, RETRY_BASE * 2.0 ** min(known.failures - 1, 16) * (0.5 + 0.5 * self._rand()))


def _let_go(values: dict[int, KVValue], version: int) -> None:
    values.pop(version, None)
