"""Who reads: a ServiceAccount of the tenant, and how its token is got from the API server."""

import base64
import binascii
import json
from dataclasses import dataclass

from elile.secrets.redact import SecretStr
from elile_operator.api.auth import AuthMethod
from elile_operator.api.reasons import Reason
from elile_operator.decide.access import Planned
from elile_operator.decide.binding import not_bound
from elile_operator.decide.violation import Violation
from elile_operator.kube.client import KubeClient
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeInvalidError, KubeNotFoundError

__all__ = ["TOKEN_SECONDS", "Identity", "IdentityError", "ServiceAccountToken", "TokenRequests"]

# The API server's minimum; Vault looks at the token once, at the login.
TOKEN_SECONDS = 600


@dataclass(frozen=True, slots=True)
class Identity:
    """One login: everybody with the same of all these shares it. `login_namespace` None is Vault's root namespace."""

    server: str
    role: str
    namespace: str
    service_account: str
    method: AuthMethod = AuthMethod.KUBERNETES
    login_namespace: str | None = None

    @classmethod
    def of(cls, read: Planned) -> "Identity":
        who = (read.server, read.role, read.namespace, read.service_account)
        return cls(*who, read.method, read.login_namespace)


@dataclass(frozen=True, slots=True)
class ServiceAccountToken:
    """A token for one audience, and the uid of the ServiceAccount it speaks for."""

    token: SecretStr
    uid: str


class IdentityError(Exception):
    """There is no token to log in with; `violation` says why and what to do."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(violation.message)
        self.violation = violation

    @property
    def safe_text(self) -> str:
        return self.violation.message


class TokenRequests:
    """Tokens of tenants' ServiceAccounts, by TokenRequest."""

    def __init__(self, kube: KubeClient, *, account: str) -> None:
        self._kube = kube
        self._account = account

    async def token(self, identity: Identity, audience: str) -> ServiceAccountToken:
        """Return a fresh token. Raises IdentityError when it is refused, another KubeError when there is no answer."""
        try:
            token, _ = await self._kube.request_token(
                identity.namespace, identity.service_account, audience=audience, seconds=TOKEN_SECONDS
            )
        except KubeError as e:
            violation = _explain(e, identity, audience, self._account)
            if violation is None:
                raise
            raise IdentityError(violation) from None
        return ServiceAccountToken(token, _uid(token))


def _explain(error: KubeError, identity: Identity, audience: str, operator: str) -> Violation | None:
    account = f"ServiceAccount {identity.namespace}/{identity.service_account}"
    match error:
        case KubeNotFoundError():
            return Violation(
                Reason.SERVICE_ACCOUNT_NOT_FOUND,
                f"{account} does not exist; create it, or correct spec.vault.serviceAccountName",
            )
        case KubeForbiddenError():
            return not_bound(identity.namespace, operator)
        case KubeInvalidError():
            return Violation(
                Reason.AUDIENCE_NOT_ALLOWED,
                f"the API server refuses a token of {account} for audience {audience!r}; correct "
                f"spec.auth.{identity.method}.audience of VaultServer {identity.server!r}",
            )
        case _:
            return None


def _uid(token: SecretStr) -> str:
    """Read the ServiceAccount's uid from the token's claims; they are our own API server's, so unverified is enough."""
    try:
        claims = token.reveal().split(".")[1]
        parsed = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
        return str(parsed["kubernetes.io"]["serviceaccount"]["uid"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error):
        return ""
