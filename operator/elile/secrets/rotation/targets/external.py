"""A new value that somebody else makes, and leaves in the inbox: a pipeline, a person, a provider's own rotation."""

from dataclasses import dataclass
from typing import Protocol

from elile.secrets.errors import SecretAccessDeniedError, SecretMountNotFoundError, SecretsConfigurationError
from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import Inbox
from elile.secrets.rotation.steps import Generated
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["ExternalTarget", "Staged"]


class Staged(Inbox, Protocol):
    """An inbox that can be looked into."""

    @property
    def where(self) -> str:
        """Where it is, for messages."""

    def read(self) -> tuple[int, Value] | None:
        """Return the version and what it holds, None for nothing. Raises SecretsError."""


@dataclass(frozen=True, slots=True)
class ExternalTarget:
    """Takes the keys that are in the inbox; the other keys of the live entry are copied."""

    inbox: Staged

    @property
    def strategy(self) -> Strategy:
        return Strategy.EXTERNAL

    def preflight(self, current: Value) -> str:
        """Look whether the inbox can be read, and fits what is in it now. Raises outages."""
        try:
            staged = self.inbox.read()
            if staged is not None:
                self._merged(current, staged[1])
        except (SecretAccessDeniedError, SecretMountNotFoundError) as e:
            return f"the inbox {self.inbox.where} cannot be read ({e.detail}): grant read on it"
        except SecretsConfigurationError as e:
            return e.detail
        return ""

    def generate(self, current: Value, taken: int) -> Generated:
        """Return what is newer in the inbox than `taken`, with pending None for nothing.

        Raises SecretsConfigurationError for keys that the live entry has not, and outages.
        """
        staged = self.inbox.read()
        if staged is None or staged[0] <= taken:
            return Generated(None)
        return Generated(self._merged(current, staged[1]), inbox_version=staged[0])

    def verify(self, value: Value, *, timeout: float) -> Verification:  # noqa: ARG002 - of `ports.Target`
        """Pass: who made the value has it in force already. Hooks judge it."""
        return Verification.passed("the value was made elsewhere; hooks judge it")

    def _merged(self, current: Value, staged: Value) -> Value:
        live, new = current.reveal(), staged.reveal()
        unknown = sorted(set(new) - set(live))
        if unknown:
            # A misspelt key would be promoted beside the old value, which would then be thought to be the new one.
            raise SecretsConfigurationError(
                f"the inbox {self.inbox.where} holds {', '.join(map(repr, unknown))}, which the live entry has not: "
                "write keys of the live entry only, or add the key there first",
                backend="",
            )
        if not new:
            raise SecretsConfigurationError(
                f"the inbox {self.inbox.where} holds an entry without keys: write those that change", backend=""
            )
        return Redacted({**live, **new})
