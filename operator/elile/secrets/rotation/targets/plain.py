"""A new value that somebody else accepts without being told: API keys of one's own service, secrets of sessions."""

import secrets
from dataclasses import dataclass

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.generators import Generator, GeneratorError, RandBytes
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.steps import Generated
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["ReplaceTarget", "draw"]


@dataclass(frozen=True, slots=True)
class ReplaceTarget:
    """Makes the value of one key of the live entry; the other keys are copied.

    `field` is that key, and may be absent where the entry has one key. `randbytes` returns as many random bytes as it
    is asked for (those of `secrets`).
    """

    generator: Generator
    field: str | None = None
    randbytes: RandBytes = secrets.token_bytes

    @property
    def strategy(self) -> Strategy:
        return Strategy.REPLACE

    def preflight(self, current: Value) -> str:
        """Look whether the key is there: one that is not would be a new key that nobody reads."""
        try:
            self._field(current)
        except SecretsConfigurationError as e:
            return e.detail
        return ""

    def generate(self, current: Value, taken: int) -> Generated:  # noqa: ARG002 - of `ports.Target`
        """Draw a value.

        Raises SecretsConfigurationError when the entry has not the key, or the source of randomness is broken.
        """
        field = self._field(current)
        return Generated(Redacted({**current.reveal(), field: draw(self.generator, self.randbytes).reveal()}))

    def verify(self, value: Value, *, timeout: float) -> Verification:  # noqa: ARG002 - of `ports.Target`
        """Pass: nobody is asked, so there is nothing to find out. Hooks judge the value."""
        return Verification.passed("nobody has to be told of the value; hooks judge it")

    def _field(self, current: Value) -> str:
        found = current.reveal()
        if self.field is None:
            if len(found) == 1:
                return next(iter(found))
            raise SecretsConfigurationError(
                f"the live entry has {len(found)} keys: name the one to replace in field", backend=""
            )
        if self.field not in found:
            raise SecretsConfigurationError(
                f"the live entry has no key {self.field!r}: correct field, or write the key once by hand", backend=""
            )
        return self.field


def draw(generator: Generator, randbytes: RandBytes) -> SecretStr:
    """Return a new value. Raises SecretsConfigurationError, SecretBackendMissingError."""
    try:
        return generator.generate(randbytes)
    except GeneratorError as e:
        raise SecretsConfigurationError(str(e), backend="") from None
