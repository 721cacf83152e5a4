"""What a client pod runs: it logs in to PostgreSQL ten times a second with what its mounted files say just then.

Arguments: host and port. It tells how it fares once a second, as a line of JSON, and answers requests for proof with
the revision that its files are of, unless the file /tmp/silent is there.
"""

import json
import os
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg

FOLDER = Path("/etc/elile")
SILENT = Path("/tmp/silent")  # noqa: S108 - of a pod with one process
PROOF_PORT = 8080
EVERY = 0.1


def credentials() -> dict[str, str]:
    """Both files of one content: kubelet swaps the folder that `..data` leads to, and then removes the old one."""
    while True:
        folder = Path(os.path.realpath(FOLDER / "..data"))
        try:
            return {name: (folder / name).read_text() for name in ("username", "password")}
        except FileNotFoundError:
            continue


class Proof(BaseHTTPRequestHandler):
    """Tells which revision the files are of."""

    def do_GET(self) -> None:
        found = FOLDER / ".elile.json"
        if SILENT.exists() or not found.exists():
            self.send_error(503)
            return
        told = json.loads(found.read_text())
        body = json.dumps({"secrets": {told["name"]: told["revision"]}}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """The log is for how it fares."""


def main() -> None:
    host, port = sys.argv[1:]
    server = ThreadingHTTPServer(("", PROOF_PORT), Proof)
    threading.Thread(target=server.serve_forever, daemon=True).start()
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
