"""A server that answers late, or never, delays its own objects and nobody else's."""

import time
from collections.abc import Iterator

import pytest

from tests.e2e.support.cluster import eventually
from tests.fault.support.slow import SlowDoor
from tests.fault.support.world import World

# More than there are workers for one server: they would be all that there are.
OF_THE_BAD_ONE = 60
# Polled every second; five times that, and a busy machine.
ON_TIME = 5.0
SLOW = 4.0  # seconds an answer, which is less than the timeout: the server stays ready
ROUNDS = 6


@pytest.fixture(params=[None, SLOW], ids=["never answers", "is slow"])
def bad(request: pytest.FixtureRequest, w: World) -> Iterator[SlowDoor]:
    """A VaultServer `bad`, behind a door of its own to the same OpenBao."""
    door = SlowDoor(w.bao.address, request.param)
    spec = w.fake.get("vaultserver", "default")["spec"]
    meta = {"name": "bad"}
    kind = {"apiVersion": "elile.io/v1alpha1", "kind": "VaultServer"}
    w.fake.apply({**kind, "metadata": meta, "spec": {**spec, "address": door.address}})
    yield door
    door.close()


def test_objects_of_another_server_are_on_time(
    w: World, bad: SlowDoor, figure: list[str], request: pytest.FixtureRequest
) -> None:
    team, other = w.namespace(), w.namespace()
    w.want(team, *(f"good-{i}" for i in range(10)))
    good = set(w.wanted)
    w.want(other, *(f"bad-{i}" for i in range(OF_THE_BAD_ONE)), vault={"server": "bad"})
    took = []
    with w.operator():
        eventually("the first delivery", lambda: not w.wrong(good), within=3 * ON_TIME)
        eventually("the bad server is asked", lambda: bad.accepted > 0)
        for i in range(ROUNDS):
            name = f"good-{i}"
            w.put(team, name, value=f"p{i + 1}")
            began = time.monotonic()
            eventually(f"change {i}", lambda name=name, i=i: w.value(team, name) == f"p{i + 1}", every=0.02)
            took.append(time.monotonic() - began)
            w.want(team, f"new-{i}")
            began = time.monotonic()
            eventually(f"new object {i}", lambda i=i: w.value(team, f"new-{i}") is not None, every=0.02)
            took.append(time.monotonic() - began)
    what = f"a server that {request.node.callspec.id}"
    figure.append(
        f"beside {what}: changes and new objects of another one within {max(took):.2f} s, polled every second"
    )
    assert max(took) < ON_TIME, took
