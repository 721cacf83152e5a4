"""Files with a token or certificates are followed, and what cannot be used leaves what was."""

import logging
import ssl
from pathlib import Path

import pytest

from elile.secrets.redact import SecretStr
from elile_operator.hints.credentials import WatchedFile, authorities_of, token_of
from elile_operator.hints.options import ConfigurationError
from tests.fakes.http import Authority


def replace(path: Path, content: bytes) -> None:
    """As kubelet and editors do."""
    fresh = path.with_name("fresh")
    fresh.write_bytes(content)
    fresh.rename(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_bytes(b"one\n")
    return path


def test_a_token_is_followed(path: Path) -> None:
    token = WatchedFile("--token-file", path, token_of)
    assert token.get() == SecretStr("one")
    replace(path, b"two")
    assert token.get() == SecretStr("two")
    path.write_bytes(b"longer")
    assert token.get() == SecretStr("longer")


def test_refresh_says_whether_it_is_another(path: Path) -> None:
    token = WatchedFile("--token-file", path, token_of)
    assert not token.refresh()
    replace(path, b"two")
    assert token.refresh()
    assert not token.refresh()


def test_an_unchanged_file_is_not_read_again(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = WatchedFile("--token-file", path, token_of)
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("it is as it was"))
    assert token.get() == SecretStr("one")


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"t\xc3\xb6ken", b"a\nb", b"a\x00"])
def test_what_is_no_token_leaves_the_one_before(path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    token = WatchedFile("--token-file", path, token_of)
    replace(path, content)
    for _ in range(2):
        assert token.get() == SecretStr("one")
        assert not token.refresh()
    assert caplog.messages == [
        f"--token-file: {path} holds no token; write the token of the VaultServer there, in one line; "
        "what it said before is used"
    ]
    replace(path, b"two")
    assert token.get() == SecretStr("two")


def test_a_file_that_is_gone_leaves_what_it_said(path: Path) -> None:
    token = WatchedFile("--token-file", path, token_of)
    path.unlink()
    assert token.get() == SecretStr("one")
    assert not token.refresh()


def test_at_the_start_it_has_to_be_there(path: Path) -> None:
    with pytest.raises(ConfigurationError) as raised:
        WatchedFile("--token-file", path.with_name("none"), token_of)
    assert str(raised.value) == (
        f"--token-file: {path.with_name('none')} cannot be read (No such file or directory); name a file that the "
        "forwarder's user may read"
    )


def test_a_token_is_never_shown(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path.write_bytes(b"hunter2 hunter2")
    with caplog.at_level(logging.DEBUG), pytest.raises(ConfigurationError) as raised:
        WatchedFile("--token-file", path, token_of)
    assert "hunter2" not in str(raised.value) + caplog.text + repr(token_of(b"hunter2"))


def test_authorities_are_followed(tmp_path: Path) -> None:
    path = tmp_path / "ca.crt"
    path.write_text(Authority("one").pem)
    context = WatchedFile("--ca-file", path, authorities_of)
    first = context.get()
    assert first.verify_mode is ssl.CERT_REQUIRED
    assert first.check_hostname
    assert context.get() is first
    replace(path, f"# größer\n{Authority('two').pem}".encode())
    second = context.get()
    assert second is not first
    assert [dict(part[0] for part in ca["subject"])["commonName"] for ca in second.get_ca_certs()] == ["two"]


@pytest.mark.parametrize("content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", b"\xff"])
def test_what_is_no_bundle(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.crt"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError) as raised:
        WatchedFile("--ca-file", path, authorities_of)
    assert str(raised.value) == (
        f"--ca-file: {path} holds no certificates; write the CA of the operator's certificate there, as PEM"
    )
