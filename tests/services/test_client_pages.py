"""The page about databases runs as it is printed, on a real PostgreSQL."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

from elile.secrets import MemorySecretsManager
from lab.postgresql import PostgreSQL

PAGE = Path(__file__).parents[2] / "docs" / "client" / "databases.md"


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
