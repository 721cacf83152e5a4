"""Each budget is measured by one scenario, and every reason is about a budget that there is."""

from collections import Counter

from bench.budgets import BY_KEY, ROWS
from bench.reasons import REASONS
from bench.registry import SCENARIOS
from bench.scale import FULL


def test_a_key_has_one_budget() -> None:
    keys = Counter(budget.key for row in ROWS for budget in row.budgets)
    assert set(keys.values()) == {1}


def test_each_budget_has_its_scenario() -> None:
    for key in BY_KEY:
        assert any(key.startswith(scenario.figures) for scenario in SCENARIOS), key


def test_a_scenario_has_one_way_to_measure_and_a_name_of_its_own() -> None:
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS)
    for scenario in SCENARIOS:
        assert (scenario.measure is None) != (scenario.alone is None), scenario.name


def test_a_full_run_measures_what_the_keys_say() -> None:
    assert (FULL.objects, FULL.many, FULL.most) == (1_000, 3_000, 10_000)
    assert {f"recovery.{sealed:.0f}.seconds" for sealed in FULL.sealed} <= set(BY_KEY)


def test_reasons_are_about_budgets() -> None:
    assert set(REASONS) <= set(BY_KEY)
    for reason in REASONS.values():
        assert reason == " ".join(reason.split())
        assert reason.endswith(".")
