"""Where a new value must be set before it works: accounts of a database, a user of Redis."""

from enum import StrEnum
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.endpoints import (
    MAX_DATABASE,
    MAX_NODES,
    MAX_USER,
    ClientTls,
    RedisNode,
    host_name,
    plain_name,
    port_number,
    user_without_blanks,
)
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, ListType, Rule
from elile_operator.api.syntax import MAX_MOUNT, MAX_PATH, MAX_SUBDOMAIN, vault_path

TARGETS = ("postgresql", "mariadb", "redis")
MAX_POSTGRESQL_NAME = 63


class AccountStrategy(StrEnum):
    """How accounts of a database get a new password: the other of two, or the only one."""

    DUAL_USER = "DualUser"
    SINGLE_USER = "SingleUser"


class RedisStrategy(StrEnum):
    """How a user of Redis gets a new password: beside the old one."""

    DUAL_PASSWORD = "DualPassword"  # noqa: S105 - the name of a strategy


class Admin(SpecModel):
    """The entry with the login of the target's administrator, which says itself where and on whom it may be used."""

    mount: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_MOUNT),
            Checked(*vault_path("admin.mount")),
        ]
        | None
    ) = Field(None, description="Mount of the key-value engine, of version 2. Absent: the server's default.")
    path: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_PATH),
        Checked(*vault_path("admin.path")),
    ] = Field(
        description="Path of the entry below the mount. It names host, port, database and allowed_users, which must "
        "match what stands here."
    )


class TargetRef(SpecModel):
    """Reserved."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN)] = Field(description="Reserved.")


def _one_or_two(field: str) -> Rule:
    return Rule(
        "self.users.size() == (has(self.strategy) && self.strategy == 'SingleUser' ? 1 : 2)",
        f"{field}.users must hold two with strategy DualUser, which is the default, and one with SingleUser",
        lambda v: len(v.users) == (1 if v.strategy is AccountStrategy.SINGLE_USER else 2),
    )


def _not_yet(field: str) -> Rule:
    return Rule(
        "!has(self.targetRef)",
        f"{field}.targetRef is not yet available; name the server and its admin entry instead",
        lambda v: v.target_ref is None,
    )


class PostgreSQLApply(SpecModel):
    """Login roles of PostgreSQL."""

    host: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("spec.apply.postgresql.host")
    ] = Field(description="Host name or address of the server.")
    port: Annotated[int, port_number("spec.apply.postgresql.port")] = Field(5432, description="Port. Absent: 5432.")
    database: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_POSTGRESQL_NAME),
        plain_name("spec.apply.postgresql.database"),
    ] = Field(description="Database that the users connect to.")
    tls: ClientTls = Field(
        default_factory=ClientTls, description="How the server proves who it is. Absent: by the system's CAs."
    )
    strategy: AccountStrategy = Field(
        AccountStrategy.DUAL_USER,
        description="DualUser: two login roles of one owner take turns. SingleUser: the only one gets a new password, "
        "and the old one ends at once. Absent: DualUser.",
    )
    users: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(min_length=1, max_length=MAX_POSTGRESQL_NAME),
                plain_name("spec.apply.postgresql.users[]"),
            ],
            ...,
        ],
        Field(min_length=1, max_length=2),
        ListType("set"),
    ] = Field(description="The two login roles, or the one of SingleUser; the one in use today among them.")
    owner: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_POSTGRESQL_NAME),
            plain_name("spec.apply.postgresql.owner"),
        ]
        | None
    ) = Field(None, description="The role without a login that both act as. Absent: found from the two.")
    admin: Admin = Field(description="The entry with the administrator's login.")
    target_ref: TargetRef | None = Field(None, description="Reserved; not yet available.")


class MariaDBApply(SpecModel):
    """Accounts of MariaDB."""

    host: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("spec.apply.mariadb.host")
    ] = Field(description="Host name or address of the server.")
    port: Annotated[int, port_number("spec.apply.mariadb.port")] = Field(3306, description="Port. Absent: 3306.")
    database: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_DATABASE), plain_name("spec.apply.mariadb.database")
        ]
        | None
    ) = Field(None, description="Database that sessions begin with. Absent: none.")
    tls: ClientTls = Field(
        default_factory=ClientTls, description="How the server proves who it is. Absent: by the system's CAs."
    )
    strategy: AccountStrategy = Field(
        AccountStrategy.DUAL_USER,
        description="DualUser: two accounts with the same privileges take turns. SingleUser: the only one gets a new "
        "password, and the old one ends at once. Absent: DualUser.",
    )
    users: Annotated[
        tuple[
            Annotated[
                str, StringConstraints(min_length=1, max_length=MAX_USER), plain_name("spec.apply.mariadb.users[]")
            ],
            ...,
        ],
        Field(min_length=1, max_length=2),
        ListType("set"),
    ] = Field(description="The two users, or the one of SingleUser; the one in use today among them.")
    account_host: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), plain_name("spec.apply.mariadb.accountHost")
    ] = Field("%", description="Host part of the accounts. Absent: %.")
    admin: Admin = Field(description="The entry with the administrator's login.")
    target_ref: TargetRef | None = Field(None, description="Reserved; not yet available.")


class RedisApply(SpecModel):
    """A user of Redis, on every server that has it."""

    nodes: Annotated[
        tuple[RedisNode, ...],
        Field(min_length=1, max_length=MAX_NODES),
        ListType("map", ("host", "port")),
    ] = Field(description="Every server: they share no users.")
    tls: ClientTls = Field(
        default_factory=ClientTls, description="How the servers prove who they are. Absent: by the system's CAs."
    )
    user: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_USER), user_without_blanks("spec.apply.redis.user")
    ] = Field(description="The user.")
    strategy: RedisStrategy = Field(
        RedisStrategy.DUAL_PASSWORD,
        description="DualPassword: the new password stands beside the old one until that is retired. "
        "Absent: DualPassword.",
    )
    allow_unsaved: bool = Field(
        False,
        description="Whether servers without an ACL file will do, which forget the new password when they restart. "
        "Absent: false.",
    )
    admin: Admin = Field(description="The entry with the administrator's login.")
    target_ref: TargetRef | None = Field(None, description="Reserved; not yet available.")


class Apply(SpecModel):
    """Where a new value must be set before it works."""

    postgresql: (
        Annotated[PostgreSQLApply, Checked(_not_yet("spec.apply.postgresql"), _one_or_two("spec.apply.postgresql"))]
        | None
    ) = Field(None, description="Login roles of PostgreSQL.")
    mariadb: (
        Annotated[MariaDBApply, Checked(_not_yet("spec.apply.mariadb"), _one_or_two("spec.apply.mariadb"))] | None
    ) = Field(None, description="Accounts of MariaDB.")
    redis: Annotated[RedisApply, Checked(_not_yet("spec.apply.redis"))] | None = Field(
        None, description="A user of Redis."
    )

    @property
    def target(self) -> PostgreSQLApply | MariaDBApply | RedisApply:
        """The one there is."""
        found = self.postgresql or self.mariadb or self.redis
        assert found is not None  # noqa: S101 - exactly one of them is there
        return found

    @property
    def kind(self) -> str:
        """Name of the member that is there."""
        return next(name for name in TARGETS if getattr(self, name) is not None)
