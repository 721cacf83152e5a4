"""What `/.well-known/elile` answers: which revisions this process has loaded. Names and numbers, never a value.

Where an ElileSecret declares `consumers.proof.http`, the operator asks every ready pod, and takes a value for proved
once all of them answer its revision, or a later one.
"""

import json
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, Protocol

__all__ = ["PATH", "RevisionsApp", "Serves", "answer"]

PATH = "/.well-known/elile"

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_App = Callable[[_Scope, _Receive, _Send], Awaitable[None]]


class Serves(Protocol):
    """A manager that knows the revisions it has given out."""

    def revisions(self) -> Mapping[str, int]: ...


def answer(manager: Serves, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
    """Return status, headers and body, for any web framework."""
    if method not in ("GET", "HEAD"):
        return 405, {"allow": "GET, HEAD"}, b""
    body = json.dumps({"secrets": dict(sorted(manager.revisions().items()))}, separators=(",", ":")).encode()
    headers = {"content-type": "application/json", "cache-control": "no-store", "content-length": str(len(body))}
    return 200, headers, b"" if method == "HEAD" else body


class RevisionsApp:
    """An ASGI application. Around another one it answers this path and passes everything else on."""

    def __init__(self, manager: Serves, app: _App | None = None) -> None:
        self._manager = manager
        self._app = app

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request."""
        mine = scope["type"] == "http" and (self._app is None or scope["path"] == PATH)
        if mine:
            known = scope["path"] in (PATH, "/")  # mounted below a prefix, the framework has taken that off
            status, headers, body = answer(self._manager, scope["method"]) if known else (404, {}, b"")
            raw = [(name.encode(), value.encode()) for name, value in headers.items()]
            await send({"type": "http.response.start", "status": status, "headers": raw})
            await send({"type": "http.response.body", "body": body})
        elif self._app is not None:
            await self._app(scope, receive, send)
        elif scope["type"] == "lifespan":
            await _live(receive, send)


async def _live(receive: _Receive, send: _Send) -> None:
    while True:
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})
        if kind == "lifespan.shutdown":
            return
