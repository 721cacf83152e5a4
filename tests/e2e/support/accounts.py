"""MariaDB and Redis that pods and the operator reach over TLS, with the accounts that are rotated."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import pymysql
import redis

from lab.cluster import Lab
from lab.mariadb import SETTINGS as MARIADB_SETTINGS
from lab.mariadb import MariaDB
from lab.redis import ADMIN, Redis, Tls
from lab.redis import SETTINGS as REDIS_SETTINGS
from tests.e2e.support.cluster import Cluster

STEWARD = "steward"
REFUSED = 1045


class Accounts(Protocol):
    """A server with accounts. `kind` is the member of `spec.apply` and of a hook."""

    kind: str
    host: str
    port: int
    ca_pem: str
    assertion: dict[str, Any]  # of a hook that fails, although the login is good

    def make(self, name: str) -> dict[str, str]:
        """Make what one application uses, as an administrator would; the live entry of it."""

    def admin_entry(self, name: str) -> dict[str, Any]:
        """Return what stands in the administrator's entry."""

    def target(self, name: str, admin: str, **more: Any) -> dict[str, Any]:
        """Return `spec.apply` of a schedule."""

    def logs_in(self, entry: dict[str, Any]) -> bool:
        """Log in as an application does; False when refused."""

    def set_password(self, user: str, password: str) -> None:
        """Change a password as somebody does who knows nothing of rotation."""


class MariaDBAccounts:
    """MariaDB with an administrator that may change passwords, and nothing else."""

    kind = "mariadb"

    def __init__(self, server: MariaDB, host: str, ca_pem: str) -> None:
        self.assertion: dict[str, Any] = {"assertion": "SELECT COUNT(*) = 99 FROM shop.orders"}
        self.server = server
        self.host = host
        self.port = server.port
        self.ca_pem = ca_pem
        self._steward = secrets.token_hex(16)
        server.sql(
            f"CREATE DATABASE shop; CREATE TABLE shop.orders (id int); CREATE USER {STEWARD} IDENTIFIED BY "
            f"'{self._steward}'; GRANT CREATE USER, CONNECTION ADMIN, PROCESS ON *.* TO {STEWARD}; "
            f"GRANT SELECT (Host, User) ON mysql.global_priv TO {STEWARD};"
        )

    def make(self, name: str) -> dict[str, str]:
        password = secrets.token_hex(16)
        first, second = self.users(name)
        self.server.sql(
            f"CREATE USER {first} IDENTIFIED BY '{password}'; CREATE USER {second} ACCOUNT LOCK; "
            f"GRANT SELECT, INSERT ON shop.* TO {first}, {second};"
        )
        return {"username": first, "password": password}

    @staticmethod
    def users(name: str) -> list[str]:
        return [f"{name}_a", f"{name}_b"]

    def admin_entry(self, name: str) -> dict[str, Any]:
        return {
            "username": STEWARD,
            "password": self._steward,
            "host": self.host,
            "port": self.port,
            "database": "shop",
            "allowed_users": self.users(name),
        }

    def target(self, name: str, admin: str, **more: Any) -> dict[str, Any]:
        return {
            "mariadb": {
                "host": self.host,
                "port": self.port,
                "database": "shop",
                "tls": {"caBundle": self.ca_pem},
                "users": self.users(name),
                "admin": {"path": admin},
                **more,
            }
        }

    def logs_in(self, entry: dict[str, Any]) -> bool:
        try:
            pymysql.connect(
                host=self.host, port=self.port, user=entry["username"], password=entry["password"], ssl_disabled=True
            ).close()
        except pymysql.err.OperationalError as error:
            if error.args[0] in (REFUSED, 4151):  # a wrong password, a locked account
                return False
            raise
        return True

    def set_password(self, user: str, password: str) -> None:
        self.server.sql(f"ALTER USER {user} IDENTIFIED BY '{password}'")


