"""What `/.well-known/elile` answers, to any server and any framework."""

import json
from collections.abc import MutableMapping
from typing import Any

import pytest

from elile.secrets.wellknown import PATH, RevisionsApp, answer


class Manager:
    def revisions(self) -> dict[str, int]:
        return {"shop-db": 8, "mail": 2}


BODY = b'{"secrets":{"mail":2,"shop-db":8}}'


def test_the_plain_handler() -> None:
    status, headers, body = answer(Manager())
    assert (status, body) == (200, BODY)
    assert headers == {"content-type": "application/json", "cache-control": "no-store", "content-length": "34"}


def test_a_head_has_no_body_and_the_same_headers() -> None:
    assert answer(Manager(), "HEAD")[:2] == answer(Manager())[:2]
    assert answer(Manager(), "HEAD")[2] == b""


def test_nothing_can_be_sent() -> None:
    assert answer(Manager(), "POST") == (405, {"allow": "GET, HEAD"}, b"")


async def ask(app: RevisionsApp, path: str, kind: str = "http") -> tuple[int, bytes]:
    sent: list[MutableMapping[str, Any]] = []

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request"}

    await app({"type": kind, "method": "GET", "path": path}, receive, send)
    return sent[0]["status"], sent[1]["body"]


async def other(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 201, "headers": []})
    await send({"type": "http.response.body", "body": b"theirs"})


@pytest.mark.parametrize(
    ("path", "app", "expected"),
    [
        pytest.param(PATH, None, (200, BODY), id="alone"),
        pytest.param("/", None, (200, BODY), id="mounted by a framework"),
        pytest.param("/else", None, (404, b""), id="alone, elsewhere"),
        pytest.param(PATH, other, (200, BODY), id="in front"),
        pytest.param("/else", other, (201, b"theirs"), id="in front, elsewhere"),
    ],
)
async def test_the_application(path: str, app: Any, expected: tuple[int, bytes]) -> None:
    assert await ask(RevisionsApp(Manager(), app), path) == expected


async def test_it_starts_and_stops_with_its_server() -> None:
    heard = [{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}]
    sent: list[str] = []

    async def receive() -> MutableMapping[str, Any]:
        return heard.pop(0)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message["type"])

    await RevisionsApp(Manager())({"type": "lifespan"}, receive, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


def test_it_is_json() -> None:
    assert json.loads(answer(Manager())[2]) == {"secrets": {"mail": 2, "shop-db": 8}}
