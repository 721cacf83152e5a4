"""Calls of AWS Secrets Manager: errors of AWS and boto3 become ours, and one client serves all threads."""

import json
import socket
import sys
import traceback
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from elile.secrets.aws import AWSBackend
from elile.secrets.aws_calls import AWSCalls
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretBackendMissingError,
    SecretManagedElsewhereError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.testing.aws import FakeAWSServer
from tests.support.aws import backend, impatient, no_metadata_service, once, patient, plain, running, server

__all__ = ["backend", "impatient", "no_metadata_service", "once", "patient", "plain", "running", "server"]

CANARY = "canary-7c41"
PATH = "elile/database/postgres"
NEVER = str(uuid.UUID(int=1))


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("AccessDeniedException", SecretAccessDeniedError),
        ("DecryptionFailure", SecretAccessDeniedError),
        ("UnrecognizedClientException", SecretsAuthenticationError),
        ("InvalidSignatureException", SecretsAuthenticationError),
        ("ExpiredTokenException", SecretsAuthenticationError),
        ("ThrottlingException", SecretsRateLimitedError),
        ("InternalServiceError", SecretsUnavailableError),
        ("SomethingNewException", SecretsConfigurationError),
        ("LimitExceededException", SecretsConfigurationError),
        ("InvalidParameterException", SecretsConfigurationError),
        ("InvalidRequestException", SecretsConfigurationError),
    ],
)
def test_each_error_of_aws_has_one_of_ours(
    once: AWSBackend, server: FakeAWSServer, code: str, kind: type[SecretsError]
) -> None:
    once.write(PATH, {})
    server.fail(error=code)
    with pytest.raises(kind) as caught:
        once.read(PATH)
    assert type(caught.value) is kind
    assert (caught.value.backend, caught.value.path) == ("aws", PATH)
    assert (caught.value.__cause__, caught.value.__context__) == (None, None)
    assert "as the test has it" not in str(caught.value)


def test_a_failure_that_passes_is_tried_again(backend: AWSBackend, server: FakeAWSServer) -> None:
    backend.write(PATH, {"x": "1"})
    server.fail()
    assert backend.read(PATH).data.reveal() == {"x": "1"}
    assert [request.operation for request in server.requests[-2:]] == ["GetSecretValue"] * 2


def test_a_secret_that_another_service_owns(once: AWSBackend, server: FakeAWSServer) -> None:
    once.write(PATH, {})
    server.described(PATH, OwningService="rds")
    server.fail(error="InvalidRequestException")
    with pytest.raises(SecretManagedElsewhereError) as caught:
        once.write(PATH, {})
    assert caught.value.backend == "aws"


def test_access_that_is_denied(backend: AWSBackend, server: FakeAWSServer) -> None:
    backend.write(PATH, {})
    server.deny(PATH, "GetSecretValue")
    with pytest.raises(SecretAccessDeniedError):
        backend.read(PATH)
    backend.version(PATH)
    server.allow(PATH)
    backend.read(PATH)


def test_checking(server: FakeAWSServer, once: AWSBackend) -> None:
    once.check()
    server.deny("elile-check")
    once.check()
    server.fail(error="InternalServiceError")
    with pytest.raises(SecretsUnavailableError):
        once.check()
    stranger = AWSBackend(**{**server.login(), "access_key_id": "AKIASTRANGER"})
    with pytest.raises(SecretsAuthenticationError):
        stranger.check()
    stranger.close()


def test_no_credentials(server: FakeAWSServer, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "credentials"))
    monkeypatch.setenv("BOTO_CONFIG", str(tmp_path / "boto"))
    backend = AWSBackend(region="us-east-1", endpoint_url=server.url)
    with pytest.raises(SecretsAuthenticationError, match=r"aws\.access_key_id"):
        backend.read(PATH)
    backend.close()
    assert not server.requests


def test_a_server_that_is_not_there_or_says_nothing(server: FakeAWSServer) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        gone = AWSBackend(**{**server.login(), "endpoint_url": url}, max_attempts=1)
        with pytest.raises(SecretsUnavailableError):
            gone.read(PATH)
        gone.close()
    slow = AWSBackend(**server.login(), timeout_seconds=0.2, max_attempts=1)
    server.delay = 0.6
    with pytest.raises(SecretsUnavailableError):
        slow.read(PATH)
    slow.close()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (401, SecretAccessDeniedError),
        (403, SecretAccessDeniedError),
        (404, SecretsConfigurationError),
        (429, SecretsRateLimitedError),
        (503, SecretsUnavailableError),
    ],
)
def test_what_stands_between_answers(
    once: AWSBackend, server: FakeAWSServer, monkeypatch: pytest.MonkeyPatch, status: int, kind: type[SecretsError]
) -> None:
    monkeypatch.setattr(server, "handle", lambda *_: (status, {"message": CANARY}))
    with pytest.raises(kind) as caught:
        once.read(PATH)
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_move_that_is_refused_for_another_reason(once: AWSBackend, server: FakeAWSServer) -> None:
    once.write(PATH, {"v": "old"})
    old = once.current(PATH)
    ref = once.stage(PATH, {"v": "new"}, key="run")
    real, failing = server.handle, {"UpdateSecretVersionStage"}

    def refuse(target: str, *rest: Any) -> Any:
        if target.partition(".")[2] in failing:
            server.fail(error="InvalidParameterException")
        return real(target, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "handle", refuse)
        with pytest.raises(SecretsConfigurationError) as caught:
            once.promote(PATH, ref, expect=old)
        assert type(caught.value) is SecretsConfigurationError
        once.discard(PATH, ref)
    assert once.current(PATH) == old


def test_answers_that_are_none(once: AWSBackend, server: FakeAWSServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for answer in ({}, {"VersionId": NEVER}, {"SecretString": CANARY}):
        monkeypatch.setattr(server, "handle", lambda *_, answer=answer: (200, answer))
        with pytest.raises(SecretsMalformedResponseError) as caught:
            once.read(PATH)
        assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_a_region_or_an_address_that_boto3_does_not_take() -> None:
    for wrong in ({"region": "a b"}, {"region": "us-east-1", "endpoint_url": "not an address"}):
        backend = AWSBackend(access_key_id="x", secret_access_key=SecretStr("x"), max_attempts=1, **wrong)  # type: ignore[arg-type]  # texts
        with pytest.raises(SecretsConfigurationError, match=r"aws\.region"):
            backend.read(PATH)


def test_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    with pytest.raises(SecretBackendMissingError, match=r"install elile\[aws\]") as caught:
        AWSBackend(region="us-east-1")
    assert caught.value.backend == "aws"


# ── the client ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_threads_share_one_client(backend: AWSBackend) -> None:
    backend.write(PATH, {"x": "1"})
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: backend.read(PATH).data.reveal()["x"], range(64))) == {"1"}


def test_closing_and_forking_leave_no_client_behind(backend: AWSBackend) -> None:
    calls: AWSCalls = backend._calls
    backend.check()
    first = calls._made
    assert first is not None
    backend.after_fork()
    assert calls._made is None
    backend.check()
    assert calls._made is not first
    first.close()
    backend.close()
    backend.close()
    assert calls._made is None


def test_credentials_do_not_show(server: FakeAWSServer) -> None:
    login = {**server.login(), "secret_access_key": SecretStr(CANARY), "session_token": SecretStr(CANARY)}
    backend = AWSBackend(**login)
    backend.check()
    assert CANARY not in repr(backend) + repr(vars(backend)) + repr(backend._calls._login)
    assert CANARY not in json.dumps([str(request) for request in server.requests])
    backend.close()
