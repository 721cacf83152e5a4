"""Watch streams: what happened since a resourceVersion, what happens now, bookmarks, and every way to break one."""

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kube.errors import StatusError, expired, of_chaos
from tests.fakes.kube.kinds import Kind
from tests.fakes.kube.selectors import Selector
from tests.fakes.kube.storage import Event, Record, Storage

__all__ = ["Stream", "Streams"]

TOO_OLD = "too old resource version"


@dataclass(slots=True, eq=False)
class Stream:
    """One open watch. A dead one stays open and says nothing more, as a connection does whose other end is gone."""

    kind: Kind
    namespace: str | None
    selects: Selector
    queue: asyncio.Queue[bytes | None] = field(default_factory=asyncio.Queue)
    dead: bool = False

    def put(self, event: Event) -> None:
        """Send an event, as it looks through the selector."""
        if (line := self._line(event)) is not None:
            self.queue.put_nowait(line)

    def _line(self, event: Event) -> bytes | None:
        was, is_now = self._sees(event.old), self._sees(event.new)
        if is_now is not None:
            return _encode("ADDED" if was is None else "MODIFIED", is_now.raw)
        if was is None:
            return None
        # The object as it last was in the selection, with the version at which it left.
        meta = {**was.body["metadata"], "resourceVersion": str(event.version)}
        return _encode("DELETED", json.dumps({**was.body, "metadata": meta}).encode())

    def _sees(self, record: Record | None) -> Record | None:
        if record is None or (self.namespace is not None and record.key.namespace != self.namespace):
            return None
        return record if self.selects(record.body) else None


def _encode(type_: str, raw: bytes) -> bytes:
    return b'{"type":"' + type_.encode() + b'","object":' + raw + b"}\n"


def _error(error: StatusError) -> bytes:
    return _encode("ERROR", json.dumps(error.body()).encode())


class Streams:
    """All open watches, and the switches that break them."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._open: set[Stream] = set()
        self._silent = False
        self.bookmark_every = 60.0
        storage.subscribe(self._event)

    def __len__(self) -> int:
        return len(self._open)

    async def follow(
        self, stream: Stream, version: str, *, bookmarks: bool, seconds: float | None
    ) -> AsyncIterator[bytes]:
        """Yield the lines of one watch until its time is over, or until it is broken."""
        stream.dead = self._silent
        if not await self._catch_up(stream, version):
            yield stream.queue.get_nowait() or b""
            return
        self._open.add(stream)
        loop = asyncio.get_running_loop()
        ends = None if seconds is None else loop.time() + seconds
        try:
            while True:
                wait = self.bookmark_every if ends is None else min(self.bookmark_every, max(0.0, ends - loop.time()))
                try:
                    async with asyncio.timeout(wait):
                        line = await stream.queue.get()
                except TimeoutError:
                    # A dead stream also outlives its time, and its end never arrives.
                    if not stream.dead and bookmarks:
                        yield self._bookmark(stream.kind)
                    if ends is not None and loop.time() >= ends:
                        if not stream.dead:
                            return
                        ends = None
                    continue
                lines = [line]
                while not stream.queue.empty():
                    lines.append(stream.queue.get_nowait())
                text = b"".join(line for line in lines if line is not None)
                if text:
                    yield text
                if None in lines:
                    return
        finally:
            self._open.discard(stream)

    async def _catch_up(self, stream: Stream, version: str) -> bool:
        if version in ("", "0"):
            # "Get state and start at any": what there is comes as ADDED.
            for record in self._storage.records(stream.kind, stream.namespace):
                stream.put(Event(stream.kind, record.version, None, record))
            return True
        missed = self._storage.since(stream.kind, int(version))
        if missed is None:
            # In the stream, after a 200: so it is answered from the watch cache.
            stream.queue.put_nowait(_error(expired(f"{TOO_OLD}: {version}")))
            return False
        if not stream.dead:
            for event in missed:
                stream.put(event)
        return True

    def _bookmark(self, kind: Kind) -> bytes:
        meta: dict[str, Any] = {"resourceVersion": str(self._storage.version)}
        body = {"kind": kind.kind, "apiVersion": kind.api_version, "metadata": meta}
        return _encode("BOOKMARK", json.dumps(body).encode())

    def _event(self, event: Event) -> None:
        for stream in self._open:
            if stream.kind is event.kind and not stream.dead:
                stream.put(event)

    # ── the switches ─────────────────────────────────────────────────────────────────────────────────────────────────

    def count(self, resource: str) -> int:
        """How many watches of a resource are open and alive."""
        return sum(s.kind.plural == resource and not s.dead for s in self._open)

    def kick(self) -> None:
        """End every stream, as a restart of the API server does."""
        for stream in self._open:
            stream.queue.put_nowait(None)

    def error(self, code: int, message: str, resources: frozenset[str] = frozenset()) -> int:
        """Send an ERROR event into open streams, then end them; answers how many."""
        hit = [s for s in self._open if not resources or s.kind.plural in resources]
        for stream in hit:
            stream.queue.put_nowait(_error(of_chaos(code, message)))
            stream.queue.put_nowait(None)
        return len(hit)

    def expire(self) -> None:
        """Forget the history and tell every stream: 410 now, and 410 to whoever returns with an old version."""
        self._storage.compact()
        self.error(410, TOO_OLD)

    def silence(self, on: bool) -> None:
        """Let all open streams go dead, and while it is on every new one too."""
        self._silent = on
        for stream in self._open:
            stream.dead = stream.dead or on
