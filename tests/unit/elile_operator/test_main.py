"""Arguments become settings or exit code 2, what cannot work becomes exit code 1, and each says why in one line."""

import asyncio
import logging
import runpy
import sys
from collections.abc import Iterator
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic_settings import SettingsError

from elile_operator import __main__ as module
from elile_operator import app, cli
from elile_operator.settings import LogFormat, LogLevel, Settings
from tests.support.process_state import restored


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """`main` sets up logging and hooks for the whole process."""
    with restored():
        yield


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of each start; nothing is run."""
    seen: list[Settings] = []

    async def run(settings: Settings) -> None:
        seen.append(settings)

    monkeypatch.setattr(app, "run", run)
    return seen


def test_what_is_given_is_run_until_it_ends(started: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--log-level", "warning", "--log-format", "console", "--workers", "3", "--leader-election=no"]
    assert module.main(arguments) == 0
    (settings,) = started
    assert (settings.workers, settings.leader_election) == (3, False)
    assert (settings.log_level, settings.log_format) == (LogLevel.WARNING, LogFormat.CONSOLE)
    assert logging.getLogger().level == logging.WARNING
    assert capsys.readouterr() == ("", "")


def test_without_arguments_those_of_the_process_count(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["elile-operator", "--workers", "5"])
    assert module.main() == 0
    assert started[0].workers == 5


def test_the_command_line_beats_the_environment(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELILE_WORKERS", "7")
    monkeypatch.setenv("ELILE_RESYNC", "60")
    assert module.main(["--workers", "5"]) == 0
    assert (started[0].workers, started[0].resync) == (5, timedelta(seconds=60))


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        pytest.param(
            ["--workers", "many"],
            {},
            "--workers or ELILE_WORKERS: Input should be a valid integer, unable to parse string as an integer",
            id="no number",
        ),
        pytest.param(
            ["--workers", "0"],
            {},
            "--workers or ELILE_WORKERS: Input should be greater than or equal to 1",
            id="too small",
        ),
        pytest.param(
            [],
            {"ELILE_PROBE_PORT": "70000"},
            "--probe-port or ELILE_PROBE_PORT: Input should be less than or equal to 65535",
            id="from the environment",
        ),
        pytest.param(
            ["--log-level", "loud"],
            {},
            "--log-level or ELILE_LOG_LEVEL: Input should be 'debug', 'info', 'warning' or 'error'",
            id="not one of a few",
        ),
        pytest.param(
            ["--scope", "everything"],
            {},
            "--scope or ELILE_SCOPE: Input should be 'namespaces' or 'cluster'",
            id="scope",
        ),
        pytest.param(
            ["--resync", "1"],
            {},
            "--resync or ELILE_RESYNC: Input should be greater than or equal to 10 seconds",
            id="too short a time",
        ),
        pytest.param(
            [],
            {"ELILE_NAMESPACE": "n" * 64},
            "--namespace or ELILE_NAMESPACE: String should have at most 63 characters",
            id="too long",
        ),
    ],
)
def test_a_wrong_setting_is_named_by_flag_and_variable(
    started: list[Settings],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    line: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert module.main(arguments) == 2
    assert capsys.readouterr() == ("", f"elile-operator: {line}\n")
    assert started == []


def test_every_wrong_setting_has_its_line(started: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(["--workers", "0", "--pollers", "257"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "--workers or ELILE_WORKERS",
        "--pollers or ELILE_POLLERS",
    ]


def test_a_wrong_value_is_not_repeated(started: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    assert module.main(["--workers", "hunter2"]) == 2
    assert "hunter2" not in capsys.readouterr().err


def test_an_unknown_flag_is_a_wrong_setting(started: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        module.main(["--colour", "blue"])
    assert raised.value.code == 2
    assert "--colour" in capsys.readouterr().err
    assert started == []


def test_settings_that_cannot_be_parsed_at_all(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(**_: object) -> Settings:
        raise SettingsError('error parsing value for field "x"')

    monkeypatch.setattr(module, "Settings", refuse)
    assert module.main([]) == 2
    assert capsys.readouterr().err == ('elile-operator: error parsing value for field "x"; see elile-operator --help\n')


def test_help_names_every_flag(started: list[Settings], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        module.main(["--help"])
    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: elile-operator ")
    for name in Settings.model_fields:
        assert f"--{name.replace('_', '-')}" in shown
    assert started == []


def test_what_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    async def run(_: Settings) -> None:
        raise app.StartError("namespace elile-system does not exist; create it")

    monkeypatch.setattr(app, "run", run)
    assert module.main([]) == 1
    assert capsys.readouterr().err == "elile-operator: namespace elile-system does not exist; create it\n"


def test_a_kubeconfig_that_cannot_be_used_ends_the_process(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "kubeconfig"
    assert module.main(["--kubeconfig", str(path), "--probe-port", "0", "--log-level", "error"]) == 1
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"elile-operator: kubeconfig {path} cannot be used (ConfigException); "
        "name another file with --kubeconfig, or its context with --context"
    )


def test_the_module_is_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["elile-operator", "--workers", "0"])
    monkeypatch.delitem(sys.modules, "elile_operator.__main__")
    with pytest.raises(SystemExit) as raised:
        runpy.run_module("elile_operator", run_name="__main__")
    assert raised.value.code == 2
    assert "--workers" in capsys.readouterr().err


def test_main_leaves_no_event_loop_behind(started: list[Settings]) -> None:
    module.main([])
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


# ── elile ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_elile_tells_its_version() -> None:
    result = CliRunner().invoke(cli.main, ["--version"])
    assert (result.exit_code, result.output) == (0, f"elile, version {version('elile')}\n")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_elile_tells_what_it_is_for(flag: str) -> None:
    result = CliRunner().invoke(cli.main, [flag])
    assert result.exit_code == 0
    assert "Secrets from Vault or OpenBao to the files of pods." in result.output
