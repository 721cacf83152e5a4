"""The environment backend: which variables make up which path, files instead of values, and what errors say."""

import os
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from elile.secrets import environment
from elile.secrets.environment import EnvironmentBackend
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsError,
    SecretsUnavailableError,
    SecretValidationError,
    SecretVersionNotFoundError,
)
from elile.secrets.protocol import Backend, SecretPath
from elile.secrets.redact import SecretStr
from elile.secrets.testing.conformance import BackendConformance
from elile.secrets.types import AIProviderSecrets, DatabaseCredentials, EncryptionKeys, ProviderApiKey

CANARY = "canary-77ab"
KEYSET = '{"primary": "2", "keys": {"1": {"material": "a"}, "2": {"material": "b"}}}'


def read(path: str, **environ: str) -> Mapping[str, Any]:
    return EnvironmentBackend(environ).read(path).data.reveal()


def refused(kind: type[SecretsError], environ: Mapping[str, str], path: str = "app/key") -> str:
    """The error's text, after a look for the value wherever a crash reporter would find it."""
    with pytest.raises(kind) as caught:
        EnvironmentBackend(environ).read(path)
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert CANARY not in "".join(traceback.format_exception(error))
    assert error.backend == "environment"
    return str(error)


class TestConformance(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return EnvironmentBackend({})


@pytest.mark.parametrize(
    ("path", "environ", "entry"),
    [
        (
            SecretPath.DATABASE,
            {"DATABASE_URL": "postgres://u:p@h/d", "DATABASE_HOST": "x"},
            {"url": "postgres://u:p@h/d"},
        ),
        (
            SecretPath.DATABASE,
            {
                "DATABASE_HOST": "h",
                "DATABASE_PORT": "5432",
                "DATABASE_USER": "u",
                "DATABASE_PASSWORD": "{p",
                "DATABASE_NAME": "d",
            },
            {"host": "h", "port": "5432", "username": "u", "password": "{p", "database": "d"},
        ),
        (
            SecretPath.DATABASE,
            {"DATABASE_HOST": "h", "DATABASE_USERNAME": "u", "DATABASE_PASSWORD": "p", "DATABASE": "d"},
            {"host": "h", "username": "u", "password": "p", "database": "d"},
        ),
        (SecretPath.DATABASE, {"DATABASE": '{"host": "h", "port": 1}', "DATABASE_HOST": "x"}, {"host": "h", "port": 1}),
        (SecretPath.DATABASE, {"DATABASE_URL": ' {"host": "h"}'}, {"host": "h"}),
        (SecretPath.DATABASE, {"DATABASE_URL": "", "DATABASE_HOST": "h"}, {"host": "h"}),
        (SecretPath.REDIS, {"REDIS_URL": "redis://:p@h/0"}, {"url": "redis://:p@h/0"}),
        (
            SecretPath.REDIS,
            {"REDIS_HOST": "h", "REDIS_PASSWORD": "p", "REDIS_DB": "3"},
            {"host": "h", "password": "p", "database": "3", "driver": "redis"},
        ),
        (SecretPath.AI_ANTHROPIC, {"ANTHROPIC_API_KEY": "k"}, {"api_key": "k", "provider": "anthropic"}),
        (
            SecretPath.AI_OPENAI,
            {"OPENAI_API_KEY": "k", "OPENAI_ORG_ID": "o", "OPENAI_BASE_URL": "b", "OPENAI_PROJECT_ID": "p"},
            {"api_key": "k", "organization": "o", "base_url": "b", "project": "p", "provider": "openai"},
        ),
        (
            SecretPath.AI_OPENAI,
            {"OPENAI_API_KEY": "k", "OPENAI_ORGANIZATION": "o"},
            {"api_key": "k", "organization": "o", "provider": "openai"},
        ),
        (
            SecretPath.AI_OPENAI,
            {"OPENAI_API_KEY": '{"api_key": "k", "base_url": "own"}', "OPENAI_BASE_URL": "b"},
            {"api_key": "k", "base_url": "own", "provider": "openai"},
        ),
        (
            "elile/ai/azure-openai",
            {"AZURE_OPENAI_API_KEY": "k", "AZURE_OPENAI_ENDPOINT": "e", "OPENAI_API_VERSION": "v"},
            {"api_key": "k", "base_url": "e", "api_version": "v", "provider": "azure-openai"},
        ),
        ("elile/ai/google", {"GOOGLE_API_KEY": "k", "GEMINI_API_KEY": "x"}, {"api_key": "k", "provider": "google"}),
        ("elile/ai/google", {"GEMINI_API_KEY": "k"}, {"api_key": "k", "provider": "google"}),
        ("elile/ai/mistral", {"MISTRAL_API_KEY": "k"}, {"api_key": "k", "provider": "mistral"}),
        ("elile/ai/some-one", {"SOME_ONE_API_KEY": "k"}, {"api_key": "k", "provider": "some-one"}),
        (
            "elile/providers/send-grid",
            {"SEND_GRID_API_KEY": "k", "SEND_GRID_API_SECRET": "s", "SEND_GRID_BASE_URL": "b"},
            {"api_key": "k", "api_secret": "s", "base_url": "b", "provider": "send-grid"},
        ),
        (SecretPath.ENCRYPTION_PRIMARY, {"ENCRYPTION_KEY": "k"}, {"key": "k"}),
        (
            SecretPath.ENCRYPTION_PRIMARY,
            {"ENCRYPTION_KEYS": KEYSET, "ENCRYPTION_KEY": "k"},
            {"primary": "2", "keys": {"1": {"material": "a"}, "2": {"material": "b"}}},
        ),
        ("a/b-c", {"A_B_C": '{"x": 1}'}, {"x": 1}),
        ("a/b-c", {"A_B_C": "text"}, {"value": "text"}),
        ("a/b-c", {"A_B_C": "{text"}, {"value": "{text"}),
        ("a/b-c", {"A_B_C": "[1]"}, {"value": "[1]"}),
        ("a/b-c", {"A_B_C": "{" * 10 + '"x":' * 10}, {"value": "{" * 10 + '"x":' * 10}),
        ("a/b-c", {"A_B_C": '{"a":' * 20000}, {"value": '{"a":' * 20000}),
        ("elile/database/other", {"ELILE_DATABASE_OTHER": "t"}, {"value": "t"}),
        ("elile/ai/", {"ELILE_AI_": "t"}, {"value": "t"}),
    ],
)
def test_paths_are_made_of_variables(path: str, environ: dict[str, str], entry: dict[str, Any]) -> None:
    assert read(path, **environ) == entry


def test_entries_have_the_shapes_that_are_asked_for() -> None:
    database = DatabaseCredentials.parse(
        read(SecretPath.DATABASE, DATABASE_HOST="h", DATABASE_PORT="1", DATABASE_USER="u", DATABASE_PASSWORD="p")
    )
    assert (database.port, database.password) == (1, SecretStr("p"))
    redis = DatabaseCredentials.parse(read(SecretPath.REDIS, REDIS_URL="rediss://u:p@h:6379/0"))
    assert redis.url().reveal() == "rediss://u:p@h:6379/0"
    azure = AIProviderSecrets.parse(
        read("elile/ai/azure-openai", AZURE_OPENAI_API_KEY="k", AZURE_OPENAI_ENDPOINT="https://r.openai.azure.com")
    )
    assert azure.endpoint == "https://r.openai.azure.com"
    assert ProviderApiKey.parse(read("elile/providers/x", X_API_KEY="k")).provider == "x"
    assert EncryptionKeys.parse(read(SecretPath.ENCRYPTION_PRIMARY, ENCRYPTION_KEYS=KEYSET)).ids == ("2", "1")


def test_the_prefix_stands_before_every_name_and_in_errors() -> None:
    backend = EnvironmentBackend({"APP_OPENAI_API_KEY": "k", "APP_OPENAI_ORG_ID": "o"}, prefix="APP_")
    assert backend.read(SecretPath.AI_OPENAI).data.reveal()["organization"] == "o"
    with pytest.raises(SecretNotFoundError, match="APP_ANTHROPIC_API_KEY"):
        backend.read(SecretPath.AI_ANTHROPIC)


@pytest.mark.parametrize(
    ("path", "environ", "names"),
    [
        (SecretPath.DATABASE, {"DATABASE_PASSWORD": CANARY}, ["DATABASE_URL", "DATABASE,", "DATABASE_HOST"]),
        (SecretPath.DATABASE, {"DATABASE": CANARY}, ["DATABASE_URL", "DATABASE_URL_FILE"]),
        ("elile/ai/google", {"GOOGLE_BASE_URL": CANARY}, ["GOOGLE_API_KEY", "GEMINI_API_KEY"]),
        (SecretPath.ENCRYPTION_PRIMARY, {}, ["ENCRYPTION_KEYS", "ENCRYPTION_KEY "]),
        ("a/b-c", {"A_B_C": ""}, ["A_B_C ", "A_B_C_FILE"]),
    ],
)
def test_what_is_missing_is_named(path: str, environ: dict[str, str], names: list[str]) -> None:
    text = refused(SecretNotFoundError, environ, path)
    assert text.startswith(f"{path}: ")
    assert [name for name in names if name not in text] == []


def test_a_variable_that_must_be_an_object_is_refused_as_text() -> None:
    for value in (CANARY, "{" + CANARY, f'["{CANARY}"]'):
        text = refused(SecretValidationError, {"ENCRYPTION_KEYS": value}, SecretPath.ENCRYPTION_PRIMARY)
        assert text == "elile/encryption/primary: ENCRYPTION_KEYS must be a JSON object"
        refused(SecretValidationError, {"REDIS": value}, SecretPath.REDIS)


@pytest.mark.parametrize(
    ("content", "value"),
    [(b"p\n", "p"), (b"p\r\n", "p"), (b"p\n\n", "p\n"), (b" p ", " p "), ("pä".encode(), "pä"), (b'{"a": 1}\n', None)],
)
def test_a_file_holds_the_value_instead(tmp_path: Path, content: bytes, value: str | None) -> None:
    (tmp_path / "f").write_bytes(content)
    assert read("app/key", APP_KEY_FILE=str(tmp_path / "f")) == ({"value": value} if value else {"a": 1})


def test_files_are_read_anew_and_for_parts_too(tmp_path: Path) -> None:
    file = tmp_path / "password"
    backend = EnvironmentBackend({"DATABASE_HOST": "h", "DATABASE_PASSWORD_FILE": str(file)})
    for password in ("old", "new"):
        file.write_text(password)
        assert backend.read(SecretPath.DATABASE).data.reveal() == {"host": "h", "password": password}


def test_variables_are_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    backend = EnvironmentBackend()
    for value in ("1", "2"):
        monkeypatch.setenv("ELILE_TEST_PATH", value)
        assert backend.read("elile/test/path").data.reveal() == {"value": value}


def test_files_that_cannot_be_used_name_variable_file_and_remedy(tmp_path: Path) -> None:
    bad, large, empty, pipe = (tmp_path / name for name in ("bad", "large", "empty", "pipe"))
    bad.write_bytes(CANARY.encode() + b"\xff")
    large.write_bytes(b"x" * (environment.MAX_FILE_BYTES + 1))
    empty.write_bytes(b"\n")
    os.mkfifo(pipe)
    for file, kind, what in (
        (bad, SecretsConfigurationError, "is not UTF-8: encode it"),
        (large, SecretsConfigurationError, "is larger than 1048576 bytes"),
        (tmp_path, SecretsConfigurationError, "is no file: name one"),
        (empty, SecretsUnavailableError, "is empty: write the value into it"),
        (pipe, SecretsUnavailableError, "is empty"),
        (tmp_path / "gone", SecretsUnavailableError, "cannot be read: create it, or correct the variable"),
    ):
        text = refused(kind, {"APP_KEY_FILE": str(file)})
        assert f"app/key: the file {str(file)!r} that APP_KEY_FILE names {what}" in text


def test_a_file_of_exactly_the_limit_is_read(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * environment.MAX_FILE_BYTES)
    assert len(read("a", A_FILE=str(tmp_path / "f"))["value"]) == environment.MAX_FILE_BYTES


def test_a_file_that_may_not_be_read_is_a_refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*args: object, **kwargs: object) -> int:
        raise PermissionError(13, CANARY)

    monkeypatch.setattr(environment.os, "open", deny)
    text = refused(SecretAccessDeniedError, {"APP_KEY_FILE": str(tmp_path / "f")})
    assert "may not be read: give this process the right to" in text


