"""Files that clients of databases read, from the entry of a source of shape Database.

| file | read by | holds |
|---|---|---|
| pgpass | libpq's `passfile` | `host:port:database:username:password`; port absent: 5432, database absent: any |
| my.cnf | clients of MariaDB and MySQL | `[client]` with host, port, user, password; `[mysql]` with database |
| url | SQLAlchemy, libpq and others | the entry's connection URL, percent-encoded, with its options |
| jdbc-url | the JDBC drivers of PostgreSQL, MySQL and MariaDB | the same for them, user and password as parameters |

`url` and `jdbc-url` are one value without a line break at the end. The driver is the entry's, and postgresql where it
names none; pgpass and my.cnf take an entry that names none as well. `[mysql]`, since other clients refuse `database`.
Options of the entry appear in `url` and `jdbc-url` under the names that they have there.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any
from urllib.parse import quote

from elile.secrets.errors import SecretValidationError
from elile.secrets.types import DatabaseCredentials
from elile_operator.api.files import Derivation

__all__ = ["DeriveError", "derive"]


class DeriveError(ValueError):
    """The file cannot be made of this entry. The text names source, field and remedy, and no value."""


def derive(wanted: Derivation, entry: Mapping[str, Any], source: str) -> bytes:
    """Return the file. `entry` is what was read from the source of that name. Raises DeriveError."""
    try:
        credentials = DatabaseCredentials.parse(entry)
    except SecretValidationError as e:
        problem = f"{e.detail}; correct the entry, from which {wanted} is made"
    else:
        try:
            _check_texts(credentials)
            return _WRITERS[wanted](credentials).encode()
        except _UnfitError as e:
            problem = str(e)
    raise DeriveError(f"spec.sources[{source}]: {problem}")


class _UnfitError(Exception):
    """A field that the file cannot hold."""


def _texts(credentials: DatabaseCredentials) -> dict[str, str]:
    return {
        "host": credentials.host,
        "username": credentials.username,
        "password": credentials.password.reveal(),
        "database": credentials.database,
    }


def _options(credentials: DatabaseCredentials) -> dict[str, str]:
    return {name: value.reveal() for name, value in credentials.options.items()}


def _check_texts(credentials: DatabaseCredentials) -> None:
    fields = _texts(credentials)
    for name, value in _options(credentials).items():
        fields["options"] = fields.get("options", "") + name + value
    for field, text in fields.items():
        # JSON may hold half a surrogate pair, which no charset has.
        if re.search("[\x00\ud800-\udfff]", text):
            raise _UnfitError(
                f"{field} holds a NUL character or half a character, which no client takes; write another"
            )


def _check_driver(credentials: DatabaseCredentials, wanted: Derivation, families: tuple[str, ...]) -> None:
    # The model's own default says nothing about the entry.
    if "driver" in credentials.model_fields_set and _family(credentials) not in families:
        raise _UnfitError(
            f"driver names a database that does not read {wanted}; choose another file, or write {families[0]} there"
        )


def _family(credentials: DatabaseCredentials) -> str:
    family = credentials.driver.partition("+")[0]  # SQLAlchemy's way to name the client as well: mysql+pymysql
    return "postgresql" if family == "postgres" else family


def _check_host(credentials: DatabaseCredentials) -> None:
    # In a URL it stands as it is, and could lead elsewhere.
    if not re.fullmatch(r"[\w.-]+|[0-9A-Fa-f.]*:[0-9A-Fa-f.]*:[0-9A-Fa-f:.]*", credentials.host):
        raise _UnfitError("host is neither a name nor an address; write one of them there, and the port into port")


# ── pgpass ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _pgpass(credentials: DatabaseCredentials) -> str:
    """One line, as https://www.postgresql.org/docs/current/libpq-pgpass.html has it."""
    _check_driver(credentials, Derivation.PGPASS, ("postgresql",))
    fields = _texts(credentials)
    for field, text in fields.items():
        if re.search("[\r\n]", text):
            raise _UnfitError(f"{field} holds a line break, which a line of pgpass cannot hold; write one without it")
    host, user, password, database = (_in_pgpass(text) for text in fields.values())
    if host.startswith("#"):
        host = "\\" + host  # else the line is a comment
    return f"{host}:{credentials.port or 5432}:{database or '*'}:{user}:{password}\n"


