"""Configuration: what production refuses, with all problems at once, and where each field may come from."""

import json
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, TypeAdapter, ValidationError

from elile.secrets.config import (
    AWSSecretsConfig,
    AzureKeyVaultConfig,
    EnvironmentConfig,
    GCPSecretManagerConfig,
    SecretsConfig,
    VaultConfig,
    create_secrets_config,
)
from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import SecretStr

CANARY = "canary-90cd"
VAULT = {"VAULT_ADDR": "https://vault:8200", "ELILE_SECRETS_VAULT_ROLE": "app"}


def refused(make: Callable[[], Any]) -> list[str]:
    """The problems that are told, after a look for values wherever they could be."""
    with pytest.raises(SecretsConfigurationError) as caught:
        make()
    error = caught.value
    assert error.__cause__ is None
    assert error.__context__ is None
    assert CANARY not in "".join(traceback.format_exception(error))
    return error.detail.split("; ")


def create(environment: str, environ: dict[str, str] | None = None, **overrides: Any) -> SecretsConfig:
    return create_secrets_config(environment, environ=environ or {}, **overrides)


# ── by environment ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_examples_of_the_document_run(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("ELILE_", "VAULT_", "BAO_"))]:
        monkeypatch.delenv(name)
    for name, value in VAULT.items():
        monkeypatch.setenv(name, value)
    assert create_secrets_config("production").backend == "vault"
    assert create_secrets_config("development").backend == "environment"


@pytest.mark.parametrize("environment", ["production", "prod", " Production "])
def test_production_uses_vault_by_the_service_account(environment: str) -> None:
    config = create(environment, VAULT)
    assert (config.backend, config.environment, config.is_production) == ("vault", "production", True)
    assert config.vault == VaultConfig(address="https://vault:8200", role="app")
    assert config.vault is not None
    assert (config.vault.auth, config.vault.login_mount, config.vault.kv_version) == ("kubernetes", "kubernetes", 2)


@pytest.mark.parametrize("environment", ["development", "dev", "test", "testing"])
def test_development_and_tests_use_variables(environment: str) -> None:
    config = create(environment, {"ELILE_SECRETS_ENV_PREFIX": "APP_"})
    assert (config.backend, config.env.prefix, config.is_production) == ("environment", "APP_", False)


def test_kubernetes_uses_mounted_folders() -> None:
    assert create("kubernetes").mounted_root == Path("/var/run/elile")
    config = create(
        "kubernetes", {"ELILE_SECRETS_MOUNTED_ROOT": "/m", "ELILE_SECRETS_MOUNTED_PATHS": '{"app/db": "/db"}'}
    )
    assert (config.backend, config.mounted_root, config.mounted_paths) == (
        "mounted",
        Path("/m"),
        {"app/db": Path("/db")},
    )
    for wrong in ("{", "[1]", f'"{CANARY}"', '{"a":' * 20000):
        assert "object" in refused(lambda: create("kubernetes", {"ELILE_SECRETS_MOUNTED_PATHS": wrong}))[0]  # noqa: B023


def test_another_environment_needs_a_backend_and_is_held_to_the_rules() -> None:
    [problem] = refused(lambda: create("staging"))
    assert "production, development, test, kubernetes" in problem
    assert "ELILE_SECRETS_BACKEND" in problem
    [problem] = refused(lambda: create("staging", backend="environment"))
    assert "the environment backend is refused in staging" in problem
    assert create("staging", VAULT, backend="vault").is_production


def test_with_nothing_set_production_names_the_variables_to_set() -> None:
    text = "; ".join(problems := refused(lambda: create("production")))
    assert len(problems) == 2
    for name in ("ELILE_SECRETS_VAULT_ADDRESS", "VAULT_ADDR", "BAO_ADDR", "ELILE_SECRETS_VAULT_ROLE"):
        assert name in text


