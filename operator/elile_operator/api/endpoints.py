"""Servers that a rotation talks to: host, port, database, and how each proves who it is."""

from typing import Annotated

from pydantic import Field, StringConstraints

from elile_operator.api.model import SpecModel
from elile_operator.api.rules import Checked, Rule, between, free_of, matches
from elile_operator.api.syntax import MAX_SUBDOMAIN

MAX_NODES = 32
MAX_DATABASE = 64
MAX_USER = 128
MAX_CA_BUNDLE = 65536

# An address of IPv6 stands alone here: the port has a field of its own.
_HOST = r"[a-zA-Z0-9]([-a-zA-Z0-9.]*[a-zA-Z0-9])?|[0-9a-fA-F]*:[0-9a-fA-F:.]+"


def host_name(field: str) -> Checked:
    """A host or an address, which is all that may stand there."""
    return Checked(
        matches(_HOST, f"{field} must be a host name or an address alone, without scheme, port, path or brackets")
    )


def port_number(field: str) -> Checked:
    """A port of TCP."""
    return Checked(between(field, 1, 65535))


def plain_name(field: str) -> Checked:
    """The name of a database or of a user, which the drivers quote."""
    return Checked(
        free_of("[\x00-\x1f\x7f]", f"{field} must not hold control characters; write the name as the server lists it"),
        free_of("^ | $", f"{field} must not begin or end with a blank; write the name as the server lists it"),
    )


def user_without_blanks(field: str) -> Checked:
    """The name of a user of Redis, which parts words at blanks."""
    return Checked(
        matches("[^\x00-\x20\x7f]+", f"{field} must not hold blanks or control characters; no user of Redis has any")
    )


def pem_bundle(field: str) -> Checked:
    """Certificates in PEM."""
    return Checked(
        Rule(
            "self.contains('-----BEGIN CERTIFICATE-----') && !self.contains('PRIVATE KEY')",
            f"{field} must be certificates in PEM and no key; put the certificate of the CA there",
            lambda v: "-----BEGIN CERTIFICATE-----" in v and "PRIVATE KEY" not in v,
        )
    )


class ClientTls(SpecModel):
    """How a server proves who it is. Verification is never skipped."""

    ca_bundle: Annotated[str, StringConstraints(max_length=MAX_CA_BUNDLE), pem_bundle("tls.caBundle")] | None = Field(
        None, description="Certificates, in PEM, that the server's is checked against. Absent: the system's."
    )
    server_name: (
        Annotated[str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("tls.serverName")] | None
    ) = Field(None, description="Name that the certificate must be for. Absent: the host.")
    allow_plain: bool = Field(
        False,
        description="Whether the connection may do without TLS, and anybody on the way may read along. Absent: false.",
    )


class RedisNode(SpecModel):
    """One server of Redis."""

    host: Annotated[str, StringConstraints(min_length=1, max_length=MAX_SUBDOMAIN), host_name("nodes[].host")] = Field(
        description="Host name or address."
    )
    port: Annotated[int, port_number("nodes[].port")] = Field(description="Port, for example 6379.")
