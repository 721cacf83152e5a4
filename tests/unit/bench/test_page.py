"""The page tells every budget in its order, what was measured, what was missed and why."""

from collections.abc import Iterator

import pytest

from bench import page
from bench.budgets import BY_KEY, ROWS
from bench.figures import Figure, count, mib, seconds
from bench.page import UNEXPLAINED, render
from bench.results import Outcome, Results


def results(*figures: Figure, failure: str = "") -> Results:
    outcome = Outcome("cold", "new objects", "2026-12-01T08:00:00+00:00", "abc1234", 0.3, 0.04, 12.0, figures, failure)
    return Results({"cores": "2"}, {"Python": "3.11.7"}, (outcome,))


def rows(text: str, title: str) -> Iterator[list[str]]:
    """Yield the cells of the table below a heading."""
    for line in text.partition(f"{title}\n")[2].partition("\n#")[0].splitlines():
        if line.startswith("| "):
            yield [cell.strip() for cell in line.strip("|").split(" | ")]


def budgets(text: str) -> list[list[str]]:
    return list(rows(text, "## Budgets"))[1:]


def test_every_budget_has_its_line_in_the_order_of_the_design() -> None:
    found = budgets(render(Results()))
    assert [line[1] for line in found] == list(BY_KEY)
    assert {line[2] for line in found} == {"not measured"}
    assert [line[0] for line in found if line[0]] == [row.title for row in ROWS if row.budgets]


@pytest.mark.parametrize(("value", "word"), [(5.0, "yes"), (7.0, "**no**")])
def test_a_figure_stands_beside_its_budget(value: float, word: str) -> None:
    text = render(results(seconds("cold.seconds.1000", "last Secret", value, "audit log")))
    (line,) = (line for line in budgets(text) if line[1] == "last Secret")
    assert line[2:5] == [f"{value:.2f} s", "≤ 6 s", word]


def test_figures_without_a_budget_stand_with_those_that_they_belong_to() -> None:
    text = render(results(mib("growth.rss", "RSS added", 3, "kernel")))
    (line,) = (line for line in budgets(text) if line[1] == "RSS added")
    assert line == ["an hour's worth of changes", "RSS added", "3 MiB", "–", "–", "–"]


def test_what_is_missed_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    reason = "The API server takes most of it."
    monkeypatch.setattr(page, "REASONS", dict.fromkeys(("cold.seconds.1000", "cold.cpu.1000"), reason))
    text = render(
        results(
            seconds("cold.seconds.1000", "last Secret", 9, "log"),
            seconds("cold.cpu.1000", "CPU", 7, "kernel"),
            count("cold.api.1000", "requests", 4, "log", of="an object"),
        )
    )
    told = text.partition("## What misses its budget")[2].partition("\n## ")[0]
    assert f"**last Secret: 9.00 s, where ≤ 6 s is asked for; CPU: 7.00 s, where ≤ 4 s is asked for.** {reason}" in told
    assert f"**requests: 4 an object, where ≤ 3 an object is asked for.** {UNEXPLAINED}" in told


def test_nothing_is_explained_where_nothing_is_missed() -> None:
    assert "misses its budget" not in render(results(seconds("cold.seconds.1000", "last Secret", 5, "log")))


def test_circumstances_are_told_and_a_scenario_that_failed_says_so() -> None:
    text = render(results(failure="TooLongError: not done within 1500 s"))
    assert "| cores | 2 |" in text
    assert "### cold: new objects\n" in text
    assert "| Python | 3.11.7 |" in text
    assert "2026-12-01 08:00:00 UTC, commit abc1234, 12 s; before it: load 0.3, 4% of all cores in use." in text
    assert "**It ended early: TooLongError: not done within 1500 s**" in text


def test_a_bar_in_a_text_does_not_end_its_cell() -> None:
    text = render(results(seconds("cold.x", "a|b", 1, "how")))
    assert "| a\\|b | 1.00 s | how |" in text
