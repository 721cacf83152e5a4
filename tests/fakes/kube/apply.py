"""Server-side apply, and the bookkeeping that every other write does for it: who owns which field."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from tests.fakes.kube.errors import StatusError
from tests.fakes.kube.fields import Path, as_fields_v1, dotted, flatten, merge, prefixes, remove
from tests.fakes.kube.kinds import Kind

__all__ = ["Managed", "Owner", "apply", "render", "track"]


class Owner(NamedTuple):
    """Who has fields of an object: one entry of `managedFields`."""

    manager: str
    operation: str  # Apply or Update
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Managed:
    """The fields of one owner, and since when they are as they are."""

    paths: frozenset[Path]
    time: str


Managers = Mapping[Owner, Managed]


def apply(
    kind: Kind, live: Mapping[str, Any], managers: Managers, given: Mapping[str, Any], owner: Owner, *, force: bool
) -> dict[str, Any]:
    """Return the object after an apply; the ownership is counted by `track`.

    1. A field that another owner has with another value is a conflict, unless forced.
    2. What is given is merged in.
    3. What this owner had and gives no more is removed, where nobody else has it.
    """
    wanted, now = flatten(given, kind.schema), flatten(live, kind.schema)
    others = {o: m for o, m in managers.items() if o != owner}
    differing = {path for path, value in wanted.items() if path in now and now[path] != value}
    clashes = [(o, path) for o, m in others.items() for path in sorted(m.paths & differing)]
    if clashes and not force:
        raise _conflict(clashes)
    merged = merge(live, given, kind.schema)
    had = managers[owner].paths if owner in managers else frozenset()
    kept = prefixes(path for m in others.values() for path in m.paths)
    given_up = {path for path in had - wanted.keys() if path not in kept}
    result: dict[str, Any] = remove(merged, kind.schema, given_up) if given_up else merged
    return result


def _conflict(clashes: list[tuple[Owner, Path]]) -> StatusError:
    causes = [
        {"reason": "FieldManagerConflict", "message": f'conflict with "{owner.manager}"', "field": dotted(path)}
        for owner, path in clashes
    ]
    number = "1 conflict" if len(causes) == 1 else f"{len(causes)} conflicts"
    text = "; ".join(f"{c['message']}: {c['field']}" for c in causes)
    return StatusError(409, "Conflict", f"Apply failed with {number}: {text}", {"causes": causes})


def track(
    kind: Kind,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    managers: Managers,
    owner: Owner,
    *,
    time: str,
    given: Mapping[str, Any] | None = None,
) -> dict[Owner, Managed]:
    """Return who owns what after a write that made `new` of `old`; `given` is what was applied, None for other writes.

    A write takes what it changes away from everybody else. An apply also owns what it merely confirms.
    """
    before, after = flatten(old, kind.schema), flatten(new, kind.schema)
    changed = {path for path, value in after.items() if path not in before or before[path] != value}
    lost = changed | (before.keys() - after.keys())
    had = managers[owner].paths if owner in managers else frozenset[Path]()
    # What was applied is claimed, even where the server has normalised it away (an empty `data`).
    mine = frozenset(had & after.keys() | changed if given is None else flatten(given, kind.schema))
    found = {}
    for other, managed in managers.items():
        paths = managed.paths if other == owner else managed.paths - lost
        if other != owner and paths:
            found[other] = Managed(paths, managed.time)
    if mine:
        touched = mine != had or bool(changed & mine)
        found[owner] = Managed(mine, time if touched or owner not in managers else managers[owner].time)
    return found


def render(kind: Kind, managers: Managers) -> list[dict[str, Any]]:
    """Return `metadata.managedFields`."""
    return [
        {
            "manager": owner.manager,
            "operation": owner.operation,
            "apiVersion": kind.api_version,
            "time": managed.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": as_fields_v1(managed.paths),
            **({"subresource": owner.subresource} if owner.subresource else {}),
        }
        for owner, managed in managers.items()
    ]
