from typing import Annotated

import pytest
from pydantic import BaseModel

from elile_operator.api.rules import Checked, ListType, Rule, between, cel_string, exactly_one, free_of, matches


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("plain", "'plain'"),
        ("it's", r"'it\'s'"),
        (r"\.", r"'\\.'"),
        ("\n\x00", r"'\u000a\u0000'"),
        ("\u202e", r"'\u202e'"),
    ],
)
def test_a_cel_literal_is_plain_ascii(text: str, literal: str) -> None:
    assert cel_string(text) == literal


@pytest.mark.parametrize(
    ("rule", "cel", "kept", "broken"),
    [
        pytest.param(
            matches("[a-z]+", ""), "self.matches('^([a-z]+)$')", ["ab"], ["", "a1", "ab\n", "\nab"], id="matches"
        ),
        pytest.param(matches("a|b", ""), "self.matches('^(a|b)$')", ["a", "b"], ["ab"], id="alternatives"),
        pytest.param(free_of("//", ""), "!self.matches('//')", ["", "a/b"], ["a//b"], id="free of"),
        pytest.param(between("f", 1, 3), "self >= 1 && self <= 3", [1, 3], [0, 4], id="between"),
    ],
)
def test_a_rule_says_the_same_in_both_languages(rule: Rule, cel: str, kept: list[object], broken: list[object]) -> None:
    assert rule.cel == cel
    assert all(rule.holds(value) for value in kept)
    assert not any(rule.holds(value) for value in broken)


class Union(BaseModel):
    kv: str | None = None
    other_thing: str | None = None


def test_exactly_one_member_of_a_union() -> None:
    rule = exactly_one("spec.sources[]", ("kv", "other_thing"))
    assert rule.cel == "(has(self.kv) ? 1 : 0) + (has(self.otherThing) ? 1 : 0) == 1"
    assert rule.message == "spec.sources[] must hold exactly one of: kv, otherThing"
    verdicts = [rule.holds(u) for u in (Union(), Union(kv="a"), Union(other_thing="b"), Union(kv="a", other_thing="b"))]
    assert verdicts == [False, True, True, False]


def test_a_rule_that_needs_the_old_object_holds_here() -> None:
    assert Rule("self == oldSelf", "f cannot be changed", None).holds("anything")


class Rules(BaseModel):
    text: Annotated[str, Checked(matches("a*", "first")), Checked(free_of("aa", "second"))]
    entries: Annotated[tuple[str, ...], ListType("set")] = ()


def test_rules_stand_in_the_schema_in_their_order() -> None:
    text = Rules.model_json_schema()["properties"]["text"]
    assert [rule["message"] for rule in text["x-kubernetes-validations"]] == ["first", "second"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"text": "b"}, "first"),
        ({"text": "aa"}, "second"),
        ({"text": "a", "entries": ("x", "y", "x")}, "holds two entries with the same value; remove one"),
    ],
)
def test_rules_are_kept_by_the_model(body: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rules.model_validate(body)
