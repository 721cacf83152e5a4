"""The closed list of reasons, each with its sentence and with what it means for the conditions of an object."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Mark(StrEnum):
    """What a reason makes of one condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"
    KEEP = "Keep"  # what the last answer about this generation said; Unknown before the first one


@dataclass(frozen=True, slots=True)
class Effect:
    """What a reason makes of the conditions of an ElileSecret.

    ready: what the spec asks is delivered and not known to be wrong.
    stalled: waiting will not cure it, a person must change a Kubernetes object that exists; never set where
        a change in Vault alone, or an object still to be created, is the cure.
    synced: what is delivered was compared with Vault within three intervals.
    """

    ready: Mark
    stalled: Mark
    synced: Mark


GOOD = Effect(Mark.TRUE, Mark.FALSE, Mark.TRUE)
AWAY = Effect(Mark.KEEP, Mark.FALSE, Mark.KEEP)  # no answer: nothing new is known about what is delivered
STALE = Effect(Mark.KEEP, Mark.FALSE, Mark.FALSE)
WRONG = Effect(Mark.FALSE, Mark.FALSE, Mark.FALSE)  # refused, missing or wrong; it may end without a change here
STALLED = Effect(Mark.FALSE, Mark.TRUE, Mark.FALSE)
SILENT = Effect(Mark.KEEP, Mark.KEEP, Mark.KEEP)  # the reason of another condition


