"""The kit that applications test with does what the real thing does, and its check finds what it should."""

import asyncio
import base64
import logging
from collections.abc import Callable

import pytest

from elile.secrets import (
    SecretAccessDeniedError,
    SecretStr,
    SecretsUnavailableError,
    SyncSecrets,
    get_database_credentials,
)
from elile.secrets.testing.manager import FakeSecretsManager
from elile.secrets.testing.plugin import assert_no_leak, elile_secrets, find_leaks

__all__ = ["assert_no_leak", "elile_secrets"]

VALUE = "hunter2 & co/'"
log = logging.getLogger(__name__)


@pytest.fixture
def manager() -> FakeSecretsManager:
    return FakeSecretsManager({"a": {"k": "1"}})


def test_a_rotation_is_told(manager: FakeSecretsManager) -> None:
    secrets, told = SyncSecrets(manager), list[str]()
    secrets.get_secret("a")
    secrets.on_change("a", lambda change: told.append(change.current["k"].reveal()))
    manager.rotate("a", {"k": "2"})
    assert (told, secrets.get_secret("a")["k"].reveal()) == (["2"], "2")
    secrets.close()


def test_an_outage_is_survived_with_what_is_old(manager: FakeSecretsManager) -> None:
    secrets = SyncSecrets(manager)
    secrets.get_secret("a")
    manager.fail(next=1000)
    manager.clock.advance(600)
    assert secrets.get_secret("a").is_stale
    manager.clock.advance(1000)
    with pytest.raises(SecretsUnavailableError):
        secrets.get_secret("a")
    secrets.close()


def test_a_refusal_is_no_outage(manager: FakeSecretsManager) -> None:
    secrets = SyncSecrets(manager)
    secrets.get_secret("a")
    manager.deny("a")
    manager.clock.advance(600)
    with pytest.raises(SecretAccessDeniedError):
        secrets.get_secret("a")
    manager.allow("a")
    assert secrets.get_secret("a")["k"].reveal() == "1"
    assert manager.reads == 3
    secrets.close()


async def test_it_is_the_manager_of_the_test(elile_secrets: FakeSecretsManager) -> None:
    elile_secrets.rotate("elile/database/postgres", {"host": "db", "username": "u", "password": "p"})
    assert (await get_database_credentials()).host == "db"
    assert (await asyncio.create_task(get_database_credentials(), name="a task of its own")).host == "db"


def test_what_shows_nothing_passes(assert_no_leak: Callable[..., None]) -> None:
    log.debug("value %s", SecretStr(VALUE))
    print(SecretStr(VALUE))  # noqa: T201 - what is looked for
    assert_no_leak(VALUE, SecretStr(VALUE), ValueError("nothing"), b"nothing", {"k": SecretStr(VALUE)})
    assert_no_leak(SecretStr(VALUE))


@pytest.mark.parametrize("place", ["log", "output", "cause", "bytes", "repr"])
def test_what_shows_a_value_fails_and_shows_it_no_more(assert_no_leak: Callable[..., None], place: str) -> None:
    things: list[object] = []
    match place:
        case "log":
            log.debug("value %s", VALUE)
        case "output":
            print(VALUE)  # noqa: T201 - what is looked for
        case "cause":
            error = ValueError("failed")
            error.__cause__ = KeyError(VALUE)
            things.append(error)
        case "bytes":
            things.append(base64.b64encode(VALUE.encode()))
        case _:
            things.append({"k": VALUE})
    with pytest.raises(pytest.fail.Exception, match="a secret is shown in") as caught:
        assert_no_leak(VALUE, *things)
    assert VALUE not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "forms"),
    [
        (f"x{VALUE}y", ["plain"]),
        ("hunter2%20%26%20co%2F%27", ["URL-encoded"]),
        (base64.b64encode(VALUE.encode()).decode(), ["base64"]),
        ("hunter2", []),
    ],
)
def test_the_forms_that_are_found(text: str, forms: list[str]) -> None:
    assert find_leaks(VALUE, text)[: len(forms)] == forms
    assert bool(find_leaks(VALUE, text)) is bool(forms)
