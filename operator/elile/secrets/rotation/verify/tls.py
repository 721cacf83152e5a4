"""Tries a certificate and its key out: a handshake in memory, as a client that trusts the authority would see it.

OpenSSL judges chain and names, as it does in a client; to read certificates and compare fields would judge otherwise.
"""

import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any

from elile.secrets.errors import SecretBackendMissingError, SecretsConfigurationError, SecretsUnavailableError
from elile.secrets.rotation.cutoff import Cutoff
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.journal import Value
from elile.secrets.rotation.verify.outcome import Verification
from elile.secrets.tls import client_context

__all__ = ["TlsCheck", "verify_tls"]

# A handshake takes a few rounds; one that takes more does not come to an end.
ROUNDS = 20
# X509_V_ERR_* of OpenSSL's x509_vfy.h, as far as they are told apart.
_NAMES = frozenset({62, 64})
_AGAINST = {9: "is not valid yet", 10: "has expired"}
_WEAK = "no client of today takes the certificate: its key or its signature is too weak, or of a kind that is not used"
_UNTRUSTED = "is not signed by whom we trust, or not for servers"


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsCheck:
    """What a certificate has to be.

    `names` are the host names and addresses that it must be for, each of them. `ca_pem` is who must have signed it;
    without one the value's own `ca`, if there is one, else the system's authorities. The value's own shows no more than
    that the value fits together: whoever wrote it wrote both. Every certificate of the chain must last `minimum_left`
    (none). `server` is who shows it once it was reloaded: another certificate there is no failure, it is too early. It
    is asked for the first of `names`, within `timeout` seconds.
    """

    names: Sequence[str]
    ca_pem: str | None = None
    minimum_left: timedelta = timedelta(0)
    server: tuple[str, int] | None = None
    timeout: float = 10.0
    certificate: str = "tls.crt"
    key: str = "tls.key"
    ca: str = "ca.crt"


def verify_tls(check: TlsCheck, value: Value, dialer: Dialer, *, now: datetime) -> Verification:
    """Judge the pair that is in the value; `now` is aware. Blocks where a server is asked, else for milliseconds.

    Raises SecretsConfigurationError for no names, or an authority that is none; SecretBackendMissingError without
    `cryptography`; EgressRefusedError.
    """
    if not check.names:
        raise SecretsConfigurationError("a tls hook has no names: list those that clients connect to")
    entry = value.reveal()
    chain, key = entry.get(check.certificate), entry.get(check.key)
    if not isinstance(chain, str) or not isinstance(key, str):
        return Verification.failed(f"the value has no text in {check.certificate} or {check.key}")
    trusted = check.ca_pem if check.ca_pem is not None else entry.get(check.ca)
    client = _client(trusted, configured=check.ca_pem is not None)
    if client is None:
        return Verification.failed(f"{check.ca} of the value holds no certificates")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)  # one made like this does not look at SSLKEYLOGFILE
    if problem := _load(server, chain, key, check):
        return Verification.failed(problem)
    leaf = b""
    for name in check.names:
        problem, leaf = _shake_hands(server, client, name)
        if problem:
            return Verification.failed(problem)
    if problem := _ends_too_soon(chain, leaf, now, check):
        return Verification.failed(problem)
    if check.server is None:
        return Verification.passed(f"the certificate is good for {', '.join(check.names)}, and the key is its own")
    return _ask(check, check.server, client, leaf, dialer)


def _client(trusted: Any, *, configured: bool) -> ssl.SSLContext | None:
    if trusted is not None and not isinstance(trusted, str):
        return None
    try:
        context = client_context(trusted)
        # From 3.13 on Python is stricter than most clients: what they take must not depend on the Python that judges.
        context.verify_flags &= ~(ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN)
        return context
    except (ssl.SSLError, ValueError):
        if configured:
            raise SecretsConfigurationError("the authority of a tls hook holds no certificates: give PEM") from None
        return None


