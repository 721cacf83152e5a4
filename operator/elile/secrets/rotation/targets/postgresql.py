"""PostgreSQL: two logins that take turns and act as one role, or one whose password changes.

Every change is one transaction, and compares: the role's comment tells whose rotation changed it last and how late in
it that was (`marker`), so a process that was frozen for a whole later rotation changes nothing when it wakes up.

The server is told a password as a SCRAM verifier, never in clear text. That verifier is in the statement, and so in the
server's log with `log_statement` at `ddl` or above and in `pg_stat_statements`. Nobody can log in with it; who has it
and has also overheard a login that was not encrypted can. The comment of a role can be read by every role.
"""

import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from hashlib import sha256

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsUnavailableError,
)
from elile.secrets.rotation.drivers.postgresql import (
    PostgreSQLEndpoint,
    PostgreSQLSession,
    PostgreSQLStatementError,
    identifier,
    literal,
    postgresql_session,
    scram_verifier,
)
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.generators import Generator, RandBytes
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.steps import AS_RESTORED, Applied, Generated, Locked, Login, Restored
from elile.secrets.rotation.targets.accounts import Accounts, AdminSource
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.targets.marker import marked
from elile.secrets.rotation.targets.roles import problem, read_roles
from elile.secrets.rotation.verify.outcome import Verification
from elile.secrets.rotation.verify.postgresql import PostgreSQLCheck, bound, verify_postgresql

__all__ = ["PostgreSQLTarget", "lock_key"]

_NO_ROLE = "42704"
# Where two change one role at once and do not share a lock: "tuple concurrently updated".
_AT_ONCE = "XX000"
# What says no to a password: passwordcheck, credcheck, and those that raise with no code of their own.
_BY_RULE = frozenset({_NO_ROLE, "22023", "28000", "28P01", "P0001"})
_LOOK_AGAIN = 0.05  # seconds


