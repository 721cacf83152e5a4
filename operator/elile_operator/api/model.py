"""The base of the kinds: how an object of the cluster becomes a model, and the one error when it cannot."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError
from pydantic.alias_generators import to_camel
from pydantic_core import ErrorDetails

from elile_operator.api.rules import Rule

# What pydantic says of these would not help.
_MESSAGES = {
    "missing": "is required",
    "model_type": "must be an object",
    "extra_forbidden": "is not known to this version of Elile; correct its name or remove it",
}


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one field; the message names it, and never holds its value."""

    field: str
    message: str


class InvalidObject(ValueError):  # noqa: N818 - it says what the object is, as the reasons do
    """An object that cannot be read as its kind. The text names the fields at fault, the first few, and no values."""

    SHOWN = 5

    def __init__(self, kind: str, problems: tuple[Problem, ...]) -> None:
        more = [f"and {len(problems) - self.SHOWN} more"] if len(problems) > self.SHOWN else []
        super().__init__("; ".join([problem.message for problem in problems[: self.SHOWN]] + more))
        self.kind = kind
        self.problems = problems


class SpecModel(BaseModel):
    """A part of a spec: absent fields mean their default, unknown ones are refused."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="forbid", frozen=True
    )


class StatusModel(BaseModel):
    """A part of a status: what another version wrote and this one does not know is left out."""

    model_config = ConfigDict(
        alias_generator=to_camel, validate_by_name=True, validate_by_alias=True, extra="ignore", frozen=True
    )

    def dump(self) -> dict[str, Any]:
        """As it is written to the API server: without what is not set."""
        return self.model_dump(mode="json", by_alias=True, exclude_defaults=True)


class ObjectMeta(StatusModel):
    """The parts of `metadata` that the operator uses."""

    name: str
    namespace: str | None = None
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)
    finalizers: tuple[str, ...] = ()
    creation_timestamp: AwareDatetime | None = None
    deletion_timestamp: AwareDatetime | None = None


def _seconds(value: datetime) -> str:
    return value.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


# As Kubernetes writes times: UTC, whole seconds.
Time = Annotated[AwareDatetime, PlainSerializer(_seconds, return_type=str, when_used="json")]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of `kubectl get`; priority 1 is for `-o wide`."""

    name: str
    json_path: str
    description: str
    type: str = "string"
    priority: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Crd:
    """What a CustomResourceDefinition says beside the schema."""

    kind: str
    plural: str
    short_name: str
    namespaced: bool
    columns: tuple[Column, ...]
    rules: tuple[Rule, ...] = ()  # on the whole object; of `metadata`, CEL sees only the name


class ApiObject(BaseModel):
    """An object of a kind of this group. Each kind adds `spec` and `status`."""

    model_config = ConfigDict(alias_generator=to_camel, validate_by_name=True, extra="ignore", frozen=True)

    crd: ClassVar[Crd]

    metadata: ObjectMeta

    @classmethod
    def from_body(cls, body: Mapping[str, Any]) -> Self:
        """Read an object as the API server gives it. Raises InvalidObject, and nothing else.

        A status that cannot be read counts as none: it is a projection that the operator writes anew.
        """
        parts = {"metadata": body.get("metadata"), "spec": body.get("spec")}
        found, problems = cls._read({**parts, "status": body.get("status") or {}})
        if found is None and all(problem.field.startswith("status") for problem in problems):
            found, problems = cls._read({**parts, "status": {}})
        if found is None:
            raise InvalidObject(cls.crd.kind, problems)
        if broken := tuple(rule for rule in cls.crd.rules if not rule.holds(found)):
            raise InvalidObject(cls.crd.kind, tuple(Problem("metadata", rule.message) for rule in broken))
        return found

    @classmethod
    def _read(cls, body: dict[str, Any]) -> tuple[Self | None, tuple[Problem, ...]]:
        """The object or what is wrong with it. Pydantic's error ends here: it holds what the object holds."""
        try:
            return cls.model_validate(body, by_alias=True, by_name=False), ()
        except ValidationError as error:
            return None, _problems(error)


def _problems(error: ValidationError) -> tuple[Problem, ...]:
    details = error.errors(include_url=False, include_input=False)
    problems = [(detail["type"], _problem(detail)) for detail in details]
    fields = [problem.field for _, problem in problems]
    # To pydantic a list whose entries are all wrong is also too short, which would send people the wrong way.
    return tuple(
        problem
        for kind, problem in problems
        if kind != "too_short" or not any(field.startswith(f"{problem.field}[") for field in fields)
    )


def _problem(detail: ErrorDetails) -> Problem:
    field = ""
    for step in detail["loc"]:
        # A map's key is the user's own text: bounded, and never able to start a line of its own.
        field += f"[{step}]" if isinstance(step, int) else f".{step[:64].encode('unicode_escape').decode()}"
    field = field.lstrip(".")
    return Problem(field, _message(field, detail))


def _message(field: str, detail: ErrorDetails) -> str:
    match detail["type"], detail["msg"]:
        case "rule", text:  # begins with the field already, but knows not which entry of a list it is
            general = re.sub(r"\[[0-9]+\]", "[]", field)
            return field + text.removeprefix(general) if text.startswith(general) else text
        case "unique", text:
            return f"{field} {text}"
        case "too_short", _:
            return f"{field} must hold at least {detail['ctx']['min_length']}"
        case "too_long", _:
            return f"{field} must hold at most {detail['ctx']['max_length']}"
        case kind, text:
            # The rest of pydantic's messages name types and bounds and are good as they are.
            return f"{field} {_MESSAGES[kind]}" if kind in _MESSAGES else f"{field}: {text.removeprefix('Input ')}"