class Reason(StrEnum):
    """Why a condition has its status. Conditions and events use nothing else; alerts and GitOps tools rely on it."""

    sentence: str
    effect: Effect

    # The defaults are for the look-up of a member by its text; every member says both.
    def __new__(cls, value: str, sentence: str = "", effect: Effect = SILENT) -> "Reason":
        reason = str.__new__(cls, value)
        reason._value_ = value
        reason.sentence = sentence
        reason.effect = effect
        return reason

    SYNCED = "Synced", "The Secret holds what the sources say.", GOOD
    UNCHANGED = "Unchanged", "The sources were read and nothing changed.", GOOD

    # The spec itself, and what it names in Kubernetes.
    SPEC_INVALID = "SpecInvalid", "The spec holds something that this version of Elile cannot follow.", STALLED
    SERVER_NOT_FOUND = "ServerNotFound", "The VaultServer does not exist.", WRONG
    SERVER_NOT_READY = "ServerNotReady", "The VaultServer is not ready.", AWAY
    NAMESPACE_NOT_ALLOWED = "NamespaceNotAllowed", "The VaultServer does not allow this namespace.", STALLED
    NAMESPACE_NOT_BOUND = "NamespaceNotBound", "The operator has no rights in this namespace.", WRONG
    SERVICE_ACCOUNT_NOT_FOUND = "ServiceAccountNotFound", "The ServiceAccount does not exist.", WRONG
    AUDIENCE_NOT_ALLOWED = "AudienceNotAllowed", "Kubernetes refuses a token for the audience of the server.", STALLED
    RESERVED_METADATA = "ReservedMetadata", "A label or annotation for the Secret is reserved.", STALLED

    # The way to Vault.
    SERVER_READY = "ServerReady", "The server answers and is unsealed.", SILENT
    VAULT_UNREACHABLE = "VaultUnreachable", "The server does not answer.", AWAY
    VAULT_SEALED = "VaultSealed", "The server is sealed.", AWAY
    VAULT_THROTTLED = "VaultThrottled", "The server limits the rate of requests.", AWAY
    TLS_UNTRUSTED = "TLSUntrusted", "The certificate of the server is not trusted.", AWAY
    CA_BUNDLE_UNUSABLE = "CABundleUnusable", "The CA bundle that the VaultServer names cannot be read or used.", AWAY
    MALFORMED_RESPONSE = "MalformedResponse", "The answer is not one of Vault or OpenBao.", AWAY
    PLAIN_HTTP_REFUSED = "PlainHTTPRefused", "The server is addressed without TLS, which is not allowed.", STALLED
    POLL_ON_TIME = "PollOnTime", "Polls keep their intervals, as far as was measured.", SILENT
    POLL_DELAYED = "PollDelayed", "Polls come later than their intervals say.", SILENT
    HINTS_FLOWING = "HintsFlowing", "A forwarder tells of writes as they are made.", SILENT
    HINTS_SILENT = "HintsSilent", "No forwarder tells of writes; polls find what changes.", SILENT
    READ_STALE = "ReadStale", "For three intervals no answer, or only older ones, came from the sources.", STALE

    # What Vault answers.
    LOGIN_DENIED = "LoginDenied", "The server refuses the login.", WRONG
    ROLE_NOT_FOUND = "RoleNotFound", "The role does not exist in the server.", WRONG
    PERMISSION_DENIED = "PermissionDenied", "The role may not read the path.", WRONG
    MOUNT_NOT_FOUND = "MountNotFound", "No secrets engine is mounted there.", WRONG
    PATH_NOT_FOUND = "PathNotFound", "The path does not exist.", WRONG
    VERSION_NOT_FOUND = "VersionNotFound", "The version does not exist.", WRONG
    VERSION_DELETED = "VersionDeleted", "The version is deleted or destroyed.", WRONG
    SOURCE_GONE = "SourceGone", "The path is gone, and what was delivered went with it, as onMissing says.", WRONG

    # What is made of the answer. Stalled where Vault's values are fine and the spec cannot deliver them.
    KEY_NOT_FOUND = "KeyNotFound", "A key that the spec names is not there.", WRONG
    KEY_CONFLICT = "KeyConflict", "Two sources give the same key.", STALLED
    TEMPLATE_INVALID = "TemplateInvalid", "A template of the spec is none.", STALLED
    SHAPE_INVALID = "ShapeInvalid", "A key or value cannot be delivered as it is.", WRONG
    TOO_LARGE = "TooLarge", "The data is larger than a Secret may be.", STALLED

    # What ends.
    LEASE_EXPIRED = "LeaseExpired", "A lease or a certificate has ended and could not be replaced.", WRONG
    LEASE_REPLACED = "LeaseReplaced", "Another lease or certificate was taken.", SILENT
    LEASE_REVOKED = "LeaseRevoked", "A lease or certificate that was replaced is revoked.", SILENT
    LEASE_ORPHANED = "LeaseOrphaned", "A lease or certificate could not be revoked; it ends with its time.", SILENT

    # The Secret.
    SECRET_NOT_OWNED = "SecretNotOwned", "A Secret of that name exists and belongs to somebody else.", STALLED
    SECRET_CONFLICT = "SecretConflict", "The Secret cannot be updated, or somebody else keeps changing it.", WRONG
    KEYS_ORPHANED = (
        "KeysOrphaned",
        "The object went, and what it had merged into a Secret could not be taken out.",
        SILENT,
    )
    SECRET_CURRENT = "SecretCurrent", "The Secret holds the last values read and running pods were poked.", SILENT
    POKE_PENDING = "PokePending", "The Secret holds the last values read, not every running pod was poked yet.", SILENT

    # Those who use it.
    CONSUMERS_CURRENT = "ConsumersCurrent", "The declared proof is there that all consumers use the value.", SILENT
    AWAITING_CONSUMERS = "AwaitingConsumers", "Not all consumers are proved to use the value.", SILENT
    PROOF_UNDECLARED = "ProofUndeclared", "The spec does not say how consumers prove that they use a value.", SILENT
    NEEDS_RESTART = "NeedsRestart", "A workload will be restarted, or waits for somebody to let it be.", SILENT
    RESTARTING = "Restarting", "A workload is being restarted.", SILENT
    RESTARTED = "Restarted", "A workload was restarted, and its rollout is complete.", SILENT
    RESTART_FAILED = "RestartFailed", "The rollout of a restarted workload does not progress.", SILENT
    RESTART_NOT_ALLOWED = "RestartNotAllowed", "The operator has no rights to restart workloads here.", SILENT

    # What a rotation says, and keeps. Each run has its reason too.
    ELILE_SECRET_NOT_FOUND = "ElileSecretNotFound", "The ElileSecret does not exist.", SILENT
    SCHEDULE_NOT_FOUND = "ScheduleNotFound", "The RotationSchedule does not exist.", SILENT
    ROTATION_SCHEDULED = "RotationScheduled", "The value is rotated as the schedule says, or on demand.", SILENT
    ROTATION_STARTED = "RotationStarted", "A run has begun.", SILENT
    SOURCE_NOT_ROTATABLE = (
        "SourceNotRotatable",
        "The source is no unpinned entry of the engine kv of version 2.",
        SILENT,
    )
    TARGET_NOT_ALLOWED = "TargetNotAllowed", "The administrator's entry does not allow this server or user.", SILENT
    MANAGED_ELSEWHERE = "ManagedElsewhere", "The entry is rotated by somebody else.", SILENT
    CONSUMERS_CANNOT_FOLLOW = "ConsumersCannotFollow", "Some who use the value have no way to get a new one.", SILENT
    JOBS_NOT_ALLOWED = "JobsNotAllowed", "The operator has no rights to run Jobs here.", SILENT
    NEVER_FIRES = "NeverFires", "The schedule names no time that ever comes.", SILENT
    TIME_ZONE_UNKNOWN = "TimeZoneUnknown", "The time zone is not in the IANA database.", SILENT
    SUSPENDED = "Suspended", "The spec says that no run starts.", SILENT
    BLACKOUT = "Blackout", "A blackout is open: nothing starts and nothing is retired.", SILENT
    WINDOW_CLOSED = "WindowClosed", "The window closed before the new value was live.", SILENT
    MISSED_RUN = "MissedRun", "A time of the schedule passed without a run.", SILENT
    WAITING_FOR_GROUP = "WaitingForGroup", "Another run of the group goes first.", SILENT
    VALUE_DUE = "ValueDue", "Somebody has to stage another value.", SILENT
    VALUE_STAGED = "ValueStaged", "A value was found in the inbox.", SILENT
    APPLIED = "Applied", "The new value is set at the target.", SILENT
    VERIFICATION_PASSED = "VerificationPassed", "All hooks passed.", SILENT
    VERIFICATION_FAILED = "VerificationFailed", "A hook failed.", SILENT
    VERIFICATION_INCONCLUSIVE = "VerificationInconclusive", "A hook came to no result.", SILENT
    PROMOTED = "Promoted", "The new value is live.", SILENT
    PROOF_TIMEOUT = "ProofTimeout", "The proof of the consumers did not come in time.", SILENT
    RETIRED = "Retired", "The old value no longer works.", SILENT
    PREVIOUS_UNUSED = (
        "PreviousUnused",
        "The old value is proved unused and may be withdrawn where it was issued.",
        SILENT,
    )
    PREVIOUS_RETIRED = "PreviousRetired", "The previous value was retired and cannot come back.", SILENT
    KEYS_DISABLED = (
        "KeysDisabled",
        "Keys that were replaced long ago no longer decrypt, until they are enabled.",
        SILENT,
    )
    VALUE_COMPROMISED = "ValueCompromised", "The previous value is known to others and must not come back.", SILENT
    ALREADY_DONE = "AlreadyDone", "A run of this name was done before.", SILENT
    SUPERSEDED = "Superseded", "An emergency took the run over.", SILENT
    ROLLED_BACK = "RolledBack", "The old value is live again.", SILENT
    ABORTED = "Aborted", "The run was undone before anybody was given the new value.", SILENT
    EXTERNAL_CHANGE = "ExternalChange", "Somebody else changed the value.", SILENT
    DRIFT_DETECTED = "DriftDetected", "The value that is live no longer passes its hooks.", SILENT
    PREFLIGHT_FAILED = "PreflightFailed", "The rotation could not succeed as things are, so it was not begun.", SILENT
    TARGET_UNREACHABLE = "TargetUnreachable", "The server that the value is for does not answer.", SILENT
    JOURNAL_CONFLICT = "JournalConflict", "Somebody else wrote the journal of the rotation.", SILENT
    JOURNAL_ORPHANED = "JournalOrphaned", "The object went while both values were valid; both stay so.", SILENT
    NEEDS_INTERVENTION = "NeedsIntervention", "The run cannot go on or back by itself; nothing was removed.", SILENT
    BREAK_GLASS = "BreakGlass", "A person set safeguards aside.", SILENT


