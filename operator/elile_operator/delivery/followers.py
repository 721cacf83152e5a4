"""Those who read a live path, as the rotation engine asks for them: ElileSecrets of the cluster, and sessions."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.ports import SessionSource
from elile.secrets.rotation.steps import Delivered, Proofs
from elile_operator.decide.readers import Followed

__all__ = ["ClusterFollowers", "Quiet", "Readers"]


class Readers(Protocol):
    """The ElileSecrets that read the path. Called from the engine's thread."""

    def urge(self, live_version: int) -> None:
        """Have those that have not read this version yet look at the path now."""

    def followed(self, live_version: int) -> Followed:
        """Tell which of them do not use this version yet."""


@dataclass(slots=True)
class Quiet:
    """Since when no session of the old user was seen; it outlives the passes of one run, and no restart."""

    since: datetime | None = None

    def look(self, sessions: int | None, now: datetime) -> datetime | None:
        """Note how many sessions there are (None: nobody answers) and return since when there was none."""
        if sessions is None or sessions > 0:
            self.since = None
        elif self.since is None:
            self.since = now
        return self.since


class ClusterFollowers:
    """Delivers by having the readers read, and takes as proof what each of them declares.

    With `quiet_for` the target must not have seen a session of the old login for so long, too. `old` returns that
    login's value.
    """

    def __init__(
        self,
        readers: Readers,
        *,
        sessions: SessionSource | None,
        quiet: Quiet,
        quiet_for: timedelta | None,
        old: Callable[[Value], Value | None],
        now: Callable[[], datetime],
    ) -> None:
        self._readers = readers
        self._sessions = sessions
        self._quiet = quiet
        self._quiet_for = quiet_for
        self._old = old
        self._now = now

    def deliver(self, value: Value, live_version: int) -> Delivered:  # noqa: ARG002 - they read it themselves
        """Wake the readers: each reads with the identity of its own tenant, and writes its own Secret."""
        self._readers.urge(live_version)
        return Delivered.DONE

    def proofs(self, value: Value, live_version: int) -> Proofs:
        """Look at every reader, and at the target."""
        found = self._readers.followed(live_version)
        if not found.proved:
            self._readers.urge(live_version)  # one may have asked a standby that was behind
            return Proofs.WAITING
        return Proofs.PROVED if self._is_quiet(value) else Proofs.WAITING

    def _is_quiet(self, value: Value) -> bool:
        old = self._old(value)
        if self._quiet_for is None or self._sessions is None or old is None:
            return True
        since = self._quiet.look(self._sessions.sessions(old), self._now())
        return since is not None and self._now() - since >= self._quiet_for
