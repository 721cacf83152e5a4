"""The settings of the operator: command line, then environment (`ELILE_…`), then the defaults below."""

from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.rotation.egress import EgressRule

__all__ = ["EgressAllow", "LogFormat", "LogLevel", "Scope", "Settings"]


class LogFormat(StrEnum):
    """How a log line looks."""

    JSON = "json"
    CONSOLE = "console"


class LogLevel(StrEnum):
    """From which level on lines are written."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


def _seconds(given: Any) -> Any:
    """A command line has only text; pydantic takes numbers for seconds, and text for ISO 8601."""
    try:
        return float(given) if isinstance(given, str) else given
    except ValueError:
        return given


Seconds = Annotated[timedelta, BeforeValidator(_seconds)]


class Scope(StrEnum):
    """Where Secrets are read and written."""

    NAMESPACES = "namespaces"
    CLUSTER = "cluster"


class EgressAllow(BaseModel):
    """Where rotations may connect to: a network (`cidr`) or a host, and ports there; for some namespaces, or all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cidr: str | None = None
    host: str | None = None
    ports: tuple[int, ...]
    namespaces: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _has_a_meaning(self) -> Self:
        try:
            EgressRule.of(ports=self.ports, cidr=self.cidr, host=self.host)
        except SecretsConfigurationError as e:
            raise ValueError(e.detail) from None
        return self


class Settings(BaseSettings):
    """Each field says its unit, its default and why."""

    model_config = SettingsConfigDict(
        env_prefix="ELILE_",
        cli_prog_name="elile-operator",
        cli_kebab_case=True,
        cli_hide_none_type=True,
        cli_avoid_json=True,
        extra="forbid",
        frozen=True,
    )

    kubeconfig: Path | None = Field(
        None,
        description="Kubeconfig to reach the API server with. Absent: the pod's ServiceAccount, and outside a pod the "
        "file that KUBECONFIG names, or ~/.kube/config.",
    )
    context: str | None = Field(None, description="Context of the kubeconfig. Absent: its current one.")
    service_account_folder: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount"),
        description="Folder with token, ca.crt and namespace of the pod's ServiceAccount, as kubelet mounts them.",
    )
    namespace: str | None = Field(
        None,
        description="The operator's own namespace, where its fingerprint key is kept. Absent: the pod's, else "
        "elile-system.",
        max_length=63,
    )
    scope: Scope = Field(
        Scope.NAMESPACES,
        description="Namespaces: Secrets are read where a RoleBinding to elile-deliver allows it, and nowhere else. "
        "Cluster: in all namespaces at once, which needs a ClusterRoleBinding: the right to every Secret there is.",
    )
    account: str = Field(
        "elile-operator",
        description="Name of the operator's ServiceAccount in its own namespace, for the commands that messages name.",
        max_length=253,
    )
    leader_election: bool = Field(
        True,
        description="Whether this process works only while it holds the Lease elile-operator in its namespace. Without "
        "it, two processes work against each other.",
    )
    workers: int = Field(
        16,
        ge=1,
        le=256,
        description="ElileSecrets of one VaultServer reconciled at one time. 16 keep an API server busy that answers "
        "in 10 ms; more only wait in its queue.",
    )
    pollers: int = Field(
        16, ge=1, le=256, description="Paths of one VaultServer polled at one time. As many as a server's concurrency."
    )
    rotations: int = Field(
        16,
        ge=1,
        le=128,
        description="Rotations that work at one time, each in a thread; those that wait for consumers or a grace "
        "period do not count. 16: a step is a login or two of a database, which takes a tenth of a second.",
    )
    rotations_per_target: int = Field(
        4,
        ge=1,
        le=128,
        description="Of these, how many on one server of a database at one time. Four: it has other work to do.",
    )
    egress_allow: tuple[EgressAllow, ...] = Field(
        (),
        description="Where rotations may connect to, as JSON: a list of {cidr or host, ports, namespaces}. Absent: "
        "nowhere. Loopback, link-local and the API server need an entry with their exact address.",
    )
    resync: Seconds = Field(
        timedelta(minutes=10),
        ge=timedelta(seconds=10),
        description="How often every kind is listed in full, to repair what watches missed; ISO 8601 or seconds. Ten "
        "minutes: a list of 10,000 objects costs a second of CPU.",
    )
    reconcile_deadline: Seconds = Field(
        timedelta(minutes=2),
        ge=timedelta(seconds=10),
        description="After this long a reconcile is cancelled and tried again; ISO 8601 or seconds. Two minutes: every "
        "call within has a deadline of its own, this one is for what nobody foresaw.",
    )
    standby_lag: Seconds = Field(
        timedelta(minutes=10),
        ge=timedelta(seconds=0),
        description="How far behind a standby of a vault may be, ISO 8601 or seconds: what was delivered less than "
        "this ago is not removed because its path is gone (spec.onMissing). Ten minutes: a standby that is in its "
        "cluster is seconds behind.",
    )
    api_timeout: Seconds = Field(
        timedelta(seconds=10),
        ge=timedelta(seconds=1),
        description="How long one call to the API server may take; ISO 8601 or seconds. Ten seconds: it answers in "
        "milliseconds, or is away.",
    )
    probe_host: str = Field(
        "127.0.0.1",
        description="Address that serves /livez, /readyz and /metrics. Loopback; in a pod 0.0.0.0, for kubelet.",
    )
    probe_port: int = Field(8080, ge=0, le=65535, description="Port of the same; 0 takes a free one and logs it.")
    hint_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port that takes hints of writes from forwarders, over TLS; 0 takes a free one and logs it. "
        "Absent: none are taken, and polls alone find changes.",
    )
    hint_host: str = Field(
        "127.0.0.1", description="Address of the same. Loopback; in a pod 0.0.0.0, for forwarders beside Vault."
    )
    hint_certificate: Path | None = Field(
        None, description="File with the certificate of the same, in PEM, read again when it changes."
    )
    hint_key: Path | None = Field(None, description="File with the key of that certificate, in PEM.")
    hint_tokens: Path | None = Field(
        None,
        description="Folder with the tokens of forwarders, such as a mounted Secret: a file of at least 16 characters "
        "for each VaultServer, of the same name. Read again when it changes.",
    )
    log_level: LogLevel = Field(LogLevel.INFO, description="Level of the log. Values of secrets are in none.")
    log_format: LogFormat = Field(LogFormat.JSON, description="json for collectors, console for people.")
