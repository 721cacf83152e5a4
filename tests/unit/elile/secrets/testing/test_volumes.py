"""The writer does what kubelet's AtomicWriter does, in its order."""

import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from elile.secrets.testing.volumes import VolumeWriter

NOON = datetime(2026, 11, 23, 12, 0, 5, tzinfo=UTC)


@pytest.fixture
def writer(tmp_path: Path) -> VolumeWriter:
    return VolumeWriter(tmp_path / "volume", clock=lambda: NOON)


def seen(folder: Path) -> dict[str, str]:
    """What an application sees through the links, without what kubelet keeps for itself."""
    return {p.name: p.read_text() for p in folder.iterdir() if not p.name.startswith("..")}


def test_the_layout_is_kubelets(writer: VolumeWriter) -> None:
    assert [*writer.folder.iterdir()] == [], "nothing before the first write"
    name = writer.write({"password": "p", "user": b"u"})
    assert name == writer.current == "..2026_11_23_12_00_05.1"
    links = {p.name: str(p.readlink()) for p in writer.folder.iterdir() if p.is_symlink()}
    assert links == {"..data": name, "password": "..data/password", "user": "..data/user"}
    assert {p.name for p in writer.folder.iterdir()} == {*links, name}
    assert seen(writer.folder) == {"password": "p", "user": "u"}


def test_a_swap_replaces_all_and_leaves_nothing_behind(writer: VolumeWriter) -> None:
    old = writer.write({"a": "1", "gone": "1"})
    new = writer.write({"a": "2", "fresh": "2"})
    assert new == "..2026_11_23_12_00_05.2"
    assert seen(writer.folder) == {"a": "2", "fresh": "2"}
    assert not (writer.folder / old).exists()
    assert not (writer.folder / "gone").is_symlink()


def test_what_is_there_already_is_not_swapped(writer: VolumeWriter) -> None:
    name = writer.write({"a": "1"})
    (writer.folder / "a").unlink()
    assert writer.write({"a": "1"}) == name
    assert seen(writer.folder) == {"a": "1"}, "the link is made again all the same"


def test_names_with_folders_are_linked_at_the_first_part(writer: VolumeWriter) -> None:
    writer.write({"tls/ca.pem": "ca", "tls/deep/key": "key"})
    assert (writer.folder / "tls").readlink() == Path("..data/tls")
    assert (writer.folder / "tls" / "deep" / "key").read_text() == "key"
    writer.write({"tls/ca.pem": "other"})
    assert (writer.folder / "tls" / "ca.pem").read_text() == "other"
    assert not (writer.folder / "tls" / "deep").exists()


@pytest.mark.parametrize("name", ["", "/a", "..a", "a/../b", "a//b", "a/", "./a", ".."])
def test_names_that_kubelet_refuses(writer: VolumeWriter, name: str) -> None:
    writer.write({"a": "1"})
    with pytest.raises(ValueError, match="name of a file"):
        writer.write({"a": "2", name: "x"})
    assert seen(writer.folder) == {"a": "1"}


def test_modes_are_kept_whatever_the_umask(writer: VolumeWriter) -> None:
    before = os.umask(0o077)
    try:
        name = writer.write({"a": "1"}, mode=0o444)
    finally:
        os.umask(before)
    assert (writer.folder / name).stat().st_mode & 0o777 == 0o755
    assert (writer.folder / name / "a").stat().st_mode & 0o777 == 0o444


def test_names_are_random_without_a_clock(tmp_path: Path) -> None:
    writer = VolumeWriter(tmp_path)
    names = {writer.write({"a": str(i)}) for i in range(5)}
    assert len(names) == 5
    assert all(datetime.strptime(n.rpartition(".")[0], "..%Y_%m_%d_%H_%M_%S") for n in names)  # noqa: DTZ007


def test_the_next_writer_goes_on(writer: VolumeWriter) -> None:
    writer.write({"a": "1"})
    following = VolumeWriter(writer.folder, clock=lambda: NOON)
    (writer.folder / "..data_tmp").symlink_to("left")  # by one that was killed
    assert following.write({"a": "2"}) == "..2026_11_23_12_00_05.2"
    assert seen(writer.folder) == {"a": "2"}


def test_the_order_of_the_steps(writer: VolumeWriter, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files, their modes, the link beside, the swap; then new links, stale links, and the old folder."""
    writer.write({"a": "1", "gone": "1"})
    steps: list[str] = []

    def spy(name: str, shown: Callable[..., str]) -> None:
        real = getattr(Path, name)

        def act(self: Path, *given: Any, **named: Any) -> Any:
            steps.append(shown(self, *given))
            return real(self, *given, **named)

        monkeypatch.setattr(Path, name, act)

    spy("mkdir", lambda path, *_: f"mkdir {path.name}")
    spy("write_bytes", lambda path, *_: f"write {path.name}")
    spy("chmod", lambda path, mode: f"chmod {path.name} {mode:o}")
    spy("symlink_to", lambda path, target: f"link {path.name} -> {target}")
    spy("rename", lambda path, target: f"rename {path.name} {target.name}")
    spy("unlink", lambda path: f"unlink {path.name}")
    monkeypatch.setattr("shutil.rmtree", lambda path: steps.append(f"remove {path.name}"))
    writer.write({"a": "2", "fresh": "2"})

    new = "..2026_11_23_12_00_05.2"
    assert steps == [
        *(f"mkdir {new}", f"chmod {new} 755"),
        *("write a", "chmod a 644", "write fresh", "chmod fresh 644"),
        *("unlink ..data_tmp", f"link ..data_tmp -> {new}", "rename ..data_tmp ..data"),
        *("link fresh -> ..data/fresh", "unlink gone", "remove ..2026_11_23_12_00_05.1"),
    ]
