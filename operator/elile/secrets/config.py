"""Where secrets come from: configuration of each backend, and the choice among them by environment."""

import json
import os
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import ConfigDict, Field, ValidationError, model_validator

from elile.secrets.environment import MAX_FILE_BYTES, Variables
from elile.secrets.errors import SecretsConfigurationError, SecretsError
from elile.secrets.redact import SecretStr
from elile.secrets.types import ValueFreeModel, problems_of

__all__ = [
    "AWSSecretsConfig",
    "AzureKeyVaultConfig",
    "BackendName",
    "EnvironmentConfig",
    "GCPSecretManagerConfig",
    "SecretsConfig",
    "VaultConfig",
    "create_secrets_config",
]

PREFIX = "ELILE_SECRETS_"
MOUNTED_ROOT = Path("/var/run/elile")
C = TypeVar("C", bound="SecretsConfig")
BackendName = Literal["vault", "aws", "azure", "gcp", "environment", "mounted", "memory"]


class _Config(ValueFreeModel):
    model_config = ConfigDict(extra="forbid")

    def __init__(self, **data: Any) -> None:
        """Raises SecretsConfigurationError, which names all fields that are wrong, without their values."""
        problems: Mapping[str, str] = {}
        try:
            super().__init__(**data)
        except ValidationError as e:
            problems = problems_of(e)
        if problems:
            raise _refused(_sentence(field, what) for field, what in problems.items())

    # Only what a caller builds goes through __init__: a model inside of another reports to the outer one.
    __init__.__pydantic_base_init__ = True  # type: ignore[attr-defined] # as pydantic marks its own


def _sentence(field: str, what: str) -> str:
    # Checks of ours over several fields say all by themselves.
    return what if what.endswith(".") else f"{field} {what}"


def _refused(problems: Iterable[str]) -> SecretsConfigurationError:
    return SecretsConfigurationError("; ".join(dict.fromkeys(p.removesuffix(".") for p in problems)), backend="")


class VaultConfig(_Config):
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
        _raise_all([*_address_problems("vault.address", self.address), *_login_problems(dict(self)), *self._ca()])
        return self

    def _ca(self) -> list[str]:
        return ["vault.ca_file and vault.ca_pem exclude each other: give one"] if self.ca_file and self.ca_pem else []


def _raise_all(problems: list[str]) -> None:
    if problems:
        raise ValueError("; ".join(problems) + ".")


def _address_problems(field: str, address: str) -> list[str]:
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
_LOGIN: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "token": {"token": f"set {PREFIX}VAULT_TOKEN_FILE to a file that holds it"},
        "approle": {
            "role_id": f"set {PREFIX}VAULT_ROLE_ID",
            "secret_id": f"set {PREFIX}VAULT_SECRET_ID_FILE to a file that holds it",
        },
        "kubernetes": {"role": f"set {PREFIX}VAULT_ROLE to the role of the auth method"},
    }
)


def _login_problems(vault: Mapping[str, Any]) -> list[str]:
    auth = str(vault.get("auth") or "kubernetes")
    return [
        f"vault.{field} is missing, which auth {auth!r} needs: {remedy}"
        for field, remedy in _LOGIN.get(auth, {}).items()
        if not vault.get(field)
    ]


class AWSSecretsConfig(_Config):
    """AWS Secrets Manager. `prefix` is put before each path; without keys, boto3 looks for credentials itself."""

    region: str = Field(min_length=1)
    endpoint_url: str | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None
    prefix: str = ""

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        problems = _address_problems("aws.endpoint_url", self.endpoint_url) if self.endpoint_url is not None else []
        if bool(self.access_key_id) != bool(self.secret_access_key):
            problems.append("aws.access_key_id and aws.secret_access_key go together: give both or none")
        if self.session_token and not self.access_key_id:
            problems.append("aws.session_token belongs to aws.access_key_id: give both or none")
        _raise_all(problems)
        return self


class AzureKeyVaultConfig(_Config):
    """Azure Key Vault, by the service principal `client_id`; or by the identity of the workload, without a secret."""

    vault_url: str = Field(min_length=1)
    tenant_id: str | None = None
    client_id: str | None = None
    client_secret: SecretStr | None = None

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        problems = _address_problems("azure.vault_url", self.vault_url)
        if self.client_secret and not (self.tenant_id and self.client_id):
            problems.append("azure.client_secret needs azure.tenant_id and azure.client_id: give them")
        _raise_all(problems)
        return self


class GCPSecretManagerConfig(_Config):
    """Google Secret Manager; without a file, by the identity of the workload."""

    project_id: str = Field(min_length=1)
    credentials_file: Path | None = None