def test_production_names_all_problems_at_once() -> None:
    environ = {
        "VAULT_ADDR": "http://vault:8200",
        "VAULT_SKIP_VERIFY": "true",
        "ELILE_SECRETS_VAULT_AUTH": "token",
        "VAULT_TOKEN": CANARY,
        "ELILE_SECRETS_CACHE_TTL_SECONDS": CANARY,
        "ELILE_SECRETS_VAULT_POOL": CANARY,
    }
    problems = refused(lambda: create("production", environ, allow_insecure=True))
    expected = ["VAULT_TOKEN holds a secret", "VAULT_SKIP_VERIFY switches", "vault.pool", "cache_ttl_seconds must"]
    expected += ["allow_insecure is refused", "vault.address does not use https"]
    assert sorted(p for p in problems for e in expected if p.startswith(e)) == sorted(problems)
    assert len(problems) == len(expected)


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        ({"VAULT_ADDR": "http://vault:8200"}, "vault.address does not use https: give an https address"),
        ({"VAULT_ADDR": "http://127.0.0.1:8200"}, "vault.address does not use https: give an https address"),
        ({"VAULT_ADDR": f"https://[{CANARY}"}, "vault.address must be a URL such as https://"),
        ({"BAO_SKIP_VERIFY": "1"}, "BAO_SKIP_VERIFY switches verification off"),
        ({"ELILE_SECRETS_VAULT_TOKEN": CANARY}, "set ELILE_SECRETS_VAULT_TOKEN_FILE"),
        ({"ELILE_SECRETS_VAULT_SECRET_ID": CANARY}, "set ELILE_SECRETS_VAULT_SECRET_ID_FILE"),
        ({"ELILE_SECRETS_VAULT_AUTH": "approle"}, "vault.role_id is missing"),
        ({"ELILE_SECRETS_VAULT_AUTH": CANARY}, "vault.auth is not one of the values that are known"),
        ({"ELILE_SECRETS_VAULT_TOKEN_FILE": f"/nowhere/{CANARY}"}, "that ELILE_SECRETS_VAULT_TOKEN_FILE names"),
        ({"ELILE_SECRETS_BACKEND": "environment"}, "allow_environment_in_production=True"),
        ({"ELILE_SECRETS_BACKEND": CANARY}, "backend is not one of the values that are known"),
    ],
)
def test_production_refuses(environ: dict[str, str], problem: str) -> None:
    assert problem in "; ".join(refused(lambda: create("production", VAULT | environ)))


@pytest.mark.parametrize(
    "environ", [{"VAULT_TOKEN": CANARY}, {"VAULT_SKIP_VERIFY": "false"}, {"VAULT_SKIP_VERIFY": "0"}]
)
def test_what_is_not_used_does_not_disturb_production(environ: dict[str, str]) -> None:
    config = create("production", VAULT | environ)
    assert config.vault is not None
    assert config.vault.token is None


