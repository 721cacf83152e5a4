"""`elile hints forward`: options reach the forwarder, and a mistake is one line that names it."""

import logging
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from elile_operator import cli
from elile_operator.cli.hints import forward
from elile_operator.hints import forwarder as module
from elile_operator.hints.options import ConfigurationError, Options
from tests.support.process_state import restored


@pytest.fixture(autouse=True)
def process_as_it_was() -> Iterator[None]:
    """The command sets up logging, hooks and signals for the whole process."""
    with restored():
        yield


class Fake:
    """In place of the forwarder: what it was given, and how it ends."""

    given: Options | None = None
    error: ConfigurationError | None = None
    works = True

    def __init__(self, options: Options) -> None:
        if self.error is not None:
            raise self.error
        type(self).given = options
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def run(self) -> bool:
        signal.raise_signal(signal.SIGTERM)
        assert self.stopped
        return self.works


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> type[Fake]:
    class Mine(Fake):
        pass

    monkeypatch.setattr(module, "Forwarder", Mine)
    return Mine


LEAST = ("--file", "/vault/audit.log", "--to", "https://hints:8443", "--server", "default", "--token-file", "/token")


def run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(cli.main, ["hints", "forward", *arguments])
    return result.exit_code, result.stdout, result.stderr


def test_options_have_their_defaults(fake: type[Fake]) -> None:
    assert run(*LEAST) == (0, "", "")
    assert fake.given == Options(
        file=Path("/vault/audit.log"),
        to="https://hints:8443",
        server="default",
        token_file=Path("/token"),
        ca_file=None,
        state_file=None,
        metrics_host="127.0.0.1",
        metrics_port=None,
    )
    assert logging.getLogger().level == logging.INFO


def test_options_are_handed_on(fake: type[Fake]) -> None:
    more = ("--ca-file", "/ca", "--state-file", "/state", "--metrics-host", "::1", "--metrics-port", "0")
    assert run(*LEAST, *more, "--log-level", "debug", "--log-format", "console")[0] == 0
    assert fake.given is not None
    assert (fake.given.ca_file, fake.given.state_file) == (Path("/ca"), Path("/state"))
    assert (fake.given.metrics_host, fake.given.metrics_port) == ("::1", 0)
    assert logging.getLogger().level == logging.DEBUG


def test_a_forwarder_that_failed_says_so_by_its_exit_code(fake: type[Fake]) -> None:
    fake.works = False
    assert run(*LEAST)[0] == 1


def test_what_cannot_work_is_one_line_and_exit_code_two(fake: type[Fake]) -> None:
    fake.error = ConfigurationError("--to", "'x' is no URL; give one like https://host:8443")
    assert run(*LEAST) == (2, "", "elile hints forward: --to: 'x' is no URL; give one like https://host:8443\n")


@pytest.mark.parametrize("missing", LEAST[::2])
def test_what_is_needed_is_asked_for(fake: type[Fake], missing: str) -> None:
    at = LEAST.index(missing)
    code, _, error = run(*LEAST[:at], *LEAST[at + 2 :])
    assert code == 2
    assert f"Missing option '{missing}'" in error
    assert fake.given is None


def test_every_option_says_what_it_is_and_its_default() -> None:
    for option in forward.params:
        assert isinstance(option, click.Option)
        assert option.help
        assert option.required or option.show_default or "Default: " in option.help, option.name


def test_help_is_there_without_what_the_command_needs() -> None:
    """`elile --help` must not wait for TLS, metrics and the rest."""
    script = (
        "import sys\n"
        "from click.testing import CliRunner\n"
        "from elile_operator import cli\n"
        "for arguments in (['--help'], ['hints', 'forward', '--help']):\n"
        "    assert CliRunner().invoke(cli.main, arguments).exit_code == 0\n"
        "heavy = {'ssl', 'http.client', 'prometheus_client', 'elile_operator.hints', 'asyncio', 'pydantic'}\n"
        "sys.exit(str(heavy & set(sys.modules)) if heavy & set(sys.modules) else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
