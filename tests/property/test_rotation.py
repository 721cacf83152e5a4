"""Whatever fails, wherever, and whoever else is at it: a rotation keeps its promises. Wrong designs do not.

The real machine, driven by a thin driver in a world with the manners of KV v2. `rotation/` holds world, driver and
search; a violation is told with the scenario and the faults that repeat it (`trace(scenario, faults, Found())`).
"""

import random
import time
from collections.abc import Callable

import pytest

from elile.secrets.rotation.journal import Phase, Strategy
from tests.property.rotation.driver import Wrong
from tests.property.rotation.explore import Found, all_of, drawn, placed, scenarios, split, trace
from tests.property.rotation.world import Guards, Scenario

SEED = 20261124
FULL = 200_000
# Seconds; the sample ends there on a slow machine, and says how far it came.
SAMPLE = 15.0


def told(found: Found) -> None:
    """Print what was run, for the log."""
    print(f"\n{found.traces} traces, violations {dict(found.violations)}, ends {dict(found.ends)}")  # noqa: T201
    assert not found.violations, "\n".join(found.first.values())


def sampled(step: Callable[[random.Random, Found], None], *, most: int, seconds: float) -> Found:
    """Draw until there are enough traces, or the time is up."""
    rng, found, end = random.Random(SEED), Found(), time.monotonic() + seconds  # noqa: S311 - repeatable
    while found.traces < most and time.monotonic() < end:
        step(rng, found)
    return found


def faulty(rng: random.Random, found: Found, depth: int = 2) -> None:
    trace(rng.choice(SCENARIOS), drawn(rng, rng.randint(1, depth)), found)


def shared(rng: random.Random, found: Found, depth: int = 1, guards: Guards | None = None) -> None:
    split(
        rng.choice(SCENARIOS),
        rng.randrange(8),
        rng.randrange(1, 50),
        rng.randrange(1, 20),
        found,
        faults=drawn(rng, rng.randint(0, depth)),
        guards=guards,
        again=rng.random() < 1 / 4,
        anew=rng.random() < 1 / 4,
        deaf=rng.random() < 1 / 2,
    )


SCENARIOS = scenarios()
DUAL = scenarios(Strategy.DUAL_USER)


# ── the design ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_without_faults_every_scenario_ends_as_it_should() -> None:
    ends = {str(s): world.journal.read()[0] for s in SCENARIOS if (world := trace(s, {}, Found()))}
    phases = {name: entry.phase for name, entry in ends.items() if entry is not None}
    assert set(phases) == set(ends)
    assert {
        phases[name] for name in ("DualUser", "DualUser-negative", "SingleUser", "Keyset", "DualUser-rejects once")
    } == {Phase.DONE}
    assert phases["DualUser-compromised-RollBack@Promoted"] is Phase.DONE
    assert phases["DualUser-after fails-compromised-Rotate@NeedsIntervention"] is Phase.NEEDS_INTERVENTION
    assert phases["DualUser-hook fails"] is phases["DualUser-foreign"] is Phase.ABORTED
    assert phases["DualUser-after fails"] is phases["Keyset-RollBack@Distributing"] is Phase.ROLLED_BACK


@pytest.mark.parametrize("strategy", [Strategy.DUAL_USER, Strategy.SINGLE_USER, Strategy.KEYSET])
def test_one_fault_anywhere(strategy: Strategy) -> None:
    told(all_of([Scenario(strategy=strategy), Scenario(strategy=strategy, after="fails")], depth=1))


def test_two_faults_anywhere_sampled() -> None:
    told(sampled(faulty, most=4000, seconds=SAMPLE))


def test_two_drivers_one_of_them_frozen_sampled() -> None:
    told(sampled(shared, most=3000, seconds=SAMPLE))


