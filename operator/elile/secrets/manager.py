"""Managers by configuration, the one of the process, and the convenience functions on it."""

import contextvars
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from elile.secrets.cache import SecretCacheConfig
from elile.secrets.config import MOUNTED_ROOT, SecretsConfig, create_secrets_config
from elile.secrets.errors import SecretBackendMissingError, SecretsConfigurationError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.managers import (
    AWSSecretsManager,
    EnvironmentSecretsManager,
    MemorySecretsManager,
    MountedSecretsManager,
    VaultSecretsManager,
)
from elile.secrets.protocol import SecretPath, SecretsManager
from elile.secrets.types import AIProviderSecrets, DatabaseCredentials, EncryptionKeys, ProviderApiKey

__all__ = [
    "create_secrets_config",
    "create_secrets_manager",
    "get_ai_provider_secrets",
    "get_database_credentials",
    "get_encryption_keys",
    "get_provider_api_key",
    "get_secrets_manager",
    "reset_secrets_manager",
    "set_secrets_manager",
    "use_secrets_manager",
]

_COMING = {"azure": "Azure Key Vault", "gcp": "Google Secret Manager"}


def create_secrets_manager(config: SecretsConfig) -> BackendSecretsManager:
    """Make the manager that a configuration describes; nothing is connected before it is used.

    Raises SecretBackendMissingError for a backend whose package is not installed, or that is not available yet.
    """
    cache = SecretCacheConfig(
        enabled=config.cache_enabled,
        default_ttl_seconds=config.cache_ttl_seconds,
        max_entries=config.cache_max_entries,
        stale_if_error_seconds=config.stale_if_error_seconds,
    )
    match config.backend:
        case "vault" if config.vault is not None:
            return VaultSecretsManager(config.vault, cache=cache)
        case "aws" if config.aws is not None:
            return AWSSecretsManager(config.aws, cache=cache)
        case "environment":
            return EnvironmentSecretsManager(config.env)
        case "mounted":
            return MountedSecretsManager(config.mounted_root or MOUNTED_ROOT, paths=config.mounted_paths)
        case "memory":
            return MemorySecretsManager(cache=cache)
        case "azure" | "gcp":
            raise SecretBackendMissingError(
                f"{_COMING[config.backend]} is not available yet in this version; choose another backend",
                backend=config.backend,
            )
    raise SecretsConfigurationError(f"the section for backend {config.backend!r} is missing; add it")


# ── the one of the process ───────────────────────────────────────────────────────────────────────────────────────────


class _Process:
    """The manager of the process, made when it is first asked for."""

    lock = threading.Lock()
    manager: SecretsManager | None = None


_of_context: contextvars.ContextVar[SecretsManager | None] = contextvars.ContextVar("elile_secrets", default=None)


def get_secrets_manager() -> SecretsManager:
    """Return the manager in use here: of `use_secrets_manager`, else the one of the process.

    Where nobody has set one, it is made of the variables ELILE_SECRETS_… (see `SecretsConfig.from_environ`). Raises
    SecretsConfigurationError when those say too little.
    """
    found = _of_context.get()
    if found is not None:
        return found
    with _Process.lock:
        if _Process.manager is None:
            _Process.manager = create_secrets_manager(SecretsConfig.from_environ())
        return _Process.manager


def set_secrets_manager(manager: SecretsManager) -> None:
    """Make a manager the one of the process. The one before is not closed: whoever made it does that."""
    with _Process.lock:
        _Process.manager = manager


async def reset_secrets_manager() -> None:
    """Close the manager of the process and forget it."""
    with _Process.lock:
        manager, _Process.manager = _Process.manager, None
    if manager is not None:
        await manager.close()


@contextmanager
def use_secrets_manager(manager: SecretsManager) -> Iterator[SecretsManager]:
    """Use another manager in this context alone (the task, or the thread): for tests."""
    token = _of_context.set(manager)
    try:
        yield manager
    finally:
        _of_context.reset(token)


async def get_database_credentials(path: str = SecretPath.DATABASE) -> DatabaseCredentials:
    """Return how to reach a database, from the manager in use."""
    return await get_secrets_manager().get_database_credentials(path)


async def get_ai_provider_secrets(provider: str) -> AIProviderSecrets:
    """Return what a client of an AI provider needs, from the manager in use."""
    return await get_secrets_manager().get_ai_provider_secrets(provider)


async def get_encryption_keys(path: str = SecretPath.ENCRYPTION_PRIMARY) -> EncryptionKeys:
    """Return a set of keys, from the manager in use."""
    return await get_secrets_manager().get_encryption_keys(path)


async def get_provider_api_key(provider: str) -> ProviderApiKey:
    """Return the API key of a provider, from the manager in use."""
    return await get_secrets_manager().get_provider_api_key(provider)
