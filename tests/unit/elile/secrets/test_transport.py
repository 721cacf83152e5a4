"""Whatever a server or the way to it does wrong, one error of our own comes of it, in time and without foreign text."""

import datetime as dt
import gzip
import json
import logging
import socket
import struct
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import urllib3.exceptions
from cryptography.x509.oid import ExtendedKeyUsageOID

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsSealedError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile.secrets.transport import MAX_RESPONSE_BYTES, Answer, VaultEndpoint, from_transport
from elile.secrets.vault import VaultClient
from tests.fakes.http import Authority, Exchange, ScriptedServer, answer, closed_port, json_answer

TOKEN = "canary-token-77ab"
BODY = "canary-body-31fe"
PATH = "kv/data/app"
MANY = 64 * 1024 * 1024
ENTRY = {"data": {"data": {"password": BODY}, "metadata": {"version": 4}}}
GOOD = json_answer(200, ENTRY)
PATIENCE = 5.0  # seconds; the promise is about 0.3, machines of CI are slow


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture(scope="module")
def stranger() -> Authority:
    return Authority("Stranger CA")


@pytest.fixture(params=["http", "https"])
def serve(request: pytest.FixtureRequest, authority: Authority) -> Callable[..., ScriptedServer]:
    """Make a server for both schemes; a test that says nothing about TLS holds for either."""
    tls = authority.server() if request.param == "https" else None

    def make(script: Callable[[Exchange], None] | bytes) -> ScriptedServer:
        return ScriptedServer(script, tls=tls)

    return make


