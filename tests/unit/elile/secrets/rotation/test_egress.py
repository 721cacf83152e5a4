"""What the dialer lets out: addresses by list, whatever way they are written, and no second look-up."""

import socket
from collections.abc import Iterator, Sequence

import pytest

from elile.secrets.errors import SecretsConfigurationError, SecretsUnavailableError
from elile.secrets.rotation.egress import Dialer, EgressRefusedError, EgressRule, resolve_by_system

API_SERVER = "10.96.0.1"
DATABASES = EgressRule.of(cidr="10.0.0.0/8", ports=[5432])
PUBLIC = EgressRule.of(host="api.example.com", ports=[443])


def dialer(*rules: EgressRule, answers: Sequence[str] | None = None) -> Dialer:
    resolve = resolve_by_system if answers is None else lambda _host, _port: answers
    return Dialer(rules, guarded=[API_SERVER], resolve=resolve)


# Twenty spellings of what nobody may reach by a network that holds it, or by a name.
FORBIDDEN = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0177.0.0.1",
    "0x7f.0.0.1",
    "0x7f000001",
    "127.0.0.1.",
    "localhost",
    "LOCALHOST",
    "::1",
    "[::1]",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "0.0.0.0",  # noqa: S104 - where nobody is to connect to
    "::",
    "169.254.169.254",
    "2852039166",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fd00:ec2::254",
    "224.0.0.1",
]


@pytest.mark.parametrize("host", FORBIDDEN)
def test_what_no_network_and_no_name_lets_out(host: str) -> None:
    everything = (EgressRule.of(cidr="0.0.0.0/0", ports=[80]), EgressRule.of(cidr="::/0", ports=[80]))
    with pytest.raises((EgressRefusedError, SecretsUnavailableError)):
        dialer(*everything, EgressRule.of(host=host, ports=[80])).check(host, 80)


@pytest.mark.parametrize(
    ("answers", "port"),
    [
        (["10.1.2.3"], 5432),
        (["10.1.2.3", "10.1.2.4"], 5432),
        (["::ffff:10.1.2.3"], 5432),
    ],
)
def test_what_a_network_lets_out(answers: list[str], port: int) -> None:
    assert dialer(DATABASES, answers=answers).check("db.shop", port) == answers


@pytest.mark.parametrize(
    ("answers", "port", "said"),
    [
        pytest.param(["10.1.2.3"], 5433, "leads to 10.1.2.3, which egress.allow does not list; add {cidr", id="port"),
        pytest.param(["192.0.2.1"], 5432, r"add \{cidr: 192.0.2.1/32, ports: \[5432\]\}", id="address"),
        pytest.param(["10.1.2.3", "192.0.2.1"], 5432, "leads to 192.0.2.1", id="one of two"),
        pytest.param(["10.96.0.1"], 5432, "the API server need their exact address", id="the API server"),
        pytest.param(["2001:db8::1"], 5432, r"2001:db8::1/128", id="the other family"),
        pytest.param(["64:ff9b::a01:203"], 5432, "64:ff9b::a01:203", id="translated"),
        pytest.param(["what"], 5432, "no address", id="no address"),
    ],
)
def test_what_a_network_does_not_let_out(answers: list[str], port: int, said: str) -> None:
    with pytest.raises(EgressRefusedError, match=said):
        dialer(DATABASES, answers=answers).check("db.shop", port)


def test_a_name_lets_out_to_its_addresses_and_no_other_name_does() -> None:
    assert dialer(PUBLIC, answers=["203.0.113.7"]).check("API.example.com.", 443) == ["203.0.113.7"]
    with pytest.raises(EgressRefusedError):
        dialer(PUBLIC, answers=["203.0.113.7"]).check("evil.example.com", 443)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", API_SERVER])
def test_an_entry_of_its_own_lets_out_to_a_special_address(address: str) -> None:
    own = EgressRule.of(cidr=f"{address}/32", ports=[6443])
    assert dialer(own, answers=[address]).check("somewhere", 6443) == [address]


def test_an_empty_list_lets_nothing_out_and_none_everything() -> None:
    with pytest.raises(EgressRefusedError):
        dialer(answers=["203.0.113.7"]).check("api.example.com", 443)
    assert Dialer(None, resolve=lambda _h, _p: ["127.0.0.1"]).check("localhost", 80) == ["127.0.0.1"]


@pytest.mark.parametrize("host", ["", " ", "a b", "user@host", "host/path", "host?x", "a\\b"])
def test_what_is_no_host_name(host: str) -> None:
    with pytest.raises(SecretsConfigurationError, match="is no host name"):
        dialer(PUBLIC).check(host, 443)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"ports": [1]}, "exactly one of cidr and host"),
        ({"ports": [1], "cidr": "10.0.0.0/8", "host": "a"}, "exactly one of cidr and host"),
        ({"ports": [], "host": "a"}, "at least one port"),
        ({"ports": [70000], "host": "a"}, "from 1 to 65535"),
        ({"ports": [1], "cidr": "10.0.0.1/8"}, "no bits set behind the prefix"),
        ({"ports": [1], "cidr": "everything"}, "is no network"),
    ],
)
def test_entries_that_are_wrong(entry: dict[str, object], said: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=said):
        EgressRule.of(**entry)  # type: ignore[arg-type] # which is the point


def test_a_name_without_an_address() -> None:
    with pytest.raises(SecretsUnavailableError, match="has no address"):
        dialer(PUBLIC, answers=[]).check("api.example.com", 443)
    with pytest.raises(SecretsUnavailableError, match="cannot be resolved"):
        resolve_by_system("nothing.invalid", 443)


# ── connecting ───────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def port() -> Iterator[int]:
    """A port on loopback where connections are taken by the system, and nobody says anything."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_it_connects_to_what_it_checked_and_asks_no_second_time(port: int) -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])  # a name that is bound anew between check and use
    asked: list[str] = []

    def resolve(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    own = EgressRule.of(cidr="127.0.0.1/32", ports=[port])
    with Dialer([own], resolve=resolve).connect("rebound.example", port, timeout=5) as connection:
        assert connection.getpeername() == ("127.0.0.1", port)
    assert asked == ["rebound.example"]


def test_the_next_address_is_tried(port: int) -> None:
    rules = [EgressRule.of(cidr=f"127.0.0.{n}/32", ports=[port]) for n in (1, 2)]
    with Dialer(rules, resolve=lambda _h, _p: ["127.0.0.2", "127.0.0.1"]).connect("a", port, timeout=5) as connection:
        assert connection.getpeername()[0] == "127.0.0.1"


def test_nothing_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        closed = taken.getsockname()[1]
    own = EgressRule.of(cidr="127.0.0.1/32", ports=[closed])
    with pytest.raises(SecretsUnavailableError, match=rf"a:{closed} does not answer \(Connection refused\)"):
        Dialer([own], resolve=lambda _h, _p: ["127.0.0.1"]).connect("a", closed, timeout=5)


def test_the_time_is_for_all_addresses_together() -> None:
    times = iter([0.0, 6.0])
    own = EgressRule.of(cidr="127.0.0.1/32", ports=[9])
    dial = Dialer([own], resolve=lambda _h, _p: ["127.0.0.1"], clock=lambda: next(times))
    with pytest.raises(SecretsUnavailableError, match="no answer in time"):
        dial.connect("a", 9, timeout=5)
