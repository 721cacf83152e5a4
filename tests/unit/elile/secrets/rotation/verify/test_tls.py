"""The tls hook: pairs that clients take, pairs that they do not, and a server that has or has not reloaded."""

import ssl
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from elile.secrets.errors import SecretBackendMissingError, SecretsConfigurationError
from elile.secrets.redact import Redacted
from elile.secrets.rotation.egress import Dialer, EgressRefusedError
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile.secrets.rotation.verify.tls import TlsCheck, verify_tls
from tests.fakes.http import ScriptedServer, closed_port

NOW = datetime.now(UTC)
HERE = Dialer(None)
NAMES = ("app.example", "127.0.0.1")


@dataclass(frozen=True)
class Signed:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey

    @property
    def pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def key_pem(self, passphrase: bytes = b"") -> str:
        encryption = BestAvailableEncryption(passphrase) if passphrase else NoEncryption()
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def sign(
    name: str,
    issuer: Signed | None = None,
    *,
    hosts: Sequence[str] = (),
    begins: timedelta = timedelta(hours=-1),
    ends: timedelta = timedelta(days=30),
    purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> Signed:
    """An authority without `hosts`, else a server; signed by itself without an issuer."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW + begins)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(ca=not hosts, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if hosts:
        names = x509.SubjectAlternativeName([general(host) for host in hosts])
        builder = builder.add_extension(names, critical=False).add_extension(
            x509.ExtendedKeyUsage([purpose]), critical=False
        )
    return Signed(builder.sign(signer, hashes.SHA256()), key)


def general(host: str) -> x509.GeneralName:
    return x509.IPAddress(ip_address(host)) if host[0].isdigit() else x509.DNSName(host)


ROOT = sign("Root")
MIDDLE = sign("Middle", ROOT)
LEAF = sign("app", MIDDLE, hosts=NAMES)
CHAIN = LEAF.pem + MIDDLE.pem


def judge(
    chain: str = CHAIN, key: str = LEAF.key_pem(), *, now: datetime = NOW, more: Any = None, **settings: Any
) -> Verification:
    check = TlsCheck(**{"names": NAMES, "ca_pem": ROOT.pem, **settings})
    return verify_tls(check, Redacted({"tls.crt": chain, "tls.key": key, **(more or {})}), HERE, now=now)


def test_a_pair_that_clients_take_passes_for_all_its_names() -> None:
    assert judge() == Verification.passed("the certificate is good for app.example, 127.0.0.1, and the key is its own")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ("app.example", "other.example")}, "the certificate is not for 'other.example'"),
        ({"names": ("10.0.0.1",)}, "the certificate is not for '10.0.0.1'"),
        ({"chain": LEAF.pem}, "is not signed by whom we trust"),
        ({"ca_pem": sign("Stranger").pem}, "is not signed by whom we trust"),
        ({"key": sign("x", hosts=NAMES).key_pem()}, "tls.key is not the key of the certificate in tls.crt"),
        ({"chain": "hunter2"}, "are no certificate and key in PEM"),
        ({"key": "hunter2"}, "are no certificate and key in PEM"),
        ({"key": LEAF.key_pem(b"hunter2")}, "or the key has a passphrase"),
        ({"more": {"tls.key": None}}, "the value has no text in tls.crt or tls.key"),
        ({"ca_pem": None, "more": {"ca.crt": "hunter2"}}, "ca.crt of the value holds no certificates"),
        ({"ca_pem": None, "more": {"ca.crt": ["hunter2"]}}, "ca.crt of the value holds no certificates"),
        ({"ca_pem": None}, "is not signed by whom we trust"),
        ({"minimum_left": timedelta(days=30, hours=1)}, "and has to last 2595600 s"),
        ({"now": NOW + timedelta(days=31)}, "the certificate, or one of its chain, ends at"),
    ],
)
def test_a_pair_that_clients_would_not_take_fails(settings: dict[str, Any], said: str) -> None:
    found = judge(**settings)
    assert (found.outcome, said in found.detail) == (Outcome.FAILED, True), found
    assert "hunter2" not in found.detail


@pytest.mark.parametrize(
    ("leaf", "said"),
    [
        (sign("app", MIDDLE, hosts=NAMES, begins=timedelta(days=-2), ends=timedelta(days=-1)), "has expired"),
        (sign("app", MIDDLE, hosts=NAMES, begins=timedelta(days=1)), "is not valid yet"),
        (sign("app", MIDDLE, hosts=NAMES, purpose=ExtendedKeyUsageOID.CLIENT_AUTH), "or not for servers"),
    ],
)
def test_a_leaf_of_another_time_or_purpose_fails(leaf: Signed, said: str) -> None:
    found = judge(leaf.pem + MIDDLE.pem, leaf.key_pem())
    assert (found.outcome, said in found.detail) == (Outcome.FAILED, True), found


@pytest.mark.parametrize(
    "weak",
    [rsa.generate_private_key(65537, 1024), ec.generate_private_key(ec.SECP256K1())],  # noqa: S505 - that is the point
    ids=["small", "unused"],
)
def test_a_key_that_no_client_takes_fails(weak: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    leaf = sign("app", MIDDLE, hosts=NAMES, key=weak)
    found = judge(leaf.pem + MIDDLE.pem, leaf.key_pem())
    assert (found.outcome, "no client of today takes the certificate" in found.detail) == (Outcome.FAILED, True)


def test_something_else_in_the_chain_fails() -> None:
    broken = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n"
    assert judge(CHAIN + broken).outcome is Outcome.FAILED
    trusted = LEAF.pem.replace("BEGIN CERT", "BEGIN TRUSTED CERT").replace("END CERT", "END TRUSTED CERT")
    for chain in (trusted + MIDDLE.pem, trusted):
        found = judge(chain, ca_pem=MIDDLE.pem + ROOT.pem)
        assert found == Verification.failed(
            "tls.crt does not begin with a certificate as servers show it: write it as plain PEM"
        )


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cryptography.x509", None)
    with pytest.raises(SecretBackendMissingError, match=r"install elile\[crypto\]"):
        judge()


def test_the_certificate_that_ends_first_counts() -> None:
    short = sign("Short", ROOT, ends=timedelta(days=2))
    leaf = sign("app", short, hosts=NAMES)
    assert judge(leaf.pem + short.pem, leaf.key_pem()).outcome is Outcome.PASSED
    found = judge(leaf.pem + short.pem, leaf.key_pem(), minimum_left=timedelta(days=3))
    assert (found.outcome, f"ends at {NOW + timedelta(days=2):%Y-%m-%d}" in found.detail) == (Outcome.FAILED, True)


def test_the_authority_may_be_in_the_value_itself() -> None:
    assert judge(ca_pem=None, more={"ca.crt": ROOT.pem}).outcome is Outcome.PASSED
    alone = sign("app", hosts=NAMES)
    assert judge(alone.pem, alone.key_pem(), ca_pem=None, more={"ca.crt": alone.pem}).outcome is Outcome.PASSED


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"names": ()}, "has no names"),
        ({"names": (".example",)}, "is no name that a certificate can be for"),
        ({"ca_pem": "hunter2"}, "holds no certificates: give PEM"),
    ],
)
def test_a_check_that_cannot_be_made_is_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=said):
        judge(**settings)


def test_neither_the_key_nor_a_session_is_written_down(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "sessions"
    monkeypatch.setenv("SSLKEYLOGFILE", str(log))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    before = len(list(Path("/proc/self/fd").iterdir()))
    assert judge().outcome is Outcome.PASSED
    assert {path for path in tmp_path.iterdir() if path != log} == set()
    # Python makes the file with the context, and writes a comment into it, before we can say no.
    assert not log.exists() or not [line for line in log.read_text().splitlines() if not line.startswith("#")]
    assert len(list(Path("/proc/self/fd").iterdir())) == before


# ── a server that shows it ───────────────────────────────────────────────────────────────────────────────────────────


def context(signed: Signed, chain: str, folder: Path) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    (folder / "pair").write_text(chain + signed.key_pem())
    made.load_cert_chain(folder / "pair")
    return made


@pytest.fixture
def reloaded(tmp_path: Path) -> Iterator[ScriptedServer]:
    with ScriptedServer(tls=context(LEAF, CHAIN, tmp_path)) as server:
        yield server


def test_a_server_that_shows_the_certificate_passes(reloaded: ScriptedServer) -> None:
    found = judge(server=("127.0.0.1", reloaded.port))
    assert found == Verification.passed(f"127.0.0.1:{reloaded.port} shows the certificate")


@pytest.mark.parametrize("trusted", [True, False])
def test_a_server_that_shows_another_certificate_was_not_reloaded(tmp_path: Path, trusted: bool) -> None:
    old = sign("app", MIDDLE if trusted else None, hosts=NAMES)
    with ScriptedServer(tls=context(old, old.pem + MIDDLE.pem, tmp_path)) as server:
        found = judge(server=("127.0.0.1", server.port))
    assert found.outcome is Outcome.INCONCLUSIVE
    assert ("was not reloaded yet" if trusted else "that is not trusted, and not this one") in found.detail


def test_a_server_that_cannot_be_asked_decides_nothing() -> None:
    port = closed_port()
    assert judge(server=("127.0.0.1", port)) == Verification.inconclusive(
        f"127.0.0.1:{port} does not answer (Connection refused)"
    )
    with ScriptedServer(at_once=lambda sock: bool(sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n"))) as plain:
        found = judge(server=("127.0.0.1", plain.port))
        assert (found.outcome, "does not show a certificate" in found.detail) == (Outcome.INCONCLUSIVE, True)
    with ScriptedServer() as silent:
        assert judge(server=("127.0.0.1", silent.port), timeout=0.3).outcome is Outcome.INCONCLUSIVE
    with pytest.raises(EgressRefusedError):
        verify_tls(
            TlsCheck(names=NAMES, ca_pem=ROOT.pem, server=("127.0.0.1", port)),
            Redacted({"tls.crt": CHAIN, "tls.key": LEAF.key_pem()}),
            Dialer([]),
            now=NOW,
        )
