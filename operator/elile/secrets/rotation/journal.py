"""What is written down about a rotation, so that any process can go on with it: the journal of one live path.

One entry is both the log and the place of the values that are not live yet, so that a phase and a value change
together, under one check-and-set.
"""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol, TypeAlias

from elile.secrets.redact import Redacted

__all__ = [
    "HISTORY",
    "NOBODY",
    "SCHEMA",
    "TERMINAL",
    "Intent",
    "Journal",
    "JournalEntry",
    "JournalFormatError",
    "JournalStore",
    "Owner",
    "Past",
    "Phase",
    "Reason",
    "Strategy",
    "Value",
    "decode",
    "encode",
    "release",
    "rotation_id",
]

SCHEMA = 1
HISTORY = 50

# All keys of an entry of the live path. Never changed after it was made.
Value: TypeAlias = Redacted[Mapping[str, Any]]

_NAMESPACE = uuid.UUID("6a3f6d0e-7d0b-5d0c-9c53-6f7a0c0f3b51")


class Phase(StrEnum):
    """How far a rotation is, as it is written down. What is done in each of them is told in `machine`."""

    PENDING = "Pending"
    APPLIED = "Applied"
    VERIFIED = "Verified"
    DISTRIBUTING = "Distributing"
    PROMOTED = "Promoted"
    GRACE = "Grace"
    RETIRING = "Retiring"
    DONE = "Done"
    ABORTING = "Aborting"
    ABORTED = "Aborted"
    REVERTING = "Reverting"
    ROLLED_BACK = "RolledBack"
    NEEDS_INTERVENTION = "NeedsIntervention"


TERMINAL = frozenset({Phase.DONE, Phase.ABORTED, Phase.ROLLED_BACK})


class Strategy(StrEnum):
    """How a new value comes to be valid beside, or instead of, the old one."""

    DUAL_USER = "DualUser"
    SINGLE_USER = "SingleUser"
    DUAL_PASSWORD = "DualPassword"  # noqa: S105 - the name of a strategy
    REPLACE = "Replace"
    EXTERNAL = "External"
    KEYSET = "Keyset"


class Intent(StrEnum):
    """A side effect that may have been sent since this was written. Written before, so that nothing is unannounced."""

    PROBE = "Probe"
    APPLY = "Apply"
    TAKE = "Take"
    WRITE_LIVE = "WriteLive"
    DELIVER = "Deliver"
    LOCK = "Lock"
    RESTORE = "Restore"
    WIPE = "Wipe"


class Reason(StrEnum):
    """Why a rotation stands where it stands, waits, or went back. A closed list."""

    NONE = ""
    BLACKOUT = "Blackout"
    BY_PERSON = "ByPerson"
    CURRENT_REFUSED = "CurrentRefused"
    EXTERNAL_CHANGE = "ExternalChange"
    INBOX_EMPTY = "InboxEmpty"
    IN_GRACE = "InGrace"
    IN_USE = "InUse"
    JOURNAL_FORMAT = "JournalFormat"
    JOURNAL_LOST = "JournalLost"
    LIVE_UNREADABLE = "LiveUnreadable"
    MANAGED_ELSEWHERE = "ManagedElsewhere"
    OLD_REFUSED = "OldRefused"
    OLD_STILL_WORKS = "OldStillWorks"
    PREFLIGHT = "Preflight"
    PROBES_EXHAUSTED = "ProbesExhausted"
    PROOF_TIMEOUT = "ProofTimeout"
    AWAITING_CONSUMERS = "AwaitingConsumers"
    REJECTED_BY_TARGET = "RejectedByTarget"
    RESTORE_FAILED = "RestoreFailed"
    SPACING_PROBES = "SpacingProbes"
    STALE_READ = "StaleRead"
    SUPERSEDED = "Superseded"
    TARGET_UNREACHABLE = "TargetUnreachable"
    VERIFICATION_FAILED = "VerificationFailed"
    VERIFICATION_INCONCLUSIVE = "VerificationInconclusive"
    WINDOW_CLOSED = "WindowClosed"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who rotates the path. `cluster` is the uid of the namespace kube-system, or a name of an application's choice."""

    cluster: str
    namespace: str
    name: str
    uid: str

    def adopts(self, other: "Owner") -> bool:
        """Whether `other` is this one before it was made again, so that its rotation is ours to go on with.

        What was released is anybody's.
        """
        same = (self.cluster, self.namespace, self.name) == (other.cluster, other.namespace, other.name)
        return same or other == NOBODY


