"""One login at one server: made when it is needed, renewed in time, made anew when the server no longer takes it."""

import contextlib
import math
import random
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from elile.secrets.answers import Login
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.vault import VaultClient

__all__ = ["AppRoleAuth", "KubernetesAuth", "TokenAuth", "VaultAuth", "VaultCalls", "VaultSession"]

T = TypeVar("T")

RENEW_AT = 2 / 3  # of what was granted
# A renewal near the maximum age grants less and less: below this part of the first grant a login is due.
SHRUNK = 1 / 2
# A path that was refused with a good token is refused: the token is not doubted again for this long.
DOUBT_AGAIN = 30.0
# Seconds after a renewal that got no answer.
RENEW_AGAIN = 5.0


class VaultCalls(Protocol):
    """Calls at one server with a valid token, whoever sees to it. `path` is what is called, without a value."""

    def call(self, path: str, request: Callable[[VaultClient, SecretStr], T]) -> T:
        """Return what `request` returns. Blocks; raises its errors, and SecretsError when there is no token."""


class VaultAuth(Protocol):
    """A way to log in. Blocks; raises SecretsError."""

    def login(self, client: VaultClient) -> Login: ...


@dataclass(frozen=True, slots=True)
class TokenAuth:
    """A token that somebody else made. It is renewed while it can be; no other one can be had when it ends."""

    token: SecretStr

    def login(self, client: VaultClient) -> Login:
        """Look the token up. Raises SecretsAuthenticationError when the server does not take it (any more)."""
        try:
            state = client.look_up(self.token)
        except SecretAccessDeniedError:
            raise SecretsAuthenticationError(
                "the token is not valid, or not any more; configure another one, or AppRole or Kubernetes"
            ) from None
        ttl = state.ttl if state.ttl is not None else math.inf
        return Login(token=self.token, ttl=ttl, renewable=state.renewable)


@dataclass(frozen=True, slots=True)
class AppRoleAuth:
    """AppRole: `mount` is where the method is enabled."""

    role_id: str
    secret_id: SecretStr
    mount: str = "approle"

    def login(self, client: VaultClient) -> Login:
        return client.login_approle(mount=self.mount, role_id=self.role_id, secret_id=self.secret_id)


@dataclass(frozen=True, slots=True)
class KubernetesAuth:
    """The pod's own ServiceAccount. The token is read from its file at every login, since kubelet replaces it."""

    role: str
    mount: str = "kubernetes"
    jwt_path: Path = Path("/var/run/secrets/kubernetes.io/serviceaccount/token")

    def login(self, client: VaultClient) -> Login:
        """Log in. Raises SecretsConfigurationError when there is no token to read."""
        try:
            jwt = SecretStr(self.jwt_path.read_text().strip())
        except OSError as e:
            raise SecretsConfigurationError(
                f"the ServiceAccount token {self.jwt_path} cannot be read ({e.strerror}); mount it, or set jwt_path"
            ) from None
        return client.login_kubernetes(mount=self.mount, role=self.role, jwt=jwt)


@dataclass(frozen=True, slots=True)
class _Held:
    """A token in use; times are monotonic."""

    token: SecretStr
    renewable: bool
    first_ttl: float
    renew_at: float
    ends: float


class VaultSession:
    """Calls with a valid token. Several threads may call; one of them logs in, the others wait for it.

    The server answers an expired token and a forbidden path alike, with 403. So at a 403 the token is looked up once;
    if it is not valid any more there is a new login and one more try. For a path that was refused with a good token
    this is not done again for half a minute.
    """

    def __init__(
        self,
        client: VaultClient,
        auth: VaultAuth,
        *,
        clock: Callable[[], float] = time.monotonic,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.client = client
        self._auth = auth
        self._clock = clock
        self._rand = rand
        self._lock = threading.Lock()
        self._held: _Held | None = None
        self._refused: dict[str, float] = {}  # path to the time until which its refusals are believed

    def call(self, path: str, request: Callable[[VaultClient, SecretStr], T]) -> T:
        """Return what `request` returns. Raises its errors, and SecretsAuthenticationError when a login is refused."""
        held = self._usable()
        try:
            return request(self.client, held.token)
        except SecretAccessDeniedError:
            if self._believed(path):
                raise
            if self.client.is_valid(held.token):
                self._refused[path] = self._clock() + DOUBT_AGAIN
                raise
        return request(self.client, self._replace(held).token)

    def close(self, *, revoke: bool = True) -> None:
        """Forget the token; one that was made by a login of ours is revoked, best effort."""
        with self._lock:
            held, self._held = self._held, None
        if held is not None and revoke and not isinstance(self._auth, TokenAuth):
            with contextlib.suppress(SecretsError):  # it ends by itself, and there is nobody left to tell
                self.client.revoke(held.token)
        self.client.close()

    def after_fork(self) -> None:
        """In the child: the parent renews and revokes its own token, so this one has to have another."""
        self._lock = threading.Lock()
        self._held = None
        self.client.after_fork()

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _believed(self, path: str) -> bool:
        until = self._refused.get(path)
        if until is not None and until <= self._clock():
            del self._refused[path]
            return False
        return until is not None

    def _usable(self) -> _Held:
        held = self._held
        now = self._clock()
        if held is not None and now < held.renew_at:
            return held
        with self._lock:
            if self._held is not held and self._held is not None:
                return self._held  # somebody else has just done it
            if held is None or now >= held.ends or not held.renewable:
                if held is not None and now < held.ends and isinstance(self._auth, TokenAuth):
                    return held
                return self._login()
            return self._renew(held)

    def _replace(self, old: _Held) -> _Held:
        with self._lock:
            return self._held if self._held is not old and self._held is not None else self._login()

    def _login(self) -> _Held:
        self._held = None
        login = self._auth.login(self.client)
        self._held = self._hold(login, login.ttl)
        self._refused.clear()
        return self._held

    def _renew(self, held: _Held) -> _Held:
        try:
            renewed = self.client.renew(held.token)
        except SecretAccessDeniedError:
            return self._login()
        except SecretsUnavailableError:
            # It is good for a while yet: an outage is the business of the call, if it meets one.
            self._held = replace(held, renew_at=min(self._clock() + RENEW_AGAIN, held.ends))
            return self._held
        if renewed.ttl < held.first_ttl * SHRUNK and not isinstance(self._auth, TokenAuth):
            return self._login()
        self._held = self._hold(renewed, held.first_ttl)
        return self._held

    def _hold(self, login: Login, first_ttl: float) -> _Held:
        now = self._clock()
        share = RENEW_AT * (0.9 + 0.1 * self._rand())
        return _Held(login.token, login.renewable, first_ttl, now + login.ttl * share, now + login.ttl)
