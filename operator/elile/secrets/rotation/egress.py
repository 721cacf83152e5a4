"""The one dialer: everything that verifies or applies a secret somewhere connects through it, or is refused.

A schedule names hosts that somebody else chose. Without a list, whoever may edit one could have the rotator speak to
cloud metadata, to the API server, or to whatever listens on its own loopback. So a name is resolved once, every address
it has is checked, and the connection goes to an address that was checked: a second look-up could answer another.
"""

import ipaddress
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from elile.secrets.errors import SecretsConfigurationError, SecretsUnavailableError

__all__ = ["Dialer", "EgressRefusedError", "EgressRule"]

Address = IPv4Address | IPv6Address
Resolve = Callable[[str, int], Sequence[str]]

# IPv6 addresses that lead to an IPv4 one, and where in their 128 bits that is: RFC 6052, RFC 3056.
_NAT64 = IPv6Network("64:ff9b::/96")
_6TO4 = IPv6Network("2002::/16")
# Amazon's metadata service over IPv6 is in a private range, not in a link-local one.
_METADATA = frozenset({ipaddress.ip_address("fd00:ec2::254")})


class EgressRefusedError(SecretsConfigurationError):
    """The address is not on the list; the text names host, address and the entry that would allow it."""


@dataclass(frozen=True, slots=True)
class EgressRule:
    """One entry: a network or a host name, and the ports that may be reached there.

    `host` is compared as a name, without regard to case; its addresses may be any but loopback, link-local, metadata
    and `guarded` ones. Those need an entry whose `cidr` is the very address (/32 or /128).
    """

    ports: frozenset[int]
    cidr: IPv4Network | IPv6Network | None = None
    host: str | None = None

    @classmethod
    def of(cls, *, ports: Iterable[int], cidr: str | None = None, host: str | None = None) -> "EgressRule":
        """Read an entry. Raises SecretsConfigurationError that names what is wrong with it."""
        if (cidr is None) == (host is None):
            raise SecretsConfigurationError("egress.allow[] names exactly one of cidr and host")
        found = frozenset(ports)
        if not found or not all(0 < port < 65536 for port in found):
            raise SecretsConfigurationError("egress.allow[].ports holds at least one port, from 1 to 65535")
        if host is not None:
            return cls(found, host=_name(host))
        try:
            return cls(found, cidr=ipaddress.ip_network(cidr or "", strict=True))
        except ValueError:
            raise SecretsConfigurationError(
                f"egress.allow[].cidr {cidr!r} is no network such as 10.0.0.0/8 (no bits set behind the prefix)"
            ) from None

    def allows(self, name: str, address: Address, port: int, *, special: bool) -> bool:
        """Whether it lets one address through; `special` ones by an entry of their own alone."""
        if port not in self.ports:
            return False
        if self.cidr is None:
            return not special and name == self.host
        exact = self.cidr.num_addresses == 1
        return address.version == self.cidr.version and address in self.cidr and (exact or not special)


def resolve_by_system(host: str, port: int) -> Sequence[str]:
    """Return the addresses of a name, as the system has them. Raises SecretsUnavailableError when it has none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise SecretsUnavailableError(f"the host name {host!r} cannot be resolved") from None
    return list(dict.fromkeys(str(address[4][0]) for address in found))


class Dialer:
    """Connects where the rules allow it. `rules` None: no list, as in an application of one's own; empty: nowhere.

    `guarded` are addresses that are special as loopback is: the API server's.
    """

    def __init__(
        self,
        rules: Sequence[EgressRule] | None,
        *,
        guarded: Iterable[str] = (),
        resolve: Resolve = resolve_by_system,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._guarded = frozenset(ipaddress.ip_address(address) for address in guarded)
        self._resolve = resolve
        self._clock = clock

    def check(self, host: str, port: int) -> list[str]:
        """Return the addresses to connect to. Raises EgressRefusedError when one of them is not allowed.

        One is enough to refuse all: a name that has a forbidden address beside a good one was made to get there.
        """
        name = _name(host)
        addresses = self._resolve(name, port)
        if not addresses:
            raise SecretsUnavailableError(f"the host name {host!r} has no address")
        if self._rules is not None:
            for text in addresses:
                self._check_one(name, text, port)
        return list(addresses)

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        """Connect within `timeout` seconds for all addresses together.

        Raises EgressRefusedError, or SecretsUnavailableError when nothing answers.
        """
        ends = self._clock() + timeout
        last = "no answer in time"
        for address in self.check(host, port):
            left = ends - self._clock()
            if left <= 0:
                break
            try:
                return socket.create_connection((address, port), timeout=left)
            except OSError as e:
                last = e.strerror or "no answer in time"
        raise SecretsUnavailableError(f"{host}:{port} does not answer ({last})")

    def _check_one(self, name: str, text: str, port: int) -> None:
        for address in _meant(text):
            special = _is_special(address) or address in self._guarded
            if not any(rule.allows(name, address, port, special=special) for rule in self._rules or ()):
                prefix = 32 if address.version == 4 else 128
                kind = "loopback, link-local and the API server need their exact address; " if special else ""
                raise EgressRefusedError(
                    f"{name}:{port} leads to {address}, which egress.allow does not list; {kind}"
                    f"add {{cidr: {address}/{prefix}, ports: [{port}]}}"
                )


def _meant(text: str) -> list[Address]:
    """Return an address with those that it is another way of writing, or a way to; all of them have to be allowed."""
    try:
        address = ipaddress.ip_address(text.split("%", 1)[0])
    except ValueError:
        raise EgressRefusedError("the resolver answered something that is no address") from None
    if isinstance(address, IPv4Address):
        return [address]
    if address.ipv4_mapped is not None:  # the same thing in another spelling
        return [address.ipv4_mapped]
    if address in _NAT64:
        return [address, IPv4Address(int(address) & 0xFFFFFFFF)]
    if address in _6TO4:
        return [address, IPv4Address((int(address) >> 80) & 0xFFFFFFFF)]
    return [address]


def _is_special(address: Address) -> bool:
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_unspecified
        or address.is_multicast
        or address.is_reserved
        or address in _METADATA
    )


def _name(host: str) -> str:
    name = host.strip().rstrip(".").removeprefix("[").removesuffix("]").lower()
    if not name or any(c.isspace() or c in "/@?#\\" for c in name):
        raise SecretsConfigurationError(f"{host!r} is no host name")
    return name
