"""The Secrets Manager for tests: the rules of AWS that it is there to hold others to."""

import json
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from elile.secrets.testing.aws import FakeAWSServer, Request

CANARY = "canary-90ab"
A, B, C = (str(uuid.UUID(int=i)) for i in (1, 2, 3))


class Client:
    """Plain requests, as boto3 sends them; boto3 itself would check some of them before."""

    def __init__(self, server: FakeAWSServer) -> None:
        self.server = server
        self.login = (
            f"AWS4-HMAC-SHA256 Credential={server.access_key_id}/20260101/us-east-1/secretsmanager/aws4_request"
        )

    def __call__(self, operation: str, **asked: Any) -> dict[str, Any]:
        headers = {"X-Amz-Target": f"secretsmanager.{operation}", "Authorization": self.login}
        request = urllib.request.Request(self.server.url, json.dumps(asked).encode(), headers)  # noqa: S310 # loopback
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 # loopback
                found: dict[str, Any] = json.load(answer)
                return found
        except urllib.error.HTTPError as e:
            with e:
                return {"status": e.code, "error": json.load(e)["__type"]}

    def create(self, name: str = "s", token: str = A, text: str = "1") -> dict[str, Any]:
        return self("CreateSecret", Name=name, ClientRequestToken=token, SecretString=text)

    def put(self, token: str, text: str = "1", **more: Any) -> dict[str, Any]:
        return self("PutSecretValue", SecretId="s", ClientRequestToken=token, SecretString=text, **more)

    def get(self, **more: Any) -> dict[str, Any]:
        return self("GetSecretValue", SecretId="s", **more)

    def move(self, label: str, **more: Any) -> dict[str, Any]:
        return self("UpdateSecretVersionStage", SecretId="s", VersionStage=label, **more)


@pytest.fixture(scope="module")
def running() -> Iterator[FakeAWSServer]:
    with FakeAWSServer() as server:
        yield server


@pytest.fixture
def server(running: FakeAWSServer) -> FakeAWSServer:
    running.reset()
    return running


@pytest.fixture
def client(server: FakeAWSServer) -> Client:
    return Client(server)


def test_a_token_stands_for_one_value(client: Client, server: FakeAWSServer) -> None:
    assert client.create()["VersionId"] == A
    assert client.create()["VersionId"] == A
    assert client.create(text="2")["error"] == "ResourceExistsException"
    assert client.create(token=B)["error"] == "ResourceExistsException"
    assert client.put(B, VersionStages=["x"])["VersionStages"] == ["x"]
    assert client.put(B, "2")["error"] == "ResourceExistsException"
    assert client.put(B)["VersionStages"] == ["x"], "the same again does nothing, not even to labels"
    assert server.labels("s") == {"AWSCURRENT": A, "x": B}
    assert client("PutSecretValue", SecretId="s", SecretString="1")["error"] == "InvalidRequestException"
    assert client.put("short")["error"] == "InvalidParameterException"


def test_labels_move_and_the_previous_one_follows(client: Client, server: FakeAWSServer) -> None:
    client.create()
    client.put(B)
    assert server.labels("s") == {"AWSCURRENT": B, "AWSPREVIOUS": A}
    client.put(C)
    assert server.labels("s") == {"AWSCURRENT": C, "AWSPREVIOUS": B}
    assert server.versions("s") == (A, B, C)
    assert client.get(VersionId=A)["VersionStages"] == []
    server.prune("s")
    assert client.get(VersionId=A)["error"] == "ResourceNotFoundException"
    client.move("AWSCURRENT", MoveToVersionId=B, RemoveFromVersionId=C)
    assert server.labels("s") == {"AWSCURRENT": B, "AWSPREVIOUS": C}


def test_the_first_version_is_current_in_any_case(client: Client, server: FakeAWSServer) -> None:
    assert "VersionId" not in client("CreateSecret", Name="s")
    assert client.get()["error"] == "ResourceNotFoundException"
    assert "VersionIdsToStages" not in client("DescribeSecret", SecretId="s")
    client.put(A, VersionStages=["AWSPENDING"])
    assert server.labels("s") == {"AWSCURRENT": A, "AWSPENDING": A}


