"""What a failed check says, and how a chain of checks is read."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from elile_operator.api.reasons import Reason

__all__ = ["Violation", "first_violation"]

O = TypeVar("O")  # noqa: E741 - the one thing observed


@dataclass(frozen=True, slots=True)
class Violation:
    """Why something is not as it should be: a reason of the closed list, and object, field and remedy in words.

    What the reason means for the conditions stands in the reason itself (`Reason.effect`).
    """

    reason: Reason
    message: str


def first_violation(chain: Iterable[Callable[[O], Violation | None]], observed: O) -> Violation | None:
    """Return what the first failing check of a chain says; each check may rely on the ones before it."""
    return next((v for check in chain if (v := check(observed)) is not None), None)
