"""The HTTPS server that forwarders of hints talk to.

On a thread of its own, since whoever floods it must not hold up what the operator is for. It reads nothing and knows no
path: it decides who may talk, how much, and whether that is a batch of hints.
"""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from aiohttp import web

from elile_operator.decide.hints import MAX_BODY, Batch, MalformedHintsError, decode
from elile_operator.obs.serving import AppThread

__all__ = ["HintReceiver", "ReceiverError", "ReceiverObserver", "Tokens"]

log = logging.getLogger(__name__)

# Hints a second of one connection, ten times what a busy Vault writes; at most as many at once as a forwarder holds.
HINTS_PER_SECOND, BURST = 1_000.0, 10_000.0
# Whoever floods could open a new connection each time: for their first seconds, all of them have this much together.
YOUNG_SECONDS = 10.0
# What a request costs beside its hints, in hints: a flood of empty ones is one too.
REQUEST_COSTS = 10
LONGEST_WAIT = 1.0
# At one time, of all servers: a forwarder has one.
CONNECTIONS = 64
# Seconds that a request may take to come in, and that an idle connection is kept: three heartbeats.
READ_TIMEOUT, KEEP_ALIVE = 5.0, 15.0
LEAST_TOKEN = 16  # characters
REFUSED_WAIT = 0.2  # before a wrong token is told so
LOOK_EVERY = 2.0  # seconds, at the files of tokens and of the certificate


class ReceiverError(Exception):
    """The server cannot be started as it is set up; the message names the setting and the remedy."""


class ReceiverObserver(Protocol):
    """Told how each request was answered, for metrics. Called on the thread of the server."""

    def hint_request(self, *, code: int) -> None: ...


class Tokens:
    """A folder with a file for each VaultServer: its name is the server's, its content the forwarder's token.

    Files that come, change and go are noticed within seconds, as kubelet renews a mounted Secret. A token of less than
    16 characters counts as none, which is logged once.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._digests: dict[str, bytes] = {}
        self._read_at = -LOOK_EVERY
        self._short: set[str] = set()

    def knows(self, server: str) -> bool:
        """Whether a forwarder of this server may talk to the operator."""
        return server in self._read()

    def allows(self, server: str, token: str) -> bool:
        """Whether a token is the server's. As long for one that is unknown as for one that is wrong."""
        wanted = self._read().get(server, b"\0" * 32)
        # A header may hold any bytes, which come as surrogates.
        return hmac.compare_digest(wanted, hashlib.sha256(token.encode(errors="surrogateescape")).digest())

    def check(self) -> None:
        """Raise ReceiverError unless the folder can be read."""
        try:
            list(self._folder.iterdir())
        except OSError as e:
            raise ReceiverError(
                f"--hint-tokens {self._folder}: {e.strerror}; name a folder with a file for each VaultServer"
            ) from None
        self._read()

    def _read(self) -> dict[str, bytes]:
        now = time.monotonic()
        if now - self._read_at >= LOOK_EVERY:
            self._read_at = now
            self._digests = dict(self._load())
        return self._digests

    def _load(self) -> list[tuple[str, bytes]]:
        found = []
        with contextlib.suppress(OSError):
            for path in self._folder.iterdir():
                with contextlib.suppress(OSError, UnicodeDecodeError):
                    if not path.is_file():  # kubelet's own entries begin with two dots, and are folders
                        continue
                    if len(token := path.read_text().strip()) >= LEAST_TOKEN:
                        found.append((path.name, hashlib.sha256(token.encode()).digest()))
                    elif path.name not in self._short:
                        self._short.add(path.name)
                        why = f"has less than {LEAST_TOKEN} characters and counts as none; write a longer token there"
                        log.warning("--hint-tokens: %s %s, and to its forwarder", path, why)
        return found


@dataclass(slots=True)
class _Allowance:
    """Hints that may come now; they grow with time up to BURST."""

    left: float = BURST
    at: float = field(default_factory=time.monotonic)
    made: float = field(default_factory=time.monotonic)

    @property
    def young(self) -> bool:
        return time.monotonic() - self.made < YOUNG_SECONDS

    def take(self, hints: float) -> None:
        self._grow()
        self.left -= hints

    def wait(self) -> float:
        """Seconds until anything may come."""
        self._grow()
        return max(0.0, -self.left / HINTS_PER_SECOND)

    def _grow(self) -> None:
        now = time.monotonic()
        self.left, self.at = min(BURST, self.left + (now - self.at) * HINTS_PER_SECOND), now


