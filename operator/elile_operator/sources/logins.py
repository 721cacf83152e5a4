"""One Vault login per identity, shared by all its readers: single flight, renewed in time, revoked at exit."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol, TypeVar

from elile.secrets.answers import Login
from elile.secrets.errors import SecretAccessDeniedError, SecretsError
from elile.secrets.redact import SecretStr
from elile.secrets.vault import VaultClient
from elile_operator.api.auth import AuthMethod
from elile_operator.engine import Clock, Result, WorkQueue
from elile_operator.kube.errors import KubeError
from elile_operator.sources.flight import Flights
from elile_operator.sources.identity import Identity, IdentityError, ServiceAccountToken
from elile_operator.sources.link import Link
from elile_operator.sources.servers import Servers

__all__ = ["LOGIN_AGAIN_AFTER", "LoginObserver", "Logins", "NoLinkError", "Tokens"]

T = TypeVar("T")
log = logging.getLogger(__name__)

RENEW_AT = 2 / 3
# A login that was refused a path may be outdated (its role changed, it expired, it was revoked): a fresh one tells.
# Not more often than this, or a path that is really forbidden would cause a login with every look.
LOGIN_AGAIN_AFTER = 30.0


class Tokens(Protocol):
    """Where tokens of ServiceAccounts come from."""

    async def token(self, identity: Identity, audience: str) -> ServiceAccountToken: ...


class LoginObserver(Protocol):
    """Told of every login, for metrics: `outcome` is `ok` or the class of the error."""

    def vault_login(self, *, outcome: str) -> None: ...


class NoLinkError(SecretsError):
    """The VaultServer went away while a read was under way; the object is looked at again without it."""

    retryable = True


@dataclass(frozen=True, slots=True)
class _Session:
    token: SecretStr
    uid: str  # of the ServiceAccount: one of the same name made anew is somebody else
    link: Link
    namespace: str | None  # of Vault, where the token is from
    granted: float  # seconds, at the login
    since: float


class Logins:
    """Sessions by identity. It is also the reconciler of its own renewals: the queue's keys are identities.

    `in_use` tells whether anybody still reads as an identity; a session nobody uses is revoked instead of renewed.
    """

    def __init__(
        self,
        *,
        servers: Servers,
        tokens: Tokens,
        clock: Clock,
        renewals: WorkQueue[Identity],
        in_use: Callable[[Identity], bool],
        observer: LoginObserver,
    ) -> None:
        self._servers = servers
        self._tokens = tokens
        self._clock = clock
        self._renewals = renewals
        self._in_use = in_use
        self._observer = observer
        self._sessions: dict[Identity, _Session] = {}
        self._flights: Flights[Identity] = Flights("login")

    async def call(
        self,
        identity: Identity,
        operation: str,
        function: Callable[[VaultClient, SecretStr], T],
        *,
        on_behalf_of: str = "",
    ) -> T:
        """Run a blocking call as an identity, logging in first if need be, and once more after a refusal.

        Raises SecretsError, IdentityError or KubeError.
        """
        session = await self._session(identity, on_behalf_of)
        try:
            return await session.link.call(operation, lambda client: function(client, session.token))
        except SecretAccessDeniedError:
            if self._sessions.get(identity) is session:
                if not self._may_be_outdated(session):
                    raise
                del self._sessions[identity]
                await self._revoke(session)  # those who use it now are refused, and join the fresh login
        # An expired token and a forbidden path answer alike; what the fresh one is told holds.
        fresh = await self._session(identity, on_behalf_of)
        return await fresh.link.call(operation, lambda client: function(client, fresh.token))

    async def login(self, identity: Identity, *, on_behalf_of: str = "") -> Login:
        """Log in for one reader alone, who sees to the token from then on: it is neither shared, renewed nor revoked.

        Raises SecretsError, IdentityError or KubeError.
        """
        link = self._servers.find(identity.server)
        if link is None:
            raise NoLinkError(f"VaultServer {identity.server!r} is gone")
        login, _ = await self._exchange(identity, link, on_behalf_of)
        return login

    async def reconcile(self, key: Identity) -> Result:
        """Renew one session when its time has come."""
        session = self._sessions.get(key)
        if session is None:
            return Result.absent()
        if not self._in_use(key) or self._servers.find(key.server) is not session.link:
            self._sessions.pop(key, None)
            await self._revoke(session)
            return Result.absent()
        try:
            # The token is not sent anywhere: getting one proves that the ServiceAccount still is who logged in.
            account = await self._tokens.token(key, session.link.server.spec.auth.settings.audience)
            renewed = await session.link.call(
                "renew", lambda client: client.within(session.namespace).renew(session.token)
            )
        except IdentityError:
            self._sessions.pop(key, None)
            await self._revoke(session)
            return Result.absent()
        except SecretAccessDeniedError:
            self._drop(key, session)
            return Result.absent()
        except (SecretsError, KubeError):
            return Result.retry()
        # A grant that shrinks has met its maximum age: the next reader logs in anew before it ends.
        if account.uid != session.uid or not renewed.renewable or renewed.ttl < session.granted / 2:
            self._drop(key, session)
            await self._revoke(session)
            return Result.absent()
        return Result.after(_renew_in(renewed))

    async def close(self) -> None:
        """Revoke every session; those that cannot be revoked now end with their time."""
        await self._flights.stop()
        sessions, self._sessions = self._sessions, {}
        # At once: a server that is dead must not use up the time that the others need.
        async with asyncio.TaskGroup() as group:
            for identity, session in sessions.items():
                group.create_task(self._revoke(session), name=f"elile-revoke-{identity.server}")

    def __len__(self) -> int:
        return len(self._sessions)

    def _may_be_outdated(self, session: _Session) -> bool:
        return self._clock.monotonic() - session.since >= LOGIN_AGAIN_AFTER

    async def _session(self, identity: Identity, on_behalf_of: str) -> _Session:
        link = self._servers.find(identity.server)
        if link is None:
            raise NoLinkError(f"VaultServer {identity.server!r} is gone")
        known = self._sessions.get(identity)
        if known is not None and known.link is link:
            return known
        return await self._flights.share(identity, lambda: self._log_in(identity, link, on_behalf_of))

    async def _log_in(self, identity: Identity, link: Link, on_behalf_of: str) -> _Session:
        login, uid = await self._exchange(identity, link, on_behalf_of)
        session = _Session(login.token, uid, link, identity.login_namespace, login.ttl, self._clock.monotonic())
        self._sessions[identity] = session
        self._renewals.add_after(identity, _renew_in(login).total_seconds())
        return session

    async def _exchange(self, identity: Identity, link: Link, on_behalf_of: str) -> tuple[Login, str]:
        """Exchange a token of the ServiceAccount for one of the server's; the second is the account's uid."""
        auth, namespace = link.server.spec.auth.settings, identity.login_namespace
        outcome = "ok"
        try:
            account = await self._tokens.token(identity, auth.audience)
            login: Login = await link.call(
                "login",
                lambda client: _login_call(identity.method, client.within(namespace))(
                    mount=auth.mount, role=identity.role, jwt=account.token, on_behalf_of=on_behalf_of
                ),
            )
        except Exception as e:
            outcome = type(e).__name__
            raise
        finally:
            self._observer.vault_login(outcome=outcome)
        return login, account.uid

    def _drop(self, identity: Identity, session: _Session) -> None:
        if self._sessions.get(identity) is session:
            del self._sessions[identity]

    async def _revoke(self, session: _Session) -> None:
        try:
            await session.link.call("revoke", lambda client: client.within(session.namespace).revoke(session.token))
        except (SecretsError, RuntimeError) as e:  # RuntimeError: the link was closed meanwhile
            log.info(
                "a login could not be revoked, it ends with its time", extra={"fields": {"error": type(e).__name__}}
            )


def _login_call(method: AuthMethod, client: VaultClient) -> Callable[..., Login]:
    return client.login_jwt if method is AuthMethod.JWT else client.login_kubernetes


def _renew_in(login: Login) -> timedelta:
    # A token without a time to live (0) never ends; an hour is often enough to look whether its owner still exists.
    return timedelta(seconds=login.ttl * RENEW_AT if login.ttl > 0 else 3600.0)