@pytest.mark.parametrize(
    "value",
    [CANARY, f"/{CANARY}", f"/nowhere/{CANARY}", f"x/{CANARY}", f"{CANARY}\0", CANARY * 900, f"/{CANARY * 900}/x"],
)
def test_a_secret_in_the_wrong_variable_is_not_printed_as_the_name_of_a_file(value: str) -> None:
    text = refused(SecretsError, {"APP_KEY_FILE": value})
    assert CANARY not in text
    assert "the file that APP_KEY_FILE names" in text


def test_a_variable_and_its_file_exclude_each_other() -> None:
    text = refused(SecretsConfigurationError, {"APP_KEY": CANARY, "APP_KEY_FILE": CANARY})
    assert text == "app/key: APP_KEY and APP_KEY_FILE are both set: remove one of them"


def test_a_broken_file_of_a_part_does_not_matter_beside_a_url() -> None:
    assert read(SecretPath.DATABASE, DATABASE_URL="u", DATABASE_PASSWORD_FILE="/gone") == {"url": "u"}


def test_writing_changes_what_is_answered_and_not_the_environment() -> None:
    environ = {"A": "text"}
    backend = EnvironmentBackend(environ)
    data = {"x": {"y": [1]}}
    assert backend.write("a", data).data.reveal() == data
    data["x"]["y"].append(2)
    backend.read("a").data.reveal()["x"]["y"].append(3)
    assert backend.read("a").data.reveal() == {"x": {"y": [1]}}
    assert environ == {"A": "text"}
    assert EnvironmentBackend(environ).read("a").data.reveal() == {"value": "text"}
    backend.close()
    assert backend.read("a").data.reveal() == {"value": "text"}


