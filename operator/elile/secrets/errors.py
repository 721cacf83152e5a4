"""The closed set of errors that reading secrets can raise; foreign text stops here."""

import copyreg
from collections.abc import Mapping
from datetime import datetime
from typing import Any

__all__ = [
    "SecretAccessDeniedError",
    "SecretBackendMissingError",
    "SecretConflictError",
    "SecretDeletedError",
    "SecretManagedElsewhereError",
    "SecretMountNotFoundError",
    "SecretNamespaceNotFoundError",
    "SecretNotFoundError",
    "SecretValidationError",
    "SecretVersionNotFoundError",
    "SecretsAuthenticationError",
    "SecretsClosedError",
    "SecretsConfigurationError",
    "SecretsError",
    "SecretsMalformedResponseError",
    "SecretsRateLimitedError",
    "SecretsRoleNotFoundError",
    "SecretsSealedError",
    "SecretsStaleAnswerError",
    "SecretsTLSError",
    "SecretsUnavailableError",
]


class SecretsError(Exception):
    """The base of all of them.

    `detail` is a phrase of our own making and `path` comes from the caller: neither holds a value, a token or text of
    the server's, so `str(error)` may be logged and shown (`safe_text`).
    """

    retryable: bool = False

    def __init__(self, detail: str, *, path: str = "", backend: str = "vault") -> None:
        super().__init__(detail)
        self.detail = detail
        self.path = path
        self.backend = backend

    def __str__(self) -> str:
        return f"{self.path}: {self.detail}" if self.path else self.detail

    def __reduce__(self) -> tuple[Any, ...]:
        # Exceptions are rebuilt by their constructor from `args` alone, which fails where keywords are required.
        return copyreg.__newobj__, (type(self), *self.args), dict(self.__dict__)  # type: ignore[attr-defined]

    @property
    def safe_text(self) -> str:
        """What may be printed: never a value, never text that a server sent."""
        return str(self)


class SecretNotFoundError(SecretsError):
    """Nothing is stored at the path.

    `confirmed`: the server itself said just that, by a 404 with an empty list of errors. Without it the answer may be a
    proxy's, or about something else than the path.
    """

    def __init__(self, detail: str, *, path: str = "", backend: str = "vault", confirmed: bool = False) -> None:
        super().__init__(detail, path=path, backend=backend)
        self.confirmed = confirmed


class SecretVersionNotFoundError(SecretNotFoundError):
    """The path exists, the version asked for does not (never written, or pruned)."""


class SecretMountNotFoundError(SecretNotFoundError):
    """No secrets engine or auth method is mounted there: nothing can be said about the path itself."""


class SecretNamespaceNotFoundError(SecretMountNotFoundError):
    """The server has no such namespace: nothing is mounted there."""


class SecretDeletedError(SecretNotFoundError):
    """The version exists and was deleted or destroyed; an older one is never returned in its place."""

    def __init__(self, detail: str, *, path: str, version: int, deleted_at: datetime | None, destroyed: bool) -> None:
        super().__init__(detail, path=path)
        self.version = version
        self.deleted_at = deleted_at
        self.destroyed = destroyed


class SecretAccessDeniedError(SecretsError):
    """The server refused: the token does not allow it, or is no longer valid (the answer is the same)."""


class SecretsAuthenticationError(SecretsError):
    """The login was refused."""


class SecretsRoleNotFoundError(SecretsAuthenticationError):
    """The auth method knows no role of this name."""


class SecretsUnavailableError(SecretsError):
    """No usable answer: connection refused, timed out, or a server error. Another try may succeed."""

    retryable = True


class SecretsSealedError(SecretsUnavailableError):
    """The server answers, but is sealed, not initialised, or a standby that cannot serve."""


class SecretsStaleAnswerError(SecretsUnavailableError):
    """The answer is older than one before it: a standby that is behind gave it, or a backup was restored."""


class SecretsTLSError(SecretsUnavailableError):
    """The server's certificate is not trusted, or is for another name."""


class SecretsMalformedResponseError(SecretsUnavailableError):
    """The answer is not what the API promises: not JSON, wrong shape, or too large."""


class SecretsRateLimitedError(SecretsUnavailableError):
    """The server throttles; `retry_after` seconds, when it said so."""

    def __init__(self, detail: str, *, path: str = "", retry_after: float | None = None) -> None:
        super().__init__(detail, path=path)
        self.retry_after = retry_after


class SecretConflictError(SecretsError):
    """Somebody else wrote meanwhile: the version is not the one that was expected, or a key was used for other data."""


class SecretManagedElsewhereError(SecretsError):
    """The value is not ours to change: a mounted file, or an entry that the operator rotates."""


class SecretValidationError(SecretsError):
    """The entry has not the shape that was asked for; `problems` maps fields to what is wrong, without values."""

    def __init__(self, problems: Mapping[str, str], *, path: str = "", backend: str = "") -> None:
        super().__init__("; ".join(f"{field} {what}" for field, what in problems.items()), path=path, backend=backend)
        self.problems = dict(problems)


class SecretsConfigurationError(SecretsError):
    """The configuration cannot work, or is refused in production; all problems are named at once."""


class SecretBackendMissingError(SecretsError):
    """The backend needs a package that is not installed (the text names the extra), or is not available yet."""


class SecretsClosedError(SecretsError):
    """The manager was closed; make another one."""
