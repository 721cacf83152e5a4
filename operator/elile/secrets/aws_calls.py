"""Calls of AWS Secrets Manager through boto3, which is loaded here and nowhere else; its errors end here."""

import contextlib
import importlib
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretBackendMissingError,
    SecretConflictError,
    SecretDeletedError,
    SecretManagedElsewhereError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr

__all__ = ["AWSCalls", "AWSLogin", "RefusedError", "deleted"]

BACKEND = "aws"
POOL = 16  # connections that are kept


@dataclass(frozen=True, slots=True)
class AWSLogin:
    """Credentials; without them boto3 looks for some itself."""

    access_key_id: str | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None


class AWSCalls:
    """One client, made at the first call, for all threads.

    `timeout` seconds hold for connecting, and for the answer, of each of at most `attempts` tries. Raises
    SecretBackendMissingError without boto3.
    """

    def __init__(
        self, region: str, endpoint_url: str | None, login: AWSLogin, *, timeout: float, attempts: int
    ) -> None:
        self.region = region
        self._boto3 = _boto3()
        self._endpoint_url = endpoint_url
        self._login = login
        self._timeout = timeout
        self._attempts = attempts
        self._lock = threading.Lock()
        self._made: Any = None

    def call(self, path: str, operation: str, **arguments: Any) -> Mapping[str, Any]:
        """Return the answer of one operation. Raises SecretsError only, with words of ours."""
        says_deletion, code = False, ""
        try:
            answer: Mapping[str, Any] = getattr(self._client(), operation)(**arguments)
            return answer
        except Exception as e:  # boto3 lets through what its libraries raise
            response = getattr(e, "response", None)
            if isinstance(response, dict) and "Error" in response:
                code = str(response["Error"].get("Code", ""))
                says_deletion = "deletion" in str(response["Error"].get("Message", ""))
                status = response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                error = _refusal(code, status, path)
            else:
                error = _failure(e, path)
        # Raised out here, so that no text of AWS's or boto3's hangs on it.
        if code == "InvalidRequestException":
            error = self._state(path, arguments.get("SecretId") or arguments.get("Name"), says_deletion) or error
        error.backend = BACKEND
        raise error

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            client, self._made = self._made, None
        if client is not None:
            client.close()

    def after_fork(self) -> None:
        """In the child: make connections of its own."""
        self._lock = threading.Lock()
        self._made = None

    def _client(self) -> Any:
        with self._lock:
            if self._made is None:
                login = self._login
                session = self._boto3.session.Session(
                    aws_access_key_id=login.access_key_id,
                    aws_secret_access_key=login.secret_access_key.reveal() if login.secret_access_key else None,
                    aws_session_token=login.session_token.reveal() if login.session_token else None,
                    region_name=self.region,
                )
                config = importlib.import_module("botocore.config").Config(
                    connect_timeout=self._timeout,
                    read_timeout=self._timeout,
                    retries={"mode": "standard", "total_max_attempts": self._attempts},
                    max_pool_connections=POOL,
                )
                self._made = session.client("secretsmanager", endpoint_url=self._endpoint_url, config=config)
            return self._made

    def _state(self, path: str, name: Any, says_deletion: bool) -> SecretsError | None:
        """Return what makes AWS refuse a request that would do in another state of the secret."""
        found: Mapping[str, Any] = {}
        with contextlib.suppress(SecretsError):
            found = self.call(path, "describe_secret", SecretId=name)
        if says_deletion or "DeletedDate" in found:
            return deleted(path, found.get("DeletedDate"))
        if "OwningService" in found:
            return SecretManagedElsewhereError("another service of AWS owns the secret: change it there", path=path)
        return None


def _boto3() -> Any:
    # By name: boto3 ships no types, and is there with the extra only.
    try:
        return importlib.import_module("boto3")
    except ModuleNotFoundError as e:
        missing = e.name or "boto3"
    raise SecretBackendMissingError(f"the package {missing!r} is not installed; install elile[aws]", backend=BACKEND)


def deleted(path: str, at: Any = None) -> SecretDeletedError:
    """Return the error for a secret that is scheduled for deletion, `at` the time that AWS tells, if it does."""
    error = SecretDeletedError(
        "the secret is scheduled for deletion; restore it, or take another path",
        path=path,
        version=0,
        deleted_at=at.astimezone(UTC) if isinstance(at, datetime) else None,
        destroyed=False,
    )
    error.backend = BACKEND
    return error