@dataclass(frozen=True, slots=True)
class ServerEffect:
    """What a reason makes of the conditions of a VaultServer."""

    ready: Mark
    reachable: Mark
    unsealed: Mark


_NO_ANSWER = ServerEffect(Mark.FALSE, Mark.FALSE, Mark.UNKNOWN)
_NOT_ASKED = ServerEffect(Mark.FALSE, Mark.UNKNOWN, Mark.UNKNOWN)

# The reasons a VaultServer can have: its own state, where "not now" is False; its tenants keep what they have.
SERVER_EFFECTS: Mapping[Reason, ServerEffect] = MappingProxyType(
    {
        Reason.SERVER_READY: ServerEffect(Mark.TRUE, Mark.TRUE, Mark.TRUE),
        Reason.VAULT_THROTTLED: ServerEffect(Mark.FALSE, Mark.TRUE, Mark.KEEP),
        Reason.VAULT_SEALED: ServerEffect(Mark.FALSE, Mark.TRUE, Mark.FALSE),
        Reason.VAULT_UNREACHABLE: _NO_ANSWER,
        Reason.TLS_UNTRUSTED: _NO_ANSWER,
        Reason.PLAIN_HTTP_REFUSED: _NO_ANSWER,
        Reason.MALFORMED_RESPONSE: _NO_ANSWER,
        Reason.CA_BUNDLE_UNUSABLE: _NOT_ASKED,
        Reason.SPEC_INVALID: _NOT_ASKED,
    }
)


