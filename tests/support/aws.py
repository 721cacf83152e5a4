"""Fixtures of the tests of AWS Secrets Manager: a server of ours, and backends that use it."""

from collections.abc import Iterator
from typing import Any

import pytest

from elile.secrets.aws import AWSBackend
from elile.secrets.testing.aws import FakeAWSServer

__all__ = ["backend", "impatient", "no_metadata_service", "once", "patient", "plain", "running", "server"]


@pytest.fixture(autouse=True)
def no_metadata_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture(scope="module")
def running() -> Iterator[FakeAWSServer]:
    with FakeAWSServer() as server:
        yield server


@pytest.fixture
def server(running: FakeAWSServer) -> FakeAWSServer:
    running.reset()
    return running


# Making a client takes boto3 a fifth of a second, so tests share them.
@pytest.fixture(scope="module")
def patient(running: FakeAWSServer) -> Iterator[AWSBackend]:
    backend = AWSBackend(**running.login())
    yield backend
    backend.close()


@pytest.fixture(scope="module")
def impatient(running: FakeAWSServer) -> Iterator[AWSBackend]:
    backend = AWSBackend(**running.login(), max_attempts=1)
    yield backend
    backend.close()


@pytest.fixture
def backend(patient: AWSBackend, server: FakeAWSServer) -> AWSBackend:
    return patient


@pytest.fixture
def once(impatient: AWSBackend, server: FakeAWSServer) -> AWSBackend:
    """A backend that does not try again."""
    return impatient


@pytest.fixture
def plain(backend: AWSBackend) -> Any:
    """The client below, to do what a person does."""
    return backend._calls._client()
