"""AWS Secrets Manager as moto plays it: a second opinion on plain reading and writing.

Not on labels and tokens: moto 5.2 takes other data for the same token, and leaves two versions labelled AWSCURRENT.
"""

import uuid
from collections.abc import Iterator

import pytest
from moto import mock_aws

from elile.secrets.aws import AWSBackend
from elile.secrets.errors import (
    SecretConflictError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretVersionNotFoundError,
)
from elile.secrets.redact import SecretStr

PATH = "elile/database/postgres"


@pytest.fixture
def backend(monkeypatch: pytest.MonkeyPatch) -> Iterator[AWSBackend]:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with mock_aws():
        backend = AWSBackend(region="us-east-1", access_key_id="test", secret_access_key=SecretStr("test"))
        yield backend
        backend.close()


def test_the_life_of_a_secret(backend: AWSBackend) -> None:
    with pytest.raises(SecretNotFoundError):
        backend.read(PATH)
    with pytest.raises(SecretNotFoundError):
        backend.version(PATH)
    first = backend.write(PATH, {"password": "1"}, expect="").metadata.version
    with pytest.raises(SecretConflictError):
        backend.write(PATH, {}, expect="")
    second = backend.write(PATH, {"password": "2"}).metadata.version
    assert backend.read(PATH).data.reveal() == {"password": "2"}
    assert backend.read(PATH).metadata.created_at is not None
    assert backend.version(PATH) == backend.read(PATH).metadata.version == second != first
    assert backend.read(PATH, version=first).data.reveal() == {"password": "1"}
    with pytest.raises(SecretVersionNotFoundError):
        backend.read(PATH, version=str(uuid.uuid4()))


def test_text_and_bytes(backend: AWSBackend) -> None:
    plain = backend._calls._client()
    plain.create_secret(Name="text", SecretString="hello")
    plain.create_secret(Name="bytes", SecretBinary=b"\x00")
    assert backend.read("text").data.reveal() == {"value": "hello"}
    assert backend.read("bytes").data.reveal() == {"value": "AA=="}


def test_deletion(backend: AWSBackend) -> None:
    backend.write(PATH, {})
    backend._calls._client().delete_secret(SecretId=PATH)
    for act in (backend.read, backend.version):
        with pytest.raises(SecretDeletedError) as caught:
            act(PATH)
        assert caught.value.deleted_at is not None
    backend.check()
