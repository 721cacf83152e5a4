"""Scenarios run one after another; one that fails keeps its figures and leaves the others theirs."""

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import runner
from bench.__main__ import main
from bench.figures import Figure, seconds
from bench.registry import SCENARIOS, Scenario
from bench.results import Outcome, Results
from bench.runner import TooLongError, run
from bench.scale import QUICK, Scale

FIRST, SECOND = SCENARIOS[0].name, SCENARIOS[1].name


def measures(_scale: Scale) -> Iterator[Figure]:
    yield seconds("cold.seconds.1000", "cold start", 5, "log")


def fails(scale: Scale) -> Iterator[Figure]:
    yield from measures(scale)
    raise AssertionError("not within 600 s: are synced: 1000\nand more")


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "machine_busy", lambda _seconds: 0.05)


def scenario(name: str, alone: object) -> Scenario:
    return Scenario(name, "what it is about", (), alone=alone)  # type: ignore[arg-type] # of the tests' own


def test_one_that_fails_leaves_the_others_theirs(capsys: pytest.CaptureFixture[str]) -> None:
    kept: list[Results] = []
    found = run([scenario(FIRST, fails), scenario(SECOND, measures)], QUICK, "none", Results(), kept.append)
    failed, fine = found.outcomes
    assert failed.failure == "AssertionError: not within 600 s: are synced: 1000"
    assert [f.key for f in failed.figures] == ["cold.seconds.1000"]
    assert (fine.failure, fine.busy, fine.what) == ("", 0.05, "what it is about")
    assert [len(results.outcomes) for results in kept] == [1, 2]
    assert "cold start: 5.00 s (≤ 6 s: met)" in capsys.readouterr().err


def test_one_that_does_not_end_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(_scale: Scale) -> Iterator[Figure]:
        signal.raise_signal(signal.SIGALRM)
        yield from ()

    (outcome,) = run([scenario(FIRST, never)], QUICK, "none", Results(), lambda _: None).outcomes
    assert outcome.failure.startswith(TooLongError.__name__)


def test_the_page_is_rendered_anew_from_what_was_saved(tmp_path: Path) -> None:
    output, page = tmp_path / "bench.json", tmp_path / "bench.md"
    figure = seconds("cold.seconds.1000", "cold start", 5, "log")
    outcome = Outcome(FIRST, "what", "2026-12-01T08:00:00+00:00", "abc", 0.1, 0.1, 1.0, (figure,))
    Results(outcomes=(outcome,)).save(output)
    assert main(["--render", "--output", str(output), "--page", str(page)]) == 0
    assert "| cold start | 5.00 s | ≤ 6 s | yes |" in page.read_text()
