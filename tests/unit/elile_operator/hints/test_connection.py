"""One connection over real sockets and real TLS: what is verified, how long it may take, and what its errors say."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator

import pytest

from elile.secrets.tls import client_context
from elile_operator.hints import connection as module
from elile_operator.hints.connection import Answer, Connection, UnreachableError, resolve
from elile_operator.hints.options import Target
from tests.fakes.http import Authority, Exchange, ScriptedServer, answer, closed_port

AUTHORITY = Authority()
TLS = AUTHORITY.server(["127.0.0.1", "hints.example"])
HEADERS = {"Authorization": "Bearer hunter2"}


def target(port: int, host: str = "127.0.0.1", *, tls: bool = True) -> Target:
    return Target(host, port, "/v1/hints/default", tls, "default")


@pytest.fixture
def trusting() -> ssl.SSLContext:
    return client_context(AUTHORITY.pem)


@pytest.fixture
def taking() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer(204), tls=TLS) as server:
        yield server


def post(connection: Connection) -> Answer:
    return connection.post("/v1/hints/default", HEADERS, b"{}")


def problem(connection: Connection) -> tuple[str, str]:
    with pytest.raises(UnreachableError) as raised:
        post(connection)
    connection.close()
    return raised.value.code, str(raised.value)


def test_requests_share_a_connection(taking: ScriptedServer, trusting: ssl.SSLContext) -> None:
    connection = Connection(target(taking.port), ("127.0.0.1", taking.port), trusting)
    assert [post(connection) for _ in range(3)] == [Answer(204)] * 3
    connection.close()
    assert taking.connections == 1
    (heard, *_) = taking.heard
    assert (heard.method, heard.target, heard.body) == ("POST", "/v1/hints/default", b"{}")
    assert heard.headers["authorization"] == "Bearer hunter2"
    assert heard.headers["host"] == f"127.0.0.1:{taking.port}"


def test_an_address_is_verified_for_the_name_of_the_host(taking: ScriptedServer, trusting: ssl.SSLContext) -> None:
    address = ("127.0.0.1", taking.port)
    connection = Connection(target(taking.port, "hints.example"), address, trusting)
    assert post(connection) == Answer(204)
    connection.close()
    code, text = problem(Connection(target(taking.port, "other.example"), address, trusting))
    assert code == "tls"
    assert text.startswith(f"the certificate of 127.0.0.1 port {taking.port} is refused: Hostname mismatch")


def test_another_authority_is_refused_before_the_token_is_sent(taking: ScriptedServer) -> None:
    stranger = client_context(Authority("other").pem)
    code, text = problem(Connection(target(taking.port), ("127.0.0.1", taking.port), stranger))
    assert (code, text) == (
        "tls",
        f"the certificate of 127.0.0.1 port {taking.port} is refused: unable to get local issuer certificate",
    )
    assert taking.heard == []


def test_a_target_with_tls_is_never_spoken_to_without() -> None:
    with pytest.raises(ValueError, match="needs a context"):
        Connection(target(1), ("127.0.0.1", 1), None)
    with pytest.raises(ValueError, match="needs a context"):
        Connection(target(1, tls=False), ("127.0.0.1", 1), client_context(None))


def test_after_an_answer_that_closes_the_next_request_is_over_tls_again(trusting: ssl.SSLContext) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(answer(204, headers={"Connection": "close"}))
        exchange.finish()

    with ScriptedServer(script, tls=TLS) as server:
        connection = Connection(target(server.port), ("127.0.0.1", server.port), trusting)
        assert [post(connection) for _ in range(2)] == [Answer(204)] * 2
        connection.close()
        assert server.connections == 2


def test_loopback_may_go_without_tls() -> None:
    with ScriptedServer(answer(204)) as server:
        connection = Connection(target(server.port, tls=False), ("127.0.0.1", server.port), None)
        assert post(connection) == Answer(204)
        connection.close()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("0", 0.0),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("9" * 400, None),
    ],
)
def test_retry_after_is_read_in_seconds(trusting: ssl.SSLContext, text: str, seconds: float | None) -> None:
    with ScriptedServer(answer(429, headers={"Retry-After": text}), tls=TLS) as server:
        connection = Connection(target(server.port), ("127.0.0.1", server.port), trusting)
        assert post(connection) == Answer(429, seconds)
        connection.close()


def test_a_long_body_is_not_read_to_its_end(trusting: ssl.SSLContext) -> None:
    with ScriptedServer(answer(404, b"x" * 1_000_000), tls=TLS) as server:
        connection = Connection(target(server.port), ("127.0.0.1", server.port), trusting)
        assert [post(connection).status for _ in range(2)] == [404, 404]
        connection.close()
        assert server.connections == 2


# ── no answer ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_nobody_listens(trusting: ssl.SSLContext) -> None:
    port = closed_port()
    assert problem(Connection(target(port), ("127.0.0.1", port), trusting)) == (
        "connect",
        f"127.0.0.1 port {port} cannot be reached: Connection refused",
    )


def test_an_answer_that_comes_too_slowly(trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each byte is in time, and the whole is not."""
    monkeypatch.setattr(module, "ANSWER", 0.3)

    def script(exchange: Exchange) -> None:
        exchange.trickle(answer(204), every=0.05)

    with ScriptedServer(script, tls=TLS) as server:
        began = time.monotonic()
        code, text = problem(Connection(target(server.port), ("127.0.0.1", server.port), trusting))
        took = time.monotonic() - began
        assert (code, text) == ("timeout", f"127.0.0.1 port {server.port} does not answer in time")
        assert 0.3 <= took < 1.5
        assert server.exchanges[0].sent < len(answer(204))


