"""`elile`, the command line for people."""

from importlib.metadata import version

import click

from elile_operator.cli.hints import hints

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version("elile"), prog_name="elile")
def main() -> None:
    """Secrets from Vault or OpenBao to the files of pods."""


main.add_command(hints)
