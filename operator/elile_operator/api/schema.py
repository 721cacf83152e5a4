"""From the models to the structural OpenAPI schema that a CustomResourceDefinition wants."""

from typing import Any

from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue
from pydantic_core import core_schema

from elile_operator.api.model import ApiObject

Schema = dict[str, Any]

# What a structural schema may say, by type, of what pydantic or the rules of this package write. A bound that stands at
# the wrong type is one that the API server does not see.
_ANYWHERE = frozenset({"type", "description", "x-kubernetes-validations"})
_BY_TYPE: dict[str, frozenset[str]] = {
    "string": frozenset({"format", "enum", "pattern", "minLength", "maxLength"}),
    "integer": frozenset(),
    "boolean": frozenset(),
    "array": frozenset({"minItems", "maxItems", "x-kubernetes-list-type", "x-kubernetes-list-map-keys"}),
    "object": frozenset({"required", "minProperties", "maxProperties"}),
}

# Titles only repeat names. Unknown fields are pruned or refused by the API server without being told so.
_DROPPED = frozenset({"title", "$ref", "properties", "items", "additionalProperties"})


class UnfitModel(TypeError):  # noqa: N818 - it is the model that does not fit
    """A model says something that a structural schema cannot, or a field without a description."""


class _Generator(GenerateJsonSchema):
    """Pydantic's generator without what Kubernetes has no use for.

    An absent field is simply absent: neither null nor a default, which GitOps tools would report as drift.
    """

    def nullable_schema(self, schema: core_schema.NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def default_schema(self, schema: core_schema.WithDefaultSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def enum_schema(self, schema: core_schema.EnumSchema) -> JsonSchemaValue:
        # Pydantic writes an enum of one member as `const`, which a structural schema does not know.
        return {"type": "string", "enum": [member.value for member in schema["members"]]}


def kind_schema(kind: type[ApiObject]) -> Schema:
    """The schema of a whole object: the parts that every object has, and the kind's own. Raises UnfitModel."""
    raw = kind.model_json_schema(by_alias=True, schema_generator=_Generator)
    definitions = raw.pop("$defs", {})
    parts = {name: raw["properties"][name] for name in ("spec", "status")}
    own = _structural({**raw, "properties": parts, "required": ["spec"]}, definitions, kind.crd.kind)
    own["properties"] |= _COMMON
    if kind.crd.rules:
        own["x-kubernetes-validations"] = [rule.validation() for rule in kind.crd.rules]
    return own


_COMMON: Schema = {
    "apiVersion": {"type": "string", "description": "Group and version of the API."},
    "kind": {"type": "string", "description": "Kind of the object."},
    "metadata": {"type": "object"},  # the API server knows what it holds
}


def _structural(node: Schema, definitions: dict[str, Schema], place: str) -> Schema:
    """The node with its reference resolved and its inner schemas made structural; `place` is for the error."""
    if reference := node.get("$ref"):
        # What stands beside the reference is about this use of the type, such as its description.
        node = {**definitions[reference.removeprefix("#/$defs/")], **node}
    if (kind := node.get("type")) not in _BY_TYPE:
        raise UnfitModel(f"{place}: has no type that a structural schema knows")
    known = _ANYWHERE | _BY_TYPE[kind]
    if unknown := node.keys() - known - _DROPPED:
        raise UnfitModel(f"{place}: {', '.join(sorted(unknown))} cannot stand at {kind} in a structural schema")
    schema = {key: value for key, value in node.items() if key in known}
    if "properties" in node:
        schema["properties"] = {
            name: _described(inner, definitions, f"{place}.{name}") for name, inner in node["properties"].items()
        }
    if "items" in node:
        schema["items"] = _structural(node["items"], definitions, f"{place}[]")
    if isinstance(node.get("additionalProperties"), dict):
        schema["additionalProperties"] = _structural(node["additionalProperties"], definitions, f"{place}.*")
    return schema


def _described(node: Schema, definitions: dict[str, Schema], place: str) -> Schema:
    schema = _structural(node, definitions, place)
    if "description" not in schema:
        raise UnfitModel(f"{place}: has no description")
    return schema