class EnvironmentConfig(_Config):
    """Environment variables; `prefix` is put before each name."""

    prefix: str = ""


_SECTIONS: Mapping[str, tuple[str, type[_Config]]] = MappingProxyType(
    {
        "vault": ("vault", VaultConfig),
        "aws": ("aws", AWSSecretsConfig),
        "azure": ("azure", AzureKeyVaultConfig),
        "gcp": ("gcp", GCPSecretManagerConfig),
        "environment": ("env", EnvironmentConfig),
    }
)
_ALIASES: Mapping[str, str] = MappingProxyType({"prod": "production", "dev": "development", "testing": "test"})
_BACKENDS: Mapping[str, str] = MappingProxyType(
    {"production": "vault", "development": "environment", "test": "environment", "kubernetes": "mounted"}
)
_RELAXED = ("development", "test")  # a name that nobody thought of is treated as production


class SecretsConfig(_Config):
    """Which backend is used, how it is reached, and how long its answers are kept.

    `cache_ttl_seconds` is how long an answer is used without asking again, `stale_if_error_seconds` how much longer
    while the backend does not answer. `allow_insecure` permits plain http to other hosts than this one, outside of
    production. `mounted_paths` names the folder of a path that is not below `mounted_root`.

    Every environment but "development" and "test" is held to the rules of production: https, and no environment backend
    unless `allow_environment_in_production`. SecretsConfigurationError names all problems at once.
    """

    backend: BackendName
    environment: str = Field("development", min_length=1)
    vault: VaultConfig | None = None
    aws: AWSSecretsConfig | None = None
    azure: AzureKeyVaultConfig | None = None
    gcp: GCPSecretManagerConfig | None = None
    env: EnvironmentConfig = Field(default_factory=EnvironmentConfig)
    mounted_root: Path | None = None
    mounted_paths: Mapping[str, Path] = Field(default_factory=dict)
    cache_enabled: bool = True
    cache_ttl_seconds: float = Field(300.0, gt=0, allow_inf_nan=False)
    cache_max_entries: int = Field(1000, ge=1)
    stale_if_error_seconds: float = Field(900.0, ge=0, allow_inf_nan=False)
    allow_environment_in_production: bool = False
    allow_insecure: bool = False

    @property
    def is_production(self) -> bool:
        """Whether the rules of production apply."""
        return _normal(self.environment) not in _RELAXED

    @model_validator(mode="after")
    def _may_be_used(self) -> Self:
        _raise_all(_problems(dict(self)))
        return self

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] = os.environ, prefix: str = PREFIX) -> Self:
        """Read variables: <prefix>BACKEND, <prefix>ENVIRONMENT, and each field by its name, as <prefix>VAULT_ADDRESS.

        Each may be given as NAME_FILE. Without <prefix>BACKEND the environment decides (default "development"), as in
        `create_secrets_config`; the permissions `allow_…` are not read from variables. Raises
        SecretsConfigurationError.
        """
        problems: list[str] = []
        environment = _texts(environ, problems)(f"{prefix}ENVIRONMENT") or "development"
        return cls._assembled(environment, environ, prefix, {}, problems)

    @classmethod
    def from_file(cls, path: Path | str) -> Self:
        """Read JSON, or TOML where the name ends so. Raises SecretsConfigurationError, with names of fields only."""
        problem = data = None
        try:
            with Path(path).open("rb") as file:
                content = file.read(MAX_FILE_BYTES + 1)
            if len(content) > MAX_FILE_BYTES:
                problem = f"is larger than {MAX_FILE_BYTES} bytes"
            else:
                text = content.decode()
                data = tomllib.loads(text) if Path(path).suffix == ".toml" else json.loads(text)
        except OSError:
            problem = "cannot be read: check that it is there and may be read"
        except (ValueError, RecursionError):  # these keep the text of the file, so they end here
            problem = "is neither JSON nor, with a name that ends in .toml, TOML"
        if problem is None and not isinstance(data, dict):
            problem = "must hold an object"
        if problem is not None:
            raise SecretsConfigurationError(problem, path=str(path), backend="")
        return _built(cls, data or {}, [])

    @classmethod
    def _assembled(
        cls,
        environment: str,
        environ: Mapping[str, str],
        prefix: str,
        overrides: Mapping[str, Any],
        problems: list[str],
    ) -> Self:
        environment = _normal(environment)
        text = _texts(environ, problems)
        data: dict[str, Any] = {"environment": environment}
        for field in ("cache_enabled", "cache_ttl_seconds", "cache_max_entries", "stale_if_error_seconds"):
            if (found := text(prefix + field.upper())) is not None:
                data[field] = found
        backend = overrides.get("backend") or text(f"{prefix}BACKEND") or _BACKENDS.get(environment)
        if backend is None:
            known = ", ".join(_BACKENDS)
            raise _refused([*problems, f"environment is none of {known}: choose one, or a backend ({prefix}BACKEND)"])
        if backend == "mounted":
            data |= _mounted(text, prefix, problems)
        data |= {"backend": backend, **overrides}
        if section := _SECTIONS.get(str(backend)):
            field, model = section
            given = overrides.get(field)
            if given is None or isinstance(given, Mapping):
                data[field] = _section(field, model, given or {}, environ, prefix, problems)
                if environment not in _RELAXED:
                    problems += _exposed(field, model, given or {}, data[field], environ, prefix)
        return _built(cls, data, problems)


