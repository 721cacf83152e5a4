"""The receiver over real TLS: who may talk, what is taken, what is refused with which code, and what a flood gets."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest

from elile_operator.decide.hints import MAX_BODY, MAX_HINTS, Batch, Hint, encode
from elile_operator.sources import receiver as receiver_module
from elile_operator.sources.receiver import HintReceiver, ReceiverError, Tokens
from tests.fakes.http import Authority

TOKEN = "a-token-of-the-forwarder"
BATCH = Batch((Hint("", "secret", "data/db", 2),))
BODY = encode(BATCH)


class Site:
    """A receiver with its files, and what it took."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.authority = Authority()
        self.pair = folder / "tls.pem"
        self.pair.write_bytes(self.authority.pair())
        self.tokens = folder / "tokens"
        self.tokens.mkdir()
        (self.tokens / "default").write_text(f"{TOKEN}\n")
        self.taken: list[tuple[str, Batch]] = []
        self.codes: list[int] = []
        self.receiver = HintReceiver(
            host="127.0.0.1",
            port=0,
            certificate=self.pair,
            key=self.pair,
            tokens=Tokens(self.tokens),
            observer=self,
        )
        self.port = 0

    def hint_request(self, *, code: int) -> None:
        """As a ReceiverObserver."""
        self.codes.append(code)

    async def start(self) -> None:
        self.port = await self.receiver.start()

    def lead(self) -> None:
        self.receiver.lead(lambda server, batch: self.taken.append((server, batch)))

    @asynccontextmanager
    async def session(self, authority: Authority | None = None) -> AsyncIterator[aiohttp.ClientSession]:
        trust = ssl.create_default_context(cadata=(authority or self.authority).pem)
        async with aiohttp.ClientSession(
            base_url=f"https://127.0.0.1:{self.port}", connector=aiohttp.TCPConnector(ssl=trust), trust_env=False
        ) as session:
            yield session

    async def send(
        self, body: bytes = BODY, *, server: str = "default", authorization: str | None = f"Bearer {TOKEN}"
    ) -> tuple[int, str]:
        headers = {"Authorization": authorization} if authorization is not None else {}
        async with (
            self.session() as session,
            session.post(f"/v1/hints/{server}", data=body, headers=headers) as answer,
        ):
            return answer.status, await answer.text()


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "LOOK_EVERY", 0.02)
    monkeypatch.setattr(receiver_module, "REFUSED_WAIT", 0.0)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    site = Site(tmp_path)
    await site.start()
    yield site
    await site.receiver.stop()


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 - it is asked over the network
            await asyncio.sleep(0.01)


async def refused(site: Site, token: str = TOKEN) -> bool:
    return (await site.send(authorization=f"Bearer {token}"))[0] == 401


async def test_a_batch_of_the_leader_is_taken(site: Site) -> None:
    site.lead()
    assert await site.send() == (204, "")
    assert await site.send(encode(Batch(gap=True))) == (204, "")
    assert site.taken == [("default", BATCH), ("default", Batch(gap=True))]
    assert site.codes == [204, 204]


async def test_a_standby_refuses_so_that_the_leader_is_looked_for(site: Site) -> None:
    assert (await site.send())[0] == 421
    site.lead()
    assert (await site.send())[0] == 204
    assert len(site.taken) == 1


@pytest.mark.parametrize(
    ("server", "authorization"),
    [
        ("default", None),
        ("default", ""),
        ("default", "Bearer"),
        ("default", "Bearer wrong-but-of-the-same-length"),
        ("default", f"Basic {TOKEN}"),
        ("other", f"Bearer {TOKEN}"),
        ("other", "Bearer"),
        ("short", "Bearer short"),
        ("empty", "Bearer "),
        ("..%2Ftokens%2Fdefault", f"Bearer {TOKEN}"),
    ],
)
async def test_another_token_is_refused(site: Site, server: str, authorization: str | None) -> None:
    (site.tokens / "short").write_text("short")
    (site.tokens / "empty").write_text("\n")
    site.lead()
    status, text = await site.send(server=server, authorization=authorization)
    assert status in (401, 404)
    assert TOKEN not in text
    assert site.taken == []


async def test_a_token_that_is_too_short_is_told_once_and_not_shown(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    (site.tokens / "short").write_text("fifteen-letters")
    for _ in range(2):
        await asyncio.sleep(2 * receiver_module.LOOK_EVERY)
        assert await refused(site, "another-token-of-it")
    assert await told_of(caplog, "tokens/short has less than 16 characters")
    assert not site.receiver.expects("short")
    assert len(caplog.messages) == 1
    assert "fifteen-letters" not in caplog.text


async def told_of(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    return any(text in message for message in caplog.messages)


async def test_bytes_that_are_no_text_are_another_token(site: Site) -> None:
    site.lead()
    trust = ssl.create_default_context(cadata=site.authority.pem)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=trust)
    head = b"POST /v1/hints/default HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nAuthorization: Bearer \xff\xfe\r\n\r\n"
    writer.write(head)
    assert (await reader.readline()).split()[1] == b"401"
    writer.close()


async def test_tokens_that_change_are_noticed(site: Site) -> None:
    site.lead()
    (site.tokens / "default").write_text("another-token-of-it")
    await until(lambda: refused(site))
    assert (await site.send(authorization="Bearer another-token-of-it"))[0] == 204
    assert site.receiver.expects("default")
    (site.tokens / "default").unlink()
    await until(lambda: refused(site, "another-token-of-it"))
    assert not site.receiver.expects("default")


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        (b"{", 400, "no JSON"),
        (b'{"hints": [{"mount": "x"}]}', 400, "hints[0].namespace"),
        (b" " * (MAX_BODY + 1), 413, "at most"),
    ],
)
async def test_what_is_no_batch_is_refused(site: Site, body: bytes, status: int, says: str) -> None:
    site.lead()
    found = await site.send(body)
    assert found[0] == status
    assert says in found[1]
    assert site.taken == []