class RedisAccounts:
    """Two servers of Redis that share no users."""

    kind = "redis"

    def __init__(self, servers: tuple[Redis, Redis], host: str, ca_pem: str) -> None:
        self.assertion: dict[str, Any] = {"commands": [["CONFIG", "GET", "*"]]}
        self.servers = servers
        self.host = host
        self.port = servers[0].port
        self.ca_pem = ca_pem
        # Each has an administrator with a password of its own, and an entry is for all nodes.
        servers[1].run("ACL", "SETUSER", ADMIN, f">{servers[0].password}")

    def make(self, name: str) -> dict[str, str]:
        password = secrets.token_hex(16)
        rights = ("~*", "&*", "+@all", "-@admin", "-@dangerous", "+acl|whoami", "+acl|dryrun")
        for server in self.servers:
            server.run("ACL", "SETUSER", name, "reset", "on", f">{password}", *rights)
            server.run("ACL", "SAVE")
        return {"username": name, "password": password}

    def admin_entry(self, name: str) -> dict[str, Any]:
        return {
            "username": ADMIN,
            "password": self.servers[0].password,
            "nodes": [f"{self.host}:{server.port}" for server in self.servers],
            "allowed_users": [name],
        }

    def target(self, name: str, admin: str, **more: Any) -> dict[str, Any]:
        return {
            "redis": {
                "nodes": [{"host": self.host, "port": server.port} for server in self.servers],
                "tls": {"caBundle": self.ca_pem},
                "user": name,
                "admin": {"path": admin},
                **more,
            }
        }

    def logs_in(self, entry: dict[str, Any]) -> bool:
        answers = {self._logs_in(server, entry) for server in self.servers}
        assert len(answers) == 1, "the servers differ"
        return answers.pop()

    def _logs_in(self, server: Redis, entry: dict[str, Any]) -> bool:
        client = redis.Redis(
            host=self.host,
            port=server.port,
            username=entry["username"],
            password=entry["password"],
            ssl=True,
            ssl_ca_data=self.ca_pem,
        )
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False
        finally:
            client.close()

    def set_password(self, user: str, password: str) -> None:
        for server in self.servers:
            server.run("ACL", "SETUSER", user, "resetpass", f">{password}")


@contextmanager
def mariadb(cluster: Cluster, slot: int = 2) -> Iterator[MariaDBAccounts]:
    """Serve on the address of the lab's node, which pods reach."""
    with _folder(cluster) as (lab, folder):
        settings = {**MARIADB_SETTINGS, "bind-address": f"127.0.0.1,{lab.gateway}"}
        tls = lab.issue_certificate(f"mariadb-{slot}", [lab.gateway, "127.0.0.1"])
        with MariaDB(
            folder / "server", port=lab.spare_ports[slot], tls=tls, settings=settings, echo=lambda _: None
        ) as server:
            yield MariaDBAccounts(server, lab.gateway, lab.ca_file.read_text())


@contextmanager
def redis_pair(cluster: Cluster, slot: int = 3) -> Iterator[RedisAccounts]:
    """Serve on the address of the lab's node, which pods reach, at two ports from `slot` on."""
    with _folder(cluster) as (lab, folder):
        settings = {**REDIS_SETTINGS, "bind": f"127.0.0.1 {lab.gateway}"}
        tls = Tls(lab.issue_certificate(f"redis-{slot}", [lab.gateway, "127.0.0.1"]), lab.ca_file)
        one, two = (
            Redis(folder / name, port=lab.spare_ports[slot + n], tls=tls, settings=settings, echo=lambda _: None)
            for n, name in enumerate(("one", "two"))
        )
        with one, two:
            yield RedisAccounts((one, two), lab.gateway, lab.ca_file.read_text())


@contextmanager
def _folder(cluster: Cluster) -> Iterator[tuple[Lab, Path]]:
    assert cluster.lab is not None
    folder = Path(tempfile.mkdtemp(prefix="elile-accounts-"))
    folder.chmod(0o711)
    try:
        yield cluster.lab, folder
    finally:
        shutil.rmtree(folder)
