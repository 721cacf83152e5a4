"""Where secrets come from: configuration of each backend, and the choice among them by environment."""

import json
import os
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

from pydantic import Field, ValidationError, model_validator

from elile.secrets.config_sections import (
    PREFIX,
    AWSSecretsConfig,
    AzureKeyVaultConfig,
    EnvironmentConfig,
    GCPSecretManagerConfig,
    Section,
    VaultConfig,
    login_problems,
    raise_all,
    refused,
    sentence,
)
from elile.secrets.environment import MAX_FILE_BYTES, Variables
from elile.secrets.errors import SecretsConfigurationError, SecretsError
from elile.secrets.redact import SecretStr
from elile.secrets.types import problems_of

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

MOUNTED_ROOT = Path("/var/run/elile")
C = TypeVar("C", bound="SecretsConfig")
BackendName = Literal["vault", "aws", "azure", "gcp", "environment", "mounted", "memory"]


_SECTIONS: Mapping[str, tuple[str, type[Section]]] = MappingProxyType(
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


class SecretsConfig(Section):
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
        raise_all(_problems(dict(self)))
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
            raise refused([*problems, f"environment is none of {known}: choose one, or a backend ({prefix}BACKEND)"])
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
    model: type[Section],
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
    model: type[Section],
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
        problems = [*problems, *login_problems(vault)]
    sentences = [
        *problems,
        *(part for field, what in found.items() for part in sentence(field, _remedied(field, what)).split("; ")),
        *(_problems(data) if config is None else ()),
    ]
    if config is None or sentences:
        raise refused(sentences)
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