async def test_who_floods_waits_and_others_do_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "LONGEST_WAIT", 0.01)
    site.lead()
    monkeypatch.setattr(receiver_module, "BURST", 3_000.0)
    full, headers = encode(Batch(BATCH.hints * MAX_HINTS)), {"Authorization": f"Bearer {TOKEN}"}
    codes = []
    async with site.session() as flooding, site.session() as other:
        for _ in range(30):
            async with flooding.post("/v1/hints/default", data=full, headers=headers) as answer:
                codes.append((answer.status, answer.headers.get("Retry-After")))
        monkeypatch.setattr(receiver_module, "YOUNG_SECONDS", 0.0)
        async with other.post("/v1/hints/default", data=BODY, headers=headers) as answer:
            assert answer.status == 204
    taken = codes.count((204, None))
    assert taken + codes.count((429, "1")) == 30
    # What it begins with, and what comes back while this runs.
    assert 1 <= taken <= 10, codes


async def test_new_connections_have_one_allowance_together(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "LONGEST_WAIT", 0.01)
    site.lead()
    full = encode(Batch(BATCH.hints * MAX_HINTS))
    codes = [(await site.send(full))[0] for _ in range(30)]
    assert 10 <= codes.count(204) <= 20, codes
    assert set(codes) == {204, 429}


async def test_another_certificate_is_taken_without_a_restart(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    later = Authority("Later CA")
    site.lead()
    site.pair.write_bytes(later.pair())

    async def trusted() -> bool:
        async with site.session(later) as session:
            try:
                async with session.post("/v1/hints/default", data=BODY) as answer:
                    return answer.status == 401
            except aiohttp.ClientSSLError:
                return False

    await until(trusted)
    certificate, _, _ = Authority("Third CA").pair().partition(b"-----BEGIN PRIVATE")
    _, _, key = later.pair().partition(b"-----BEGIN PRIVATE")
    for broken in (b"half of a file", certificate, certificate + b"-----BEGIN PRIVATE" + key):
        caplog.clear()
        site.pair.write_bytes(broken)
        await until(lambda: told_of(caplog, "name a certificate in PEM and its key"))
        assert await trusted(), "the one before stays in use"
    await asyncio.sleep(0.2)
    assert len(caplog.messages) == 1, "once for each file"


async def test_more_connections_than_there_may_be_are_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.lead()
    monkeypatch.setattr(receiver_module, "CONNECTIONS", 1)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with site.session() as first, site.session() as second:
        async with first.post("/v1/hints/default", data=BODY, headers=headers) as answer:
            assert answer.status == 204
        async with second.post("/v1/hints/default", data=BODY, headers=headers) as answer:
            assert (answer.status, answer.headers.get("Connection")) == (503, "close")
        async with first.post("/v1/hints/default", data=BODY, headers={}) as answer:
            assert answer.status in (401, 503)
            assert answer.headers.get("Connection") == "close"
    assert len(site.taken) == 1


async def test_a_wrong_token_is_answered_late(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "REFUSED_WAIT", 0.3)
    began = time.monotonic()
    assert await refused(site, "another-token-of-it")
    assert time.monotonic() - began >= 0.3


async def test_a_batch_that_does_not_come_is_given_up(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receiver_module, "READ_TIMEOUT", 0.05)
    site.lead()
    trust = ssl.create_default_context(cadata=site.authority.pem)
    reader, writer = await asyncio.open_connection("127.0.0.1", site.port, ssl=trust)
    head = f"POST /v1/hints/default HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    writer.write(head.encode() + b"{")
    async with asyncio.timeout(10):
        assert (await reader.readline()).split()[1] == b"408"
    writer.close()
    assert site.taken == []


async def test_plain_http_is_not_spoken(site: Site) -> None:
    site.lead()
    async with aiohttp.ClientSession(trust_env=False) as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"http://127.0.0.1:{site.port}/v1/hints/default", data=BODY)
    assert site.taken == []


@pytest.mark.parametrize(
    ("break_it", "says"),
    [
        (lambda site: site.pair.unlink(), "--hint-certificate"),
        (lambda site: site.pair.write_text("text"), "name a certificate in PEM and its key"),
        (lambda site: (site.folder / "tokens" / "default").unlink() or site.tokens.rmdir(), "--hint-tokens"),
    ],
)
async def test_what_is_set_up_wrong_is_named(tmp_path: Path, break_it: object, says: str) -> None:
    site = Site(tmp_path)
    assert callable(break_it)
    break_it(site)
    with pytest.raises(ReceiverError, match=says):
        await site.receiver.start()
    await site.receiver.stop()
