"""Asks a PostgreSQL server whether it takes a password, whose it is, and whether what is needed is there."""

from dataclasses import dataclass
from time import monotonic

from elile.secrets.errors import SecretAccessDeniedError, SecretsAuthenticationError, SecretsUnavailableError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.drivers.postgresql import (
    PostgreSQLEndpoint,
    PostgreSQLSession,
    PostgreSQLStatementError,
    identifier,
    postgresql_session,
)
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["PostgreSQLCheck", "acts_as", "bound", "verify_postgresql"]

# Of what `ALTER ROLE … SET role` says, for all databases or for one; the most special comes first.
_ACTS_AS = """
SELECT pg_catalog.substr(setting, 6)
FROM pg_catalog.pg_db_role_setting s CROSS JOIN LATERAL pg_catalog.unnest(s.setconfig) AS setting
WHERE setting LIKE 'role=%'
  AND s.setrole IN (0, (SELECT oid FROM pg_catalog.pg_roles WHERE rolname = :login))
  AND s.setdatabase IN (0, (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()))
ORDER BY s.setrole = 0, s.setdatabase = 0 LIMIT 1
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgreSQLCheck:
    """What has to be so.

    `user` is who a login has to be, and `owner` the role that it acts as. Where `beside` is given, a second login acts
    as the same role, which is then looked up if `owner` is None. `assertion` is a query of one column, which has
    to have one row and that true; it runs in a transaction that can write nothing.
    """

    endpoint: PostgreSQLEndpoint
    user: str
    owner: str | None = None
    beside: str | None = None
    assertion: str | None = None


def verify_postgresql(
    check: PostgreSQLCheck, username: str, password: SecretStr, dialer: Dialer, *, timeout: float
) -> Verification:
    """Log in with a fresh connection; all of it ends after `timeout` seconds. Blocks.

    Raises SecretsConfigurationError for what cannot be sent, EgressRefusedError for an address that is not allowed.
    """
    ends = monotonic() + timeout
    try:
        with postgresql_session(check.endpoint, username, password, dialer, timeout=timeout) as session:
            wrong = _identity(check, session, ends - monotonic())
            if wrong is not None:
                return wrong
            if check.assertion is not None:
                bound(session, ends - monotonic(), write=False)
                if not session.is_true(check.assertion):
                    return Verification.failed(f"the assertion about {check.endpoint} is not true")
            return Verification.passed(f"{check.endpoint} lets {check.user!r} in, as who it should be")
    except SecretsAuthenticationError as e:
        return Verification.failed(e.detail)
    except SecretAccessDeniedError:
        return Verification.failed(
            f"{check.endpoint} lets {check.user!r} in, and does not grant what is needed (42501)"
        )
    except (SecretsUnavailableError, PostgreSQLStatementError) as e:
        return Verification.inconclusive(e.detail)


def bound(session: PostgreSQLSession, seconds: float, *, write: bool) -> None:
    """Begin a transaction in which each statement ends after `seconds`, whether or not anybody still waits for it.

    Raises SecretsUnavailableError where it cannot be one that writes.
    """
    # Whatever the defaults of the database are: a later statement has to see what was committed while we waited.
    try:
        session.run(f"BEGIN ISOLATION LEVEL READ COMMITTED READ {'WRITE' if write else 'ONLY'}")
    except PostgreSQLStatementError as e:
        raise SecretsUnavailableError(f"the server takes no changes, it may be a standby ({e.sqlstate})") from None
    session.run(f"SET LOCAL statement_timeout = {max(1, int(seconds * 1000))}")


def acts_as(session: PostgreSQLSession, login: str) -> str | None:
    """Return the role that a login becomes at once in this database, None for itself."""
    rows = session.run(_ACTS_AS, login=login)
    return str(rows[0][0]) if rows and rows[0][0] != "none" else None


def _identity(check: PostgreSQLCheck, session: PostgreSQLSession, seconds: float) -> Verification | None:
    session_user, current_user = session.run("SELECT session_user, current_user")[0]
    if session_user != check.user:
        return Verification.failed(
            f"{check.endpoint} lets the value in, and not as {check.user!r}: it is another one's"
        )
    owner = check.owner
    if check.beside is not None:
        bound(session, seconds, write=False)
        session.run("SET LOCAL search_path TO pg_catalog")
        shared = acts_as(session, check.beside)
        session.run("COMMIT")
        owner = owner or shared
        if owner is None or shared != owner:
            return Verification.failed(
                f"{check.beside!r} does not act as {owner or 'a role that both share'} on {check.endpoint}: "
                f"ALTER ROLE {identifier(check.beside)} SET role TO {identifier(owner) if owner else '<owner>'}"
            )
    if owner is not None and current_user != owner:
        return Verification.failed(
            f"{check.user!r} does not act as {owner!r} on {check.endpoint}: "
            f"ALTER ROLE {identifier(check.user)} SET role TO {identifier(owner)}"
        )
    return None
