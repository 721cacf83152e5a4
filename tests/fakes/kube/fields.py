"""Which fields an object has: paths as in `managedFields`, and merging, comparing and removing by them."""

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from tests.fakes.kube.kinds import Schema

__all__ = ["Path", "as_fields_v1", "dotted", "flatten", "merge", "prefixes", "remove"]

Path: TypeAlias = tuple[str, ...]
"""Steps as `fieldsV1` has them: `f:name` a field, `k:{"type":"Ready"}` an item of a map-like list, `v:"x"` of a set."""

Step: TypeAlias = tuple[str, Any, Schema]

# What the server sets itself, or what names the object, is nobody's field
# (structured-merge-diff's stripSet, apimachinery/pkg/util/managedfields/internal/stripmeta.go).
STRIPPED = frozenset(
    {
        ("f:apiVersion",),
        ("f:kind",),
        *(
            ("f:metadata", f"f:{name}")
            for name in ("name", "namespace", "uid", "creationTimestamp", "resourceVersion", "generation", "selfLink")
        ),
    }
)


def steps(value: Any, schema: Schema) -> list[Step] | None:
    """One level down; None for what is owned as a whole."""
    if isinstance(value, dict):
        if schema.get("x-kubernetes-map-type") == "atomic":
            return None
        known, more = schema.get("properties", {}), schema.get("additionalProperties")
        other = more if isinstance(more, dict) else {}
        return [(f"f:{key}", inner, known.get(key, other)) for key, inner in value.items() if inner is not None]
    if isinstance(value, list):
        kind = schema.get("x-kubernetes-list-type")
        if kind == "map":
            keys = schema["x-kubernetes-list-map-keys"]
            return [(_item(item, keys), item, schema.get("items", {})) for item in value]
        if kind == "set":
            return [(f"v:{json.dumps(item)}", item, {}) for item in value]
    return None


def _item(item: Any, keys: Iterable[str]) -> str:
    return "k:" + json.dumps({k: item.get(k) for k in sorted(keys)}, separators=(",", ":"))


def flatten(body: Any, schema: Schema) -> dict[Path, Any]:
    """Every field that can be owned, with its value."""
    return {path: value for path, value in _flatten(body, schema, ()) if path not in STRIPPED and not _managed(path)}


def _managed(path: Path) -> bool:
    return path[:2] == ("f:metadata", "f:managedFields") or path == ("f:metadata",)


def _flatten(value: Any, schema: Schema, path: Path) -> Iterator[tuple[Path, Any]]:
    below = steps(value, schema)
    if not below:
        if path:
            yield path, value
        return
    if path and path[-1].startswith("k:"):
        yield path, True  # the item itself is owned beside its fields
    for step, inner, inner_schema in below:
        yield from _flatten(inner, inner_schema, (*path, step))


def prefixes(paths: Iterable[Path]) -> set[Path]:
    """The paths and everything above them."""
    return {path[:n] for path in paths for n in range(1, len(path) + 1)}


def merge(live: Any, given: Any, schema: Schema) -> Any:
    """Return `live` with what `given` says; lists by their type. Neither is changed."""
    if isinstance(live, dict) and isinstance(given, dict) and schema.get("x-kubernetes-map-type") != "atomic":
        found = dict(live)
        for step, inner, inner_schema in steps(given, schema) or ():
            key = step[2:]
            found[key] = merge(live[key], inner, inner_schema) if key in live else inner
        return found
    if isinstance(live, list) and isinstance(given, list):
        before, now = steps(live, schema), steps(given, schema)
        if before is not None and now is not None:
            items = {step: item for step, item, _ in before}
            for step, item, inner_schema in now:
                items[step] = merge(items[step], item, inner_schema) if step in items else item
            return list(items.values())
    return given


_GONE = object()


def remove(value: Any, schema: Schema, gone: set[Path]) -> Any:
    """Return a value without these fields, and without maps and lists that they leave empty."""
    above = prefixes(gone)
    found = _remove(value, schema, gone, above, ())
    return {} if found is _GONE else found


def _remove(value: Any, schema: Schema, gone: set[Path], above: set[Path], path: Path) -> Any:
    if path in gone:
        return _GONE
    if path and path not in above:
        return value
    below = steps(value, schema)
    if not below:
        return value
    kept = [(step, _remove(inner, inner_schema, gone, above, (*path, step))) for step, inner, inner_schema in below]
    left = [(step, inner) for step, inner in kept if inner is not _GONE]
    if not left:
        return _GONE
    return {step[2:]: inner for step, inner in left} if isinstance(value, dict) else [inner for _, inner in left]


def as_fields_v1(paths: Iterable[Path]) -> dict[str, Any]:
    """Nest paths as `fieldsV1` does: a path that is owned and has more below it is marked with a dot."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for n, step in enumerate(path):
            if step not in node:
                node[step] = {}
            node = node[step]
            if n < len(path) - 1 and path[: n + 1] in paths:
                node["."] = {}
    return root


def dotted(path: Path) -> str:
    """A path as conflict messages name it."""
    return "".join(f".{step[2:]}" if step.startswith("f:") else f"[{step[2:]}]" for step in path)
