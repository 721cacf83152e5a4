"""What a pod answers is believed only in one form, and only addresses of pods are asked."""

import json

import pytest

from elile.secrets.wellknown import answer
from elile_operator.api.consumers import HttpProof
from elile_operator.decide.proof import address, read_answer

PROOF = HttpProof(port=8080)


class Manager:
    def revisions(self) -> dict[str, int]:
        return {"db": 7, "web": 1}


def test_the_answer_of_the_client_library_is_understood() -> None:
    _, _, body = answer(Manager())
    assert (read_answer(body, "db"), read_answer(body, "web"), read_answer(body, "other")) == (7, 1, None)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"7",
        b"<html>It works!</html>",
        b"{}",
        b'{"secrets": null}',
        b'{"secrets": [7]}',
        b'{"secrets": "db"}',
        b'{"secrets": {"db": "7"}}',
        b'{"secrets": {"db": true}}',
        b'{"secrets": {"db": 7.0}}',
        b'{"secrets": {"db": null}}',
        b'{"secrets": {"db": 0}}',
        b'{"secrets": {"db": -1}}',
        b"\xff\xfe",
        b'{"secrets": {"db": ' + b"9" * 5000 + b"}}",
        b"[" * 100_000,
    ],
)
def test_anything_else_is_no_answer(body: bytes) -> None:
    assert read_answer(body, "db") is None


def test_an_answer_may_say_more() -> None:
    assert read_answer(json.dumps({"secrets": {"db": 3}, "uptime": 5}).encode(), "db") == 3


@pytest.mark.parametrize(
    ("ip", "url"),
    [
        ("10.0.0.7", "http://10.0.0.7:8080/.well-known/elile"),
        ("fd00::7", "http://[fd00::7]:8080/.well-known/elile"),
        ("::ffff:10.0.0.7", "http://10.0.0.7:8080/.well-known/elile"),
    ],
)
def test_pods_are_asked_at_their_address(ip: str, url: str) -> None:
    assert address(ip, PROOF) == url


def test_port_path_and_scheme_are_those_of_the_spec() -> None:
    proof = HttpProof.model_validate({"port": 8443, "path": "/health/secrets", "scheme": "HTTPS"})
    assert address("10.0.0.7", proof) == "https://10.0.0.7:8443/health/secrets"


@pytest.mark.parametrize(
    "ip",
    [
        "",
        "localhost",
        "vault.shop",
        "10.0.0.7/",
        "10.0.0.7@vault",
        "2130706433",
        "127.0.0.1",
        "::1",
        "::ffff:127.0.0.1",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "0.0.0.0",  # noqa: S104 - nobody listens there
        "::",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
    ],
)
def test_nothing_else_is_asked(ip: str) -> None:
    assert address(ip, PROOF) is None
