"""What the fake answers when it refuses: the Status objects of a real server, word for word where a client looks."""

from dataclasses import dataclass, field
from typing import Any

from tests.fakes.kube.kinds import Kind

__all__ = [
    "StatusError",
    "already_exists",
    "bad_request",
    "conflict",
    "expired",
    "forbidden",
    "internal",
    "invalid",
    "must_have_version",
    "not_found",
    "of_chaos",
    "unauthorized",
    "unknown_path",
]

REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    410: "Expired",
    422: "Invalid",
    429: "TooManyRequests",
    500: "InternalError",
    503: "ServiceUnavailable",
    504: "Timeout",
}


@dataclass
class StatusError(Exception):
    """A refusal: HTTP status, Kubernetes' reason, text, details and headers."""

    code: int
    reason: str
    message: str
    details: dict[str, Any] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)

    def body(self) -> dict[str, Any]:
        found = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": self.message}
        return {**found, **({"reason": self.reason} if self.reason else {}), "details": self.details, "code": self.code}


def _details(kind: Kind, name: str) -> dict[str, Any]:
    return {"name": name, "kind": kind.plural, **({"group": kind.group} if kind.group else {})}


def not_found(kind: Kind, name: str) -> StatusError:
    return StatusError(404, "NotFound", f'{kind.qualified} "{name}" not found', _details(kind, name))


def unknown_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource")


def already_exists(kind: Kind, name: str) -> StatusError:
    return StatusError(409, "AlreadyExists", f'{kind.qualified} "{name}" already exists', _details(kind, name))


def conflict(kind: Kind, name: str, why: str = "") -> StatusError:
    why = why or "the object has been modified; please apply your changes to the latest version and try again"
    text = f'Operation cannot be fulfilled on {kind.qualified} "{name}": {why}'
    return StatusError(409, "Conflict", text, _details(kind, name))


def invalid(kind: Kind, name: str, field_name: str, why: str) -> StatusError:
    causes = [{"reason": "FieldValueInvalid", "message": why, "field": field_name}]
    text = f'{kind.kind} "{name}" is invalid: {field_name}: {why}'
    return StatusError(422, "Invalid", text, {**_details(kind, name), "causes": causes})


def must_have_version(kind: Kind, name: str) -> StatusError:
    return invalid(kind, name, "metadata.resourceVersion", "Invalid value: 0: must be specified for an update")


def forbidden(kind: Kind, name: str, why: str) -> StatusError:
    return StatusError(403, "Forbidden", f'{kind.qualified} "{name}" is forbidden: {why}', _details(kind, name))


def bad_request(why: str) -> StatusError:
    return StatusError(400, "BadRequest", why)


def internal(why: str) -> StatusError:
    return StatusError(500, "", why)


def unauthorized() -> StatusError:
    return StatusError(401, "Unauthorized", "Unauthorized")


def expired(why: str) -> StatusError:
    return StatusError(410, "Expired", why)


def of_chaos(code: int, message: str, headers: dict[str, str] | None = None) -> StatusError:
    """An answer that a test has ordered."""
    return StatusError(code, REASONS.get(code, ""), message, headers=headers or {})
