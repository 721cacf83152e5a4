"""Those who use the values of an ElileSecret: how they prove that they do, and which are restarted."""

from datetime import timedelta
from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.durations import LONGEST
from elile_operator.api.model import SpecModel, StatusModel, Time
from elile_operator.api.rules import Checked, DurationBetween, ListType, Rule, between, exactly_one, matches
from elile_operator.api.syntax import MAX_SUBDOMAIN, dns_subdomain

MAX_WORKLOADS = 64
MAX_PROOF_PATH = 256
PROOFS = ("http", "rollout", "elapsed")


class HttpScheme(StrEnum):
    """How pods are asked."""

    HTTP = "HTTP"
    HTTPS = "HTTPS"


class HttpProof(SpecModel):
    """Where a pod tells which revisions it has loaded."""

    port: Annotated[int, Checked(between("spec.consumers.proof.http.port", 1, 65535))] = Field(
        description="Port of the pods."
    )
    path: Annotated[
        str,
        StringConstraints(max_length=MAX_PROOF_PATH),
        Checked(
            matches(
                "/[-._~a-zA-Z0-9/]*",
                "spec.consumers.proof.http.path must begin with a slash and hold letters, digits and -._~/ only, "
                "for example /.well-known/elile",
            )
        ),
    ] = Field("/.well-known/elile", description="Path that answers. Absent: /.well-known/elile.")
    scheme: HttpScheme = Field(
        HttpScheme.HTTP,
        description="HTTP or HTTPS; as with a probe of kubelet, the certificate is not verified. Absent: HTTP.",
    )


class RolloutProof(SpecModel):
    """New pods prove by having started with the value."""


class Proof(SpecModel):
    """How it is known that the consumers use a new value."""

    http: HttpProof | None = Field(
        None, description="Every pod answers the revision that it has loaded, as the client library does."
    )
    rollout: RolloutProof | None = Field(
        None, description="Every pod was made after the change, and is ready: for pods that are restarted."
    )
    elapsed: (
        Annotated[timedelta, DurationBetween("spec.consumers.proof.elapsed", timedelta(seconds=1), LONGEST)] | None
    ) = Field(None, description="So much time has passed since the change, as a duration such as 30m.")

    @property
    def kind(self) -> str:
        """Name of the member that is there."""
        return next(name for name in PROOFS if getattr(self, name) is not None)


class RestartWhen(StrEnum):
    """Which changes restart workloads."""

    NEVER = "Never"
    CANNOT_SEE_FILE = "CannotSeeFile"
    CHANGED = "Changed"


class WorkloadKind(StrEnum):
    """What can be restarted; Jobs and CronJobs never are."""

    DEPLOYMENT = "Deployment"
    STATEFUL_SET = "StatefulSet"
    DAEMON_SET = "DaemonSet"


class WorkloadRef(SpecModel):
    """One workload of this namespace."""

    kind: WorkloadKind = Field(description="Deployment, StatefulSet or DaemonSet.")
    name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
        Checked(dns_subdomain("spec.consumers.restart.workloads[].name")),
    ] = Field(description="Name of the workload.")


class Restart(SpecModel):
    """Which workloads are restarted after a change."""

    when: RestartWhen = Field(
        RestartWhen.NEVER,
        description="CannotSeeFile: those whose pods use the Secret as environment or subPath. Changed: all that use "
        "it. Absent: Never.",
    )
    workloads: (
        Annotated[
            tuple[WorkloadRef, ...],
            Field(min_length=1, max_length=MAX_WORKLOADS),
            ListType("map", ("kind", "name")),
        ]
        | None
    ) = Field(None, description="Restart only these. Absent: those whose pods use the Secret.")


RESTARTS_WHEN = Rule(
    "!has(self.workloads) || (has(self.when) && self.when != 'Never')",
    "spec.consumers.restart.workloads are restarted only with spec.consumers.restart.when: CannotSeeFile or Changed; "
    "set it, or remove them",
    lambda v: v.workloads is None or v.when is not RestartWhen.NEVER,
)


class Consumers(SpecModel):
    """Those who use the values."""

    restart: Annotated[Restart, Checked(RESTARTS_WHEN)] = Field(
        default_factory=Restart, description="Which workloads are restarted after a change. Absent: none."
    )
    proof: Annotated[Proof, Checked(exactly_one("spec.consumers.proof", PROOFS))] | None = Field(
        None, description="How it is known that they use a new value. Absent: undeclared, so it is never known."
    )


class RestartStatus(StatusModel):
    """What became of one workload after a change."""

    kind: str = Field(description="Deployment, StatefulSet or DaemonSet.")
    name: str = Field(description="Name of the workload.")
    revision: int = Field(description="The revision that it was, or is to be, restarted for.")
    reason: str = Field(description="NeedsRestart, Restarting, Restarted, RestartFailed or RestartNotAllowed.")
    message: str | None = Field(None, description="Why, for people. Absent: there is nothing to say.")
    time: Time | None = Field(None, description="When its restart began. Absent: it did not.")


class ConsumersStatus(StatusModel):
    """Which pods use the values."""

    summary: str | None = Field(None, description="Current, assumed and all pods in one text, such as 1+2?/3.")
    total: int | None = Field(None, description="Running pods that mount the Secret.")
    current: int | None = Field(None, description="Pods that are proved to use the last values.")
    assumed: int | None = Field(None, description="Pods that were poked, where nothing proves more.")
    stale: Annotated[tuple[str, ...], ListType("atomic")] = Field(
        (), description="Up to ten pods that do not use the last values."
    )
    need_restart: Annotated[tuple[str, ...], ListType("atomic")] = Field(
        (), description="Up to ten pods that see new values only after a restart."
    )
    jobs: int | None = Field(
        None, description="Running pods of Jobs that mount the Secret; they count nowhere else. Absent: none."
    )
    stale_jobs: Annotated[tuple[str, ...], ListType("atomic")] = Field(
        (), description="Up to ten pods of Jobs that began before the last change."
    )
    proved_revision: int | None = Field(None, description="The last revision that the declared proof was there for.")
    proved_by: str | None = Field(None, description="Which proof that was: http, rollout or elapsed.")
    restarts: Annotated[tuple[RestartStatus, ...], ListType("map", ("kind", "name"))] = Field(
        (), description="What became of the workloads that are restarted."
    )
