"""The administrator's entry: what may be in it, and what it is good for."""

from typing import Any

import pytest

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.targets.admin import AdminEntry, TargetNotAllowedError

WHERE = "secret/admin/shop"
ENTRY: dict[str, Any] = {
    "host": "db.example",
    "port": 5432,
    "database": "shop",
    "allowed_users": ["shop_a", "shop_b"],
    "username": "steward",
    "password": "canary-6c1f",
}


def parsed(**changes: Any) -> AdminEntry:
    data = {**ENTRY, **changes}
    return AdminEntry.parse({key: value for key, value in data.items() if value is not ...}, where=WHERE)


def test_what_is_in_it() -> None:
    assert parsed(ca="PEM") == AdminEntry(
        username="steward",
        password=SecretStr("canary-6c1f"),
        allowed_users=frozenset({"shop_a", "shop_b"}),
        host="db.example",
        port=5432,
        database="shop",
        ca="PEM",
        where=WHERE,
    )
    assert "canary" not in repr(parsed())


@pytest.mark.parametrize("users", [["shop_a", "shop_b"], '["shop_a", "shop_b"]', "shop_a,shop_b", " shop_a , shop_b "])
def test_users_are_a_list_or_a_text_of_one(users: Any) -> None:
    assert parsed(allowed_users=users).allowed_users == {"shop_a", "shop_b"}


@pytest.mark.parametrize("port", [5432, "5432"])
def test_a_port_is_a_number_or_a_text_of_one(port: Any) -> None:
    assert parsed(port=port).port == 5432


@pytest.mark.parametrize("nodes", [["a:1", "[::1]:2"], '["a:1", "[::1]:2"]', "a:1,[::1]:2"])
def test_nodes_stand_for_host_and_port(nodes: Any) -> None:
    entry = parsed(host=..., port=..., database=..., nodes=nodes)
    assert (entry.nodes, entry.host, entry.database) == ((("a", 1), ("[::1]", 2)), None, None)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"username": ...}, "username must be a text that is not empty"),
        ({"username": 7}, "username must be a text that is not empty"),
        ({"password": ""}, "password must be a text that is not empty"),
        ({"host": ...}, "host must be a text that is not empty"),
        ({"database": 7}, "database must be a text that is not empty"),
        ({"ca": ""}, "ca must be a text that is not empty"),
        ({"port": ...}, "port must be a number from 1 to 65535"),
        ({"port": 0}, "port must be a number from 1 to 65535"),
        ({"port": 65536}, "port must be a number from 1 to 65535"),
        ({"port": True}, "port must be a number from 1 to 65535"),
        ({"port": "0000054321"}, "port must be a number from 1 to 65535"),
        ({"port": "٥"}, "port must be a number from 1 to 65535"),
        ({"allowed_users": ...}, 'allowed_users must be a list of texts, such as ["shop_a", "shop_b"]'),
        ({"allowed_users": []}, 'allowed_users must be a list of texts, such as ["shop_a", "shop_b"]'),
        ({"allowed_users": [7]}, 'allowed_users must be a list of texts, such as ["shop_a", "shop_b"]'),
        ({"allowed_users": "a,,b"}, 'allowed_users must be a list of texts, such as ["shop_a", "shop_b"]'),
        ({"allowed_users": '{"a": 1}'}, 'allowed_users must be a list of texts, such as ["shop_a", "shop_b"]'),
        ({"nodes": ["a:1"]}, "nodes stands for host and port: give one of the two"),
        ({"host": ..., "nodes": ["a"]}, 'nodes must be a list such as ["redis-0:6379", "redis-1:6379"]'),
        ({"host": ..., "nodes": ["a:x"]}, 'nodes must be a list such as ["redis-0:6379", "redis-1:6379"]'),
        ({"host": ..., "nodes": []}, 'nodes must be a list of texts, such as ["shop_a", "shop_b"]'),
    ],
)
def test_a_field_that_is_wrong_is_named(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError) as caught:
        parsed(**changes)
    assert str(caught.value) == f"{WHERE}: {said}"
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"users": ["shop_a"]}, ""),
        ({"host": "db.evil"}, "is not for db.evil:5432: name it there, or correct the target"),
        ({"port": 5433}, "is not for db.example:5433: name it there, or correct the target"),
        ({"database": "other"}, "is for the database 'shop', not 'other': correct one of them"),
        ({"database": None}, "is for the database 'shop', not None: correct one of them"),
        (
            {"users": ["shop_a", "postgres"]},
            "does not allow the user 'postgres': add it to allowed_users, or correct the target",
        ),
    ],
)
def test_it_is_good_for_what_it_names_alone(changes: dict[str, Any], said: str) -> None:
    asked = {"host": "db.example", "port": 5432, "database": "shop", "users": ["shop_a", "shop_b"], **changes}
    if not said:
        parsed().check(**asked)
        return
    with pytest.raises(TargetNotAllowedError) as caught:
        parsed().check(**asked)
    assert str(caught.value) == f"{WHERE} {said}"


def test_without_a_database_any_is_asked_of_the_server() -> None:
    parsed(database=...).check(host="db.example", port=5432, database="other", users=["shop_a"])


def test_nodes_are_compared_one_by_one() -> None:
    entry = parsed(host=..., port=..., nodes=["a:1", "b:2"])
    entry.check_nodes([("a", 1), ("b", 2)], ["shop_a"])
    for nodes in ([("a", 2)], [("a", 1), ("c", 2)]):
        with pytest.raises(TargetNotAllowedError, match="name it there, or correct the target"):
            entry.check_nodes(nodes, ["shop_a"])
    with pytest.raises(TargetNotAllowedError, match="'else'"):
        entry.check_nodes([("a", 1)], ["else"])
