"""AWS Secrets Manager against a strict server of ours: what every backend does, and what is special here."""

import base64
import json
import traceback
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC
from typing import Any

import pytest

from elile.secrets.aws import CURRENT, MAX_BYTES, PENDING, WRITING, AWSBackend
from elile.secrets.errors import (
    SecretConflictError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretValidationError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Backend, Ref, Version
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.testing.aws import FakeAWSServer
from elile.secrets.testing.conformance import BackendConformance, VersionedConformance
from tests.support.aws import backend, no_metadata_service, patient, plain, running, server

__all__ = ["backend", "no_metadata_service", "patient", "plain", "running", "server"]

CANARY = "canary-7c41"
PATH = "elile/database/postgres"
NEVER = str(uuid.UUID(int=1))


class TestBackend(BackendConformance):
    @pytest.fixture
    def backend(self, patient: AWSBackend) -> Backend:
        return patient


class TestVersioned(VersionedConformance):
    @pytest.fixture
    def backend(self, patient: AWSBackend) -> Backend:
        return patient


def operations(server: FakeAWSServer) -> list[str]:
    return [request.operation for request in server.requests]


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_read_is_one_call_with_the_metadata_there_is(backend: AWSBackend, server: FakeAWSServer) -> None:
    written = backend.write(PATH, {"n": 1})
    server.requests.clear()
    reading = backend.read(PATH)
    assert operations(server) == ["GetSecretValue"]
    assert reading.data.reveal() == {"n": 1}
    assert reading.metadata.version == written.metadata.version == server.labels(PATH)[CURRENT]
    assert reading.metadata.created_at is not None
    assert reading.metadata.created_at.tzinfo is UTC
    assert (reading.metadata.source, reading.metadata.previous_version) == ("aws", None)


@pytest.mark.parametrize(
    ("stored", "read"),
    [
        ({"SecretString": '{"a": {"b": 1}}'}, {"a": {"b": 1}}),
        ({"SecretString": "hello"}, {"value": "hello"}),
        ({"SecretString": "[1, 2]"}, {"value": "[1, 2]"}),
        ({"SecretString": "1" * 5000}, {"value": "1" * 5000}),
        ({"SecretString": "[" * 60000}, {"value": "[" * 60000}),
        ({"SecretBinary": b"\x00\xff"}, {"value": base64.b64encode(b"\x00\xff").decode()}),
    ],
)
def test_what_others_stored(backend: AWSBackend, plain: Any, stored: dict[str, Any], read: dict[str, Any]) -> None:
    plain.create_secret(Name=PATH, **stored)
    assert backend.read(PATH).data.reveal() == read


def test_current_is_asked_for_by_its_label(
    backend: AWSBackend, server: FakeAWSServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []
    real = server.handle
    monkeypatch.setattr(
        server, "handle", lambda target, login, body: (asked.append(json.loads(body)), real(target, login, body))[1]
    )
    backend.write(PATH, {})
    backend.read(PATH)
    backend.current(PATH)
    assert [one.get("VersionStage") for one in asked[-2:]] == [CURRENT] * 2


def test_the_prefix_is_put_before_the_path(server: FakeAWSServer) -> None:
    backend = AWSBackend(**server.login(), prefix="prod/eu-")
    backend.write("a/b", {"x": "1"})
    assert server.versions("prod/eu-a/b")
    assert backend.read("a/b").data.reveal() == {"x": "1"}
    with pytest.raises(SecretNotFoundError, match=r"^a/c: "):
        backend.read("a/c")
    assert repr(backend) == "AWSBackend(region='us-east-1', prefix='prod/eu-')"
    backend.close()


@pytest.mark.parametrize("prefix", ["a b", "../", "a//", "/", "a/./"])
def test_a_prefix_that_no_name_begins_with(prefix: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=r"aws\.prefix"):
        AWSBackend(region="us-east-1", prefix=prefix)


@pytest.mark.parametrize("path", ["a b", "a\n", "ä", "a/./b", "arn:aws:x", "x" * 513, "a\\b"])
def test_names_that_aws_does_not_take(backend: AWSBackend, server: FakeAWSServer, path: str) -> None:
    for act in (backend.read, backend.version, backend.current, lambda path: backend.write(path, {})):
        with pytest.raises(SecretsConfigurationError):
            act(path)  # type: ignore[operator]  # all of them take a path
    assert not server.requests


def test_a_version_or_a_secret_that_is_not_there(backend: AWSBackend, server: FakeAWSServer) -> None:
    with pytest.raises(SecretNotFoundError) as caught:
        backend.read(PATH, version=NEVER)
    assert type(caught.value) is SecretNotFoundError
    backend.write(PATH, {})
    server.deny(PATH, "DescribeSecret")
    with pytest.raises(SecretVersionNotFoundError):
        backend.read(PATH, version=NEVER)


def test_a_secret_without_a_value(backend: AWSBackend, plain: Any) -> None:
    plain.create_secret(Name=PATH)
    acts: list[Callable[[], object]] = [
        lambda: backend.read(PATH),
        lambda: backend.version(PATH),
        lambda: backend.current(PATH),
        lambda: backend.stage(PATH, {}, key="1"),
    ]
    for act in acts:
        with pytest.raises(SecretNotFoundError):
            act()
    with pytest.raises(SecretConflictError):
        backend.write(PATH, {}, expect=NEVER)
    backend.write(PATH, {"x": "1"})
    assert backend.read(PATH).data.reveal() == {"x": "1"}


def test_a_secret_that_is_scheduled_for_deletion(backend: AWSBackend, plain: Any) -> None:
    version = backend.write(PATH, {"x": "1"}).metadata.version
    old = backend.current(PATH)
    ref = backend.stage(PATH, {"x": "2"}, key="1")
    plain.delete_secret(SecretId=PATH)
    acts: list[Callable[[], object]] = [
        lambda: backend.read(PATH),
        lambda: backend.read(PATH, version=version),
        lambda: backend.version(PATH),
        lambda: backend.write(PATH, {}),
        lambda: backend.write(PATH, {}, expect=""),
        lambda: backend.write(PATH, {}, expect=version),
        lambda: backend.stage(PATH, {}, key="2"),
        lambda: backend.promote(PATH, ref, expect=old),
        lambda: backend.rollback(PATH, to=old, expect=old),
    ]
    for act in acts:
        with pytest.raises(SecretDeletedError) as caught:
            act()
        assert (caught.value.backend, caught.value.version, caught.value.destroyed) == ("aws", 0, False)
        assert caught.value.deleted_at is not None
    backend.discard(PATH, ref)
    plain.restore_secret(SecretId=PATH)
    assert backend.read(PATH).data.reveal() == {"x": "1"}


def test_deletion_is_told_without_the_right_to_describe(backend: AWSBackend, server: FakeAWSServer, plain: Any) -> None:
    backend.write(PATH, {})
    plain.delete_secret(SecretId=PATH)
    server.deny(PATH, "DescribeSecret")
    with pytest.raises(SecretDeletedError) as caught:
        backend.read(PATH)
    assert caught.value.deleted_at is None


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_what_cannot_be_stored(backend: AWSBackend, server: FakeAWSServer) -> None:
    for data in ({"x": SecretStr(CANARY)}, {"x": float("nan")}, {"x": CANARY * MAX_BYTES}, {1: CANARY, "1": CANARY}):
        with pytest.raises(SecretValidationError) as caught:
            backend.write(PATH, data)  # type: ignore[arg-type]  # on purpose
        assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert not server.requests
    backend.write(PATH, {"x": "x" * (MAX_BYTES - len('{"x": ""}'))})


def test_a_write_that_expects_a_version_leaves_no_label(backend: AWSBackend, server: FakeAWSServer) -> None:
    first = backend.write(PATH, {"n": "1"}).metadata.version
    second = backend.write(PATH, {"n": "2"}, expect=first).metadata.version
    assert server.labels(PATH) == {CURRENT: second, "AWSPREVIOUS": first}
    with pytest.raises(SecretConflictError):
        backend.write(PATH, {"n": "3"}, expect=first)
    assert server.versions(PATH) == (first, second), "nothing was stored"


def test_the_label_of_a_writer_that_died_is_taken_over(backend: AWSBackend, server: FakeAWSServer, plain: Any) -> None:
    backend.write(PATH, {"n": "1"})
    plain.put_secret_value(SecretId=PATH, SecretString="{}", VersionStages=[WRITING])
    backend.write(PATH, {"n": "2"}, expect=backend.version(PATH))
    assert set(server.labels(PATH)) == {CURRENT, "AWSPREVIOUS"}


@pytest.mark.parametrize("expect", [NEVER, "7"])
def test_a_write_that_expects_what_is_not_there(backend: AWSBackend, server: FakeAWSServer, expect: str) -> None:
    with pytest.raises(SecretConflictError):
        backend.write(PATH, {}, expect=expect)
    backend.write(PATH, {})
    with pytest.raises(SecretConflictError):
        backend.write(PATH, {}, expect=expect)
    assert len(server.versions(PATH)) == 1


def test_of_writers_that_expect_the_same_one_wins(backend: AWSBackend, server: FakeAWSServer) -> None:
    for _ in range(3):
        backend.write(PATH, {"n": "0"})
        now = backend.version(PATH)

        def attempt(i: int, now: str = now) -> str | None:
            try:
                return backend.write(PATH, {"n": str(i)}, expect=now).metadata.version
            except SecretConflictError:
                return None

        with ThreadPoolExecutor(6) as pool:
            won = [version for version in pool.map(attempt, range(6)) if version]
        assert won == [backend.version(PATH)]
        assert WRITING not in server.labels(PATH)


def test_a_foreign_write_between_storing_and_moving(
    backend: AWSBackend, server: FakeAWSServer, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = backend.write(PATH, {"n": "1"}).metadata.version
    put = backend._put

    def put_and_be_overtaken(*arguments: Any) -> Any:
        answer = put(*arguments)
        plain.put_secret_value(SecretId=PATH, SecretString='{"n": "by hand"}')
        return answer

    monkeypatch.setattr(backend, "_put", put_and_be_overtaken)
    with pytest.raises(SecretConflictError):
        backend.write(PATH, {"n": "2"}, expect=first)
    assert backend.read(PATH).data.reveal() == {"n": "by hand"}
    assert WRITING not in server.labels(PATH)


def test_a_secret_that_is_created_between_put_and_create(
    backend: AWSBackend, plain: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = backend._create

    def be_overtaken(*arguments: Any) -> None:
        plain.create_secret(Name=PATH, SecretString="{}")
        create(*arguments)

    monkeypatch.setattr(backend, "_create", be_overtaken)
    backend.write(PATH, {"n": "1"})
    assert backend.read(PATH).data.reveal() == {"n": "1"}


@pytest.mark.parametrize("at", range(5))
def test_lost_answers_are_asked_for_again(
    backend: AWSBackend, server: FakeAWSServer, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend.write(PATH, {"n": "0"})
    now = backend.version(PATH)
    steps: list[Callable[[], object]] = [
        lambda: backend.write(PATH, {"n": "1"}, expect=now),
        lambda: backend.write(PATH, {"n": "1"}),
        lambda: backend.write("another", {"n": "1"}, expect=""),
        lambda: backend.promote(PATH, backend.stage(PATH, {"n": "1"}, key="1"), expect=Version(now, Redacted({}))),
        lambda: backend.discard(PATH, backend.stage(PATH, {"n": "1"}, key="1")),
    ]
    # Each call of a step has its answer lost in turn: boto3 sends it anew, and it is done once.
    real = server.handle
    count = 0

    def losing(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        if count % 2:
            server.lose()
        return real(*arguments)

    monkeypatch.setattr(server, "handle", losing)
    before = len(server.versions(PATH))
    steps[at]()
    path = "another" if at == 2 else PATH
    if at != 4:
        assert backend.read(path).data.reveal() == {"n": "1"}
    assert len(server.versions(path)) - (0 if at == 2 else before) == 1
    assert not {WRITING, *([PENDING] if at == 4 else [])} & set(server.labels(path))


# ── staging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_labels_during_a_rotation(backend: AWSBackend, server: FakeAWSServer) -> None:
    backend.write(PATH, {"v": "old"})
    old = backend.current(PATH)
    ref = backend.stage(PATH, {"v": "new", "a": "1"}, key="run")
    assert backend.stage(PATH, {"a": "1", "v": "new"}, key="run") == ref, "the order of keys says nothing"
    assert server.labels(PATH) == {CURRENT: old.id, PENDING: ref.id}
    new = backend.promote(PATH, ref, expect=old)
    assert server.labels(PATH) == {CURRENT: ref.id, PENDING: ref.id, "AWSPREVIOUS": old.id}
    assert backend.stage(PATH, {"a": "1", "v": "new"}, key="run") == ref
    backend.rollback(PATH, to=old, expect=new)
    assert server.labels(PATH) == {CURRENT: old.id, PENDING: ref.id, "AWSPREVIOUS": ref.id}
    backend.discard(PATH, ref)
    assert server.labels(PATH) == {CURRENT: old.id, "AWSPREVIOUS": ref.id}


def test_the_same_key_stands_for_another_version_elsewhere(backend: AWSBackend) -> None:
    for path in ("a", "b"):
        backend.write(path, {})
    assert backend.stage("a", {}, key="run").id != backend.stage("b", {}, key="run").id


def test_staging_again_after_discarding(backend: AWSBackend, server: FakeAWSServer) -> None:
    backend.write(PATH, {"v": "old"})
    ref = backend.stage(PATH, {"v": "new"}, key="run")
    backend.discard(PATH, ref)
    assert PENDING not in server.labels(PATH)
    assert backend.stage(PATH, {"v": "new"}, key="run") == ref
    assert server.labels(PATH)[PENDING] == ref.id
    # Given up without a discard, as by a process that died: the next run takes the label over.
    other = backend.stage(PATH, {"v": "newer"}, key="run-2")
    backend.discard(PATH, ref)
    assert server.labels(PATH)[PENDING] == other.id
    assert backend.stage(PATH, {"v": "new"}, key="run") == ref
    assert server.labels(PATH)[PENDING] == ref.id


def test_a_staged_version_that_aws_has_removed(backend: AWSBackend, server: FakeAWSServer) -> None:
    backend.write(PATH, {"v": "old"})
    old = backend.current(PATH)
    ref = backend.stage(PATH, {"v": "new"}, key="run")
    backend.discard(PATH, ref)
    server.prune(PATH)
    with pytest.raises(SecretVersionNotFoundError):
        backend.read_staged(PATH, ref)
    with pytest.raises(SecretVersionNotFoundError):
        backend.promote(PATH, ref, expect=old)
    with pytest.raises(SecretVersionNotFoundError):
        backend.rollback(PATH, to=Version(ref.id, Redacted({})), expect=old)
    with pytest.raises(SecretConflictError):
        backend.rollback(PATH, to=Version("7", Redacted({})), expect=old)
    assert backend.current(PATH) == old


def test_staging_where_nothing_is(backend: AWSBackend) -> None:
    with pytest.raises(SecretNotFoundError):
        backend.stage(PATH, {}, key="run")
    backend.discard(PATH, Ref(NEVER, "run"))


def test_a_rotation_of_aws_itself_is_not_disturbed(backend: AWSBackend, server: FakeAWSServer, plain: Any) -> None:
    backend.write(PATH, {"v": "old"})
    server.described(PATH, RotationEnabled=True)
    plain.put_secret_value(SecretId=PATH, SecretString="{}", VersionStages=[PENDING])
    with pytest.raises(SecretConflictError, match="AWS is rotating"):
        backend.stage(PATH, {"v": "new"}, key="run")
