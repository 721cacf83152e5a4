"""How the process that is killed makes its targets; what it is told is plain data."""

from ipaddress import ip_network
from typing import Any

from elile.secrets.redact import SecretStr
from elile.secrets.rotation.drivers.mariadb import MariaDBEndpoint
from elile.secrets.rotation.drivers.postgresql import PostgreSQLEndpoint
from elile.secrets.rotation.drivers.redis import RedisTls
from elile.secrets.rotation.egress import Dialer, EgressRule
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import Strategy
from elile.secrets.rotation.ports import Target
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.mariadb import MariaDBTarget
from elile.secrets.rotation.targets.postgresql import PostgreSQLTarget
from elile.secrets.rotation.targets.redis import RedisTarget
from tests.support.rotation_process import rotate, target

__all__ = ["rotate"]

GENERATOR = password(24, exclude="'\"\\")


def dialer(spec: dict[str, Any]) -> Dialer:
    """Allow the server's own address and no other."""
    return Dialer([EgressRule(frozenset({spec["port"]}), cidr=ip_network("127.0.0.1/32"))])


def admin(spec: dict[str, Any], **where: Any) -> AdminEntry:
    """The steward, who may change the users of the spec at its port."""
    return AdminEntry(
        username=spec["steward"],
        password=SecretStr(spec["admin"]),
        allowed_users=frozenset(spec["users"]),
        host="127.0.0.1",
        port=spec["port"],
        **where,
    )


@target("postgresql")
def postgresql(spec: dict[str, Any]) -> Target:
    return PostgreSQLTarget(
        endpoint=PostgreSQLEndpoint(host="127.0.0.1", port=spec["port"], database="postgres", ca_pem=spec["ca"]),
        admin=admin(spec, database="postgres"),
        users=spec["users"],
        generator=GENERATOR,
        dialer=dialer(spec),
        strategy=Strategy(spec["strategy"]),
        accept_downtime=True,
    )


@target("mariadb")
def mariadb(spec: dict[str, Any]) -> Target:
    return MariaDBTarget(
        endpoint=MariaDBEndpoint(host="127.0.0.1", port=spec["port"], ca_pem=spec["ca"]),
        admin=admin(spec),
        users=spec["users"],
        generator=GENERATOR,
        dialer=dialer(spec),
        strategy=Strategy(spec["strategy"]),
        accept_downtime=True,
    )


@target("redis")
def redis(spec: dict[str, Any]) -> Target:
    return RedisTarget(
        nodes=[("127.0.0.1", spec["port"])],
        user=spec["user"],
        admin=AdminEntry(
            username="admin",
            password=SecretStr(spec["admin"]),
            allowed_users=frozenset({spec["user"]}),
            nodes=(("127.0.0.1", spec["port"]),),
        ),
        generator=GENERATOR,
        dialer=dialer(spec),
        tls=RedisTls(ca_pem=spec["ca"]),
    )
