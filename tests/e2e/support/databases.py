"""Databases that pods and the operator reach over TLS, with the accounts that are rotated."""

import secrets
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from elile.secrets.redact import SecretStr
from elile.secrets.rotation.drivers.postgresql import scram_verifier
from lab.postgresql import HBA, SETTINGS, PostgreSQL
from tests.e2e.support.cluster import Cluster

STEWARD = "steward"


@dataclass(frozen=True)
class Pair:
    """Two login roles of one owner, of which the first is in use."""

    name: str
    password: str

    @property
    def users(self) -> list[str]:
        return [f"{self.name}_a", f"{self.name}_b"]


class Rotated:
    """A PostgreSQL server with an administrator that may change passwords, and nothing else."""

    def __init__(self, server: PostgreSQL, host: str, ca_pem: str) -> None:
        self.server = server
        self.host = host
        self.ca_pem = ca_pem
        self._steward = secrets.token_hex(16)
        server.sql(f"CREATE ROLE {STEWARD} LOGIN CREATEROLE PASSWORD '{self._steward}'")
        server.sql(f"GRANT pg_signal_backend TO {STEWARD}")

    @property
    def port(self) -> int:
        return self.server.port

    def pair(self, name: str) -> Pair:
        """Make two login roles of one owner, as an administrator would."""
        made = Pair(name, secrets.token_hex(16))
        first, second = made.users
        verifier = scram_verifier(SecretStr(made.password))
        self.server.sql(
            f"CREATE ROLE {name}_owner; CREATE ROLE {first} LOGIN PASSWORD '{verifier}'; CREATE ROLE {second};"
            f"GRANT {name}_owner TO {first}, {second};"
            f"ALTER ROLE {first} SET role TO {name}_owner; ALTER ROLE {second} SET role TO {name}_owner;"
            f"GRANT {first}, {second} TO {STEWARD} WITH ADMIN OPTION;"
        )
        return made

    def admin_entry(self, *users: str) -> dict[str, Any]:
        """Return what stands in the administrator's entry."""
        return {
            "username": STEWARD,
            "password": self._steward,
            "host": self.host,
            "port": self.port,
            "database": "postgres",
            "allowed_users": list(users),
        }

    def target(self, pair: Pair, admin: str, **more: Any) -> dict[str, Any]:
        """Return `spec.apply` of a schedule."""
        return {
            "postgresql": {
                "host": self.host,
                "port": self.port,
                "database": "postgres",
                "tls": {"caBundle": self.ca_pem},
                "users": pair.users,
                "admin": {"path": admin},
                **more,
            }
        }

    def may_log_in(self, user: str) -> bool:
        """Whether a role has a login at all, whatever its password."""
        found = self.server.sql("SELECT rolname FROM pg_roles WHERE rolcanlogin")
        return [user] in found

    @contextmanager
    def session(self, value: Mapping[str, Any]) -> Iterator[psycopg.Connection]:
        """Stay logged in."""
        user, password = value["username"], value["password"]
        where = {"host": self.host, "port": self.port, "dbname": "postgres"}
        connection = psycopg.connect(**where, user=user, password=password)
        try:
            yield connection
        finally:
            connection.close()

    @contextmanager
    def busy(self, user: str) -> Iterator[None]:
        """Hold a role as one does who is about to change it: nobody else can, until this is over."""
        with self.session({"username": STEWARD, "password": self._steward}) as connection:
            connection.execute(f"ALTER ROLE {user} CONNECTION LIMIT 50")
            yield
            connection.rollback()

    def logs_in(self, user: str, password: str) -> bool:
        """Log in as an application does; False when refused."""
        try:
            psycopg.connect(host=self.host, port=self.port, dbname="postgres", user=user, password=password).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error) or "not permitted to log in" in str(error):
                return False
            raise
        return True


@contextmanager
def postgresql(cluster: Cluster, slot: int = 1) -> Iterator[Rotated]:
    """Serve on the address of the lab's node, which pods reach; `slot` tells servers of one run apart."""
    lab = cluster.lab
    assert lab is not None
    folder = Path(tempfile.mkdtemp(prefix="elile-rotated-"))
    folder.chmod(0o711)
    settings = {**SETTINGS, "listen_addresses": f"127.0.0.1,{lab.gateway}", "max_connections": "300"}
    tls = lab.issue_certificate(f"postgresql-{slot}", [lab.gateway, "127.0.0.1"])
    hba = HBA + "host all all all scram-sha-256\n"
    try:
        with PostgreSQL(
            folder / "server", port=lab.spare_ports[slot], tls=tls, settings=settings, hba=hba, echo=lambda _: None
        ) as server:
            yield Rotated(server, lab.gateway, lab.ca_file.read_text())
    finally:
        shutil.rmtree(folder)
