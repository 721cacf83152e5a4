"""A certificate authority of the test session, and the fake API server's certificate."""

import ssl
from dataclasses import dataclass
from pathlib import Path

from lab import pki

__all__ = ["Authority"]


@dataclass(frozen=True)
class Authority:
    """`folder` holds the CA and a certificate for loopback."""

    folder: Path

    @classmethod
    def make(cls, folder: Path) -> "Authority":
        pki.create_authority(folder, "elile fault tests")
        pki.issue(folder, "server", hosts=["127.0.0.1"])
        return cls(folder)

    @property
    def pem(self) -> str:
        return pki.ca(self.folder).read_text()

    def server_context(self) -> ssl.SSLContext:
        pair = pki.pair(self.folder, "server")
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pair.certificate, pair.key)
        return context
