"""Pods are asked until they have proved, in growing pauses; what answers may be anything, and costs little."""

import asyncio
import gzip
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web

from elile_operator.api.consumers import HttpProof
from elile_operator.decide.pods import PodView
from elile_operator.decide.proof import MAX_ANSWER
from elile_operator.delivery import proof as module
from elile_operator.delivery.proof import AT_ONCE, FIRST, IN_A_TURN, LONGEST, HttpAsker, Prober
from elile_operator.engine import ObjectKey, Result, WorkQueue
from tests.fakes.clock import FakeClock

KEY = ObjectKey("shop", "db")
HTTP = HttpProof(port=8080)


def pod(number: int) -> PodView:
    return PodView(
        namespace="shop",
        name=f"p{number}",
        uid=f"u{number}",
        node="n",
        created=datetime(2030, 1, 1, tzinfo=UTC),
        volumes=frozenset({"db"}),
        fixed=frozenset(),
        ip=f"10.0.{number // 250}.{number % 250 + 1}",
        ready=True,
    )


def url(number: int) -> str:
    return f"http://10.0.{number // 250}.{number % 250 + 1}:8080/.well-known/elile"


class Asker:
    """Answers by pod, and counts how many are asked at the same time."""

    def __init__(self, clock: FakeClock) -> None:
        self.revisions: dict[str, int] = {}
        self.asked: list[str] = []
        self.most = 0
        self._now = 0
        self._clock = clock

    async def ask(self, url: str) -> bytes | None:
        self.asked.append(url)
        self._now += 1
        self.most = max(self.most, self._now)
        await self._clock.sleep(0)
        self._now -= 1
        found = self.revisions.get(url)
        return None if found is None else b'{"secrets": {"db": %d}}' % found

    async def close(self) -> None:
        """Nothing is open."""


class Stage:
    def __init__(self) -> None:
        clock = FakeClock(monotonic=0.0)
        self.asker = Asker(clock)
        self.queue: WorkQueue[ObjectKey] = WorkQueue(clock=clock, rand=lambda: 1.0)
        self.news: list[ObjectKey] = []
        self.prober = Prober(self.asker, queue=self.queue, on_news=self.news.append)

    def want(self, *numbers: int, revision: int = 5) -> None:
        self.prober.want(KEY, revision, HTTP, [pod(n) for n in numbers])

    async def turn(self) -> Result:
        return await self.prober.reconcile(KEY)

    def due(self) -> bool:
        key = self.queue.get_nowait()
        if key is not None:
            self.queue.done(key)
        return key is not None


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def test_pods_are_asked_until_all_have_proved(stage: Stage) -> None:
    stage.want(1, 2)
    assert stage.due()
    stage.asker.revisions = {url(1): 5, url(2): 4}
    assert await stage.turn() == Result.after(FIRST)
    assert dict(stage.prober.answers(KEY)) == {"u1": 5, "u2": 4}
    assert stage.news == [KEY]

    stage.asker.revisions[url(2)] = 5
    stage.asker.asked.clear()
    assert await stage.turn() == Result.done()
    assert stage.asker.asked == [url(2)], "who has proved is left alone"
    assert stage.news == [KEY, KEY]
    assert await stage.turn() == Result.done()
    assert stage.asker.asked == [url(2)]


async def test_without_news_the_pauses_grow_and_news_make_them_short(stage: Stage) -> None:
    stage.want(1, 2)
    pauses = [await stage.turn() for _ in range(9)]
    seconds = [0.5, 1, 2, 4, 8, 16, *[LONGEST.total_seconds()] * 3]
    assert pauses == [Result.after(timedelta(seconds=each)) for each in seconds]
    assert stage.news == []
    stage.asker.revisions = {url(1): 5}
    assert await stage.turn() == Result.after(FIRST)


async def test_the_same_wish_again_changes_nothing(stage: Stage) -> None:
    stage.want(1)
    assert stage.due()
    await stage.turn()
    stage.want(1)
    assert not stage.due()
    assert await stage.turn() == Result.after(2 * FIRST), "its pauses go on to grow"


@pytest.mark.parametrize(
    ("numbers", "revision", "kept"),
    [
        pytest.param((1, 2), 5, {"u1": 5}, id="another pod"),
        pytest.param((1,), 6, {"u1": 5}, id="another revision"),
        pytest.param((2,), 5, {}, id="a pod that went"),
    ],
)
async def test_another_wish_begins_anew_and_keeps_what_is_known(
    stage: Stage, numbers: Sequence[int], revision: int, kept: dict[str, int]
) -> None:
    stage.want(1)
    stage.due()
    stage.asker.revisions = {url(1): 5}
    await stage.turn()
    stage.want(*numbers, revision=revision)
    assert stage.due()
    assert dict(stage.prober.answers(KEY)) == kept


