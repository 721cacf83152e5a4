from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elile_operator.api.durations import LONGEST, DurationError, format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0s", timedelta()),
        ("90s", timedelta(seconds=90)),
        ("5m", timedelta(minutes=5)),
        ("1h30m", timedelta(hours=1, minutes=30)),
        ("30m1h", timedelta(hours=1, minutes=30)),
        ("1s1s", timedelta(seconds=2)),
        ("007d", timedelta(days=7)),
        ("3650d", timedelta(days=3650)),
    ],
)
def test_a_duration_is_read(text: str, value: timedelta) -> None:
    assert parse_duration(text) == value


HOW = "must be whole numbers with the units s, m, h or d, for example 90s or 1h30m"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("", HOW, id="empty"),
        pytest.param("60", HOW, id="no unit"),
        pytest.param("1w", HOW, id="other unit"),
        pytest.param("500ms", HOW, id="milliseconds"),
        pytest.param("1.5h", HOW, id="fraction"),
        pytest.param("-1s", HOW, id="negative"),
        pytest.param("1h 30m", HOW, id="space"),
        pytest.param("1s\n", HOW, id="line break"),
        pytest.param("٣s", HOW, id="digits of another script"),
        pytest.param("00000000000001s", HOW, id="longer than the field"),
        pytest.param("3650d1s", "must be at most 3650d", id="too long by a second"),
        pytest.param("9999999999999d", "must be at most 3650d", id="beyond what timedelta holds"),
    ],
)
def test_what_is_no_duration_says_how_to_write_one(text: str, message: str) -> None:
    with pytest.raises(DurationError) as raised:
        parse_duration(text)
    assert str(raised.value) == message


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (timedelta(), "0s"),
        (timedelta(seconds=60), "1m"),
        (timedelta(seconds=5400), "1h30m"),
        (timedelta(days=90), "90d"),
        (timedelta(days=1, hours=2, minutes=3, seconds=4), "1d2h3m4s"),
        (timedelta(milliseconds=1999), "1s"),
    ],
)
def test_a_duration_is_written_in_the_fewest_parts(value: timedelta, text: str) -> None:
    assert format_duration(value) == text


def test_a_negative_duration_cannot_be_written() -> None:
    with pytest.raises(DurationError, match=r"^must not be negative$"):
        format_duration(timedelta(seconds=-1))


@given(st.integers(min_value=0, max_value=LONGEST // timedelta(seconds=1)))
def test_what_is_written_reads_the_same(seconds: int) -> None:
    value = timedelta(seconds=seconds)
    assert parse_duration(format_duration(value)) == value
