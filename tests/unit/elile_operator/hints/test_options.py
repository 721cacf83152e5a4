"""What is given on the command line is checked at once, and named with its remedy when it cannot work."""

import os
from pathlib import Path

import pytest

from elile_operator.hints.options import ConfigurationError, Target, check_file, target_of


@pytest.mark.parametrize(
    ("to", "target"),
    [
        (
            "https://hints.elile-system.svc:8443",
            Target("hints.elile-system.svc", 8443, "/v1/hints/default", True, "default"),
        ),
        ("https://hints/", Target("hints", 443, "/v1/hints/default", True, "default")),
        ("https://hints/below/it/", Target("hints", 443, "/below/it/v1/hints/default", True, "default")),
        ("https://[2001:db8::1]:8443", Target("2001:db8::1", 8443, "/v1/hints/default", True, "default")),
        ("http://127.0.0.1", Target("127.0.0.1", 80, "/v1/hints/default", False, "default")),
        ("http://127.9.9.9:1", Target("127.9.9.9", 1, "/v1/hints/default", False, "default")),
        ("http://[::1]:8080", Target("::1", 8080, "/v1/hints/default", False, "default")),
    ],
)
def test_where_hints_go(to: str, target: Target) -> None:
    assert target_of(to, "default") == target


NO_URL = "is no URL; give one like https://host:8443"
CLEAR = "would send the token in the clear; use https (http is for addresses of loopback only)"


@pytest.mark.parametrize(
    ("to", "text"),
    [
        ("", f"'' {NO_URL}"),
        ("hints:8443", f"'hints:8443' {NO_URL}"),
        ("https://", f"'https://' {NO_URL}"),
        ("ftp://hints", f"'ftp://hints' {NO_URL}"),
        ("https://hints:0x1", f"'https://hints:0x1' {NO_URL}"),
        ("https://hints:70000", f"'https://hints:70000' {NO_URL}"),
        ("https://[::1", f"'https://[::1' {NO_URL}"),
        ("http://hints", f"'http://hints' {CLEAR}"),
        ("http://localhost", f"'http://localhost' {CLEAR}"),
        ("http://10.0.0.1", f"'http://10.0.0.1' {CLEAR}"),
        ("http://127.0.0.1.example", f"'http://127.0.0.1.example' {CLEAR}"),
        ("https://a:hunter2@hints", "'https://***@hints' holds a user; give the token in --token-file"),
        ("https://a:hunter2@[::1", f"'https://***@[::1' {NO_URL}"),
        ("https://hints?a=b", "'https://hints?a=b' has a query or a fragment; leave them out"),
        ("https://hints/#a", "'https://hints/#a' has a query or a fragment; leave them out"),
        ("https://hints/ä", "'https://hints/ä' has characters that no URL has; write them as %XX"),
        ("https://hints/a b", "'https://hints/a b' has characters that no URL has; write them as %XX"),
    ],
)
def test_where_they_cannot_go(to: str, text: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        target_of(to, "default")
    assert str(raised.value) == f"--to: {text}"


@pytest.mark.parametrize("server", ["", "A", "a/b", "a b", "-a", "a-", "..", "a" * 254, "a\n"])
def test_a_server_has_the_name_of_an_object(server: str) -> None:
    with pytest.raises(ConfigurationError) as raised:
        target_of("https://hints", server)
    assert str(raised.value) == f"--server: {server!r} is no name of a VaultServer; see kubectl get vaultservers"


def test_a_file_that_is_there_or_may_come_is_good(tmp_path: Path) -> None:
    (tmp_path / "audit.log").touch()
    check_file(tmp_path / "audit.log")
    check_file(tmp_path / "later.log")
    check_file(tmp_path / "later" / "audit.log")


def test_a_file_that_can_never_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def said(path: Path) -> str:
        with pytest.raises(ConfigurationError) as raised:
            check_file(path)
        return str(raised.value)

    pipe, log = tmp_path / "pipe", tmp_path / "audit.log"
    os.mkfifo(pipe)
    log.touch()
    assert said(tmp_path) == f"--file: {tmp_path} is a directory; name the file of Vault's audit device"
    assert said(pipe) == f"--file: {pipe} is no regular file; name the file of Vault's audit device"
    assert said(log / "x") == f"--file: {log / 'x'} cannot be read (Not a directory); name another file"

    def refused(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refused)  # root may read everything
    assert said(log) == (
        f"--file: {log} cannot be read by user {os.geteuid()}; run as Vault's user, or set the audit option mode=0640 "
        "and share a group"
    )
