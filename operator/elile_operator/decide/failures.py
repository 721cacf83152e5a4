"""What an error of the library means for the object that wanted to read: a reason, and the remedy in words."""

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretDeletedError,
    SecretMountNotFoundError,
    SecretNamespaceNotFoundError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsRoleNotFoundError,
    SecretsSealedError,
    SecretsStaleAnswerError,
    SecretsTLSError,
    SecretVersionNotFoundError,
)
from elile_operator.api.auth import AuthMethod
from elile_operator.api.reasons import Reason
from elile_operator.decide.access import Engine, Planned, SourceRead
from elile_operator.decide.violation import Violation

__all__ = ["explain_read", "explain_server"]


def explain_server(error: SecretsError, server: str, address: str) -> Violation:
    """Return what an error says about the server itself, for its own status and for everybody who waits for it."""
    at = f"VaultServer {server!r} at {address}"
    match error:
        case SecretsSealedError():
            return Violation(Reason.VAULT_SEALED, f"{at} is {error.detail}; unseal it, or wait until it is active")
        case SecretsTLSError():
            return Violation(
                Reason.TLS_UNTRUSTED,
                f"{at}: {error.detail}; put its CA into spec.tls.caBundle or into the ConfigMap of "
                "spec.tls.caBundleRef, or correct spec.tls.serverName",
            )
        case SecretsRateLimitedError():
            return Violation(
                Reason.VAULT_THROTTLED,
                f"{at} throttles; raise its rate limit quota, or lower spec.limits.requestsPerSecond",
            )
        case SecretsMalformedResponseError():
            return Violation(
                Reason.MALFORMED_RESPONSE,
                f"{at} does not answer as Vault or OpenBao does: {error.detail}; correct spec.address",
            )
        case _:
            return Violation(
                Reason.VAULT_UNREACHABLE,
                f"{at} does not answer: {error.detail}; start it, correct spec.address, or open the network",
            )


_LOGIN_CAUSES = {
    AuthMethod.KUBERNETES: "the role does not expect the audience of the VaultServer or is not bound to this "
    "ServiceAccount and namespace, the auth method has no token reviewer",
    AuthMethod.JWT: "the role's bound_audiences do not hold the audience of the VaultServer, its bound_subject or "
    "bound_claims do not fit this ServiceAccount and namespace, the auth method has not the keys or the issuer of this "
    "cluster's API server",
}


def explain_read(error: SecretsError, read: Planned, address: str) -> Violation:
    """Return what an error says about one source, in the order from the most special to the most general."""
    where = error.path or _api_path(read)
    login = where.startswith("auth/")
    namespace = read.login_namespace if login else read.vault_namespace
    at = f"VaultServer {read.server!r}" + (f" in namespace {namespace!r}" if namespace else "")
    source = f"spec.sources[{read.name}]"
    who = f"ServiceAccount {read.namespace}/{read.service_account} with role {read.role!r}"
    match error:
        case SecretNamespaceNotFoundError():
            field = f"spec.auth.{read.method}.namespace" if login else "spec.vault.namespace"
            return Violation(
                Reason.MOUNT_NOT_FOUND,
                f"VaultServer {read.server!r} has no namespace {namespace!r}; create it there, or correct {field}, or "
                "spec.namespace of the VaultServer",
            )
        case SecretMountNotFoundError() if login:
            return Violation(
                Reason.MOUNT_NOT_FOUND,
                f"{at} has no auth method at {where.removesuffix('/login')}; enable it there, or correct "
                f"spec.auth.{read.method}.mount of the VaultServer",
            )
        case SecretMountNotFoundError() if isinstance(read, SourceRead) and read.mount:
            return Violation(
                Reason.MOUNT_NOT_FOUND,
                f"{at} has no secrets engine at {read.mount!r}; correct {source}.{read.field}.mount, or enable "
                f"{read.engine} there",
            )
        case SecretMountNotFoundError():
            return Violation(
                Reason.MOUNT_NOT_FOUND,
                f"{at} has no secrets engine that answers at {where}; correct {_named_by(source, read)}, or enable the "
                "engine there",
            )
        case SecretVersionNotFoundError() if isinstance(read, SourceRead):
            return Violation(
                Reason.VERSION_NOT_FOUND,
                f"{at} has no version {read.version} of {where}; correct {source}.{read.field}.version, or remove it",
            )
        case SecretDeletedError():
            done = "destroyed" if error.destroyed else "deleted"
            cure = "write a new one" if error.destroyed else "undelete it or write a new one"
            return Violation(
                Reason.VERSION_DELETED,
                f"version {error.version} of {where} in {at} is {done}; {cure}, or correct {source}.{read.field}",
            )
        case SecretNotFoundError() if isinstance(read, SourceRead):
            return Violation(
                Reason.PATH_NOT_FOUND,
                f"{at} has nothing at {where}; write it, correct {source}.{read.field}.path, or set "
                f"{source}.optional: true",
            )
        case SecretNotFoundError():
            return Violation(
                Reason.PATH_NOT_FOUND,
                f"{at} has no role that {where} names; create it, or correct {_named_by(source, read)}",
            )
        case SecretAccessDeniedError():
            return Violation(
                Reason.PERMISSION_DENIED,
                f"{at} does not let {who} {_verb(read)} {where}; allow it in the role's policy, or correct "
                f"{_named_by(source, read)}",
            )
        case SecretsRoleNotFoundError():
            return Violation(
                Reason.ROLE_NOT_FOUND,
                f"{at} has no role {read.role!r} at {where.removesuffix('/login')}; create it, or correct "
                "spec.vault.role",
            )
        case SecretsAuthenticationError():
            return Violation(
                Reason.LOGIN_DENIED,
                f"{at} refuses the login of {who} at {where}; the usual causes: {_LOGIN_CAUSES[read.method]}, or there "
                "is no auth method at that mount",
            )
        case SecretsConfigurationError() if isinstance(read, SourceRead):
            return Violation(Reason.SPEC_INVALID, f"{source}.{read.field} names {where}: {error.detail}")
        case SecretsConfigurationError():
            return Violation(
                Reason.SPEC_INVALID,
                f"{at}: {where}: {error.detail}; correct {source}.{read.field}, or allow it in the engine's role",
            )
        case SecretsStaleAnswerError():
            return Violation(
                Reason.READ_STALE,
                f"{at} is behind at {where}: {error.detail}; a standby has to catch up; where a backup was restored, "
                "write the entry anew, or wait ten minutes",
            )
        case _:
            return explain_server(error, read.server, address)


def _api_path(read: Planned) -> str:
    if isinstance(read, SourceRead) and read.mount:
        return f"{read.mount}/data/{read.path}" if read.engine is Engine.KV2 else f"{read.mount}/{read.path}"
    return read.path


def _named_by(source: str, read: Planned) -> str:
    """The field that says where a source reads."""
    return f"{source}.pki" if read.field == "pki" else f"{source}.{read.field}.path"


def _verb(read: Planned) -> str:
    if isinstance(read, SourceRead):
        return "read or create" if read.field == "generate.kv" else "read"
    return "ask for"
