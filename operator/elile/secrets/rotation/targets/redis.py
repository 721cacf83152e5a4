"""Redis: a user with two passwords, the second one added before the first one goes.

Users are in the memory of each server, and in the ACL file of each that has one: nothing of them is replicated, so
every node is told. Redis has no conditional write, and a fence is not looked at. A process that is frozen between its
check and its command for longer than a whole later rotation may add a password that was locked meanwhile; `preflight`
then finds one too many.
"""

import hmac
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from typing import Any, TypeVar

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsMalformedResponseError,
    SecretsUnavailableError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.drivers.redis import (
    Complaint,
    RedisNode,
    RedisReplyError,
    RedisSession,
    RedisTls,
    redis_session,
)
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.generators import Generator, RandBytes
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import Fence
from elile.secrets.rotation.steps import AS_RESTORED, Applied, Generated, Locked, Login, Restored
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.targets.plain import draw
from elile.secrets.rotation.verify.outcome import Verification
from elile.secrets.rotation.verify.redis import RedisAccount, RedisCheck, each_in_turn, verify_redis

__all__ = ["RedisTarget"]

T = TypeVar("T")

# One that applications use, and one that is left from a rotation which was taken back.
MOST_PASSWORDS = 2
_NO_FILE = "set aclfile in its configuration, or allow users that are not saved expressly"


