"""Lines of an audit log, as OpenBao and Vault write them."""

import json
from typing import Any

__all__ = ["CANARY", "line", "record"]

CANARY = "canary/7f3a9c51+d20e48b6=tweet"


def record(
    path: str = "data/shop/db",
    *,
    operation: str = "create",
    mount: str = "secret/",
    mount_type: str = "kv",
    namespace: str = "",
    kind: str = "response",
    version: Any = None,
    error: str | None = None,
    prefixed: bool = True,
    padding: int = 0,
) -> dict[str, Any]:
    """One record, in the order of its fields; `prefixed` as OpenBao, whose mounts begin with the namespace.

    The value that was written is CANARY, as with log_raw, and `padding` characters more.
    """
    request: dict[str, Any] = {
        "id": "37aeeeb5-1e6a-b831-89d0-c5d2e2e3a8f3",
        "operation": operation,
        "mount_point": f"{namespace if prefixed else ''}{mount}",
        "mount_type": mount_type,
        "mount_class": "secret",
        "client_token": "hmac-sha256:8f5858fa",
        "namespace": {"id": "JJ5t5v", "path": namespace} if namespace else {"id": "root"},
        "path": f"{mount}{path}",
        "data": {"data": {"password": CANARY + "x" * padding}, "options": {}},
        "remote_address": "127.0.0.1",
    }
    found: dict[str, Any] = {"time": "2026-12-01T00:49:32.91827311Z", "type": kind, "auth": {"policies": ["root"]}}
    found["request"] = request
    if kind == "response":
        found["response"] = {"mount_point": request["mount_point"], "mount_type": mount_type}
        if version is not None:
            found["response"]["data"] = {"created_time": "2026-12-01T00:49:32.917Z", "version": version}
    if error is not None:
        found["error"] = error
    return found


def line(path: str = "data/shop/db", **what: Any) -> bytes:
    """The same as it is in the file, with its newline."""
    return json.dumps(record(path, **what), separators=(",", ":")).encode() + b"\n"
