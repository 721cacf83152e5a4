"""The targets and inboxes of the rotation engine, made of what a RotationSchedule says."""

from collections.abc import Callable

from elile.secrets.rotation.drivers.mariadb import MariaDBEndpoint
from elile.secrets.rotation.drivers.postgresql import PostgreSQLEndpoint
from elile.secrets.rotation.drivers.redis import RedisTls
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.generators import Generator
from elile.secrets.rotation.journal import Strategy
from elile.secrets.rotation.ports import Target
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.external import ExternalTarget, Staged
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.targets.keyset import KeysetTarget
from elile.secrets.rotation.targets.mariadb import MariaDBTarget
from elile.secrets.rotation.targets.plain import ReplaceTarget
from elile.secrets.rotation.targets.postgresql import PostgreSQLTarget
from elile.secrets.rotation.targets.redis import RedisTarget
from elile.secrets.types import KeyAlgorithm
from elile_operator.api.endpoints import ClientTls
from elile_operator.api.rotationschedule import RotationScheduleSpec
from elile_operator.api.targets import MariaDBApply, PostgreSQLApply, RedisApply
from elile_operator.decide.generating import generator_of

__all__ = [
    "CHANGE_TIMEOUT",
    "build_target",
    "credential_fields",
    "mariadb_endpoint",
    "postgresql_endpoint",
    "redis_tls",
    "strategy_of",
]

# Seconds for one call to a target. A leader that is frozen gives up ten seconds after its last renewal, and nobody else
# begins before fifteen: what it had sent must have ended by then.
CHANGE_TIMEOUT = 4.0


def build_target(
    spec: RotationScheduleSpec,
    *,
    admin: Callable[[], AdminEntry],
    inbox: Staged,
    dialer: Dialer,
) -> Target:
    """Return what a new value is made of and has to pass. `admin` reads the administrator's entry; both may block.

    Raises SecretsError when the entry cannot be read, SecretsConfigurationError for what does not fit together.
    """
    value = spec.value
    if value.keyset is not None:
        return KeysetTarget(algorithm=KeyAlgorithm(value.keyset.algorithm.value))
    if value.external is not None:
        return ExternalTarget(inbox)
    assert value.generate is not None  # noqa: S101 - exactly one of the three is there
    generator, fields = generator_of(value.generate), credential_fields(spec)
    if spec.apply is None:
        return ReplaceTarget(generator, spec.fields.value)
    match spec.apply.target:
        case PostgreSQLApply() as target:
            return PostgreSQLTarget(
                endpoint=postgresql_endpoint(target),
                admin=admin,
                users=target.users,
                generator=generator,
                dialer=dialer,
                strategy=Strategy(target.strategy.value),
                accept_downtime=spec.accept_downtime,
                owner=target.owner,
                fields=fields,
                timeout=CHANGE_TIMEOUT,
            )
        case MariaDBApply() as target:
            return MariaDBTarget(
                endpoint=mariadb_endpoint(target),
                admin=admin,
                users=target.users,
                generator=generator,
                dialer=dialer,
                account_host=target.account_host,
                strategy=Strategy(target.strategy.value),
                accept_downtime=spec.accept_downtime,
                fields=fields,
                timeout=CHANGE_TIMEOUT,
            )
        case RedisApply() as target:
            return _redis(target, admin(), generator, dialer, fields)


def strategy_of(spec: RotationScheduleSpec) -> Strategy:
    """Return how a new value comes to be valid."""
    if spec.value.keyset is not None:
        return Strategy.KEYSET
    if spec.value.external is not None:
        return Strategy.EXTERNAL
    return Strategy.REPLACE if spec.apply is None else Strategy(spec.apply.target.strategy.value)


def _redis(
    target: RedisApply, admin: AdminEntry, generator: Generator, dialer: Dialer, fields: CredentialFields
) -> RedisTarget:
    return RedisTarget(
        nodes=[(node.host, node.port) for node in target.nodes],
        user=target.user,
        admin=admin,
        generator=generator,
        dialer=dialer,
        tls=redis_tls(target.tls),
        fields=fields,
        allow_unsaved=target.allow_unsaved,
        timeout=CHANGE_TIMEOUT,
    )


def credential_fields(spec: RotationScheduleSpec) -> CredentialFields:
    """Return which keys of the entry hold a login; absent ones are `username` and `password`."""
    default = CredentialFields()
    return CredentialFields(spec.fields.username or default.username, spec.fields.value or default.value)


def postgresql_endpoint(target: PostgreSQLApply) -> PostgreSQLEndpoint:
    """Return how the server is reached."""
    return PostgreSQLEndpoint(
        host=target.host,
        port=target.port,
        database=target.database,
        ca_pem=target.tls.ca_bundle,
        server_name=target.tls.server_name,
        allow_plain=target.tls.allow_plain,
    )


def mariadb_endpoint(target: MariaDBApply) -> MariaDBEndpoint:
    """Return how the server is reached."""
    return MariaDBEndpoint(
        host=target.host,
        port=target.port,
        database=target.database or "",
        ca_pem=target.tls.ca_bundle,
        server_name=target.tls.server_name,
        allow_plain=target.tls.allow_plain,
    )


def redis_tls(tls: ClientTls) -> RedisTls:
    """Return how the servers prove who they are."""
    return RedisTls(ca_pem=tls.ca_bundle, server_name=tls.server_name, allow_plain=tls.allow_plain)
