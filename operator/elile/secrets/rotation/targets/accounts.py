"""One account of a database server or two: which of them is next, and what an administrator may do with them."""

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.generators import Generator, RandBytes
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.steps import Generated
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.targets.plain import draw

__all__ = ["Account", "Accounts", "AdminSource"]

# A function is asked before each use: the administrator's own password changes too.
AdminSource: TypeAlias = AdminEntry | Callable[[], AdminEntry]

_HOW_MANY = {Strategy.DUAL_USER: 2, Strategy.SINGLE_USER: 1}


@dataclass(frozen=True, slots=True)
class Account:
    """Who logs in, and how."""

    username: str
    password: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class Accounts:
    """The accounts that take turns; with SingleUser it is one, whose password changes under those who use it.

    Raises SecretsConfigurationError for another number of users than the strategy has, one of them twice, and
    SingleUser without `accept_downtime`.
    """

    strategy: Strategy
    users: Sequence[str]
    admin: AdminSource
    generator: Generator
    fields: CredentialFields
    accept_downtime: bool = False
    longest: int = 63
    randbytes: RandBytes = secrets.token_bytes

    def __post_init__(self) -> None:
        wanted = _HOW_MANY.get(self.strategy)
        if wanted is None:
            raise SecretsConfigurationError(
                f"strategy is {self.strategy}: a database has {' and '.join(_HOW_MANY)}", backend=""
            )
        if len(set(self.users)) != wanted or len(self.users) != wanted:
            raise SecretsConfigurationError(f"users names {wanted} of them with {self.strategy}, each once", backend="")
        for user in self.users:
            if not user or "\0" in user or len(user.encode("utf-8", "surrogatepass")) > self.longest:
                raise SecretsConfigurationError(
                    f"users[] has {user!r}: a name has 1 to {self.longest} bytes, none of them zero", backend=""
                )
        if self.strategy is Strategy.SINGLE_USER and not self.accept_downtime:
            raise SecretsConfigurationError(
                "with SingleUser no password works from its change until every reader has the next one: take "
                "DualUser, or accept the downtime expressly",
                backend="",
            )

    def of(self, value: Value) -> Account:
        """Return the login that a value is. Raises SecretsConfigurationError for one that is not one of the users."""
        found = value.reveal()
        username, password = found.get(self.fields.username), found.get(self.fields.value)
        if not isinstance(username, str) or username not in self.users:
            # Not the name that is there: it may be anything.
            raise SecretsConfigurationError(
                f"{self.fields.username} of the live entry is none of users ({', '.join(self.users)}): put the user "
                "that is in use into users, or write one of these into the entry",
                backend="",
            )
        if not isinstance(password, str) or not password:
            raise SecretsConfigurationError(
                f"{self.fields.value} of the live entry is no text: write the password of {username!r} there",
                backend="",
            )
        return Account(username, SecretStr(password))

    def other(self, username: str) -> str | None:
        """Return the user whose turn it is after this one; None where there is one only."""
        return next((user for user in self.users if user != username), None)

    def generate(self, current: Value) -> Generated:
        """Draw a password for whose turn it is; the other keys are copied."""
        username = self.of(current).username
        return Generated(
            Redacted(
                {
                    **current.reveal(),
                    self.fields.username: self.other(username) or username,
                    self.fields.value: draw(self.generator, self.randbytes).reveal(),
                }
            )
        )

    def administrator(self, *, host: str, port: int, database: str | None) -> AdminEntry:
        """Return who may change them there. Raises TargetNotAllowedError, and what the function raises."""
        entry = self.admin if isinstance(self.admin, AdminEntry) else self.admin()
        entry.check(host=host, port=port, database=database, users=self.users)
        if entry.username in self.users:
            raise SecretsConfigurationError(
                f"{entry.where}: {entry.username!r} is one of users, and would lock itself out: make an administrator "
                "of its own",
                backend="",
            )
        return entry
