"""A lab keeps its slot, and gets none that anybody uses."""

import json
import shutil
import socket
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from lab import slots
from lab.layout import SLOTS, Layout, preferred_slot


def test_a_free_slot_is_free(tmp_path: Path) -> None:
    assert slots.is_free(Layout("unit", tmp_path, 700), [IPv4Network("192.168.0.0/16")], {"lo", "eth0"})


@pytest.mark.parametrize(
    ("networks", "links"),
    [
        pytest.param([IPv4Network("10.192.0.0/10")], set(), id="an address of its network is routed elsewhere"),
        pytest.param([], {"el700-other"}, id="another lab's bridge"),
        pytest.param([], {"el700n"}, id="another lab's cable"),
    ],
)
def test_what_is_in_use_is_not_free(tmp_path: Path, networks: list[IPv4Network], links: set[str]) -> None:
    assert not slots.is_free(Layout("unit", tmp_path, 700), networks, links)


def test_a_port_in_use_takes_the_slot(tmp_path: Path) -> None:
    layout = Layout("unit", tmp_path, 701)
    with socket.socket() as s:
        s.bind(("127.0.0.1", layout.ports[9]))
        s.listen()
        assert not slots.is_free(layout, [], set())
        assert slots.busy_ports(layout) == [layout.ports[9]]
    assert slots.busy_ports(layout) == []


@pytest.fixture
def quiet_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "_networks_in_use", list)
    monkeypatch.setattr(slots, "_links_in_use", set)
    monkeypatch.setattr(slots, "_can_listen", lambda _port: True)


@pytest.mark.usefixtures("quiet_machine")
def test_the_choice_is_kept_and_others_go_round_it(tmp_path: Path) -> None:
    first = slots.choose("one", tmp_path / "one")
    assert first.slot == preferred_slot("one")
    assert slots.choose("one", tmp_path / "one") == first == slots.recorded("one", tmp_path / "one")

    other = tmp_path / "other"
    other.mkdir()
    (other / "lab.json").write_text(json.dumps({"slot": preferred_slot("two")}))  # taken, though that lab is not up
    assert slots.choose("two", tmp_path / "two").slot == (preferred_slot("two") + 1) % SLOTS


@pytest.mark.usefixtures("quiet_machine")
def test_a_lab_that_is_gone_gives_its_slot_back(tmp_path: Path) -> None:
    slots.choose("one", tmp_path / "one")
    shutil.rmtree(tmp_path / "one")
    assert slots.recorded("one", tmp_path / "one") is None


def test_a_lock_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    import fcntl

    path = tmp_path / "lock"
    with slots.lock(path), path.open() as second, pytest.raises(BlockingIOError):
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with path.open() as second:
        fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
