"""Errors of the library: what they say is path and detail, and they survive being copied and sent."""

import copy
import inspect
import io
import json
import logging
import pickle
import traceback
from datetime import UTC, datetime

import pytest

from elile.secrets import errors
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretBackendMissingError,
    SecretConflictError,
    SecretDeletedError,
    SecretManagedElsewhereError,
    SecretMountNotFoundError,
    SecretNamespaceNotFoundError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsClosedError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsRoleNotFoundError,
    SecretsSealedError,
    SecretsStaleAnswerError,
    SecretsTLSError,
    SecretsUnavailableError,
    SecretValidationError,
    SecretVersionNotFoundError,
)

WHEN = datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)
DELETED = SecretDeletedError("version 2 is deleted", path="kv/data/a", version=2, deleted_at=WHEN, destroyed=False)
RATE_LIMITED = SecretsRateLimitedError("the server throttles", path="kv/data/a", retry_after=3.0)
INVALID = SecretValidationError({"host": "is missing"}, path="kv/data/a", backend="other")
EVERY = [
    DELETED,
    RATE_LIMITED,
    INVALID,
    *(
        kind("a detail", path="kv/data/a", backend="other")
        for kind in (
            SecretsError,
            SecretNotFoundError,
            SecretVersionNotFoundError,
            SecretMountNotFoundError,
            SecretNamespaceNotFoundError,
            SecretAccessDeniedError,
            SecretsAuthenticationError,
            SecretsRoleNotFoundError,
            SecretsUnavailableError,
            SecretsSealedError,
            SecretsStaleAnswerError,
            SecretsTLSError,
            SecretsMalformedResponseError,
            SecretConflictError,
            SecretManagedElsewhereError,
            SecretsConfigurationError,
            SecretBackendMissingError,
            SecretsClosedError,
        )
    ),
]
every_error = pytest.mark.parametrize("error", [pytest.param(e, id=type(e).__name__) for e in EVERY])


def test_the_set_is_closed_and_all_of_it_is_exported() -> None:
    defined = {name for name, found in vars(errors).items() if inspect.isclass(found) and issubclass(found, Exception)}
    assert defined == set(errors.__all__) == {type(e).__name__ for e in EVERY}


@pytest.mark.parametrize(
    ("special", "general"),
    [
        (SecretVersionNotFoundError, SecretNotFoundError),
        (SecretMountNotFoundError, SecretNotFoundError),
        (SecretNamespaceNotFoundError, SecretMountNotFoundError),
        (SecretDeletedError, SecretNotFoundError),
        (SecretsRoleNotFoundError, SecretsAuthenticationError),
        (SecretsSealedError, SecretsUnavailableError),
        (SecretsStaleAnswerError, SecretsUnavailableError),
        (SecretsTLSError, SecretsUnavailableError),
        (SecretsMalformedResponseError, SecretsUnavailableError),
        (SecretsRateLimitedError, SecretsUnavailableError),
    ],
)
def test_special_errors_are_caught_as_the_general_one(special: type, general: type) -> None:
    assert issubclass(special, general)
    assert issubclass(general, SecretsError)


@every_error
def test_only_what_another_try_may_cure_is_retryable(error: SecretsError) -> None:
    assert error.retryable is isinstance(error, SecretsUnavailableError)


@every_error
def test_text_is_path_and_detail_and_nothing_else(error: SecretsError) -> None:
    expected = f"kv/data/a: {error.detail}"
    assert str(error) == error.safe_text == f"{error}" == expected
    assert traceback.format_exception_only(error)[-1].endswith(f"{type(error).__name__}: {expected}\n")


@every_error
def test_text_without_a_path_is_the_detail_alone(error: SecretsError) -> None:
    bare = copy.copy(error)
    bare.path = ""
    assert str(bare) == bare.safe_text == error.detail


@every_error
def test_text_does_not_grow_by_causes_and_foreign_attributes(error: SecretsError) -> None:
    noisy = copy.copy(error)
    noisy.__cause__ = ValueError("canary-of-the-cause")
    noisy.add_note("canary-of-a-note")
    noisy.response = "canary-of-the-response"  # type: ignore[attr-defined]
    assert "canary" not in f"{noisy} {noisy!r} {noisy.safe_text}"


@every_error
def test_log_line_and_json_hold_the_same_text(error: SecretsError) -> None:
    out = io.StringIO()
    log = logging.Logger("test")
    log.addHandler(logging.StreamHandler(out))
    log.error("%s", error)
    assert out.getvalue() == f"{error.safe_text}\n"
    assert json.loads(json.dumps({"error": error}, default=str)) == {"error": error.safe_text}


@every_error
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_it_comes_out_of_a_pickle_as_it_went_in(error: SecretsError, protocol: int) -> None:
    back = pickle.loads(pickle.dumps(error, protocol))  # noqa: S301 - made one line before
    assert type(back) is type(error)
    assert vars(back) == vars(error)
    assert (str(back), repr(back)) == (str(error), repr(error))


@every_error
def test_copies_are_equal_in_everything(error: SecretsError) -> None:
    for copied in (copy.copy(error), copy.deepcopy(error)):
        assert copied is not error
        assert type(copied) is type(error)
        assert (vars(copied), str(copied), copied.args) == (vars(error), str(error), error.args)


def test_backend_is_vault_unless_named() -> None:
    assert SecretsError("d").backend == DELETED.backend == "vault"
    assert SecretsError("d", backend="file").backend == "file"


def test_deleted_version_says_which_when_and_whether_for_good() -> None:
    assert (DELETED.version, DELETED.deleted_at, DELETED.destroyed) == (2, WHEN, False)


def test_rate_limited_says_when_to_come_back() -> None:
    assert RATE_LIMITED.retry_after == 3.0
    assert SecretsRateLimitedError("d").retry_after is None
