"""Durations among the settings, as people type them."""

from datetime import timedelta

import pytest
from pydantic import ValidationError

from elile_operator.settings import Settings


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("10.5", 10.5), ("PT1M30S", 90), ("00:01:30", 90), ("PT10M", 600)]
)
def test_a_duration_is_seconds_or_iso_8601(text: str, seconds: float) -> None:
    assert Settings(_cli_parse_args=["--resync", text]).resync == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["5", "soon", "10 minutes", "nan", "inf", "-60"])
def test_another_text_or_too_short_a_time_is_refused(text: str) -> None:
    with pytest.raises(ValidationError):
        Settings(_cli_parse_args=["--resync", text])


def test_the_environment_is_read_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELILE_RESYNC", "90")
    assert Settings(_cli_parse_args=[]).resync == timedelta(seconds=90)
