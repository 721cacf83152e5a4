"""The way to one Vault or OpenBao: a bounded thread pool, a rate limit and a deadline around the blocking client."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from elile.secrets.errors import SecretsError, SecretsUnavailableError
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile_operator.api.vaultserver import VaultServer
from elile_operator.engine import Clock
from elile_operator.sources.rate import RateLimit

__all__ = ["Link", "VaultObserver", "endpoint_of"]

T = TypeVar("T")


class VaultObserver(Protocol):
    """Told of every finished call, for metrics: `outcome` is `ok` or the class of the error."""

    def vault_request(self, *, operation: str, outcome: str, seconds: float) -> None: ...


def endpoint_of(server: VaultServer) -> VaultEndpoint:
    """Return how the client reaches a server as its spec says."""
    spec = server.spec
    return VaultEndpoint(
        address=spec.address,
        ca_pem=spec.tls.ca_bundle,
        server_name=spec.tls.server_name,
        timeout=spec.limits.timeout.total_seconds(),
        pool=spec.limits.concurrency,
    )


class Link:
    """Calls to one server as its spec says them; a changed spec is a new link."""

    def __init__(self, server: VaultServer, *, clock: Clock, observer: VaultObserver) -> None:
        self.server = server
        limits = server.spec.limits
        self._client = VaultClient(endpoint_of(server))
        # A pool of its own: the loop's default executor also resolves names, and one slow server must not hold another.
        self._threads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix=f"vault-{server.metadata.name}")
        self._rate = RateLimit(limits.requests_per_second, burst=limits.concurrency, clock=clock)
        # The client bounds connecting and reading; this is for what it cannot see, such as a thread that never runs.
        self._deadline = 3 * limits.timeout.total_seconds()
        self._clock = clock
        self._observer = observer

    async def call(self, operation: str, function: Callable[[VaultClient], T]) -> T:
        """Run one blocking call in the pool. Raises SecretsError and nothing else of the client's."""
        await self._rate.wait()
        began, outcome = self._clock.monotonic(), "ok"
        try:
            async with asyncio.timeout(self._deadline):
                return await asyncio.get_running_loop().run_in_executor(self._threads, function, self._client)
        except TimeoutError:
            outcome = SecretsUnavailableError.__name__
            raise SecretsUnavailableError("no answer in time") from None
        except SecretsError as e:
            outcome = type(e).__name__
            raise
        finally:
            self._observer.vault_request(operation=operation, outcome=outcome, seconds=self._clock.monotonic() - began)

    def close(self) -> None:
        """Let running calls end and take no more."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._client.close()
