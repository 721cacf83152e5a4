"""Serves /livez, /readyz and /metrics over HTTP from a thread with an event loop of its own.

Of its own for two reasons: it answers while the operator's loop is stuck, which is when the answer matters; and aiohttp
makes a task per connection, for which Kopf would wait at exit if it lived in Kopf's loop.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future

from aiohttp import web

from elile_operator.obs.failure import describe
from elile_operator.obs.health import Health, Report
from elile_operator.obs.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0  # for requests under way when the server stops


class ProbeServer:
    """GET /livez and /readyz answer 200 or 503 with the JSON of a `Report`; GET /metrics answers what `render` returns.

    `health` and `render` are called on the thread of the server. Port 0 takes any free port.
    """

    def __init__(self, *, health: Health, render: Callable[[], bytes], host: str, port: int) -> None:
        self._health = health
        self._render = render
        self._host = host
        self._port = port
        self._bound: Future[int] = Future()
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None

    async def start(self) -> int:
        """Bind and serve; answer the real port. Raises OSError if the address cannot be bound. Call it once."""
        # Futures that are running cannot be cancelled: the thread may set them, whatever becomes of who waits.
        self._bound.set_running_or_notify_cancel()
        self._ended.set_running_or_notify_cancel()
        # A daemon: a process that exits in haste, having lost its lease, must not wait for it.
        self._thread = threading.Thread(target=self._main, name="elile-probes", daemon=True)
        self._thread.start()
        return await asyncio.wrap_future(self._bound)

    async def stop(self) -> None:
        """Close the port and end the thread. Harmless if it never started."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it failed and its loop is closed
                self._loop.call_soon_threadsafe(self._closing.set)
            await asyncio.wrap_future(self._ended)
        if self._thread is not None:
            self._thread.join()

    def _main(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if not self._bound.done():
                self._bound.set_exception(error)
            else:
                log.error("the probe server failed", extra={"fields": {"error": describe(error)}})  # noqa: TRY400
        finally:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
            self._loop = asyncio.get_running_loop()
            self._bound.set_result(runner.addresses[0][1])
            await self._closing.wait()
        finally:
            await runner.cleanup()

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self._health.live())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._health.ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._render(), headers={"Content-Type": CONTENT_TYPE})


def _answer(report: Report) -> web.Response:
    return web.json_response(report.body(), status=200 if report.ok else 503)