def test_the_process_environment_is_never_written() -> None:
    before = dict(os.environ)
    EnvironmentBackend().write(SecretPath.DATABASE, {"host": "h"})
    assert dict(os.environ) == before


def test_there_are_no_versions() -> None:
    backend = EnvironmentBackend({"A": "x"})
    assert backend.read("a").metadata.version is None
    assert backend.read("a").metadata.source == "environment"
    with pytest.raises(SecretVersionNotFoundError):
        backend.read("a", version="1")
    with pytest.raises(SecretNotFoundError) as caught:
        backend.read("b", version="1")
    assert type(caught.value) is SecretNotFoundError
    with pytest.raises(SecretsConfigurationError):
        backend.version("a")
    with pytest.raises(SecretsConfigurationError):
        backend.write("a", {}, expect="")


def test_it_says_what_it_can_and_nothing_of_what_it_holds() -> None:
    backend = EnvironmentBackend({"A": CANARY})
    backend.check()
    backend.write("b", {"x": CANARY})
    assert backend.capabilities.write
    assert not backend.capabilities.version_check
    assert CANARY not in f"{backend} {backend!r} {vars(backend)}"
    assert CANARY not in repr(backend.read("a"))
    with pytest.raises(SecretValidationError) as caught:
        backend.write("b", {"x": {CANARY}})
    assert CANARY not in "".join(traceback.format_exception(caught.value))
