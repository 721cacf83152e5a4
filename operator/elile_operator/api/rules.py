"""Rules on fields, written once: as CEL for the API server, as Python for objects that were stored before the rule."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from keyword import iskeyword
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.alias_generators import to_camel
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from elile_operator.api.durations import MAX_LENGTH, PATTERN, SECONDS, DurationError, format_duration, parse_duration


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule on a value. `test` is None where only the API server can judge: it alone has the old object.

    The message begins with the field, as `spec.a[].b`, tells the remedy, and holds no value.
    """

    cel: str
    message: str
    test: Callable[[Any], bool] | None

    def holds(self, value: Any) -> bool:
        """Whether the value keeps the rule, as far as can be seen here."""
        return self.test is None or self.test(value)

    def validation(self) -> dict[str, str]:
        """The rule as an entry of `x-kubernetes-validations`."""
        return {"rule": self.cel, "message": self.message}


class Checked:
    """Annotated metadata: the value must keep the rules, in the model as in the CRD."""

    def __init__(self, *rules: Rule) -> None:
        self.rules = rules

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        inner = handler(schema)
        earlier = inner.get("x-kubernetes-validations", [])
        return {**inner, "x-kubernetes-validations": [*earlier, *(rule.validation() for rule in self.rules)]}

    def _check(self, value: Any) -> Any:
        for rule in self.rules:
            if not rule.holds(value):
                raise refusal(rule.message)
        return value


@dataclass(frozen=True, slots=True)
class ListType:
    """Annotated metadata: how server-side apply merges the list; a map is merged by its keys, which are unique."""

    name: str
    keys: tuple[str, ...] = ()

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        inner = {**handler(schema), "x-kubernetes-list-type": self.name}
        if self.keys:
            inner["x-kubernetes-list-map-keys"] = list(self.keys)
        return inner

    def _check(self, items: tuple[Any, ...]) -> tuple[Any, ...]:
        if self.name == "atomic":
            return items
        attributes = [f"{key}_" if iskeyword(key) else key for key in self.keys]
        identities = [tuple(getattr(item, name) for name in attributes) or item for item in items]
        if len(set(identities)) < len(identities):
            same = " and ".join(self.keys) or "value"
            raise PydanticCustomError("unique", "holds two entries with the same {same}; remove one", {"same": same})
        return items


@dataclass(frozen=True, slots=True)
class DurationBetween:
    """Annotated metadata of a timedelta that is written as a duration, within bounds that are part of it."""

    field: str
    minimum: timedelta
    maximum: timedelta

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(
            self._parse,
            serialization=core_schema.plain_serializer_function_ser_schema(format_duration),
            json_schema_input_schema=core_schema.str_schema(),
        )

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        rule = {"rule": lasts_between("self", self.minimum, self.maximum), "message": self._message()}
        return {"type": "string", "pattern": PATTERN, "maxLength": MAX_LENGTH, "x-kubernetes-validations": [rule]}

    def _message(self) -> str:
        bounds = f"{format_duration(self.minimum)} and {format_duration(self.maximum)}"
        return f"{self.field} must be between {bounds}, for example 90s or 1h30m"

    def _parse(self, value: Any) -> timedelta:
        if not isinstance(value, str | timedelta):
            raise refusal(self._message())
        try:
            parsed = parse_duration(value) if isinstance(value, str) else value
        except DurationError:
            raise refusal(self._message()) from None
        if not self.minimum <= parsed <= self.maximum:
            raise refusal(self._message())
        return parsed


def seconds_of(duration: str) -> str:
    """The seconds of a duration, both in CEL. Its own duration() knows no days."""
    *units, last = SECONDS
    factor = "".join(f"p.endsWith('{unit}') ? {SECONDS[unit]} : " for unit in units) + str(SECONDS[last])
    parts = f"{duration}.findAll('[0-9]+[{''.join(SECONDS)}]')"
    return f"{parts}.map(p, int(p.substring(0, p.size() - 1)) * ({factor})).sum()"


def lasts_between(duration: str, minimum: timedelta, maximum: timedelta) -> str:
    """Whether a duration is within both bounds, in CEL."""
    low, high = (bound // timedelta(seconds=1) for bound in (minimum, maximum))
    return f"[{seconds_of(duration)}].all(t, t >= {low} && t <= {high})"


def refusal(message: str) -> PydanticCustomError:
    """The error of a rule that is not kept."""
    return PydanticCustomError("rule", "{message}", {"message": message})


def cel_string(text: str) -> str:
    """The text as a CEL literal of plain ASCII."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "'" + "".join(c if " " <= c <= "~" else f"\\u{ord(c):04x}" for c in escaped) + "'"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a rule on text looks at, in CEL and in Python: the value itself, or something made of it."""

    cel: str
    read: Callable[[str], str]


SELF = Subject("self", str)


def matches(pattern: str, message: str, subject: Subject = SELF) -> Rule:
    """The whole text matches. Patterns use what RE2 and Python's re read alike: no look-around, no \\d, \\w, \\s."""
    compiled = re.compile(pattern)
    cel = f"{subject.cel}.matches({cel_string(f'^({pattern})$')})"
    return Rule(cel, message, lambda v: compiled.fullmatch(subject.read(v)) is not None)


def free_of(pattern: str, message: str, subject: Subject = SELF) -> Rule:
    """No part of the text matches."""
    compiled = re.compile(pattern)
    cel = f"!{subject.cel}.matches({cel_string(pattern)})"
    return Rule(cel, message, lambda v: compiled.search(subject.read(v)) is None)


def between(field: str, minimum: int, maximum: int) -> Rule:
    """The number is within both bounds."""
    return Rule(
        f"self >= {minimum} && self <= {maximum}",
        f"{field} must be between {minimum} and {maximum}",
        lambda v: minimum <= v <= maximum,
    )


def exactly_one(field: str, members: tuple[str, ...]) -> Rule:
    """Exactly one member of a union is there. Members are the names in Python."""
    names = [to_camel(member) for member in members]
    count = " + ".join(f"(has(self.{name}) ? 1 : 0)" for name in names)
    return Rule(
        f"{count} == 1",
        f"{field} must hold exactly one of: {', '.join(names)}",
        lambda v: sum(getattr(v, member) is not None for member in members) == 1,
    )
