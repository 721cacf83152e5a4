"""Each error of the library becomes one reason, and a message that names object, field and remedy."""

from dataclasses import replace

import pytest

from elile.secrets import errors
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
    SecretsUnavailableError,
    SecretVersionNotFoundError,
)
from elile_operator.api.auth import AuthMethod
from elile_operator.api.reasons import SERVER_EFFECTS, Mark, Reason
from elile_operator.decide.access import Engine, Planned, SourceIssue
from elile_operator.decide.failures import explain_read, explain_server
from elile_operator.decide.violation import Violation
from tests.fakes.objects import READ

ADDRESS = "https://vault.example:8200"
AT = "VaultServer 'default' at https://vault.example:8200"
LOGIN = "auth/kubernetes/login"
WHERE = "secret/data/shop/db"
WHO = "ServiceAccount shop/default with role 'elile'"


def deleted(*, destroyed: bool) -> SecretDeletedError:
    return SecretDeletedError("gone", path=WHERE, version=4, deleted_at=None, destroyed=destroyed)


OF_THE_SERVER = [
    pytest.param(
        SecretsSealedError("sealed, not initialised or standby"),
        Reason.VAULT_SEALED,
        f"{AT} is sealed, not initialised or standby; unseal it, or wait until it is active",
        id="sealed",
    ),
    pytest.param(
        SecretsTLSError("the certificate has expired"),
        Reason.TLS_UNTRUSTED,
        f"{AT}: the certificate has expired; put its CA into spec.tls.caBundle or into the ConfigMap of "
        "spec.tls.caBundleRef, or correct spec.tls.serverName",
        id="tls",
    ),
    pytest.param(
        SecretsRateLimitedError("the server throttles", retry_after=1.0),
        Reason.VAULT_THROTTLED,
        f"{AT} throttles; raise its rate limit quota, or lower spec.limits.requestsPerSecond",
        id="throttled",
    ),
    pytest.param(
        SecretsMalformedResponseError("answered 200 with a body that is not JSON"),
        Reason.MALFORMED_RESPONSE,
        f"{AT} does not answer as Vault or OpenBao does: answered 200 with a body that is not JSON; "
        "correct spec.address",
        id="malformed",
    ),
    pytest.param(
        SecretsUnavailableError("connection failed: ECONNREFUSED"),
        Reason.VAULT_UNREACHABLE,
        f"{AT} does not answer: connection failed: ECONNREFUSED; start it, correct spec.address, or open the network",
        id="unreachable",
    ),
]

OF_A_READ = [
    pytest.param(
        SecretsConfigurationError("a path has no empty parts, no '.' and no '..'; correct it", path="secret/data/a//b"),
        Reason.SPEC_INVALID,
        "spec.sources[main].kv names secret/data/a//b: a path has no empty parts, no '.' and no '..'; correct it",
        id="path",
    ),
    pytest.param(
        SecretsStaleAnswerError("version 1 is said to be the last one, after version 2 was read", path=WHERE),
        Reason.READ_STALE,
        "VaultServer 'default' is behind at secret/data/shop/db: version 1 is said to be the last one, after version 2 "
        "was read; a standby has to catch up; where a backup was restored, write the entry anew, or wait ten minutes",
        id="behind",
    ),
    pytest.param(
        SecretMountNotFoundError("nothing is mounted there", path=LOGIN),
        Reason.MOUNT_NOT_FOUND,
        "VaultServer 'default' has no auth method at auth/kubernetes; enable it there, or correct "
        "spec.auth.kubernetes.mount of the VaultServer",
        id="auth mount",
    ),
    pytest.param(
        SecretMountNotFoundError("nothing is mounted there", path=WHERE),
        Reason.MOUNT_NOT_FOUND,
        "VaultServer 'default' has no secrets engine at 'secret'; correct spec.sources[main].kv.mount, "
        "or enable kv v2 there",
        id="mount",
    ),
    pytest.param(
        SecretNamespaceNotFoundError("the namespace does not exist", path=WHERE),
        Reason.MOUNT_NOT_FOUND,
        "VaultServer 'default' has no namespace None; create it there, or correct spec.vault.namespace, or "
        "spec.namespace of the VaultServer",
        id="namespace",
    ),
    pytest.param(
        SecretVersionNotFoundError("version 7 does not exist", path=WHERE),
        Reason.VERSION_NOT_FOUND,
        "VaultServer 'default' has no version 7 of secret/data/shop/db; correct spec.sources[main].kv.version, "
        "or remove it",
        id="version",
    ),
    pytest.param(
        deleted(destroyed=False),
        Reason.VERSION_DELETED,
        "version 4 of secret/data/shop/db in VaultServer 'default' is deleted; undelete it or write a new one, "
        "or correct spec.sources[main].kv",
        id="deleted",
    ),
    pytest.param(
        deleted(destroyed=True),
        Reason.VERSION_DELETED,
        "version 4 of secret/data/shop/db in VaultServer 'default' is destroyed; write a new one, "
        "or correct spec.sources[main].kv",
        id="destroyed",
    ),
    pytest.param(
        SecretNotFoundError("nothing is stored there", path=WHERE),
        Reason.PATH_NOT_FOUND,
        "VaultServer 'default' has nothing at secret/data/shop/db; write it, correct spec.sources[main].kv.path, "
        "or set spec.sources[main].optional: true",
        id="path",
    ),
    pytest.param(
        SecretNotFoundError("nothing is stored there"),
        Reason.PATH_NOT_FOUND,
        "VaultServer 'default' has nothing at secret/data/shop/db; write it, correct spec.sources[main].kv.path, "
        "or set spec.sources[main].optional: true",
        id="path, from the spec when the error has none",
    ),
    pytest.param(
        SecretAccessDeniedError("permission denied", path="secret/metadata/shop/db"),
        Reason.PERMISSION_DENIED,
        f"VaultServer 'default' does not let {WHO} read secret/metadata/shop/db; allow it in the role's policy, "
        "or correct spec.sources[main].kv.path",
        id="denied",
    ),
    pytest.param(
        SecretsRoleNotFoundError("the auth method knows no such role", path=LOGIN),
        Reason.ROLE_NOT_FOUND,
        "VaultServer 'default' has no role 'elile' at auth/kubernetes; create it, or correct spec.vault.role",
        id="role",
    ),
    pytest.param(
        SecretsAuthenticationError("the login was refused", path=LOGIN),
        Reason.LOGIN_DENIED,
        f"VaultServer 'default' refuses the login of {WHO} at auth/kubernetes/login; the usual causes: the role does "
        "not expect the audience of the VaultServer or is not bound to this ServiceAccount and namespace, the auth "
        "method has no token reviewer, or there is no auth method at that mount",
        id="login",
    ),
]


