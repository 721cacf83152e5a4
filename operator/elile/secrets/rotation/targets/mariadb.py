"""MariaDB: two accounts that take turns, or one whose password changes.

There is no conditional write: a fence is not looked at. A process that is frozen between its check and its statement
for longer than a whole later rotation may set an old password, or lock the account that is in use, when it wakes up;
the verification before a retirement, and that of the next rotation, find it.

The server is told a password as the hash of `mysql_native_password`, never in clear text. That hash is in the
statement, and so in the general log, the slow log, the audit log and the binary log. Nobody can log in with it; who has
it and has also overheard a login that was not encrypted can.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha1
from time import sleep

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsUnavailableError,
)
from elile.secrets.rotation.drivers.mariadb import (
    NO_SUCH_ACCOUNT,
    MariaDBEndpoint,
    MariaDBSession,
    MariaDBStatementError,
    mariadb_session,
    native_hash,
)
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.generators import Generator, RandBytes
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.steps import AS_RESTORED, Applied, Generated, Locked, Login, Restored
from elile.secrets.rotation.targets.accounts import Accounts, AdminSource
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.verify.mariadb import MariaDBCheck, verify_mariadb
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["MariaDBTarget"]

LONGEST_NAME = 128
# Of an option: a server that takes no hashes, or one that takes no changes at all.
_BY_OPTION = 1290
# What says no to a password: no such account, and the plug-ins that judge passwords.
_BY_RULE = frozenset({NO_SUCH_ACCOUNT, 1819, _BY_OPTION})
_LOOK_AGAIN = 0.05  # seconds
_EVERYWHERE = re.compile(r"GRANT (.+?) ON \*\.\* TO ")


class MariaDBTarget:
    """One or two accounts of one server, all with the host `account_host`.

    They are made by an administrator, with the same privileges; `preflight` says which is missing. `assertion` is a
    query that has to be true for a new login (see `MariaDBCheck`). `timeout` in seconds is for each call. An authority
    in the administrator's entry stands before that of `endpoint`. The administrator needs CREATE USER (which is for all
    accounts, there is no smaller privilege), SELECT (Host, User) ON mysql.global_priv, and where sessions are to be
    counted PROCESS, and where they are to be ended CONNECTION ADMIN as well; those of every account with the user's
    name are then ended.

    What changes something raises SecretsUnavailableError when the answer is lost; SecretsAuthenticationError and
    SecretAccessDeniedError when it is the administrator who is refused. Everything raises TargetNotAllowedError before
    it connects.
    """

    def __init__(
        self,
        *,
        endpoint: MariaDBEndpoint,
        admin: AdminSource,
        users: Sequence[str],
        generator: Generator,
        dialer: Dialer,
        account_host: str = "%",
        strategy: Strategy = Strategy.DUAL_USER,
        accept_downtime: bool = False,
        assertion: str | None = None,
        fields: CredentialFields = CredentialFields(),  # noqa: B008 - it is frozen
        timeout: float = 10.0,
        randbytes: RandBytes = secrets.token_bytes,
    ) -> None:
        """Raises SecretsConfigurationError for users that do not fit the strategy, and SingleUser by accident."""
        self._accounts = Accounts(
            strategy=strategy,
            users=tuple(users),
            admin=admin,
            generator=generator,
            fields=fields,
            accept_downtime=accept_downtime,
            longest=LONGEST_NAME,
            randbytes=randbytes,
        )
        self._endpoint = endpoint
        self._account_host = account_host
        self._assertion = assertion
        self._dialer = dialer
        self._timeout = timeout
        self._randbytes = randbytes

    @property
    def strategy(self) -> Strategy:
        return self._accounts.strategy

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def preflight(self, current: Value) -> str:
        """Look at the entry, the administrator, the server's rules and the accounts. Raises outages."""
        try:
            self._accounts.of(current)
            admin = self._administrator()
        except SecretsConfigurationError as e:
            return e.detail
        try:
            with self._as_admin(admin) as session:
                return self._problem(session, admin)
        except SecretsAuthenticationError as e:
            return f"{admin.where}: {e.detail}: correct the login of {admin.username!r} there"
        except (SecretsConfigurationError, SecretAccessDeniedError, MariaDBStatementError) as e:
            return e.detail

    def generate(self, current: Value, taken: int) -> Generated:  # noqa: ARG002 - of `ports.Target`
        """Draw a password for whose turn it is. Raises SecretsConfigurationError for another's entry."""
        return self._accounts.generate(current)

    def probe(self, value: Value) -> Login:
        """Log in once."""
        account = self._accounts.of(value)
        endpoint = self._at(self._administrator())
        try:
            with mariadb_session(endpoint, account.username, account.password, self._dialer, timeout=self._timeout):
                return Login.WORKS
        except SecretsAuthenticationError:
            return Login.REFUSED
        except (SecretsUnavailableError, SecretAccessDeniedError):
            return Login.UNREACHABLE

    def verify(self, value: Value, *, timeout: float) -> Verification:
        """Log in, look which account that is, and ask the assertion."""
        try:
            account = self._accounts.of(value)
        except SecretsConfigurationError as e:
            return Verification.failed(e.detail)
        check = MariaDBCheck(
            endpoint=self._at(self._administrator()),
            user=account.username,
            account_host=self._account_host,
            assertion=self._assertion,
        )
        return verify_mariadb(check, account.username, account.password, self._dialer, timeout=timeout)

    def sessions(self, value: Value) -> int | None:
        """Count the sessions of every account with the value's user name, on this server alone."""
        account = self._accounts.of(value)
        admin = self._administrator()
        try:
            with self._as_admin(admin) as session:
                if not _sees_others(session):
                    raise SecretAccessDeniedError(
                        f"{admin.username!r} may not see who is connected to {self._endpoint}: GRANT PROCESS ON *.* TO "
                        "it",
                        backend="mariadb",
                    )
                found = session.run(
                    "SELECT COUNT(*) FROM information_schema.PROCESSLIST WHERE USER = %s", account.username
                )
        except SecretsUnavailableError:
            return None
        return int(found[0][0])

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, value: Value, *, fence: Fence) -> Applied:  # noqa: ARG002 - nothing there compares
        """Set the password and unlock the account. Rejected: a rule of the server's, or no such account."""
        account = self._accounts.of(value)
        with self._connected() as session:
            if session is None:
                return Applied.UNREACHABLE
            try:
                session.run(
                    "ALTER USER %s@%s IDENTIFIED VIA mysql_native_password USING %s ACCOUNT UNLOCK",
                    account.username,
                    self._account_host,
                    native_hash(account.password),
                )
            except MariaDBStatementError as e:
                if e.code not in _BY_RULE or (e.code == _BY_OPTION and _is_read_only(session)):
                    raise _no_changes(e, self._endpoint) from None
                return Applied.REJECTED
        return Applied.ACCEPTED

    def restore(self, value: Value, *, fence: Fence) -> Restored:
        """As `apply`."""
        return AS_RESTORED[self.apply(value, fence=fence)]

    def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:  # noqa: ARG002
        """Lock the account and take its password away. end_sessions: and end what is open, now that nobody can come."""
        account = self._accounts.of(value)
        if self._accounts.of(keep).username == account.username:
            return Locked.IN_USE
        with self._connected() as session:
            if session is None:
                return Locked.UNREACHABLE
            # Of no password: that whose hash it is would have to be found first.
            nobodys = f"*{sha1(self._randbytes(20)).hexdigest().upper()}"  # noqa: S324 - the form of a hash
            try:
                session.run(
                    "ALTER USER IF EXISTS %s@%s IDENTIFIED VIA mysql_native_password USING %s ACCOUNT LOCK",
                    account.username,
                    self._account_host,
                    nobodys,
                )
            except MariaDBStatementError as e:
                raise _no_changes(e, self._endpoint) from None
            if end_sessions:
                self._end_sessions(session, account.username)
        return Locked.DONE

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _administrator(self) -> AdminEntry:
        where = self._endpoint
        return self._accounts.administrator(host=where.host, port=where.port, database=where.database or None)

    def _at(self, admin: AdminEntry) -> MariaDBEndpoint:
        return self._endpoint if admin.ca is None else replace(self._endpoint, ca_pem=admin.ca, allow_plain=False)

    @contextmanager
    def _as_admin(self, admin: AdminEntry) -> Iterator[MariaDBSession]:
        # Without the database: who may change accounts need not be let into what is stored there.
        at = replace(self._at(admin), database="")
        with mariadb_session(at, admin.username, admin.password, self._dialer, timeout=self._timeout) as session:
            yield session

    @contextmanager
    def _connected(self) -> Iterator[MariaDBSession | None]:
        """Log in as the administrator; None is no answer to that, and nothing was sent."""
        with ExitStack() as stack:
            try:
                session = stack.enter_context(self._as_admin(self._administrator()))
            except SecretsUnavailableError:
                session = None
            yield session

    def _problem(self, session: MariaDBSession, admin: AdminEntry) -> str:
        where = self._endpoint
        if _is_read_only(session):
            return f"{where} is read-only, as replicas are: name the server that takes changes"
        rules = session.run(
            "SELECT PLUGIN_NAME FROM information_schema.PLUGINS "
            "WHERE PLUGIN_TYPE = 'PASSWORD VALIDATION' AND PLUGIN_STATUS = 'ACTIVE' ORDER BY 1"
        )
        if rules and session.run("SELECT @@global.strict_password_validation") == [(1,)]:
            return (
                f"{where} judges passwords by {', '.join(str(row[0]) for row in rules)} and so takes no hashes, and "
                "clear text is never sent: SET GLOBAL strict_password_validation = OFF"
            )
        try:
            rows = session.run("SELECT User FROM mysql.global_priv WHERE Host = %s", self._account_host)
        except SecretAccessDeniedError:
            return (
                f"{admin.username!r} may not see which accounts there are: GRANT SELECT (Host, User) ON "
                f"mysql.global_priv TO it on {where}"
            )
        there = {row[0].decode() if isinstance(row[0], bytes) else row[0] for row in rows}
        absent = [user for user in self._accounts.users if user not in there]
        if absent:
            names = " and ".join(repr(f"{user}@{self._account_host}") for user in absent)
            return (
                f"there is no account {names} on {where}, and Elile makes none: CREATE USER … ACCOUNT LOCK, with the "
                "privileges that the other one has"
            )
        grants = " ".join(str(row[0]) for row in session.run("SHOW GRANTS"))
        if "CREATE USER" not in grants and "ALL PRIVILEGES ON *.*" not in grants:
            return f"{admin.username!r} may not change accounts on {where}: GRANT CREATE USER ON *.* TO it"
        return ""

    def _end_sessions(self, session: MariaDBSession, user: str) -> None:
        try:
            # All at once and by name: a number may be somebody else's by the time that it is used.
            session.run("KILL HARD CONNECTION USER %s", user)
            while session.run("SELECT 1 FROM information_schema.PROCESSLIST WHERE USER = %s LIMIT 1", user):
                sleep(_LOOK_AGAIN)
        except SecretAccessDeniedError:
            raise SecretAccessDeniedError(
                f"{user!r} is locked, and the administrator may not end its sessions on {self._endpoint}: "
                "GRANT CONNECTION ADMIN, PROCESS ON *.* TO it",
                backend="mariadb",
            ) from None


def _is_read_only(session: MariaDBSession) -> bool:
    # From MariaDB 12 on it is a word.
    return session.run("SELECT @@global.read_only") not in ([(0,)], [("OFF",)])


def _sees_others(session: MariaDBSession) -> bool:
    # Without the privilege one sees oneself alone, and no error.
    everywhere = [_EVERYWHERE.match(str(row[0])) for row in session.run("SHOW GRANTS")]
    granted = {name for found in everywhere if found for name in found[1].split(", ")}
    return bool(granted & {"PROCESS", "ALL PRIVILEGES"})


def _no_changes(
    error: MariaDBStatementError, where: MariaDBEndpoint
) -> MariaDBStatementError | SecretsUnavailableError:
    """Return the error that says that the server takes no changes just now, where it is that one."""
    if error.code != _BY_OPTION:
        return error
    return SecretsUnavailableError(
        f"{where} is read-only, as replicas are, or takes no hashes: name the server that takes changes, or SET GLOBAL "
        "strict_password_validation = OFF",
        backend="mariadb",
    )
