"""`elile hints`: telling the operator of writes, so that it does not find them by polling."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, cast

import click

if TYPE_CHECKING:
    from elile_operator.obs.logs import Format

__all__ = ["hints"]

_FILE = click.Path(path_type=Path)


@click.group()
def hints() -> None:
    """Tell the operator what was written in Vault, at once."""


@hints.command()
@click.option(
    "--file",
    required=True,
    type=_FILE,
    help="Audit file of Vault or OpenBao, as its audit device names it. It is only read, and followed through "
    "rotation; one that is not there yet is waited for.",
)
@click.option(
    "--to",
    required=True,
    metavar="URL",
    help="Where the operator takes hints, such as https://elile-hints.elile-system.svc:8443. Every address of the host "
    "is tried, for one replica leads. http is for addresses of loopback only.",
)
@click.option("--server", required=True, metavar="NAME", help="Name of the VaultServer that stands for this Vault.")
@click.option(
    "--token-file",
    required=True,
    type=_FILE,
    help="File with the token that the operator knows for this server. It is read again when it changes.",
)
@click.option(
    "--ca-file",
    type=_FILE,
    help="CA of the operator's certificate, as PEM. Default: those of the system. It is read again when it changes.",
)
@click.option(
    "--state-file",
    type=_FILE,
    help="Where to keep how far the audit file is told, so that a restart goes on there. Default: none; after a "
    "restart the operator looks at everything once.",
)
@click.option(
    "--metrics-host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address that serves /metrics and /livez. Loopback; in a pod 0.0.0.0, for kubelet.",
)
@click.option(
    "--metrics-port",
    type=click.IntRange(0, 65535),
    metavar="PORT",
    help="Port of the same; 0 takes a free one and logs it. Default: none is served.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    help="Level of the log. No path and no value is in any.",
)
@click.option(
    "--log-format",
    type=click.Choice(["json", "console"]),
    default="json",
    show_default=True,
    help="json for collectors, console for people.",
)
@click.pass_context
def forward(
    context: click.Context,
    *,
    file: Path,
    to: str,
    server: str,
    token_file: Path,
    ca_file: Path | None,
    state_file: Path | None,
    metrics_host: str,
    metrics_port: int | None,
    log_level: str,
    log_format: str,
) -> None:
    """Follow Vault's audit file and tell the operator which KV entries were written.

    Runs beside Vault until SIGTERM. Only namespace, mount, path and version of what was written are sent. While the
    operator is away hints wait, and after more than can wait it is told to look at everything.
    """
    # Here, so that other commands do not wait for it.
    from elile_operator.hints.forwarder import Forwarder
    from elile_operator.hints.options import ConfigurationError, Options
    from elile_operator.obs import logs

    logs.configure(log_level, cast("Format", log_format))
    logs.install_hooks()
    options = Options(
        file=file,
        to=to,
        server=server,
        token_file=token_file,
        ca_file=ca_file,
        state_file=state_file,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
    )
    try:
        forwarder = Forwarder(options)
    except ConfigurationError as e:
        click.echo(f"elile hints forward: {e}", err=True)
        context.exit(2)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: forwarder.stop())
    context.exit(0 if forwarder.run() else 1)