@pytest.mark.parametrize(("error", "reason", "message"), OF_THE_SERVER)
def test_an_error_says_what_is_wrong_with_the_server(error: SecretsError, reason: Reason, message: str) -> None:
    assert explain_server(error, "default", ADDRESS) == Violation(reason, message)
    # A server that is away is so for every source, and is explained in the same words.
    error.path = WHERE
    assert explain_read(error, READ, ADDRESS) == Violation(reason, message)


@pytest.mark.parametrize(("error", "reason", "message"), OF_A_READ)
def test_an_error_says_what_is_wrong_with_a_source(error: SecretsError, reason: Reason, message: str) -> None:
    assert explain_read(error, replace(READ, version=7), ADDRESS) == Violation(reason, message)


KV1 = replace(READ, engine=Engine.KV1)
STATIC = replace(READ, mount="", path="database/static-creds/x", engine=Engine.PATH, field="read")
MADE = replace(READ, field="generate.kv")
LEASE = SourceIssue(
    name="dyn",
    server="default",
    role="elile",
    namespace="shop",
    service_account="default",
    path="database/creds/x",
    parameters=(),
    write=False,
    renew_at=0.67,
)
WEB = replace(LEASE, name="web", path="pki/issue/web", mount="pki", write=True)


@pytest.mark.parametrize(
    ("read", "error", "message"),
    [
        pytest.param(
            KV1,
            SecretMountNotFoundError("nothing is mounted there", path="secret/shop/db"),
            "VaultServer 'default' has no secrets engine at 'secret'; correct spec.sources[main].kv.mount, or enable "
            "kv v1 there",
            id="kv v1: mount",
        ),
        pytest.param(
            KV1,
            SecretNotFoundError("nothing"),
            "VaultServer 'default' has nothing at secret/shop/db; write it, correct spec.sources[main].kv.path, or set "
            "spec.sources[main].optional: true",
            id="kv v1: nothing there, and no path in the error",
        ),
        pytest.param(
            STATIC,
            SecretMountNotFoundError("nothing is mounted there"),
            "VaultServer 'default' has no secrets engine that answers at database/static-creds/x; correct "
            "spec.sources[main].read.path, or enable the engine there",
            id="read: mount",
        ),
        pytest.param(
            STATIC,
            SecretNotFoundError("nothing"),
            "VaultServer 'default' has nothing at database/static-creds/x; write it, correct "
            "spec.sources[main].read.path, or set spec.sources[main].optional: true",
            id="read: nothing there",
        ),
        pytest.param(
            MADE,
            SecretAccessDeniedError("no"),
            f"VaultServer 'default' does not let {WHO} read or create secret/data/shop/db; allow it in the role's "
            "policy, or correct spec.sources[main].generate.kv.path",
            id="generate: denied",
        ),
        pytest.param(
            LEASE,
            SecretNotFoundError("there is nothing of that name", path="database/creds/x"),
            "VaultServer 'default' has no role that database/creds/x names; create it, or correct "
            "spec.sources[dyn].lease.path",
            id="lease: no role",
        ),
        pytest.param(
            WEB,
            SecretMountNotFoundError("nothing is mounted there"),
            "VaultServer 'default' has no secrets engine that answers at pki/issue/web; correct spec.sources[web].pki, "
            "or enable the engine there",
            id="certificate: mount",
        ),
        pytest.param(
            WEB,
            SecretsConfigurationError("the engine refuses what was asked for", path="pki/issue/web"),
            "VaultServer 'default': pki/issue/web: the engine refuses what was asked for; correct "
            "spec.sources[web].pki, or allow it in the engine's role",
            id="certificate: not allowed",
        ),
    ],
)
def test_an_error_names_the_field_of_its_source(read: Planned, error: SecretsError, message: str) -> None:
    assert explain_read(error, read, ADDRESS).message == message


