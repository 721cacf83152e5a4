"""What a verification ends in."""

from dataclasses import dataclass
from enum import StrEnum

__all__ = ["Outcome", "Verification"]


class Outcome(StrEnum):
    """Told apart, since each leads elsewhere: on, back, or to another try."""

    PASSED = "passed"
    FAILED = "failed"  # the other side knows the value and refuses it, or it is somebody else's
    INCONCLUSIVE = "inconclusive"  # nobody can say: no answer, busy, starting up


@dataclass(frozen=True, slots=True)
class Verification:
    """One outcome. `detail` is in words of ours: no value, and nothing that a server sent."""

    outcome: Outcome
    detail: str

    @classmethod
    def passed(cls, detail: str) -> "Verification":
        """It works, and is whose it should be."""
        return cls(Outcome.PASSED, detail)

    @classmethod
    def failed(cls, detail: str) -> "Verification":
        """It does not work."""
        return cls(Outcome.FAILED, detail)

    @classmethod
    def inconclusive(cls, detail: str) -> "Verification":
        """Nothing is known yet."""
        return cls(Outcome.INCONCLUSIVE, detail)
