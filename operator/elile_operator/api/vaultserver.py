"""VaultServer: one Vault or OpenBao, and how tenants log in to it."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from elile_operator.api.auth import AUTH_IS_ONE, Auth
from elile_operator.api.durations import LONGEST
from elile_operator.api.meta import NAME_FITS, Condition
from elile_operator.api.model import ApiObject, Column, Crd, SpecModel, StatusModel
from elile_operator.api.rules import Checked, DurationBetween, ListType, Rule, between, matches
from elile_operator.api.selector import AllowedNamespaces
from elile_operator.api.syntax import (
    MAX_LABEL,
    MAX_MOUNT,
    MAX_ROLE,
    MAX_SECRET_KEY,
    MAX_SUBDOMAIN,
    MAX_VAULT_NAMESPACE,
    NAMESPACE_PLACEHOLDER,
    RESOLVED,
    URL_HOST,
    URL_PORT,
    dns_label,
    dns_subdomain,
    role_name,
    secret_key,
    vault_namespace,
    vault_path,
)

MAX_PREFIX = 128

Address = Annotated[
    str,
    StringConstraints(min_length=1, max_length=300),
    Checked(
        matches(
            f"https?://{URL_HOST}(:{URL_PORT})?",
            "spec.address must be scheme, host and port alone, without path, user or query: "
            "for example https://vault.vault.svc:8200",
        )
    ),
]


class CaBundleRef(SpecModel):
    """A key of a ConfigMap that holds certificates in PEM."""

    namespace: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_LABEL),
        Checked(dns_label("spec.tls.caBundleRef.namespace")),
    ] = Field(description="Namespace of the ConfigMap.")
    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
        Checked(dns_subdomain("spec.tls.caBundleRef.name")),
    ] = Field(description="Name of the ConfigMap.")
    key: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_SECRET_KEY),
        # A ConfigMap's keys have the shape of a Secret's.
        Checked(*secret_key("spec.tls.caBundleRef.key")),
    ] = Field(description="Key of the ConfigMap's data that holds the certificates, for example ca.crt.")


class Tls(SpecModel):
    """How the server's certificate is verified. Verification is never skipped."""

    ca_bundle: (
        Annotated[
            str,
            StringConstraints(max_length=131072),
            Checked(
                Rule(
                    "self.contains('-----BEGIN CERTIFICATE-----') && !self.contains('PRIVATE KEY')",
                    "spec.tls.caBundle must be certificates in PEM and no key; put the certificate of the CA there",
                    lambda v: "-----BEGIN CERTIFICATE-----" in v and "PRIVATE KEY" not in v,
                )
            ),
        ]
        | None
    ) = Field(None, description="Certificates, in PEM, that the server's is checked against. Absent: the system's.")
    ca_bundle_ref: CaBundleRef | None = Field(
        None,
        description="ConfigMap with these certificates, in place of caBundle; followed. The operator needs the right "
        "to get it, and Ready tells how to give that.",
    )
    server_name: (
        Annotated[
            str,
            StringConstraints(max_length=MAX_SUBDOMAIN),
            Checked(matches(URL_HOST, "spec.tls.serverName must be a host name alone, without scheme, port or path")),
        ]
        | None
    ) = Field(None, description="Name that the certificate must be for. Absent: the host of the address.")
    allow_plain_http: bool = Field(
        False,
        alias="allowPlainHTTP",
        description="Whether the address may use http, which anybody on the way can read. Absent: false.",
    )


_ONE_BUNDLE = Rule(
    "!(has(self.caBundle) && has(self.caBundleRef))",
    "spec.tls must hold at most one of: caBundle, caBundleRef",
    lambda v: v.ca_bundle is None or v.ca_bundle_ref is None,
)


class Defaults(SpecModel):
    """What ElileSecrets that say nothing get. `${namespace}` stands for the namespace of the ElileSecret."""

    role: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_ROLE),
        Checked(role_name("spec.defaults.role", RESOLVED)),
    ] = Field("elile", description="Role to log in with; may hold ${namespace}. Absent: elile.")
    service_account_name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
        Checked(dns_subdomain("spec.defaults.serviceAccountName", RESOLVED)),
    ] = Field(
        "default",
        description="ServiceAccount of the ElileSecret's namespace to log in as; may hold ${namespace}. "
        "Absent: default.",
    )
    mount: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_MOUNT),
        Checked(*vault_path("spec.defaults.mount", RESOLVED)),
    ] = Field(
        "secret",
        description="Mount of the KV engine that sources read from; may hold ${namespace}. Absent: secret.",
    )


class Poll(SpecModel):
    """How changes are found when no hint arrives."""

    interval: Annotated[timedelta, DurationBetween("spec.poll.interval", timedelta(seconds=1), LONGEST)] = Field(
        timedelta(seconds=60),
        description="How often versions are compared, as a duration such as 90s or 1h30m. Absent: 60s.",
    )