IN_NAMESPACES = replace(
    READ, method=AuthMethod.JWT, vault_namespace="team-a/web", login_namespace="team-a", server="vault"
)


@pytest.mark.parametrize(
    ("error", "reason", "message"),
    [
        pytest.param(
            SecretNamespaceNotFoundError("the namespace does not exist", path=LOGIN),
            Reason.MOUNT_NOT_FOUND,
            "VaultServer 'vault' has no namespace 'team-a'; create it there, or correct spec.auth.jwt.namespace, or "
            "spec.namespace of the VaultServer",
            id="no namespace to log in to",
        ),
        pytest.param(
            SecretNamespaceNotFoundError("the namespace does not exist", path=WHERE),
            Reason.MOUNT_NOT_FOUND,
            "VaultServer 'vault' has no namespace 'team-a/web'; create it there, or correct spec.vault.namespace, or "
            "spec.namespace of the VaultServer",
            id="no namespace to read in",
        ),
        pytest.param(
            SecretMountNotFoundError("nothing is mounted there", path="auth/jwt/login"),
            Reason.MOUNT_NOT_FOUND,
            "VaultServer 'vault' in namespace 'team-a' has no auth method at auth/jwt; enable it there, or correct "
            "spec.auth.jwt.mount of the VaultServer",
            id="no auth method",
        ),
        pytest.param(
            SecretsAuthenticationError("the login was refused", path="auth/jwt/login"),
            Reason.LOGIN_DENIED,
            f"VaultServer 'vault' in namespace 'team-a' refuses the login of {WHO} at auth/jwt/login; the usual "
            "causes: the role's bound_audiences do not hold the audience of the VaultServer, its bound_subject or "
            "bound_claims do not fit this ServiceAccount and namespace, the auth method has not the keys or the issuer "
            "of this cluster's API server, or there is no auth method at that mount",
            id="login by jwt",
        ),
        pytest.param(
            SecretNotFoundError("nothing is stored there", path=WHERE),
            Reason.PATH_NOT_FOUND,
            "VaultServer 'vault' in namespace 'team-a/web' has nothing at secret/data/shop/db; write it, correct "
            "spec.sources[main].kv.path, or set spec.sources[main].optional: true",
            id="path",
        ),
    ],
)
def test_an_error_says_in_which_namespace_and_by_which_method(
    error: SecretsError, reason: Reason, message: str
) -> None:
    assert explain_read(error, IN_NAMESPACES, ADDRESS) == Violation(reason, message)


def test_every_error_of_the_library_has_a_case() -> None:
    cases = {type(case.values[0]) for case in [*OF_THE_SERVER, *OF_A_READ]}
    named = {getattr(errors, name) for name in errors.__all__}
    # Of managers, of writes and of typed secrets: the operator's reads cannot end in one.
    elsewhere = {
        errors.SecretBackendMissingError,
        errors.SecretConflictError,
        errors.SecretManagedElsewhereError,
        errors.SecretsClosedError,
        errors.SecretValidationError,
    }
    assert named - cases == {SecretsError} | elsewhere


def test_an_error_without_a_kind_of_its_own_is_no_answer() -> None:
    assert explain_read(SecretsError("gone"), READ, ADDRESS) == Violation(
        Reason.VAULT_UNREACHABLE,
        f"{AT} does not answer: gone; start it, correct spec.address, or open the network",
    )


@pytest.mark.parametrize(("error", "reason", "message"), OF_THE_SERVER)
def test_what_is_wrong_with_a_server_is_a_state_of_servers_and_takes_nothing_from_tenants(
    error: SecretsError, reason: Reason, message: str
) -> None:
    found = explain_server(error, "default", ADDRESS).reason
    assert found in SERVER_EFFECTS
    assert found.effect.ready is Mark.KEEP
