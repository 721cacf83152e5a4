"""Secrets engines of a real OpenBao set up for tests: credentials of PostgreSQL, certificates, version 1 of KV."""

from collections.abc import Callable
from typing import Any

Call = Callable[[str, str, Any], Any]  # method, path below /v1/, body

CREATE = (
    "CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'; "
    'GRANT CONNECT ON DATABASE postgres TO "{{name}}";'
)
DROP = 'REVOKE CONNECT ON DATABASE postgres FROM "{{name}}"; DROP ROLE IF EXISTS "{{name}}";'


def database_engine(call: Call, *, host: str, port: int, mount: str = "database") -> None:
    """An engine at `mount` that makes roles in a PostgreSQL without TLS, as `postgres` with the password `engine`."""
    call("POST", f"sys/mounts/{mount}", {"type": "database"})
    connection = {
        "plugin_name": "postgresql-database-plugin",
        "connection_url": f"postgresql://{{{{username}}}}:{{{{password}}}}@{host}:{port}/postgres?sslmode=disable",
        "allowed_roles": "*",
        "username": "engine",
        "password": "engine",
    }
    call("POST", f"{mount}/config/main", connection)


def database_role(call: Call, name: str, *, ttl: str, longest: str, mount: str = "database") -> None:
    """A role of it whose leases last `ttl`, and `longest` with all their renewals."""
    statements = {"creation_statements": [CREATE], "revocation_statements": [DROP]}
    role = {"db_name": "main", "default_ttl": ttl, "max_ttl": longest, **statements}
    call("POST", f"{mount}/roles/{name}", role)


def pki_engine(call: Call, *, mount: str = "pki") -> None:
    """An engine at `mount` with a root of its own, and a role `web` for names below example.com, an hour at most."""
    call("POST", f"sys/mounts/{mount}", {"type": "pki", "config": {"max_lease_ttl": "87600h"}})
    call("POST", f"{mount}/root/generate/internal", {"common_name": "Example root", "ttl": "87600h"})
    role = {
        "allowed_domains": ["example.com"],
        "allow_subdomains": True,
        "max_ttl": "1h",
        "key_type": "ec",
        "key_bits": 256,
    }
    call("POST", f"{mount}/roles/web", role)
