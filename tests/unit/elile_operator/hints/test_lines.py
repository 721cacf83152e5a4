"""Chunks become lines, and what is too long is left out without being held."""

import pytest

from elile_operator.hints.lines import Cut, Lines

MAX = 8


@pytest.mark.parametrize(
    ("chunks", "lines", "too_long", "unfinished"),
    [
        pytest.param([b""], [], [], 0, id="nothing"),
        pytest.param([b"ab\ncd\n"], [b"ab", b"cd"], [], 0, id="whole lines"),
        pytest.param([b"a", b"b\nc", b"d\n"], [b"ab", b"cd"], [], 0, id="in pieces"),
        pytest.param([b"ab", b"\n"], [b"ab"], [], 0, id="the newline by itself"),
        pytest.param([b"\n\n"], [b"", b""], [], 0, id="empty lines"),
        pytest.param([b"ab\ncd"], [b"ab"], [], 2, id="no end yet"),
        pytest.param([b"12345678\n"], [b"12345678"], [], 0, id="as long as may be"),
        pytest.param([b"123456789\nab\n"], [b"ab"], [b"12345678"], 0, id="too long, at once"),
        pytest.param([b"12345", b"6789", b"0\nab\n"], [b"ab"], [b"12345678"], 0, id="too long, in pieces"),
        pytest.param([b"12345", b"6789", b"0" * 100], [], [b"12345678"], 109, id="too long, and no end yet"),
        pytest.param([b"1" * 9, b"\n" + b"2" * 9 + b"\n"], [], [b"1" * 8, b"2" * 8], 0, id="one after another"),
    ],
)
def test_lines(chunks: list[bytes], lines: list[bytes], too_long: list[bytes], unfinished: int) -> None:
    taken = Lines(MAX)
    cuts = [taken.feed(chunk) for chunk in chunks]
    assert [line for cut in cuts for line in cut.lines] == lines
    assert [beginning for cut in cuts for beginning in cut.too_long] == too_long
    assert taken.unfinished == unfinished


def test_a_line_that_is_too_long_is_told_before_its_end_and_once() -> None:
    lines = Lines(MAX)
    assert lines.feed(b"123456789") == Cut([], [b"12345678"])
    assert lines.feed(b"123456789") == Cut([], [])
    assert lines.feed(b"1\n") == Cut([], [])


def test_the_end_of_a_line_whose_beginning_nobody_read_is_left_out() -> None:
    lines = Lines(MAX)
    lines.skip()
    assert lines.feed(b"rest") == Cut([], [])
    assert lines.unfinished == 4
    assert lines.feed(b" of it\nab\n") == Cut([b"ab"], [])
    assert lines.unfinished == 0