@pytest.mark.chaos
def test_three_faults_anywhere() -> None:
    told(sampled(lambda rng, found: faulty(rng, found, 3), most=FULL // 2, seconds=3600))


@pytest.mark.chaos
def test_two_faults_everywhere() -> None:
    told(all_of([Scenario(strategy=Strategy.DUAL_USER)], depth=2))


@pytest.mark.chaos
def test_two_drivers_one_of_them_frozen() -> None:
    told(sampled(lambda rng, found: shared(rng, found, 2), most=FULL // 2, seconds=3600))


@pytest.mark.chaos
def test_where_the_target_compares_nothing_the_hole_is_counted() -> None:
    """MariaDB and Redis: a process frozen between its fence and its call changes an account later, and no other way."""
    hole = sampled(lambda rng, found: shared(rng, found, 0, Guards(target_epoch=False)), most=FULL // 10, seconds=3600)
    print(f"\n{hole.traces} traces without a target that compares: {dict(hole.violations)}")  # noqa: T201 - for the log
    assert set(hole.violations) <= {"I1", "I3", "I9"}
    closed = sampled(lambda rng, found: shared(rng, found, 0), most=FULL // 10, seconds=3600)
    told(closed)


# ── the table of failures, where one call fails ──────────────────────────────────────────────────────────────────────

USUAL = Scenario(strategy=Strategy.DUAL_USER)
ALONE = Scenario(strategy=Strategy.SINGLE_USER, hook="fails")
FAILS = Scenario(strategy=Strategy.DUAL_USER, hook="fails")
SPOILT = Scenario(strategy=Strategy.DUAL_USER, after="fails")
# The number of the row in the reference; the call that fails, ` 2` the second of that name; the end.
ROWS = [
    (1, USUAL, "journal.write Pending", "before", Phase.DONE),
    (2, USUAL, "journal.write Pending", "after", Phase.DONE),
    (4, USUAL, "apply", "before", Phase.DONE),
    (5, USUAL, "apply", "after", Phase.DONE),
    (6, Scenario(strategy=Strategy.DUAL_USER, target="rejects once"), "apply", "after", Phase.DONE),
    (6, Scenario(strategy=Strategy.DUAL_USER, target="rejects"), "apply", "after", Phase.ABORTED),
    (8, USUAL, "journal.write Applied", "before", Phase.DONE),
    (8, USUAL, "journal.write Applied", "after", Phase.DONE),
    (9, Scenario(strategy=Strategy.DUAL_USER, hook="inconclusive"), "verify", "err", Phase.ABORTED),
    (10, FAILS, "verify", "after", Phase.ABORTED),
    (11, FAILS, "lock", "before", Phase.ABORTED),
    (11, FAILS, "lock", "after", Phase.ABORTED),
    (12, ALONE, "restore", "before", Phase.ABORTED),
    (12, ALONE, "restore", "after", Phase.ABORTED),
    (12, ALONE, "restore", "other", Phase.ABORTED),
    (13, USUAL, "live.write", "after", Phase.DONE),
    (14, Scenario(strategy=Strategy.DUAL_USER, foreign=True), "live.read", "other", Phase.ABORTED),
    (16, USUAL, "deliver", "before", Phase.DONE),
    (16, USUAL, "deliver", "after", Phase.DONE),
    (18, Scenario(strategy=Strategy.DUAL_USER, slow=4), "proofs", "err", Phase.DONE),
    (19, SPOILT, "journal.write Reverting", "before", Phase.ROLLED_BACK),
    (20, SPOILT, "live.write 2", "after", Phase.ROLLED_BACK),
    (21, USUAL, "journal.write Retiring", "before", Phase.DONE),
    (22, USUAL, "lock", "after", Phase.DONE),
    (24, USUAL, "journal.destroy", "before", Phase.DONE),
    (24, USUAL, "journal.destroy", "after", Phase.DONE),
]


@pytest.mark.parametrize(("row", "scenario", "call", "fault", "end"), ROWS)
def test_a_row_of_the_table(row: int, scenario: Scenario, call: str, fault: str, end: Phase) -> None:
    name = call.removesuffix(" 2")
    made = [number for number, at in enumerate(trace(scenario, {}, Found()).names) if at == name]
    found = Found()
    world = trace(scenario, {made[call != name]: fault}, found)
    told(found)
    entry, _ = world.journal.read()
    assert entry is not None
    assert (entry.phase, entry.wiped) == (end, True)
    assert world.begun == ["2026-11-24T02:30[Etc/UTC]"]
    if end is Phase.DONE:
        assert world.live.current == 2


def test_while_the_server_does_not_answer_nothing_changes_and_afterwards_it_goes_on() -> None:
    """Row 15: every call from some point on fails, for a while."""
    found = Found()
    for start in range(40):
        trace(USUAL, dict.fromkeys(range(start, start + 15), "err"), found)
    told(found)
    assert found.ends["Done"] > 30


# ── designs that are wrong ───────────────────────────────────────────────────────────────────────────────────────────

PROMISES = {
    Wrong.APPLY_BEFORE_PERSIST: "I3",
    Wrong.PENDING_ON_LIVE: "I2",
    Wrong.MISMATCH_IS_CONFLICT: "I1",
    Wrong.NO_PROOF: "I6",
    Wrong.OWN_PROOF_ONLY: "I6",
    Wrong.NO_ROLLBACK_VALUE: "I9",
    Wrong.NO_VERIFICATION: "I2",
    Wrong.NO_SECOND_VERIFICATION: "I6",
    Wrong.NO_GRACE: "I6",
    Wrong.NO_WIPE: "I12",
    Wrong.NEW_VALUE_EACH_TRY: "I3",
    Wrong.NO_HISTORY: "I10",
    Wrong.DELETE_ON_ROLLBACK: "I5",
    Wrong.LIVE_WITHOUT_CAS: "I4",
    Wrong.UNCOUNTED_PROBES: "lockout:",
    Wrong.LOCK_BEFORE_WRITING_BACK: "I1",
    Wrong.COMPROMISED_COMES_BACK: "compromised:",
    Wrong.METADATA_DELETED: "I5",
}


@pytest.mark.parametrize(("wrong", "promise"), PROMISES.items(), ids=lambda x: x.name if isinstance(x, Wrong) else x)
def test_a_wrong_design_is_found_out(wrong: Wrong, promise: str) -> None:
    found = Found()
    for scenario in DUAL:
        trace(scenario, {}, found, wrong)
    for faults in placed(1, 40):
        if found.violations[promise]:
            break
        trace(DUAL[0], faults, found, wrong)
    assert found.violations[promise] > 0


def test_without_a_fence_a_frozen_driver_does_harm() -> None:
    rng, found = random.Random(SEED), Found()  # noqa: S311 - repeatable
    bare = Guards(target_epoch=False, secret_epoch=False)
    while found.traces < 3000 and not (found.violations["I1"] or found.violations["I3"]):
        passes, calls, meanwhile = rng.randrange(6), rng.randrange(1, 45), rng.randrange(1, 20)
        split(rng.choice(DUAL), passes, calls, meanwhile, found, wrong=Wrong.NO_FENCE, guards=bare)
    assert found.violations["I1"] + found.violations["I3"] > 0


def test_where_the_target_compares_nothing_a_driver_frozen_after_its_fence_does_harm() -> None:
    """MariaDB and Redis: known, told in the documentation, and what drift verification is for."""
    found = Found()
    scenario = Scenario(strategy=Strategy.DUAL_USER, command=(Phase.VERIFIED, "Abort"))
    for calls in range(1, 20):
        split(scenario, 0, calls, 20, found, guards=Guards(target_epoch=False))
    assert found.violations["I3"] > 0
    safe = Found()
    for calls in range(1, 20):
        split(scenario, 0, calls, 20, safe)
    assert not safe.violations


FROZEN = {
    Wrong.ABORT_OF_WHAT_WAS_SENT: (Scenario(strategy=Strategy.DUAL_USER, command=(Phase.VERIFIED, "Abort")), "I1"),
    Wrong.LOCK_ONLY_WHAT_WORKS: (Scenario(strategy=Strategy.DUAL_USER, command=(Phase.PENDING, "Abort")), "I3"),
}


@pytest.mark.parametrize("wrong", FROZEN, ids=lambda wrong: wrong.name)
def test_a_wrong_design_is_found_out_where_a_driver_freezes(wrong: Wrong) -> None:
    scenario, promise = FROZEN[wrong]
    found, right = Found(), Found()
    for calls in range(1, 30):
        split(scenario, 0, calls, 20, found, wrong=wrong, deaf=True)
        split(scenario, 0, calls, 20, right, deaf=True)
    assert found.violations[promise] > 0
    assert not right.violations


def test_all_wrong_designs_are_tried() -> None:
    assert {*PROMISES, *FROZEN, Wrong.NO_FENCE} == set(Wrong)
