"""The http hook against servers on loopback: who takes the key, who refuses it, and who says nothing about it."""

import contextlib
import socket
import threading
import time
from typing import Any

import pytest

from elile.secrets.errors import SecretsConfigurationError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.egress import Dialer, EgressRefusedError, EgressRule
from elile.secrets.rotation.verify.http import MAX_BODY, PRESETS, HttpProbe, verify_http
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from tests.fakes.http import Authority, Exchange, ScriptedServer, answer, closed_port, json_answer

KEY = SecretStr("canary-6c1f")
HERE = Dialer(None)


def probe(url: str, **settings: Any) -> HttpProbe:
    return HttpProbe(**{"url": url, "allow_plain": True, "timeout": 5.0, **settings})


def against(script: Any, **settings: Any) -> Verification:
    with ScriptedServer(script) as server:
        return verify_http(probe(server.address + "/v1/models", **settings), KEY, HERE)


@pytest.mark.parametrize(
    ("reply", "settings", "outcome", "detail"),
    [
        (answer(200), {}, Outcome.PASSED, "the server takes the key with 200"),
        (answer(204), {"statuses": frozenset({204})}, Outcome.PASSED, "the server takes the key with 204"),
        (answer(401), {}, Outcome.FAILED, "the server refuses the key with 401"),
        (answer(403), {}, Outcome.FAILED, "the server refuses the key with 403"),
        (answer(403), {"statuses": frozenset({403})}, Outcome.FAILED, "the server refuses the key with 403"),
        *(
            (answer(status), {}, Outcome.INCONCLUSIVE, f"the server answers {status}")
            for status in (408, 425, 429, 500, 502, 503)
        ),
        (answer(404), {}, Outcome.INCONCLUSIVE, "the server answers 404, which says nothing about the key"),
        (
            answer(302, headers={"Location": "http://127.0.0.1:1/"}),
            {},
            Outcome.INCONCLUSIVE,
            "the server answers 302, which says nothing about the key",
        ),
        (b"nonsense\r\n\r\n", {}, Outcome.INCONCLUSIVE, "no usable answer (BadStatusLine)"),
    ],
)
def test_what_an_answer_means(reply: bytes, settings: dict[str, Any], outcome: Outcome, detail: str) -> None:
    assert against(reply, **settings) == Verification(outcome, detail)


OURS = {"data": [{"organization": "org-7"}], "a/b": {"~": "x"}}


@pytest.mark.parametrize(
    ("equals", "outcome"),
    [
        ({"/data/0/organization": "org-7"}, Outcome.PASSED),
        ({"/a~1b/~0": "x", "/data/0/organization": "org-7"}, Outcome.PASSED),
        ({"/data/0/organization": "org-8"}, Outcome.FAILED),
        ({"/data/1/organization": "org-7"}, Outcome.FAILED),
        ({"/data/x": "org-7"}, Outcome.FAILED),
        ({"/nothing/there": "org-7"}, Outcome.FAILED),
    ],
)
def test_whose_key_it_is(equals: dict[str, str], outcome: Outcome) -> None:
    assert against(json_answer(200, OURS), equals=equals).outcome is outcome


@pytest.mark.parametrize(
    ("body", "detail"),
    [(b"<html>", "the answer is not JSON"), (b" " * (MAX_BODY + 1), f"the answer is larger than {MAX_BODY} bytes")],
)
def test_an_answer_that_does_not_say_whose_it_is(body: bytes, detail: str) -> None:
    assert against(answer(200, body), equals={"/a": "b"}) == Verification.inconclusive(detail)


def test_the_key_goes_where_it_is_told_to() -> None:
    with ScriptedServer(answer(200)) as server:
        verify_http(probe(f"{server.address}/v1/models?limit=1"), KEY, HERE)
        verify_http(probe(server.address, header="x-api-key", scheme="", headers={"a-version": "1"}), KEY, HERE)
    first, second = server.heard
    assert (first.method, first.target, first.headers["authorization"]) == (
        "GET",
        "/v1/models?limit=1",
        "Bearer canary-6c1f",
    )
    assert (second.target, second.headers["x-api-key"], second.headers["a-version"]) == ("/", "canary-6c1f", "1")
    assert "authorization" not in second.headers