def create_secrets_config(
    environment: str, *, environ: Mapping[str, str] = os.environ, **overrides: Any
) -> SecretsConfig:
    """Return the configuration for "production" (Vault), "development", "test" (variables) or "kubernetes" (mounted).

    Details come from variables ELILE_SECRETS_…, as in `SecretsConfig.from_environ`; for Vault also from VAULT_ADDR,
    VAULT_ROLE, VAULT_NAMESPACE, VAULT_CACERT and BAO_ADDR and so on. `overrides` are fields of SecretsConfig and win;
    one for `vault` and the like may be a mapping with some of the fields.

    Raises SecretsConfigurationError with all problems and what to do about each. Production refuses: no https,
    verification switched off, a token or another secret in a variable itself (a file is fine), the environment backend
    unless `allow_environment_in_production`, a missing address or role.
    """
    return SecretsConfig._assembled(environment, environ, PREFIX, overrides, [])


def _normal(environment: str) -> str:
    name = environment.strip().lower()
    return _ALIASES.get(name, name)


# ── reading variables ────────────────────────────────────────────────────────────────────────────────────────────────

# Names that the tools of each backend read as well.
_ALSO: Mapping[str, Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "vault": {
            "address": ("VAULT_ADDR", "BAO_ADDR"),
            "namespace": ("VAULT_NAMESPACE", "BAO_NAMESPACE"),
            "role": ("VAULT_ROLE", "BAO_ROLE"),
            "ca_file": ("VAULT_CACERT", "BAO_CACERT"),
            "server_name": ("VAULT_TLS_SERVER_NAME", "BAO_TLS_SERVER_NAME"),
            "token": ("VAULT_TOKEN", "BAO_TOKEN"),
        },
        "aws": {"region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
        "azure": {"tenant_id": ("AZURE_TENANT_ID",), "client_id": ("AZURE_CLIENT_ID",)},
        "gcp": {
            "project_id": ("GOOGLE_CLOUD_PROJECT",),
            "credentials_file": ("GOOGLE_APPLICATION_CREDENTIALS",),
        },
    }
)
_SECRETS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "vault": ("token", "secret_id"),
        "aws": ("access_key_id", "secret_access_key", "session_token"),
        "azure": ("client_secret",),
    }
)
_NO_VERIFICATION = ("VAULT_SKIP_VERIFY", "BAO_SKIP_VERIFY")


def _values(environ: Mapping[str, str], problems: list[str]) -> Callable[[str], SecretStr | None]:
    variables = Variables(environ)

    def value(name: str) -> SecretStr | None:
        try:
            return variables.get(name)
        except SecretsError as e:
            problems.append(str(e))
            return None

    return value


def _texts(environ: Mapping[str, str], problems: list[str]) -> Callable[[str], str | None]:
    value = _values(environ, problems)

    def text(name: str) -> str | None:
        return found.reveal() if (found := value(name)) is not None else None

    return text


def _names(section: str, field: str, prefix: str, auth: str) -> tuple[str, ...]:
    # Whoever logs in otherwise has not asked for the token that the command line tool left behind.
    also = () if (field, section) == ("token", "vault") and auth != "token" else _ALSO.get(section, {}).get(field, ())
    return f"{prefix}{section.upper()}_{field.upper()}", *also


def _section(
    section: str,
    model: type[_Config],
    given: Mapping[str, Any],
    environ: Mapping[str, str],
    prefix: str,
    problems: list[str],
) -> dict[str, Any]:
    value = _values(environ, problems)
    wanted = value(f"{prefix}{section.upper()}_AUTH")
    auth = str(given.get("auth") or (wanted.reveal() if wanted else ""))
    found: dict[str, Any] = {}
    for field in model.model_fields:
        if field in given:
            continue
        for name in _names(section, field, prefix, auth):
            if (text := value(name)) is not None:
                found[field] = text if field in _SECRETS.get(section, ()) else text.reveal()
                break
    return {**found, **given}


