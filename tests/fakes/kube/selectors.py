"""Label and field selectors of lists and watches."""

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from tests.fakes.kube.errors import bad_request

__all__ = ["Selector", "parse_fields", "parse_labels"]

Selector: TypeAlias = Callable[[Mapping[str, Any]], bool]
"""Whether an object is selected."""

_SET = re.compile(r"^(?P<key>[^\s!=,()]+)\s+(?P<op>in|notin)\s+\((?P<values>[^()]*)\)$")
_EQUAL = re.compile(r"^(?P<key>[^\s!=,()]+)\s*(?P<op>==|=|!=)\s*(?P<value>[^\s!=,()]*)$")
_EXISTS = re.compile(r"^(?P<no>!?)\s*(?P<key>[^\s!=,()]+)$")


def parse_labels(text: str) -> Selector:
    """Parse `a=b,c!=d,e in (f,g),!h`. Raises StatusError 400."""
    tests = [_requirement(part.strip()) for part in re.split(r",(?![^()]*\))", text) if part.strip()]

    def selects(body: Mapping[str, Any]) -> bool:
        labels = body["metadata"].get("labels") or {}
        return all(test(labels) for test in tests)

    return selects


def _requirement(text: str) -> Callable[[Mapping[str, str]], bool]:
    if found := _SET.match(text):
        key, values = found["key"], {value.strip() for value in found["values"].split(",")}
        if found["op"] == "in":
            return lambda labels: labels.get(key) in values
        return lambda labels: labels.get(key) not in values
    if found := _EQUAL.match(text):
        key, value = found["key"], found["value"]
        if found["op"] == "!=":
            return lambda labels: labels.get(key) != value
        return lambda labels: labels.get(key) == value
    if found := _EXISTS.match(text):
        key, absent = found["key"], bool(found["no"])
        return lambda labels: (key in labels) != absent
    raise bad_request(f"unable to parse requirement: {text}")


def parse_fields(text: str) -> Selector:
    """Parse `metadata.name=x,metadata.namespace=y`; no other field is served. Raises StatusError 400."""
    wanted: dict[str, str] = {}
    for part in filter(None, text.split(",")):
        found = re.match(r"^metadata\.(name|namespace)==?([^=!]*)$", part)
        if found is None:
            raise bad_request(f'field label not supported: "{part}"')
        wanted[found[1]] = found[2]
    return lambda body: all(body["metadata"].get(key) == value for key, value in wanted.items())
