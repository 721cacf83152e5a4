"""What clients of databases read, made of an entry, and what is said, without a value, when it cannot be."""

from typing import Any

import pytest

from elile_operator.api.files import Derivation
from elile_operator.decide.derive import DeriveError, derive

CANARY = "canary-9b1e"
ENTRY = {"host": "db.shop", "port": 5433, "username": "shop", "password": "s3cret", "database": "orders"}
HOSTILE = {**ENTRY, "username": "u:s\\e@r", "password": "p#:\\\"'/? &=%+ü", "database": "o/r?d#e%"}
BARE = {"host": "db.shop", "username": "shop", "password": "s3cret"}


@pytest.mark.parametrize(
    ("entry", "file"),
    [
        pytest.param(ENTRY, "db.shop:5433:orders:shop:s3cret\n", id="plain"),
        pytest.param(BARE, "db.shop:5432:*:shop:s3cret\n", id="the default port, any database"),
        pytest.param(HOSTILE, "db.shop:5433:o/r?d#e%:u\\:s\\\\e@r:p#\\:\\\\\"'/? &=%+ü\n", id="escaped"),
        pytest.param({**ENTRY, "host": "::1"}, "\\:\\:1:5433:orders:shop:s3cret\n", id="address"),
        pytest.param({**ENTRY, "host": "#a"}, "\\#a:5433:orders:shop:s3cret\n", id="no comment"),
        pytest.param({**ENTRY, "username": "*", "database": "*"}, "db.shop:5433:\\*:\\*:s3cret\n", id="no wildcard"),
        pytest.param({**ENTRY, "driver": "postgresql+asyncpg"}, "db.shop:5433:orders:shop:s3cret\n", id="driver"),
        pytest.param({"url": "postgres://shop:s%3A@db.shop/orders"}, "db.shop:5432:orders:shop:s\\:\n", id="of a URL"),
    ],
)
def test_pgpass_is_one_line(entry: dict[str, Any], file: str) -> None:
    assert derive(Derivation.PGPASS, entry, "db") == file.encode()


@pytest.mark.parametrize(
    ("entry", "file"),
    [
        pytest.param(
            ENTRY,
            '[client]\nhost="db.shop"\nport=5433\nuser="shop"\npassword="s3cret"\n[mysql]\ndatabase="orders"\n',
            id="plain",
        ),
        pytest.param(BARE, '[client]\nhost="db.shop"\nuser="shop"\npassword="s3cret"\n', id="no port, no database"),
        pytest.param(
            {**BARE, "password": " #;\"'\\s\n\r\t\b[x]\n=ü "},
            '[client]\nhost="db.shop"\nuser="shop"\npassword=" #;\\"\'\\\\s\\n\\r\\t\\b[x]\\n=ü "\n',
            id="escaped",
        ),
        pytest.param(
            {**BARE, "driver": "mysql+pymysql"},
            '[client]\nhost="db.shop"\nuser="shop"\npassword="s3cret"\n',
            id="driver",
        ),
    ],
)
def test_my_cnf_has_the_database_where_only_its_client_looks(entry: dict[str, Any], file: str) -> None:
    assert derive(Derivation.MY_CNF, entry, "db") == file.encode()


@pytest.mark.parametrize(
    ("entry", "file"),
    [
        pytest.param(ENTRY, "postgresql://shop:s3cret@db.shop:5433/orders", id="plain"),
        pytest.param(BARE, "postgresql://shop:s3cret@db.shop/", id="no port, no database"),
        pytest.param(
            HOSTILE,
            "postgresql://u%3As%5Ce%40r:p%23%3A%5C%22%27%2F%3F%20%26%3D%25%2B%C3%BC@db.shop:5433/o%2Fr%3Fd%23e%25",
            id="encoded",
        ),
        pytest.param(
            {**ENTRY, "host": "::1", "driver": "mysql+pymysql", "options": {"charset": "utf8&x"}},
            "mysql+pymysql://shop:s3cret@[::1]:5433/orders?charset=utf8%26x",
            id="address, driver and options",
        ),
    ],
)
def test_url_is_the_connection_url(entry: dict[str, Any], file: str) -> None:
    assert derive(Derivation.URL, entry, "db") == file.encode()


