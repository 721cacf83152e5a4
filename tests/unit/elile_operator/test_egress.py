"""Where rotations of a namespace may connect to, and what is special beside loopback."""

import pytest

from elile.secrets.rotation.egress import Dialer, EgressRefusedError
from elile_operator.app.rotating import api_addresses, egress_rules
from elile_operator.settings import EgressAllow

ALLOWED = (
    EgressAllow(cidr="10.0.0.0/8", ports=(5432,)),
    EgressAllow(cidr="192.0.2.0/24", ports=(6379,), namespaces=("shop",)),
)


def reaches(namespace: str, address: str, port: int, guarded: tuple[str, ...] = ()) -> bool:
    dialer = Dialer(egress_rules(ALLOWED, namespace), guarded=guarded, resolve=lambda host, _port: [host])
    try:
        dialer.check(address, port)
    except EgressRefusedError:
        return False
    return True


@pytest.mark.parametrize(
    ("namespace", "address", "port", "reached"),
    [
        ("shop", "10.1.2.3", 5432, True),
        ("other", "10.1.2.3", 5432, True),
        ("shop", "10.1.2.3", 5433, False),
        ("shop", "192.0.2.7", 6379, True),
        ("other", "192.0.2.7", 6379, False),
    ],
)
def test_an_entry_is_for_the_namespaces_that_it_names(namespace: str, address: str, port: int, reached: bool) -> None:
    assert reaches(namespace, address, port) is reached


def test_without_entries_nothing_goes_out() -> None:
    with pytest.raises(EgressRefusedError):
        Dialer(egress_rules((), "shop"), resolve=lambda host, _port: [host]).check("10.1.2.3", 5432)


def test_the_api_server_needs_its_exact_address() -> None:
    found = api_addresses("https://10.1.2.3:6443", "10.96.0.1")
    assert found == ("10.1.2.3", "10.96.0.1")
    assert not reaches("shop", "10.1.2.3", 5432, guarded=found)
    assert reaches("shop", "10.1.2.4", 5432, guarded=found)
    assert api_addresses("https://api.example:6443", None) == ()
