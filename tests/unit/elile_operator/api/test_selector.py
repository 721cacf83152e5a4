from typing import Any

import pytest

from elile_operator.api.selector import AllowedNamespaces, LabelSelector

LIVE = {"stage": "live", "team": "shop"}


def expression(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}


@pytest.mark.parametrize(
    ("selector", "matches"),
    [
        pytest.param({}, True, id="empty matches everything"),
        pytest.param({"matchLabels": {"team": "shop"}}, True, id="label"),
        pytest.param({"matchLabels": {"team": "shop", "stage": "test"}}, False, id="one label of two"),
        pytest.param({"matchLabels": {"other": "a"}}, False, id="label missing"),
        pytest.param(expression("stage", "In", "test", "live"), True, id="in"),
        pytest.param(expression("other", "In", "a"), False, id="in, missing"),
        pytest.param(expression("stage", "NotIn", "live"), False, id="not in"),
        pytest.param(expression("other", "NotIn", "a"), True, id="not in, missing"),
        pytest.param(expression("team", "Exists"), True, id="exists"),
        pytest.param(expression("other", "Exists"), False, id="exists, missing"),
        pytest.param(expression("team", "DoesNotExist"), False, id="does not exist"),
        pytest.param(
            {"matchLabels": {"team": "shop"}} | expression("stage", "DoesNotExist"), False, id="every part must match"
        ),
    ],
)
def test_a_selector(selector: dict[str, Any], matches: bool) -> None:
    assert LabelSelector.model_validate(selector).matches(LIVE) is matches


TEAM = {"matchLabels": {"team": "shop"}}


@pytest.mark.parametrize(
    ("allowed", "namespace", "allows"),
    [
        pytest.param({"names": ["shop"]}, "shop", True, id="named"),
        pytest.param({"names": ["shop"]}, "shop-2", False, id="not named"),
        pytest.param({"names": []}, "shop", False, id="nobody"),
        pytest.param({"selector": {}}, "shop", True, id="selected"),
        pytest.param({"names": ["bank"], "selector": TEAM}, "shop", True, id="selected, not named"),
        pytest.param(
            {"names": ["shop"], "selector": {"matchLabels": {"team": "x"}}}, "shop", True, id="named, not selected"
        ),
    ],
)
def test_a_namespace_is_allowed_by_name_or_by_labels(allowed: dict[str, Any], namespace: str, allows: bool) -> None:
    assert AllowedNamespaces.model_validate(allowed).allow(namespace, LIVE) is allows
