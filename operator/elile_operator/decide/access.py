"""Decide whether an ElileSecret may use its VaultServer, and what exactly it reads there as whom."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TypedDict

from elile_operator.api.auth import AuthMethod
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.api.sources import KeyFormat, KvEngine, LeaseSource, Method, PkiSource, Source, share
from elile_operator.api.syntax import ROOT_NAMESPACE
from elile_operator.api.vaultserver import VaultServer, resolve
from elile_operator.decide.violation import Violation, first_violation

__all__ = ["Access", "Engine", "Planned", "SourceIssue", "SourceRead", "check_access", "is_reserved", "plan_reads"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What decides about access: `server` is None when it does not exist, `labels` are the namespace's."""

    secret: ElileSecret
    server: VaultServer | None
    labels: Mapping[str, str]


class _Who(TypedDict):
    server: str
    role: str
    namespace: str
    service_account: str
    vault_namespace: str | None
    method: AuthMethod
    login_namespace: str | None


class Engine(StrEnum):
    """How an entry is read. Only KV2 has versions, which tell without the value whether it changed."""

    KV2 = "kv v2"
    KV1 = "kv v1"
    PATH = "path"  # of any engine, whole: the mount is part of the path


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceRead:
    """One source with every default filled in: what is read, from where, as whom. `version` None follows the latest.

    `field` is what of the source names the path, for messages. `vault_namespace` is where it is read and
    `login_namespace` where the login happens; None is the root namespace.
    """

    name: str
    server: str
    role: str
    namespace: str
    service_account: str
    mount: str
    path: str
    version: int | None
    engine: Engine = Engine.KV2
    field: str = "kv"
    vault_namespace: str | None = None
    method: AuthMethod = AuthMethod.KUBERNETES
    login_namespace: str | None = None

    @property
    def where(self) -> str:
        """Path in Vault as people write it, with its namespace: another namespace is another value."""
        return _joined(self.vault_namespace, self.mount, self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceIssue:
    """One source whose content is made for the object alone, and ends: a lease, or a certificate of `mount`.

    Two that are equal ask for the same; when it is renewed (`renew_at`, a share of its time) makes no difference.
    """

    name: str
    server: str
    role: str
    namespace: str
    service_account: str
    path: str
    parameters: tuple[tuple[str, str], ...]
    write: bool
    mount: str = ""
    renew_at: float = dataclasses.field(compare=False)
    vault_namespace: str | None = None
    method: AuthMethod = AuthMethod.KUBERNETES
    login_namespace: str | None = None

    @property
    def field(self) -> str:
        """What of the source names the path, for messages."""
        return "pki" if self.is_certificate else "lease"

    @property
    def where(self) -> str:
        """Path in Vault as people write it, with its namespace."""
        return _joined(self.vault_namespace, self.path)

    @property
    def is_certificate(self) -> bool:
        return bool(self.mount)


Planned = SourceRead | SourceIssue


def _joined(*parts: str | None) -> str:
    return "/".join(part for part in parts if part)


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


def _no_reserved_path(a: Access) -> Violation | None:
    assert a.server is not None  # noqa: S101 - the first check
    prefix = a.server.spec.journal.prefix
    for read in plan_reads(a.secret, a.server):
        if isinstance(read, SourceRead) and is_reserved(read, prefix):
            return Violation(
                Reason.SPEC_INVALID,
                f"spec.sources[{read.name}].{read.field}.path is {read.path!r}, where VaultServer "
                f"{a.server.metadata.name!r} has the journals and inboxes of rotations (spec.journal.prefix {prefix!r} "
                "there): name the path of a value",
            )
    return None


# The order is the specification: each check may rely on the ones above it.
_CHAIN = (
    _server_exists,
    _namespace_allowed,
    _no_reserved_path,
)


def is_reserved(read: SourceRead, prefix: str) -> bool:
    """Whether a read is of a journal or an inbox: no value of an application's, and not to be shown to one."""
    # What is no path of an entry of version 2 can still be one of its API, below `data/`.
    tails = [read.path] if read.engine is Engine.KV2 else f"/{read.path}".split("/data/")[1:]
    folders = (prefix, f"{prefix}-inbox")
    return any(f"{tail}/".startswith(f"{folder}/") for tail in tails for folder in folders)


def check_access(access: Access) -> Violation | None:
    """Return why the object may not use the server, or None."""
    return first_violation(_CHAIN, access)


def plan_reads(secret: ElileSecret, server: VaultServer) -> tuple[Planned, ...]:
    """Return what each source reads, in the order of the spec; the identity is always one of the object's namespace."""
    namespace = secret.metadata.namespace or ""
    defaults, vault = server.spec.defaults, secret.spec.vault

    def default(template: str) -> str:
        return resolve(template, namespace=namespace)

    who = _Who(
        server=server.metadata.name,
        role=vault.role or default(defaults.role),
        namespace=namespace,
        service_account=vault.service_account_name or default(defaults.service_account_name),
        vault_namespace=_below(server.spec.namespace, vault.namespace),
        method=server.spec.auth.method,
        login_namespace=_login_namespace(server),
    )
    return tuple(_plan(source, who, default(defaults.mount)) for source in secret.spec.sources)


def _plan(source: Source, who: _Who, mount: str) -> Planned:
    if (kv := source.kv) is not None:
        engine = Engine.KV1 if kv.engine is KvEngine.V1 else Engine.KV2
        mount = kv.mount or mount
        return SourceRead(name=source.name, **who, mount=mount, path=kv.path, version=kv.version, engine=engine)
    if (generate := source.generate) is not None:
        mount, path = generate.kv.mount or mount, generate.kv.path
        return SourceRead(name=source.name, **who, mount=mount, path=path, version=None, field="generate.kv")
    if (read := source.read) is not None:
        return SourceRead(
            name=source.name, **who, mount="", path=read.path, version=None, engine=Engine.PATH, field="read"
        )
    if (lease := source.lease) is not None:
        return _lease(source.name, lease, who)
    assert source.pki is not None  # noqa: S101 - the last kind there is, see the model's rule
    return _certificate(source.name, source.pki, who)


def _lease(name: str, lease: LeaseSource, who: _Who) -> SourceIssue:
    return SourceIssue(
        name=name,
        **who,
        path=lease.path,
        parameters=tuple(sorted(lease.parameters.items())),
        write=lease.method is Method.POST,
        renew_at=share(lease.renew_at),
    )


def _certificate(name: str, pki: PkiSource, who: _Who) -> SourceIssue:
    """Return the request of a certificate, with the names that Vault's API has for its parts."""
    wanted = {
        "common_name": pki.common_name,
        "alt_names": ",".join(pki.alt_names),
        "ip_sans": ",".join(pki.ip_sans),
        "uri_sans": ",".join(pki.uri_sans),
        "other_sans": ",".join(pki.other_sans),
        "ttl": f"{pki.ttl.total_seconds():.0f}s" if pki.ttl else "",
        "private_key_format": "pkcs8" if pki.private_key_format is KeyFormat.PKCS8 else "",
    }
    by = f"{pki.mount}/issuer/{pki.issuer}" if pki.issuer else pki.mount
    return SourceIssue(
        name=name,
        **who,
        path=f"{by}/issue/{pki.role}",
        parameters=tuple((key, value) for key, value in wanted.items() if value),
        write=True,
        mount=pki.mount,
        renew_at=share(pki.renew_at),
    )


def _below(parent: str | None, namespace: str | None) -> str | None:
    return "/".join(part for part in (parent, namespace) if part) or None


def _login_namespace(server: VaultServer) -> str | None:
    named = server.spec.auth.settings.namespace
    if named is None:
        return server.spec.namespace
    return None if named == ROOT_NAMESPACE else named
