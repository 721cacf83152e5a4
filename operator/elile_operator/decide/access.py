"""Decide whether an ElileSecret may use its VaultServer, and what exactly it reads there as whom."""

from collections.abc import Mapping
from dataclasses import dataclass

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.api.vaultserver import VaultServer, resolve
from elile_operator.decide.violation import Violation, first_violation

__all__ = ["Access", "SourceRead", "check_access", "plan_reads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What decides about access: `server` is None when it does not exist, `labels` are the namespace's."""

    secret: ElileSecret
    server: VaultServer | None
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRead:
    """One source with every default filled in: what is read, from where, as whom. `version` None follows the latest."""

    name: str
    server: str
    role: str
    namespace: str
    service_account: str
    mount: str
    path: str
    version: int | None


def _server_exists(a: Access) -> Violation | None:
    if a.server is not None:
        return None
    return Violation(
        Reason.SERVER_NOT_FOUND,
        f"spec.vault.server names VaultServer {a.secret.spec.vault.server!r}, which does not exist; "
        "create it or correct the name",
    )


def _namespace_allowed(a: Access) -> Violation | None:
    assert a.server is not None  # noqa: S101 - the check above
    namespace, allowed = a.secret.metadata.namespace or "", a.server.spec.allowed_namespaces
    if allowed is None or allowed.allow(namespace, a.labels):
        return None
    return Violation(
        Reason.NAMESPACE_NOT_ALLOWED,
        f"VaultServer {a.server.metadata.name!r} does not allow namespace {namespace!r}; "
        "ask its administrator to add it to spec.allowedNamespaces",
    )


# The order is the specification: each check may rely on the ones above it.
_CHAIN = (
    _server_exists,
    _namespace_allowed,
)


def check_access(access: Access) -> Violation | None:
    """Return why the object may not use the server, or None."""
    return first_violation(_CHAIN, access)


def plan_reads(secret: ElileSecret, server: VaultServer) -> tuple[SourceRead, ...]:
    """Return what each source reads, in the order of the spec; the identity is always one of the object's namespace."""
    namespace = secret.metadata.namespace or ""
    defaults, vault = server.spec.defaults, secret.spec.vault

    def default(template: str) -> str:
        return resolve(template, namespace=namespace)

    return tuple(
        SourceRead(
            name=source.name,
            server=server.metadata.name,
            role=vault.role or default(defaults.role),
            namespace=namespace,
            service_account=vault.service_account_name or default(defaults.service_account_name),
            mount=source.kv.mount or default(defaults.mount),
            path=source.kv.path,
            version=source.kv.version,
        )
        for source in secret.spec.sources
        if source.kv is not None
    )
