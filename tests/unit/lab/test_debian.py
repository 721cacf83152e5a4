"""Programs of packages, found where they are installed."""

from pathlib import Path

import pytest

from lab import debian
from lab.errors import LabError


def test_what_is_there_is_not_installed(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.touch()
    assert debian.ensure("no-such-package", program) == program
    assert debian.ensure("no-such-package", "sh").name == "sh"


def test_without_apt_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    said: list[str] = []
    for program in (tmp_path / "missing", "no-such-program-of-elile"):
        with pytest.raises(LabError, match="install what Debian calls no-such-package"):
            debian.ensure("no-such-package", program, said.append)
    assert said == []


def test_as_whom_a_server_runs() -> None:
    assert debian.user("no-such-user") is None
    assert debian.as_user(None) == []
