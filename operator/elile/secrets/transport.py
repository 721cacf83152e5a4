"""HTTP to one server with its own trust, a deadline for the whole answer and a limit to its size."""

import errno
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import requests.adapters

from elile.secrets.errors import SecretsError, SecretsMalformedResponseError, SecretsTLSError, SecretsUnavailableError

__all__ = ["MAX_RESPONSE_BYTES", "BoundedAdapter", "VaultEndpoint", "from_transport"]

# A KV entry is at most 1 MiB by the servers' default storage limit; metadata of a thousand versions fits as well.
MAX_RESPONSE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultEndpoint:
    """Where a server is and how it is verified.

    `address` is scheme, host and port. `ca_pem` replaces the system's certificate authorities. `server_name` is the
    name the certificate must hold, when it is not the host. `timeout` in seconds bounds connecting and the whole
    answer, each. `pool` is how many connections are kept open.
    """

    address: str
    ca_pem: str | None = None
    server_name: str | None = None
    timeout: float = 10.0
    pool: int = 16


# OpenSSL's verification results that have a cause of their own; the others are named as OpenSSL names them.
_CERTIFICATE_FAULTS = {10: "the certificate has expired", 62: "the certificate is for another host name"}


def from_transport(error: requests.RequestException, path: str) -> SecretsError:
    """Name the cause of a failed connection without its text, which may hold the whole URL."""
    cause = _deepest(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        fault = _CERTIFICATE_FAULTS.get(cause.verify_code, "the certificate is signed by an unknown authority")
        return SecretsTLSError(fault, path=path)
    if isinstance(cause, ssl.SSLEOFError | ssl.SSLZeroReturnError):  # cut off, not refused: no word on the certificate
        return SecretsUnavailableError("the connection was closed", path=path)
    if isinstance(cause, ssl.SSLError):
        return SecretsTLSError("the TLS handshake failed", path=path)
    if isinstance(error, requests.Timeout) or isinstance(cause, TimeoutError):
        return SecretsUnavailableError("no answer in time", path=path)
    if isinstance(cause, socket.gaierror):
        return SecretsUnavailableError("the host name cannot be resolved", path=path)
    if isinstance(cause, OSError) and cause.errno is not None and cause.errno in errno.errorcode:
        return SecretsUnavailableError(f"connection failed: {errno.errorcode[cause.errno]}", path=path)
    return SecretsUnavailableError("the connection failed or broke", path=path)


def _deepest(error: BaseException) -> BaseException:
    """Walk to the exception of the standard library that requests and urllib3 wrapped."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        inner = inner or next((a for a in error.args if isinstance(a, BaseException)), None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return error


class BoundedAdapter(requests.adapters.HTTPAdapter):
    """A transport that trusts what the endpoint says, and reads an answer within a deadline and a size."""

    def __init__(self, endpoint: VaultEndpoint) -> None:
        self._endpoint = endpoint
        super().__init__(pool_connections=1, pool_maxsize=endpoint.pool, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        if urlsplit(self._endpoint.address).scheme == "https":
            kwargs["ssl_context"] = ssl.create_default_context(cadata=self._endpoint.ca_pem)
            if self._endpoint.server_name:
                kwargs["server_hostname"] = self._endpoint.server_name
        super().init_poolmanager(*args, **kwargs)

    def cert_verify(self, conn: Any, *_: Any, **__: Any) -> None:
        # requests would add its own CA bundle to the context here, and so trust more than the endpoint names.
        conn.cert_reqs = "CERT_REQUIRED"

    def send(self, request: requests.PreparedRequest, *args: Any, **kwargs: Any) -> requests.Response:
        deadline = time.monotonic() + 2 * self._endpoint.timeout
        kwargs["stream"] = True
        response = super().send(request, *args, **kwargs)
        body = bytearray()
        # read1: one piece as it arrives. A full read would wait for its size, however slowly the bytes come.
        while piece := response.raw.read1(65536, decode_content=True):
            body += piece
            if len(body) > MAX_RESPONSE_BYTES:
                response.close()
                raise SecretsMalformedResponseError(f"the answer is larger than {MAX_RESPONSE_BYTES} bytes")
            if time.monotonic() > deadline:
                response.close()
                raise requests.Timeout("the answer took too long")
        response._content = bytes(body)
        response._content_consumed = True  # type: ignore[attr-defined] # requests marks it so after reading
        return response
