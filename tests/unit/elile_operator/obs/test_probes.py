"""The probes over real HTTP: what they answer, also while the loop is stuck, and that they leave nothing behind."""

import asyncio
import json
import threading
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable

import aiohttp
import pytest

from elile_operator.obs.health import Health
from elile_operator.obs.metrics import Metrics
from elile_operator.obs.probes import ProbeServer


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def health(now: list[float]) -> Health:
    return Health(monotonic=lambda: now[0])


@pytest.fixture
async def server(health: Health) -> AsyncIterator[ProbeServer]:
    server = ProbeServer(health=health, render=Metrics(version="1.2.3").render, host="127.0.0.1", port=0)
    yield server
    await server.stop()


async def get(port: int, path: str) -> tuple[int, str, str]:
    async with (
        aiohttp.ClientSession(trust_env=False) as session,
        session.get(f"http://127.0.0.1:{port}{path}") as answer,
    ):
        return answer.status, answer.headers["Content-Type"], await answer.text()


async def test_livez_and_readyz_tell_status_and_reasons(health: Health, server: ProbeServer) -> None:
    health.add_live("workers", lambda: None)
    health.add_ready("lists", lambda: "the first list of ElileSecret is not complete")
    health.tick()
    port = await server.start()
    assert port > 0
    status, content_type, text = await get(port, "/livez")
    assert (status, json.loads(text)["status"]) == (200, "ok")
    assert content_type.startswith("application/json")
    status, _, text = await get(port, "/readyz")
    assert status == 503
    assert json.loads(text) == {
        "status": "fail",
        "checks": {
            "loop": {"ok": True},
            "lists": {"ok": False, "why": "the first list of ElileSecret is not complete"},
        },
    }


async def test_metrics_and_nothing_else(server: ProbeServer) -> None:
    port = await server.start()
    status, content_type, text = await get(port, "/metrics")
    assert status == 200
    assert content_type.startswith("text/plain; version=")
    assert 'elile_build_info{revision="",version="1.2.3"} 1.0' in text
    assert (await get(port, "/"))[0] == 404


async def test_a_stuck_loop_is_reported_while_it_is_stuck(
    health: Health, server: ProbeServer, now: list[float]
) -> None:
    health.tick()
    port = await server.start()
    now[0] += 60
    # Blocks this loop, as a stuck one would be, and asks from it.
    with pytest.raises(urllib.error.HTTPError) as answer:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/livez", timeout=10)  # noqa: ASYNC210
    with answer.value as error:
        assert error.code == 503
        assert "59 s late" in json.loads(error.read())["checks"]["loop"]["why"]


async def test_serving_makes_no_task_in_the_loop_of_the_operator(server: ProbeServer) -> None:
    before = asyncio.all_tasks()
    port = await server.start()
    await get(port, "/livez")
    assert asyncio.all_tasks() == before


async def test_stop_closes_the_port_and_ends_the_thread(health: Health) -> None:
    server = ProbeServer(health=health, render=bytes, host="127.0.0.1", port=0)
    port = await server.start()
    async with aiohttp.ClientSession(trust_env=False) as session:
        await (await session.get(f"http://127.0.0.1:{port}/livez")).read()  # and the connection stays open
        began = time.monotonic()
        await server.stop()
        assert time.monotonic() - began < 5
    assert not [thread for thread in threading.enumerate() if thread.name == "elile-probes"]
    with pytest.raises(aiohttp.ClientConnectionError):
        await get(port, "/livez")
    await server.stop()


async def test_an_address_that_is_taken_is_an_error_at_start(health: Health, server: ProbeServer) -> None:
    port = await server.start()
    other = ProbeServer(health=health, render=bytes, host="127.0.0.1", port=port)
    with pytest.raises(OSError, match="address already in use"):
        await other.start()
    await other.stop()
    assert (await get(port, "/metrics"))[0] == 200


async def test_stop_without_start(server: ProbeServer) -> None:
    await server.stop()
    assert "elile-probes" not in {thread.name for thread in threading.enumerate()}


async def test_a_metric_that_cannot_be_rendered_is_an_error_for_the_scraper_alone(
    health: Health, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> bytes:
        raise ValueError("hunter2")

    render: Callable[[], bytes] = broken
    health.tick()
    server = ProbeServer(health=health, render=render, host="127.0.0.1", port=0)
    port = await server.start()
    status, _, text = await get(port, "/metrics")
    assert status == 500
    assert "hunter2" not in text
    assert (await get(port, "/livez"))[0] == 200
    await server.stop()
