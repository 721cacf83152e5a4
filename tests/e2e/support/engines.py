"""Secrets engines of the lab's OpenBao, and a PostgreSQL that pods can log in to."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from lab.postgresql import HBA, SETTINGS, PostgreSQL
from tests.e2e.support.cluster import Cluster
from tests.support.engines import database_engine, pki_engine

ROLE = "engines"
# What a tenant needs who takes credentials and certificates, and has a folder of version 1 and one to create in.
POLICY = """
path "database/creds/*" { capabilities = ["read"] }
path "database/static-creds/*" { capabilities = ["read"] }
path "pki/issue/*" { capabilities = ["update"] }
path "pki/revoke" { capabilities = ["update"] }
path "kv1/*" { capabilities = ["read"] }
path "nowhere/*" { capabilities = ["read"] }
path "secret/data/*" { capabilities = ["create", "read"] }
path "secret/metadata/*" { capabilities = ["read"] }
"""


@dataclass(frozen=True)
class Engines:
    """The engines `database`, `pki` and `kv1`, and the role `engines` for every ServiceAccount."""

    cluster: Cluster
    postgresql: PostgreSQL
    host: str  # where pods reach the database

    def call(self, method: str, path: str, body: Any) -> Any:
        arguments = ["write", path, "-"] if method in ("POST", "PUT") else ["read", "-format=json", path]
        text = self.cluster.bao(*arguments, given=json.dumps(body) if body is not None else None)
        return json.loads(text) if arguments[0] == "read" else None

    def logs_in(self, user: str, password: str) -> bool:
        """Log in as an application does; False when refused."""
        try:
            psycopg.connect(
                host="127.0.0.1", port=self.postgresql.port, dbname="postgres", user=user, password=password
            ).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error) or "does not exist" in str(error):
                return False
            raise
        return True


@contextmanager
def serving(cluster: Cluster) -> Iterator[Engines]:
    lab = cluster.lab
    if lab is None:
        pytest.skip("needs a database that pods reach: runs on the lab")
    folder = Path(tempfile.mkdtemp(prefix="elile-engines-"))
    folder.chmod(0o711)
    anywhere = HBA + "host all all all scram-sha-256\n"
    settings = {**SETTINGS, "listen_addresses": f"127.0.0.1,{lab.gateway}"}
    try:
        with PostgreSQL(
            folder / "server", port=lab.spare_ports[0], settings=settings, hba=anywhere, echo=lambda _: None
        ) as postgresql:
            postgresql.sql("CREATE ROLE engine LOGIN SUPERUSER PASSWORD 'engine'")
            engines = Engines(cluster, postgresql, lab.gateway)
            database_engine(engines.call, host="127.0.0.1", port=postgresql.port)
            pki_engine(engines.call)
            engines.call("POST", "sys/mounts/kv1", {"type": "kv", "options": {"version": "1"}})
            cluster.bao("policy", "write", ROLE, "-", given=POLICY)
            cluster.bao(
                *("write", f"auth/kubernetes/role/{ROLE}", "audience=elile", f"token_policies={ROLE}", "token_ttl=20m"),
                *("bound_service_account_names=*", "bound_service_account_namespaces=*"),
            )
            try:
                yield engines
            finally:
                # While the database is there: leases that cannot be revoked would keep their engine.
                for mount in ("database", "pki", "kv1"):
                    cluster.bao("lease", "revoke", "-prefix", "-sync", mount)
                    cluster.bao("secrets", "disable", mount)
    finally:
        shutil.rmtree(folder)
