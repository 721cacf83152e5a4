"""Asks a MariaDB server whether it takes a password, whose it is, and whether what is needed is there."""

from dataclasses import dataclass
from time import monotonic

from elile.secrets.errors import SecretAccessDeniedError, SecretsAuthenticationError, SecretsUnavailableError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.drivers.mariadb import (
    MariaDBEndpoint,
    MariaDBSession,
    MariaDBStatementError,
    mariadb_session,
)
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["MariaDBCheck", "verify_mariadb"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MariaDBCheck:
    """What has to be so.

    `user` and `account_host` are the account that a login has to be: the server takes the one with the most special
    host, which may be another one. `assertion` is a query of one column, which has to have one row and that 1; it runs
    in a transaction that writes no rows, with what the account may do.
    """

    endpoint: MariaDBEndpoint
    user: str
    account_host: str = "%"
    assertion: str | None = None


def verify_mariadb(
    check: MariaDBCheck, username: str, password: SecretStr, dialer: Dialer, *, timeout: float
) -> Verification:
    """Log in with a fresh connection; all of it ends after `timeout` seconds. Blocks.

    Raises SecretsConfigurationError for what cannot be sent, EgressRefusedError for an address that is not allowed.
    """
    ends = monotonic() + timeout
    wanted = f"{check.user}@{check.account_host}"
    try:
        with mariadb_session(check.endpoint, username, password, dialer, timeout=timeout) as session:
            if session.run("SELECT CURRENT_USER()") != [(wanted,)]:
                return Verification.failed(
                    f"{check.endpoint} lets the value in, and not as {wanted!r}: it is another account's, such as one "
                    "with a more special host"
                )
            if check.assertion is not None and not _is_true(session, check.assertion, ends - monotonic()):
                return Verification.failed(f"the assertion about {check.endpoint} is not true")
            return Verification.passed(f"{check.endpoint} lets {wanted!r} in")
    except SecretsAuthenticationError as e:
        return Verification.failed(e.detail)
    except SecretAccessDeniedError:
        return Verification.failed(f"{check.endpoint} lets {wanted!r} in, and does not grant what is needed")
    except (SecretsUnavailableError, MariaDBStatementError) as e:
        return Verification.inconclusive(e.detail)


def _is_true(session: MariaDBSession, assertion: str, seconds: float) -> bool:
    session.run(f"SET SESSION max_statement_time = {max(0.001, seconds):.3f}")
    session.run("START TRANSACTION READ ONLY")
    # Put where nothing but a query can be; true is 1, there are no booleans.
    return session.run(f"SELECT (\n{assertion.rstrip().rstrip(';')}\n) = 1") == [(1,)]
