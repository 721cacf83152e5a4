"""The cache key of the binary follows its sources and flags, and nothing else."""

import shutil
from pathlib import Path

import pytest

from lab import build


@pytest.fixture
def source(tmp_path: Path) -> Path:
    copy = tmp_path / "kube"
    shutil.copytree(build.SOURCE, copy)
    return copy


def test_a_copy_elsewhere_has_the_same_key(source: Path) -> None:
    assert build.key(source) == build.key()


@pytest.mark.parametrize("name", ["go.mod", "go.sum", "main.go"])
def test_each_source_counts(source: Path, name: str) -> None:
    path = source / name
    path.write_text(path.read_text() + "\n")
    assert build.key(source) != build.key()


def test_flags_count() -> None:
    assert build.key(flags=("-trimpath",)) != build.key()


def test_other_files_do_not(source: Path) -> None:
    (source / "README.md").write_text("no part of the program")
    assert build.key(source) == build.key()


def test_a_cached_binary_is_not_built_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELILE_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")  # no Go: building would fail
    binary = build.cached()
    binary.parent.mkdir(parents=True)
    binary.touch()
    lines: list[str] = []
    assert build.kubelab(lines.append) == binary
    assert lines == []
