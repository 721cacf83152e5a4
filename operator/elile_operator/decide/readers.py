"""Those who read a live path: whether they can follow a rotation at all, and whether they have followed it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from elile_operator.api.consumers import Proof, RestartWhen
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.reasons import Reason
from elile_operator.api.rotating import Promote
from elile_operator.decide.conditions import condition
from elile_operator.decide.violation import Violation

__all__ = ["Counted", "Followed", "Reader", "can_follow", "count", "has_followed", "name_others", "read_readers"]

NAMED = 3  # names in a message
LISTED = 10  # names in a status


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """One source of an ElileSecret that has read the live path, and what is known of those who use it."""

    namespace: str
    name: str
    source: str
    where: str
    version: int
    pinned: bool
    proof: Proof | None
    restart: RestartWhen
    delivered: bool  # the Secret holds what was read last, and running pods were poked
    proved: bool
    changed: datetime | None
    total: int
    current: int
    stale: tuple[str, ...]
    need_restart: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Followed:
    """Whether all readers use a version; `waits_for` are those that do not, each with what it waits for."""

    waits_for: tuple[tuple[Reader, str], ...]
    look_after: timedelta | None = None

    @property
    def proved(self) -> bool:
        return not self.waits_for


@dataclass(frozen=True, slots=True)
class Counted:
    """Pods of all readers together."""

    total: int
    current: int
    stale: tuple[str, ...]

    @property
    def summary(self) -> str:
        return f"{self.current}/{self.total}"


def read_readers(secrets: Iterable[ElileSecret], cluster: str, where: str) -> tuple[Reader, ...]:
    """Return the sources that have read `where` in a Vault at least once, of objects that are to stay.

    Who only names the path, and was never let read it, is none: nobody can hold up the rotation of a value that is
    not theirs. `where` is as in a status: namespace of Vault, mount and path.
    """
    found = []
    for secret in secrets:
        if secret.metadata.deletion_timestamp is not None or secret.status.cluster_id != cluster:
            continue
        wanted = {source.name: source for source in secret.spec.sources}
        for told in secret.status.sources:
            source = wanted.get(told.name)
            if told.path == where and told.version is not None and source is not None:
                pinned = source.kv is not None and source.kv.version is not None
                found.append(_reader(secret, told.name, where, told.version, pinned))
    return tuple(found)


def _reader(secret: ElileSecret, source: str, where: str, version: int, pinned: bool) -> Reader:
    status, consumers = secret.status, secret.status.consumers
    return Reader(
        namespace=secret.metadata.namespace or "",
        name=secret.metadata.name,
        source=source,
        where=where,
        version=version,
        pinned=pinned,
        proof=secret.spec.consumers.proof,
        restart=secret.spec.consumers.restart.when,
        delivered=condition(status.conditions, "SecretCurrent") is ConditionStatus.TRUE,
        proved=condition(status.conditions, "ConsumersCurrent") is ConditionStatus.TRUE,
        changed=status.last_change_time,
        total=(consumers.total if consumers else None) or 0,
        current=(consumers.current if consumers else None) or 0,
        stale=consumers.stale if consumers else (),
        need_restart=consumers.need_restart if consumers else (),
    )


# ── before a rotation begins ─────────────────────────────────────────────────────────────────────────────────────────


def can_follow(readers: Sequence[Reader], promote: Promote, namespace: str) -> Violation | None:
    """Return why the old value could never be retired, or None. Readers elsewhere than `namespace` are not named."""
    for check, why in _CANNOT:
        if late := [reader for reader in readers if check(reader)]:
            return Violation(Reason.CONSUMERS_CANNOT_FOLLOW, f"{_named(late, namespace)} {why}")
    undeclared = [reader for reader in readers if reader.proof is None]
    if undeclared and promote.undeclared_wait is None and promote.sessions_quiet is None:
        return Violation(
            Reason.PROOF_UNDECLARED,
            f"{_named(undeclared, namespace)} says nothing of how its consumers prove that they use a new value: "
            "declare spec.consumers.proof there, or say in spec.promote.undeclared how long to wait for them",
        )
    return None


def _pinned(reader: Reader) -> bool:
    return reader.pinned


def _cannot_see(reader: Reader) -> bool:
    return bool(reader.need_restart) and reader.restart is RestartWhen.NEVER


def _not_restarted(reader: Reader) -> bool:
    return reader.proof is not None and reader.proof.rollout is not None and reader.restart is RestartWhen.NEVER


_CANNOT: tuple[tuple[Callable[[Reader], bool], str], ...] = (
    (_pinned, "pins the version that it reads (kv.version), and would keep a value that ends: remove the pin"),
    (
        _cannot_see,
        "has pods that see a new value only after a restart, and nothing restarts them: set "
        "spec.consumers.restart.when to CannotSeeFile there, or mount the Secret as a volume",
    ),
    (
        _not_restarted,
        "declares the proof rollout, and nothing restarts its workloads: set spec.consumers.restart.when to Changed "
        "there, or declare another proof",
    ),
)


# ── while one runs ───────────────────────────────────────────────────────────────────────────────────────────────────


def has_followed(readers: Sequence[Reader], live_version: int, promote: Promote, now: datetime) -> Followed:
    """Tell which readers do not use a version yet, each as it declares. Sessions at the target are not looked at."""
    waits, looks = [], []
    for reader in readers:
        why, look = _waits(reader, live_version, promote, now)
        if why:
            waits.append((reader, why))
        if look is not None:
            looks.append(look)
    return Followed(tuple(waits), min(looks, default=None))


def _waits(reader: Reader, live_version: int, promote: Promote, now: datetime) -> tuple[str, timedelta | None]:
    if reader.version < live_version:
        return f"it has delivered version {reader.version} and not {live_version} yet", None
    if not reader.delivered:
        return "its running pods were not poked yet", None
    if reader.proof is not None:
        return ("", None) if reader.proved else ("its consumers are not proved to use the new value", None)
    wait = promote.undeclared_wait
    if wait is None or reader.changed is None or now >= reader.changed + wait:
        return "", None
    left = reader.changed + wait - now
    return f"it declares no proof, so it is given until {reader.changed + wait:%Y-%m-%dT%H:%M:%SZ}", left


def count(readers: Sequence[Reader], live_version: int | None, namespace: str) -> Counted:
    """Add up the pods of all readers; those elsewhere than `namespace` are counted and not named."""
    behind = [r for r in readers if live_version is not None and r.version < live_version]
    current = sum(reader.current for reader in readers if reader not in behind)
    stale = [name for reader in readers if reader.namespace == namespace for name in reader.stale]
    return Counted(sum(reader.total for reader in readers), current, tuple(stale)[:LISTED])


def name_others(readers: Sequence[Reader], namespace: str, own: str) -> tuple[str, ...]:
    """Return up to ten other ElileSecrets of `namespace` that read the path, and how many there are elsewhere."""
    names = sorted({r.name for r in readers if r.namespace == namespace and r.name != own})[:LISTED]
    elsewhere = len({(r.namespace, r.name) for r in readers if r.namespace != namespace})
    return (*names, *([f"{elsewhere} of other namespaces"] if elsewhere else []))


def _named(readers: Sequence[Reader], namespace: str) -> str:
    names = [f"ElileSecret {r.name!r}" for r in readers if r.namespace == namespace]
    elsewhere = len({(r.namespace, r.name) for r in readers if r.namespace != namespace})
    if elsewhere:
        names.append(f"{elsewhere} ElileSecret{'s' if elsewhere > 1 else ''} of other namespaces")
    return ", ".join(names[:NAMED])
