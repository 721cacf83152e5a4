"""The rules of a real AWS account; run it by its path, it is not collected otherwise:

    ELILE_TEST_AWS_REGION=eu-central-1 python -m pytest tests/account/aws_suite.py

boto3 looks for the credentials. They need secretsmanager:CreateSecret, DeleteSecret, DescribeSecret, GetSecretValue,
PutSecretValue and UpdateSecretVersionStage on `elile-test/*`. Some twenty secrets are made, and deleted at the end
without recovery; AWS charges by the month and the part of it that they are there, and by requests: less than a cent.
"""

import os
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from elile.secrets.aws import CURRENT, MAX_BYTES, PENDING, AWSBackend
from elile.secrets.errors import SecretConflictError, SecretDeletedError
from elile.secrets.protocol import Backend
from elile.secrets.testing.conformance import BackendConformance, VersionedConformance

REGION = os.environ.get("ELILE_TEST_AWS_REGION", "")

if not REGION:
    pytest.skip("ELILE_TEST_AWS_REGION names no region", allow_module_level=True)


@pytest.fixture(scope="module")
def account() -> Iterator[AWSBackend]:
    backend = AWSBackend(region=REGION)
    yield backend
    backend.close()


@pytest.fixture
def plain(account: AWSBackend) -> Any:
    """The client below."""
    return account._calls._client()


@pytest.fixture
def path(plain: Any) -> Iterator[str]:
    path = f"elile-test/{uuid.uuid4().hex}"
    yield path
    plain.delete_secret(SecretId=path, ForceDeleteWithoutRecovery=True)


class _OfAccount:
    @pytest.fixture
    def backend(self, account: AWSBackend) -> Backend:
        return account

    @pytest.fixture
    def path(self, plain: Any) -> Iterator[str]:
        path = f"elile-test/{uuid.uuid4().hex}"
        yield path
        plain.delete_secret(SecretId=path, ForceDeleteWithoutRecovery=True)


class TestBackend(_OfAccount, BackendConformance):
    pass


class TestVersioned(_OfAccount, VersionedConformance):
    pass


# ── what FakeAWSServer takes for granted ─────────────────────────────────────────────────────────────────────────────


def labels(plain: Any, path: str) -> dict[str, str]:
    stages = plain.describe_secret(SecretId=path)["VersionIdsToStages"]
    return {label: version for version, labels in stages.items() for label in labels}


def test_the_same_token_and_value_do_nothing_to_labels(plain: Any, path: str) -> None:
    token = str(uuid.uuid4())
    plain.create_secret(Name=path, SecretString="1")
    plain.put_secret_value(SecretId=path, SecretString="2", ClientRequestToken=token, VersionStages=[PENDING])
    plain.put_secret_value(SecretId=path, SecretString="2", ClientRequestToken=token)
    assert labels(plain, path)[CURRENT] != token
    with pytest.raises(plain.exceptions.ResourceExistsException):
        plain.put_secret_value(SecretId=path, SecretString="3", ClientRequestToken=token)


def test_the_first_version_is_current_in_any_case(plain: Any, path: str) -> None:
    plain.create_secret(Name=path)
    token = plain.put_secret_value(SecretId=path, SecretString="1", VersionStages=[PENDING])["VersionId"]
    assert labels(plain, path)[CURRENT] == token


def test_a_label_is_moved_off_the_version_that_has_it(plain: Any, path: str) -> None:
    first = plain.create_secret(Name=path, SecretString="1")["VersionId"]
    second = plain.put_secret_value(SecretId=path, SecretString="2", VersionStages=[PENDING])["VersionId"]
    with pytest.raises(plain.exceptions.InvalidParameterException):
        plain.update_secret_version_stage(SecretId=path, VersionStage=CURRENT, MoveToVersionId=second)
    with pytest.raises(plain.exceptions.InvalidParameterException):
        plain.update_secret_version_stage(
            SecretId=path, VersionStage=CURRENT, MoveToVersionId=second, RemoveFromVersionId=second
        )
    assert labels(plain, path)[CURRENT] == first


def test_staging_again_after_discarding(account: AWSBackend, plain: Any, path: str) -> None:
    account.write(path, {"v": "old"})
    ref = account.stage(path, {"v": "new"}, key="run")
    account.discard(path, ref)
    assert PENDING not in labels(plain, path)
    assert account.stage(path, {"v": "new"}, key="run") == ref
    assert labels(plain, path)[PENDING] == ref.id


def test_the_largest_value(account: AWSBackend, path: str) -> None:
    data = {"x": "x" * (MAX_BYTES - len('{"x": ""}'))}
    account.write(path, data)
    assert account.read(path).data.reveal() == data


def test_a_secret_that_is_scheduled_for_deletion(account: AWSBackend, plain: Any, path: str) -> None:
    account.write(path, {})
    plain.delete_secret(SecretId=path, RecoveryWindowInDays=7)
    for act in (account.read, account.version, lambda path: account.write(path, {})):
        with pytest.raises(SecretDeletedError):
            act(path)
    with pytest.raises(SecretDeletedError):
        account.write(path, {}, expect="")


def test_a_write_that_expects_a_version_leaves_no_label(account: AWSBackend, plain: Any, path: str) -> None:
    first = account.write(path, {"n": "1"}).metadata.version
    second = account.write(path, {"n": "2"}, expect=first).metadata.version
    assert labels(plain, path) == {CURRENT: second, "AWSPREVIOUS": first}
    with pytest.raises(SecretConflictError):
        account.write(path, {"n": "3"}, expect=first)
