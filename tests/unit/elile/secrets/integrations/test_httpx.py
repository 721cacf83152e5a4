import asyncio
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from elile.secrets.errors import SecretBackendMissingError, SecretNotFoundError
from elile.secrets.integrations import httpx as ours
from elile.secrets.integrations.httpx import SecretAuth
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.protocol import Reading

PATH = "elile/providers/weather"
URL = "https://weather.test/now"


class Backend(MemoryBackend):
    def __init__(self) -> None:
        super().__init__({PATH: {"api_key": "first", "count": 7}})
        self.reads = 0

    def read(self, path: str, *, version: str | None = None) -> Reading:
        self.reads += 1
        return super().read(path, version=version)


class Server:
    """Answers 401 to every header but one."""

    def __init__(self, accepts: str = "Bearer second", header: str = "Authorization") -> None:
        self.accepts = accepts
        self.header = header
        self.seen: list[str] = []
        self.bodies: list[bytes] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.seen.append(request.headers.get(self.header, ""))
        self.bodies.append(request.read() if isinstance(request.stream, httpx.ByteStream) else b"")
        return httpx.Response(200 if self.seen[-1] == self.accepts else 401)

    async def slowly(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.01)
        return self(request)


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def manager(backend: Backend) -> Iterator[BackendSecretsManager]:
    manager = BackendSecretsManager(backend)
    manager.get_secret_blocking(PATH)
    yield manager
    manager.close_blocking()


def client(server: Server, auth: SecretAuth) -> httpx.Client:
    return httpx.Client(transport=httpx.MockTransport(server), auth=auth)


def test_every_request_has_what_is_current(manager: BackendSecretsManager) -> None:
    server = Server("second", header="X-Api-Key")
    with client(server, SecretAuth(manager, PATH, header="x-api-key", scheme="")) as http:
        assert http.get(URL).status_code == 401
        manager.set_secret_blocking(PATH, {"api_key": "second"})
        assert http.get(URL).status_code == 200
    assert server.seen == ["first", "second"]


def test_a_refused_request_is_sent_again_with_its_body(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write(PATH, {"api_key": "second"})
    server = Server()
    with client(server, SecretAuth(manager, PATH)) as http:
        assert http.post(URL, json={"a": 1}).status_code == 200
    assert server.seen == ["Bearer first", "Bearer second"]
    assert server.bodies == [b'{"a":1}'] * 2


class Unread(httpx.BaseTransport, httpx.AsyncBaseTransport):
    """Refuses without reading the body: httpx's own mock would turn a stream into bytes."""

    def __init__(self) -> None:
        self.seen = 0

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        assert request.method == "POST"
        self.seen += 1
        return httpx.Response(401)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return self.handle_request(request)


def test_a_stream_is_not_sent_twice_and_its_refusal_not_asked_about(
    manager: BackendSecretsManager, backend: Backend
) -> None:
    backend.write(PATH, {"api_key": "second"})
    server = Unread()
    with httpx.Client(transport=server, auth=SecretAuth(manager, PATH)) as http:
        assert http.post(URL, content=iter([b"a", b"b"])).status_code == 401
        assert (server.seen, backend.reads) == (1, 1)
        assert http.post(URL, content=b"ab").status_code == 401
        assert (server.seen, backend.reads) == (3, 2)


def test_the_current_key_is_refused_once_only(manager: BackendSecretsManager, backend: Backend) -> None:
    server = Server()
    with client(server, SecretAuth(manager, PATH)) as http:
        assert [http.get(URL).status_code for _ in range(5)] == [401] * 5
    assert len(server.seen) == 5
    assert backend.reads == 2


async def test_of_many_refused_requests_one_asks(manager: BackendSecretsManager, backend: Backend) -> None:
    backend.write(PATH, {"api_key": "second"})
    server = Server()
    transport = httpx.MockTransport(server.slowly)
    async with httpx.AsyncClient(transport=transport, auth=SecretAuth(manager, PATH)) as http:
        answers = await asyncio.gather(*(http.get(URL) for _ in range(20)))
    assert [answer.status_code for answer in answers] == [200] * 20
    assert len(server.seen) == 40
    assert backend.reads == 2


async def test_a_stream_is_not_sent_twice_with_asyncio_either(manager: BackendSecretsManager, backend: Backend) -> None:
    async def body() -> AsyncIterator[bytes]:
        yield b"a"

    server = Unread()
    async with httpx.AsyncClient(transport=server, auth=SecretAuth(manager, PATH)) as http:
        assert (await http.post(URL, content=body())).status_code == 401
    assert (server.seen, backend.reads) == (1, 1)


def test_an_entry_without_the_key_is_told(manager: BackendSecretsManager) -> None:
    with client(Server(), SecretAuth(manager, PATH, key="token")) as http, pytest.raises(SecretNotFoundError):
        http.get(URL)


def test_without_httpx_the_extra_is_named(manager: BackendSecretsManager, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ours, "httpx", None)
    with pytest.raises(SecretBackendMissingError, match=r"elile\[httpx\]"):
        SecretAuth(manager, PATH)
