"""The administrator of a target: an entry that says itself where it may be used, and on whom.

Whoever may edit a schedule must not be able to send the login elsewhere. So the entry names host, port, database and
users, and what is asked for is compared with it before any connection is made.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import SecretStr

__all__ = ["AdminEntry", "TargetNotAllowedError"]


class TargetNotAllowedError(SecretsConfigurationError):
    """The administrator's entry does not name the host, the database or the user; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdminEntry:
    """A login that may change the passwords of `allowed_users`, at `host`:`port` or at `nodes`, and nowhere else.

    database: None for a server without. ca: the authority of the server, PEM, None for the system's. where: the path of
    the entry, for messages.
    """

    username: str
    password: SecretStr
    allowed_users: frozenset[str]
    host: str | None = None
    port: int | None = None
    database: str | None = None
    nodes: tuple[tuple[str, int], ...] = ()
    ca: str | None = None
    where: str = "the administrator's entry"

    @classmethod
    def parse(cls, data: Mapping[str, Any], *, where: str = "the administrator's entry") -> "AdminEntry":
        """Read `{username, password, host, port, database, allowed_users, ca}`, or `nodes` for host and port.

        Lists may be JSON, or texts parted by commas, since an entry may hold texts only. Raises
        SecretsConfigurationError that names the field.
        """

        def wrong(field: str, what: str) -> SecretsConfigurationError:
            return SecretsConfigurationError(f"{where}: {field} {what}")

        def text(field: str) -> str:
            value = data.get(field)
            if not isinstance(value, str) or not value:
                raise wrong(field, "must be a text that is not empty")
            return value

        def texts(field: str) -> list[str]:
            found = _list(data.get(field))
            if not found:
                raise wrong(field, 'must be a list of texts, such as ["shop_a", "shop_b"]')
            return found

        username, password = text("username"), SecretStr(text("password"))
        users = frozenset(texts("allowed_users"))
        ca = text("ca") if data.get("ca") is not None else None
        database = text("database") if data.get("database") is not None else None
        if data.get("nodes") is not None:
            if data.get("host") is not None:
                raise wrong("nodes", "stands for host and port: give one of the two")
            nodes = [_node(one) for one in texts("nodes")]
            if None in nodes:
                raise wrong("nodes", 'must be a list such as ["redis-0:6379", "redis-1:6379"]')
            return cls(
                username=username,
                password=password,
                allowed_users=users,
                database=database,
                nodes=tuple(node for node in nodes if node is not None),
                ca=ca,
                where=where,
            )
        port = _port(data.get("port"))
        if port is None:
            raise wrong("port", "must be a number from 1 to 65535")
        return cls(
            username=username,
            password=password,
            allowed_users=users,
            host=text("host"),
            port=port,
            database=database,
            ca=ca,
            where=where,
        )

    def check(self, *, host: str, port: int, database: str | None, users: Iterable[str]) -> None:
        """Compare with what is asked for. Raises TargetNotAllowedError."""
        self.check_nodes([(host, port)], users)
        if self.database is not None and database != self.database:
            raise TargetNotAllowedError(
                f"{self.where} is for the database {self.database!r}, not {database!r}: correct one of them"
            )

    def check_nodes(self, nodes: Sequence[tuple[str, int]], users: Iterable[str]) -> None:
        """As `check`, for a server of several nodes and no database."""
        allowed = set(self.nodes) if self.nodes else {(self.host, self.port)}
        for host, port in nodes:
            if (host, port) not in allowed:
                raise TargetNotAllowedError(
                    f"{self.where} is not for {host}:{port}: name it there, or correct the target"
                )
        for user in users:
            if user not in self.allowed_users:
                raise TargetNotAllowedError(
                    f"{self.where} does not allow the user {user!r}: add it to allowed_users, or correct the target"
                )


def _list(value: Any) -> list[str]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            value = [part.strip() for part in value.split(",")]
    found = value if isinstance(value, list) else []
    return found if all(isinstance(one, str) and one for one in found) else []


def _node(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    number = _port(port)
    return (host, number) if host and number is not None else None


def _port(value: Any) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 6:
        value = int(value)
    usable = isinstance(value, int) and not isinstance(value, bool) and 0 < value < 65536
    return value if usable else None