# ── errors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class RefusedError(SecretsConfigurationError):
    """AWS does not take a parameter, or not in this state."""


_NO_LOGIN = "AWS does not take the credentials; check the keys, their session token and the clock"
_NO_KEYS = "there are no complete AWS credentials; set aws.access_key_id and its secret, or give the pod a role"
_NO_KEY = "the KMS key of the secret cannot be used: allow it in the key's policy, or enable the key"
_DENIED = "AWS denies access; see the IAM policies"
_SLOW = "AWS throttles requests"


def _each(codes: Iterable[str], kind: type[SecretsError], detail: str) -> dict[str, tuple[type[SecretsError], str]]:
    return dict.fromkeys(codes, (kind, detail))


_REFUSALS: Mapping[str, tuple[type[SecretsError], str]] = {
    "ResourceNotFoundException": (SecretNotFoundError, "nothing is stored here"),
    "ResourceExistsException": (SecretConflictError, "there is one already, perhaps without a value"),
    "LimitExceededException": (SecretsConfigurationError, "a quota of Secrets Manager is used up"),
    **_each(("AccessDeniedException", "AccessDenied", "NotAuthorized"), SecretAccessDeniedError, _DENIED),
    **_each(("DecryptionFailure", "EncryptionFailure"), SecretAccessDeniedError, _NO_KEY),
    **_each(
        ("InvalidParameterException", "InvalidRequestException", "ValidationException"),
        RefusedError,
        "AWS refuses the request as it is",
    ),
    **_each(
        (
            "UnrecognizedClientException",
            "InvalidClientTokenId",
            "InvalidSignatureException",
            "SignatureDoesNotMatch",
            "IncompleteSignature",
            "IncompleteSignatureException",
            "MissingAuthenticationToken",
            "MissingAuthenticationTokenException",
            "ExpiredToken",
            "ExpiredTokenException",
            "RequestExpired",
        ),
        SecretsAuthenticationError,
        _NO_LOGIN,
    ),
    **_each(
        ("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded", "RequestThrottled"),
        SecretsRateLimitedError,
        _SLOW,
    ),
}

_FAILURES: Iterable[tuple[Iterable[str], type[SecretsError], str]] = (
    (
        (
            "NoCredentialsError",
            "PartialCredentialsError",
            "CredentialRetrievalError",
            "MetadataRetrievalError",
            "NoAuthTokenError",
        ),
        SecretsAuthenticationError,
        _NO_KEYS,
    ),
    (
        ("SSOError", "TokenRetrievalError", "LoginError", "RefreshWithMFAUnsupportedError"),
        SecretsAuthenticationError,
        "the login that boto3 found has ended; log in anew",
    ),
    (("SSLError",), SecretsTLSError, "the certificate of AWS's address is not trusted"),
    (("ResponseParserError",), SecretsMalformedResponseError, "the answer is not what Secrets Manager promises"),
    (
        ("HTTPClientError", "ConnectionError", "IncompleteReadError"),
        SecretsUnavailableError,
        "AWS does not answer, or not in time",
    ),
    (("ParamValidationError",), RefusedError, "AWS would refuse the request as it is"),
)


def _refusal(code: str, status: int, path: str) -> SecretsError:
    if code in _REFUSALS:
        kind, detail = _REFUSALS[code]
        return kind(detail, path=path)
    if status == 429:
        return SecretsRateLimitedError(_SLOW, path=path)
    if status in (401, 403):
        return SecretAccessDeniedError(_DENIED, path=path)
    # What AWS refuses for good is no outage: an older value must not stand in for it.
    if 400 <= status < 500 and status != 408:
        return SecretsConfigurationError("AWS refuses the request for a reason that is not known here", path=path)
    return SecretsUnavailableError("AWS fails", path=path)


def _failure(e: Exception, path: str) -> SecretsError:
    # By name: the classes of libraries below boto3 come through as well.
    names = {kind.__name__ for kind in type(e).__mro__}
    for known, kind, detail in _FAILURES:
        if names & set(known):
            return kind(detail, path=path)
    what = f"boto3 fails with {type(e).__name__}; check aws.region, aws.endpoint_url and boto3's own files"
    return SecretsConfigurationError(what, path=path)