class PostgreSQLTarget:
    """One or two login roles of one server.

    With DualUser both act as one role without a login, to which all that they make belongs: `owner`, found from the
    roles when None. Nothing of it is made here: `preflight` names what is missing. `assertion` is a query that has to
    be true for a new login (see `PostgreSQLCheck`). `timeout` in seconds is for each call. An authority in the
    administrator's entry stands before that of `endpoint`. Sessions are ended by an administrator who is a superuser,
    a member of both roles, or of pg_signal_backend.

    What changes something raises SecretConflictError when another rotation, or a later step of this one, has changed
    the role; SecretsUnavailableError when the answer is lost; SecretsAuthenticationError and SecretAccessDeniedError
    when it is the administrator who is refused. Everything raises TargetNotAllowedError before it connects.
    """

    def __init__(
        self,
        *,
        endpoint: PostgreSQLEndpoint,
        admin: AdminSource,
        users: Sequence[str],
        generator: Generator,
        dialer: Dialer,
        strategy: Strategy = Strategy.DUAL_USER,
        accept_downtime: bool = False,
        owner: str | None = None,
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
            randbytes=randbytes,
        )
        self._endpoint = endpoint
        self._owner = owner
        self._assertion = assertion
        self._dialer = dialer
        self._timeout = timeout
        self._randbytes = randbytes

    @property
    def strategy(self) -> Strategy:
        return self._accounts.strategy

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def preflight(self, current: Value) -> str:
        """Look at the entry, the administrator and the roles. Raises outages."""
        try:
            username = self._accounts.of(current).username
            admin = self._administrator()
        except SecretsConfigurationError as e:
            return e.detail
        try:
            with self._as_admin(admin) as session:
                bound(session, self._timeout, write=False)
                session.run("SET LOCAL search_path TO pg_catalog")
                seen = read_roles(session, self._accounts.users, self._endpoint.database)
        except SecretsAuthenticationError as e:
            return f"{admin.where}: {e.detail}: correct the login of {admin.username!r} there"
        except (SecretsConfigurationError, SecretAccessDeniedError, PostgreSQLStatementError) as e:
            return e.detail
        return problem(seen, current=username, owner=self._owner)

    def generate(self, current: Value, taken: int) -> Generated:  # noqa: ARG002 - of `ports.Target`
        """Draw a password for whose turn it is. Raises SecretsConfigurationError for another's entry."""
        return self._accounts.generate(current)

    def probe(self, value: Value) -> Login:
        """Log in once."""
        account = self._accounts.of(value)
        endpoint = self._at(self._administrator())
        try:
            with postgresql_session(endpoint, account.username, account.password, self._dialer, timeout=self._timeout):
                return Login.WORKS
        except SecretsAuthenticationError:
            return Login.REFUSED
        except (SecretsUnavailableError, SecretAccessDeniedError):
            return Login.UNREACHABLE

    def verify(self, value: Value, *, timeout: float) -> Verification:
        """Log in, look who that is and as what it acts, and ask the assertion."""
        try:
            account = self._accounts.of(value)
        except SecretsConfigurationError as e:
            return Verification.failed(e.detail)
        check = PostgreSQLCheck(
            endpoint=self._at(self._administrator()),
            user=account.username,
            owner=self._owner,
            beside=self._accounts.other(account.username),
            assertion=self._assertion,
        )
        return verify_postgresql(check, account.username, account.password, self._dialer, timeout=timeout)

    def sessions(self, value: Value) -> int | None:
        """Count the sessions of the value's role in all databases, which every role may see."""
        account = self._accounts.of(value)
        try:
            with self._as_admin(self._administrator()) as session:
                bound(session, self._timeout, write=False)
                found = session.run(
                    "SELECT pg_catalog.count(*) FROM pg_catalog.pg_stat_activity WHERE usename = :login",
                    login=account.username,
                )
        except SecretsUnavailableError:
            return None
        return int(found[0][0])

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, value: Value, *, fence: Fence) -> Applied:
        """Set the password and let the role log in. Rejected: a rule of the server's, or no such role."""
        account = self._accounts.of(value)
        verifier = scram_verifier(account.password, randbytes=self._randbytes)
        with self._connected() as session:
            if session is None:
                return Applied.UNREACHABLE
            try:
                self._alter(session, account.username, f"LOGIN PASSWORD {literal(verifier)}", fence)
            except PostgreSQLStatementError as e:
                if e.sqlstate not in _BY_RULE:
                    raise
                return Applied.REJECTED
        return Applied.ACCEPTED

    def restore(self, value: Value, *, fence: Fence) -> Restored:
        """As `apply`."""
        return AS_RESTORED[self.apply(value, fence=fence)]

    def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:
        """Take the password and the login away. end_sessions: and end what is open, once nobody can come anew."""
        account = self._accounts.of(value)
        if self._accounts.of(keep).username == account.username:
            return Locked.IN_USE
        with self._connected() as session:
            if session is None:
                return Locked.UNREACHABLE
            try:
                self._alter(session, account.username, "NOLOGIN PASSWORD NULL", fence)
            except PostgreSQLStatementError as e:
                if e.sqlstate != _NO_ROLE:
                    raise
                return Locked.DONE
            if end_sessions:
                self._end_sessions(session, account.username)
        return Locked.DONE

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _administrator(self) -> AdminEntry:
        where = self._endpoint
        return self._accounts.administrator(host=where.host, port=where.port, database=where.database)

    def _at(self, admin: AdminEntry) -> PostgreSQLEndpoint:
        return self._endpoint if admin.ca is None else replace(self._endpoint, ca_pem=admin.ca, allow_plain=False)

    @contextmanager
    def _as_admin(self, admin: AdminEntry) -> Iterator[PostgreSQLSession]:
        at = self._at(admin)
        with postgresql_session(at, admin.username, admin.password, self._dialer, timeout=self._timeout) as session:
            yield session

    @contextmanager
    def _connected(self) -> Iterator[PostgreSQLSession | None]:
        """Log in as the administrator; None is no answer to that, and nothing was sent."""
        with ExitStack() as stack:
            try:
                session = stack.enter_context(self._as_admin(self._administrator()))
            except SecretsUnavailableError:
                session = None
            yield session

    def _alter(self, session: PostgreSQLSession, user: str, options: str, fence: Fence) -> None:
        """Change a role if nobody went past this fence. What is not committed ends with the session."""
        try:
            bound(session, self._timeout, write=True)
            # A schedule's database may have a search path of somebody's choice, and texts that end at a backslash.
            session.run("SET LOCAL search_path TO pg_catalog")
            session.run("SET LOCAL standard_conforming_strings TO on")
            session.run("SELECT pg_catalog.pg_advisory_xact_lock(:key)", key=lock_key(user))
            before = _comment(session, user)
            after = marked(before, fence, account=user)
            session.run(f"ALTER ROLE {identifier(user)} {options}")
            # Who works in another database does not see our lock, but from here on waits for this change of the role.
            if _comment(session, user) != before:
                raise _at_once(user)
            session.run(f"COMMENT ON ROLE {identifier(user)} IS {literal(after)}")
            session.run("COMMIT")
        except PostgreSQLStatementError as e:
            if e.sqlstate == _AT_ONCE:
                raise _at_once(user) from None
            raise
        except SecretAccessDeniedError:
            raise SecretAccessDeniedError(
                f"the administrator may not change {user!r} on {self._endpoint}: it needs CREATEROLE, and with "
                "PostgreSQL 16 or later the ADMIN OPTION of that role",
                backend="postgresql",
            ) from None

    def _end_sessions(self, session: PostgreSQLSession, user: str) -> None:
        query = (
            "SELECT pg_catalog.count(pg_catalog.pg_terminate_backend(pid)) FROM pg_catalog.pg_stat_activity "
            "WHERE usename = :login AND pid <> pg_catalog.pg_backend_pid()"
        )
        try:
            while session.run(query, login=user)[0][0]:
                time.sleep(_LOOK_AGAIN)
        except SecretAccessDeniedError:
            name = identifier(user)
            raise SecretAccessDeniedError(
                f"{user!r} is locked, and the administrator may not end its sessions on {self._endpoint}: "
                f"GRANT {name}, or pg_signal_backend, to it",
                backend="postgresql",
            ) from None


def _comment(session: PostgreSQLSession, user: str) -> str | None:
    rows = session.run(
        "SELECT pg_catalog.shobj_description(oid, 'pg_authid') FROM pg_catalog.pg_roles WHERE rolname = :login",
        login=user,
    )
    return rows[0][0] if rows else None


def lock_key(user: str) -> int:
    """Return the key of the lock that all who change a role take."""
    return int.from_bytes(sha256(f"elile role {user}".encode()).digest()[:8], "big", signed=True)


def _at_once(user: str) -> SecretConflictError:
    return SecretConflictError(f"somebody else changes the role {user!r} just now", backend="postgresql")
