"""An aiohttp application on a thread with an event loop of its own.

Of its own, since aiohttp makes a task per connection, for which Kopf would wait at exit if it lived in Kopf's loop; and
so that neither holds up the other.
"""

import asyncio
import contextlib
import logging
import ssl
import threading
from collections.abc import Collection
from concurrent.futures import Future
from typing import Any

from aiohttp import web

from elile_operator.obs.failure import describe

__all__ = ["AppThread"]

log = logging.getLogger(__name__)

CLOSE_SECONDS = 1.0  # for requests under way when the server stops


class AppThread:
    """Serves an application, whose handlers are called on the thread. Port 0 takes any free port.

    `name` is the thread's; `settings` go to aiohttp's runner.
    """

    def __init__(
        self,
        app: web.Application,
        *,
        name: str,
        host: str,
        port: int,
        tls: ssl.SSLContext | None = None,
        **settings: Any,
    ) -> None:
        self._app = app
        self._name = name
        self._host = host
        self._port = port
        self._tls = tls
        self._settings = settings
        self._runner: web.AppRunner | None = None
        self._bound: Future[int] = Future()
        self._ended: Future[None] = Future()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closing = asyncio.Event()
        self._thread: threading.Thread | None = None

    @property
    def connections(self) -> Collection[object]:
        """Those that are open; asked for on the thread."""
        server = self._runner.server if self._runner is not None else None
        return server.connections if server is not None else ()

    async def start(self) -> int:
        """Bind and serve; answer the real port. Raises OSError if the address cannot be bound. Call it once."""
        # Futures that are running cannot be cancelled: the thread may set them, whatever becomes of who waits.
        self._bound.set_running_or_notify_cancel()
        self._ended.set_running_or_notify_cancel()
        # A daemon: a process that exits in haste, having lost its lease, must not wait for it.
        self._thread = threading.Thread(target=self._main, name=self._name, daemon=True)
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
                fields = {"thread": self._name, "error": describe(error)}
                log.error("a server of this process failed", extra={"fields": fields})  # noqa: TRY400
        finally:
            self._ended.set_result(None)

    async def _serve(self) -> None:
        runner = self._runner = web.AppRunner(
            self._app, access_log=None, shutdown_timeout=CLOSE_SECONDS, **self._settings
        )
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port, ssl_context=self._tls).start()
            self._loop = asyncio.get_running_loop()
            self._bound.set_result(runner.addresses[0][1])
            await self._closing.wait()
        finally:
            await runner.cleanup()