def _in_pgpass(text: str) -> str:
    # A field that is one asterisk would match anything.
    return "\\*" if text == "*" else text.replace("\\", "\\\\").replace(":", "\\:")


# ── my.cnf ───────────────────────────────────────────────────────────────────────────────────────────────────────────

# The clients read 4,096 bytes at a time, and take what is left of a longer line for another option.
_LONGEST_LINE = 4094

_IN_MY_CNF = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t", "\b": "\\b"})


def _my_cnf(credentials: DatabaseCredentials) -> str:
    """An option file: https://mariadb.com/kb/en/configuring-mariadb-with-option-files/, the same for MySQL."""
    _check_driver(credentials, Derivation.MY_CNF, ("mysql", "mariadb"))
    lines = ["[client]", _option("host", "host", credentials.host)]
    if credentials.port:
        lines.append(f"port={credentials.port}")
    lines.append(_option("user", "username", credentials.username))
    lines.append(_option("password", "password", credentials.password.reveal()))
    if credentials.database:
        lines += ["[mysql]", _option("database", "database", credentials.database)]
    return "\n".join(lines) + "\n"


def _option(option: str, field: str, text: str) -> str:
    line = f'{option}="{text.translate(_IN_MY_CNF)}"'
    if len(line.encode()) > _LONGEST_LINE:
        raise _UnfitError(
            f"{field} is too long for a line of my.cnf, which holds {_LONGEST_LINE} bytes; write a shorter one"
        )
    return line


# ── URLs ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _url(credentials: DatabaseCredentials) -> str:
    _check_host(credentials)
    return credentials.url().reveal()


def _jdbc_url(credentials: DatabaseCredentials) -> str:
    family = _family(credentials)
    if family not in ("postgresql", "mysql", "mariadb"):
        raise _UnfitError("driver names a database that has no jdbc-url here; there are postgresql, mysql and mariadb")
    _check_host(credentials)
    options = _options(credentials)
    if {"user", "password"} & {name.lower() for name in options}:
        raise _UnfitError(
            "options hold user or password, which jdbc-url takes from username and password; remove them there"
        )
    parameters = {"user": credentials.username, "password": credentials.password.reveal(), **options}
    database = credentials.database
    _check_driver_reads(family, credentials)
    if family != "mariadb":
        database = quote(database, safe="")
        parameters = {quote(name, safe=""): quote(value, safe="") for name, value in parameters.items()}
    host = f"[{credentials.host}]" if ":" in credentials.host else credentials.host
    port = f":{credentials.port}" if credentials.port else ""
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"jdbc:{family}://{host}{port}/{database}?{query}"


# Tried with the drivers themselves: MySQL's 9.1.0, MariaDB's 3.5.1 and 4.0.0. MySQL's decodes and then trims; MariaDB's
# cuts the URL at `?`, `&` and `=` and decodes nothing. PostgreSQL's 42.7.4 reads all that is written here.
_UNREADABLE: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "mysql": (
            r"\A[\x00-\x20]|[\x00-\x20]\Z",
            "a blank or a control character at an end, which MySQL's driver cuts off",
        ),
        "mariadb": (
            r"[\x00-\x1f\x7f&]|\s\Z",
            "'&', another separator, a control character or a blank at its end, which MariaDB's driver cannot read",
        ),
    }
)


def _check_driver_reads(family: str, credentials: DatabaseCredentials) -> None:
    if family not in _UNREADABLE:
        return
    unreadable, what = _UNREADABLE[family]
    texts = list(_texts(credentials).items())
    for name, value in _options(credentials).items():
        texts += [("options", name), ("options", value)]
        if family == "mariadb" and ("=" in name or not name):
            texts.append(("options", "&"))
    if family == "mariadb" and "?" in credentials.database:
        texts.append(("database", "&"))
    for field, text in texts:
        if re.search(unreadable, text):
            raise _UnfitError(
                f"{field} holds {what}; write one without, or deliver the keys and give the driver user and password "
                "as properties"
            )


_WRITERS: Mapping[Derivation, Callable[[DatabaseCredentials], str]] = MappingProxyType(
    {
        Derivation.PGPASS: _pgpass,
        Derivation.MY_CNF: _my_cnf,
        Derivation.URL: _url,
        Derivation.JDBC_URL: _jdbc_url,
    }
)
