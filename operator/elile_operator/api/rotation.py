"""Rotation: one run, as a Job is to a CronJob."""

from enum import StrEnum
from typing import Annotated, ClassVar

from pydantic import Field, StringConstraints

from elile_operator.api.meta import MAX_NAME, Condition
from elile_operator.api.model import ApiObject, Column, Crd, SpecModel, StatusModel, Time
from elile_operator.api.rules import Checked, ListType, Rule, free_of
from elile_operator.api.syntax import MAX_LABEL, dns_subdomain

MAX_KEY_ID = 128
MAX_REASON = 1024


class Action(StrEnum):
    """What is asked for."""

    ROTATE = "Rotate"
    ROLL_BACK = "RollBack"
    RETIRE = "Retire"
    ABORT = "Abort"
    DRY_RUN = "DryRun"
    DESTROY_KEY = "DestroyKey"


class RetireMode(StrEnum):
    """What the old value's end waits for."""

    AFTER_PROOF = "AfterProof"
    SKIP_GRACE = "SkipGrace"
    NOW = "Now"


class Trigger(StrEnum):
    """What a run is due to."""

    SCHEDULE = "Schedule"
    MAX_AGE = "MaxAge"
    STAGED = "Staged"
    MANUAL = "Manual"


class RotationResult(StrEnum):
    """How a run ended."""

    SUCCEEDED = "Succeeded"
    ALREADY_DONE = "AlreadyDone"
    ROLLED_BACK = "RolledBack"
    ABORTED = "Aborted"
    NEEDS_INTERVENTION = "NeedsIntervention"


class ScheduleRef(SpecModel):
    """The schedule that says how."""

    name: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_NAME), Checked(dns_subdomain("spec.scheduleRef.name"))
    ] = Field(description="Name of a RotationSchedule of this namespace.")


class RotationSpec(SpecModel):
    """What is asked for. It cannot be changed."""

    schedule_ref: ScheduleRef = Field(description="The schedule that says how.")
    action: Action = Field(
        Action.ROTATE,
        description="Rotate: another value. RollBack: the previous one again, verified. Retire: end a run that holds, "
        "without the missing proof. Abort: undo the run that is under way. DryRun: preflight and hooks on the value in "
        "use. DestroyKey: the key keyID of a keyset. Absent: Rotate.",
    )
    retire: RetireMode = Field(
        RetireMode.AFTER_PROOF,
        description="What the old value's end waits for. AfterProof: proof and grace. SkipGrace: proof alone. Now: "
        "neither, its sessions end with it and blackouts do not count. Absent: AfterProof.",
    )
    compromised: bool = Field(
        False,
        description="Whether the replaced value must never come back; takes over a run that is under way and ignores "
        "blackouts. Absent: false.",
    )
    key_id: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_KEY_ID),
            Checked(
                free_of("[\x00-\x1f\x7f]", "spec.keyID must not hold control characters; write it as in the keyset")
            ),
        ]
        | None
    ) = Field(None, alias="keyID", description="The key that DestroyKey destroys; what it encrypted is lost.")
    reason: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_REASON),
            Checked(
                free_of(
                    "[\x00-\x1f\x7f-\x9f\u2028\u2029]",
                    "spec.reason must be one line without control characters; remove line breaks",
                )
            ),
        ]
        | None
    ) = Field(None, description="Why, for those who read the audit. Absent: nothing is said.")


class VerificationStatus(StatusModel):
    """What one hook came to."""

    name: str = Field(description="Name of the hook.")
    stage: str = Field(description="When it was run.")
    result: str = Field(description="Passed, Failed or Inconclusive.")
    reason: str | None = Field(None, description="Why, in one word.")
    time: Time | None = Field(None, description="When.")


class RotationConsumers(StatusModel):
    """How far those who use the value have followed, over all ElileSecrets that read the entry."""

    summary: str | None = Field(None, description="Current and all pods in one text, such as 2/3.")
    total: int | None = Field(None, description="Running pods that use the value.")
    current: int | None = Field(None, description="Pods that are proved to use the new value.")
    stale: Annotated[tuple[str, ...], ListType("atomic")] = Field(
        (), description="Up to ten pods of this namespace that are not."
    )