class RedisTarget:
    """One user on all nodes that are given.

    `admin` says which nodes and users that may be; its authority, if it names one, is trusted instead of that of `tls`.
    Passwords are sent as SHA-256, never in clear text, but for a login. `timeout` in seconds is for all nodes together.
    `commands` are those that the user must be allowed with a new password (see `RedisCheck`). `allow_unsaved` does
    without an ACL file: a server that restarts then knows the password of its configuration, and no other.
    """

    def __init__(
        self,
        *,
        nodes: Sequence[tuple[str, int]],
        user: str,
        admin: AdminEntry,
        generator: Generator,
        dialer: Dialer,
        tls: RedisTls = RedisTls(),  # noqa: B008 - it is frozen
        fields: CredentialFields = CredentialFields(),  # noqa: B008 - likewise
        commands: Sequence[Sequence[str]] = (),
        allow_unsaved: bool = False,
        timeout: float = 10.0,
        randbytes: RandBytes = secrets.token_bytes,
    ) -> None:
        """Raises SecretsConfigurationError for no nodes, a name that no user has, or no TLS where `admin` wants it."""
        if not nodes:
            raise SecretsConfigurationError("a Redis target has no nodes: name every server, they share no users")
        if not user or any(c.isspace() or c == "\0" for c in user):
            raise SecretsConfigurationError(f"{user!r} is no name of a Redis user: it has no blanks and is not empty")
        if admin.ca is not None:
            if tls.allow_plain:
                raise SecretsConfigurationError(
                    f"{admin.where} names an authority, and the target does without TLS: take one of the two away"
                )
            tls = replace(tls, ca_pem=admin.ca)
        self._nodes = [RedisNode(host, port, tls) for host, port in nodes]
        self._user = user
        self._admin = admin
        self._generator = generator
        self._dialer = dialer
        self._fields = fields
        self._commands = commands
        self._allow_unsaved = allow_unsaved
        self._timeout = timeout
        self._randbytes = randbytes

    @property
    def strategy(self) -> Strategy:
        return Strategy.DUAL_PASSWORD

    # ── looking ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def preflight(self, current: Value) -> str:
        """Look at the entry, the administrator and the user on every node. Raises outages."""
        try:
            self._login(current)
            self._check_allowed()
        except SecretsConfigurationError as e:
            return e.detail
        if self._admin.username == self._user:
            return f"{self._user!r} is the administrator of this rotation: rotate it with another one's login"
        for node, share in each_in_turn(self._nodes, self._timeout):
            try:
                with self._as_admin(node, share) as session:
                    problem = self._problem(node, session)
            except SecretsAuthenticationError:
                return f"{node} refuses the administrator {self._admin.username!r}: correct its entry"
            except SecretAccessDeniedError as e:
                return f"{e.detail} to {self._admin.username!r}: grant it +acl|getuser, +acl|setuser and +acl|save"
            except (SecretsConfigurationError, RedisReplyError) as e:
                return e.detail
            if problem:
                return problem
        return ""

    def generate(self, current: Value, taken: int) -> Generated:  # noqa: ARG002 - of `ports.Target`
        """Draw a password; the other keys are copied. Raises SecretsConfigurationError for a broken source."""
        password = draw(self._generator, self._randbytes).reveal()
        return Generated(Redacted({**current.reveal(), self._fields.value: password}))

    def probe(self, value: Value) -> Login:
        """Log in on every node. Works is all of them, refused one of them."""
        account = self._login(value)
        self._check_allowed()
        found = Login.WORKS
        for node, share in each_in_turn(self._nodes, self._timeout):
            try:
                with redis_session(node, account.username, account.password, self._dialer, timeout=share):
                    pass
            except SecretsAuthenticationError:
                return Login.REFUSED
            except (SecretsUnavailableError, RedisReplyError):
                found = Login.UNREACHABLE
        return found

    def verify(self, value: Value, *, timeout: float) -> Verification:
        """Log in on every node and ask who that is, and whether the commands are permitted."""
        found = value.reveal()
        if found.get(self._fields.username) != self._user:
            return Verification.failed(f"{self._fields.username} of the value is not {self._user!r}: it is another's")
        account = self._login(value)
        self._check_allowed()
        check = RedisCheck(
            nodes=self._nodes,
            user=self._user,
            commands=self._commands,
            asked_by=RedisAccount(self._admin.username, self._admin.password),
        )
        return verify_redis(check, account, self._dialer, timeout=timeout)

    # ── changing ─────────────────────────────────────────────────────────────────────────────────────────────────────

    def apply(self, value: Value, *, fence: Fence) -> Applied:  # noqa: ARG002 - nothing there compares
        """Add the password on every node. Rejected is a node that does not have the user, which is never made here.

        Raises SecretAccessDeniedError and SecretsAuthenticationError when it is the administrator who is refused.
        """
        digest = _digest(self._login(value))
        match self._everywhere(lambda session: self._add(session, digest)):
            case None:
                return Applied.UNREACHABLE
            case done:
                return Applied.ACCEPTED if all(done) else Applied.REJECTED

    def restore(self, value: Value, *, fence: Fence) -> Restored:
        """As `apply`."""
        return AS_RESTORED[self.apply(value, fence=fence)]

    def lock(self, value: Value, keep: Value, *, fence: Fence, end_sessions: bool) -> Locked:  # noqa: ARG002
        """Remove the password on every node. end_sessions ends all of the user's, also those with the new password.

        Raises as `apply` does.
        """
        old, new = self._login(value), self._login(keep)
        if hmac.compare_digest(_digest(old), _digest(new)):
            return Locked.IN_USE
        match self._everywhere(lambda session: self._remove(session, _digest(old), end_sessions=end_sessions)):
            case None:
                return Locked.UNREACHABLE
            case done:
                return Locked.DONE if all(done) else Locked.STILL_WORKS

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _login(self, value: Value) -> RedisAccount:
        found = value.reveal()
        username, password = found.get(self._fields.username), found.get(self._fields.value)
        if username != self._user:
            raise SecretsConfigurationError(
                f"{self._fields.username} of the live entry is not {self._user!r}: write it there, or name the user "
                "that is"
            )
        if not isinstance(password, str) or not password:
            raise SecretsConfigurationError(
                f"{self._fields.value} of the live entry is no text: write the password there"
            )
        return RedisAccount(self._user, SecretStr(password))

    def _check_allowed(self) -> None:
        """Before each connection: whoever names the nodes must not have the passwords sent wherever they like."""
        self._admin.check_nodes([(node.host, node.port) for node in self._nodes], [self._user])

    @contextmanager
    def _as_admin(self, node: RedisNode, timeout: float) -> Iterator[RedisSession]:
        self._check_allowed()
        admin = self._admin
        with redis_session(node, admin.username, admin.password, self._dialer, timeout=timeout) as session:
            yield session

    def _everywhere(self, change: Callable[[RedisSession], bool]) -> list[bool] | None:
        """Do it on all nodes, the others also when one does not answer; None when one did not."""
        done: list[bool] = []
        for node, share in each_in_turn(self._nodes, self._timeout):
            try:
                with self._as_admin(node, share) as session:
                    done.append(change(session))
            except SecretsUnavailableError:
                continue
        return done if len(done) == len(self._nodes) else None

    def _add(self, session: RedisSession, digest: str) -> bool:
        # Or it would be made: ACL SETUSER does not tell the two apart.
        if self._state(session) is None:
            return False
        session.run("ACL", "SETUSER", self._user, SecretStr(f"#{digest}"))
        self._save(session)
        return True

    def _remove(self, session: RedisSession, digest: str, *, end_sessions: bool) -> bool:
        """Return whether the password is of no use any more."""
        found = self._state(session)
        if found is not None and digest in found.passwords:
            try:
                session.run("ACL", "SETUSER", self._user, SecretStr(f"!{digest}"))
            except RedisReplyError:
                # Somebody else may have been first: what is not there cannot be removed.
                found = self._state(session)
                if found is not None and digest in found.passwords:
                    raise
        self._save(session)
        if found is None:
            return True
        if end_sessions:
            session.run("CLIENT", "KILL", "USER", self._user)
        return "nopass" not in found.flags

    def _save(self, session: RedisSession) -> None:
        """Have the users written to the ACL file, also when nothing was changed: the last time may have failed."""
        try:
            session.run("ACL", "SAVE")
        except RedisReplyError as e:
            if e.complaint is Complaint.OTHER:
                raise SecretsUnavailableError(f"{e.detail}: its log says why", backend="redis") from None
            if not self._allow_unsaved:
                raise SecretsConfigurationError(f"{e.detail}: {_NO_FILE}", backend="redis") from None
        except SecretAccessDeniedError:
            if not self._allow_unsaved:
                raise

    def _state(self, session: RedisSession) -> "_User | None":
        return _User.of(session.run("ACL", "GETUSER", self._user))

    def _problem(self, node: RedisNode, session: RedisSession) -> str:
        user = self._user
        found = self._state(session)
        if found is None:
            return f"{node} has no user {user!r}: make it there with ACL SETUSER"
        if "on" not in found.flags:
            return f"the user {user!r} is off on {node}: turn it on with ACL SETUSER {user} on"
        if "nopass" in found.flags:
            return (
                f"the user {user!r} takes any password on {node}: give it one with ACL SETUSER, after resetpass has "
                "taken that away"
            )
        if len(found.passwords) > MOST_PASSWORDS:
            return (
                f"the user {user!r} has {len(found.passwords)} passwords on {node}, and a rotation knows of "
                f"{MOST_PASSWORDS}: remove those that nobody uses with ACL SETUSER {user} !<hash>, whose hashes are "
                f"shown by ACL GETUSER {user}"
            )
        return self._unsaved(node, session) or self._forbidden(node, session)

    def _unsaved(self, node: RedisNode, session: RedisSession) -> str:
        if self._allow_unsaved:
            return ""
        try:
            answer = session.run("CONFIG", "GET", "aclfile")
        except (SecretAccessDeniedError, RedisReplyError):
            return (
                f"{node} does not tell whether it has an ACL file: grant {self._admin.username!r} +config|get, or "
                "allow users that are not saved expressly"
            )
        if isinstance(answer, list) and len(answer) == 2 and answer[1]:
            return ""
        return f"{node} has no ACL file, so that a restart brings the old password back: {_NO_FILE}"

    def _forbidden(self, node: RedisNode, session: RedisSession) -> str:
        """Ask what the administrator may do, where the server can tell (Redis 7) and tells it."""
        admin, needed = self._admin.username, [("ACL", "SETUSER", self._user), ("CLIENT", "KILL", "USER", self._user)]
        if not self._allow_unsaved:
            needed.append(("ACL", "SAVE"))
        for command in needed:
            try:
                answer = session.run("ACL", "DRYRUN", admin, *command)
            except (SecretAccessDeniedError, RedisReplyError):
                return ""
            if answer != b"OK":
                name = "|".join(command[:2]).lower()
                return f"{node} does not permit {admin!r} {' '.join(command[:2])}: grant it +{name}"
        return ""


class _User:
    """A user as a server has it; `passwords` are hashes."""

    def __init__(self, flags: frozenset[str], passwords: frozenset[str]) -> None:
        self.flags = flags
        self.passwords = passwords

    @classmethod
    def of(cls, answer: Any) -> "_User | None":
        if answer is None:
            return None
        try:
            found: Mapping[bytes, Any] = dict(zip(answer[::2], answer[1::2], strict=True))
            flags, passwords = ([text.decode() for text in found[name]] for name in (b"flags", b"passwords"))
        except (TypeError, ValueError, KeyError, AttributeError):
            raise SecretsMalformedResponseError("ACL GETUSER is answered in another shape", backend="redis") from None
        return cls(frozenset(flags), frozenset(passwords))


def _digest(account: RedisAccount) -> str:
    # As the driver writes a password that it logs in with.
    return sha256(account.password.reveal().encode("utf-8", "surrogatepass")).hexdigest()
