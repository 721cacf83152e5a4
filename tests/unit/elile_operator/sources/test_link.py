"""Calls run in the link's own threads, within its limits, and end in errors of the closed set."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from datetime import timedelta

import pytest

from elile.secrets.errors import SecretAccessDeniedError, SecretsUnavailableError
from elile.secrets.transport import VaultEndpoint
from elile_operator.api.vaultserver import Limits, VaultServer
from elile_operator.sources import link as module
from elile_operator.sources.link import Link, endpoint_of
from tests.fakes.api import vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import Seen

CA = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n"


class Client:
    """Stands for a VaultClient: only its identity and its end matter here."""

    def __init__(self, endpoint: VaultEndpoint) -> None:
        self.endpoint = endpoint
        self.closed = False

    def close(self) -> None:
        self.closed = True


def server(*, concurrency: int = 2, requests_per_second: int = 500, timeout: float = 10.0) -> VaultServer:
    """A server with limits that the API would not allow: tests have less time."""
    read = VaultServer.from_body(vault_server())
    limits = Limits.model_construct(
        requests_per_second=requests_per_second, concurrency=concurrency, timeout=timedelta(seconds=timeout)
    )
    return read.model_copy(update={"spec": read.spec.model_copy(update={"limits": limits})})


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def seen() -> Seen:
    return Seen()


@pytest.fixture
async def new_link(
    monkeypatch: pytest.MonkeyPatch, clock: FakeClock, seen: Seen
) -> AsyncIterator[Callable[[VaultServer], Link]]:
    monkeypatch.setattr(module, "VaultClient", Client)
    links: list[Link] = []

    def new(server: VaultServer) -> Link:
        links.append(Link(server, clock=clock, observer=seen))
        return links[-1]

    yield new
    for link in links:
        link.close()


@pytest.mark.parametrize(
    ("spec", "endpoint"),
    [
        pytest.param({}, VaultEndpoint(address="https://vault.test:8200", timeout=10.0, pool=16), id="defaults"),
        pytest.param(
            {
                "tls": {"caBundle": CA, "serverName": "vault"},
                "limits": {"timeout": "3s", "concurrency": 4, "requestsPerSecond": 7},
            },
            VaultEndpoint(address="https://vault.test:8200", ca_pem=CA, server_name="vault", timeout=3.0, pool=4),
            id="everything said",
        ),
    ],
)
def test_the_endpoint_is_as_the_spec_says(spec: dict[str, object], endpoint: VaultEndpoint) -> None:
    assert endpoint_of(VaultServer.from_body(vault_server(**spec))) == endpoint


async def test_a_call_runs_with_the_client_in_a_thread_of_the_link(
    new_link: Callable[[VaultServer], Link], clock: FakeClock, seen: Seen
) -> None:
    def call(client: object) -> tuple[object, str]:
        clock.tick(0.25)
        return client, threading.current_thread().name

    link = new_link(server())
    client, thread = await link.call("read", call)
    assert isinstance(client, Client)
    assert client.endpoint == endpoint_of(link.server)
    assert thread.startswith("vault-default_")
    assert seen.requests == [("read", "ok", 0.25)]


async def test_no_more_calls_at_one_time_than_the_concurrency(
    new_link: Callable[[VaultServer], Link], clock: FakeClock
) -> None:
    link, at_once, most = new_link(server(concurrency=3)), 0, 0
    gate, lock = threading.Barrier(3), threading.Lock()

    def call(_: object) -> None:
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        gate.wait(timeout=5.0)  # only passes when three are here
        with lock:
            at_once -= 1

    tasks = [asyncio.create_task(link.call("read", call), name=f"call-{n}") for n in range(9)]
    await clock.advance(1.0)  # nobody waits for the rate
    await asyncio.gather(*tasks)
    assert most == 3


async def test_calls_are_spread_by_the_rate(new_link: Callable[[VaultServer], Link], clock: FakeClock) -> None:
    link, answered = new_link(server(requests_per_second=10, concurrency=2)), 0

    async def one() -> None:
        nonlocal answered
        await link.call("read", lambda _: None)
        answered += 1

    tasks = [asyncio.create_task(one(), name=f"call-{n}") for n in range(4)]
    await asyncio.wait(tasks[:2])
    await clock.settle()
    assert (answered, clock.timers) == (2, 2)
    await clock.advance(0.2)
    await asyncio.gather(*tasks)
    assert (answered, clock.timers) == (4, 0)


async def test_an_error_of_the_client_comes_out_as_it_is(new_link: Callable[[VaultServer], Link], seen: Seen) -> None:
    def call(_: object) -> None:
        raise SecretAccessDeniedError("permission denied", path="secret/data/db")

    with pytest.raises(SecretAccessDeniedError) as raised:
        await new_link(server()).call("read", call)
    assert str(raised.value) == "secret/data/db: permission denied"
    assert [request[:2] for request in seen.requests] == [("read", "SecretAccessDeniedError")]


async def test_a_thread_that_never_answers_is_left_behind_after_three_timeouts(
    new_link: Callable[[VaultServer], Link], seen: Seen
) -> None:
    stuck = threading.Event()
    link = new_link(server(concurrency=1, timeout=0.01))
    try:
        with pytest.raises(SecretsUnavailableError) as raised:
            await link.call("read", lambda _: stuck.wait(5.0))
    finally:
        stuck.set()
    assert (str(raised.value), raised.value.__cause__) == ("no answer in time", None)
    assert [request[:2] for request in seen.requests] == [("read", "SecretsUnavailableError")]


async def test_a_closed_link_takes_no_more_calls(new_link: Callable[[VaultServer], Link], seen: Seen) -> None:
    link = new_link(server())
    client = await link.call("read", lambda client: client)
    link.close()
    assert isinstance(client, Client)
    assert client.closed
    with pytest.raises(RuntimeError):
        await link.call("read", lambda _: None)