class HintReceiver:
    """POST /v1/hints/{server} takes a batch, with the server's token as bearer token, and answers

    204 taken; 400 no batch; 401 wrong token, or a server without one; 408 too slow; 413 too long; 421 this process is
    not the leader: another one is; 429 too many hints: come back after `Retry-After` seconds; 503 too many connections.

    `take` is called in the event loop that `lead` was called in.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        certificate: Path,
        key: Path,
        tokens: Tokens,
        observer: ReceiverObserver,
    ) -> None:
        self._pair = (certificate, key)
        self._tokens = tokens
        self._observer = observer
        # By connection: one that floods leaves the others what is theirs.
        self._allowances: dict[object, _Allowance] = {}
        self._newcomers = _Allowance()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._seen: tuple[tuple[int, int], ...] = ()
        self._sink: tuple[asyncio.AbstractEventLoop, Callable[[str, Batch], None]] | None = None
        app = web.Application(client_max_size=MAX_BODY)
        app.router.add_post("/v1/hints/{server}", self._answer)
        app.cleanup_ctx.append(self._renewal)
        self._serving = AppThread(
            app, name="elile-hints", host=host, port=port, tls=self._context, keepalive_timeout=KEEP_ALIVE
        )

    async def start(self) -> int:
        """Bind and serve; answer the real port. Raises ReceiverError, and OSError if the address cannot be bound."""
        self._tokens.check()
        self._load_pair()
        return await self._serving.start()

    def lead(self, take: Callable[[str, Batch], None]) -> None:
        """This process is the leader from now on: hints go to `take`."""
        self._sink = (asyncio.get_running_loop(), take)

    def expects(self, server: str) -> bool:
        """Whether a forwarder of this server could talk to the operator."""
        return self._tokens.knows(server)

    async def stop(self) -> None:
        """Close the port and end the thread. Harmless if it never started."""
        await self._serving.stop()

    def _load_pair(self) -> None:
        certificate, key = self._pair
        self._seen = self._stamp()  # before it is read: what comes meanwhile is read again
        try:
            # By another context at first: one that took a certificate and no key for it would have neither.
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
            self._context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as e:
            why = e.strerror if isinstance(e, OSError) and not isinstance(e, ssl.SSLError) else "no certificate and key"
            raise ReceiverError(
                f"--hint-certificate {certificate}, --hint-key {key}: {why}; name a certificate in PEM and its key"
            ) from None

    async def _renewal(self, _: web.Application) -> AsyncIterator[None]:
        task = asyncio.create_task(self._keep_pair(), name="elile-hints-certificate")
        yield
        task.cancel()

    async def _keep_pair(self) -> None:
        """Take another certificate when its file changes."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            if self._stamp() != self._seen:
                try:
                    self._load_pair()
                except ReceiverError as e:  # half of the pair is there, or it is wrong: the one before is in use
                    log.warning("%s", e)

    def _stamp(self) -> tuple[tuple[int, int], ...]:
        stamps = []
        for path in self._pair:
            with contextlib.suppress(OSError):
                found = path.stat()
                stamps.append((found.st_mtime_ns, found.st_ino))
        return tuple(stamps)

    async def _answer(self, request: web.Request) -> web.Response:
        code, text = await self._take(request)
        self._observer.hint_request(code=code)
        answer = web.Response(status=code, text=text or None, headers={"Retry-After": "1"} if code == 429 else None)
        if code in (401, 503):
            answer.force_close()
        return answer

    async def _take(self, request: web.Request) -> tuple[int, str]:
        if len(self._serving.connections) > CONNECTIONS:
            return 503, f"more than {CONNECTIONS} connections"
        server = request.match_info["server"]
        scheme, _, token = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self._tokens.allows(server, token.strip()):
            await asyncio.sleep(REFUSED_WAIT)
            return 401, f"this is not the token of VaultServer {server[:253]!r}; it is in the folder of --hint-tokens"
        if (sink := self._sink) is None:
            return 421, "this process is not the leader; another replica is"
        own = self._allowance(request.protocol)
        allowances = (own, self._newcomers) if own.young else (own,)
        if (wait := max(a.wait() for a in allowances)) > 0:
            await asyncio.sleep(min(wait, LONGEST_WAIT))  # who waits for the answer sends nothing meanwhile
            if any(a.wait() > 0 for a in allowances):
                return 429, "too many hints"
        try:
            async with asyncio.timeout(READ_TIMEOUT):
                batch = decode(await request.read())
        except web.HTTPRequestEntityTooLarge:
            return 413, f"a batch of hints is at most {MAX_BODY} bytes"
        except TimeoutError:
            return 408, "the batch did not come in time"
        except MalformedHintsError as e:
            for allowance in allowances:
                allowance.take(REQUEST_COSTS)
            return 400, str(e)
        for allowance in allowances:
            allowance.take(len(batch.hints) + REQUEST_COSTS)
        loop, take = sink
        with contextlib.suppress(RuntimeError):  # the process ends
            loop.call_soon_threadsafe(take, server, batch)
        return 204, ""

    def _allowance(self, connection: object) -> _Allowance:
        if len(self._allowances) > 2 * CONNECTIONS:
            open_ = self._serving.connections
            self._allowances = {known: self._allowances[known] for known in open_ if known in self._allowances}
        return self._allowances.setdefault(connection, _Allowance())