def test_a_token_in_a_file_is_accepted_in_production(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{CANARY}\n")
    environ = VAULT | {"ELILE_SECRETS_VAULT_AUTH": "token", "ELILE_SECRETS_VAULT_TOKEN_FILE": str(tmp_path / "token")}
    config = create("production", environ)
    assert config.vault is not None
    assert config.vault.token == SecretStr(CANARY)


def test_the_environment_backend_can_be_permitted_by_name_only() -> None:
    config = create("production", backend="environment", allow_environment_in_production=True)
    assert config.backend == "environment"
    refused(lambda: create("production", {"ELILE_SECRETS_ALLOW_ENVIRONMENT_IN_PRODUCTION": "1"}, backend="environment"))


def test_overrides_win() -> None:
    config = create("production", VAULT, vault={"role": "other"}, cache_ttl_seconds=5, cache_enabled=False)
    assert config.vault is not None
    assert (config.vault.address, config.vault.role) == ("https://vault:8200", "other")
    assert (config.cache_ttl_seconds, config.cache_enabled) == (5.0, False)
    whole = VaultConfig(address="https://own", role="r")
    assert create("production", VAULT, vault=whole).vault == whole
    assert create("production", vault={"address": "https://own", "auth": "token", "token": CANARY}).vault is not None
    assert refused(lambda: create("development", unknown=CANARY)) == ["unknown is not known"]


def test_plain_http_outside_of_production() -> None:
    local = create("test", backend="vault", vault={"address": "http://127.0.0.1:8200", "role": "r"})
    assert local.vault is not None
    distant = {"address": "http://vault:8200", "role": "r"}
    [problem] = refused(lambda: create("test", backend="vault", vault=distant))
    assert "allow_insecure=True" in problem
    assert create("test", backend="vault", vault=distant, allow_insecure=True).allow_insecure


def test_development_takes_a_token_from_a_variable() -> None:
    environ = {"BAO_ADDR": "https://bao", "BAO_TOKEN": CANARY, "ELILE_SECRETS_VAULT_AUTH": "token"}
    config = create("development", environ, backend="vault")
    assert config.vault is not None
    assert config.vault.token == SecretStr(CANARY)
    assert CANARY not in f"{config} {config!r} {config.model_dump()} {config.model_dump_json()}"


# ── from variables and files ─────────────────────────────────────────────────────────────────────────────────────────


def test_every_field_of_vault_can_be_a_variable() -> None:
    environ = {
        "X_ENVIRONMENT": "prod",
        "X_VAULT_ADDRESS": "https://a",
        "VAULT_ADDR": "https://ignored",
        "VAULT_NAMESPACE": "ns",
        "VAULT_CACERT": "/ca.pem",
        "BAO_TLS_SERVER_NAME": "name",
        "X_VAULT_ROLE": "r",
        "X_VAULT_MOUNT": "kv",
        "X_VAULT_KV_VERSION": "1",
        "X_VAULT_AUTH_MOUNT": "k8s",
        "X_VAULT_JWT_PATH": "/jwt",
        "X_VAULT_TIMEOUT_SECONDS": "2.5",
        "X_VAULT_POOL": "3",
        "X_CACHE_ENABLED": "false",
        "X_CACHE_MAX_ENTRIES": "7",
        "X_STALE_IF_ERROR_SECONDS": "0",
    }
    config = SecretsConfig.from_environ(environ, prefix="X_")
    assert config.vault == VaultConfig(
        address="https://a",
        namespace="ns",
        ca_file=Path("/ca.pem"),
        server_name="name",
        role="r",
        mount="kv",
        kv_version=1,
        auth_mount="k8s",
        jwt_path=Path("/jwt"),
        timeout_seconds=2.5,
        pool=3,
    )
    assert config.vault.login_mount == "k8s"
    assert (config.cache_enabled, config.cache_max_entries, config.stale_if_error_seconds) == (False, 7, 0.0)


def test_without_variables_it_is_development() -> None:
    assert SecretsConfig.from_environ({}).backend == "environment"


def test_other_backends_by_variables() -> None:
    def made(**environ: str) -> SecretsConfig:
        return SecretsConfig.from_environ(environ)

    aws = made(
        ELILE_SECRETS_BACKEND="aws",
        AWS_REGION="eu-central-1",
        ELILE_SECRETS_AWS_ACCESS_KEY_ID="id",
        ELILE_SECRETS_AWS_SECRET_ACCESS_KEY=CANARY,
    )
    assert aws.aws == AWSSecretsConfig(region="eu-central-1", access_key_id="id", secret_access_key=CANARY)
    azure = made(ELILE_SECRETS_BACKEND="azure", ELILE_SECRETS_AZURE_VAULT_URL="https://v.vault.azure.net")
    assert azure.azure == AzureKeyVaultConfig(vault_url="https://v.vault.azure.net")
    gcp = made(ELILE_SECRETS_BACKEND="gcp", GOOGLE_CLOUD_PROJECT="p")
    assert gcp.gcp == GCPSecretManagerConfig(project_id="p")
    assert made(ELILE_SECRETS_BACKEND="memory").backend == "memory"
    assert "ELILE_SECRETS_AWS_REGION or AWS_REGION" in "; ".join(refused(lambda: made(ELILE_SECRETS_BACKEND="aws")))


def test_production_refuses_the_keys_of_others_in_variables() -> None:
    environ = {
        "ELILE_SECRETS_BACKEND": "aws",
        "AWS_REGION": "r",
        "ELILE_SECRETS_AWS_ENDPOINT_URL": "http://127.0.0.1",
        "ELILE_SECRETS_AWS_ACCESS_KEY_ID": CANARY,
        "ELILE_SECRETS_AWS_SECRET_ACCESS_KEY": CANARY,
    }
    problems = refused(lambda: create("production", environ))
    assert [p.split(" ")[0] for p in problems] == [
        "ELILE_SECRETS_AWS_ACCESS_KEY_ID",
        "ELILE_SECRETS_AWS_SECRET_ACCESS_KEY",
        "aws.endpoint_url",
    ]


def test_a_variable_and_its_file_exclude_each_other() -> None:
    [problem] = refused(
        lambda: SecretsConfig.from_environ({"ELILE_SECRETS_BACKEND": "memory", "ELILE_SECRETS_BACKEND_FILE": CANARY})
    )
    assert problem == "ELILE_SECRETS_BACKEND and ELILE_SECRETS_BACKEND_FILE are both set: remove one of them"


def test_files_are_json_or_toml(tmp_path: Path) -> None:
    wanted = SecretsConfig(backend="vault", environment="production", vault=VaultConfig(address="https://v", role="r"))
    (tmp_path / "c.json").write_text(
        json.dumps({"backend": "vault", "environment": "production", "vault": {"address": "https://v", "role": "r"}})
    )
    (tmp_path / "c.toml").write_text(
        'backend = "vault"\nenvironment = "production"\n[vault]\naddress = "https://v"\nrole = "r"\n'
    )
    assert SecretsConfig.from_file(tmp_path / "c.json") == wanted
    assert SecretsConfig.from_file(str(tmp_path / "c.toml")) == wanted


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("c.json", b'{"backend": "' + CANARY.encode(), "is neither JSON nor"),
        ("c.toml", b'backend = "' + CANARY.encode(), "is neither JSON nor"),
        ("c.json", b"\xff" + CANARY.encode(), "is neither JSON nor"),
        ("c.json", b'{"a":' * 50000, "is neither JSON nor"),
        ("c.json", b'["' + CANARY.encode() + b'"]', "must hold an object"),
        ("c.json", b"x" * (1024 * 1024 + 1), "is larger than 1048576 bytes"),
        ("c.json", b'{"backend": "vault", "vault": {"token": "' + CANARY.encode() + b'"}}', "vault.address is missing"),
        ("c.json", b'{"backend": "memory", "cache_enabled": "' + CANARY.encode() + b'"}', "cache_enabled must be true"),
        ("c.json", b'{"backend": "environment", "environment": "production"}', "is refused in production"),
    ],
)
def test_files_that_cannot_be_used(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert problem in "; ".join(refused(lambda: SecretsConfig.from_file(tmp_path / name)))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(SecretsConfigurationError, match=r"gone\.json: cannot be read: check that it is there"):
        SecretsConfig.from_file(tmp_path / "gone.json")


# ── the models ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("make", "problems"),
    [
        (lambda: VaultConfig(role="r"), ["address is missing"]),
        (lambda: VaultConfig(address="", role="r"), ["address is empty"]),
        (lambda: VaultConfig(address="https://v"), ["vault.role is missing, which auth 'kubernetes' needs"]),
        (lambda: VaultConfig(address="https://v", auth="token", role="r"), ["vault.token is missing"]),
        (lambda: VaultConfig(address="https://v", auth="approle", role_id="r"), ["vault.secret_id is missing"]),
        (lambda: VaultConfig(address="https://v", auth="approle"), ["vault.role_id is", "vault.secret_id is missing"]),
        (lambda: VaultConfig(address=CANARY), ["vault.address must be a URL", "vault.role is missing"]),
        (lambda: VaultConfig(address=f"https://v:{CANARY}", role="r"), ["vault.address must be a URL"]),
        (lambda: VaultConfig(address=f"https://[{CANARY}", role="r"), ["vault.address must be a URL"]),
        (lambda: VaultConfig(address=f"ftp://{CANARY}", role="r"), ["vault.address must be a URL"]),
        (lambda: VaultConfig(address=f"https://u:{CANARY}@v", role="r"), ["vault.address must not hold a user"]),
        (lambda: VaultConfig(address=f"https://v?t={CANARY}", role="r"), ["vault.address must not hold a user"]),
        (lambda: VaultConfig(address="https://v", role="r", kv_version=CANARY), ["kv_version is not one"]),
        (lambda: VaultConfig(address="https://v", role="r", kv_version=3), ["kv_version is not one"]),
        (lambda: VaultConfig(address="https://v", role="r", token=[CANARY]), ["token must be text"]),
        (lambda: VaultConfig(address="https://v", role="r", timeout_seconds=0), ["timeout_seconds is too small"]),
        (
            lambda: VaultConfig(address="https://v", role="r", timeout_seconds="nan"),
            ["timeout_seconds must be a number"],
        ),
        (lambda: VaultConfig(address="https://v", role="r", pool=0, mount=""), ["mount is empty", "pool is too small"]),
        (lambda: VaultConfig(address="https://v", role="r", tokn=CANARY), ["tokn is not known"]),
        (
            lambda: VaultConfig(address="https://v", role="r", ca_file="/a", ca_pem="b"),
            ["vault.ca_file and vault.ca_pem"],
        ),
        (lambda: AWSSecretsConfig(region=""), ["region is empty"]),
        (lambda: AWSSecretsConfig(region="r", access_key_id=CANARY), ["aws.access_key_id and aws.secret_access_key"]),
        (lambda: AWSSecretsConfig(region="r", session_token=CANARY), ["aws.session_token belongs"]),
        (lambda: AWSSecretsConfig(region="r", endpoint_url=CANARY), ["aws.endpoint_url must be a URL"]),
        (lambda: AzureKeyVaultConfig(vault_url=CANARY), ["azure.vault_url must be a URL"]),
        (lambda: AzureKeyVaultConfig(vault_url="https://v", client_secret=CANARY), ["azure.client_secret needs"]),
        (GCPSecretManagerConfig, ["project_id is missing"]),
        (lambda: EnvironmentConfig(prefx="x"), ["prefx is not known"]),
        (lambda: SecretsConfig(backend=CANARY), ["backend is not one of the values that are known"]),
        (lambda: SecretsConfig(backend="vault"), ["vault is missing, which the backend needs"]),
        (lambda: SecretsConfig(backend="mounted"), ["mounted_root is missing"]),
        (lambda: SecretsConfig(backend="memory", cache_max_entries=0), ["cache_max_entries is too small"]),
        (lambda: SecretsConfig(backend="memory", cache_ttl_seconds="inf"), ["cache_ttl_seconds must be a number"]),
        (
            lambda: SecretsConfig(backend="vault", vault={"address": [CANARY], "pool": CANARY}, aws={"x": CANARY}),
            [
                "vault.address must be text",
                "vault.pool must be an integer",
                "aws.region is missing",
                "aws.x is not known",
            ],
        ),
        (
            lambda: SecretsConfig(
                backend="aws", environment="production", aws=AWSSecretsConfig(region="r", endpoint_url="http://x")
            ),
            ["aws.endpoint_url does not use https"],
        ),
        (
            lambda: SecretsConfig(backend="azure", environment="x", azure=AzureKeyVaultConfig(vault_url="http://x")),
            ["azure.vault_url does not use https"],
        ),
    ],
)
def test_models_name_fields_and_no_values(make: Callable[[], Any], problems: list[str]) -> None:
    told = refused(make)
    assert len(told) == len(problems)
    assert [(t, p) for t, p in zip(told, problems, strict=True) if not t.startswith(p)] == []


