"""Names, addresses and ports: fit the kernel's limits, and never shared by two slots."""

from itertools import combinations
from pathlib import Path

import pytest

from lab.errors import LabError
from lab.layout import (
    FIRST_PORT,
    LONGEST_SOCKET,
    PORT_NAMES,
    PORTS_PER_SLOT,
    SLOTS,
    Layout,
    cache_root,
    check_name,
    folder_of,
    preferred_slot,
    state_root,
)

EPHEMERAL = 32768
LINK_NAME = 15


def layout(slot: int = 0, name: str = "default") -> Layout:
    return Layout(name, Path("/state/elile-lab") / name, slot)


@pytest.mark.parametrize("name", ["default", "a", "x1", "a-b", "x" * 30])
def test_a_label_is_a_name(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", "-a", "a-", "A", "a b", "a/b", "..", "x" * 31, "a\n"])
def test_anything_else_is_refused_with_what_is_allowed(name: str) -> None:
    with pytest.raises(LabError, match="use up to 30 lower-case letters, digits and inner hyphens"):
        check_name(name)


@pytest.mark.parametrize("name", ["default", "a", "x" * 30, "seven77-8"])
@pytest.mark.parametrize("slot", [0, 9, SLOTS - 1])
def test_links_fit_the_kernel(name: str, slot: int) -> None:
    it = layout(slot, name)
    for link in (it.bridge, it.node_link):
        assert len(link) <= LINK_NAME
        assert not link.endswith("-")
    assert it.bridge != it.node_link


def test_the_slot_comes_from_the_name_and_stays() -> None:
    assert preferred_slot("default") == 549  # a change would move every existing lab
    assert all(0 <= preferred_slot(f"lab{n}") < SLOTS for n in range(100))


def test_no_port_reaches_the_ephemeral_range() -> None:
    assert layout(0).ports.start == FIRST_PORT
    assert layout(SLOTS - 1).ports.stop <= EPHEMERAL


@pytest.mark.parametrize(("one", "other"), list(combinations((0, 1, 2, 15, 16, 548, 549, SLOTS - 1), 2)))
def test_two_slots_share_nothing(one: int, other: int) -> None:
    a, b = layout(one), layout(other)
    assert not set(a.ports) & set(b.ports)
    assert not a.network.overlaps(b.network)
    assert (a.tag, a.node_link, a.cgroup) != (b.tag, b.node_link, b.cgroup)
    assert a.cgroup != b.cgroup


@pytest.mark.parametrize("slot", [0, 549, SLOTS - 1])
def test_parts_of_the_network_lie_in_it_and_apart(slot: int) -> None:
    it = layout(slot)
    parts = (it.bridge_network, it.pods, it.services)
    assert all(part.subnet_of(it.network) for part in parts)
    assert not any(a.overlaps(b) for a, b in combinations(parts, 2))
    assert it.gateway != it.node_address


def test_every_server_has_a_port_and_some_are_spare() -> None:
    it = layout(3)
    ports = [it.port(name) for name in PORT_NAMES]
    assert len(set(ports)) == len(PORT_NAMES)
    assert set(ports) | set(it.spare_ports) == set(it.ports)
    assert len(it.spare_ports) == PORTS_PER_SLOT - len(PORT_NAMES)


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        pytest.param({"ELILE_LAB_HOME": "/l", "XDG_STATE_HOME": "/s"}, "/l", id="its own variable first"),
        pytest.param({"XDG_STATE_HOME": "/s"}, "/s/elile-lab", id="then the state folder"),
        pytest.param({"XDG_STATE_HOME": ""}, str(Path.home() / ".local/state/elile-lab"), id="else the home's"),
    ],
)
def test_where_labs_are(environ: dict[str, str], root: str) -> None:
    assert state_root(environ) == Path(root)


@pytest.mark.parametrize(
    ("environ", "root"),
    [
        pytest.param({"ELILE_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c", id="its own variable first"),
        pytest.param({"XDG_CACHE_HOME": "/x"}, "/x/elile", id="then the cache folder"),
        pytest.param({}, str(Path.home() / ".cache/elile"), id="else the home's"),
    ],
)
def test_where_builds_are(environ: dict[str, str], root: str) -> None:
    assert cache_root(environ) == Path(root)


def test_a_folder_too_deep_for_sockets_is_refused_early() -> None:
    with pytest.raises(LabError, match="set ELILE_LAB_HOME to a shorter path"):
        folder_of("default", {"ELILE_LAB_HOME": "/" + "x" * 60})


def test_the_longest_sockets_fit_below_the_deepest_folder() -> None:
    name = "x" * 30
    folder = folder_of(name, {"ELILE_LAB_HOME": "/abcdefghijklmno"})
    it = Layout(name, folder, 0)
    for path in (
        f"{it.containerd_socket}.ttrpc",
        it.kubelet_root / "plugins_registry" / "secrets.elile.io-reg.sock",
        it.kubelet_root / "plugins" / "secrets.elile.io" / "csi.sock",
    ):
        assert len(str(path)) <= LONGEST_SOCKET
