"""A chain is read from its beginning to the first check that fails, and no further."""

from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation, first_violation

TOO_LARGE = Violation(Reason.TOO_LARGE, "too large")
NOT_OWNED = Violation(Reason.SECRET_NOT_OWNED, "not owned")


def passes(_: int) -> None:
    return None


def test_the_first_failing_check_speaks_and_the_later_ones_are_not_asked() -> None:
    asked: list[int] = []

    def never(observed: int) -> Violation | None:
        asked.append(observed)
        return NOT_OWNED

    assert first_violation((passes, lambda _: TOO_LARGE, never), 1) is TOO_LARGE
    assert asked == []


def test_each_check_sees_what_was_observed() -> None:
    seen: list[int] = []
    assert first_violation((seen.append, seen.append), 7) is None
    assert seen == [7, 7]


def test_a_chain_without_a_failing_check_is_silent() -> None:
    assert first_violation((passes, passes), 1) is None
    assert first_violation((), 1) is None