def _exposed(
    section: str,
    model: type[_Config],
    given: Mapping[str, Any],
    data: Mapping[str, Any],
    environ: Mapping[str, str],
    prefix: str,
) -> list[str]:
    variables, auth = Variables(environ), str(data.get("auth") or "")
    secrets = [field for field in _SECRETS.get(section, ()) if field in model.model_fields and field not in given]
    plain = [name for field in secrets for name in _names(section, field, prefix, auth) if variables.is_plain(name)]
    problems = [
        f"{name} holds a secret, which production does not take from a variable: "
        f"put it into a file and set {name}_FILE, or use the workload's identity"
        for name in plain
    ]
    if section == "vault":
        problems += [
            f"{name} switches verification off, which production refuses: remove it, and give the authority that "
            f"signed the server's certificate in {prefix}VAULT_CA_FILE"
            for name in (*_NO_VERIFICATION, f"{prefix}VAULT_SKIP_VERIFY")
            if environ.get(name, "").strip().lower() not in ("", "0", "f", "false", "no")
        ]
    return problems


def _mounted(text: Callable[[str], str | None], prefix: str, problems: list[str]) -> dict[str, Any]:
    paths: Any = {}
    if (found := text(f"{prefix}MOUNTED_PATHS")) is not None:
        try:
            paths = json.loads(found)
        except (ValueError, RecursionError):
            problems.append(f"{prefix}MOUNTED_PATHS must be a JSON object of paths and folders")
    return {"mounted_root": text(f"{prefix}MOUNTED_ROOT") or MOUNTED_ROOT, "mounted_paths": paths}


# ── judging ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def _built(cls: type[C], data: Mapping[str, Any], problems: list[str]) -> C:
    config: C | None = None
    found: dict[str, str] = {}
    try:
        config = cls.model_validate(dict(data))
    except ValidationError as e:
        found = problems_of(e)
    vault = data.get("vault")
    if config is None and isinstance(vault, Mapping):
        # Checks over several fields do not run while one of the fields is wrong; all is to be said at once.
        problems = [*problems, *_login_problems(vault)]
    sentences = [
        *problems,
        *(
            sentence
            for field, what in found.items()
            for sentence in _sentence(field, _remedied(field, what)).split("; ")
        ),
        *(_problems(data) if config is None else ()),
    ]
    if config is None or sentences:
        raise _refused(sentences)
    return config


def _remedied(field: str, what: str) -> str:
    section, _, name = field.partition(".")
    if what not in ("is missing", "is empty") or section not in _ALSO or not name:
        return what
    return f"{what}: set {' or '.join(_names(section, name, PREFIX, ''))}"


def _problems(data: Mapping[str, Any]) -> list[str]:
    """Say what cannot be used together, of fields that may themselves be wrong."""
    environment, backend = _normal(str(data.get("environment") or "development")), data.get("backend")
    production = environment not in _RELAXED
    problems: list[str] = []
    section = _SECTIONS.get(str(backend), ("env", EnvironmentConfig))[0]
    if data.get(section) is None and section != "env":
        problems.append(f"{section} is missing, which the backend needs: configure it")
    if backend == "mounted" and not (data.get("mounted_root") or data.get("mounted_paths")):
        problems.append("mounted_root is missing: name the folder that secrets are mounted below")
    if production and backend == "environment" and data.get("allow_environment_in_production") is not True:
        problems.append(
            f"the environment backend is refused in {environment}: use vault or mounted, or pass "
            "allow_environment_in_production=True"
        )
    if production and data.get("allow_insecure"):
        problems.append(f"allow_insecure is refused in {environment}: remove it, and give the server's authority")
    for name, field in (("vault", "address"), ("aws", "endpoint_url"), ("azure", "vault_url")):
        if name == backend and not _is_protected(_field(data.get(name), field), data, production=production):
            unless = "" if production else ", or allow_insecure=True where nobody listens"
            problems.append(f"{name}.{field} does not use https: give an https address{unless}")
    return problems


def _field(section: Any, field: str) -> Any:
    return section.get(field) if isinstance(section, Mapping) else getattr(section, field, None)


def _is_protected(address: Any, data: Mapping[str, Any], *, production: bool) -> bool:
    try:
        parts = urlsplit(address if isinstance(address, str) else "")
        host = parts.hostname
    except ValueError:
        return True  # reported as no URL
    if parts.scheme != "http":
        return True
    return not production and (bool(data.get("allow_insecure")) or host in ("127.0.0.1", "::1", "localhost"))
