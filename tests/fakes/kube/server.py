"""The fake as a test uses it: a thread with a server on loopback, and plain functions around its storage."""

import asyncio
import concurrent.futures
import copy
import json
import ssl
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from aiohttp import web

from tests.fakes.kube.chaos import Chaos, Requests
from tests.fakes.kube.errors import StatusError
from tests.fakes.kube.http import Api
from tests.fakes.kube.kinds import SERVICE_ACCOUNTS, find_kind
from tests.fakes.kube.storage import Key

__all__ = ["FakeKube"]

T = TypeVar("T")
Body = dict[str, Any]
START_WITHIN = 10.0
CALL_WITHIN = 60.0


class FakeKube:
    """One API server, from `start` to `stop`, or for the time of a `with`. Thread-safe.

    Functions that read and write name kinds as `kubectl get` does, singular or plural, and bypass HTTP: neither faults
    nor the log of requests know of them.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._api = Api()
        self._loop = asyncio.new_event_loop()
        self._stopping = asyncio.Event()
        self._started = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fake-kube", daemon=True)
        self.port = 0

    # ── life ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    def start(self) -> "FakeKube":
        self._thread.start()
        if not self._started.wait(START_WITHIN):
            raise RuntimeError("the fake API server does not start")
        return self

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(START_WITHIN)

    def __enter__(self) -> "FakeKube":
        return self.start()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def write_kubeconfig(self, file: Path) -> Path:
        """Write how to reach it; without TLS everybody is an administrator."""
        named = {"cluster": "fake", "user": "fake"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "fake", "cluster": {"server": self.url}}],
            "users": [{"name": "fake", "user": {}}],
            "contexts": [{"name": "fake", "context": named}],
            "current-context": "fake",
        }
        file.write_text(json.dumps(config))
        return file

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        runner = web.AppRunner(self._api.application(), access_log=None, shutdown_timeout=0.5, handle_signals=False)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self.port, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        self._started.set()
        await self._stopping.wait()
        self._api.streams.kick()
        await runner.cleanup()
        await asyncio.sleep(0.1)  # closed connections are let go of in later turns of the loop

    def _call(self, function: Callable[[], T]) -> T:
        """Run a function in the server's loop, where all its state lives."""
        answer: concurrent.futures.Future[T] = concurrent.futures.Future()

        def run() -> None:
            try:
                answer.set_result(function())
            except Exception as error:
                answer.set_exception(error)

        self._loop.call_soon_threadsafe(run)
        return answer.result(CALL_WITHIN)

    # ── objects ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, *bodies: Body, manager: str = "kubectl") -> None:
        """Apply objects by force, as a user does."""

        def run() -> None:
            for body in bodies:
                kind = find_kind(body["kind"])
                self._api.storage.apply(kind, _key(body), body, manager, force=True)

        self._call(run)

    def create(self, body: Body, manager: str = "kubectl") -> Body:
        kind = find_kind(body["kind"])
        return self._call(lambda: self._api.storage.create(kind, _key(body).namespace, body, manager).record.body)

    def get(self, kind: str, name: str, namespace: str = "") -> Body:
        """Return an object. Raises StatusError 404."""
        found = self._call(lambda: self._api.storage.get(find_kind(kind), Key(namespace, name)).body)
        return copy.deepcopy(found)

    def find(self, kind: str, name: str, namespace: str = "") -> Body | None:
        """Return an object, None if there is none."""
        try:
            return self.get(kind, name, namespace)
        except StatusError:
            return None

    def list(self, kind: str, namespace: str | None = None) -> list[Body]:
        """All objects of a kind. The bodies are the stored ones: look, do not touch."""
        return [r.body for r in self._call(lambda: self._api.storage.records(find_kind(kind), namespace))]

    def edit(
        self, kind: str, name: str, namespace: str, change: Callable[[Body], Any], manager: str = "kubectl"
    ) -> None:
        """Change an object in place, as `kubectl edit` does."""

        def changed(body: Body) -> Body:
            change(body)
            return body

        self._call(lambda: self._api.storage.patch(find_kind(kind), Key(namespace, name), changed, manager))

    def delete(self, kind: str, name: str, namespace: str = "") -> None:
        self._call(lambda: self._api.storage.delete(find_kind(kind), Key(namespace, name)))

    def token(self, namespace: str, account: str, *, audiences: Iterable[str] = ("kubernetes",)) -> str:
        """Return a token of a ServiceAccount, as kubelet would mount it."""
        audience = list(audiences)
        return self._call(
            lambda: self._api.tokens.mint(
                self._api.storage.get(SERVICE_ACCOUNTS, Key(namespace, account)), audience, 3600
            )[0]
        )

    # ── requests ─────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def requests(self) -> Requests:
        """All requests so far."""
        return self._call(lambda: Requests(self._api.chaos.log))

    def clear_requests(self) -> None:
        self._call(self._api.chaos.log.clear)

    # ── faults ───────────────────────────────────────────────────────────────────────────────────────────────────────

    @property
    def chaos(self) -> Chaos:
        """Orders for answers: `answer`, `stop`, `latency`, `tokens`. Single assignments, safe from any thread."""
        return self._api.chaos

    def streams(self, resource: str) -> int:
        """How many watches of a resource are open and alive."""
        return self._call(lambda: self._api.streams.count(resource))

    def kick_streams(self) -> None:
        """End every watch."""
        self._call(self._api.streams.kick)

    def stream_error(self, code: int, message: str, resources: Collection[str] = ()) -> int:
        """Send an ERROR event into open watches, then end them; answers how many."""
        return self._call(lambda: self._api.streams.error(code, message, frozenset(resources)))

    def expire_streams(self) -> None:
        """410 for every watch, open or resumed."""
        self._call(self._api.streams.expire)

    def expire_pages(self) -> None:
        """410 for every continue token that was handed out."""
        self._call(self._api.expire_pages)

    def silence_streams(self, on: bool = True) -> None:
        """Let open watches go dead without ending; new ones too, as long as it is on."""
        self._call(lambda: self._api.streams.silence(on))

    def vanish(self, kind: str, names: Iterable[str], namespace: str = "") -> None:
        """Remove objects without an event."""
        keys = [Key(namespace, name) for name in names]

        def run() -> None:
            for key in keys:
                self._api.storage.vanish(find_kind(kind), key)

        self._call(run)

    def bookmarks_every(self, seconds: float) -> None:
        self._call(lambda: setattr(self._api.streams, "bookmark_every", seconds))


def _key(body: Mapping[str, Any]) -> Key:
    meta = body["metadata"]
    return Key(meta.get("namespace") or "", meta.get("name", ""))
