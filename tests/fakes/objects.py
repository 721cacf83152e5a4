"""Objects as decisions see them, complete in every part; a case says only what is different in it."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from elile.secrets.redact import SecretBytes
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import OCCURRENCE_ANNOTATION, TRIGGER_ANNOTATION, Condition, ConditionStatus
from elile_operator.api.rotation import Rotation, Trigger
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.access import SourceRead
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.decide.live import LiveSecret

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
EARLIER = NOW - timedelta(hours=1)

KEY = FingerprintKey("k1", SecretBytes(b"one key of an installation"))
OTHER_KEY = FingerprintKey("k2", SecretBytes(b"the key of another one"))

UID = "11111111-1111-1111-1111-111111111111"
DATA = {"password": b"p", "username": b"u"}
OUR_LABELS = {"app.kubernetes.io/managed-by": "elile", "elile.io/secret": "db"}

READ = SourceRead(
    name="main",
    server="default",
    role="elile",
    namespace="shop",
    service_account="default",
    mount="secret",
    path="shop/db",
    version=None,
)


def elile_secret(
    *,
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    **spec: Any,
) -> ElileSecret:
    """ElileSecret shop/db of generation 3 with one source."""
    about = {"name": "db", "namespace": "shop", "uid": UID, "generation": 3}
    wanted = {"sources": [{"name": "main", "kv": {"path": "shop/db"}}]}
    return ElileSecret.from_body(
        {"metadata": about | (metadata or {}), "spec": wanted | spec, "status": status or {}},
    )


def vault_server(*, status: dict[str, Any] | None = None, **spec: Any) -> VaultServer:
    """VaultServer default of generation 2."""
    wanted = {"address": "https://vault.example:8200", "auth": {"kubernetes": {}}}
    return VaultServer.from_body(
        {"metadata": {"name": "default", "generation": 2}, "spec": wanted | spec, "status": status or {}}
    )


SCHEDULE_UID = "33333333-3333-3333-3333-333333333333"


def rotation_schedule(
    *, metadata: dict[str, Any] | None = None, status: dict[str, Any] | None = None, **spec: Any
) -> RotationSchedule:
    """RotationSchedule shop/weekly of generation 2: the value of ElileSecret db is replaced on demand.

    None takes a field away.
    """
    about = {"name": "weekly", "namespace": "shop", "uid": SCHEDULE_UID, "generation": 2}
    wanted = {
        "secretRef": {"name": "db", "source": "main"},
        "fields": {"value": "password"},
        "vault": {"role": "elile-rotator", "serviceAccountName": "rotator"},
        "value": {"generate": {"password": {"length": 32}}},
        "verify": [{"name": "http", "http": {"url": "https://shop.example/"}}],
    }
    present = {field: value for field, value in (wanted | spec).items() if value is not None}
    return RotationSchedule.from_body(
        {"metadata": about | (metadata or {}), "spec": present, "status": status or {}},
    )


def rotation(
    name: str = "by-hand",
    *,
    metadata: dict[str, Any] | None = None,
    status: dict[str, Any] | None = None,
    trigger: Trigger | None = None,
    occurrence: str | None = None,
    **spec: Any,
) -> Rotation:
    """Rotation of that schedule, made by a person unless a trigger is named."""
    told = {TRIGGER_ANNOTATION: trigger, OCCURRENCE_ANNOTATION: occurrence}
    about = {
        "name": name,
        "namespace": "shop",
        "uid": f"uid-{name}",
        "generation": 1,
        "creationTimestamp": "2030-01-01T11:00:00Z",
        "annotations": {key: value for key, value in told.items() if value},
    }
    return Rotation.from_body(
        {
            "metadata": about | (metadata or {}),
            "spec": {"scheduleRef": {"name": "weekly"}} | spec,
            "status": status or {},
        },
    )


# What the object above has delivered, exactly.
LIVE = LiveSecret(
    namespace="shop",
    name="db",
    uid="22222222-2222-2222-2222-222222222222",
    resource_version="100",
    type="Opaque",
    keys=frozenset(DATA),
    content=KEY.stamp(DATA),
    stamp=KEY.stamp(DATA),
    revision=5,
    labels=OUR_LABELS,
    annotations={"elile.io/fingerprint": str(KEY.stamp(DATA)), "elile.io/revision": "5"},
    owner_uids=frozenset({UID}),
    controller="ElileSecret db",
    controller_uid=UID,
    applied=EARLIER,
    deleting=False,
)


def live_secret(**changes: Any) -> LiveSecret:
    """Secret shop/db as it was delivered, but for what is said."""
    return replace(LIVE, **changes)


def condition(
    type_: str, status: str, reason: str, message: str = "m", *, generation: int = 3, since: datetime = EARLIER
) -> Condition:
    """A condition that has had its status for an hour."""
    return Condition(
        type=type_,
        status=ConditionStatus(status),
        reason=reason,
        message=message,
        last_transition_time=since,
        observed_generation=generation,
    )