@dataclass(frozen=True, slots=True)
class ScheduleEffect:
    """What a reason makes of the conditions of a RotationSchedule.

    ready: runs start as the spec asks, and the live value is not known to be wrong.
    stalled: as for an ElileSecret, and where a person has to decide what becomes of a run.
    """

    ready: Mark
    stalled: Mark


_RUNS = ScheduleEffect(Mark.TRUE, Mark.FALSE)
_RUNS_NOT = ScheduleEffect(Mark.FALSE, Mark.FALSE)
_STALLS = ScheduleEffect(Mark.FALSE, Mark.TRUE)
_UNHEARD = ScheduleEffect(Mark.KEEP, Mark.FALSE)

# The reasons a RotationSchedule can have. Those of runs are no reasons of their schedule: the live value stays good.
SCHEDULE_EFFECTS: Mapping[Reason, ScheduleEffect] = MappingProxyType(
    {
        Reason.ROTATION_SCHEDULED: _RUNS,
        Reason.SUSPENDED: _RUNS,
        Reason.SPEC_INVALID: _STALLS,
        Reason.NEVER_FIRES: _STALLS,
        Reason.TIME_ZONE_UNKNOWN: _STALLS,
        # What it names in Kubernetes.
        Reason.ELILE_SECRET_NOT_FOUND: _RUNS_NOT,
        Reason.SOURCE_NOT_ROTATABLE: _STALLS,
        Reason.SERVER_NOT_FOUND: _RUNS_NOT,
        Reason.SERVER_NOT_READY: _UNHEARD,
        Reason.NAMESPACE_NOT_ALLOWED: _STALLS,
        Reason.NAMESPACE_NOT_BOUND: _RUNS_NOT,
        Reason.SERVICE_ACCOUNT_NOT_FOUND: _RUNS_NOT,
        Reason.AUDIENCE_NOT_ALLOWED: _STALLS,
        Reason.JOBS_NOT_ALLOWED: _RUNS_NOT,
        Reason.CONSUMERS_CANNOT_FOLLOW: _STALLS,
        Reason.PROOF_UNDECLARED: _STALLS,
        # The way to Vault, and what it answers.
        Reason.VAULT_UNREACHABLE: _UNHEARD,
        Reason.VAULT_SEALED: _UNHEARD,
        Reason.VAULT_THROTTLED: _UNHEARD,
        Reason.TLS_UNTRUSTED: _UNHEARD,
        Reason.CA_BUNDLE_UNUSABLE: _UNHEARD,
        Reason.MALFORMED_RESPONSE: _UNHEARD,
        Reason.PLAIN_HTTP_REFUSED: _STALLS,
        Reason.LOGIN_DENIED: _RUNS_NOT,
        Reason.ROLE_NOT_FOUND: _RUNS_NOT,
        Reason.PERMISSION_DENIED: _RUNS_NOT,
        Reason.MOUNT_NOT_FOUND: _RUNS_NOT,
        Reason.PATH_NOT_FOUND: _RUNS_NOT,
        Reason.VERSION_NOT_FOUND: _RUNS_NOT,
        Reason.VERSION_DELETED: _RUNS_NOT,
        Reason.READ_STALE: _UNHEARD,
        Reason.KEY_NOT_FOUND: _RUNS_NOT,
        Reason.SHAPE_INVALID: _RUNS_NOT,
        # The entry, its journal and the target. Two who rotate one entry: one of them has to go.
        Reason.MANAGED_ELSEWHERE: _STALLS,
        Reason.TARGET_NOT_ALLOWED: _RUNS_NOT,
        Reason.JOURNAL_CONFLICT: _RUNS_NOT,
        Reason.EXTERNAL_CHANGE: _RUNS_NOT,
        Reason.DRIFT_DETECTED: _RUNS_NOT,
        Reason.NEEDS_INTERVENTION: _STALLS,
    }
)
