"""What consumers of rotated values run in a pod: they use what their mounted files say just then, all the time.

`logins KIND HOST PORT AUTHORITY`: log in to mariadb or redis ten times a second.
`keys NAME`: encrypt five times a second, and decrypt whatever any of them has encrypted; texts are files of /exchange.

`/.well-known/elile` tells what is in use. They tell how they fare once a second, as a line of JSON.
"""

import json
import sys
import threading
import time
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pymysql
import redis

from elile.secrets import MountedSecretsManager, SecretPath, SyncSecrets
from elile.secrets.encryption import AESGCMCipher
from elile.secrets.wellknown import PATH, answer

EXCHANGE = Path("/exchange")
PORT = 8080


class Logins:
    """Logs in anew each time."""

    every = 0.1

    def __init__(self, secrets: SyncSecrets, kind: str, host: str, port: str, authority: str) -> None:
        self._secrets = secrets
        self._kind = kind
        self._address = {"host": host, "port": int(port)}
        self._authority = authority
        self.used: Counter[int] = Counter()  # by a number for each value
        self._numbers: dict[str, int] = {}

    def once(self) -> None:
        given = self._secrets.get_secret("elile").raw.reveal()
        user, password = given["username"], given["password"]
        number = self._numbers.setdefault(password, len(self._numbers))
        if self._kind == "mariadb":
            pymysql.connect(**self._address, user=user, password=password, ssl_disabled=True).close()
        else:
            self._redis(user, password)
        self.used[number] += 1

    def _redis(self, user: str, password: str) -> None:
        with redis.Redis(
            **self._address, username=user, password=password, ssl=True, ssl_ca_data=self._authority
        ) as client:
            client.ping()


class Keys:
    """Uses a set of keys."""

    every = 0.2

    def __init__(self, secrets: SyncSecrets, name: str) -> None:
        self._secrets = secrets
        self._name = name
        self._texts: dict[str, bytes] = {}
        self._made = 0
        self.used: Counter[str] = Counter()  # by the id of the key that encrypted
        self.decrypted = 0

    def once(self) -> None:
        keys = self._secrets.get_encryption_keys(SecretPath.ENCRYPTION_PRIMARY)
        cipher = AESGCMCipher(keys)
        text = EXCHANGE / f"{self._name}-{self._made}"
        self._made += 1
        part = text.with_suffix(".part")
        part.write_bytes(cipher.encrypt(text.name.encode()))
        part.rename(text)
        self.used[keys.primary.id] += 1
        for path in EXCHANGE.iterdir():
            if path.name not in self._texts and not path.suffix:
                self._texts[path.name] = path.read_bytes()
        for name, sealed in self._texts.items():
            if cipher.decrypt(sealed) != name.encode():
                raise ValueError(name)
            self.decrypted += 1


def serve(manager: MountedSecretsManager) -> None:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, headers, body = answer(manager) if self.path == PATH else (404, {}, b"")
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Say nothing: the log is for how it fares."""

    server = ThreadingHTTPServer(("", PORT), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()


def main() -> None:
    what, *arguments = sys.argv[1:]
    manager = MountedSecretsManager("/etc", paths={SecretPath.ENCRYPTION_PRIMARY: "/etc/elile"})
    serve(manager)
    secrets = SyncSecrets(manager)
    user = Logins(secrets, *arguments) if what == "logins" else Keys(secrets, *arguments)
    failures: list[str] = []
    began = told = time.monotonic()
    while True:
        started = time.monotonic()
        try:
            user.once()
        except Exception as error:
            # Texts of libraries: a failed login quotes the user, never the password.
            failures.append(f"{time.monotonic() - began:.1f} s: {type(error).__name__}: {error}")
        if time.monotonic() - told >= 1:
            told = time.monotonic()
            fares: dict[str, Any] = {"failed": len(failures), "failures": failures[-5:], "values": len(user.used)}
            fares |= {"uses": user.used.total(), "decrypted": getattr(user, "decrypted", 0)}
            print(json.dumps(fares), flush=True)  # noqa: T201 - read from the pod's log
        time.sleep(max(0.0, user.every - (time.monotonic() - started)))


if __name__ == "__main__":
    main()
