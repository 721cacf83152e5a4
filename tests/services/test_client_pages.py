"""What the pages say about databases runs as it is printed, on a real PostgreSQL."""

import ast
import inspect
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from elile.secrets import MemorySecretsManager, SecretPath, SecretRotator
from lab.postgresql import PostgreSQL
from tests.services.servers import Secured

PAGES = Path(__file__).parents[2] / "docs" / "client"
PAGE = PAGES / "databases.md"


async def test_databases_and_apis(postgresql: PostgreSQL) -> None:
    postgresql.sql("CREATE ROLE page LOGIN PASSWORD 'page-password'")
    postgresql.sql("CREATE DATABASE page OWNER page")
    entry = {"host": "127.0.0.1", "port": str(postgresql.port), "username": "page", "password": "page-password"}
    async with MemorySecretsManager({"app/db": entry}) as manager:
        given = {"manager": manager, "path": "app/db", "host": "127.0.0.1", "port": postgresql.port, "database": "page"}
        pieces = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)
        assert len(pieces) == 4
        for piece in pieces:
            names: dict[str, Any] = dict(given)
            code = compile(piece, PAGE.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            answer = eval(code, names)  # noqa: S307 - our own page
            if inspect.isawaitable(answer):
                await answer


async def test_the_target_of_a_rotation_and_what_it_needs(postgresql_tls: Secured[PostgreSQL]) -> None:
    server, page = postgresql_tls.server, (PAGES / "rotation.md").read_text()
    (statements,) = re.findall(r"^```sql\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    (piece,) = (p for p in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE) if "PostgreSQLT" in p)
    server.sql("CREATE ROLE shop_a LOGIN PASSWORD 'first-password'")
    server.sql("CREATE DATABASE shop OWNER shop_a")
    server.sql(statements)
    where = {"host": "127.0.0.1", "port": server.port, "database": "shop"}
    steward = {**where, "username": "steward", "password": "choose one", "allowed_users": ["shop_a", "shop_b"]}
    live = {**where, "username": "shop_a", "password": "first-password"}
    async with MemorySecretsManager({"elile/database/steward": steward, SecretPath.DATABASE: live}) as manager:
        names: dict[str, Any] = {
            "manager": manager,
            "host": "127.0.0.1",
            "port": server.port,
            "ca_pem": postgresql_tls.ca_pem,
            "network": "127.0.0.1/32",
        }
        await eval(compile(piece, "rotation.md", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), names)  # noqa: S307
        async with SecretRotator(manager) as rotator:
            result = await rotator.rotate_database_credentials(
                SecretPath.DATABASE, names["target"], grace=timedelta(0), timeout=60
            )
        assert result.ok, result
        assert (await manager.get_database_credentials()).username == "shop_b"
    server.sql("DROP DATABASE shop")
    server.sql("DROP ROLE shop_a, shop_b, shop_owner, steward")  # the server is others' as well