def test_a_handshake_that_never_comes(trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONNECT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert problem(Connection(target(port), ("127.0.0.1", port), trusting))[0] == "timeout"


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param(lambda exchange: exchange.finish(), "broken", id="closed"),
        pytest.param(
            lambda exchange: exchange.send(b"SSH-2.0-x\r\n\r\n") and exchange.finish(), "broken", id="no HTTP"
        ),
    ],
)
def test_no_answer_at_all(trusting: ssl.SSLContext, script, code: str) -> None:
    with ScriptedServer(script, tls=TLS) as server:
        connection = Connection(target(server.port), ("127.0.0.1", server.port), trusting)
        assert problem(connection)[0] == code


def test_no_tls_on_the_other_side(trusting: ssl.SSLContext) -> None:
    def greet(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        connection.recv(65536)
        return False

    with ScriptedServer(at_once=greet) as server:
        code, text = problem(Connection(target(server.port), ("127.0.0.1", server.port), trusting))
    assert code == "tls"
    assert text.startswith(f"there is no TLS with 127.0.0.1 port {server.port}: ")


def test_a_connection_that_failed_connects_anew(trusting: ssl.SSLContext) -> None:
    first = iter([True])

    def script(exchange: Exchange) -> None:
        if next(first, False):
            exchange.finish()
        else:
            exchange.send(answer(204))

    with ScriptedServer(script, tls=TLS) as server:
        connection = Connection(target(server.port), ("127.0.0.1", server.port), trusting)
        with pytest.raises(UnreachableError):
            post(connection)
        assert post(connection) == Answer(204)
        connection.close()


def test_errors_show_no_token(trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch) -> None:
    def quoting(*_: object, **__: object) -> None:
        raise http.client.HTTPException("Bearer hunter2")

    monkeypatch.setattr(http.client.HTTPConnection, "request", quoting)
    with ScriptedServer(answer(204), tls=TLS) as server:
        _, text = problem(Connection(target(server.port), ("127.0.0.1", server.port), trusting))
    assert "hunter2" not in text


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_address_is_itself() -> None:
    assert resolve("127.0.0.1", 8443) == [("127.0.0.1", 8443)]
    assert resolve("::1", 8443) == [("::1", 8443)]


def test_each_address_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def found(*_: object, **__: object) -> list[object]:
        stream = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        return [(*stream, ("10.0.0.2", 1)), (*stream, ("10.0.0.1", 1)), (*stream, ("10.0.0.2", 1))]

    monkeypatch.setattr(socket, "getaddrinfo", found)
    assert resolve("hints", 1) == [("10.0.0.2", 1), ("10.0.0.1", 1)]


@pytest.mark.parametrize("host", ["no-such-host.invalid", "a" * 64 + ".example"])
def test_a_name_without_an_address(host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(-2, "Name or service not known")

    if host.endswith("invalid"):
        monkeypatch.setattr(socket, "getaddrinfo", none)
    with pytest.raises(UnreachableError) as raised:
        resolve(host, 1)
    assert (raised.value.code, str(raised.value)) == ("resolve", f"the host {host} cannot be resolved")
