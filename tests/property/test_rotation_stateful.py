"""Two drivers in any order, killed and frozen between any two calls, with any faults: Hypothesis looks for the worst.

What the explorer in `test_rotation.py` does by placing faults, this does by choosing what happens next.
"""

from collections.abc import Generator
from dataclasses import replace
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.property.rotation.driver import OWNER, Driver, Wrong
from tests.property.rotation.explore import scenarios
from tests.property.rotation.world import (
    KINDS,
    CasError,
    CrashError,
    FencedError,
    Scenario,
    TransientError,
    Violation,
    World,
)

SCENARIOS = scenarios()
ENDS_A_PASS = (CrashError, TransientError, CasError, FencedError)
MOST_FAULTS = 3


class Rotation(RuleBasedStateMachine):
    """One live path, and two processes that believe it is theirs. The world checks the promises after each call."""

    wrong: Wrong | None = None

    def __init__(self) -> None:
        super().__init__()
        self.world = World(Scenario(strategy=SCENARIOS[0].strategy), {})
        self.drivers: list[Driver] = []
        self.going: dict[int, Generator[object, None, bool]] = {}
        self.faults = 0

    @initialize(scenario=st.sampled_from(SCENARIOS), anew=st.booleans())
    def begin(self, scenario: Scenario, anew: bool) -> None:
        self.world = World(scenario, {})
        other = replace(OWNER, uid="uid-2") if anew else OWNER
        self.drivers = [Driver(self.world, self.wrong), Driver(self.world, self.wrong, other)]

    @rule(who=st.integers(0, 1), calls=st.integers(1, 12))
    def go_on(self, who: int, calls: int) -> None:
        going = self.going.setdefault(who, self.drivers[who].steps())
        try:
            for _ in range(calls):
                next(going)
        except (StopIteration, *ENDS_A_PASS):
            del self.going[who]

    @rule(who=st.integers(0, 1))
    def kill(self, who: int) -> None:
        self.going.pop(who, None)

    @rule(kind=st.sampled_from(KINDS), ahead=st.integers(0, 3))
    def fail(self, kind: str, ahead: int) -> None:
        if self.faults < MOST_FAULTS:
            self.faults += 1
            self.world.faults[self.world.n + ahead] = kind

    @rule(seconds=st.sampled_from((1, 15, 600, 4000)))
    def time_passes(self, seconds: int) -> None:
        self.world.now += timedelta(seconds=seconds)

    def teardown(self) -> None:
        if not self.drivers:
            return
        self.world.faults = {}
        for going in list(self.going.values()):  # whoever was frozen thaws
            try:
                while True:
                    next(going)
            except (StopIteration, *ENDS_A_PASS):
                continue
        self.drivers[0].until_done()
        self.drivers[0].until_done()
        self.world.check("the end")
        self.world.check_end()


def run(machine: type[Rotation], examples: int, *, shrink: bool = True) -> None:
    allowed = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        derandomize=True,
        report_multiple_bugs=False,
        phases=(Phase.generate, Phase.shrink) if shrink else (Phase.generate,),
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(machine, settings=allowed)  # type: ignore[no-untyped-call] # Hypothesis has no type for it


def test_no_order_of_events_breaks_a_promise() -> None:
    run(Rotation, 1_000)


@pytest.mark.chaos
def test_no_order_of_events_breaks_a_promise_in_many_tries() -> None:
    run(Rotation, 50_000)


@pytest.mark.parametrize("wrong", [Wrong.NO_PROOF, Wrong.PENDING_ON_LIVE, Wrong.NO_WIPE, Wrong.MISMATCH_IS_CONFLICT])
def test_a_wrong_design_is_found_by_the_orders_too(wrong: Wrong) -> None:
    design = type("Design", (Rotation,), {"wrong": wrong})
    with pytest.raises(Violation, match=r"^I\d"):
        run(design, 300, shrink=False)
