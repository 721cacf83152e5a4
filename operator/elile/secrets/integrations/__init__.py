"""Clients of other libraries that follow a secret: each module needs the library it is named after, when it is called.

`sqlalchemy`, `psycopg` and `asyncpg` come with `elile[sql]`, `httpx` with `elile[httpx]`.
"""
