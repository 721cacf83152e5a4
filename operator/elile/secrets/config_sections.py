"""Configuration of each backend, checked by itself."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError, model_validator

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import SecretStr
from elile.secrets.types import ValueFreeModel, problems_of

__all__ = [
    "LOGIN",
    "PREFIX",
    "AWSSecretsConfig",
    "AzureKeyVaultConfig",
    "EnvironmentConfig",
    "GCPSecretManagerConfig",
    "Section",
    "VaultConfig",
    "address_problems",
    "login_problems",
    "raise_all",
    "refused",
    "sentence",
]

PREFIX = "ELILE_SECRETS_"


class Section(ValueFreeModel):
    model_config = ConfigDict(extra="forbid")

    def __init__(self, **data: Any) -> None:
        """Raises SecretsConfigurationError, which names all fields that are wrong, without their values."""
        problems: Mapping[str, str] = {}
        try:
            super().__init__(**data)
        except ValidationError as e:
            problems = problems_of(e)
        if problems:
            raise refused(sentence(field, what) for field, what in problems.items())

    # Only what a caller builds goes through __init__: a model inside of another reports to the outer one.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined] # as pydantic marks its own


def sentence(field: str, what: str) -> str:
    # Checks of ours over several fields say all by themselves.
    return what if what.endswith(".") else f"{field} {what}"


def refused(problems: Iterable[str]) -> SecretsConfigurationError:
    return SecretsConfigurationError("; ".join(dict.fromkeys(p.removesuffix(".") for p in problems)), backend="")


class VaultConfig(Section):
    """HashiCorp Vault or OpenBao.

    `address` is scheme, host and port. `auth` chooses what is used of the rest: `token`; `role_id` and `secret_id`; or
    `role` with the ServiceAccount token at `jwt_path`, which is read at every login. `auth_mount` is where the auth
    method is mounted, by default at its own name. `ca_file` or `ca_pem` replace the system's certificate authorities;
    `server_name` is the name the certificate must hold, when it is not the host. `pool` counts connections kept open.
    """

    address: str = Field(min_length=1)
    namespace: str | None = None
    mount: str = Field("secret", min_length=1)
    kv_version: Literal[1, 2] = 2
    auth: Literal["token", "approle", "kubernetes"] = "kubernetes"
    token: SecretStr | None = None
    role_id: str | None = None
    secret_id: SecretStr | None = None
    role: str | None = None
    jwt_path: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    auth_mount: str | None = None
    ca_file: Path | None = None
    ca_pem: str | None = None
    server_name: str | None = None
    timeout_seconds: float = Field(10.0, gt=0, le=600, allow_inf_nan=False)
    pool: int = Field(8, ge=1, le=256)

    @property
    def login_mount(self) -> str:
        """Where the auth method is mounted."""
        return self.auth_mount or self.auth

    @model_validator(mode="before")
    @classmethod
    def _accept_texts(cls, data: Any) -> Any:
        # A variable holds texts only, and a Literal of numbers takes none.
        if isinstance(data, dict) and data.get("kv_version") in ("1", "2"):
            return {**data, "kv_version": int(data["kv_version"])}
        return data

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        raise_all([*address_problems("vault.address", self.address), *login_problems(dict(self)), *self._ca()])
        return self

    def _ca(self) -> list[str]:
        return ["vault.ca_file and vault.ca_pem exclude each other: give one"] if self.ca_file and self.ca_pem else []


def raise_all(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems) + ".")


def address_problems(field: str, address: str) -> list[str]:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        plain = not (parts.username or parts.password or parts.query or parts.fragment)
    except ValueError:
        usable = plain = False
    if not usable:
        return [f"{field} must be a URL such as https://vault.example.com:8200"]
    return [] if plain else [f"{field} must not hold a user, a password or a query: take them out"]


# What each auth method cannot do without, and how to give it.
LOGIN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "token": {"token": f"set {PREFIX}VAULT_TOKEN_FILE to a file that holds it"},
        "approle": {
            "role_id": f"set {PREFIX}VAULT_ROLE_ID",
            "secret_id": f"set {PREFIX}VAULT_SECRET_ID_FILE to a file that holds it",
        },
        "kubernetes": {"role": f"set {PREFIX}VAULT_ROLE to the role of the auth method"},
    }
)


def login_problems(vault: Mapping[str, Any]) -> list[str]:
    auth = str(vault.get("auth") or "kubernetes")
    return [
        f"vault.{field} is missing, which auth {auth!r} needs: {remedy}"
        for field, remedy in LOGIN.get(auth, {}).items()
        if not vault.get(field)
    ]


class AWSSecretsConfig(Section):
    """AWS Secrets Manager. `prefix` is put before each path; without keys, boto3 looks for credentials itself."""

    region: str = Field(min_length=1)
    endpoint_url: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    prefix: str = ""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        problems = address_problems("aws.endpoint_url", self.endpoint_url) if self.endpoint_url is not None else []
        if bool(self.access_key_id) != bool(self.secret_access_key):
            problems.append("aws.access_key_id and aws.secret_access_key go together: give both or none")
        if self.session_token and not self.access_key_id:
            problems.append("aws.session_token belongs to aws.access_key_id: give both or none")
        raise_all(problems)
        return self


class AzureKeyVaultConfig(Section):
    """Azure Key Vault, by the service principal `client_id`; or by the identity of the workload, without a secret."""

    vault_url: str = Field(min_length=1)
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        problems = address_problems("azure.vault_url", self.vault_url)
        if self.client_secret and not (self.tenant_id and self.client_id):
            problems.append("azure.client_secret needs azure.tenant_id and azure.client_id: give them")
        raise_all(problems)
        return self


class GCPSecretManagerConfig(Section):
    """Google Secret Manager; without a file, by the identity of the workload."""

    project_id: str = Field(min_length=1)
    credentials_file: Path | None = None


class EnvironmentConfig(Section):
    """Environment variables; `prefix` is put before each name."""

    prefix: str = ""
