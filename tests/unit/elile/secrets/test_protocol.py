"""Standard paths, and what the protocols say of the classes that follow them."""

import dataclasses
from typing import Any

import pytest

from elile.secrets import protocol
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import (
    Backend,
    Capabilities,
    Reading,
    Ref,
    SecretPath,
    SecretsManager,
    Version,
    VersionedBackend,
)
from elile.secrets.redact import Redacted
from elile.secrets.types import SecretMetadata

CANARY = "canary-08aa"


def test_the_standard_paths_are_those_of_the_document() -> None:
    assert {path.name: path.value for path in SecretPath} == {
        "DATABASE": "elile/database/postgres",
        "REDIS": "elile/database/redis",
        "AI_ANTHROPIC": "elile/ai/anthropic",
        "AI_OPENAI": "elile/ai/openai",
        "ENCRYPTION_PRIMARY": "elile/encryption/primary",
    }


@pytest.mark.parametrize("path", list(SecretPath))
def test_a_standard_path_is_a_text_everywhere(path: SecretPath) -> None:
    assert isinstance(path, str)
    assert f"{path}" == str(path) == path.value
    assert {path: 1}[path.value] == 1
    assert MemoryBackend({path: {"x": "1"}}).read(path.value).data.reveal() == {"x": "1"}


def test_paths_of_providers() -> None:
    assert SecretPath.ai("anthropic") == SecretPath.AI_ANTHROPIC
    assert SecretPath.ai("openai") == SecretPath.AI_OPENAI
    assert SecretPath.ai("azure-openai") == "elile/ai/azure-openai"
    assert SecretPath.provider("send-grid2") == "elile/providers/send-grid2"


@pytest.mark.parametrize(
    "name", ["", "OpenAI", "a/b", "..", "a.b", "a_b", "a b", "ä", "a\n", "٣", "../../other", "a\0"]
)
def test_names_that_could_lead_elsewhere_are_refused(name: str) -> None:
    for path in (SecretPath.ai, SecretPath.provider):
        with pytest.raises(ValueError, match="letters a to z, digits and '-'"):
            path(name)


def test_a_backend_can_do_nothing_unless_it_says_so() -> None:
    assert set(dataclasses.asdict(Capabilities()).values()) == {False}


def test_a_manager_is_recognised_by_its_methods() -> None:
    methods = [
        *("get_secret", "set_secret", "get_database_credentials", "get_ai_provider_secrets", "get_provider_api_key"),
        *("get_encryption_keys", "get_metadata", "get_versions", "refresh", "watch", "on_change", "health", "close"),
    ]
    assert isinstance(type("Manager", (), dict.fromkeys(methods, print))(), SecretsManager)
    for missing in methods:
        assert not isinstance(type("Part", (), dict.fromkeys(set(methods) - {missing}, print))(), SecretsManager)
    assert not isinstance(MemoryBackend(), SecretsManager)


@pytest.mark.parametrize("kind", [Backend, VersionedBackend])
def test_memory_has_all_that_the_protocols_name(kind: Any) -> None:
    members = [name for name in (*vars(kind), *kind.__annotations__) if not name.startswith("_")]
    assert len(members) > 5
    assert [name for name in members if not hasattr(MemoryBackend(), name)] == []


def test_answers_show_no_values() -> None:
    data = Redacted({"x": CANARY})
    assert CANARY not in f"{Reading(data, SecretMetadata())!r} {Version('1', data)!r} {Ref('1', 'k')!r}"
    assert Version("1", data) == Version("1", Redacted({"x": CANARY}))


def test_what_is_exported_is_there() -> None:
    assert [name for name in protocol.__all__ if not hasattr(protocol, name)] == []
