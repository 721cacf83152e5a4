"""Those who read a live path through managers, as far as the process that rotates can know of them."""

import contextlib
import time
from collections.abc import Callable

from elile.secrets.errors import SecretsError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.steps import Delivered, Proofs
from elile.secrets.rotation.verify.outcome import Outcome, Verification

__all__ = ["ManagerReaders"]


class ManagerReaders:
    """This process takes a new value at once. Of others `prove` may tell; else they are given `settle` seconds.

    That is waited for once: a rotation that hands a value out twice, as one of keys does, needs it before the second.
    """

    def __init__(
        self,
        manager: BackendSecretsManager,
        path: str,
        *,
        settle: float,
        prove: Callable[[Value], Verification] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._manager = manager
        self._path = path
        self._settle = settle
        self._prove = prove
        self._clock = clock
        self._since: float | None = None

    def deliver(self, value: Value, live_version: int) -> Delivered:  # noqa: ARG002 - of `ports.Consumers`
        """Have this process read the path anew; a failure is no matter, since the cache comes round to it."""
        with contextlib.suppress(SecretsError):
            self._manager.refresh_blocking(self._path)
        return Delivered.DONE

    def proofs(self, value: Value, live_version: int) -> Proofs:  # noqa: ARG002 - of `ports.Consumers`
        """Ask `prove`, or wait until every cache that is set up as this one has read the path anew."""
        if self._prove is not None:
            return Proofs.PROVED if self._prove(value).outcome is Outcome.PASSED else Proofs.WAITING
        self._since = self._clock() if self._since is None else self._since
        return Proofs.PROVED if self._clock() - self._since >= self._settle else Proofs.WAITING
