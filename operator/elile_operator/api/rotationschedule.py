"""RotationSchedule: when and how the value of an ElileSecret is replaced."""

from datetime import timedelta
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from elile_operator.api.durations import LONGEST
from elile_operator.api.meta import MAX_NAME, NAME_FITS, Condition
from elile_operator.api.model import ApiObject, Column, Crd, SpecModel, StatusModel, Time
from elile_operator.api.rotating import FIELDS_DIFFER, VALUES, Drift, Promote, RotatedFields, RotatedValue
from elile_operator.api.rules import Checked, DurationBetween, ListType, between, exactly_one
from elile_operator.api.schedulerules import RULES
from elile_operator.api.syntax import MAX_LABEL, MAX_ROLE, MAX_SUBDOMAIN, dns_label, dns_subdomain, role_name
from elile_operator.api.targets import TARGETS, Apply
from elile_operator.api.timing import MAX_BLACKOUTS, MAX_CRON, MAX_ZONE, Blackout, Group, MissedRun, cron, zone
from elile_operator.api.verify import HOOK_RULES, MAX_HOOKS, Hook

MAX_HISTORY = 100


class SecretRef(SpecModel):
    """The source whose entry is rotated."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_NAME), Checked(dns_subdomain("spec.secretRef.name"))
    ] = Field(description="Name of an ElileSecret of this namespace.")
    source: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_LABEL), Checked(dns_label("spec.secretRef.source"))
    ] = Field(description="Name of one of its sources: kv of engine v2, without a version.")


class RotatorAccess(SpecModel):
    """As whom Vault is written; a rotator inherits nothing from readers."""

    role: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_ROLE), Checked(role_name("spec.vault.role"))
    ] = Field(description="Role to log in with.")
    service_account_name: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
        Checked(dns_subdomain("spec.vault.serviceAccountName")),
    ] = Field(description="ServiceAccount of this namespace to log in as.")


class RotationScheduleSpec(SpecModel):
    """When and how the value is replaced."""

    secret_ref: SecretRef = Field(description="The source whose entry is rotated.")
    fields: Annotated[RotatedFields, Checked(FIELDS_DIFFER)] = Field(
        default_factory=RotatedFields,
        description="Which keys of the entry are replaced; the others are copied. Absent: what is staged, or the "
        "keyset, says it.",
    )
    vault: RotatorAccess = Field(description="As whom Vault is written.")
    schedule: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_CRON), Checked(*cron("spec.schedule"))] | None
    ) = Field(
        None,
        description="Five fields, or @hourly, @daily, @weekly, @monthly, @yearly; H spreads by object. Absent: on "
        "demand.",
    )
    time_zone: Annotated[str, StringConstraints(min_length=1, max_length=MAX_ZONE), Checked(zone("spec.timeZone"))] = (
        Field("Etc/UTC", description="Time zone of the schedule, by its IANA name. Absent: Etc/UTC.")
    )
    splay: Annotated[timedelta, DurationBetween("spec.splay", timedelta(seconds=1), LONGEST)] | None = Field(
        None, description="How much later a run may start, always the same for one object and time. Absent: not at all."
    )
    window: Annotated[timedelta, DurationBetween("spec.window", timedelta(seconds=1), LONGEST)] | None = Field(
        None, description="How long after its time work may start and be retried. Absent: until the next time."
    )
    blackouts: Annotated[tuple[Blackout, ...], Field(max_length=MAX_BLACKOUTS), ListType("map", ("name",))] = Field(
        (), description="When nothing starts and nothing is retired. Absent: never."
    )
    missed_run: MissedRun = Field(
        MissedRun.RUN_ONCE,
        description="The last time that passed while nothing could run: RunOnce, or Skip. Absent: RunOnce.",
    )
    max_age: Annotated[timedelta, DurationBetween("spec.maxAge", timedelta(seconds=1), LONGEST)] | None = Field(
        None, description="Age of the value, since it was first seen, at which it is rotated. Absent: any."
    )
    suspend: bool = Field(False, description="Whether no run starts. Absent: false.")
    group: Group | None = Field(None, description="Schedules of which one runs at a time. Absent: none.")
    value: Annotated[RotatedValue, Checked(exactly_one("spec.value", VALUES))] = Field(
        description="What is put in place of the value."
    )
    apply: Annotated[Apply, Checked(exactly_one("spec.apply", TARGETS))] | None = Field(
        None, description="Where the new value must be set before it works. Absent: nowhere."
    )
    accept_downtime: bool = Field(
        False,
        description="Whether consumers may be without a valid value for a while, as SingleUser needs. Absent: false.",
    )
    verify: Annotated[
        tuple[Annotated[Hook, Checked(*HOOK_RULES)], ...],
        Field(min_length=1, max_length=MAX_HOOKS),
        ListType("map", ("name",)),
    ] = Field(description="Hooks that must all pass.")
    promote: Promote = Field(
        default_factory=Promote,
        description="What has to be known of the consumers before the old value ends. Absent: what they declare.",
    )
    grace_period: Annotated[timedelta, DurationBetween("spec.gracePeriod", timedelta(seconds=1), LONGEST)] = Field(
        timedelta(minutes=15), description="How long old and new value both work after the proof. Absent: 15m."
    )
    drift: Drift = Field(
        default_factory=Drift, description="What is done between runs. Absent: changes by others are flagged."
    )
    history_limit: Annotated[int, Checked(between("spec.historyLimit", 1, MAX_HISTORY))] = Field(
        10, description="How many finished Rotations of the schedule are kept. Absent: 10."
    )


class LivePath(StatusModel):
    """The entry that the last run began with: a run that is under way keeps to it, whatever is edited meanwhile."""

    server: str = Field(description="Name of the VaultServer.")
    namespace: str | None = Field(None, description="Namespace of Vault or OpenBao. Absent: the root namespace.")
    mount: str = Field(description="Mount of the engine.")
    path: str = Field(description="Path below the mount.")
    prefix: str = Field(description="Prefix of the journal.")


class RotationScheduleStatus(StatusModel):
    """What the operator did."""

    observed_generation: int | None = Field(None, description="The generation of the spec that the status is about.")
    conditions: Annotated[tuple[Condition, ...], ListType("map", ("type",))] = Field(
        (), description="Ready, Stalled, ScheduleValid, NeedsIntervention, ValueDue and PreviousUnused."
    )
    active: str | None = Field(None, description="Name of the Rotation that runs. Absent: none.")
    phase: str | None = Field(None, description="Phase of the active run, else Idle.")
    anchor: str | None = Field(
        None, description="Schedule and time zone that anchorTime is for, as <schedule>[<zone>]."
    )
    anchor_time: Time | None = Field(
        None, description="Since when times of the schedule count: its first sight, or its last change."
    )
    last_schedule_time: Time | None = Field(None, description="When the last time of the schedule was taken up.")
    last_schedule_label: str | None = Field(
        None, description="That time as the schedule has it, such as 2026-10-25T02:30[Europe/Berlin]."
    )
    last_successful_time: Time | None = Field(None, description="When a run succeeded last.")
    last_result: str | None = Field(None, description="Result of the last run.")
    next_rotation_time: Time | None = Field(None, description="When the next run starts.")
    missed_runs: int | None = Field(None, description="How many times of the schedule passed without a run.")
    consecutive_failures: int | None = Field(None, description="Runs that failed since one succeeded.")
    next_retry_time: Time | None = Field(None, description="When a run that failed is tried again.")
    live_version: int | None = Field(None, description="Version of the entry that is in use.")
    live_since: Time | None = Field(None, description="When that version was first seen; maxAge counts from there.")
    previous_valid_until: Time | None = Field(None, description="Until when the value before it works as well.")
    last_drift_time: Time | None = Field(None, description="When the value was verified between runs last.")
    live_path: LivePath | None = Field(None, description="The entry that the last run began with.")
    other_readers: Annotated[tuple[str, ...], ListType("atomic")] = Field(
        (), description="Up to ten other ElileSecrets of this namespace that read the entry, and how many of others do."
    )


class RotationSchedule(ApiObject):
    """When and how the value of an ElileSecret is replaced."""

    crd: ClassVar[Crd] = Crd(
        kind="RotationSchedule",
        plural="rotationschedules",
        short_name="rots",
        namespaced=True,
        columns=(
            Column(
                "Ready",
                '.status.conditions[?(@.type=="Ready")].status',
                "Whether the value is rotated as the spec asks.",
            ),
            Column("Secret", ".spec.secretRef.name", "The ElileSecret."),
            Column("Schedule", ".spec.schedule", "When; nothing means on demand."),
            Column("Timezone", ".spec.timeZone", "Time zone of the schedule; nothing means Etc/UTC."),
            Column("Phase", ".status.phase", "Phase of the active run, else Idle."),
            Column("Last-Result", ".status.lastResult", "Result of the last run."),
            Column("Last-Rotation", ".status.lastSuccessfulTime", "Time since a run succeeded.", "date"),
            # No date: kubectl prints the time since a date, and <invalid> for one to come.
            Column("Next-Rotation", ".status.nextRotationTime", "When the next run starts."),
            Column("Suspend", ".spec.suspend", "Whether no run starts; nothing means false.", "boolean"),
            Column("Age", ".metadata.creationTimestamp", "Time since the object was made.", "date"),
            Column(
                "Failures",
                ".status.consecutiveFailures",
                "Runs that failed since one succeeded.",
                "integer",
                priority=1,
            ),
            Column("Reason", '.status.conditions[?(@.type=="Ready")].reason', "Why, in one word.", priority=1),
        ),
        rules=(NAME_FITS,),
    )

    spec: Annotated[RotationScheduleSpec, Checked(*RULES)] = Field(description="When and how the value is replaced.")
    status: RotationScheduleStatus = Field(default_factory=RotationScheduleStatus, description="What the operator did.")