ENCODED = "user=u%3As%5Ce%40r&password=p%23%3A%5C%22%27%2F%3F%20%26%3D%25%2B%C3%BC"


@pytest.mark.parametrize(
    ("entry", "file"),
    [
        pytest.param(ENTRY, "jdbc:postgresql://db.shop:5433/orders?user=shop&password=s3cret", id="plain"),
        pytest.param(BARE, "jdbc:postgresql://db.shop/?user=shop&password=s3cret", id="no port, no database"),
        pytest.param(HOSTILE, f"jdbc:postgresql://db.shop:5433/o%2Fr%3Fd%23e%25?{ENCODED}", id="postgresql, encoded"),
        pytest.param(
            {**HOSTILE, "driver": "mysql"}, f"jdbc:mysql://db.shop:5433/o%2Fr%3Fd%23e%25?{ENCODED}", id="mysql, encoded"
        ),
        pytest.param(
            {**ENTRY, "host": "fe80::1", "driver": "postgres", "options": {"sslmode": "verify-full", "a b": "&"}},
            "jdbc:postgresql://[fe80::1]:5433/orders?user=shop&password=s3cret&sslmode=verify-full&a%20b=%26",
            id="address and options",
        ),
        pytest.param(
            {
                **ENTRY,
                "driver": "mariadb+mariadbconnector",
                "password": "p#:\\\"'/? =%+ü",
                "options": {"sslMode": "trust"},
            },
            "jdbc:mariadb://db.shop:5433/orders?user=shop&password=p#:\\\"'/? =%+ü&sslMode=trust",
            id="mariadb, as it is",
        ),
    ],
)
def test_jdbc_url_is_what_the_driver_reads(entry: dict[str, Any], file: str) -> None:
    assert derive(Derivation.JDBC_URL, entry, "db") == file.encode()


def refused(wanted: Derivation, entry: dict[str, Any]) -> str:
    with pytest.raises(DeriveError) as e:
        derive(wanted, entry, "db")
    assert CANARY not in repr(e.value)
    assert e.value.__context__ is None
    return str(e.value)


@pytest.mark.parametrize("wanted", Derivation)
@pytest.mark.parametrize(
    ("entry", "what"),
    [
        ({}, "host is missing; username is missing; password is missing"),
        ({**ENTRY, "port": CANARY}, "port must be an integer"),
        ({**ENTRY, "password": 1234}, "password must be text"),
        ({**ENTRY, "host": ""}, "host is empty"),
        ({**ENTRY, "username": "\ud83d"}, "username cannot be read"),
        ({"url": CANARY}, "the entry is not a URL of a database"),
    ],
)
def test_what_is_missing_or_wrong_in_the_entry_is_named(wanted: Derivation, entry: dict[str, Any], what: str) -> None:
    assert refused(wanted, entry) == f"spec.sources[db]: {what}; correct the entry, from which {wanted} is made"


@pytest.mark.parametrize("wanted", Derivation)
@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("host", "\x00"),
        ("username", "\x00"),
        ("password", "\x00"),
        ("password", "\ud83d"),
        ("database", "\x00"),
        ("database", "\ud83d"),
        ("options", "\x00"),
        ("options", "\ud83d"),
    ],
)
def test_what_no_client_takes_is_refused(wanted: Derivation, field: str, text: str) -> None:
    value: Any = {"a": CANARY, "b": text} if field == "options" else CANARY + text
    assert refused(wanted, {**ENTRY, field: value}) == (
        f"spec.sources[db]: {field} holds a NUL character or half a character, which no client takes; write another"
    )


@pytest.mark.parametrize("field", ["host", "username", "password", "database"])
@pytest.mark.parametrize("text", ["\n", "\r"])
def test_a_line_of_pgpass_holds_no_line_break(field: str, text: str) -> None:
    assert refused(Derivation.PGPASS, {**ENTRY, field: f"a{text}{CANARY}"}) == (
        f"spec.sources[db]: {field} holds a line break, which a line of pgpass cannot hold; write one without it"
    )