# Whose journal was released.
NOBODY = Owner("", "", "", "")


@dataclass(frozen=True, slots=True)
class Past:
    """One rotation that has ended."""

    rotation_id: str
    occurrence: str
    result: Phase
    reason: Reason
    at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """All that is known of the rotation under way, or of the last one.

    base_version is the live version that it began with, live_version the last one that it wrote. distributed (keyset)
    is the old keyset with the new key added, pending the one with the new key as primary. attempts counts the probes of
    this phase that may have sent a wrong password; the next one is not sent before not_before. touched: a change at the
    target may have been sent. locking: so may the lock of the previous value. hurried: retire without proofs and grace.
    compromised: once it is replaced, the previous value must not come back. handled is the id of the last command that
    was obeyed. wiped: earlier versions are destroyed.
    """

    owner: Owner
    rotation_id: str
    occurrence: str
    strategy: Strategy
    phase: Phase
    base_version: int
    reason: Reason = Reason.NONE
    live_version: int | None = None
    pending: Value | None = None
    previous: Value | None = None
    distributed: Value | None = None
    attempts: int = 0
    not_before: datetime | None = None
    deadline: datetime | None = None
    intent: Intent | None = None
    touched: bool = False
    locking: bool = False
    delivered: bool = False
    restored: bool = False
    regenerated: bool = False
    hurried: bool = False
    compromised: bool = False
    wiped: bool = False
    inbox_version: int = 0
    handled: str = ""
    history: tuple[Past, ...] = ()

    @property
    def holds_values(self) -> bool:
        """Whether any value is in it."""
        return not (self.pending is None and self.previous is None and self.distributed is None)


@dataclass(frozen=True, slots=True)
class Journal:
    """What was read. No entry, and a version above 0: somebody deleted it, or it cannot be read (`problem`)."""

    entry: JournalEntry | None
    version: int
    problem: str = ""


class JournalStore(Protocol):
    """Where journals are kept. Blocks; raises SecretsError only."""

    def read(self, path: str) -> Journal:
        """Return what is stored; version 0 is nothing, ever. May be older than the last write (a standby answered)."""

    def write(self, path: str, entry: JournalEntry, *, cas: int) -> int:
        """Write the next version and return its number. `cas` is not the current version: SecretConflictError."""

    def wipe(self, path: str, *, keep_version: int) -> None:
        """Destroy all versions before `keep_version`. The caller has written that one, without values."""


class JournalFormatError(ValueError):
    """The entry was not written by a version of Elile that we know. Says which, and nothing that is in it."""


def rotation_id(*, cluster_id: str, namespace: str, mount: str, path: str, trigger: str) -> str:
    """Return the same id for the same trigger of the same live path.

    cluster_id and namespace are those of the Vault server; trigger is the label of an occurrence, or
    `<namespace>/<name>` of a Rotation.
    """
    live = uuid.uuid5(_NAMESPACE, json.dumps([cluster_id, namespace, mount, path]))
    return str(uuid.uuid5(live, trigger))