async def test_nobody_to_ask_is_rest(stage: Stage) -> None:
    stage.want(1)
    stage.want()
    assert await stage.turn() == Result.absent()
    assert (stage.asker.asked, dict(stage.prober.answers(KEY))) == ([], {})
    stage.want(1)
    stage.prober.forget(KEY)
    assert await stage.turn() == Result.absent()


async def test_an_address_that_is_none_of_a_pod_is_not_asked(stage: Stage) -> None:
    stage.prober.want(KEY, 5, HTTP, [replace(pod(1), ip="127.0.0.1"), pod(2)])
    await stage.turn()
    assert stage.asker.asked == [url(2)]


async def test_many_pods_are_asked_in_turns_and_few_at_once(stage: Stage) -> None:
    numbers = range(IN_A_TURN + 10)
    stage.want(*numbers)
    await stage.turn()
    assert stage.asker.asked == [url(n) for n in range(IN_A_TURN)]
    assert stage.asker.most == AT_ONCE
    stage.asker.asked.clear()
    await stage.turn()
    assert stage.asker.asked[:10] == [url(n) for n in range(IN_A_TURN, IN_A_TURN + 10)], "who waited longest first"


async def test_a_wish_that_changes_during_the_turn_is_looked_at_again(stage: Stage) -> None:
    stage.want(1)
    stage.asker.revisions = {url(1): 5}

    async def ask(url: str) -> bytes | None:
        stage.want(1, 2, revision=6)
        return b'{"secrets": {"db": 5}}'

    stage.asker.ask = ask  # type: ignore[method-assign]
    assert await stage.turn() == Result.done()
    assert stage.due()


# ── the question itself ──────────────────────────────────────────────────────────────────────────────────────────────

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class Server:
    def __init__(self) -> None:
        self.handler: Handler | None = None
        self.requests: list[web.BaseRequest] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.requests.append(request)
        assert self.handler is not None
        return await self.handler(request)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    found = Server()
    runner = web.ServerRunner(web.Server(found.handle), shutdown_timeout=0.01)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.url = f"http://127.0.0.1:{runner.addresses[0][1]}/.well-known/elile"
    yield found
    await runner.cleanup()


@pytest.fixture
async def asker(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[HttpAsker]:
    monkeypatch.setattr(module, "TIMEOUT", 0.5)
    found = HttpAsker()
    yield found
    await found.close()


def answering(status: int = 200, body: bytes = b"ok", **headers: str) -> Handler:
    async def handle(_: web.BaseRequest) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})

    return handle


async def test_what_is_answered_with_200_is_returned(server: Server, asker: HttpAsker) -> None:
    server.handler = answering()
    assert await asker.ask(server.url) == b"ok"
    (request,) = server.requests
    assert (request.method, request.path) == ("GET", "/.well-known/elile")
    assert request.headers["Accept-Encoding"] == "identity"
    assert "Authorization" not in request.headers


@pytest.mark.parametrize(
    ("handler", "wanted"),
    [
        pytest.param(answering(404), None, id="404"),
        pytest.param(answering(204, b""), None, id="no content"),
        pytest.param(answering(body=b"x" * MAX_ANSWER), b"x" * MAX_ANSWER, id="as large as it may be"),
        pytest.param(answering(body=b"x" * (MAX_ANSWER + 1)), None, id="too large"),
    ],
)
async def test_an_answer_is_taken_or_left(
    server: Server, asker: HttpAsker, handler: Handler, wanted: bytes | None
) -> None:
    server.handler = handler
    assert await asker.ask(server.url) == wanted


async def test_a_redirect_is_not_followed(server: Server, asker: HttpAsker) -> None:
    async def elsewhere(request: web.BaseRequest) -> web.StreamResponse:
        moved = request.path != "/elsewhere"
        return web.Response(status=302 if moved else 200, headers={"Location": "/elsewhere"} if moved else {})

    server.handler = elsewhere
    assert await asker.ask(server.url) is None
    assert [r.path for r in server.requests] == ["/.well-known/elile"]


async def test_nothing_is_unpacked(server: Server, asker: HttpAsker) -> None:
    bomb = gzip.compress(b" " * 50_000_000)
    server.handler = answering(body=bomb, Content_Encoding="gzip")
    assert await asker.ask(server.url) == bomb


async def test_an_answer_that_never_ends_is_given_up(server: Server, asker: HttpAsker) -> None:
    async def drip(request: web.BaseRequest) -> web.StreamResponse:
        stream = web.StreamResponse()
        await stream.prepare(request)
        for _ in range(100):
            await stream.write(b" ")
            await asyncio.sleep(0.05)
        return stream

    server.handler = drip
    assert await asker.ask(server.url) is None


async def test_nobody_there_is_no_answer(asker: HttpAsker, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, logger="elile_operator")
    assert await asker.ask("http://127.0.0.1:1/") is None
    assert caplog.records == []


async def test_a_proxy_of_the_environment_is_not_used(
    server: Server, asker: HttpAsker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    server.handler = answering()
    assert await asker.ask(server.url) == b"ok"
