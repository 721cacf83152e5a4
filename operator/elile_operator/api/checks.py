"""What hooks look at in servers of databases and in certificates; what is absent is that of the target."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.durations import LONGEST
from elile_operator.api.endpoints import (
    MAX_CA_BUNDLE,
    MAX_DATABASE,
    MAX_NODES,
    MAX_USER,
    ClientTls,
    RedisNode,
    host_name,
    pem_bundle,
    plain_name,
    port_number,
    user_without_blanks,
)
from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, DurationBetween, ListType, free_of
from elile_operator.api.syntax import MAX_KEY, MAX_SUBDOMAIN, plain_key
from elile_operator.api.targets import MAX_POSTGRESQL_NAME

MAX_ASSERTION = 2048
MAX_COMMANDS = 16
MAX_COMMAND_WORDS = 16
MAX_NAMES = 32


def _assertion(kind: str) -> Checked:
    field = f"spec.verify[].{kind}.assertion"
    return Checked(free_of(";", f"{field} must be one query without a semicolon, for example SELECT true"))


class PostgreSQLCheck(SpecModel):
    """A new login to PostgreSQL, as the right role."""

    host: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("spec.verify[].postgresql.host")
        ]
        | None
    ) = Field(None, description="Host name or address. Absent: that of spec.apply.")
    port: Annotated[int, port_number("spec.verify[].postgresql.port")] | None = Field(
        None, description="Port. Absent: that of spec.apply if the host is its own, else 5432."
    )
    database: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_POSTGRESQL_NAME),
            plain_name("spec.verify[].postgresql.database"),
        ]
        | None
    ) = Field(None, description="Database. Absent: that of spec.apply, else postgres.")
    tls: ClientTls | None = Field(
        None, description="How the server proves who it is. Absent: as in spec.apply, else by the system's CAs."
    )
    user: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_POSTGRESQL_NAME),
            plain_name("spec.verify[].postgresql.user"),
        ]
        | None
    ) = Field(None, description="The role that the login must be. Absent: that of the value.")
    owner: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_POSTGRESQL_NAME),
            plain_name("spec.verify[].postgresql.owner"),
        ]
        | None
    ) = Field(None, description="The role that it must act as. Absent: with DualUser that of spec.apply, else any.")
    assertion: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_ASSERTION), _assertion("postgresql")] | None
    ) = Field(None, description="A query whose one row and column must be true; it can write nothing. Absent: none.")


class MariaDBCheck(SpecModel):
    """A new login to MariaDB, as the right account."""

    host: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("spec.verify[].mariadb.host")
        ]
        | None
    ) = Field(None, description="Host name or address. Absent: that of spec.apply.")
    port: Annotated[int, port_number("spec.verify[].mariadb.port")] | None = Field(
        None, description="Port. Absent: that of spec.apply if the host is its own, else 3306."
    )
    database: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_DATABASE), plain_name("spec.verify[].mariadb.database")
        ]
        | None
    ) = Field(None, description="Database that the session begins with. Absent: that of spec.apply, else none.")
    tls: ClientTls | None = Field(
        None, description="How the server proves who it is. Absent: as in spec.apply, else by the system's CAs."
    )
    user: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_USER), plain_name("spec.verify[].mariadb.user")]
        | None
    ) = Field(None, description="The user that the login must be. Absent: that of the value.")
    account_host: (
        Annotated[
            str,
            StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN),
            plain_name("spec.verify[].mariadb.accountHost"),
        ]
        | None
    ) = Field(None, description="Host part of the account. Absent: that of spec.apply, else %.")
    assertion: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_ASSERTION), _assertion("mariadb")] | None
    ) = Field(None, description="A query whose one row and column must be 1; it can write nothing. Absent: none.")


class RedisCheck(SpecModel):
    """A new login to every server of Redis, as the right user."""

    nodes: (
        Annotated[tuple[RedisNode, ...], Field(min_length=1, max_length=MAX_NODES), ListType("map", ("host", "port"))]
        | None
    ) = Field(None, description="The servers. Absent: those of spec.apply.")
    tls: ClientTls | None = Field(
        None, description="How the servers prove who they are. Absent: as in spec.apply, else by the system's CAs."
    )
    user: (
        Annotated[
            str, StringConstraints(min_length=1, max_length=MAX_USER), user_without_blanks("spec.verify[].redis.user")
        ]
        | None
    ) = Field(None, description="The user that the login must be. Absent: that of the value.")
    commands: Annotated[
        tuple[
            Annotated[
                tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...],
                Field(min_length=1, max_length=MAX_COMMAND_WORDS),
                ListType("atomic"),
            ],
            ...,
        ],
        Field(max_length=MAX_COMMANDS),
        ListType("atomic"),
    ] = Field(
        (),
        description="Commands that the user must be allowed, each with its arguments, for example [GET, orders:1]; "
        "they are not carried out. Absent: none.",
    )


class TlsServer(SpecModel):
    """A server that shows the certificate."""

    host: Annotated[
        str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("spec.verify[].tls.server.host")
    ] = Field(description="Host name or address.")
    port: Annotated[int, port_number("spec.verify[].tls.server.port")] = Field(443, description="Port. Absent: 443.")


class TlsCheck(SpecModel):
    """What a certificate has to be: a client of today takes it, for each of the names."""

    names: Annotated[
        tuple[
            Annotated[
                str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("spec.verify[].tls.names[]")
            ],
            ...,
        ],
        Field(min_length=1, max_length=MAX_NAMES),
        ListType("set"),
    ] = Field(description="Host names and addresses that it must be for.")
    ca_bundle: (
        Annotated[str, StringConstraints(max_length=MAX_CA_BUNDLE), pem_bundle("spec.verify[].tls.caBundle")] | None
    ) = Field(None, description="Who must have signed it, in PEM. Absent: the value's own CA, else the system's.")
    minimum_left: (
        Annotated[timedelta, DurationBetween("spec.verify[].tls.minimumLeft", timedelta(seconds=1), LONGEST)] | None
    ) = Field(None, description="How long every certificate of the chain must still last. Absent: until now.")
    server: TlsServer | None = Field(None, description="Who shows it once it was reloaded. Absent: nobody is asked.")
    certificate: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_KEY),
        Checked(plain_key("spec.verify[].tls.certificate")),
    ] = Field("tls.crt", description="Key of the entry with the chain. Absent: tls.crt.")
    key: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_KEY),
        Checked(plain_key("spec.verify[].tls.key")),
    ] = Field("tls.key", description="Key of the entry with the private key. Absent: tls.key.")
    ca: Annotated[
        str,
        StringConstraints(min_length=1, max_length=MAX_KEY),
        Checked(plain_key("spec.verify[].tls.ca")),
    ] = Field("ca.crt", description="Key of the entry with its own CA. Absent: ca.crt.")
