"""The command `python -m lab`: brings the lab up and down, and tells about it."""

import argparse
import shlex
import sys
import time
from collections.abc import Callable, Sequence

from lab import processes
from lab.cluster import DEFAULT, Lab
from lab.control import tail
from lab.errors import LabError


def up(lab: Lab, _: argparse.Namespace) -> int:
    lab.up()
    return 0


def down(lab: Lab, _: argparse.Namespace) -> int:
    lab.down()
    return 0


def reset(lab: Lab, _: argparse.Namespace) -> int:
    began = time.monotonic()
    lab.reset()
    print(f"lab {lab.name!r} is empty after {time.monotonic() - began:.1f} s")
    return 0


def status(lab: Lab, _: argparse.Namespace) -> int:
    print(f"lab {lab.name!r} in {lab.layout.folder}")
    print(f"{'COMPONENT':<26}{'PID':>8}{'UPTIME':>10}{'RSS':>10}  HEALTH")
    healthy = True
    for component in lab.components():
        process, problem = component.process, component.problem()
        healthy &= problem is None
        stat = processes.read_stat(process.pid) if process else None
        pid, age, resident = "-", "-", "-"
        if process and stat:
            pid, age = str(process.pid), f"{processes.uptime(process):.0f} s"
            resident = f"{stat.resident / 2**20:.0f} MiB"
        print(f"{component.name:<26}{pid:>8}{age:>10}{resident:>10}  {problem or 'ok'}")
    return 0 if healthy else 1


def logs(lab: Lab, arguments: argparse.Namespace) -> int:
    chosen = [lab.component(arguments.component)] if arguments.component else lab.components()
    for component in chosen:
        print(f"==> {component.log} <==")
        print(tail(component.log, arguments.lines))
    return 0


def env(lab: Lab, _: argparse.Namespace) -> int:
    for name, value in lab.environment().items():
        print(f"export {name}={shlex.quote(value)}")
    print(f'export PATH={shlex.quote(str(lab.bin))}:"$PATH"')
    return 0


COMMANDS: dict[str, tuple[Callable[[Lab, argparse.Namespace], int], str]] = {
    "up": (up, "bring up what is not up"),
    "down": (down, "end and remove everything but the logs"),
    "status": (status, "table of components; exit code 0 only if all are healthy"),
    "reset": (reset, "empty the cluster and OpenBao"),
    "logs": (logs, "the end of the components' logs"),
    "env": (env, 'for the shell: eval "$(python -m lab env)"'),
}


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(
        prog="python -m lab", description="A real cluster and a real OpenBao on this machine."
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, help_text) in COMMANDS.items():
        command = commands.add_parser(name, help=help_text)
        command.add_argument(
            "--name", default=DEFAULT, help="which lab, by default %(default)r; several can be up at once"
        )
        if name == "logs":
            command.add_argument("component", nargs="?", help="by default all of them")
            command.add_argument("-n", "--lines", type=int, default=40, help="by default %(default)s")
    return top


def main(argv: Sequence[str] | None = None) -> int:
    arguments = parser().parse_args(argv)
    action = COMMANDS[arguments.command][0]
    try:
        return action(Lab.open(arguments.name), arguments)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("lab: interrupted; `up` goes on from here, `down` clears it away", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
