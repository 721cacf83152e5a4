"""A server with two accounts, in memory: what a database is to a rotation, with faults on demand."""

from dataclasses import dataclass, field

from elile.secrets.errors import SecretConflictError, SecretsUnavailableError
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.steps import Applied, Generated, Locked, Login, Restored
from elile.secrets.rotation.verify.outcome import Verification


@dataclass
class Accounts:
    """An AccountTarget with two users. `down` answers nothing; `stubborn` does not lock."""

    passwords: dict[str, SecretStr | None] = field(default_factory=dict)
    strategy: Strategy = Strategy.DUAL_USER
    down: bool = False
    stubborn: bool = False
    epochs: dict[str, int] = field(default_factory=dict)

    def preflight(self, current: Value) -> str:
        user = current.reveal()["username"]
        return "" if user in self.passwords else f"the user {user!r} is none of {sorted(self.passwords)}: add it"

    def generate(self, current: Value, taken: int) -> Generated:
        now = current.reveal()["username"]
        user = now if self.strategy is Strategy.SINGLE_USER else next(n for n in self.passwords if n != now)
        drawn = password(exclude="'").generate()
        return Generated(Redacted({**current.reveal(), "username": user, "password": drawn.reveal()}))

    def probe(self, value: Value) -> Login:
        if self.down:
            return Login.UNREACHABLE
        held = value.reveal()
        return Login.WORKS if self.passwords.get(held["username"]) == SecretStr(held["password"]) else Login.REFUSED

    def verify(self, value: Value, *, timeout: float) -> Verification:
        match self.probe(value):
            case Login.WORKS:
                return Verification.passed("it logs in")
            case Login.REFUSED:
                return Verification.failed("it does not log in")
            case Login.UNREACHABLE:
                return Verification.inconclusive("nothing answers")

    def apply(self, value: Value, *, fence: Fence) -> Applied:
        if self.down:
            return Applied.UNREACHABLE
        self._change(value, SecretStr(value.reveal()["password"]), fence)
        return Applied.ACCEPTED

    def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:
        if value.reveal()["username"] == keep.reveal()["username"]:
            return Locked.IN_USE
        if self.down:
            return Locked.UNREACHABLE
        if not self.stubborn:
            self._change(value, None, fence)
        return Locked.DONE

    def restore(self, value: Value, *, fence: Fence) -> Restored:
        if self.down:
            raise SecretsUnavailableError("the answer was lost")
        self._change(value, SecretStr(value.reveal()["password"]), fence)
        return Restored.ACCEPTED

    def _change(self, value: Value, made: SecretStr | None, fence: Fence) -> None:
        user = value.reveal()["username"]
        if fence.epoch < self.epochs.get(user, 0):
            raise SecretConflictError(f"{user} has seen a later change")
        self.epochs[user] = fence.epoch
        self.passwords[user] = made
