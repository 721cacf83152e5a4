"""The process: arguments to settings, settings to the app, what goes wrong to an exit code."""

import asyncio
import sys
from collections.abc import Sequence

from pydantic import ValidationError
from pydantic_settings import SettingsError

from elile_operator import app
from elile_operator.obs import logs
from elile_operator.settings import Settings

__all__ = ["main"]

OK, FAILED, USAGE = 0, 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the operator until it is told to stop. 0: stopped; 1: it cannot work; 2: a setting is wrong."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        settings = Settings(_cli_parse_args=given)
    except ValidationError as e:
        for problem in e.errors(include_url=False, include_input=False, include_context=False):
            name = str(problem["loc"][0]) if problem["loc"] else "settings"
            flag, variable = name.replace("_", "-"), f"ELILE_{name.upper()}"
            print(f"elile-operator: --{flag} or {variable}: {problem['msg']}", file=sys.stderr)  # noqa: T201
        return USAGE
    except SettingsError as e:
        print(f"elile-operator: {e}; see elile-operator --help", file=sys.stderr)  # noqa: T201
        return USAGE
    logs.configure(settings.log_level, settings.log_format.value)
    logs.install_hooks()
    try:
        asyncio.run(app.run(settings))
    except app.StartError as e:
        print(f"elile-operator: {e}", file=sys.stderr)  # noqa: T201
        return FAILED
    return OK


if __name__ == "__main__":
    sys.exit(main())
