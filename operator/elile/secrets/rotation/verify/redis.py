"""Asks Redis servers whether they take a password, whose it is, and what its user may do."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from time import monotonic

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsAuthenticationError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.drivers.redis import Complaint, RedisNode, RedisReplyError, RedisSession, redis_session
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.verify.outcome import Outcome, Verification

__all__ = ["RedisAccount", "RedisCheck", "each_in_turn", "verify_redis"]


@dataclass(frozen=True, slots=True)
class RedisAccount:
    """Who logs in."""

    username: str
    password: SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisCheck:
    """What has to be so on every node.

    `user` is who a login has to be. `commands` are those that the user has to be allowed, each with its arguments,
    such as `("GET", "orders:1")`; they are not carried out. `asked_by` is who asks for that (`ACL DRYRUN`, Redis 7),
    the user itself when None.
    """

    nodes: Sequence[RedisNode]
    user: str
    commands: Sequence[Sequence[str]] = ()
    asked_by: RedisAccount | None = None


def verify_redis(check: RedisCheck, account: RedisAccount, dialer: Dialer, *, timeout: float) -> Verification:
    """Log in on every node with a fresh connection, all of them within `timeout` seconds. Blocks.

    Raises SecretsConfigurationError for what cannot be sent, EgressRefusedError for an address that is not allowed.
    """
    undecided: Verification | None = None
    for node, share in each_in_turn(check.nodes, timeout):
        found = _verify_one(check, account, dialer, node, share)
        if found.outcome is Outcome.FAILED:
            return found
        if found.outcome is Outcome.INCONCLUSIVE:
            undecided = undecided or found
    return undecided or Verification.passed(f"{len(check.nodes)} servers let {check.user!r} in")


def each_in_turn(nodes: Sequence[RedisNode], timeout: float) -> Iterator[tuple[RedisNode, float]]:
    """Go through nodes with the seconds that each may take: one that is silent leaves the others their share."""
    ends = monotonic() + timeout
    for number, node in enumerate(nodes):
        yield node, max(0.001, ends - monotonic()) / (len(nodes) - number)


def _verify_one(
    check: RedisCheck, account: RedisAccount, dialer: Dialer, node: RedisNode, timeout: float
) -> Verification:
    ends = monotonic() + timeout
    try:
        with redis_session(node, account.username, account.password, dialer, timeout=timeout) as session:
            if session.run("ACL", "WHOAMI") != check.user.encode():
                return Verification.failed(f"{node} lets the value in, and not as {check.user!r}: it is another one's")
            if check.asked_by is None:
                return _may(check, session, node)
    except SecretsAuthenticationError as e:
        return Verification.failed(e.detail)
    except SecretAccessDeniedError:
        return Verification.failed(f"{node} does not let {check.user!r} ask who it is: grant it +acl|whoami")
    except (SecretsUnavailableError, RedisReplyError) as e:
        return Verification.inconclusive(e.detail)
    asker = check.asked_by
    if not check.commands:
        return _passed(check, node)
    try:
        left = max(0.001, ends - monotonic())
        with redis_session(node, asker.username, asker.password, dialer, timeout=left) as session:
            return _may(check, session, node)
    except (SecretsAuthenticationError, SecretsUnavailableError) as e:
        # What is wrong with who asks says nothing about the value.
        return Verification.inconclusive(e.detail)


def _may(check: RedisCheck, session: RedisSession, node: RedisNode) -> Verification:
    for command in check.commands:
        try:
            answer = session.run("ACL", "DRYRUN", check.user, *command)
        except SecretAccessDeniedError:
            return Verification.inconclusive(f"{node} does not permit ACL DRYRUN: grant +acl|dryrun to who asks")
        except RedisReplyError as e:
            if e.complaint is Complaint.UNKNOWN_COMMAND:
                return Verification.inconclusive(f"{node} has no ACL DRYRUN, or no {command[0]}: take commands out")
            return Verification.inconclusive(f"{node} cannot tell whether {command[0]} is allowed: check its arguments")
        except SecretsUnavailableError as e:
            return Verification.inconclusive(e.detail)
        if answer != b"OK":
            return Verification.failed(f"{node} does not permit {check.user!r} {command[0]}")
    return _passed(check, node)


def _passed(check: RedisCheck, node: RedisNode) -> Verification:
    return Verification.passed(f"{node} lets {check.user!r} in")
