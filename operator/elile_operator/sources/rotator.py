"""Blocking calls as a tenant's rotator: the shared login of the operator, for the threads that rotations run in."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

from elile.secrets.errors import SecretAccessDeniedError, SecretsUnavailableError
from elile.secrets.redact import SecretStr
from elile.secrets.vault import VaultClient
from elile_operator.decide.violation import Violation
from elile_operator.kube.errors import KubeError
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.logins import Logins

__all__ = ["RotatorCalls", "RotatorRefusedError"]

T = TypeVar("T")


class RotatorRefusedError(SecretAccessDeniedError):
    """The API server gives no token for the rotator's ServiceAccount; `violation` says why and what to do."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.message)
        self.violation = violation


class RotatorCalls:
    """Calls of one identity in one namespace of Vault (None: the root one). Must not be used in the loop's own thread.

    The token is of the tenant's ServiceAccount, and never leaves the login that all its calls share.
    """

    def __init__(
        self,
        logins: Logins,
        identity: Identity,
        namespace: str | None,
        *,
        loop: asyncio.AbstractEventLoop,
        on_behalf_of: str,
    ) -> None:
        self._logins = logins
        self._identity = identity
        self._namespace = namespace
        self._loop = loop
        self._on_behalf_of = on_behalf_of

    def call(self, path: str, request: Callable[[VaultClient, SecretStr], T]) -> T:  # noqa: ARG002 - of VaultCalls
        """Return what `request` returns. Blocks; raises SecretsError only."""
        calling = self._logins.call(
            self._identity,
            "rotate",
            lambda client, token: request(client.within(self._namespace).speaking_for(self._on_behalf_of), token),
            on_behalf_of=self._on_behalf_of,
        )
        try:
            return asyncio.run_coroutine_threadsafe(calling, self._loop).result()
        except IdentityError as e:
            raise RotatorRefusedError(e.violation) from None
        except KubeError:
            raise SecretsUnavailableError(
                "the API server gave no answer to the request for a token of the rotator's ServiceAccount"
            ) from None
