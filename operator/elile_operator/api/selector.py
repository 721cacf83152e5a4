"""Which namespaces may use a VaultServer: the fields, and the answer for one namespace."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, Rule
from elile_operator.api.syntax import MAX_LABEL, dns_label


class SelectorOperator(StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class SelectorRequirement(SpecModel):
    """One requirement on the labels."""

    key: str = Field(description="Name of the label.", min_length=1, max_length=317)
    operator: SelectorOperator = Field(description="How the label's value is compared with the values.")
    values: Annotated[
        tuple[Annotated[str, StringConstraints(max_length=MAX_LABEL)], ...], Field(max_length=64), ListType("atomic")
    ] = Field((), description="Values for In and NotIn; none for Exists and DoesNotExist.")

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether the labels meet the requirement; as in Kubernetes, a label that is missing is NotIn."""
        value = labels.get(self.key)
        match self.operator:
            case SelectorOperator.IN:
                return value in self.values
            case SelectorOperator.NOT_IN:
                return value not in self.values
            case SelectorOperator.EXISTS:
                return value is not None
            case SelectorOperator.DOES_NOT_EXIST:
                return value is None


_VALUES_FIT = Rule(
    "(self.operator in ['In', 'NotIn']) == (has(self.values) && self.values.size() > 0)",
    "spec.allowedNamespaces.selector.matchExpressions[]: In and NotIn need values, Exists and DoesNotExist none",
    lambda v: (v.operator in (SelectorOperator.IN, SelectorOperator.NOT_IN)) == bool(v.values),
)


class LabelSelector(SpecModel):
    """Labels that must be there, as in Kubernetes: every part must match, an empty selector matches everything."""

    match_labels: dict[str, Annotated[str, StringConstraints(max_length=MAX_LABEL)]] = Field(
        default_factory=dict, description="Labels with exactly these values.", max_length=32
    )
    match_expressions: Annotated[
        tuple[Annotated[SelectorRequirement, Checked(_VALUES_FIT)], ...],
        Field(max_length=32),
        ListType("atomic"),
    ] = Field((), description="Requirements on labels.")

    def matches(self, labels: Mapping[str, str]) -> bool:
        """Whether every part of the selector matches the labels."""
        exact = all(labels.get(key) == value for key, value in self.match_labels.items())
        return exact and all(requirement.matches(labels) for requirement in self.match_expressions)


class AllowedNamespaces(SpecModel):
    """Which namespaces may use the server: those named, and those whose labels match."""

    names: (
        Annotated[
            tuple[
                Annotated[
                    str,
                    StringConstraints(max_length=MAX_LABEL),
                    Checked(dns_label("spec.allowedNamespaces.names[]")),
                ],
                ...,
            ],
            Field(max_length=1024),
            ListType("set"),
        ]
        | None
    ) = Field(None, description="Names of namespaces.")
    selector: LabelSelector | None = Field(
        None, description="Labels of namespaces; an empty selector means every namespace."
    )

    def allow(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Whether the namespace with these labels may use the server."""
        return namespace in (self.names or ()) or (self.selector is not None and self.selector.matches(labels))