def test_a_label_is_moved_off_the_version_that_has_it(client: Client, server: FakeAWSServer) -> None:
    client.create()
    client.put(B, VersionStages=["x"])
    for wrong in ({}, {"RemoveFromVersionId": B}):
        assert client.move("AWSCURRENT", MoveToVersionId=B, **wrong)["error"] == "InvalidParameterException"
    assert client.move("AWSCURRENT", RemoveFromVersionId=A)["error"] == "InvalidParameterException"
    assert client.move("AWSCURRENT", MoveToVersionId=C, RemoveFromVersionId=A)["error"] == "ResourceNotFoundException"
    assert client.move("y", RemoveFromVersionId=A)["error"] == "InvalidParameterException"
    assert client.move("", MoveToVersionId=A)["error"] == "InvalidParameterException"
    client.move("y", MoveToVersionId=A)
    client.move("x", RemoveFromVersionId=B)
    assert server.labels("s") == {"AWSCURRENT": A, "y": A}


def test_reads_name_a_version_a_label_or_both(client: Client) -> None:
    client.create()
    client.put(B, "2", VersionStages=["x"])
    assert client.get()["SecretString"] == client.get(VersionStage="AWSCURRENT")["SecretString"] == "1"
    assert client.get(VersionId=B, VersionStage="x")["SecretString"] == "2"
    assert client.get(VersionId=A, VersionStage="x")["error"] == "ResourceNotFoundException"
    assert client.get(VersionStage="y")["error"] == "ResourceNotFoundException"
    assert "SecretString" not in json.dumps(client("DescribeSecret", SecretId="s"))


def test_limits(client: Client) -> None:
    assert client.create(text="ä" * 32768)["VersionId"] == A
    for text in ("", "ä" * 32768 + "x"):
        assert client.put(B, text)["error"] == "ValidationException"
    assert client.put(B, SecretBinary="MQ==")["error"] == "InvalidParameterException"
    assert client.create(name="a b")["error"] == "ValidationException"
    assert "error" in client.put(B, VersionStages=[str(i) for i in range(20)])
    assert client.put(B, VersionStages=[str(i) for i in range(19)])["VersionId"] == B


def test_deletion(client: Client, server: FakeAWSServer) -> None:
    client.create()
    for wrong in ({"RecoveryWindowInDays": 6}, {"RecoveryWindowInDays": 7, "ForceDeleteWithoutRecovery": True}):
        assert client("DeleteSecret", SecretId="s", **wrong)["error"] == "InvalidParameterException"
    client("DeleteSecret", SecretId="s", RecoveryWindowInDays=7)
    for refused in (client.get(), client.put(B), client.create(token=B), client.move("x", MoveToVersionId=A)):
        assert refused["error"] == "InvalidRequestException"
    assert client("DescribeSecret", SecretId="s")["DeletedDate"] > 0
    client("RestoreSecret", SecretId="s")
    assert client.get()["SecretString"] == "1"
    client("DeleteSecret", SecretId="s", ForceDeleteWithoutRecovery=True)
    assert client.get()["error"] == "ResourceNotFoundException"
    with pytest.raises(KeyError):
        server.labels("s")


def test_switches(client: Client, server: FakeAWSServer) -> None:
    client.create()
    server.deny("s", "GetSecretValue")
    assert client.get()["error"] == "AccessDeniedException"
    assert client.put(B)["VersionId"] == B
    server.deny("s")
    assert client.put(B)["error"] == "AccessDeniedException"
    server.allow("s")
    server.fail(next=2)
    server.fail(error="ThrottlingException")
    assert [client.get().get(key) for key in ("status", "status", "error")] == [500, 500, "ThrottlingException"]
    server.lose()
    with pytest.raises(ConnectionError):
        client.put(C)
    assert server.labels("s")["AWSCURRENT"] == C, "it was done, and nobody was told"
    server.described("s", OwningService="rds")
    assert client("DescribeSecret", SecretId="s")["OwningService"] == "rds"


def test_who_may_ask_and_what(client: Client) -> None:
    assert client("ListSecrets")["error"] == "UnknownOperationException"
    client.login = ""
    assert client.get()["error"] == "MissingAuthenticationTokenException"
    client.login = "AWS4-HMAC-SHA256 Credential=AKIASTRANGER/20260101/us-east-1/secretsmanager/aws4_request"
    assert client.get()["error"] == "UnrecognizedClientException"


def test_requests_are_kept_without_values(client: Client, server: FakeAWSServer) -> None:
    client.create(text=CANARY)
    client.get()
    assert server.requests == [Request("CreateSecret", "s"), Request("GetSecretValue", "s")]
    assert CANARY not in repr(server.requests) + repr(vars(server)) + repr(server._store.secrets)


def test_outside_of_its_context_it_has_no_address() -> None:
    server = FakeAWSServer()
    with pytest.raises(RuntimeError):
        _ = server.url
    with server:
        url = server.url
    with pytest.raises(urllib.error.URLError):
        urllib.request.urlopen(url, timeout=1)  # noqa: S310 # loopback
