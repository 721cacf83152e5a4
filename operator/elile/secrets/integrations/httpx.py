"""Requests with httpx whose header follows a secret. Needs `elile[httpx]`."""

import time
from collections.abc import AsyncGenerator, Callable, Generator
from typing import TYPE_CHECKING

from elile.secrets.integrations.retry import COOLDOWN, Manager, Renewal, missing
from elile.secrets.types import SecretValue

if TYPE_CHECKING:
    import httpx
    from httpx import Auth
else:
    try:
        import httpx
        from httpx import Auth
    except ImportError:  # told when one is made: importing this module breaks nothing
        httpx, Auth = None, object

__all__ = ["SecretAuth"]


class SecretAuth(Auth):
    """The `auth=` of a client, sync or async: sets a header from one key of an entry, for each request anew.

    After a 401 it asks for a newer value, once for all requests that were refused with the same one, and sends the
    request again if there is one, with a body that can be sent twice (bytes, text, JSON or a form, not a stream).
    """

    def __init__(
        self,
        manager: Manager,
        path: str,
        *,
        header: str = "Authorization",
        scheme: str = "Bearer",
        key: str = "api_key",
        cooldown: float = COOLDOWN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """The header is `scheme`, a blank and the value; the value alone where `scheme` is "".

        A value found to be the current one is not asked for again for `cooldown` seconds of `clock`. Raises
        SecretBackendMissingError without httpx; requests raise SecretsError when there is no value or no such key.
        """
        if httpx is None:
            raise missing("httpx", "httpx")
        self._renewal = Renewal(manager, path, cooldown=cooldown, clock=clock)
        self._header = header
        self._scheme = scheme
        self._key = key

    def sync_auth_flow(self, request: "httpx.Request") -> "Generator[httpx.Request, httpx.Response, None]":
        """What httpx calls for a client that blocks."""
        value = self._renewal.manager.get_secret_blocking(self._renewal.path)
        self._set(request, value)
        response = yield request
        if self._may_go_again(request, response) and (newer := self._renewal.renew(value.generation)):
            self._set(request, newer)
            yield request

    async def async_auth_flow(self, request: "httpx.Request") -> "AsyncGenerator[httpx.Request, httpx.Response]":
        """What httpx calls for a client with an event loop."""
        value = await self._renewal.manager.get_secret(self._renewal.path)
        self._set(request, value)
        response = yield request
        if self._may_go_again(request, response) and (newer := await self._renewal.renew_async(value.generation)):
            self._set(request, newer)
            yield request

    def _set(self, request: "httpx.Request", value: SecretValue) -> None:
        text = value[self._key].reveal()
        request.headers[self._header] = f"{self._scheme} {text}" if self._scheme else text

    def _may_go_again(self, request: "httpx.Request", response: "httpx.Response") -> bool:
        return response.status_code == httpx.codes.UNAUTHORIZED and isinstance(request.stream, httpx.ByteStream)
