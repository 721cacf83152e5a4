"""Reads in a line of Vault's audit log which entry of a KV engine was written. Pure, and it never raises."""

import json
import re
from enum import Enum
from typing import Any

from elile_operator.decide.hints import MAX_TEXT, MAX_VERSION, Hint

__all__ = ["Nothing", "may_tell", "written"]

WRITES = frozenset({"create", "update", "patch", "delete"})
# Go writes ASCII letters as they are, so every line of a write has one of these. Lines of reads have none, but for odd
# names in what is logged: those are parsed.
_A_WRITE = re.compile(rb'"operation"\s*:\s*"(?:create|update|patch|delete)"')
# The option `prefix` of an audit device puts a text before it, which may hold a brace.
_OBJECT = b'{"'


class Nothing(Enum):
    """Why a line tells of no entry."""

    NO_WRITE = "no write"
    NO_JSON = "no JSON"
    UNREADABLE = "unreadable"  # it may be about a write, and which one cannot be said


def may_tell(line: bytes) -> bool:
    """Whether a line, or its beginning up to what was written, may be about a write of a KV engine. False is certain.

    Vault logs a request's kind before its content.
    """
    return b'"kv"' in line and b'"response"' in line and _A_WRITE.search(line) is not None


def written(line: bytes) -> Hint | Nothing:
    """Return the entry that a line says was written, with no more of the line than that.

    Everything that may change content counts: whether a mount is KV v1 or v2 is in no line, and `metadata/x`, which
    changes no content in v2, is an entry like any other in v1. One too many costs a read.
    """
    at = line.find(_OBJECT)
    if at < 0:
        return Nothing.NO_JSON if line.strip() else Nothing.NO_WRITE
    if not may_tell(line):
        return Nothing.NO_WRITE
    try:
        record = json.loads(line[at:])
    except (ValueError, RecursionError):
        return Nothing.UNREADABLE
    return _told(record) if isinstance(record, dict) else Nothing.UNREADABLE


def _told(record: dict[str, Any]) -> Hint | Nothing:
    if record.get("type") != "response" or record.get("error"):
        return Nothing.NO_WRITE
    request = record.get("request")
    if not isinstance(request, dict):
        return Nothing.UNREADABLE
    if request.get("mount_type") != "kv" or request.get("operation") not in WRITES:
        return Nothing.NO_WRITE
    namespace, mount_point, path = _namespace(request), request.get("mount_point"), request.get("path")
    if not (isinstance(namespace, str) and isinstance(mount_point, str) and isinstance(path, str)):
        return Nothing.UNREADABLE
    return _hint(namespace, mount_point, path, version=_version(record.get("response")))


def _namespace(request: dict[str, Any]) -> Any:
    found = request.get("namespace")
    return found.get("path", "") if isinstance(found, dict) else "" if found is None else None


def _hint(namespace: str, mount_point: str, request_path: str, *, version: int | None) -> Hint | Nothing:
    """`request_path` is relative to the namespace; `mount_point` of OpenBao begins with the namespace, if there is any.

    Where both readings fit, mount `a/` in namespace `a`, OpenBao's is taken.
    """
    namespace = namespace.strip("/")
    below = mount_point.removeprefix(f"{namespace}/") if namespace else mount_point
    mount = next((m for m in (below, mount_point) if m.endswith("/") and request_path.startswith(m)), "")
    path, mount = request_path.removeprefix(mount), mount.strip("/")
    if not mount:
        return Nothing.UNREADABLE
    if not path:
        return Nothing.NO_WRITE
    if max(len(namespace), len(mount), len(path)) > MAX_TEXT:
        return Nothing.NO_WRITE  # nor can any object name it
    return Hint(namespace, mount, path, version)


def _version(response: Any) -> int | None:
    data = response.get("data") if isinstance(response, dict) else None
    version = data.get("version") if isinstance(data, dict) else None
    # bool is an int
    return version if type(version) is int and 0 < version <= MAX_VERSION else None