def release(store: JournalStore, path: str, owner: Owner) -> bool:
    """Let somebody else rotate the path; False where it is not the owner's, or a rotation is under way.

    Raises SecretConflictError when a rotation begins meanwhile.
    """
    journal = store.read(path)
    entry = journal.entry
    if entry is None or entry.phase not in TERMINAL or not entry.wiped or not owner.adopts(entry.owner):
        return False
    store.write(path, replace(entry, owner=NOBODY), cas=journal.version)
    return True


# ── as JSON ──────────────────────────────────────────────────────────────────────────────────────────────────────────

_PLAIN: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("rotation_id", "occurrence", "handled"), (str,)),
    **dict.fromkeys(("base_version", "attempts", "inbox_version"), (int,)),
    "live_version": (int, type(None)),
    **dict.fromkeys(("touched", "locking", "delivered", "restored", "regenerated", "hurried"), (bool,)),
    **dict.fromkeys(("compromised", "wiped"), (bool,)),
}
_VALUES = ("pending", "previous", "distributed")
_TIMES = ("not_before", "deadline")


def encode(entry: JournalEntry) -> dict[str, Any]:
    """Return what is stored. The values are in it, unwrapped: hand it to the server and to nothing else."""
    held: dict[str, Value | None] = {name: getattr(entry, name) for name in _VALUES}
    times: dict[str, datetime | None] = {name: getattr(entry, name) for name in _TIMES}
    return {
        "schema": SCHEMA,
        "owner": {
            "cluster": entry.owner.cluster,
            "namespace": entry.owner.namespace,
            "name": entry.owner.name,
            "uid": entry.owner.uid,
        },
        "strategy": entry.strategy.value,
        "phase": entry.phase.value,
        "reason": entry.reason.value,
        "intent": entry.intent.value if entry.intent else None,
        **{name: getattr(entry, name) for name in _PLAIN},
        **{name: None if value is None else dict(value.reveal()) for name, value in held.items()},
        **{name: None if moment is None else moment.isoformat() for name, moment in times.items()},
        "history": [
            [past.rotation_id, past.occurrence, past.result.value, past.reason.value, past.at.isoformat()]
            for past in entry.history
        ],
    }


def decode(data: Mapping[str, Any]) -> JournalEntry:
    """Return the entry. Raises JournalFormatError for another schema, or for what has not the shape of this one."""
    schema = data.get("schema")
    if type(schema) is not int or schema != SCHEMA:
        told = schema if type(schema) is int else "none"
        raise JournalFormatError(f"the journal has schema {told}, and this version of Elile reads {SCHEMA}")
    try:
        return JournalEntry(
            owner=Owner(**{name: str(data["owner"][name]) for name in ("cluster", "namespace", "name", "uid")}),
            strategy=Strategy(data["strategy"]),
            phase=Phase(data["phase"]),
            reason=Reason(data["reason"]),
            intent=None if data["intent"] is None else Intent(data["intent"]),
            **{name: _plain(data[name], types) for name, types in _PLAIN.items()},
            pending=_value(data["pending"]),
            previous=_value(data["previous"]),
            distributed=_value(data["distributed"]),
            not_before=_time(data["not_before"]),
            deadline=_time(data["deadline"]),
            history=tuple(
                Past(str(i), str(label), Phase(result), Reason(reason), datetime.fromisoformat(at))
                for i, label, result, reason, at in data["history"]
            ),
        )
    except (KeyError, TypeError, ValueError) as e:
        # The text of these errors may quote what was stored.
        raise JournalFormatError(f"the journal has not the shape of schema {SCHEMA} ({type(e).__name__})") from None


def _plain(stored: Any, types: tuple[type, ...]) -> Any:
    # By identity: a bool is an int, and is no version.
    if type(stored) not in types:
        raise TypeError("another type")
    return stored


def _value(stored: Any) -> Value | None:
    if stored is not None and not isinstance(stored, Mapping):
        raise TypeError("not an object")
    return None if stored is None else Redacted(stored)


def _time(stored: Any) -> datetime | None:
    return None if stored is None else datetime.fromisoformat(stored)
