"""The managers by their backends. Each loads what its backend needs, and nothing else does."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elile.secrets.cache import SecretCacheConfig
from elile.secrets.chain import ChainBackend
from elile.secrets.config import AWSSecretsConfig, EnvironmentConfig, VaultConfig
from elile.secrets.environment import EnvironmentBackend
from elile.secrets.errors import SecretBackendMissingError, SecretsConfigurationError
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.mounted import MountedBackend, MountedConfig
from elile.secrets.protocol import Backend

__all__ = [
    "AWSSecretsManager",
    "ChainSecretsManager",
    "EnvironmentSecretsManager",
    "MemorySecretsManager",
    "MountedSecretsManager",
    "VaultSecretsManager",
    "vault_backend",
]


class VaultSecretsManager(BackendSecretsManager):
    """HashiCorp Vault or OpenBao, KV version 1 or 2, by token, AppRole or Kubernetes ServiceAccount."""

    def __init__(self, config: VaultConfig, *, cache: SecretCacheConfig | None = None) -> None:
        super().__init__(vault_backend(config), cache=cache)


class EnvironmentSecretsManager(BackendSecretsManager):
    """Environment variables, for development and tests."""

    def __init__(self, config: EnvironmentConfig | None = None, *, environ: Mapping[str, str] | None = None) -> None:
        prefix = (config or EnvironmentConfig()).prefix
        backend = EnvironmentBackend(prefix=prefix) if environ is None else EnvironmentBackend(environ, prefix=prefix)
        # Variables are read in no time, and a file beside them may change: nothing is worth keeping.
        super().__init__(backend, cache=SecretCacheConfig(enabled=False))


class MountedSecretsManager(BackendSecretsManager):
    """Volumes that kubelet keeps current: a folder for each path below `root`, or where `paths` says."""

    def __init__(self, root: Path | str, *, paths: Mapping[str, Path | str] | None = None) -> None:
        super().__init__(MountedBackend(MountedConfig(root=Path(root), paths=dict(paths or {}))))


class MemorySecretsManager(BackendSecretsManager):
    """Values in this process, for tests and examples."""

    def __init__(
        self, data: Mapping[str, Mapping[str, Any]] | None = None, *, cache: SecretCacheConfig | None = None
    ) -> None:
        super().__init__(MemoryBackend(data or {}), cache=cache)


class AWSSecretsManager(BackendSecretsManager):
    """AWS Secrets Manager. Raises SecretBackendMissingError when boto3 is not installed."""

    def __init__(self, config: AWSSecretsConfig, *, cache: SecretCacheConfig | None = None) -> None:
        from elile.secrets.aws import AWSBackend

        backend = AWSBackend(
            region=config.region,
            endpoint_url=config.endpoint_url,
            access_key_id=config.access_key_id.reveal() if config.access_key_id else None,
            secret_access_key=config.secret_access_key,
            session_token=config.session_token,
            prefix=config.prefix,
        )
        super().__init__(backend, cache=cache)


class ChainSecretsManager(BackendSecretsManager):
    """Several backends in order. The next one is asked only where a path does not exist, never after a refusal."""

    def __init__(
        self,
        first: Backend | BackendSecretsManager,
        *rest: Backend | BackendSecretsManager,
        cache: SecretCacheConfig | None = None,
    ) -> None:
        backends = [one.backend if isinstance(one, BackendSecretsManager) else one for one in (first, *rest)]
        super().__init__(ChainBackend(*backends), cache=cache)


def vault_backend(config: VaultConfig) -> Backend:
    """Return the backend of a Vault, not logged in yet.

    Raises SecretsConfigurationError for a CA file that cannot be read, SecretBackendMissingError without `hvac`.
    """
    try:
        from elile.secrets.transport import VaultEndpoint
        from elile.secrets.vault import VaultClient
        from elile.secrets.vault_backend import KV1Backend, KV2Backend
        from elile.secrets.vault_session import VaultSession
    except ModuleNotFoundError as e:
        if e.name is None or e.name.startswith("elile"):
            raise
        raise SecretBackendMissingError(
            f"the package {e.name!r} is not installed; install elile[vault]", backend="vault"
        ) from None
    endpoint = VaultEndpoint(
        address=config.address,
        ca_pem=config.ca_pem or _read_ca(config.ca_file),
        server_name=config.server_name,
        timeout=config.timeout_seconds,
        pool=config.pool,
        namespace=config.namespace,
    )
    session = VaultSession(VaultClient(endpoint), _auth(config))
    kind = KV2Backend if config.kv_version == 2 else KV1Backend
    return kind(session, mount=config.mount)


def _auth(config: VaultConfig) -> Any:
    from elile.secrets.vault_session import AppRoleAuth, KubernetesAuth, TokenAuth

    match config.auth:
        case "token" if config.token is not None:
            return TokenAuth(config.token)
        case "approle" if config.role_id is not None and config.secret_id is not None:
            return AppRoleAuth(config.role_id, config.secret_id, config.login_mount)
        case "kubernetes" if config.role is not None:
            return KubernetesAuth(config.role, config.login_mount, config.jwt_path)
    raise AssertionError("the configuration has been checked")


def _read_ca(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        return file.read_text()
    except (OSError, ValueError) as e:
        what = e.strerror if isinstance(e, OSError) else "not text"
        raise SecretsConfigurationError(f"vault.ca_file {file} cannot be read ({what}); correct it") from None
