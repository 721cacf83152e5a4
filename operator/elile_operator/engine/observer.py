"""The seam through which the engine is measured; `obs.metrics` fits it without either knowing the other."""

from typing import Protocol


class Observer(Protocol):
    """Told what happened, after it happened. Must not block; what it raises is logged and ignored."""

    def reconciled(self, *, kind: str, outcome: str, seconds: float, error: str | None) -> None:
        """One reconcile ended. `outcome`: done, requeue, gone, retry, error or deadline; `error`: a class name."""

    def resynced(self, *, kind: str, outcome: str, seconds: float, repaired: int) -> None:
        """One list ended. `outcome`: ok or error; `repaired`: objects that watch events alone had left wrong."""