class RotationStatus(StatusModel):
    """How far the run is: a projection of the journal in Vault."""

    observed_generation: int | None = Field(None, description="The generation of the spec that the status is about.")
    phase: str | None = Field(None, description="How far the run is.")
    rotation_id: str | None = Field(None, alias="rotationID", description="Identity of the run in the journal.")
    trigger: Trigger | None = Field(None, description="What the run is due to: Schedule, MaxAge, Staged or Manual.")
    occurrence: str | None = Field(None, description="Label of the time, the age or the staged version it is due to.")
    from_version: int | None = Field(None, description="Version of the entry before the run.")
    to_version: int | None = Field(None, description="Version of the entry that the run wrote.")
    conditions: Annotated[tuple[Condition, ...], ListType("map", ("type",))] = Field(
        (), description="Verified, Promoted, ConsumersCurrent, and at the end one of Complete and Failed."
    )
    verification: Annotated[tuple[VerificationStatus, ...], ListType("map", ("name", "stage"))] = Field(
        (), description="What the hooks came to."
    )
    consumers: RotationConsumers | None = Field(None, description="How far the consumers have followed.")
    start_time: Time | None = Field(None, description="When the run began.")
    completion_time: Time | None = Field(None, description="When it ended.")
    duration: str | None = Field(None, description="How long it took, such as 16m4s; set at the end.")
    result: RotationResult | None = Field(
        None, description="How it ended: Succeeded, AlreadyDone, RolledBack, Aborted or NeedsIntervention."
    )
    reason: str | None = Field(None, description="Why, in one word of a closed list.")
    message: str | None = Field(None, description="Why, for people: the object, the field and the remedy.")


_NAME_FITS = Rule(
    f"self.metadata.name.size() <= {MAX_LABEL}",
    f"metadata.name must be at most {MAX_LABEL} characters, since it becomes the value of a label; shorten it",
    lambda v: len(v.metadata.name) <= MAX_LABEL,
)

_STAYS = Rule(
    "self == oldSelf",
    "spec cannot be changed: a Rotation is one run; make a new one",
    None,
)

_KEY = Rule(
    "(has(self.action) && self.action == 'DestroyKey') == has(self.keyID)",
    "spec.keyID goes with spec.action DestroyKey, and with no other; set both or none",
    lambda v: (v.action is Action.DESTROY_KEY) == (v.key_id is not None),
)

_OF_ROTATE = Rule(
    "!has(self.action) || self.action == 'Rotate' || ((!has(self.retire) || self.retire == 'AfterProof') && "
    "(!has(self.compromised) || !self.compromised))",
    "spec.retire and spec.compromised are for spec.action Rotate; remove them",
    lambda v: v.action is Action.ROTATE or (v.retire is RetireMode.AFTER_PROOF and not v.compromised),
)


class Rotation(ApiObject):
    """One run: the schedule makes them, and people do."""

    crd: ClassVar[Crd] = Crd(
        kind="Rotation",
        plural="rotations",
        short_name="rot",
        namespaced=True,
        columns=(
            Column("Schedule", ".spec.scheduleRef.name", "The RotationSchedule."),
            Column("Action", ".spec.action", "What is asked for; nothing means Rotate."),
            Column("Phase", ".status.phase", "How far the run is."),
            Column("Result", ".status.result", "How it ended."),
            Column("Reason", ".status.reason", "Why, in one word."),
            Column("From", ".status.fromVersion", "Version of the entry before the run.", "integer"),
            Column("To", ".status.toVersion", "Version of the entry that the run wrote.", "integer"),
            Column("Consumers", ".status.consumers.summary", "Pods: current, of all."),
            Column("Duration", ".status.duration", "How long it took."),
            Column("Age", ".metadata.creationTimestamp", "Time since the object was made.", "date"),
        ),
        rules=(_NAME_FITS,),
    )

    spec: Annotated[RotationSpec, Checked(_STAYS, _KEY, _OF_ROTATE)] = Field(
        description="What is asked for. It cannot be changed."
    )
    status: RotationStatus = Field(default_factory=RotationStatus, description="How far the run is.")
