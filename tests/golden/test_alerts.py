"""The alert rules: of the shape that Prometheus reads, and each with what somebody needs who is woken by it."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elile.secrets.rotation.journal import Phase
from elile.secrets.rotation.verify.outcome import Outcome
from elile_operator.api.rotation import RotationResult
from elile_operator.obs.metrics import Metrics
from elile_operator.obs.rotations import RotationSample

ROOT = Path(__file__).parents[2]
GROUPS: list[dict[str, Any]] = yaml.safe_load((ROOT / "policies" / "observability" / "alerts.yaml").read_text())[
    "groups"
]
RULES = [rule for group in GROUPS for rule in group["rules"]]
DURATION = re.compile(r"([0-9]+(ms|[smhdwy]))+")
# What an expression leaves of the labels, by the functions that sum them up.
BY = re.compile(r"\b(?:sum|max|count)(?: by \(([^)]*)\))?")


def test_the_groups() -> None:
    for group in GROUPS:
        assert group.keys() == {"name", "rules"}
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names)) == 11


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule(rule: dict[str, Any]) -> None:
    assert rule.keys() <= {"alert", "expr", "for", "labels", "annotations"}
    assert re.fullmatch("Elile[A-Za-z]+", rule["alert"])
    assert "for" not in rule or DURATION.fullmatch(rule["for"])
    assert rule["labels"].keys() == {"severity"}
    assert rule["labels"]["severity"] in ("page", "warning")
    assert rule["annotations"].keys() == {"summary", "description", "runbook"}
    for text in rule["annotations"].values():
        assert len(text) > 20
        assert "\n" not in text, "one line: it is shown in a message"
    assert len(rule["annotations"]["summary"]) < 120
    expression = rule["expr"]
    assert all(expression.count(left) == expression.count(right) for left, right in ("()", "[]", "{}"))
    assert re.search(r"\belile_(rotation|rotations|verification)_", expression)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_the_text_names_only_labels_that_the_expression_leaves(rule: dict[str, Any]) -> None:
    named = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    by = [set(re.split(r",\s*", labels)) if labels else set() for labels in BY.findall(rule["expr"])]
    left = set.intersection(*by) if by else {"namespace", "schedule"}
    assert named <= left
    assert (
        re.sub(r"\{\{ \$(labels\.\w+|value( \| humanizeDuration)?) \}\}", "", str(rule["annotations"])).count("{{") == 0
    )


# A metric of ours, and what is asked of its labels.
ASKED = re.compile(r"\b(elile_\w+)(?:\{([^}]*)\})?")
VALUES = {"result": set(RotationResult), "phase": set(Phase), "outcome": set(Outcome)}


@pytest.fixture(scope="module")
def shown() -> dict[str, set[str]]:
    """The samples that a process shows which has told of everything once, with the names of their labels."""
    metrics = Metrics(version="1")
    sample = RotationSample(
        namespace="shop",
        schedule="db",
        phase=Phase.PROMOTED,
        next=1.0,
        succeeded=1.0,
        failures=1,
        missed=1,
        needs_intervention=False,
    )
    metrics.track_rotations(lambda: [sample])
    metrics.sample()
    metrics.rotation_ended(
        namespace="shop", schedule="db", action="Rotate", result=RotationResult.ROLLED_BACK, seconds=1.0
    )
    metrics.verified(hook="http", outcome=Outcome.PASSED, seconds=0.1)
    return {s.name: set(s.labels) for family in metrics.registry.collect() for s in family.samples}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_a_rule_asks_for_what_the_operator_shows(rule: dict[str, Any], shown: dict[str, set[str]]) -> None:
    asked = ASKED.findall(rule["expr"])
    assert asked
    for name, matchers in asked:
        assert name in shown
        wanted = dict(re.findall(r'(\w+)=~?"([^"]*)"', matchers))
        assert wanted.keys() <= shown[name]
        for key, value in wanted.items():
            assert set(value.split("|")) <= VALUES[key]
    grouped = {text.strip() for by in BY.findall(rule["expr"]) if by for text in by.split(",")}
    assert grouped <= set().union(*(shown[name] for name, _ in asked))
