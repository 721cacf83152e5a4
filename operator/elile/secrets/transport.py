"""HTTP to one server with its own trust, a deadline for the whole answer and a limit to its size."""

import errno
import http.client
import json as json_
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode, urlsplit

import urllib3
import urllib3.connection
import urllib3.exceptions

from elile.secrets.deadline import DeadlineResponse
from elile.secrets.errors import (
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.tls import client_context

__all__ = ["MAX_RESPONSE_BYTES", "Answer", "Connections", "VaultEndpoint", "from_transport"]

# A KV entry is at most 1 MiB by the servers' default storage limit; metadata of a thousand versions fits as well.
MAX_RESPONSE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEndpoint:
    """Where a server is and how it is verified.

    `address` is scheme, host and port. `ca_pem` replaces the system's certificate authorities. `server_name` is the
    name the certificate must hold, when it is not the host. `timeout` in seconds bounds connecting and the whole
    answer, each. `pool` is how many connections are kept open. `namespace` is of Vault Enterprise and OpenBao.
    """

    address: str
    ca_pem: str | None = None
    server_name: str | None = None
    timeout: float = 10.0
    pool: int = 16
    namespace: str | None = None


# OpenSSL's verification results; what is not named here says nothing about who signed.
_CERTIFICATE_FAULTS = {
    9: "the certificate is not valid yet",
    10: "the certificate has expired",
    **dict.fromkeys((2, 18, 19, 20, 21), "the certificate is signed by an unknown authority"),
    62: "the certificate is for another host name",
    64: "the certificate is for another address",
}


def from_transport(error: urllib3.exceptions.HTTPError, path: str) -> SecretsError:
    """Name the cause of a failed connection without its text, which may hold the whole URL."""
    cause = _deepest(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(
            cause.verify_code, f"the certificate is not good (OpenSSL's result {cause.verify_code})"
        )
        return SecretsTLSError(fault, path=path)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # cut off, not refused: no word on the certificate
        return SecretsUnavailableError("the connection was closed", path=path)
    if isinstance(cause, ssl.SSLError):
        return SecretsTLSError("the TLS handshake failed", path=path)
    # NewConnectionError counts as a timeout there, and may be any failure to connect.
    late = isinstance(error, urllib3.exceptions.TimeoutError)
    if isinstance(cause, TimeoutError) or (late and not isinstance(error, urllib3.exceptions.NewConnectionError)):
        return SecretsUnavailableError("no answer in time", path=path)
    if isinstance(cause, socket.gaierror):
        return SecretsUnavailableError("the host name cannot be resolved", path=path)
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
        return SecretsUnavailableError(f"connection failed: {errno.errorcode[cause.errno]}", path=path)
    return SecretsUnavailableError("the connection failed or broke", path=path)


def _deepest(error: BaseException) -> BaseException:
    """Walk to the exception of the standard library that urllib3 wrapped."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        inner = inner or next((a for a in error.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


class _Response(DeadlineResponse):
    def begin(self) -> None:
        super().begin()
        # urllib3 would log headers it cannot read, as the server sent them, and leave the socket open over odd lengths.
        lengths = set(self.headers.get_all("Content-Length", ()))
        odd_length = len(lengths) > 1 or (lengths and self.length is None and not self.chunked)
        if odd_length or self.headers.defects or self.headers.get_payload():
            raise http.client.HTTPException("odd headers")


class _HTTPConnection(urllib3.connection.HTTPConnection):
    response_class = _Response


class _HTTPSConnection(urllib3.connection.HTTPSConnection):
    response_class = _Response


class _HTTPPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HTTPConnection


class _HTTPSPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HTTPSConnection


@dataclass(frozen=True, slots=True)
class Answer:
    """What hvac looks at of a response. Its text shows the status alone: the rest holds values."""

    status_code: int
    headers: Mapping[str, str] = field(repr=False)
    content: bytes = field(repr=False)

    @property
    def ok(self) -> bool:
        return self.status_code < 400

    @property
    def text(self) -> str:
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Raises ValueError for what is no JSON."""
        return json_.loads(self.content)


class Connections:
    """Connections to one endpoint, as hvac wants its session, in place of one of requests.

    That asks the environment, cookies and hooks with every call, which takes more time than all the rest of it.
    """

    # hvac copies these to its own settings.
    verify = cert = proxies = None

    def __init__(self, endpoint: VaultEndpoint) -> None:
        parts = urlsplit(endpoint.address)
        self._base = endpoint.address.rstrip("/")
        self._pool: urllib3.HTTPConnectionPool | None = None  # without one, the CA certificates cannot be read
        host = parts.hostname or ""
        settings: dict[str, Any] = {"maxsize": endpoint.pool, "retries": False}
        if parts.scheme != "https":
            self._pool = _HTTPPool(host, parts.port, **settings)
            return
        if endpoint.server_name:
            settings["server_hostname"] = endpoint.server_name
        try:
            trust = client_context(endpoint.ca_pem)
        except (ssl.SSLError, ValueError):
            return
        self._pool = _HTTPSPool(host, parts.port, ssl_context=trust, **settings)

    def request(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str] | None = None,
        params: Mapping[str, Any] | None = None,
        json: Any = None,
        timeout: float | None = None,
        **_: Any,
    ) -> Answer:
        """Send a request and read the whole answer. Redirects are not followed, and nothing is tried twice.

        Raises SecretsError for what the endpoint or the answer is, and HTTPError of urllib3 for what the network does.
        """
        if self._pool is None:
            raise SecretsTLSError("the CA certificates given for it cannot be read")
        target = url.removeprefix(self._base) + (f"?{urlencode(params)}" if params else "")
        sent = {"Accept": "application/json", "User-Agent": "elile-secrets", **(headers or {})}
        body = None
        if json is not None:
            body = json_.dumps(json, allow_nan=False).encode()
            sent["Content-Type"] = "application/json"
        try:
            response = self._pool.urlopen(
                method.upper(),
                target,
                body=body,
                headers=sent,
                timeout=urllib3.Timeout(connect=timeout, read=timeout),
                redirect=False,
                preload_content=False,
            )
        except urllib3.exceptions.HTTPError:
            raise
        except ValueError:
            raise SecretsConfigurationError(
                "the token, or a name, has a character that no header can hold; correct it"
            ) from None
        try:
            content = _body(response)
        except BaseException as e:
            response.close()
            if isinstance(e, urllib3.exceptions.DecodeError):
                raise SecretsMalformedResponseError("the answer's compression cannot be read") from None
            raise
        return Answer(response.status, response.headers, content)

    def close(self) -> None:
        """Close the connections that are not in use."""
        if self._pool is not None:
            self._pool.close()


def _body(raw: Any) -> bytes:
    body = bytearray()
    # read1: one piece as it arrives, unpacked to no more than asked for. A full read would hold all of it first.
    while piece := raw.read1(65536, decode_content=True):
        body += piece
        if len(body) > MAX_RESPONSE_BYTES:
            raise SecretsMalformedResponseError(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
    return bytes(body)
