"""Fixtures for pytest. Name the module in a conftest.py: `pytest_plugins = ["elile.secrets.testing.plugin"]`."""

import base64
import logging
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote

import pytest

from elile.secrets.manager import use_secrets_manager
from elile.secrets.redact import SecretStr
from elile.secrets.testing.manager import FakeSecretsManager

__all__ = ["assert_no_leak", "elile_secrets", "find_leaks"]


@pytest.fixture
def elile_secrets() -> Iterator[FakeSecretsManager]:
    """Return a manager in memory; `get_secrets_manager` and the convenience functions use it during the test."""
    manager = FakeSecretsManager()
    with use_secrets_manager(manager):
        yield manager
    manager.close_blocking()


@pytest.fixture
def assert_no_leak(caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]) -> Callable[..., None]:
    """Return a check: it fails when a secret is in the log at any level, in the output, or in what is given to it.

    Exceptions are searched with their causes and what was being handled; texts, bytes and anything else by its repr.
    The failure names where, and not the value.
    """
    caplog.set_level(logging.DEBUG)

    def check(secret: str | SecretStr, *things: object) -> None:
        value = secret.reveal() if isinstance(secret, SecretStr) else secret
        out, err = capfd.readouterr()
        places = {"the log": caplog.text, "standard output": out, "standard error": err}
        places |= {f"argument {i}": _text(thing) for i, thing in enumerate(things, 1)}
        leaks = [place for place, text in places.items() if find_leaks(value, text)]
        if leaks:
            pytest.fail(f"a secret is shown in {', '.join(leaks)}", pytrace=False)

    return check


def find_leaks(value: str, text: str) -> list[str]:
    """Return the forms in which a value is in a text: plain, URL-encoded, base64, escaped as in a repr."""
    forms = {
        "plain": value,
        "URL-encoded": quote(value, safe=""),
        "base64": base64.b64encode(value.encode()).decode().rstrip("="),
        "escaped": repr(value)[1:-1],
    }
    return [name for name, form in forms.items() if form and form in text]


def _text(thing: object) -> str:
    if isinstance(thing, BaseException):
        return "".join([repr(thing), *traceback.format_exception(thing)])
    if isinstance(thing, bytes):
        return thing.decode(errors="replace")
    return thing if isinstance(thing, str) else repr(thing)