def test_the_presets() -> None:
    assert {name: (p.url, p.header, p.scheme) for name, p in PRESETS.items()} == {
        "openai": ("https://api.openai.com/v1/models", "Authorization", "Bearer"),
        "anthropic": ("https://api.anthropic.com/v1/models", "x-api-key", ""),
    }


def test_nobody_answers() -> None:
    port = closed_port()
    found = verify_http(probe(f"http://127.0.0.1:{port}/"), KEY, HERE)
    assert found == Verification.inconclusive(f"127.0.0.1:{port} does not answer (Connection refused)")


def test_a_server_that_sends_a_byte_now_and_then_is_not_waited_for() -> None:
    def script(exchange: Exchange) -> None:
        exchange.trickle(answer(200, b"x" * 1000), every=0.05)

    began = time.monotonic()
    assert against(script, timeout=0.5).outcome is Outcome.INCONCLUSIVE
    assert time.monotonic() - began < 3


def test_a_handshake_that_trickles_in_is_not_waited_for() -> None:
    ended = threading.Event()

    def trickle(listener: socket.socket) -> None:
        sock, _ = listener.accept()
        with sock, contextlib.suppress(OSError):
            sock.sendall(b"\x16\x03\x03\x3f\xff")  # the head of a record of TLS, 16 KiB
            while not ended.wait(0.05):
                sock.sendall(b"\0")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=trickle, args=[listener])
        thread.start()
        began = time.monotonic()
        url = f"https://127.0.0.1:{listener.getsockname()[1]}/"
        found = verify_http(probe(url, timeout=0.5, allow_plain=False), KEY, HERE)
        assert found.outcome is Outcome.INCONCLUSIVE
        assert time.monotonic() - began < 3
        ended.set()
        thread.join(10)


def test_a_certificate_that_is_trusted_and_one_that_is_not() -> None:
    authority = Authority()
    with ScriptedServer(answer(200), tls=authority.server()) as server:
        url = server.address
        assert url.startswith("https://")
        trusting = probe(url, ca_pem=authority.pem, allow_plain=False)
        assert verify_http(trusting, KEY, HERE).outcome is Outcome.PASSED
        found = verify_http(probe(url, ca_pem=Authority("Stranger CA").pem), KEY, HERE)
        assert found.outcome is Outcome.INCONCLUSIVE
        assert "is not trusted, or is for another name" in found.detail
    assert len(server.heard) == 1, "the key was not sent to who is not trusted"


def test_an_address_that_is_not_on_the_list_is_not_spoken_to() -> None:
    with ScriptedServer(answer(200)) as server:
        rule = EgressRule.of(cidr="10.0.0.0/8", ports=[443])
        with pytest.raises(EgressRefusedError, match=r"egress\.allow does not list"):
            verify_http(probe(server.address), KEY, Dialer([rule]))
    assert server.heard == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"url": "http://api.example/", "allow_plain": False}, "use https, or allow plain http expressly"),
        ({"url": "https://user:pw@api.example/"}, "without user and password"),
        ({"url": "ftp://api.example/"}, "https://host/path"),
        ({"url": "https://api.example:x/"}, "https://host/path"),
        ({"url": "nothing"}, "https://host/path"),
    ],
)
def test_a_url_that_cannot_be_used(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=said):
        verify_http(HttpProbe(**settings), KEY, HERE)


@pytest.mark.parametrize("key", ["a\r\nX: y", "a\0", "schlüssel"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str) -> None:
    with pytest.raises(SecretsConfigurationError, match="cannot be sent in a header") as caught:
        verify_http(probe("http://127.0.0.1:1/"), SecretStr(key), HERE)
    assert key not in str(caught.value)
