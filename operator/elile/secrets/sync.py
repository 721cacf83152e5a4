"""The blocking face: the names of `SecretsManager` for code without an event loop."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from elile.secrets.following import Callback, Followed
from elile.secrets.managed import BackendSecretsManager, as_provider, as_typed
from elile.secrets.protocol import SecretPath
from elile.secrets.types import (
    AIProviderSecrets,
    DatabaseCredentials,
    EncryptionKeys,
    HealthReport,
    ProviderApiKey,
    SecretValue,
)

__all__ = ["SyncSecrets"]


class SyncSecrets:
    """One manager, blocking. It may be used beside the asynchronous face: both share cache, login and connections."""

    def __init__(self, manager: BackendSecretsManager) -> None:
        self.manager = manager

    def get_secret(self, path: str, *, version: str | None = None, max_age: float | None = None) -> SecretValue:
        """Return an entry, as `SecretsManager.get_secret` does."""
        return self.manager.get_secret_blocking(path, version=version, max_age=max_age)

    def set_secret(self, path: str, data: Mapping[str, Any], *, expected_version: str | None = None) -> SecretValue:
        """Replace an entry."""
        return self.manager.set_secret_blocking(path, data, expected_version)

    def refresh(self, path: str, *, if_generation: int | None = None) -> SecretValue:
        """Ask the backend now, if `if_generation` is still the one that is known."""
        return self.manager.refresh_blocking(path, if_generation=if_generation)

    def get_database_credentials(self, path: str = SecretPath.DATABASE) -> DatabaseCredentials:
        """Return how to reach a database."""
        return as_typed(DatabaseCredentials, self.get_secret(path))

    def get_ai_provider_secrets(self, provider: str) -> AIProviderSecrets:
        """Return what a client of an AI provider needs."""
        return as_provider(AIProviderSecrets, self.get_secret(SecretPath.ai(provider)), provider)

    def get_provider_api_key(self, provider: str) -> ProviderApiKey:
        """Return the API key of any other provider."""
        return as_provider(ProviderApiKey, self.get_secret(SecretPath.provider(provider)), provider)

    def get_encryption_keys(self, path: str = SecretPath.ENCRYPTION_PRIMARY) -> EncryptionKeys:
        """Return a set of keys."""
        return as_typed(EncryptionKeys, self.get_secret(path))

    def on_change(self, path: str, callback: Callback, *, run_now: bool = False) -> Followed:
        """Call back at every change, in a thread of the manager's."""
        return self.manager.on_change(path, callback, run_now=run_now)

    def health(self) -> HealthReport:
        """Tell how the backend fares."""
        return self.manager.health_blocking()

    def close(self) -> None:
        """Close the manager."""
        self.manager.close_blocking()

    def __enter__(self) -> Self:
        self.manager.backend.check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
