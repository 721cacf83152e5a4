"""Figures outlive a run, one scenario can be measured anew, and JSON tells what was asked for."""

import json
from pathlib import Path

import pytest

from bench.figures import Budget, Figure, count, mib, milliseconds, percent, seconds
from bench.results import Outcome, Results

ORDER = ("library", "cold", "rest")


def outcome(scenario: str, *figures: Figure, failure: str = "") -> Outcome:
    return Outcome(
        scenario, "what it is about", "2026-12-01T08:00:00+00:00", "abc1234", 0.31, 0.04, 12.0, figures, failure
    )


@pytest.mark.parametrize(
    ("figure", "value", "unit", "text"),
    [
        (seconds("k", "n", 1.234, "h"), 1.234, "s", "1.23 s"),
        (seconds("k", "n", 1.234, "h", digits=1), 1.234, "s", "1.2 s"),
        (milliseconds("k", "n", 0.0125, "h"), 12.5, "ms", "12.50 ms"),
        (count("k", "n", 1234, "h"), 1234, "", "1,234"),
        (count("k", "n", 3.004, "h", digits=2, of="an object"), 3.004, "an object", "3.00 an object"),
        (mib("k", "n", 99.6, "h"), 99.6, "MiB", "100 MiB"),
        (percent("k", "n", 0.0181, "h"), 1.81, "% of a core", "1.8% of a core"),
    ],
)
def test_a_figure_is_a_number_with_a_unit_and_a_text(figure: Figure, value: float, unit: str, text: str) -> None:
    assert figure.value == pytest.approx(value)
    assert (figure.unit, figure.text) == (unit, text)


@pytest.mark.parametrize(("value", "met"), [(5.99, True), (6.0, True), (6.01, False)])
def test_a_budget_is_met_up_to_its_limit(value: float, met: bool) -> None:
    assert Budget("k", 6.0, "≤ 6 s").is_met(seconds("k", "n", value, "h")) is met


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    file = tmp_path / "build" / "bench.json"
    saved = Results(
        {"cores": "2"},
        {"Python": "3.11"},
        (outcome("cold", seconds("cold.seconds.1000", "cold start", 7.0, "log")), outcome("rest", failure="TooLong")),
    )
    saved.save(file)
    assert Results.load(file) == saved
    assert Results.load(tmp_path / "none.json") == Results()


def test_json_holds_the_budget_beside_the_figure() -> None:
    figures = seconds("cold.seconds.1000", "cold start", 7.0, "log"), seconds("cold.cpu.1000", "CPU", 3.0, "kernel")
    body = json.loads(json.dumps(Results(outcomes=(outcome("cold", *figures),)).as_json()))
    missed, met = body["outcomes"][0]["figures"]
    assert missed == {
        "key": "cold.seconds.1000",
        "name": "cold start",
        "value": 7.0,
        "unit": "s",
        "text": "7.00 s",
        "how": "log",
        "budget": "≤ 6 s",
        "limit": 6,
        "met": False,
    }
    assert met["met"] is True


def test_a_scenario_that_is_measured_anew_replaces_what_was_known() -> None:
    old, other = outcome("rest", mib("rss.1000", "RSS", 90, "kernel")), outcome("library")
    new = outcome("rest", mib("rss.1000", "RSS", 80, "kernel"))
    found = Results(outcomes=(old,)).with_outcome(other, ORDER).with_outcome(new, ORDER)
    assert found.outcomes == (other, new)
    assert found.figures["rss.1000"].value == 80


@pytest.mark.parametrize(
    "text", ["no JSON", "[]", '{"machine": {}}', '{"machine": {}, "versions": {}, "outcomes": [{}]}']
)
def test_another_file_is_refused_with_what_to_do(tmp_path: Path, text: str) -> None:
    file = tmp_path / "bench.json"
    file.write_text(text)
    with pytest.raises(ValueError, match="holds no results of this version; remove it"):
        Results.load(file)