class Journal(SpecModel):
    """Where rotations keep their journals and find staged values: beside the entries, under prefixes."""

    prefix: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PREFIX),
        Checked(*vault_path("spec.journal.prefix")),
    ] = Field(
        "elile-journal",
        description="Put before an entry's path for its journal, and with -inbox for its inbox. Absent: elile-journal.",
    )

    @property
    def inbox(self) -> str:
        """The prefix of inboxes."""
        return f"{self.prefix}-inbox"


class Limits(SpecModel):
    """How much is asked of the server at most, by all tenants together."""

    requests_per_second: Annotated[int, Checked(between("spec.limits.requestsPerSecond", 1, 10_000))] = Field(
        500, description="Requests a second. Absent: 500."
    )
    concurrency: Annotated[int, Checked(between("spec.limits.concurrency", 1, 128))] = Field(
        16, description="Requests at one time. Absent: 16."
    )
    timeout: Annotated[
        timedelta, DurationBetween("spec.limits.timeout", timedelta(seconds=1), timedelta(minutes=5))
    ] = Field(timedelta(seconds=10), description="How long one request may take. Absent: 10s.")


class VaultServerSpec(SpecModel):
    """What the administrator says about the server."""

    address: Address = Field(description="Address of the server, for example https://vault.vault.svc:8200.")
    namespace: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_VAULT_NAMESPACE),
            Checked(*vault_namespace("spec.namespace")),
        ]
        | None
    ) = Field(None, description="Namespace of Vault Enterprise or OpenBao to work in. Absent: the root namespace.")
    tls: Annotated[Tls, Checked(_ONE_BUNDLE)] = Field(
        default_factory=Tls, description="How the server's certificate is verified. Absent: by the system's CAs."
    )
    auth: Annotated[Auth, Checked(AUTH_IS_ONE)] = Field(description="How tenants log in; exactly one method.")
    defaults: Defaults = Field(
        default_factory=Defaults,
        description="What ElileSecrets that say nothing get; ${namespace} stands for their namespace.",
    )
    allowed_namespaces: (
        Annotated[
            AllowedNamespaces,
            Checked(
                Rule(
                    "has(self.names) || has(self.selector)",
                    "spec.allowedNamespaces must hold names or a selector; remove it to allow every namespace",
                    lambda v: v.names is not None or v.selector is not None,
                )
            ),
        ]
        | None
    ) = Field(
        None,
        description="Which namespaces may use the server: those named and those selected. Absent: every namespace; "
        "the bindings of Vault's roles decide in any case.",
    )
    poll: Poll = Field(
        default_factory=Poll, description="How changes are found when no hint arrives. Absent: every 60s."
    )
    journal: Journal = Field(
        default_factory=Journal, description="Where rotations keep their journals. Absent: under elile-journal."
    )
    limits: Limits = Field(default_factory=Limits, description="How much is asked of the server at most.")


class Flavor(StrEnum):
    """Which of the two the server is."""

    OPENBAO = "OpenBao"
    VAULT = "Vault"


class VaultServerStatus(StatusModel):
    """What the operator found."""

    observed_generation: int | None = Field(None, description="The generation of the spec that the status is about.")
    conditions: Annotated[tuple[Condition, ...], ListType("map", ("type",))] = Field(
        (), description="Ready, Reachable, Unsealed, PollDelayed, and HintsFlowing where a forwarder may send hints."
    )
    flavor: Flavor | None = Field(None, description="OpenBao or Vault.")
    server_version: str | None = Field(None, description="Version that the server reports.")
    cluster_id: str | None = Field(
        None, alias="clusterID", description="Identity of the Vault cluster: two VaultServers may be one Vault."
    )


_HTTP_IS_ALLOWED = Rule(
    "!self.address.startsWith('http://') || (has(self.tls) && has(self.tls.allowPlainHTTP) && self.tls.allowPlainHTTP)",
    "spec.address uses http; use https or set spec.tls.allowPlainHTTP: true",
    lambda v: not v.address.startswith("http://") or v.tls.allow_plain_http,
)


class VaultServer(ApiObject):
    """One Vault or OpenBao server and how tenants log in to it."""

    crd: ClassVar[Crd] = Crd(
        kind="VaultServer",
        plural="vaultservers",
        short_name="vsrv",
        namespaced=False,
        columns=(
            Column("Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether the server can be used."),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why, in one word."),
            Column("Flavor", ".status.flavor", "OpenBao or Vault."),
            Column("Version", ".status.serverVersion", "Version that the server reports."),
            Column("Address", ".spec.address", "Address of the server."),
            Column("Age", ".metadata.creationTimestamp", "Time since the object was made.", "date"),
        ),
        rules=(NAME_FITS,),
    )

    spec: Annotated[VaultServerSpec, Checked(_HTTP_IS_ALLOWED)] = Field(
        description="What the administrator says about the server."
    )
    status: VaultServerStatus = Field(default_factory=VaultServerStatus, description="What the operator found.")


def resolve(template: str, *, namespace: str) -> str:
    """A default of the server for one namespace: `${namespace}` replaced, once, by its name."""
    return template.replace(NAMESPACE_PLACEHOLDER, namespace)
