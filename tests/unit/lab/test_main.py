"""The command line: what it accepts, and how it answers for a lab that is not there."""

import os

import pytest

from lab.__main__ import COMMANDS, main, parser
from lab.cluster import Lab
from lab.errors import LabError


@pytest.fixture(autouse=True)
def no_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELILE_LAB_HOME", "/nonexistent-lab")


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_takes_a_name(command: str) -> None:
    arguments = parser().parse_args([command, "--name", "x1"])
    assert (arguments.command, arguments.name) == (command, "x1")
    assert parser().parse_args([command]).name == "default"


@pytest.mark.parametrize("command", ["status", "env", "logs"])
def test_a_lab_that_is_not_up_is_an_error_with_a_remedy(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, "--name", "x1"]) == 1
    assert capsys.readouterr().err == "lab: lab 'x1' is not up: run `python -m lab up --name x1`\n"


def test_a_bad_name_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--name", "../x"]) == 1
    assert "is no name for a lab" in capsys.readouterr().err


def test_opening_a_lab_does_nothing() -> None:
    lab = Lab.open("x1")
    assert not lab.is_up()
    assert not os.path.exists("/nonexistent-lab")  # noqa: PTH110
    with pytest.raises(LabError, match="is not up"):
        _ = lab.bao_address