def _load(server: ssl.SSLContext, chain: str, key: str, check: TlsCheck) -> str:
    """Have OpenSSL take the pair; return what is wrong with it."""
    # It takes files only. This one is memory without a name in any folder, so that the key is never on a disk.
    file = os.memfd_create("elile-tls")
    try:
        with open(file, "wb", closefd=False) as written:
            written.write(f"{chain}\n{key}\n".encode("utf-8", "surrogatepass"))
        # Without a password OpenSSL would ask for one at the terminal.
        server.load_cert_chain(f"/proc/self/fd/{file}", password=lambda: b"")
    except ssl.SSLError as e:
        if e.reason == "KEY_VALUES_MISMATCH":
            return f"{check.key} is not the key of the certificate in {check.certificate}"
        if str(e.reason).endswith(("_TOO_SMALL", "_TOO_WEAK")):
            return _WEAK
        return f"{check.certificate} and {check.key} are no certificate and key in PEM, or the key has a passphrase"
    finally:
        os.close(file)
    return ""


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str) -> tuple[str, bytes]:
    """Return what a client that connects to `name` has against the server, and the certificate that it was shown."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        asking = client.wrap_bio(to_client, to_server, server_hostname=name)
    except ValueError:
        raise SecretsConfigurationError(f"{name!r} is no name that a certificate can be for: correct names") from None
    left = [asking, server.wrap_bio(to_server, to_client, server_side=True)]
    for _ in range(ROUNDS):
        for end in tuple(left):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as e:
                return _against(e.verify_code, name), b""
            except ssl.SSLError:
                return _WEAK, b""
            left.remove(end)
        if not left:
            return "", asking.getpeercert(binary_form=True) or b""
    return "the handshake does not come to an end", b""  # pragma: no cover - OpenSSL's does


def _against(code: int, name: str) -> str:
    if code in _NAMES:
        return f"the certificate is not for {name!r}"
    return f"the certificate, or one of its chain, {_AGAINST.get(code, _UNTRUSTED)}"


def _ends_too_soon(chain: str, leaf: bytes, now: datetime, check: TlsCheck) -> str:
    try:
        x509 = import_module("cryptography.x509")
    except ModuleNotFoundError:
        raise SecretBackendMissingError(
            "the package 'cryptography' is not installed; install elile[crypto]", backend=""
        ) from None
    try:
        certificates = x509.load_pem_x509_certificates(chain.encode())
        # Of what it does not know it says nothing, and OpenSSL knows more kinds of PEM.
        known = certificates[0] == x509.load_der_x509_certificate(leaf)
    except ValueError:
        known = False
    if not known:
        return f"{check.certificate} does not begin with a certificate as servers show it: write it as plain PEM"
    ends: datetime = min(one.not_valid_after_utc for one in certificates)
    if ends - now >= check.minimum_left:
        return ""
    return (
        f"the certificate, or one of its chain, ends at {ends.astimezone(UTC):%Y-%m-%dT%H:%MZ}, and has to last "
        f"{check.minimum_left.total_seconds():.0f} s"
    )


def _ask(check: TlsCheck, server: tuple[str, int], client: ssl.SSLContext, leaf: bytes, dialer: Dialer) -> Verification:
    host, port = server
    try:
        with Cutoff(check.timeout) as cutoff, dialer.connect(host, port, timeout=cutoff.left) as sock:
            cutoff.watch(sock)
            sock.settimeout(cutoff.left)
            with client.wrap_socket(sock, server_hostname=check.names[0], do_handshake_on_connect=False) as wrapped:
                cutoff.watch(wrapped, instead_of=sock)
                wrapped.do_handshake()
                shown = wrapped.getpeercert(binary_form=True)
    except SecretsUnavailableError as e:
        return Verification.inconclusive(e.detail)
    except ssl.SSLCertVerificationError:
        return Verification.inconclusive(f"{host}:{port} shows a certificate that is not trusted, and not this one")
    except OSError as e:
        return Verification.inconclusive(f"{host}:{port} does not show a certificate ({type(e).__name__})")
    if shown != leaf:
        return Verification.inconclusive(f"{host}:{port} shows another certificate: it was not reloaded yet")
    return Verification.passed(f"{host}:{port} shows the certificate")
