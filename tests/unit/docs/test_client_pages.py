"""Every piece of Python in the pages about the client library runs as it is printed."""

import ast
import asyncio
import base64
import inspect
import re
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Protocol

import pytest

import elile.secrets
from elile.secrets import (
    AIProviderSecrets,
    DatabaseCredentials,
    EncryptionKeys,
    MemorySecretsManager,
    SecretCacheConfig,
    SecretPath,
    SecretsManager,
    SecretValue,
    create_secrets_config,
    set_secrets_manager,
)
from elile.secrets.encryption import AESGCMCipher
from elile.secrets.manager import _Process
from elile.secrets.redact import SecretStr
from tests.fakes.accounts import Accounts

PAGES = Path(__file__).parents[3] / "docs" / "client"


def pieces(page: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", (PAGES / page).read_text(), re.DOTALL | re.MULTILINE)


async def run(code: str, names: dict[str, Any]) -> None:
    """Run code that may await at its top, as in the interactive interpreter of asyncio."""
    compiled = compile(code, "page", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    answer = eval(compiled, names)  # noqa: S307 - our own pages
    if inspect.isawaitable(answer):
        await answer


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("DATABASE_URL", "ANTHROPIC_API_KEY"):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setattr(_Process, "manager", None)


async def test_five_minutes(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for piece in pieces("index.md"):
        await run(piece, names)
    assert "s3cret" not in capsys.readouterr().out
    set_secrets_manager(names["manager"])
    await elile.secrets.reset_secrets_manager()


async def test_the_plan(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VAULT_ADDR", "https://vault.example:8200")
    monkeypatch.setenv("VAULT_ROLE", "shop")
    names = {name: getattr(elile.secrets, name) for name in elile.secrets.__all__}
    names |= {"Protocol": Protocol, "Enum": Enum, "Any": Any}
    manager, path, config, cache, rotation = pieces("seed.md")
    await run(manager, names)
    for method, planned in inspect.getmembers(names["SecretsManager"], inspect.iscoroutinefunction):
        ours = inspect.signature(getattr(SecretsManager, method)).parameters
        assert list(inspect.signature(planned).parameters) == list(ours)[: len(inspect.signature(planned).parameters)]
    await run(path, names)
    assert {p.name: p.value for p in names["SecretPath"]} == {p.name: p.value for p in SecretPath}
    await run(
        config.replace('config = create_secrets_config("dev', 'first = config\nconfig = create_secrets_config("dev'),
        names,
    )
    assert names["config"].backend == "environment"
    await run(cache, names)
    assert names["cache"].stats().entries == 0
    material = base64.b64encode(b"k" * 32).decode()
    cache_off = SecretCacheConfig(enabled=False)
    names["secrets_manager"] = MemorySecretsManager({SecretPath.ENCRYPTION_PRIMARY: {"key": material}}, cache=cache_off)
    asked: list[EncryptionKeys] = []

    async def verify_encryption_works(keys: EncryptionKeys) -> bool:
        asked.append(keys)
        return AESGCMCipher(keys).decrypt(AESGCMCipher(keys).encrypt(b"text")) == b"text"

    names |= {"verify_encryption_works": verify_encryption_works, "SecretPath": SecretPath}
    await run(rotation, names)
    assert names["result"].ok
    assert len(asked) == 1
    assert (await names["secrets_manager"].get_encryption_keys()).primary.id == "2"


async def test_rotation() -> None:
    maps, database = "elile/providers/maps", str(SecretPath.DATABASE)
    manager = MemorySecretsManager(
        {
            SecretPath.ENCRYPTION_PRIMARY: {"key": base64.b64encode(b"k" * 32).decode()},
            maps: {"api_key": "old"},
            database: {"host": "db", "username": "shop_a", "password": "old"},
        },
        cache=SecretCacheConfig(enabled=False),
    )

    @dataclass
    class Answer:
        status: int

    async def ask_our_own_service(key: object) -> Answer:
        return Answer(200)

    target = Accounts({"shop_a": SecretStr("old"), "shop_b": None})
    names: dict[str, Any] = {
        "manager": manager,
        "ask_our_own_service": ask_our_own_service,
        "target": target,
        "asyncio": asyncio,
    }
    for piece in pieces("rotation.md"):
        if "PostgreSQLTarget(" not in piece:  # tests/services/test_client_pages.py runs it, at a server
            await run(piece, names)
    assert [hook.name for hook in names["hooks"]] == ["openai"]
    names["background"].cancel()
    assert (await manager.get_secret(maps))["api_key"].reveal().startswith("maps_")
    assert (await manager.get_secret(database))["username"] == SecretStr("shop_b")
    assert all(target.passwords.values())


def test_the_names_of_the_plan() -> None:
    planned = """
        SecretsManager SecretPath SecretValue SecretMetadata DatabaseCredentials ProviderApiKey
        AIProviderSecrets EncryptionKeys VaultConfig AWSSecretsConfig AzureKeyVaultConfig
        GCPSecretManagerConfig SecretsConfig create_secrets_config SecretCache SecretCacheConfig
        EnvironmentSecretsManager VaultSecretsManager get_database_credentials
        get_ai_provider_secrets get_encryption_keys get_provider_api_key SecretRotator
    """
    assert set(planned.split()) <= set(elile.secrets.__all__)
    assert {AIProviderSecrets, DatabaseCredentials, SecretValue, create_secrets_config}


def test_every_test_that_the_page_names_is_there() -> None:
    named = re.findall(r"`(tests/[a-z_/0-9]+\.py)(?:::(\w+))?`", (PAGES / "seed.md").read_text())
    assert len(named) >= 8
    for file, function in named:
        text = (PAGES.parents[1] / file).read_text()
        assert not function or f"def {function}(" in text, function
