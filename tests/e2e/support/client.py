"""What a client pod runs: it logs in to PostgreSQL ten times a second with what its mounted files say just then.

Argument: host and port. It tells how it fares once a second, as a line of JSON.
"""

import json
import os
import sys
import time
from pathlib import Path

import psycopg

FOLDER = Path("/etc/elile")
EVERY = 0.1


def credentials() -> dict[str, str]:
    """Both files of one content: kubelet swaps the folder that `..data` leads to, not the files."""
    folder = Path(os.path.realpath(FOLDER / "..data"))
    return {name: (folder / name).read_text() for name in ("username", "password")}


def main() -> None:
    host, port = sys.argv[1:]
    logins, failures, users = 0, [], set()
    began = told = time.monotonic()
    while True:
        started = time.monotonic()
        try:
            given = credentials()
            users.add(given["username"])
            psycopg.connect(
                host=host, port=port, dbname="postgres", user=given["username"], password=given["password"]
            ).close()
            logins += 1
        except Exception as error:
            # Of the library's text: a failed login quotes the user, never the password.
            failures.append(f"{time.monotonic() - began:.1f} s: {type(error).__name__}: {error}")
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            fares = {"logins": logins, "failures": failures[-5:], "failed": len(failures), "users": len(users)}
            print(json.dumps(fares))  # noqa: T201 - read from the pod's log
        time.sleep(max(0.0, EVERY - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