@pytest.mark.parametrize(
    ("wanted", "driver", "remedy"),
    [
        (Derivation.PGPASS, "mysql", "postgresql"),
        (Derivation.PGPASS, "mariadb+pymysql", "postgresql"),
        (Derivation.MY_CNF, "postgresql", "mysql"),
        (Derivation.MY_CNF, "redis", "mysql"),
    ],
)
def test_a_file_of_another_database_is_refused(wanted: Derivation, driver: str, remedy: str) -> None:
    assert refused(wanted, {**ENTRY, "driver": driver}) == (
        f"spec.sources[db]: driver names a database that does not read {wanted}; choose another file, or write "
        f"{remedy} there"
    )


def test_a_line_of_my_cnf_has_the_length_that_its_clients_read() -> None:
    longest = 4094 - len('password=""')
    assert derive(Derivation.MY_CNF, {**BARE, "password": "x" * longest}, "db")
    assert refused(Derivation.MY_CNF, {**BARE, "password": "x" * (longest - 1) + "ü"}) == (
        "spec.sources[db]: password is too long for a line of my.cnf, which holds 4094 bytes; write a shorter one"
    )


@pytest.mark.parametrize("wanted", [Derivation.URL, Derivation.JDBC_URL])
@pytest.mark.parametrize(
    "host", ["a/b", "a?b", "a#b", "a@b", "a b", "a:5432", "a,b", "[::1]", "a%41", "a\\b", "x\n", "::/"]
)
def test_a_host_that_could_lead_elsewhere_is_refused(wanted: Derivation, host: str) -> None:
    assert refused(wanted, {**ENTRY, "host": host}) == (
        "spec.sources[db]: host is neither a name nor an address; write one of them there, and the port into port"
    )


def test_a_database_without_a_jdbc_url_is_refused() -> None:
    assert refused(Derivation.JDBC_URL, {**ENTRY, "driver": "redis"}) == (
        "spec.sources[db]: driver names a database that has no jdbc-url here; there are postgresql, mysql and mariadb"
    )


@pytest.mark.parametrize("name", ["user", "password", "Password"])
def test_options_do_not_replace_the_login(name: str) -> None:
    assert refused(Derivation.JDBC_URL, {**ENTRY, "options": {name: CANARY}}) == (
        "spec.sources[db]: options hold user or password, which jdbc-url takes from username and password; remove them "
        "there"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", f"{CANARY}&x=y"),
        ("password", f"{CANARY}&allowLocalInfile=true"),
        ("password", f"{CANARY}\n"),
        ("password", f"{CANARY} "),
        ("database", f"{CANARY}?user=x"),
        ("options", {"a": f"{CANARY}&b"}),
        ("options", {"a=b": CANARY}),
        ("options", {"a&b": CANARY}),
        ("options", {"": CANARY}),
    ],
)
def test_what_mariadbs_driver_cannot_read_from_a_url_is_refused(field: str, value: Any) -> None:
    assert refused(Derivation.JDBC_URL, {**ENTRY, "driver": "mariadb", field: value}) == (
        f"spec.sources[db]: {field} holds '&', another separator, a control character or a blank at its end, which "
        "MariaDB's driver cannot read; write one without, or deliver the keys and give the driver user and password as "
        "properties"
    )


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("username", f" {CANARY}"),
        ("password", f"{CANARY}\n"),
        ("password", f"\x08{CANARY}"),
        ("database", f"{CANARY}\t"),
        ("options", {"a": f"{CANARY} "}),
        ("options", {f" {CANARY}": "a"}),
    ],
)
def test_what_mysqls_driver_cuts_off_is_refused(field: str, value: Any) -> None:
    assert refused(Derivation.JDBC_URL, {**ENTRY, "driver": "mysql", field: value}) == (
        f"spec.sources[db]: {field} holds a blank or a control character at an end, which MySQL's driver cuts off; "
        "write one without, or deliver the keys and give the driver user and password as properties"
    )


def test_postgresqls_driver_reads_everything() -> None:
    entry = {**ENTRY, "password": " &\n", "database": "?\t", "options": {"=": " "}}
    assert derive(Derivation.JDBC_URL, entry, "db") == (
        b"jdbc:postgresql://db.shop:5433/%3F%09?user=shop&password=%20%26%0A&%3D=%20"
    )
