"""Asking pods by HTTP which revisions they have loaded, until all of them have the one that was delivered."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Protocol

import aiohttp

from elile_operator.api.consumers import HttpProof
from elile_operator.decide.pods import PodView
from elile_operator.decide.proof import MAX_ANSWER, address, read_answer
from elile_operator.engine import ObjectKey, Result, WorkQueue

__all__ = ["Asks", "HttpAsker", "Prober"]

log = logging.getLogger(__name__)

# Of one object: pods that do not answer must not keep those of others waiting.
AT_ONCE = 4
IN_A_TURN = 64
# From the change on: most pods have the file within a quarter of a second, and their process a little later.
FIRST = timedelta(seconds=0.5)
LONGEST = timedelta(seconds=30)
TIMEOUT = 2.0  # seconds for one question and its answer


class Asks(Protocol):
    """How a pod is asked."""

    async def ask(self, url: str) -> bytes | None:
        """Return what is answered with 200, None for everything else. Never raises for what a pod does."""

    async def close(self) -> None:
        """Let go of what is open."""


class HttpAsker:
    """One connection for each question: no cookies, no redirects, no proxy, nothing unpacked, a bounded body."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, url: str) -> bytes | None:
        """As the protocol says. As by kubelet's probes, a certificate is not verified: none names the pod's address."""
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(force_close=True, ssl=False),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
                timeout=aiohttp.ClientTimeout(TIMEOUT),
                headers={"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "elile-operator"},
            )
        try:
            async with self._session.get(url, allow_redirects=False) as answer:
                if answer.status != 200:
                    return None
                body = bytearray()
                async for chunk in answer.content.iter_any():
                    body += chunk
                    if len(body) > MAX_ANSWER:
                        return None
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError):
            return None

    async def close(self) -> None:
        """Close what is open; a later question opens it again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


@dataclass(slots=True)
class _Wanted:
    name: str
    revision: int
    proof: HttpProof
    pods: Mapping[str, str]  # uid → address
    turn: list[str]  # uids, who was asked longest ago first
    answers: dict[str, int]
    pause: timedelta = FIRST / 2  # doubled by each turn without news


class Prober:
    """Asks for each ElileSecret the pods that have to prove, in growing pauses; the reconciler of its own queue."""

    def __init__(self, asker: Asks, *, queue: WorkQueue[ObjectKey], on_news: Callable[[ObjectKey], None]) -> None:
        self._asker = asker
        self._queue = queue
        self._on_news = on_news
        self._wanted: dict[ObjectKey, _Wanted] = {}

    def want(self, key: ObjectKey, revision: int, proof: HttpProof, pods: Sequence[PodView]) -> None:
        """Ask these pods from now on; none: rest. A new revision, another question or other pods begin anew."""
        known = self._wanted.get(key)
        urls = {pod.uid: url for pod in pods if (url := address(pod.ip, proof))}
        if known is not None and (known.revision, known.proof, known.pods) == (revision, proof, urls):
            return
        answers = {uid: told for uid, told in (known.answers if known else {}).items() if uid in urls}
        if not urls:
            self.forget(key)
            return
        self._wanted[key] = _Wanted(key.name, revision, proof, urls, list(urls), answers)
        self._queue.add(key)

    def forget(self, key: ObjectKey) -> None:
        """Ask nobody any more."""
        self._wanted.pop(key, None)

    def answers(self, key: ObjectKey) -> Mapping[str, int]:
        """Return what the pods answered last, by uid."""
        wanted = self._wanted.get(key)
        return MappingProxyType(wanted.answers) if wanted else MappingProxyType({})

    async def reconcile(self, key: ObjectKey) -> Result:
        """Ask those that have not proved it; tell when one did."""
        wanted = self._wanted.get(key)
        if wanted is None:
            return Result.absent()
        before = dict(wanted.answers)
        await self._ask_some(wanted)
        news = wanted.answers != before
        if news:
            self._on_news(key)
        if self._wanted.get(key) is not wanted or not self._missing(wanted):
            return Result.done()  # asked for something else meanwhile, which is due already; or proved
        wanted.pause = FIRST if news else min(2 * wanted.pause, LONGEST)
        return Result.after(wanted.pause)

    async def close(self) -> None:
        """Let go of the connections."""
        await self._asker.close()

    def _missing(self, wanted: _Wanted) -> list[str]:
        return [uid for uid in wanted.turn if wanted.answers.get(uid, 0) < wanted.revision]

    async def _ask_some(self, wanted: _Wanted) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        asked = self._missing(wanted)[:IN_A_TURN]
        wanted.turn = [uid for uid in wanted.turn if uid not in set(asked)] + asked

        async def ask(uid: str) -> None:
            async with gate:
                body = await self._asker.ask(wanted.pods[uid])
            revision = read_answer(body, wanted.name) if body is not None else None
            if revision is not None:
                wanted.answers[uid] = revision

        async with asyncio.TaskGroup() as group:
            for uid in asked:
                group.create_task(ask(uid), name=f"elile-proof-{uid}")
