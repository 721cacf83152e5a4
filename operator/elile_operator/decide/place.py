"""Where the value of a RotationSchedule is kept in Vault, and as whom it is rotated."""

from collections.abc import Mapping
from dataclasses import dataclass

from elile.secrets.errors import SecretsError
from elile_operator.api.auth import AuthMethod
from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.reasons import Reason
from elile_operator.api.rotationschedule import RotationSchedule
from elile_operator.api.syntax import ROOT_NAMESPACE
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.access import Access, Engine, SourceRead, check_access, is_reserved, plan_reads
from elile_operator.decide.failures import explain_read
from elile_operator.decide.secret import is_away
from elile_operator.decide.violation import Violation

__all__ = ["Place", "explain_rotator", "find_place", "recorded_place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """One live path, and the login that rotates it. `vault_namespace` None is Vault's root namespace."""

    server: str
    vault_namespace: str | None
    mount: str
    path: str
    prefix: str
    role: str
    namespace: str
    service_account: str
    method: AuthMethod = AuthMethod.KUBERNETES
    login_namespace: str | None = None

    @property
    def where(self) -> str:
        """The path as people write it, and as the status of an ElileSecret names it."""
        return "/".join(part for part in (self.vault_namespace, self.mount, self.path) if part)

    @property
    def journal(self) -> str:
        """Where its journal is, as people write it."""
        return "/".join(part for part in (self.vault_namespace, self.mount, self.prefix, self.path) if part)

    def as_read(self) -> SourceRead:
        """Return the place as one that is read, for what is said of reads."""
        return SourceRead(
            name="rotation",
            server=self.server,
            role=self.role,
            namespace=self.namespace,
            service_account=self.service_account,
            mount=self.mount,
            path=self.path,
            version=None,
            vault_namespace=self.vault_namespace,
            method=self.method,
            login_namespace=self.login_namespace,
        )


def explain_rotator(error: SecretsError, place: Place, address: str) -> Violation:
    """Return what an error of a call as the rotator says."""
    found = explain_read(error, place.as_read(), address)
    if is_away(found.reason.effect):
        return found
    return Violation(
        found.reason,
        f"{place.where} cannot be rotated by ServiceAccount {place.namespace}/{place.service_account} with role "
        f"{place.role!r}: {error.safe_text}; correct spec.vault, or what Vault's role and policy allow it",
    )


def find_place(
    schedule: RotationSchedule, secret: ElileSecret | None, server: VaultServer | None, labels: Mapping[str, str]
) -> Place | Violation:
    """Return where a schedule's value is, or why it cannot be rotated. `labels` are those of the namespace."""
    ref = schedule.spec.secret_ref
    if secret is None:
        return Violation(
            Reason.ELILE_SECRET_NOT_FOUND,
            f"spec.secretRef.name names ElileSecret {ref.name!r}, which does not exist in this namespace; create it or "
            "correct the name",
        )
    source = next((s for s in secret.spec.sources if s.name == ref.source), None)
    if source is None:
        known = ", ".join(s.name for s in secret.spec.sources)
        return Violation(
            Reason.SOURCE_NOT_ROTATABLE,
            f"spec.secretRef.source names {ref.source!r}, which ElileSecret {ref.name!r} has not: name one of {known}",
        )
    reads = plan_reads(secret, server) if server is not None else ()
    plan = next((read for read in reads if read.name == ref.source), None)
    if server is not None and isinstance(plan, SourceRead) and is_reserved(plan, server.spec.journal.prefix):
        return Violation(
            Reason.SOURCE_NOT_ROTATABLE,
            f"source {ref.source!r} of ElileSecret {ref.name!r} is below {server.spec.journal.prefix!r}, where "
            f"VaultServer {server.metadata.name!r} keeps journals: move the value, or change spec.journal.prefix there",
        )
    if refused := check_access(Access(secret=secret, server=server, labels=labels)):
        return Violation(refused.reason, f"ElileSecret {ref.name!r}: {refused.message}")
    assert server is not None  # noqa: S101 - check_access looked
    if not isinstance(plan, SourceRead) or plan.engine is not Engine.KV2 or source.kv is None:
        return Violation(
            Reason.SOURCE_NOT_ROTATABLE,
            f"source {ref.source!r} of ElileSecret {ref.name!r} is not of kind kv, version 2: only what is kept there "
            "can be replaced; Vault's own engines rotate what they make",
        )
    if plan.version is not None:
        return Violation(
            Reason.SOURCE_NOT_ROTATABLE,
            f"source {ref.source!r} of ElileSecret {ref.name!r} is pinned to version {plan.version} and would never "
            "see another value: remove kv.version",
        )
    who = schedule.spec.vault
    return Place(
        server=plan.server,
        vault_namespace=plan.vault_namespace,
        mount=plan.mount,
        path=plan.path,
        prefix=server.spec.journal.prefix,
        role=who.role,
        namespace=plan.namespace,
        service_account=who.service_account_name,
        method=plan.method,
        login_namespace=plan.login_namespace,
    )


def recorded_place(schedule: RotationSchedule, server: VaultServer) -> Place | None:
    """Return where the run that is under way has begun, as the status tells; None where it does not."""
    live = schedule.status.live_path
    if live is None or live.server != server.metadata.name:
        return None
    auth = server.spec.auth
    named = auth.settings.namespace
    login = server.spec.namespace if named is None else None if named == ROOT_NAMESPACE else named
    return Place(
        server=live.server,
        vault_namespace=live.namespace,
        mount=live.mount,
        path=live.path,
        prefix=live.prefix,
        role=schedule.spec.vault.role,
        namespace=schedule.metadata.namespace or "",
        service_account=schedule.spec.vault.service_account_name,
        method=auth.method,
        login_namespace=login,
    )
