"""Runs scenarios one after another; one that fails is told, and leaves the others theirs."""

import os
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType

from bench import machine
from bench.budgets import BY_KEY
from bench.figures import Figure
from bench.process import machine_busy
from bench.progress import say
from bench.registry import SCENARIOS, Scenario
from bench.results import Outcome, Results
from bench.scale import Scale
from bench.world import world

__all__ = ["run"]

DEADLINE = 1500  # seconds of one scenario; the longest takes less than ten minutes
LOOK = 3.0  # seconds in which the load before a scenario is looked at
QUIET = 0.15  # part of all cores


class TooLongError(Exception):
    """A scenario did not end."""


def run(
    scenarios: Sequence[Scenario], scale: Scale, lab_name: str, results: Results, keep: Callable[[Results], None]
) -> Results:
    """Measure, and hand over what is known after each scenario."""
    order = [scenario.name for scenario in SCENARIOS]
    for number, scenario in enumerate(scenarios, 1):
        say(f"{number} of {len(scenarios)}: {scenario.name}, {scenario.what}")
        results = results.with_outcome(_outcome(scenario, scale, lab_name), order)
        keep(results)
    return results


def _outcome(scenario: Scenario, scale: Scale, lab_name: str) -> Outcome:
    busy = _quiet(scale.patience)
    load, when, began = os.getloadavg()[0], datetime.now(UTC), time.monotonic()
    figures: list[Figure] = []
    failure = ""
    try:
        with _deadline():
            for figure in _figures(scenario, scale, lab_name):
                figures.append(figure)
                say(f"  {_line(figure)}")
    except Exception as e:  # whatever it is, the others are measured
        traceback.print_exc()
        failure = f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else ''}"
    return Outcome(
        scenario=scenario.name,
        what=scenario.what,
        began=when.isoformat(timespec="seconds"),
        commit=machine.commit(),
        load=round(load, 2),
        busy=round(busy, 3),
        seconds=round(time.monotonic() - began, 1),
        figures=tuple(figures),
        failure=failure,
    )


def _figures(scenario: Scenario, scale: Scale, lab_name: str) -> Iterator[Figure]:
    if scenario.alone is not None:
        yield from scenario.alone(scale)
    elif scenario.measure is not None:
        with world(lab_name) as lab:
            yield from scenario.measure(lab, scale)


def _quiet(patience: float) -> float:
    """Wait a while until the machine does little, and return the part of it that is in use."""
    end = time.monotonic() + patience
    while (found := machine_busy(LOOK)) > QUIET and time.monotonic() < end:
        say(f"  {found:.0%} of all cores are in use; waiting for a moment")
    return found


def _line(figure: Figure) -> str:
    budget = BY_KEY.get(figure.key)
    asked = f" ({budget.text}: {'met' if budget.is_met(figure) else 'MISSED'})" if budget else ""
    return f"{figure.name}: {figure.text}{asked}"


@contextmanager
def _deadline() -> Iterator[None]:
    def ring(_number: int, _frame: FrameType | None) -> None:
        raise TooLongError(f"not done within {DEADLINE} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(DEADLINE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
