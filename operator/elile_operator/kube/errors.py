"""What a call to the API server can end in, as a closed set; the server's own text stays out of it."""

__all__ = [
    "KubeConflictError",
    "KubeError",
    "KubeExistsError",
    "KubeForbiddenError",
    "KubeGoneError",
    "KubeInvalidError",
    "KubeNotFoundError",
    "KubeThrottledError",
    "KubeUnavailableError",
    "from_status",
]


class KubeError(Exception):
    """The base: `call` is verb and path, `status` the HTTP status (0: no answer), `reason` Kubernetes' own word."""

    def __init__(self, call: str, *, status: int = 0, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(f"{call}: {status or 'no answer'}{f' {reason}' if reason else ''}")
        self.call = call
        self.status = status
        self.reason = reason
        self.retry_after = retry_after

    @property
    def safe_text(self) -> str:
        """What may be printed: names, a status and a word from Kubernetes' closed list."""
        return str(self)


class KubeNotFoundError(KubeError):
    """404: the object, its namespace or its kind does not exist."""


class KubeExistsError(KubeError):
    """409 AlreadyExists: somebody made an object of that name first."""


class KubeConflictError(KubeError):
    """409 Conflict: the object is not, or is no longer, the one the call was meant for."""


class KubeForbiddenError(KubeError):
    """403: RBAC or an admission policy refuses."""


class KubeInvalidError(KubeError):
    """422 or 400: the content is refused; the same call will not succeed later."""


class KubeGoneError(KubeError):
    """410: the continue token of a list has expired; start the list again."""


class KubeThrottledError(KubeError):
    """429: come back after `retry_after` seconds."""


class KubeUnavailableError(KubeError):
    """No answer, a server error, or a token that is not taken (any more): the same call may succeed later."""

    retry_within = 30.0  # seconds; the longest that the end of an outage goes unnoticed


_BY_STATUS: dict[int, type[KubeError]] = {
    400: KubeInvalidError,
    401: KubeUnavailableError,  # a token was rotated or has expired: it says nothing about rights
    403: KubeForbiddenError,
    404: KubeNotFoundError,
    409: KubeConflictError,
    410: KubeGoneError,
    413: KubeInvalidError,
    415: KubeInvalidError,
    422: KubeInvalidError,
    429: KubeThrottledError,
}


def from_status(call: str, status: int, reason: str, retry_after: float | None = None) -> KubeError:
    """Return the error for an HTTP status of 400 or more."""
    kind = KubeExistsError if reason == "AlreadyExists" else _BY_STATUS.get(status, KubeUnavailableError)
    return kind(call, status=status, reason=reason, retry_after=retry_after)
