"""A world that a rotation happens in: KV v2, a target, Secrets and consumers; and the promises, checked at each step.

Every call of a driver goes through `World.call`, which may fail before it, after it, instead of it, do it twice, or
answer as a standby that is behind, or as a target that nobody reaches. The manners of KV v2 are those of the server,
by its source.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, TypeVar

from elile.secrets.redact import Redacted
from elile.secrets.rotation.journal import TERMINAL, JournalEntry, Phase, Strategy, Value
from elile.secrets.rotation.moves import MAX_PROBES
from elile.secrets.rotation.policy import OnProofTimeout

T = TypeVar("T")
START = datetime(2026, 11, 24, 2, 30, tzinfo=UTC)
GRACE = timedelta(hours=1)
MAX_VERSIONS = 10
KINDS = ("before", "after", "err", "twice", "other")


class CrashError(Exception):
    """The process dies, before the call or after it."""


class TransientError(Exception):
    """The call was not made, and the driver is told."""


class CasError(Exception):
    """The check-and-set did not fit."""


class FencedError(Exception):
    """The target, or the Secret, has seen a later epoch."""


class Violation(Exception):  # noqa: N818 - what it is
    """A promise was broken; the first word of the text is which."""


class KV(Generic[T]):
    """One entry of the KV engine, version 2."""

    def __init__(self) -> None:
        self.versions: dict[int, T] = {}
        self.current = 0

    def write(self, data: T, cas: int | None) -> int:
        if cas is not None and cas != self.current:
            raise CasError
        self.current += 1
        self.versions[self.current] = data
        self.versions.pop(self.current - MAX_VERSIONS, None)
        return self.current

    def read(self, *, behind: bool = False) -> tuple[T | None, int]:
        """Never falls back to an older version; a standby shows the state before the last write."""
        if behind and self.current - 1 in self.versions:
            return self.versions[self.current - 1], self.current - 1
        return self.versions.get(self.current), self.current

    def destroy(self, below: int) -> None:
        self.versions = {number: data for number, data in self.versions.items() if number >= below}


def credential(user: str, password: str) -> Value:
    return Redacted({"username": user, "password": password})


def keyset(primary: str, *keys: str) -> Value:
    return Redacted({"primary": primary, "keys": keys})


def key(value: Value) -> Any:
    held = value.reveal()
    return tuple(held.items())


@dataclass(slots=True)
class Secret:
    """A Secret made from the live path, and what its consumers took from it."""

    value: Value
    epoch: int
    held: list[Value]
    lag: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """What happens besides the faults. foreign: somebody writes the live path just before we do; meddled: in a phase.

    slow: looks at the proofs until a consumer takes a new value. window: it closes after 15 s. compromised: the value
    that is replaced must not come back. negative: the old value is tried before it is locked, and after.
    """

    strategy: Strategy
    hook: str = "ok"
    after: str = "ok"
    target: str = "ok"
    foreign: bool = False
    command: tuple[Phase, str] | None = None
    meddled: Phase | None = None
    slow: int = 1
    hurried: bool = False
    window: bool = False
    negative: bool = False
    compromised: bool = False
    on_timeout: OnProofTimeout = OnProofTimeout.HOLD

    def __str__(self) -> str:
        hooks = [f"{name} {what}" for name, what in (("hook", self.hook), ("after", self.after)) if what != "ok"]
        told = (*hooks, self.target, "slow" * (self.slow > 1), "foreign" * self.foreign, "hurried" * self.hurried)
        more = (
            "window" * self.window,
            "negative" * self.negative,
            "compromised" * self.compromised,
            f"meddled@{self.meddled}" if self.meddled else "",
            self.on_timeout,
        )
        command = "" if self.command is None else f"{self.command[1]}@{self.command[0]}"
        return "-".join((self.strategy, *(word for word in (*told, *more, command) if word not in ("ok", "", "Hold"))))


@dataclass(slots=True)
class Guards:
    """What protects besides the check-and-set; taken away to show that it is needed."""

    target_epoch: bool = True
    secret_epoch: bool = True


@dataclass(slots=True)
class World:
    """See the module. `n` counts calls; `faults` maps the number of a call to what goes wrong."""

    scenario: Scenario
    faults: dict[int, str]
    guards: Guards = field(default_factory=Guards)
    now: datetime = START
    n: int = 0
    names: list[str] = field(default_factory=list)
    live: KV[Value] = field(default_factory=KV)
    journal: KV[JournalEntry] = field(default_factory=KV)
    accounts: dict[str, set[str]] = field(default_factory=dict)
    epochs: dict[str, int] = field(default_factory=dict)
    verified: set[Any] = field(default_factory=set)
    foreign: set[Any] = field(default_factory=set)
    proved_good: Any = None
    proved_at: datetime = START
    secrets: list[Secret] = field(default_factory=list)
    begun: list[str] = field(default_factory=list)
    wrong: dict[tuple[str, str], int] = field(default_factory=dict)
    promoted_at: datetime | None = None
    outage_allowed: bool = False
    used: set[str] = field(default_factory=set)
    made: int = 0
    highest: tuple[int, int] = (0, 0)
    rejected: int = 0
    began_with: Value | None = None

    def __post_init__(self) -> None:
        first = keyset("k0", "k0") if self.keys else credential("a", "p0")
        self.accounts = {"a": {"p0"}, "b": set()}
        self.live.write(first, 0)
        self.verified.add(key(first))
        self.secrets = [Secret(first, 1, [first, first], [0, 0]), Secret(first, 1, [first], [0])]
        self.began_with = first

    @property
    def keys(self) -> bool:
        return self.scenario.strategy is Strategy.KEYSET

    @property
    def target(self) -> bool:
        return self.scenario.strategy in (Strategy.DUAL_USER, Strategy.DUAL_PASSWORD, Strategy.SINGLE_USER)

    # ── calls ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def call(self, name: str, act: Callable[[], T], other: Callable[[], T] | None = None, *, once: bool = False) -> T:
        """Make a call, with the fault that is due. other: a standby's answer, or nobody's; once: nothing repeats it."""
        number, self.n = self.n, self.n + 1
        self.names.append(name)
        fault = self.faults.get(number)
        if fault == "before":
            raise CrashError
        if fault == "err":
            raise TransientError
        if fault == "other" and other is not None:
            return other()
        result = act()
        if not name.endswith(".read"):
            self.check(name)
        if fault == "twice" and not once:  # the transport tried again: its first answer is lost
            result = act()
            self.check(name)
        if fault == "after":
            raise CrashError
        return result

    def write_journal(self, entry: JournalEntry, cas: int) -> int:
        before, _ = self.journal.read()
        version = self.journal.write(entry, cas)
        under_way = before is not None and before.phase not in TERMINAL
        if under_way and before is not None and before.rotation_id != entry.rotation_id:
            raise Violation("I4 a second rotation began while one was under way")
        if entry.phase is Phase.PENDING and not under_way:
            self.begun.append(entry.occurrence)
        if entry.phase is Phase.PROMOTED and self.promoted_at is None:
            self.promoted_at = self.now
        if entry.phase is self.scenario.meddled:
            self.meddle()
        return version

    def meddle(self) -> None:
        """Somebody else writes the live path, once."""
        if not self.foreign:
            by_hand: Value = Redacted(
                {"username": "a", "password": "p0", "by": "hand", "primary": "k0", "keys": ("k0", "k1")}
            )
            self.foreign.add(key(by_hand))
            self.live.write(by_hand, None)

    def write_live(self, value: Value, cas: int | None) -> int:
        now, _ = self.live.read()
        entry, _ = self.journal.read()
        version = self.live.write(value, cas)
        begun_with = entry.previous if entry is not None else None
        if now is not None and key(now) in self.foreign and now != begun_with:
            raise Violation("I4 what somebody else wrote was overwritten")
        return version

    def login(self, value: Value) -> bool:
        if not self.target:
            return key(value) in self.verified
        held = value.reveal()
        return held["password"] in self.accounts.get(held["username"], set())

    def probe(self, value: Value) -> bool:
        works = self.login(value)
        entry, _ = self.journal.read()
        # A password that we have locked is refused as it should be, and locks nobody out.
        if not works and entry is not None and not (entry.locking and entry.previous == value):
            place = (entry.rotation_id, entry.phase.value)
            self.wrong[place] = self.wrong.get(place, 0) + 1
            if self.wrong[place] > MAX_PROBES:
                raise Violation(f"lockout: a wrong password was sent more than {MAX_PROBES} times in {entry.phase}")
        return works

    def change(self, value: Value, epoch: int, *, valid: bool, alone: bool) -> None:
        """Change an account at the target; in PostgreSQL's way it refuses what is older than what it has seen."""
        user, password = value.reveal()["username"], value.reveal()["password"]
        if self.guards.target_epoch and epoch < self.epochs.get(user, 0):
            raise FencedError
        self.epochs[user] = epoch
        held = self.accounts.setdefault(user, set())
        if valid and alone:
            self.accounts[user] = {password}
            self.outage_allowed |= self.scenario.strategy is Strategy.SINGLE_USER
        elif valid:
            held.add(password)
        elif alone:
            self.accounts[user] = set()
        else:
            held.discard(password)
        if self.proved_good is not None and not self.login(Redacted(dict(self.proved_good))):
            self.proved_good = None

    def lock(self, value: Value, keep: Value, epoch: int) -> bool:
        """Lock an account, or with two passwords take one away; False when `keep` needs it."""
        both = self.scenario.strategy is Strategy.DUAL_PASSWORD
        if key(value) == key(keep) or (not both and value.reveal()["username"] == keep.reveal()["username"]):
            return False
        entry, _ = self.journal.read()
        if entry is not None and entry.phase is Phase.RETIRING and entry.previous == value:
            self._may_retire(entry)
        self.change(value, epoch, valid=False, alone=not both)
        return True

    def _may_retire(self, entry: JournalEntry) -> None:
        # Not what is live: a standby may hide what somebody else wrote a moment ago, and no read can tell.
        if entry.pending is None or self.proved_good != key(entry.pending):
            raise Violation("I6 retired, and the new value was not verified once more")
        if entry.hurried:
            self.outage_allowed = True
            return
        if self.scenario.on_timeout is OnProofTimeout.PROCEED:
            self.outage_allowed = True
        elif any(held == entry.previous for secret in self.secrets for held in secret.held):
            raise Violation("I6 retired, and a consumer still holds the old value")
        if self.promoted_at is None or self.now < self.promoted_at + GRACE:
            raise Violation("I6 retired before the grace was over")
        if self.proved_at < self.promoted_at + GRACE:
            raise Violation("I6 retired, and the new value was not verified after the grace")

    def deliver(self, secret: Secret, value: Value, version: int) -> bool:
        if self.guards.secret_epoch and version < secret.epoch:
            return False
        if secret.value != value:
            secret.lag = [0] * len(secret.lag)
        secret.value, secret.epoch = value, version
        return True

    def look(self, value: Value, only: int | None = None) -> bool:
        """Consumers take what is delivered, some looks later; True when all of them hold the value."""
        live, version = self.live.read()
        if live is not None:
            self.deliver(self.secrets[1], live, version)
        for number, secret in enumerate(self.secrets):
            for i, held in enumerate(secret.held):
                secret.lag[i] += 1
                if held != secret.value and secret.lag[i] > self.scenario.slow * (i + 6 * number):
                    secret.held[i] = secret.value
        looked = self.secrets if only is None else self.secrets[:only]
        done = all(held == value for secret in looked for held in secret.held)
        everybody = [held for secret in self.secrets for held in secret.held]
        if self.outage_allowed and all(held == value and self.login(held) for held in everybody):
            self.outage_allowed = False
        return done

    # ── promises ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def check(self, where: str) -> None:
        live, version = self.live.read()
        entry, written = self.journal.read()
        if live is None:
            raise Violation(f"I5 the live path is not readable after {where}")
        if version < self.highest[0] or written < self.highest[1]:
            raise Violation(f"I5 version numbers went back after {where}")
        self.highest = (version, written)
        everywhere = [live, *(s.value for s in self.secrets), *(held for s in self.secrets for held in s.held)]
        visible = list({id(value): value for value in everywhere}.values())
        for value in visible:
            if key(value) not in self.verified and key(value) not in self.foreign:
                raise Violation(f"I2 a value that was not verified is visible after {where}")
        if not self.outage_allowed:
            self.check_logins(visible, where)
        if self.scenario.compromised and self.promoted_at is not None:
            self.check_replaced(live, where)
        if self.keys:
            self.check_keys()
        if self.target:
            self.check_lost(where)
        if entry is not None:
            self.check_entry(entry, where)

    def check_replaced(self, live: Value, where: str) -> None:
        if key(live) in self.foreign or len(self.begun) > 1:  # the next rotation has another value to replace
            return
        if live == self.began_with or (self.keys and live.reveal()["primary"] == "k0"):
            raise Violation(f"compromised: the value that was replaced is live again after {where}")

    def check_logins(self, visible: list[Value], where: str) -> None:
        for value in visible:
            if key(value) not in self.foreign and not self.login(value):
                raise Violation(f"I1 a visible value does not log in after {where}")

    def check_keys(self) -> None:
        """Whatever was encrypted by anybody can be decrypted by everybody."""
        everybody = [held.reveal() for secret in self.secrets for held in secret.held]
        self.used |= {str(held["primary"]) for held in everybody}
        for held in everybody:
            if not self.used <= set(held["keys"]):
                raise Violation("I1 something was encrypted that a consumer cannot decrypt")

    def check_lost(self, where: str) -> None:
        known = {key(value) for value in self.live.versions.values()}
        for entry in self.journal.versions.values():
            known |= {key(value) for value in (entry.pending, entry.previous) if value is not None}
        for user, passwords in self.accounts.items():
            for password in passwords:
                if key(credential(user, password)) not in known:
                    raise Violation(f"I3 an active credential is readable nowhere after {where}")

    def check_entry(self, entry: JournalEntry, where: str) -> None:
        if entry.phase in TERMINAL:
            if entry.wiped and any(old.holds_values for old in self.journal.versions.values()):
                raise Violation(f"I12 a value is left in a journal that has ended, after {where}")
            return
        if entry.previous is None:
            raise Violation(f"I9 the previous value is not kept, after {where}")
        retired = entry.phase in (Phase.RETIRING, Phase.NEEDS_INTERVENTION)
        overlap = self.target and self.scenario.strategy is not Strategy.SINGLE_USER
        if overlap and not retired and not self.login(entry.previous):
            raise Violation(f"I9 the previous value was ended before it was retired, after {where}")
        if len(self.begun) != len(set(self.begun)):
            raise Violation("I10 one occurrence began two rotations")

    def check_end(self) -> None:
        """What must hold once everything was healthy for long enough."""
        entry, _ = self.journal.read()
        if len(self.begun) != len(set(self.begun)):
            raise Violation("I10 one occurrence began two rotations")
        if entry is None or (entry.phase not in TERMINAL and entry.phase is not Phase.NEEDS_INTERVENTION):
            raise Violation("I7 neither the end nor a person was reached")
        if entry.phase in TERMINAL:
            if any(old.holds_values for old in self.journal.versions.values()):
                raise Violation("I12 a value is left in a journal that has ended")
            live, _ = self.live.read()
            assert live is not None
            for _ in range(8 * self.scenario.slow):  # those who made a Secret of it by themselves come round to it
                self.look(live)
            self.check_logins([live, *(s.value for s in self.secrets)], "the end")
