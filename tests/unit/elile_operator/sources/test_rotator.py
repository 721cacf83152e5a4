"""Calls of a rotation's thread as the tenant's rotator: by the shared login, in its namespace, on its behalf."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from elile.secrets.errors import SecretAccessDeniedError, SecretConflictError, SecretsUnavailableError
from elile.secrets.redact import SecretStr
from elile.secrets.vault_backend import KV2Entries
from elile_operator.api.reasons import Reason
from elile_operator.decide.violation import Violation
from elile_operator.kube.errors import KubeUnavailableError
from elile_operator.sources.identity import IdentityError
from elile_operator.sources.rotator import RotatorCalls, RotatorRefusedError
from tests.fakes.clock import FakeClock
from tests.fakes.vault import FakeVault

IDENTITY = object()


class Login:
    """As `Logins`, with one login that is there already."""

    def __init__(self, vault: FakeVault) -> None:
        self.vault = vault
        self.failure: Exception | None = None
        self.asked: list[tuple[object, str, str]] = []
        vault._tokens["token"] = float("inf")

    async def call(
        self, identity: object, operation: str, function: Callable[[Any, SecretStr], Any], *, on_behalf_of: str
    ) -> Any:
        self.asked.append((identity, operation, on_behalf_of))
        if self.failure is not None:
            raise self.failure
        return function(self.vault, SecretStr("token"))


@pytest.fixture
def login() -> Login:
    return Login(FakeVault(FakeClock()))


def entries(login: Login, namespace: str | None = None) -> KV2Entries:
    calls = RotatorCalls(
        login,  # type: ignore[arg-type] # as far as it is used
        IDENTITY,  # type: ignore[arg-type] # nobody looks at it here
        namespace,
        loop=asyncio.get_running_loop(),
        on_behalf_of="shop/weekly",
    )
    return KV2Entries(calls, mount="secret")


async def test_an_entry_is_read_by_the_one_login_on_behalf_of_the_schedule(login: Login) -> None:
    login.vault.write("db", mount="team/secret", password="p")
    found = await asyncio.to_thread(entries(login, "team").read, "db")
    assert (found.data.reveal(), found.metadata.version) == ({"password": "p"}, "1")
    assert login.asked == [(IDENTITY, "rotate", "shop/weekly")]
    (call,) = login.vault.calls
    assert (call.namespace, call.on_behalf_of) == ("team", "shop/weekly")


async def test_an_older_version(login: Login) -> None:
    for text in ("p1", "p2"):
        login.vault.write("db", password=text)
    read = entries(login).read
    found = await asyncio.to_thread(lambda: read("db", version="1"))
    assert found.data.reveal() == {"password": "p1"}


@pytest.mark.parametrize(
    ("expect", "number"),
    [
        pytest.param("1", 2, id="the current one"),
        pytest.param(None, 2, id="any"),
        pytest.param("", None, id="none yet"),
    ],
)
async def test_a_write_compares(login: Login, expect: str | None, number: int | None) -> None:
    login.vault.write("db", password="p1")
    write = entries(login).write
    if number is None:
        with pytest.raises(SecretConflictError):
            await asyncio.to_thread(lambda: write("db", {"password": "p2"}, expect=expect))
        return
    found = await asyncio.to_thread(lambda: write("db", {"password": "p2"}, expect=expect))
    assert (found.metadata.version, found.data.reveal()) == (str(number), {"password": "p2"})


REFUSED = Violation(Reason.SERVICE_ACCOUNT_NOT_FOUND, "the ServiceAccount does not exist; create it")


@pytest.mark.parametrize(
    ("failure", "kind", "text"),
    [
        pytest.param(IdentityError(REFUSED), RotatorRefusedError, REFUSED.message, id="no such account"),
        pytest.param(
            KubeUnavailableError("POST canary"),
            SecretsUnavailableError,
            "the API server gave no answer to the request for a token of the rotator's ServiceAccount",
            id="no token now",
        ),
        pytest.param(SecretAccessDeniedError("denied"), SecretAccessDeniedError, "denied", id="Vault's own"),
    ],
)
async def test_whatever_fails_is_an_error_of_the_library(
    login: Login, failure: Exception, kind: type[Exception], text: str
) -> None:
    login.failure = failure
    with pytest.raises(kind) as raised:
        await asyncio.to_thread(entries(login).read, "db")
    assert str(raised.value) == text
    assert raised.value.__cause__ is None