@pytest.fixture(autouse=True)
def nothing_of_it_is_logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Watch what the libraries below log, at every level and in every test."""
    caplog.set_level(logging.DEBUG)
    yield
    assert "canary" not in caplog.text


def read(address: str, *, token: str = TOKEN, **endpoint: Any) -> dict[str, Any]:
    """Read one entry, with patience for slow machines and none for servers that stall."""
    client = VaultClient(VaultEndpoint(address=address, **{"timeout": 10.0, **endpoint}))
    try:
        return dict(client.kv2_read(SecretStr(token), mount="kv", path="app").data.reveal())
    finally:
        client.close()


def failure(address: str, *, token: str = TOKEN, **endpoint: Any) -> SecretsError:
    """Read one entry, and return the error after checking that it shows nothing it must not."""
    with pytest.raises(SecretsError) as caught:
        read(address, token=token, **endpoint)
    error = caught.value
    told = [str(error), repr(error), error.safe_text, *traceback.format_exception(error)]
    assert "canary" not in "\n".join(told)
    assert str(error) == f"{PATH}: {error.detail}"
    return error


def expect(error: SecretsError, kind: type[SecretsError], detail: str) -> None:
    assert (type(error), error.detail) == (kind, detail)


# Answers that are no answers


@pytest.mark.parametrize(
    ("given", "kind", "detail"),
    [
        pytest.param(
            json_answer(429, {"errors": [BODY]}, {"Retry-After": "7"}),
            SecretsRateLimitedError,
            "the server throttles",
            id="429",
        ),
        pytest.param(
            answer(429, f"<p>{BODY}".encode(), {"Content-Type": "text/html"}),
            SecretsRateLimitedError,
            "the server throttles",
            id="429 with a page",
        ),
        pytest.param(
            json_answer(503, {"errors": ["Vault is sealed", BODY]}),
            SecretsSealedError,
            "sealed, not initialised or standby",
            id="503 sealed",
        ),
        pytest.param(
            json_answer(473, {"errors": [BODY]}), SecretsSealedError, "sealed, not initialised or standby", id="473"
        ),
        pytest.param(
            json_answer(472, {"errors": [BODY]}), SecretsSealedError, "sealed, not initialised or standby", id="472"
        ),
        pytest.param(
            json_answer(501, {"errors": [BODY]}), SecretsSealedError, "sealed, not initialised or standby", id="501"
        ),
        pytest.param(
            json_answer(503, {"errors": [BODY]}), SecretsUnavailableError, "answered 503", id="503 of another cause"
        ),
        pytest.param(
            json_answer(503, {"errors": BODY}), SecretsUnavailableError, "answered 503", id="503, errors are a text"
        ),
        pytest.param(json_answer(500, {BODY: BODY}), SecretsUnavailableError, "answered 500", id="500"),
        pytest.param(json_answer(412, {"errors": [BODY]}), SecretsUnavailableError, "answered 412", id="412"),
        pytest.param(json_answer(408, {"errors": [BODY]}), SecretsUnavailableError, "answered 408", id="408"),
        pytest.param(json_answer(403, {"errors": [BODY]}), SecretAccessDeniedError, "permission denied", id="403"),
        pytest.param(json_answer(401, {"errors": [BODY]}), SecretAccessDeniedError, "permission denied", id="401"),
        pytest.param(json_answer(404, {"errors": []}), SecretNotFoundError, "nothing is stored there", id="404"),
        pytest.param(
            json_answer(400, {"errors": [BODY]}),
            SecretsMalformedResponseError,
            "refused the request with 400",
            id="400",
        ),
        pytest.param(
            json_answer(405, {"errors": [BODY]}),
            SecretsMalformedResponseError,
            "refused the request with 405",
            id="405",
        ),
        pytest.param(
            answer(502, f"<html>{BODY}</html>".encode(), {"Content-Type": "text/html"}),
            SecretsMalformedResponseError,
            "answered 502 with a body that is not JSON",
            id="page of a proxy",
        ),
        pytest.param(
            answer(404, f"<html>{BODY}</html>".encode(), {"Content-Type": "text/html"}),
            SecretsMalformedResponseError,
            "answered 404 with a body that is not JSON",
            id="404 of something else is no missing secret",
        ),
        pytest.param(
            json_answer(503, [BODY]),
            SecretsMalformedResponseError,
            "answered 503 with a body that is not JSON",
            id="503 with a list",
        ),
        pytest.param(
            answer(200, f"<html>{BODY}</html>".encode(), {"Content-Type": "text/html"}),
            SecretsMalformedResponseError,
            "answered 200 with a body that is not JSON",
            id="200 with a page",
        ),
        pytest.param(
            answer(200, GOOD.partition(b"\r\n\r\n")[2][:-9]),
            SecretsMalformedResponseError,
            "answered 200 with a body that is not JSON",
            id="truncated JSON",
        ),
        pytest.param(
            answer(200), SecretsMalformedResponseError, "answered 200 with a body that is not JSON", id="no body"
        ),
        pytest.param(
            json_answer(202, ENTRY),
            SecretsMalformedResponseError,
            "answered 202 with a body that is not JSON",
            id="202",
        ),
        pytest.param(
            answer(200, json.dumps(ENTRY).encode(), {"Content-Encoding": "gzip"}),
            SecretsMalformedResponseError,
            "the answer's compression cannot be read",
            id="said to be gzip, and is not",
        ),
    ],
)
def test_an_answer_that_does_not_serve_gets_its_own_error(
    serve: Callable[..., ScriptedServer], authority: Authority, given: bytes, kind: type[SecretsError], detail: str
) -> None:
    with serve(given) as server:
        expect(failure(server.address, ca_pem=authority.pem), kind, detail)
    assert len(server.heard) == 1  # nothing is tried twice: the queue does that, with its own delays


@pytest.mark.parametrize(
    ("shape", "cause"),
    [
        pytest.param(BODY, "TypeError", id="text"),
        pytest.param([BODY], "TypeError", id="list"),
        pytest.param(None, "TypeError", id="null"),
        pytest.param({}, "KeyError", id="no data"),
        pytest.param({"data": None}, "TypeError", id="data is null"),
        pytest.param({"data": {"data": {"k": BODY}}}, "KeyError", id="no metadata"),
        pytest.param({"data": {"data": {"k": BODY}, "metadata": BODY}}, "TypeError", id="metadata is a text"),
        pytest.param({"data": {"data": {"k": BODY}, "metadata": {"version": BODY}}}, "ValueError", id="odd version"),
        pytest.param({"data": {"data": {"k": BODY}, "metadata": {"version": None}}}, "TypeError", id="no version"),
        pytest.param({"data": {"data": BODY, "metadata": {"version": 1}}}, "TypeError", id="data is a text"),
        pytest.param(
            {"data": {"data": {"k": BODY}, "metadata": {"version": float("inf")}}}, "OverflowError", id="infinite"
        ),
    ],
)
def test_json_of_another_shape_is_told_as_that(shape: Any, cause: str) -> None:
    with ScriptedServer(json_answer(200, shape)) as server:
        detail = f"the answer has not the shape the API promises ({cause})"
        expect(failure(server.address), SecretsMalformedResponseError, detail)


def test_json_that_is_nested_beyond_measure_is_told_as_that() -> None:
    for status in (200, 503):
        with ScriptedServer(answer(status, b"[" * 200_000)) as server:
            detail = "the answer has not the shape the API promises (RecursionError)"
            expect(failure(server.address), SecretsMalformedResponseError, detail)


@pytest.mark.parametrize(
    "metadata",
    [
        {"version": BODY},
        {"version": None},
        {"version": float("inf")},
        {"deletion_time": "2024-01-02T03:04:05Z"},
        {"version": 1, "deletion_time": BODY},
    ],
)
def test_deleted_version_with_odd_metadata_shows_none_of_it(metadata: dict[str, Any]) -> None:
    with ScriptedServer(json_answer(404, {"data": {"data": None, "metadata": metadata}})) as server:
        detail = "answered 404 with metadata of no version"
        expect(failure(server.address), SecretsMalformedResponseError, detail)


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7.0), ("0", 0.0), ("Wed, 21 Oct 2015 07:28:00 GMT", None), ("-3", None), (BODY, None), ("\xb2", None)],
)
def test_retry_after_is_taken_when_it_is_in_seconds(header: str, seconds: float | None) -> None:
    head = f"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\nRetry-After: {header}\r\n\r\n{{}}"
    with ScriptedServer(head.encode("latin-1")) as server:
        error = failure(server.address)
    assert isinstance(error, SecretsRateLimitedError)
    assert error.retry_after == seconds


def test_a_sensible_answer_is_read_and_its_connection_kept(
    serve: Callable[..., ScriptedServer], authority: Authority
) -> None:
    with serve(GOOD) as server:
        client = VaultClient(VaultEndpoint(address=server.address, ca_pem=authority.pem))
        for _ in range(3):
            value = client.kv2_read(SecretStr(TOKEN), mount="kv", path="app", on_behalf_of="shop/db")
            assert (value.version, value.data.reveal()) == (4, {"password": BODY})
        client.close()
    assert server.connections == 1
    assert [h.headers["x-vault-token"] for h in server.heard] == [TOKEN] * 3
    assert [h.headers["x-elile-object"] for h in server.heard] == ["shop/db"] * 3


@pytest.mark.parametrize(
    "given",
    [
        pytest.param(answer(200, gzip.compress(json.dumps(ENTRY).encode()), {"Content-Encoding": "gzip"}), id="gzip"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            + b"".join(b"1\r\n%c\r\n" % byte for byte in json.dumps(ENTRY).encode())
            + b"0\r\n\r\n",
            id="chunked",
        ),
        pytest.param(b"HTTP/1.1 100 Continue\r\n\r\n" + GOOD, id="100 before it"),
    ],
)
def test_ways_of_sending_do_not_matter(
    serve: Callable[..., ScriptedServer], authority: Authority, given: bytes
) -> None:
    with serve(given) as server:
        assert read(server.address, ca_pem=authority.pem) == {"password": BODY}


def test_body_that_ends_with_the_connection_is_read() -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + json.dumps(ENTRY).encode())
        exchange.finish()

    with ScriptedServer(script) as server:
        assert read(server.address) == {"password": BODY}


# Size


def test_an_answer_of_the_largest_size_is_read() -> None:
    empty = json.dumps({"data": {"data": {"k": ""}, "metadata": {"version": 1}}}).encode()
    filled = empty.replace(b'""', b'"%s"' % (b"x" * (MAX_RESPONSE_BYTES - len(empty))))
    assert len(filled) == MAX_RESPONSE_BYTES
    with ScriptedServer(answer(200, filled)) as server:
        assert read(server.address).keys() == {"k"}
    with ScriptedServer(answer(200, filled + b" ")) as server:
        detail = "the answer is larger than 4194304 bytes"
        expect(failure(server.address), SecretsMalformedResponseError, detail)


@pytest.mark.parametrize("status", [200, 404, 503])
def test_an_answer_that_is_too_large_is_refused_long_before_its_end(
    serve: Callable[..., ScriptedServer], authority: Authority, status: int
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(f"HTTP/1.1 {status} Large\r\nContent-Length: {MANY}\r\n\r\n".encode())
        piece = BODY.encode() * 4096
        while exchange.sent < MANY and exchange.send(piece):
            pass

    with serve(script) as server:
        error = failure(server.address, ca_pem=authority.pem)
    expect(error, SecretsMalformedResponseError, "the answer is larger than 4194304 bytes")
    assert server.exchanges[0].sent < MANY / 2  # what was under way in the buffers of the system may be more than 4 MiB


def test_a_small_body_that_unpacks_to_a_large_one_is_refused() -> None:
    packed = gzip.compress(b" " * MANY)
    assert len(packed) < MAX_RESPONSE_BYTES / 10
    with ScriptedServer(answer(200, packed, {"Content-Encoding": "gzip"})) as server:
        detail = "the answer is larger than 4194304 bytes"
        expect(failure(server.address), SecretsMalformedResponseError, detail)


# Time


def silent(exchange: Exchange) -> None:
    exchange.wait()


def stalls_within_the_head(exchange: Exchange) -> None:
    exchange.send(GOOD[:20])
    exchange.wait()


def stalls_within_the_body(exchange: Exchange) -> None:
    exchange.send(GOOD[:-5])
    exchange.wait()


def trickles_the_head(exchange: Exchange) -> None:
    exchange.trickle(b"HTTP/1.1 200 OK\r\nX-Filler: " + b"x" * 400 + b"\r\n\r\n", every=0.05)


def trickles_the_body(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n")
    exchange.trickle(b" " * 400, every=0.05)


def trickles_chunks(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while exchange.send(b"1\r\nx\r\n") and exchange.wait(0.05):
        pass


def continues_without_end(exchange: Exchange) -> None:
    while exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n") and exchange.wait(0.01):
        pass


def floods_the_head(exchange: Exchange) -> None:
    while exchange.send(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000):
        pass


@pytest.mark.parametrize(
    "script",
    [
        silent,
        stalls_within_the_head,
        stalls_within_the_body,
        trickles_the_head,
        trickles_the_body,
        trickles_chunks,
        continues_without_end,
        floods_the_head,
    ],
)
def test_a_slow_answer_ends_by_the_timeout_of_the_endpoint(
    serve: Callable[..., ScriptedServer], authority: Authority, script: Callable[[Exchange], None]
) -> None:
    with serve(script) as server:
        began = time.monotonic()
        error = failure(server.address, ca_pem=authority.pem, timeout=0.3)
        took = time.monotonic() - began
    expect(error, SecretsUnavailableError, "no answer in time")
    assert 0.25 < took < PATIENCE


def test_a_connection_that_was_slow_serves_the_next_call_with_its_whole_time(
    serve: Callable[..., ScriptedServer], authority: Authority
) -> None:
    def script(exchange: Exchange) -> None:
        exchange.wait(0.4)
        exchange.send(GOOD)

    with serve(script) as server:
        client = VaultClient(VaultEndpoint(address=server.address, ca_pem=authority.pem, timeout=1.0))
        for _ in range(3):  # 1.2 s in all: a deadline that were kept from call to call would have passed
            assert client.kv2_read(SecretStr(TOKEN), mount="kv", path="app").version == 4
        client.close()
    assert server.connections == 1


def listen_only(connection: socket.socket) -> bool:
    while connection.recv(65536):
        pass
    return False


def test_a_server_that_never_shakes_hands_ends_by_the_timeout(authority: Authority) -> None:
    with ScriptedServer(GOOD, at_once=listen_only) as server:
        began = time.monotonic()
        error = failure(f"https://127.0.0.1:{server.port}", ca_pem=authority.pem, timeout=0.3)
        assert time.monotonic() - began < PATIENCE
    expect(error, SecretsUnavailableError, "no answer in time")


# Connections


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_nobody_listens(scheme: str, authority: Authority) -> None:
    error = failure(f"{scheme}://127.0.0.1:{closed_port()}", ca_pem=authority.pem)
    expect(error, SecretsUnavailableError, "connection failed: ECONNREFUSED")


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_nobody_knows(scheme: str, authority: Authority) -> None:
    error = failure(f"{scheme}://vault.invalid:8200", ca_pem=authority.pem)
    expect(error, SecretsUnavailableError, "the host name cannot be resolved")


def reset_at_once(connection: socket.socket) -> bool:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def close_after_hello(connection: socket.socket) -> bool:
    connection.recv(65536)
    return False


def reset_after_hello(connection: socket.socket) -> bool:
    connection.recv(65536)
    return reset_at_once(connection)


@pytest.mark.parametrize(
    ("at_once", "detail"),
    [
        (close_after_hello, "the connection was closed"),
        (reset_after_hello, "connection failed: ECONNRESET"),
    ],
)
def test_closed_during_the_handshake_says_nothing_about_the_certificate(
    authority: Authority, at_once: Callable[[socket.socket], bool], detail: str
) -> None:
    with ScriptedServer(GOOD, at_once=at_once) as server:
        error = failure(f"https://127.0.0.1:{server.port}", ca_pem=authority.pem)
    expect(error, SecretsUnavailableError, detail)


@pytest.mark.parametrize("cut", [0, 5, 30, GOOD.index(b"{"), len(GOOD) - 5])
def test_closed_within_the_answer(serve: Callable[..., ScriptedServer], authority: Authority, cut: int) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(GOOD[:cut])
        exchange.finish()

    with serve(script) as server:
        error = failure(server.address, ca_pem=authority.pem)
    assert isinstance(error, SecretsUnavailableError)
    assert error.detail in {
        "the connection failed or broke",
        "the connection was closed",
        "connection failed: ECONNRESET",
    }


@pytest.mark.parametrize(
    "garbage",
    [
        pytest.param(f"{BODY}\r\n\r\n".encode(), id="no HTTP"),
        pytest.param(f"HTTP/1.1 {BODY} OK\r\n\r\n".encode(), id="no status"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: " + b"canary" * 20_000 + b"\r\n\r\n", id="endless header"),
        pytest.param(b"HTTP/1.1 200 OK\r\n" + b"canary: canary\r\n" * 200 + b"\r\n", id="too many headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\ncanary", id="two lengths"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 6\r\n\r\ncanary", id="a length and another"
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\ncanary", id="negative length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: canary\r\n\r\ncanary", id="length that is no number"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\ncanary\r\n", id="chunk without a length"),
        pytest.param(b"HTTP/1.1 200 OK\r\n{canary}\r\n\r\n", id="body in place of the headers"),
        pytest.param(b"HTTP/1.1 200 OK\r\nX: y\r\n{canary}\r\n\r\n", id="body among the headers"),
        pytest.param(b"SSH-2.0-canary\r\n", id="SSH"),
    ],
)
def test_bytes_that_are_no_http(garbage: bytes) -> None:
    def script(exchange: Exchange) -> None:
        exchange.send(garbage)
        exchange.finish()

    with ScriptedServer(script) as server:
        expect(failure(server.address), SecretsUnavailableError, "the connection failed or broke")


def test_a_token_that_cannot_be_a_header_is_not_sent_and_not_shown() -> None:
    with ScriptedServer(GOOD) as server:
        expect(
            failure(server.address, token=f"{TOKEN}\r\nX: y"),
            SecretsConfigurationError,
            "the token, or a name, has a character that no header can hold; correct it",
        )
    assert server.heard == []


def test_https_spoken_to_a_server_of_plain_http(authority: Authority) -> None:
    def refuse(connection: socket.socket) -> bool:
        connection.recv(65536)
        connection.sendall(answer(400, BODY.encode()))
        return False

    with ScriptedServer(at_once=refuse) as server:
        error = failure(f"https://127.0.0.1:{server.port}", ca_pem=authority.pem)
    expect(error, SecretsTLSError, "the TLS handshake failed")


def test_http_spoken_to_a_server_of_https(authority: Authority) -> None:
    with ScriptedServer(GOOD, tls=authority.server()) as server:
        error = failure(f"http://127.0.0.1:{server.port}")
    assert type(error) is SecretsUnavailableError
    assert server.heard == []


def test_the_text_of_an_answer_shows_nothing_of_it() -> None:
    found = Answer(200, {"X-Header": BODY}, f'{{"password": "{BODY}"}}'.encode())
    assert found.json() == {"password": BODY}
    assert repr(found) == str(found) == "Answer(status_code=200)"


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (urllib3.exceptions.ProtocolError(BODY), "the connection failed or broke"),
        (urllib3.exceptions.ConnectTimeoutError(BODY), "no answer in time"),
        (urllib3.exceptions.ProtocolError(OSError(113, BODY)), "connection failed: EHOSTUNREACH"),
        (urllib3.exceptions.ProtocolError(OSError(99999, BODY)), "the connection failed or broke"),
        (urllib3.exceptions.ProtocolError(socket.gaierror(-2, BODY)), "the host name cannot be resolved"),
    ],
)
def test_failures_of_the_network_that_no_server_here_can_cause(
    error: urllib3.exceptions.HTTPError, detail: str
) -> None:
    expect(from_transport(error, PATH), SecretsUnavailableError, detail)


def test_causes_that_go_round_in_a_circle_end() -> None:
    error = urllib3.exceptions.ProtocolError(BODY)
    error.__cause__ = urllib3.exceptions.ProtocolError(BODY)
    error.__cause__.__cause__ = error
    expect(from_transport(error, PATH), SecretsUnavailableError, "the connection failed or broke")


# Redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_told_and_never_followed(
    serve: Callable[..., ScriptedServer], authority: Authority, status: int
) -> None:
    with (
        ScriptedServer(GOOD) as other,
        serve(answer(status, BODY.encode(), {"Location": f"{other.address}/v1/{PATH}?{BODY}"})) as server,
    ):
        error = failure(server.address, ca_pem=authority.pem)
    expect(error, SecretsUnavailableError, "the server redirects elsewhere; name the active node in spec.address")
    assert (other.connections, other.heard) == (0, [])
    assert len(server.heard) == 1


@pytest.mark.parametrize("location", ["", "http://[", "//", f"http://{BODY}.invalid", "\x00"])
def test_a_redirect_to_nowhere_is_an_error_of_ours_too(location: str) -> None:
    with ScriptedServer(answer(307, b"", {"Location": location})) as server:
        assert type(failure(server.address)) in (SecretsUnavailableError, SecretsMalformedResponseError)


def test_a_redirect_on_the_same_server_is_not_followed_either() -> None:
    with ScriptedServer(answer(307, b"", {"Location": "/v1/elsewhere"})) as server:
        assert type(failure(server.address)) is SecretsUnavailableError
    assert [h.target for h in server.heard] == [f"/v1/{PATH}"]


# Trust


def test_unknown_authority(authority: Authority, stranger: Authority) -> None:
    with ScriptedServer(GOOD, tls=stranger.server()) as server:
        error = failure(server.address, ca_pem=authority.pem)
    expect(error, SecretsTLSError, "the certificate is signed by an unknown authority")
    assert server.heard == []


def test_authority_that_the_system_does_not_know() -> None:
    with ScriptedServer(GOOD, tls=Authority().server()) as server:
        expect(failure(server.address), SecretsTLSError, "the certificate is signed by an unknown authority")


def test_certificate_for_another_name(authority: Authority) -> None:
    with ScriptedServer(GOOD, tls=authority.server(["vault.example"])) as server:
        error = failure(f"https://localhost:{server.port}", ca_pem=authority.pem)
    expect(error, SecretsTLSError, "the certificate is for another host name")
    assert server.heard == []


def test_certificate_for_another_address(authority: Authority) -> None:
    with ScriptedServer(GOOD, tls=authority.server(["vault.example", "127.0.0.2"])) as server:
        expect(failure(server.address, ca_pem=authority.pem), SecretsTLSError, "the certificate is for another address")


def test_expired_certificate(authority: Authority) -> None:
    tls = authority.server(begins=dt.timedelta(hours=-1), ends=dt.timedelta(minutes=-5))
    with ScriptedServer(GOOD, tls=tls) as server:
        expect(failure(server.address, ca_pem=authority.pem), SecretsTLSError, "the certificate has expired")
    assert server.heard == []


def test_certificate_of_the_future(authority: Authority) -> None:
    tls = authority.server(begins=dt.timedelta(minutes=5), ends=dt.timedelta(hours=1))
    with ScriptedServer(GOOD, tls=tls) as server:
        expect(failure(server.address, ca_pem=authority.pem), SecretsTLSError, "the certificate is not valid yet")


def test_certificate_that_is_not_for_servers(authority: Authority) -> None:
    with ScriptedServer(GOOD, tls=authority.server(purpose=ExtendedKeyUsageOID.CLIENT_AUTH)) as server:
        error = failure(server.address, ca_pem=authority.pem)
    expect(error, SecretsTLSError, "the certificate is not good (OpenSSL's result 26)")


def test_server_name_replaces_the_host(authority: Authority) -> None:
    with ScriptedServer(GOOD, tls=authority.server(["vault.example"])) as server:
        for host in ("127.0.0.1", "localhost"):
            address = f"https://{host}:{server.port}"
            assert read(address, ca_pem=authority.pem, server_name="vault.example") == {"password": BODY}
        error = failure(server.address, ca_pem=authority.pem, server_name="other.example")
    expect(error, SecretsTLSError, "the certificate is for another host name")
    assert [h.headers["host"] for h in server.heard] == [f"127.0.0.1:{server.port}", f"localhost:{server.port}"]


def test_server_name_is_required_even_if_the_host_would_do(authority: Authority) -> None:
    with ScriptedServer(GOOD, tls=authority.server(["localhost"])) as server:
        error = failure(f"https://localhost:{server.port}", ca_pem=authority.pem, server_name="vault.example")
    expect(error, SecretsTLSError, "the certificate is for another host name")


def test_bundle_of_several_authorities_with_comments(authority: Authority, stranger: Authority) -> None:
    bundle = f"# Autorité de test\n{stranger.pem}\n# 認証局\n{authority.pem}"
    with ScriptedServer(GOOD, tls=authority.server()) as server:
        assert read(server.address, ca_pem=bundle) == {"password": BODY}


def test_authorities_of_the_system_are_not_trusted_beside_given_ones(
    authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = tmp_path / "system.pem"
    system.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))  # where OpenSSL finds the system's
    with ScriptedServer(GOOD, tls=authority.server()) as server:
        assert read(server.address) == {"password": BODY}
        error = failure(server.address, ca_pem=stranger.pem)
    expect(error, SecretsTLSError, "the certificate is signed by an unknown authority")
    assert len(server.heard) == 1


def test_authorities_that_requests_finds_in_the_environment_are_not_trusted(
    authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = tmp_path / "found.pem"
    found.write_text(authority.pem)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.setenv(name, str(found))
    with ScriptedServer(GOOD, tls=authority.server()) as server:
        for trusted in (None, stranger.pem):
            error = failure(server.address, ca_pem=trusted)
            expect(error, SecretsTLSError, "the certificate is signed by an unknown authority")


@pytest.mark.parametrize(
    "ca_pem",
    [
        pytest.param("", id="empty"),
        pytest.param("сертификат", id="empty but for what is no ASCII"),
        pytest.param("canary", id="no PEM"),
        pytest.param("-----BEGIN CERTIFICATE-----\ncanary\n-----END CERTIFICATE-----\n", id="no certificate"),
        pytest.param("-----BEGIN CERTIFICATE-----", id="cut off"),
    ],
)
def test_authorities_that_cannot_be_read_fail_each_call_and_trust_nobody(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca_pem: str
) -> None:
    system = tmp_path / "system.pem"
    system.write_text(authority.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(system))
    with ScriptedServer(GOOD, tls=authority.server()) as server:
        error = failure(server.address, ca_pem=ca_pem)
    expect(error, SecretsTLSError, "the CA certificates given for it cannot be read")
    assert server.connections == 0


# The environment


@pytest.fixture
def proxy() -> Iterator[ScriptedServer]:
    with ScriptedServer(answer(200, b"{}")) as proxy:
        yield proxy


@pytest.mark.parametrize("case", [str.lower, str.upper])
def test_proxies_of_the_environment_are_ignored(
    serve: Callable[..., ScriptedServer],
    authority: Authority,
    proxy: ScriptedServer,
    monkeypatch: pytest.MonkeyPatch,
    case: Callable[[str], str],
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(case(name), proxy.address)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with serve(GOOD) as server:
        assert read(server.address, ca_pem=authority.pem) == {"password": BODY}
    assert (proxy.connections, len(server.heard)) == (0, 1)


def test_netrc_and_settings_of_vault_in_the_environment_are_ignored(
    proxy: ScriptedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("default login someone password canary-netrc\n")
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.setenv("VAULT_TOKEN", "canary-environment")
    monkeypatch.setenv("VAULT_NAMESPACE", "canary-namespace")
    monkeypatch.setenv("VAULT_ADDR", proxy.address)
    with ScriptedServer(GOOD) as server:
        assert requests.get(server.address, timeout=5).request.headers["Authorization"]  # the file is found as such
        server.heard.clear()
        read(server.address)
    sent = server.heard[0].headers
    assert "authorization" not in sent
    assert "canary" not in str({**sent, "x-vault-token": ""})
    assert sent["x-vault-token"] == TOKEN
    assert proxy.connections == 0


def test_the_keys_of_a_connection_are_written_nowhere(
    authority: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Debugging tools set this variable; with it, whoever recorded the connection could read all values."""
    log = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    body = {"data": {"data": {"k": "v"}, "metadata": {"version": 1, "created_time": ""}}}
    with ScriptedServer(json_answer(200, body), tls=authority.server()) as server:
        assert read(server.address, ca_pem=authority.pem) == {"k": "v"}
    assert not log.exists() or not log.read_text().splitlines()[1:], "but for the comment that OpenSSL begins with"
