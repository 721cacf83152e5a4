"""What the engine needs from outside: a place where values become valid, the live path, its readers.

All methods block, have a deadline of their own, and raise SecretsError only. A call whose answer is lost raises; it is
never told as a result. SecretConflictError ends a pass: somebody else has gone on with the rotation.
"""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.steps import (
    Applied,
    Delivered,
    Generated,
    Live,
    Locked,
    Login,
    Proofs,
    Restored,
    Written,
)
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["AccountTarget", "Consumers", "Fence", "Inbox", "LivePath", "SessionSource", "Target"]


@dataclass(frozen=True, slots=True)
class Fence:
    """Who changes an account, and in which order.

    `journal` tells journals apart, and holds letters, digits and `-` only; `epoch` grows with every intent that is
    written to it. A target that can compare refuses another journal, and an epoch older than the last it has seen,
    with SecretConflictError; the same epoch again is the same change.
    """

    journal: str
    epoch: int


class Target(Protocol):
    """What a new value is made of, and what it has to pass."""

    @property
    def strategy(self) -> Strategy: ...

    def preflight(self, current: Value) -> str:
        """Look, without side effects, whether the rotation of this value can succeed.

        Returns what is wrong, with the remedy; empty when nothing is.
        """

    def generate(self, current: Value, taken: int) -> Generated:
        """Make a new value; `taken` is the version of the inbox that was taken last."""

    def verify(self, value: Value, *, timeout: float) -> Verification:
        """Show with a fresh connection that the value works and is whose it should be, within `timeout` seconds."""


@runtime_checkable
class AccountTarget(Target, Protocol):
    """A server with accounts. Wrong password, somebody else's and no answer are told apart."""

    def probe(self, value: Value) -> Login:
        """Log in once. Refused is a wrong password, a locked or a missing account; all else is unreachable."""

    def apply(self, value: Value, *, fence: Fence) -> Applied:
        """Make the value valid; it may be so already. Where the account has one password, no other is valid then."""

    def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:
        """Make the value invalid, unless `keep` needs the same account; it may be so already."""

    def restore(self, value: Value, *, fence: Fence) -> Restored:
        """Make an earlier value valid again, and in its account no other, but with DualPassword."""


@runtime_checkable
class SessionSource(Protocol):
    """A server that tells who is connected."""

    def sessions(self, value: Value) -> int | None:
        """Return how many sessions of the value's account are open just now, None when nobody answers.

        It is a look and no watch: a short session between two of them is missed, and one that has just ended may still
        be counted. Raises SecretAccessDeniedError with the remedy where they cannot be seen: none would be told as 0.
        """


@runtime_checkable
class Inbox(Protocol):
    """Where somebody else leaves the next value."""

    def destroy(self, version: int) -> None:
        """Destroy what was taken, up to and with this version."""


class LivePath(Protocol):
    """The entry that applications read."""

    def preflight(self) -> str:
        """Look, without side effects, whether it can be rotated; return what is wrong, with the remedy, or ""."""

    def read(self) -> Live:
        """Return the current version, which may be a standby's older one."""

    def write(self, value: Value, *, cas: int) -> Written:
        """Write the next version, if `cas` is current."""


class Consumers(Protocol):
    """Those who read the live path."""

    def deliver(self, value: Value, live_version: int) -> Delivered:
        """Put the value in front of the applications; what was made from a later live version stays."""

    def proofs(self, value: Value, live_version: int) -> Proofs:
        """Tell whether all of them were seen with this version, each as it declares."""
