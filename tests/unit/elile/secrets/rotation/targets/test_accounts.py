"""Accounts that take turns: whose turn it is, and what may be asked of their administrator."""

from typing import Any

import pytest

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import Strategy
from elile.secrets.rotation.targets.accounts import Account, Accounts
from elile.secrets.rotation.targets.admin import AdminEntry, TargetNotAllowedError
from elile.secrets.rotation.targets.fields import CredentialFields

STEWARD = AdminEntry(
    username="steward", password=SecretStr("canary"), allowed_users=frozenset({"a", "b"}), host="db", port=5432
)


def accounts(**settings: Any) -> Accounts:
    return Accounts(
        **{
            "strategy": Strategy.DUAL_USER,
            "users": ("a", "b"),
            "admin": STEWARD,
            "generator": password(),
            "fields": CredentialFields("user", "secret"),
            **settings,
        }
    )


@pytest.mark.parametrize(("current", "following"), [("a", "b"), ("b", "a")])
def test_two_take_turns_and_other_keys_are_copied(current: str, following: str) -> None:
    made = accounts().generate(Redacted({"user": current, "secret": "canary", "host": "db"})).pending
    assert made is not None
    value = made.reveal()
    assert (list(value), value["user"], value["host"]) == (["user", "secret", "host"], following, "db")
    assert value["secret"] != "canary"


def test_one_is_always_next() -> None:
    one = accounts(strategy=Strategy.SINGLE_USER, users=("a",), accept_downtime=True)
    made = one.generate(Redacted({"user": "a", "secret": "canary"})).pending
    assert made is not None
    assert (made.reveal()["user"], one.other("a")) == ("a", None)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"users": ("a",)}, "users names 2 of them with DualUser, each once"),
        ({"users": ("a", "a", "b")}, "users names 2 of them with DualUser, each once"),
        ({"users": ("a", "ä" * 32)}, f"users[] has {'ä' * 32!r}: a name has 1 to 63 bytes, none of them zero"),
        ({"users": ("a", "b\0")}, "users[] has 'b\\x00': a name has 1 to 63 bytes, none of them zero"),
        (
            {"users": ("a",), "strategy": Strategy.SINGLE_USER},
            "with SingleUser no password works from its change until every reader has the next one: take DualUser, or "
            "accept the downtime expressly",
        ),
        ({"strategy": Strategy.KEYSET}, "strategy is Keyset: a database has DualUser and SingleUser"),
    ],
)
def test_what_does_not_fit_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError) as caught:
        accounts(**settings)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"user": "canary", "secret": "canary"}, "user of the live entry is none of users (a, b)"),
        ({"secret": "canary"}, "user of the live entry is none of users (a, b)"),
        ({"user": ["a"], "secret": "canary"}, "user of the live entry is none of users (a, b)"),
        ({"user": "a"}, "secret of the live entry is no text: write the password of 'a' there"),
        ({"user": "a", "secret": 7}, "secret of the live entry is no text: write the password of 'a' there"),
    ],
)
def test_an_entry_that_is_no_login_of_theirs_is_not_shown(value: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError) as caught:
        accounts().of(Redacted(value))
    assert str(caught.value).startswith(said)
    assert "canary" not in str(caught.value)


def test_a_login_does_not_show_itself() -> None:
    found = accounts().of(Redacted({"user": "a", "secret": "canary"}))
    assert found == Account("a", SecretStr("canary"))
    assert "canary" not in repr(found)


def test_the_administrator_is_asked_for_each_time_and_compared() -> None:
    asked: list[AdminEntry] = []

    def read() -> AdminEntry:
        asked.append(STEWARD)
        return STEWARD

    it = accounts(admin=read)
    for _ in range(2):
        assert it.administrator(host="db", port=5432, database="shop") is STEWARD
    assert len(asked) == 2
    with pytest.raises(TargetNotAllowedError):
        it.administrator(host="evil", port=5432, database="shop")
    with pytest.raises(SecretsConfigurationError, match="'a' is one of users, and would lock itself out"):
        accounts(
            admin=AdminEntry(
                username="a", password=SecretStr("x"), allowed_users=frozenset({"a", "b"}), host="db", port=1
            )
        ).administrator(host="db", port=1, database=None)
