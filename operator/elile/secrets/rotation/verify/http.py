"""Asks an HTTP API whether it takes a key. The key goes into a header, the answer is looked at and thrown away."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, urlsplit

from elile.secrets.errors import SecretsConfigurationError, SecretsUnavailableError
from elile.secrets.redact import SecretStr
from elile.secrets.rotation.cutoff import Cutoff
from elile.secrets.rotation.drivers.tls import secured, trusting
from elile.secrets.rotation.egress import Dialer
from elile.secrets.rotation.verify.outcome import Verification

__all__ = ["PRESETS", "HttpProbe", "verify_http"]

MAX_BODY = 64 * 1024
REFUSED = (401, 403)
BUSY = (408, 425, 429)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpProbe:
    """One request, and what its answer has to be.

    `header` gets `scheme`, a blank and the key; the key alone where `scheme` is "". `statuses` pass. `equals` maps JSON
    pointers to the texts that the answer must hold there: whose key it is. A probe without it proves that a key works,
    and not whose; `headers` are sent as they are. `timeout` in seconds is for all of it.
    """

    url: str
    method: str = "GET"
    header: str = "Authorization"
    scheme: str = "Bearer"
    headers: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    statuses: frozenset[int] = frozenset({200})
    equals: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    timeout: float = 10.0
    ca_pem: str | None = None
    allow_plain: bool = False


# The cheapest request of each that needs a key: lists of models cost no tokens.
PRESETS: Mapping[str, HttpProbe] = MappingProxyType(
    {
        "openai": HttpProbe(url="https://api.openai.com/v1/models"),
        "anthropic": HttpProbe(
            url="https://api.anthropic.com/v1/models",
            header="x-api-key",
            scheme="",
            headers=MappingProxyType({"anthropic-version": "2023-06-01"}),
        ),
    }
)


def verify_http(probe: HttpProbe, key: SecretStr, dialer: Dialer) -> Verification:
    """Send the request and judge the answer. Blocks.

    Raises SecretsConfigurationError for a URL or a key that cannot be sent, EgressRefusedError for an address that is
    not on the list: no other try will help there.
    """
    parts = _parts(probe)
    value = f"{probe.scheme} {key.reveal()}" if probe.scheme else key.reveal()
    if any(c in value for c in "\r\n\0") or not value.isascii():
        raise SecretsConfigurationError("the key cannot be sent in a header: it holds a line break or no ASCII")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    with Cutoff(probe.timeout) as cutoff:
        connection = _connection(probe, parts, dialer, cutoff)
        try:
            connection.request(probe.method, target, headers={**probe.headers, probe.header: value})
            with connection.getresponse() as response:
                return _judge(probe, response.status, response.read(MAX_BODY + 1))
        except SecretsUnavailableError as e:
            return Verification.inconclusive(e.detail)
        except (OSError, http.client.HTTPException) as e:
            # Only the class: the text of some of these quotes what was sent.
            return Verification.inconclusive(f"no usable answer ({type(e).__name__})")
        finally:
            connection.close()


def _judge(probe: HttpProbe, status: int, body: bytes) -> Verification:
    if status in REFUSED:
        return Verification.failed(f"the server refuses the key with {status}")
    if status in BUSY or status >= 500:
        return Verification.inconclusive(f"the server answers {status}")
    if status not in probe.statuses:
        return Verification.inconclusive(f"the server answers {status}, which says nothing about the key")
    if not probe.equals:
        return Verification.passed(f"the server takes the key with {status}")
    if len(body) > MAX_BODY:
        return Verification.inconclusive(f"the answer is larger than {MAX_BODY} bytes")
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return Verification.inconclusive("the answer is not JSON")
    for pointer, wanted in probe.equals.items():
        if str(_at(document, pointer)) != wanted:
            return Verification.failed(f"the key works and is another one's: {pointer} is not what it should be")
    return Verification.passed(f"the server takes the key with {status}, and it is the right one")


def _parts(probe: HttpProbe) -> SplitResult:
    try:
        parts = urlsplit(probe.url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        usable = False
    if not usable or parts.username or parts.password:
        raise SecretsConfigurationError("the URL of an http hook is https://host/path, without user and password")
    if parts.scheme == "http" and not probe.allow_plain:
        raise SecretsConfigurationError("an http hook sends the key: use https, or allow plain http expressly")
    return parts


def _connection(probe: HttpProbe, parts: SplitResult, dialer: Dialer, cutoff: Cutoff) -> http.client.HTTPConnection:
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    connection = http.client.HTTPConnection(host, port, timeout=probe.timeout)

    def connect() -> None:
        sock = dialer.connect(host, port, timeout=cutoff.left)
        cutoff.watch(sock)
        sock.settimeout(cutoff.left)
        if parts.scheme == "https":
            peer = f"{host}:{port}"
            sock = secured(sock, trusting(probe.ca_pem, peer=peer, backend=""), host, cutoff, peer=peer, backend="")
        connection.sock = sock

    # http.client has no other place for a socket of one's own: redirects, proxies and a second look-up are ruled out.
    connection.connect = connect  # type: ignore[method-assign]
    return connection


def _at(document: Any, pointer: str) -> Any:
    """Return what a JSON pointer (RFC 6901) leads to, None when it leads nowhere."""
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(document, dict):
            document = document.get(name)
        elif isinstance(document, list) and name.isascii() and name.isdigit() and int(name) < len(document):
            document = document[int(name)]
        else:
            return None
    return document
