"""Serves /livez, /readyz and /metrics over HTTP.

On a thread of its own, so that it answers while the operator's loop is stuck, which is when the answer matters.
"""

from collections.abc import Callable

from aiohttp import web

from elile_operator.obs.health import Health, Report
from elile_operator.obs.metrics import CONTENT_TYPE
from elile_operator.obs.serving import AppThread


class ProbeServer:
    """GET /livez and /readyz answer 200 or 503 with the JSON of a `Report`; GET /metrics answers what `render` returns.

    `health` and `render` are called on the thread of the server. Port 0 takes any free port.
    """

    def __init__(self, *, health: Health, render: Callable[[], bytes], host: str, port: int) -> None:
        self._health = health
        self._render = render
        app = web.Application()
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        self._serving = AppThread(app, name="elile-probes", host=host, port=port)

    async def start(self) -> int:
        """Bind and serve; answer the real port. Raises OSError if the address cannot be bound. Call it once."""
        return await self._serving.start()

    async def stop(self) -> None:
        """Close the port and end the thread. Harmless if it never started."""
        await self._serving.stop()

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self._health.live())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._health.ready())

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self._render(), headers={"Content-Type": CONTENT_TYPE})


def _answer(report: Report) -> web.Response:
    return web.json_response(report.body(), status=200 if report.ok else 503)
