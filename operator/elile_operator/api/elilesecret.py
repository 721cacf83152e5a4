"""ElileSecret: values from Vault as files of pods."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from elile_operator.api.consumers import Consumers, ConsumersStatus
from elile_operator.api.durations import LONGEST
from elile_operator.api.files import KEPT_BESIDE_FILES, MAX_FILES, RULES, SOURCES_EXIST, File
from elile_operator.api.meta import MAX_NAME, NAME_FITS, Condition
from elile_operator.api.model import ApiObject, Column, Crd, SpecModel, StatusModel, Time
from elile_operator.api.rules import Checked, DurationBetween, ListType, Rule, matches
from elile_operator.api.sources import NO_LONGER_OPTIONAL, ONE_KIND, SHAPED, Source
from elile_operator.api.syntax import (
    MAX_LABEL,
    MAX_ROLE,
    MAX_SUBDOMAIN,
    MAX_VAULT_NAMESPACE,
    dns_subdomain,
    free_metadata,
    role_name,
    vault_namespace,
)

MAX_SOURCES = 64
MAX_METADATA = 32  # labels and annotations each


class SecretType(StrEnum):
    """The types of Secrets that can be made; all but Opaque have keys that must be there."""

    OPAQUE = "Opaque"
    TLS = "TLS"
    BASIC_AUTH = "BasicAuth"
    SSH_AUTH = "SSHAuth"
    DOCKER_CONFIG_JSON = "DockerConfigJson"


class SecretMode(StrEnum):
    """Whose the Secret is."""

    OWN = "Own"
    MERGE = "Merge"


class DeletionPolicy(StrEnum):
    """What becomes of the Secret when the ElileSecret goes."""

    DELETE = "Delete"
    RETAIN = "Retain"


class OnMissing(StrEnum):
    """What becomes of what was delivered when its path is gone for good."""

    KEEP = "Keep"
    DELETE = "Delete"


class VaultAccess(SpecModel):
    """Which server, and as whom."""

    server: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_NAME),
        Checked(dns_subdomain("spec.vault.server")),
    ] = Field("default", description="Name of the VaultServer. Absent: default.")
    role: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_ROLE), Checked(role_name("spec.vault.role"))]
        | None
    ) = Field(None, description="Role to log in with. Absent: the server's default.")
    service_account_name: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
            Checked(dns_subdomain("spec.vault.serviceAccountName")),
        ]
        | None
    ) = Field(None, description="ServiceAccount of this namespace to log in as. Absent: the server's default.")
    namespace: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_VAULT_NAMESPACE),
            Checked(*vault_namespace("spec.vault.namespace")),
        ]
        | None
    ) = Field(
        None,
        description="Namespace of Vault Enterprise or OpenBao to read in, below the server's. Absent: the server's.",
    )


class SecretTarget(SpecModel):
    """The Secret that is written."""

    name: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
            Checked(dns_subdomain("spec.delivery.secret.name")),
        ]
        | None
    ) = Field(None, description="Name of the Secret; after a change the old one is removed. Absent: this object's.")
    labels: Annotated[
        dict[
            str,
            Annotated[
                str,
                StringConstraints(max_length=MAX_LABEL),
                Checked(
                    matches(
                        "([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?",
                        "spec.delivery.secret.labels must hold values of letters, digits, '-', '_' and '.'",
                    )
                ),
            ],
        ],
        Field(max_length=MAX_METADATA),
        free_metadata("spec.delivery.secret.labels"),
    ] = Field(default_factory=dict, description="Labels added to the Secret. Absent: none.")
    annotations: Annotated[
        dict[str, Annotated[str, StringConstraints(max_length=4096)]],
        Field(max_length=MAX_METADATA),
        free_metadata("spec.delivery.secret.annotations"),
    ] = Field(default_factory=dict, description="Annotations added to the Secret. Absent: none.")
    mode: SecretMode = Field(
        SecretMode.OWN,
        description="Own: the Secret holds exactly the keys of this object. Merge: the keys are put beside those of "
        "others, and taken out again in the end. Absent: Own.",
    )


_ONLY_KEYS = Rule(
    "!has(self.mode) || self.mode != 'Merge' || !(has(self.labels) || has(self.annotations))",
    "spec.delivery.secret.labels and annotations are of a whole Secret, of which mode Merge has only some keys; "
    "remove them, or use mode Own",
    lambda v: v.mode is not SecretMode.MERGE or not v.model_fields_set & {"labels", "annotations"},
)


class Delivery(SpecModel):
    """How the values reach the pods."""

    secret: Annotated[SecretTarget, Checked(_ONLY_KEYS)] = Field(
        default_factory=SecretTarget,
        description="A Secret that pods mount. Absent: one of this object's name.",
    )
    poke: bool = Field(
        True, description="Whether kubelet is asked to refresh the volumes of running pods at once. Absent: true."
    )
    metadata_file: bool = Field(
        False,
        description="Whether the file .elile.json tells name, revision and sources beside the values; with "
        "spec.consumers.proof.http it always does. Absent: false.",
    )


class Refresh(SpecModel):
    """When the sources are read again though nothing says that they changed."""

    interval: Annotated[timedelta, DurationBetween("spec.refresh.interval", timedelta(seconds=1), LONGEST)] | None = (
        Field(None, description="How often, as a duration such as 90s or 1h30m. Absent: as the server says.")
    )


class ElileSecretSpec(SpecModel):
    """What the team wants in its Secret."""

    type: SecretType = Field(SecretType.OPAQUE, description="Type of the Secret; it cannot be changed. Absent: Opaque.")
    vault: VaultAccess = Field(
        default_factory=VaultAccess, description="Which server, and as whom. Absent: the VaultServer named default."
    )
    sources: Annotated[
        tuple[Annotated[Source, Checked(ONE_KIND, SHAPED, NO_LONGER_OPTIONAL)], ...],
        Field(min_length=1, max_length=MAX_SOURCES),
        ListType("map", ("name",)),
    ] = Field(description="Where the values come from, merged in this order.")
    files: (
        Annotated[
            tuple[Annotated[File, Checked(*RULES)], ...],
            Field(min_length=1, max_length=MAX_FILES),
            ListType("map", ("key",)),
        ]
        | None
    ) = Field(None, description="Files made of the keys, and nothing else. Absent: one file for each key.")
    keep_keys: bool = Field(
        False, description="Whether the keys are delivered beside the files that are made of them. Absent: false."
    )
    delivery: Delivery = Field(
        default_factory=Delivery,
        description="How the values reach the pods. Absent: as a Secret of this object's name.",
    )
    refresh: Refresh = Field(
        default_factory=Refresh,
        description="When sources are read again though nothing says that they changed. Absent: as the server says.",
    )
    consumers: Consumers = Field(
        default_factory=Consumers, description="Those who use the values. Absent: nothing proves, nothing is restarted."
    )
    on_missing: OnMissing = Field(
        OnMissing.KEEP,
        description="What becomes of what was delivered when its path is gone: Keep, or Delete once the server has "
        "said so twice, 30 seconds apart. Absent: Keep.",
    )
    deletion_policy: DeletionPolicy | None = Field(
        None,
        description="Delete: the Secret, or what was merged into it, goes with this object. Retain: it stays. Absent: "
        "Delete, for an adopted Secret Retain.",
    )


class SourceStatus(StatusModel):
    """What was read from one source."""

    name: str = Field(description="Name of the source in the spec.")
    path: str | None = Field(None, description="Mount and path that were read.")
    version: int | None = Field(None, description="Version that is delivered.")
    lease_expires: Time | None = Field(None, description="When the lease ends, if nobody renews it.")
    certificate_expires: Time | None = Field(None, description="When the certificate ends.")
    serial: str | None = Field(None, description="Serial number of the certificate.")


class SecretRotation(StatusModel):
    """How the value of one source is rotated."""

    schedule: str = Field(description="Name of the RotationSchedule.")
    phase: str | None = Field(None, description="Phase of the active run, else Idle.")
    last_result: str | None = Field(None, description="Result of the last run.")
    last_rotation_time: Time | None = Field(None, description="When a run succeeded last.")
    next_rotation_time: Time | None = Field(None, description="When the next run starts.")
    previous_valid_until: Time | None = Field(None, description="Until when the value before this one works as well.")


class ElileSecretStatus(StatusModel):
    """What the operator did."""

    observed_generation: int | None = Field(None, description="The generation of the spec that the status is about.")
    revision: int | None = Field(None, description="How many distinct contents the Secret has had.")
    keys: Annotated[tuple[str, ...], ListType("atomic")] = Field((), description="Names of the Secret's keys.")
    secret_name: str | None = Field(None, description="Name of the Secret.")
    adopted: bool = Field(False, description="Whether the Secret was taken over from somebody else, by its consent.")
    server: str | None = Field(None, description="Name of the VaultServer.")
    cluster_id: str | None = Field(
        None, alias="clusterID", description="Identity of the Vault cluster that the values are from."
    )
    handled_refresh: str | None = Field(
        None, description="Last value of the annotation elile.io/refresh that was answered."
    )
    sources: Annotated[tuple[SourceStatus, ...], ListType("map", ("name",))] = Field(
        (), description="What was read, by source."
    )
    conditions: Annotated[tuple[Condition, ...], ListType("map", ("type",))] = Field(
        (), description="Ready, Stalled, Synced, SecretCurrent, ConsumersCurrent and RotationHealthy."
    )
    last_change_time: Time | None = Field(None, description="When the content of the Secret changed last.")
    next_refresh_time: Time | None = Field(
        None, description="When leases, certificates and static credentials are looked after next."
    )
    consumers: ConsumersStatus | None = Field(None, description="Which pods use the values.")
    rotations: Annotated[tuple[SecretRotation, ...], ListType("map", ("schedule",))] = Field(
        (), description="How the values are rotated, by schedule."
    )
    rotation: str | None = Field(None, description="State of the rotation in one word. Absent: nothing rotates.")
    next_rotation_time: str | None = Field(None, description="When the value is replaced next.")


# The default counts as written: adding or removing `type: Opaque` is no change.
_TYPE_STAYS = Rule(
    "(has(self.type) ? self.type : 'Opaque') == (has(oldSelf.type) ? oldSelf.type : 'Opaque')",
    "spec.type cannot be changed, since the type of a Secret cannot; make a new ElileSecret",
    None,
)


# The other types have keys that must be there: they could never be taken out again.
_MERGES_OPAQUE = Rule(
    "!has(self.type) || self.type == 'Opaque' || !has(self.delivery) || !has(self.delivery.secret) || "
    "!has(self.delivery.secret.mode) || self.delivery.secret.mode != 'Merge'",
    "spec.delivery.secret.mode Merge needs spec.type Opaque; remove spec.type, or use mode Own",
    lambda v: v.type is SecretType.OPAQUE or v.delivery.secret.mode is not SecretMode.MERGE,
)


_ONE_TELLS = Rule(
    "!has(self.delivery) || !has(self.delivery.secret) || !has(self.delivery.secret.mode) || "
    "self.delivery.secret.mode != 'Merge' || !((has(self.delivery.metadataFile) && self.delivery.metadataFile) || "
    "(has(self.consumers) && has(self.consumers.proof) && has(self.consumers.proof.http)))",
    "spec.delivery.secret.mode Merge has no metadata file, which proof by http needs: one file cannot tell of several "
    "ElileSecrets; use mode Own, or another proof",
    lambda v: (
        v.delivery.secret.mode is not SecretMode.MERGE
        or not (v.delivery.metadata_file or (v.consumers.proof is not None and v.consumers.proof.http is not None))
    ),
)

_RULES = (_TYPE_STAYS, SOURCES_EXIST, KEPT_BESIDE_FILES, _MERGES_OPAQUE, _ONE_TELLS)


class ElileSecret(ApiObject):
    """Values from Vault, delivered as files of pods."""

    crd: ClassVar[Crd] = Crd(
        kind="ElileSecret",
        plural="elilesecrets",
        short_name="els",
        namespaced=True,
        columns=(
            Column(
                "Ready", '.status.conditions[?(@.type=="Ready")].status', "Whether what the spec asks is delivered."
            ),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why, in one word."),
            Column("Revision", ".status.revision", "How many distinct contents the Secret has had.", "integer"),
            Column("Consumers", ".status.consumers.summary", "Pods: current, assumed with ?, of all."),
            Column("Rotation", ".status.rotation", "State of the rotation."),
            # No date: kubectl prints the time since a date, and <invalid> for one to come.
            Column("Next-Rotation", ".status.nextRotationTime", "When the value is replaced next."),
            Column("Last-Change", ".status.lastChangeTime", "Time since the content changed.", "date"),
            Column("Age", ".metadata.creationTimestamp", "Time since the object was made.", "date"),
            Column("Type", ".spec.type", "Type of the Secret; nothing means Opaque.", priority=1),
            Column("Secret", ".status.secretName", "Name of the Secret.", priority=1),
            Column("Server", ".status.server", "Name of the VaultServer.", priority=1),
            Column("Message", '.status.conditions[?(@.type=="Ready")].message', "Why, for people.", priority=1),
        ),
        rules=(NAME_FITS,),
    )

    spec: Annotated[ElileSecretSpec, Checked(*_RULES)] = Field(description="What the team wants in its Secret.")
    status: ElileSecretStatus = Field(default_factory=ElileSecretStatus, description="What the operator did.")

    @property
    def secret_name(self) -> str:
        """Name of the Secret that is wanted."""
        return self.spec.delivery.secret.name or self.metadata.name

    @property
    def merges(self) -> bool:
        """Whether its keys are put into a Secret that others use as well."""
        return self.spec.delivery.secret.mode is SecretMode.MERGE

    @property
    def has_metadata_file(self) -> bool:
        """Whether the Secret tells its revision; without it no pod could prove by HTTP. A shared one has no room."""
        proof = self.spec.consumers.proof
        wanted = self.spec.delivery.metadata_file or (proof is not None and proof.http is not None)
        return wanted and not self.merges
