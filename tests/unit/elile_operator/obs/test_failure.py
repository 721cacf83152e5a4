"""Exceptions are shown by class and place; their text only if their class vouches for it."""

from collections.abc import Callable

import pytest

from elile_operator.obs.failure import SHOWN_CAUSES, SHOWN_FRAMES, chain, describe, safe_text, trace, where


class SealedError(Exception):
    safe_text = "VaultServer default is sealed"


class OddError(Exception):
    safe_text = 7


def raised(make: Callable[[], BaseException]) -> BaseException:
    try:
        raise make()
    except BaseException as error:
        return error


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        pytest.param(ValueError("hunter2"), "ValueError", id="foreign"),
        pytest.param(SealedError("hunter2"), "SealedError: VaultServer default is sealed", id="ours"),
        pytest.param(OddError("hunter2"), "OddError", id="safe_text that is no text"),
        pytest.param(
            ExceptionGroup("hunter2", [ValueError("hunter2"), ExceptionGroup("hunter2", [SealedError()])]),
            "ExceptionGroup(ValueError, ExceptionGroup(SealedError: VaultServer default is sealed))",
            id="groups",
        ),
    ],
)
def test_describe(error: BaseException, shown: str) -> None:
    assert describe(error) == shown


def test_safe_text_of_an_instance() -> None:
    error = ValueError("hunter2")
    error.safe_text = "set by whoever knows"  # type: ignore[attr-defined]
    assert safe_text(error) == "set by whoever knows"


def test_where_names_file_line_and_function_but_no_directory() -> None:
    place = where(raised(ValueError))
    assert place.startswith("obs/test_failure.py:")
    assert place.endswith(" raised")


def test_where_of_what_was_never_raised() -> None:
    assert where(ValueError()) == ""


def test_trace_keeps_the_innermost_frames() -> None:
    def deep(n: int) -> None:
        if n == 0:
            raise ValueError("hunter2")
        deep(n - 1)

    with pytest.raises(ValueError, match="hunter2") as raised_error:
        deep(50)
    frames = trace(raised_error.value.__traceback__)
    assert len(frames) == SHOWN_FRAMES
    assert all(frame.endswith(" deep") for frame in frames)


def test_chain_follows_causes_and_contexts_but_not_what_was_suppressed() -> None:
    def cause() -> None:
        try:
            raise KeyError
        except KeyError as error:
            raise ValueError from error

    def context() -> None:
        try:
            raise KeyError
        except KeyError:
            raise ValueError  # noqa: B904

    def suppressed() -> None:
        try:
            raise KeyError
        except KeyError:
            raise ValueError from None

    for function, classes in (
        (cause, [ValueError, KeyError]),
        (context, [ValueError, KeyError]),
        (suppressed, [ValueError]),
    ):
        with pytest.raises(ValueError, match=r"^$") as raised_error:
            function()
        assert [type(e) for e in chain(raised_error.value)] == classes


def test_chain_ends_also_where_exceptions_go_round_or_on_and_on() -> None:
    first, second = ValueError(), KeyError()
    first.__cause__, second.__cause__ = second, first
    assert chain(first) == [first, second]
    error: BaseException = ValueError()
    for _ in range(100):
        outer = ValueError()
        outer.__cause__ = error
        error = outer
    assert len(chain(error)) == SHOWN_CAUSES + 1
