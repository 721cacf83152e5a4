"""What a rotation in a process is asked for, and what it came to."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.rotation.journal import Past, Phase, Reason
from elile.secrets.rotation.schedule import Schedule

__all__ = ["PendingRotation", "RotationPolicy", "RotationResult", "RotationStatus", "status_of"]


class RotationStatus(StrEnum):
    """How a rotation ended, or that it has not."""

    ROTATED = "rotated"
    ABORTED = "aborted"  # before anybody saw the new value: everything is as it was
    ROLLED_BACK = "rolled_back"  # the old value is live again
    CONFLICT = "conflict"  # somebody else wrote the path meanwhile; theirs stays
    STUCK = "stuck"  # a person has to look; nothing was removed
    PENDING = "pending"  # goes on by itself: `run`, or `resume`


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationResult:
    """How far a rotation came. Holds no value.

    from_version and to_version are versions of the live path, None where it was not read or not written. `until` is
    when a pending one goes on. steps are the phases that it went through, in this process. `detail` says what to do.
    """

    path: str
    status: RotationStatus
    rotation_id: str
    reason: Reason = Reason.NONE
    detail: str = ""
    from_version: int | None = None
    to_version: int | None = None
    until: datetime | None = None
    steps: tuple[Phase, ...] = ()
    duration: timedelta = timedelta()

    @property
    def ok(self) -> bool:
        """Whether the new value is live and the rotation at its end."""
        return self.status is RotationStatus.ROTATED


@dataclass(frozen=True, slots=True)
class PendingRotation:
    """A rotation that has begun and has not ended."""

    path: str
    rotation_id: str
    occurrence: str
    phase: Phase
    reason: Reason


def status_of(past: Past) -> RotationStatus:
    """Say in one word how a rotation that is over has ended."""
    if past.result is Phase.DONE:
        return RotationStatus.ROTATED
    if past.result is Phase.ROLLED_BACK:
        return RotationStatus.ROLLED_BACK
    return RotationStatus.CONFLICT if past.reason is Reason.EXTERNAL_CHANGE else RotationStatus.ABORTED


@dataclass(frozen=True, slots=True, kw_only=True)
class RotationPolicy:
    """When a path is rotated: exactly one of `cron` and `interval`.

    cron: five fields or @hourly @daily @weekly @monthly @yearly, in `time_zone`, a name of the IANA database; `splay`
    delays by a fixed part of it, `window` ends the attempt (absent: at the next time). interval: this long after the
    last rotation, or after the path was first scheduled. Raises SecretsConfigurationError, and ScheduleError, which is
    a ValueError, for an expression or zone that is refused.
    """

    cron: str | None = None
    interval: timedelta | None = None
    time_zone: str = "UTC"
    splay: timedelta = timedelta()
    window: timedelta | None = None

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.interval is None):
            raise SecretsConfigurationError("a RotationPolicy has exactly one of cron and interval; correct it")
        if self.interval is not None and self.interval <= timedelta():
            raise SecretsConfigurationError("RotationPolicy.interval must be longer than zero")
        if self.cron is not None:
            self.schedule("check")

    def schedule(self, uid: str) -> Schedule:
        """Return the cron expression as a schedule; `uid` is what H and splay are derived from."""
        return Schedule.parse(self.cron or "", self.time_zone, uid=uid, splay=self.splay, window=self.window)
