"""A Vault or OpenBao in memory, behind the same calls as `VaultClient` and `Link`, with a state that tests script."""

import asyncio
import copy
import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from elile.secrets.answers import EngineAnswer, Flavor, KVMetadata, KVValue, KVVersionState, Login, ServerState
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretDeletedError,
    SecretNotFoundError,
    SecretsError,
    SecretsRoleNotFoundError,
    SecretVersionNotFoundError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.violation import Violation
from elile_operator.sources.identity import Identity, IdentityError, ServiceAccountToken
from tests.fakes.clock import FakeClock

T = TypeVar("T")

READY = ServerState(flavor=Flavor.OPENBAO, version="2.7.2", initialized=True, sealed=False, cluster_id="c-1")


@dataclass(frozen=True, slots=True)
class Call:
    """One call that reached the server. Of a login, `path` is the role and `token` the ServiceAccount's.

    `namespace` is what the call was made in, None the root namespace.
    """

    operation: str
    path: str = ""
    token: str = ""
    on_behalf_of: str = ""
    namespace: str | None = None


@dataclass(slots=True)
class _Version:
    data: Mapping[str, Any]
    deleted: bool = False
    destroyed: bool = False
    created: datetime | None = None


class FakeVault:
    """The server and its client in one. Strict: a token it never gave, or that has ended, is refused.

    An entry of a namespace is written with the namespace before its mount.

    `write`, `delete`, `destroy` and `end_tokens` are what others do to it; `down` fails every call, `failing` those of
    one operation, `denied` holds (operation, path) that the policy forbids. `grants` is what logins and renewals get.
    """

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self._entries: dict[tuple[str, str], dict[int, _Version]] = {}
        self._tokens: dict[str, float] = {}  # until when
        self._gates: dict[str, asyncio.Event] = {}
        self.waiting = 0  # calls that are held now
        self.calls: list[Call] = []
        self.revoked: list[str] = []
        self.answers = READY
        self.down: SecretsError | None = None
        self.failing: dict[str, SecretsError] = {}
        self.denied: set[tuple[str, str]] = set()
        self.listable: dict[str, frozenset[str]] = {}  # capabilities by path, which ends with a slash
        self.roles = {"elile"}
        self.engines: dict[str, Callable[[int], EngineAnswer]] = {}  # by path; called with the number of the answer
        self.asked: list[tuple[str, dict[str, Any], bool]] = []
        self.longest = math.inf  # seconds that a renewal of a lease gets at the most
        self._leases: dict[str, str] = {}
        self._logins = itertools.count(1)  # one for all namespaces
        self._namespace: str | None = None
        self._object = ""
        self.allows: frozenset[str] = frozenset({"deny"})  # capabilities on all other paths
        self.grants = Login(token=SecretStr("unused"), ttl=3600.0, renewable=True)

    # ── what tests do and ask ────────────────────────────────────────────────────────────────────────────────────────

    def write(self, path: str, *, mount: str = "secret", **data: Any) -> int:
        """Write the next version of an entry."""
        versions = self._entries.setdefault((mount, path), {})
        number = max(versions, default=0) + 1
        versions[number] = _Version(data, created=self._clock.now())
        return number

    def remove(self, path: str, *, mount: str = "secret") -> None:
        """Delete an entry with all its versions: what is written there next is version 1."""
        del self._entries[mount, path]

    def delete(self, path: str, version: int, *, mount: str = "secret") -> None:
        self._entries[mount, path][version].deleted = True

    def destroy(self, path: str, version: int, *, mount: str = "secret") -> None:
        self._entries[mount, path][version].destroyed = True

    def prune(self, path: str, version: int, *, mount: str = "secret") -> None:
        """Forget one version, as `max_versions` does."""
        del self._entries[mount, path][version]

    def end_tokens(self) -> None:
        """Every token ends now, as after a revocation of the auth mount."""
        self._tokens.clear()

    def hold(self, operation: str) -> None:
        """Let calls of this operation wait until `release`."""
        self._gates[operation] = asyncio.Event()

    def release(self, operation: str) -> None:
        self._gates.pop(operation).set()

    def count(self, operation: str) -> int:
        """How many calls of this operation there were."""
        return sum(call.operation == operation for call in self.calls)

    @property
    def live(self) -> list[str]:
        """Tokens that were given and have not ended."""
        return [token for token, until in self._tokens.items() if until > self._clock.monotonic()]

    async def gate(self, operation: str) -> None:
        """Return when calls of this operation may go on."""
        if operation in self._gates:
            self.waiting += 1
            await self._gates[operation].wait()
            self.waiting -= 1

    # ── what a VaultClient does ──────────────────────────────────────────────────────────────────────────────────────

    def within(self, namespace: str | None) -> "FakeVault":
        inside = copy.copy(self)
        inside._namespace = namespace
        return inside

    def speaking_for(self, name: str) -> "FakeVault":
        speaking = copy.copy(self)
        speaking._object = name
        return speaking

    def state(self) -> ServerState:
        self._called("state")
        return self.answers

    def login_kubernetes(self, *, mount: str, role: str, jwt: SecretStr, on_behalf_of: str = "") -> Login:
        self._called("login", role, jwt, on_behalf_of)
        if role not in self.roles:
            raise SecretsRoleNotFoundError("the auth method knows no such role", path=f"auth/{mount}/login")
        token = f"token-{next(self._logins)}"
        self._tokens[token] = self._grant()
        return Login(token=SecretStr(token), ttl=self.grants.ttl, renewable=self.grants.renewable)

    def login_jwt(self, *, mount: str, role: str, jwt: SecretStr, on_behalf_of: str = "") -> Login:
        return self.login_kubernetes(mount=mount, role=role, jwt=SecretStr("checked"), on_behalf_of=on_behalf_of)

    def renew(self, token: SecretStr) -> Login:
        self._called("renew", token=token)
        self._check(token, "renew", "auth/token/renew-self")
        self._tokens[token.reveal()] = self._grant()
        return Login(token=token, ttl=self.grants.ttl, renewable=self.grants.renewable)

    def revoke(self, token: SecretStr) -> None:
        self._called("revoke", token=token)
        self._check(token, "revoke", "auth/token/revoke-self")
        del self._tokens[token.reveal()]
        self.revoked.append(token.reveal())

    def kv2_metadata(self, token: SecretStr, *, mount: str, path: str, on_behalf_of: str = "") -> KVMetadata:
        self._called("metadata", path, token, on_behalf_of)
        where = f"{mount}/metadata/{path}"
        self._check(token, "metadata", where)
        if (self._full(mount), path) not in self._entries:
            raise SecretNotFoundError("nothing is stored there", path=where, confirmed=True)
        return self._metadata(self._entries[self._full(mount), path])

    def kv2_list(
        self, token: SecretStr, *, mount: str, folder: str, on_behalf_of: str = ""
    ) -> Mapping[str, KVMetadata]:
        self._called("list", folder, token, on_behalf_of)
        where = f"{mount}/detailed-metadata/{folder}"
        if "list" not in self.listable.get(f"{where.rstrip('/')}/", ()):
            raise SecretAccessDeniedError("permission denied", path=where)
        self._check(token, "list", where)
        found = {p.rpartition("/"): v for (m, p), v in self._entries.items() if m == self._full(mount)}
        return {name: self._metadata(versions) for (at, _, name), versions in found.items() if at == folder}

    def capabilities(self, token: SecretStr, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        self._called("capabilities", ",".join(paths), token)
        self._check(token, "capabilities", "sys/capabilities-self")
        return {path: self.listable.get(path, self.allows) for path in paths}

    def kv2_read(
        self, token: SecretStr, *, mount: str, path: str, version: int | None = None, on_behalf_of: str = ""
    ) -> KVValue:
        self._called("read", path, token, on_behalf_of)
        where = f"{mount}/data/{path}"
        self._check(token, "read", where)
        versions = self._entries.get((self._full(mount), path), {})
        number = version if version is not None else max(versions, default=0)
        found = versions.get(number)
        if found is None:
            if version is None:
                raise SecretNotFoundError("nothing is stored there", path=where, confirmed=True)
            raise SecretVersionNotFoundError(f"version {version} does not exist", path=where)
        if found.deleted or found.destroyed:
            how = "destroyed" if found.destroyed else "deleted"
            raise SecretDeletedError(
                f"version {number} is {how}", path=where, version=number, deleted_at=None, destroyed=found.destroyed
            )
        return KVValue(number, Redacted(dict(found.data)), found.created)

    def kv2_write(
        self,
        token: SecretStr,
        *,
        mount: str,
        path: str,
        data: Mapping[str, Any],
        cas: int | None,
        on_behalf_of: str = "",
    ) -> int:
        self._called("write", path, token, on_behalf_of)
        where = f"{mount}/data/{path}"
        self._check(token, "write", where)
        if cas is not None and cas != max(self._entries.get((mount, path), {}), default=0):
            raise SecretConflictError("the current version is not the one that was expected", path=where)
        return self.write(path, mount=mount, **data)

    def kv2_destroy(self, token: SecretStr, *, mount: str, path: str, versions: Sequence[int]) -> None:
        self._called("destroy", path, token)
        self._check(token, "destroy", f"{mount}/destroy/{path}")
        for number in versions:
            self.destroy(path, number, mount=mount)

    def kv1_read(
        self, token: SecretStr, *, mount: str, path: str, on_behalf_of: str = ""
    ) -> Redacted[Mapping[str, Any]]:
        self._called("read", path, token, on_behalf_of)
        where = f"{mount}/{path}"
        self._check(token, "read", where)
        versions = self._entries.get((mount, path))
        if not versions:
            raise SecretNotFoundError("nothing is stored there", path=where)
        return Redacted(dict(versions[max(versions)].data))

    def ask(
        self,
        token: SecretStr,
        path: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        write: bool = False,
        on_behalf_of: str = "",
    ) -> EngineAnswer:
        self._called("ask", path, token, on_behalf_of)
        self._check(token, "ask", path)
        if path not in self.engines:
            raise SecretNotFoundError("there is nothing of that name", path=path)
        self.asked.append((path, dict(parameters or {}), write))
        answer = self.engines[path](len(self.asked))
        if answer.lease_id:
            self._leases[answer.lease_id] = token.reveal()
        return answer

    def renew_lease(self, token: SecretStr, lease_id: str, *, seconds: int, on_behalf_of: str = "") -> float:
        self._called("renew-lease", lease_id, token, on_behalf_of)
        self._check(token, "renew-lease", lease_id)
        if lease_id not in self.leases:
            raise SecretNotFoundError("there is nothing of that name", path="sys/leases/renew")
        return min(float(seconds), self.longest)

    def revoke_certificate(self, token: SecretStr, *, mount: str, serial: str, on_behalf_of: str = "") -> None:
        self._called("revoke-certificate", serial, token, on_behalf_of)
        self._check(token, "revoke-certificate", mount)

    @property
    def leases(self) -> list[str]:
        """Leases whose token lives."""
        return [lease for lease, token in self._leases.items() if token in self.live]

    def close(self) -> None:
        """As a client's."""

    # ── inside ───────────────────────────────────────────────────────────────────────────────────────────────────────

    def _called(self, operation: str, path: str = "", token: SecretStr | None = None, on_behalf_of: str = "") -> None:
        who = on_behalf_of or self._object
        self.calls.append(Call(operation, path, token.reveal() if token else "", who, self._namespace))
        if error := self.down or self.failing.get(operation):
            raise error

    @staticmethod
    def _metadata(versions: Mapping[int, _Version]) -> KVMetadata:
        states = {n: KVVersionState(v.deleted, v.destroyed, v.created) for n, v in versions.items()}
        return KVMetadata(max(versions, default=0), states)

    def _full(self, mount: str) -> str:
        return f"{self._namespace}/{mount}" if self._namespace else mount

    def _grant(self) -> float:
        return self._clock.monotonic() + self.grants.ttl if self.grants.ttl else math.inf

    def _check(self, token: SecretStr, operation: str, where: str) -> None:
        if token.reveal() not in self.live or (operation, where) in self.denied:
            raise SecretAccessDeniedError("permission denied", path=where)


class FakeLink:
    """A `Link` without threads: each call waits a turn of the loop, and as long as the vault holds its operation."""

    def __init__(self, server: VaultServer, vault: FakeVault) -> None:
        self.server = server
        self.vault = vault
        self.closed = False

    async def call(self, operation: str, function: Callable[[Any], T]) -> T:
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        await asyncio.sleep(0)
        await self.vault.gate(operation)
        return function(self.vault)

    def close(self) -> None:
        self.closed = True


class FakeTokens:
    """The API server's TokenRequest: gives tokens of the ServiceAccounts it knows, by (namespace, name) → uid."""

    def __init__(self) -> None:
        self.accounts = {("shop", "default"): "uid-account"}
        self.failure: Exception | None = None
        self.audiences: list[str] = []

    async def token(self, identity: Identity, audience: str) -> ServiceAccountToken:
        self.audiences.append(audience)
        await asyncio.sleep(0)
        if self.failure is not None:
            raise self.failure
        uid = self.accounts.get((identity.namespace, identity.service_account))
        if uid is None:
            raise IdentityError(Violation(Reason.SERVICE_ACCOUNT_NOT_FOUND, "the ServiceAccount does not exist"))
        return ServiceAccountToken(SecretStr(f"jwt of {uid}"), uid)


class Seen:
    """Every observer of `sources` in one, remembering what it was told."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, float]] = []
        self.logins: list[str] = []
        self.reads: list[str] = []
        self.holdings: list[str] = []

    def vault_request(self, *, operation: str, outcome: str, seconds: float) -> None:
        self.requests.append((operation, outcome, seconds))

    def vault_login(self, *, outcome: str) -> None:
        self.logins.append(outcome)

    def holding(self, *, kind: str, action: str) -> None:
        self.holdings.append(f"{kind} {action}")

    def shared_read(self, *, hit: bool) -> None:
        self.reads.append("hit" if hit else "miss")
