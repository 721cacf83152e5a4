from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

import pytest
from pydantic import Field

from elile_operator.api.crds import KINDS
from elile_operator.api.model import ApiObject, Crd, SpecModel
from elile_operator.api.rules import ListType
from elile_operator.api.schema import Schema, UnfitModel, kind_schema

KIND = Crd(kind="Thing", plural="things", short_name="th", namespaced=True, columns=())


class Inner(SpecModel):
    """An inner thing."""

    title: str | None = Field(None, description="Its title.")


class Status(SpecModel):
    """What was found."""


def schema_of(spec: Any) -> Schema:
    class Thing(ApiObject):
        """A thing."""

        crd: ClassVar[Crd] = KIND
        spec_: spec = Field(alias="spec", description="What is wanted.")
        status: Status = Field(default_factory=Status, description="What was found.")

    found: Schema = kind_schema(Thing)["properties"]["spec"]
    return found


def test_parts_stand_in_their_place_without_defaults_titles_or_null() -> None:
    class Spec(SpecModel):
        """What is wanted."""

        size: int = Field(3, description="Its size.")
        inner: Inner = Field(default_factory=Inner, description="Its inside.")
        parts: Annotated[tuple[Inner, ...], Field(max_length=2), ListType("map", ("title",))] | None = Field(
            None, description="Its parts."
        )
        notes: dict[str, str] = Field(description="Its notes.")

    inner = {"type": "object", "properties": {"title": {"type": "string", "description": "Its title."}}}
    assert schema_of(Spec) == {
        "type": "object",
        "description": "What is wanted.",
        "required": ["notes"],
        "properties": {
            "size": {"type": "integer", "description": "Its size."},
            "inner": inner | {"description": "Its inside."},
            "parts": {
                "type": "array",
                "description": "Its parts.",
                "items": inner | {"description": "An inner thing."},
                "maxItems": 2,
                "x-kubernetes-list-type": "map",
                "x-kubernetes-list-map-keys": ["title"],
            },
            "notes": {"type": "object", "description": "Its notes.", "additionalProperties": {"type": "string"}},
        },
    }


class Undescribed(SpecModel):
    """A field that says nothing."""

    size: int


class EitherOr(SpecModel):
    """A field of two types."""

    size: int | str = Field(description="Its size.")


class Word(SpecModel):
    """A field of one word, which only an enum can say."""

    word: Literal["a"] = Field(description="Its word.")


class MisplacedBound(SpecModel):
    """A bound where the API server does not see it."""

    parts: Annotated[tuple[str, ...], ListType("set")] | None = Field(None, max_length=3, description="Its parts.")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (Undescribed, "Thing.spec.size: has no description"),
        (EitherOr, "Thing.spec.size: has no type that a structural schema knows"),
        (Word, "Thing.spec.word: const cannot stand at string in a structural schema"),
        (MisplacedBound, "Thing.spec.parts: maxLength cannot stand at array in a structural schema"),
    ],
)
def test_what_does_not_fit_is_named(spec: type[SpecModel], message: str) -> None:
    with pytest.raises(UnfitModel) as raised:
        schema_of(spec)
    assert str(raised.value) == message


def places(schema: Schema, place: str) -> Iterator[tuple[str, Schema]]:
    yield place, schema
    for name, inner in schema.get("properties", {}).items():
        yield from places(inner, f"{place}.{name}")
    for key, suffix in (("items", "[]"), ("additionalProperties", ".*")):
        if key in schema:
            yield from places(schema[key], f"{place}{suffix}")


@pytest.mark.parametrize("kind", KINDS)
def test_every_list_says_how_it_is_merged(kind: type[ApiObject]) -> None:
    lists = {place: s for place, s in places(kind_schema(kind), "") if s["type"] == "array"}
    assert lists
    assert [place for place, schema in lists.items() if "x-kubernetes-list-type" not in schema] == []


@pytest.mark.parametrize("kind", KINDS)
def test_everything_in_a_spec_is_bounded(kind: type[ApiObject]) -> None:
    """Else the API server's estimate of what the rules cost has no bound either."""
    spec = kind_schema(kind)["properties"]["spec"]
    bounds = {"string": {"maxLength", "enum"}, "array": {"maxItems"}, "object": {"properties", "maxProperties"}}
    unbounded = [place for place, s in places(spec, "spec") if not bounds.get(s["type"], set(s)) & s.keys()]
    assert unbounded == []


@pytest.mark.parametrize("kind", KINDS)
def test_every_rule_names_a_field_that_exists(kind: type[ApiObject]) -> None:
    """A message that names a field by another name than the schema's sends people the wrong way."""
    found = dict(places(kind_schema(kind), ""))
    for place, schema in found.items():
        for rule in schema.get("x-kubernetes-validations", []):
            named = rule["message"].split()[0].rstrip(":")
            # What several kinds use names the end of the path; the API server puts the whole of it in front.
            known = any(path.endswith(f".{named}") for path in found)
            assert known or named == "metadata.name", f"{place}: {rule['message']}"
            assert len(rule["message"]) <= 2048
