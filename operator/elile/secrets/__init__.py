"""Typed access to secrets: the client library of Elile.

Names are loaded when they are first used, so that the import itself costs nothing and needs no other package.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from elile.secrets.cache import CacheStats as CacheStats
    from elile.secrets.cache import SecretCache as SecretCache
    from elile.secrets.cache import SecretCacheConfig as SecretCacheConfig
    from elile.secrets.config import AWSSecretsConfig as AWSSecretsConfig
    from elile.secrets.config import AzureKeyVaultConfig as AzureKeyVaultConfig
    from elile.secrets.config import GCPSecretManagerConfig as GCPSecretManagerConfig
    from elile.secrets.config import SecretsConfig as SecretsConfig
    from elile.secrets.config import VaultConfig as VaultConfig
    from elile.secrets.config import create_secrets_config as create_secrets_config
    from elile.secrets.errors import SecretAccessDeniedError as SecretAccessDeniedError
    from elile.secrets.errors import SecretBackendMissingError as SecretBackendMissingError
    from elile.secrets.errors import SecretConflictError as SecretConflictError
    from elile.secrets.errors import SecretDeletedError as SecretDeletedError
    from elile.secrets.errors import SecretManagedElsewhereError as SecretManagedElsewhereError
    from elile.secrets.errors import SecretMountNotFoundError as SecretMountNotFoundError
    from elile.secrets.errors import SecretNamespaceNotFoundError as SecretNamespaceNotFoundError
    from elile.secrets.errors import SecretNotFoundError as SecretNotFoundError
    from elile.secrets.errors import SecretsAuthenticationError as SecretsAuthenticationError
    from elile.secrets.errors import SecretsClosedError as SecretsClosedError
    from elile.secrets.errors import SecretsConfigurationError as SecretsConfigurationError
    from elile.secrets.errors import SecretsError as SecretsError
    from elile.secrets.errors import SecretsMalformedResponseError as SecretsMalformedResponseError
    from elile.secrets.errors import SecretsRateLimitedError as SecretsRateLimitedError
    from elile.secrets.errors import SecretsRoleNotFoundError as SecretsRoleNotFoundError
    from elile.secrets.errors import SecretsSealedError as SecretsSealedError
    from elile.secrets.errors import SecretsStaleAnswerError as SecretsStaleAnswerError
    from elile.secrets.errors import SecretsTLSError as SecretsTLSError
    from elile.secrets.errors import SecretsUnavailableError as SecretsUnavailableError
    from elile.secrets.errors import SecretValidationError as SecretValidationError
    from elile.secrets.errors import SecretVersionNotFoundError as SecretVersionNotFoundError
    from elile.secrets.manager import create_secrets_manager as create_secrets_manager
    from elile.secrets.manager import get_ai_provider_secrets as get_ai_provider_secrets
    from elile.secrets.manager import get_database_credentials as get_database_credentials
    from elile.secrets.manager import get_encryption_keys as get_encryption_keys
    from elile.secrets.manager import get_provider_api_key as get_provider_api_key
    from elile.secrets.manager import get_secrets_manager as get_secrets_manager
    from elile.secrets.manager import reset_secrets_manager as reset_secrets_manager
    from elile.secrets.manager import set_secrets_manager as set_secrets_manager
    from elile.secrets.manager import use_secrets_manager as use_secrets_manager
    from elile.secrets.managers import AWSSecretsManager as AWSSecretsManager
    from elile.secrets.managers import ChainSecretsManager as ChainSecretsManager
    from elile.secrets.managers import EnvironmentSecretsManager as EnvironmentSecretsManager
    from elile.secrets.managers import MemorySecretsManager as MemorySecretsManager
    from elile.secrets.managers import MountedSecretsManager as MountedSecretsManager
    from elile.secrets.managers import VaultSecretsManager as VaultSecretsManager
    from elile.secrets.protocol import SecretPath as SecretPath
    from elile.secrets.protocol import SecretsManager as SecretsManager
    from elile.secrets.redact import SecretBytes as SecretBytes
    from elile.secrets.redact import SecretStr as SecretStr
    from elile.secrets.rotation.rotator import SecretRotator as SecretRotator
    from elile.secrets.sync import SyncSecrets as SyncSecrets
    from elile.secrets.types import AIProviderSecrets as AIProviderSecrets
    from elile.secrets.types import DatabaseCredentials as DatabaseCredentials
    from elile.secrets.types import EncryptionKey as EncryptionKey
    from elile.secrets.types import EncryptionKeys as EncryptionKeys
    from elile.secrets.types import HealthReport as HealthReport
    from elile.secrets.types import ProviderApiKey as ProviderApiKey
    from elile.secrets.types import SecretChange as SecretChange
    from elile.secrets.types import SecretMetadata as SecretMetadata
    from elile.secrets.types import SecretValue as SecretValue
    from elile.secrets.wellknown import RevisionsApp as RevisionsApp

_HOMES = {
    "cache": ("CacheStats", "SecretCache", "SecretCacheConfig"),
    "config": (
        "AWSSecretsConfig",
        "AzureKeyVaultConfig",
        "GCPSecretManagerConfig",
        "SecretsConfig",
        "VaultConfig",
        "create_secrets_config",
    ),
    "errors": (
        "SecretAccessDeniedError",
        "SecretBackendMissingError",
        "SecretConflictError",
        "SecretDeletedError",
        "SecretManagedElsewhereError",
        "SecretMountNotFoundError",
        "SecretNamespaceNotFoundError",
        "SecretNotFoundError",
        "SecretValidationError",
        "SecretVersionNotFoundError",
        "SecretsAuthenticationError",
        "SecretsClosedError",
        "SecretsConfigurationError",
        "SecretsError",
        "SecretsMalformedResponseError",
        "SecretsRateLimitedError",
        "SecretsRoleNotFoundError",
        "SecretsSealedError",
        "SecretsStaleAnswerError",
        "SecretsTLSError",
        "SecretsUnavailableError",
    ),
    "manager": (
        "create_secrets_manager",
        "get_ai_provider_secrets",
        "get_database_credentials",
        "get_encryption_keys",
        "get_provider_api_key",
        "get_secrets_manager",
        "reset_secrets_manager",
        "set_secrets_manager",
        "use_secrets_manager",
    ),
    "managers": (
        "AWSSecretsManager",
        "ChainSecretsManager",
        "EnvironmentSecretsManager",
        "MemorySecretsManager",
        "MountedSecretsManager",
        "VaultSecretsManager",
    ),
    "protocol": ("SecretPath", "SecretsManager"),
    "redact": ("SecretBytes", "SecretStr"),
    "rotation.rotator": ("SecretRotator",),
    "sync": ("SyncSecrets",),
    "types": (
        "AIProviderSecrets",
        "DatabaseCredentials",
        "EncryptionKey",
        "EncryptionKeys",
        "HealthReport",
        "ProviderApiKey",
        "SecretChange",
        "SecretMetadata",
        "SecretValue",
    ),
    "wellknown": ("RevisionsApp",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{home}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME_OF})
