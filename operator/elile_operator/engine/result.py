"""What a reconcile answers, and who is asked."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

K_contra = TypeVar("K_contra", contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """How a reconcile ended. Exceptions are the other way to end one: they back off and are logged."""

    requeue_after: timedelta | None = None  # look again this much later; replaces what was planned before the reconcile
    backoff: bool = (
        False  # it did not work, which has been reported: back off as after an exception, without a log line
    )
    gone: bool = False  # the object does not exist: forget plans and backoff

    def __post_init__(self) -> None:
        if (self.requeue_after is not None) + self.backoff + self.gone > 1:
            raise ValueError("a Result is one of: done, requeue_after, backoff, gone")
        if self.requeue_after is not None and self.requeue_after < timedelta(0):
            raise ValueError("Result.requeue_after must not be negative")

    @classmethod
    def done(cls) -> "Result":
        """Nothing to do until something changes. A due time that somebody else had set stays."""
        return cls()

    @classmethod
    def after(cls, delay: timedelta) -> "Result":
        """Look again `delay` after now, unless something happens before."""
        return cls(requeue_after=delay)

    @classmethod
    def retry(cls) -> "Result":
        """Failed in a known way; try again with backoff."""
        return cls(backoff=True)

    @classmethod
    def absent(cls) -> "Result":
        """The object is gone; nothing about its key is worth remembering."""
        return cls(gone=True)


class Reconciler(Protocol[K_contra]):
    """Brings the world in line with one object, whatever happened to it before."""

    async def reconcile(self, key: K_contra) -> Result:
        """Look at everything and act. Never called for the same key twice at a time; may be cancelled at any await."""