def test_defaults() -> None:
    config = SecretsConfig(backend="memory")
    assert (config.environment, config.cache_enabled, config.cache_ttl_seconds) == ("development", True, 300.0)
    assert (config.cache_max_entries, config.stale_if_error_seconds) == (1000, 900.0)
    vault = VaultConfig(address="https://v", role="r")
    assert (vault.mount, vault.timeout_seconds, vault.pool) == ("secret", 10.0, 8)
    assert vault.jwt_path == Path("/var/run/secrets/kubernetes.io/serviceaccount/token")
    assert VaultConfig(address="https://v", auth="approle", role_id="r", secret_id="s").login_mount == "approle"
    assert SecretsConfig(backend="mounted", mounted_paths={"a": Path("/a")}).mounted_root is None


def test_models_are_frozen() -> None:
    config = SecretsConfig(backend="memory")
    with pytest.raises(ValidationError, match="frozen"):
        config.backend = "vault"


class Settings(BaseModel):
    """A model of an application that holds ours."""

    secrets: SecretsConfig


def test_inside_of_other_models_errors_hold_no_values_either() -> None:
    data = {"backend": "vault", "vault": {"token": CANARY, "pool": CANARY, CANARY[:6]: CANARY}}
    for validate in (
        lambda: Settings(secrets=data),
        lambda: SecretsConfig.model_validate(data),
        lambda: TypeAdapter(list[SecretsConfig]).validate_python([data]),
    ):
        with pytest.raises(ValidationError) as caught:
            validate()
        printed = [str(caught.value), repr(caught.value.errors()), caught.value.json()]
        assert CANARY not in "".join([*printed, *traceback.format_exception(caught.value)])
        assert "vault.pool" in printed[0]
