"""A server on loopback whose every byte is scripted by the test, with certificates to go with it."""

import contextlib
import datetime as dt
import ipaddress
import json
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

__all__ = ["Authority", "Exchange", "Heard", "ScriptedServer", "answer", "closed_port", "json_answer"]

CHUNK = 65536
HUNG = 30.0  # longer than any test waits


@dataclass(frozen=True, slots=True)
class Heard:
    """One request; names of headers are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


def answer(
    status: int, body: bytes = b"", headers: Mapping[str, str] | None = None, *, reason: str = "Scripted"
) -> bytes:
    """Write a whole answer; `headers` replace those that are made here."""
    lines = {"Content-Type": "application/json", "Content-Length": str(len(body)), **(headers or {})}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"HTTP/1.1 {status} {reason}\r\n{head}\r\n".encode() + body


def json_answer(status: int, content: Any, headers: Mapping[str, str] | None = None) -> bytes:
    """Write a whole answer with JSON in it."""
    return answer(status, json.dumps(content).encode(), headers)


def closed_port() -> int:
    """Return a port of loopback that nobody listens at."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


class Exchange:
    """One request that a script answers; `sent` counts the bytes that the other side still took."""

    def __init__(self, connection: socket.socket, heard: Heard, stopping: threading.Event) -> None:
        self.heard = heard
        self.sent = 0
        self._connection = connection
        self._stopping = stopping

    def send(self, data: bytes) -> bool:
        """Send; False when the other side has gone."""
        try:
            self._connection.sendall(data)
        except OSError:
            return False
        self.sent += len(data)
        return True

    def trickle(self, data: bytes, *, every: float) -> bool:
        """Send a byte at a time; False when the other side has gone."""
        return all(self.send(data[i : i + 1]) and self.wait(every) for i in range(len(data)))

    def wait(self, seconds: float = HUNG) -> bool:
        """Say nothing for a while; False when the server is being stopped."""
        return not self._stopping.wait(seconds)

    def finish(self) -> None:
        """End the connection after what was sent."""
        with contextlib.suppress(OSError):
            self._connection.shutdown(socket.SHUT_RDWR)


Script = Callable[[Exchange], None]


@dataclass
class ScriptedServer:
    """Answers every request by a script, or with the same bytes; a thread for each connection.

    `at_once` runs on a fresh connection, before TLS and before a request is read; it says whether to go on. `heard` are
    the requests in their order, `connections` counts those accepted, `exchanges` is what was done about each request.
    """

    script: Script | bytes = b""
    tls: ssl.SSLContext | None = None
    at_once: Callable[[socket.socket], bool] | None = None
    heard: list[Heard] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> "ScriptedServer":
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._accepting = threading.Thread(target=self._accept, name="scripted-accept")
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes accept()
        self._listener.close()
        self._accepting.join()
        for connection in list(self._open):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    @property
    def address(self) -> str:
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def _accept(self) -> None:
        while not self._stopping.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), name="scripted-connection")
            self._threads.append(thread)
            thread.start()

    def _serve(self, plain: socket.socket) -> None:
        # Any of these may find the other side gone: that is the client's good right.
        with plain, contextlib.suppress(OSError):
            if self.at_once is not None and not self.at_once(plain):
                return
            if self.tls is None:
                self._converse(plain)
                return
            with self.tls.wrap_socket(plain, server_side=True) as wrapped:
                self._open.add(wrapped)
                self._converse(wrapped)

    def _converse(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as reader:
            for heard in _requests(reader):
                exchange = Exchange(connection, heard, self._stopping)
                self.heard.append(heard)
                self.exchanges.append(exchange)
                if isinstance(self.script, bytes):
                    exchange.send(self.script)
                else:
                    self.script(exchange)
                if self._stopping.is_set() or connection.fileno() < 0:
                    return


def _requests(reader: Any) -> Iterator[Heard]:
    while line := reader.readline():
        if not line.endswith(b" HTTP/1.1\r\n"):
            return
        method, target, _ = line.decode().split(" ", 2)
        headers: dict[str, str] = {}
        while (line := reader.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        yield Heard(method, target, headers, reader.read(int(headers.get("content-length", "0"))))


class Authority:
    """A certificate authority in memory."""

    def __init__(self, name: str = "Test CA") -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self._certificate = (
            _certificate(self._name, self._name, self._key.public_key(), self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(signs=True), critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.pem = self._certificate.public_bytes(serialization.Encoding.PEM).decode()

    def pair(
        self,
        names: Sequence[str] = ("127.0.0.1",),
        *,
        begins: dt.timedelta = dt.timedelta(hours=-1),
        ends: dt.timedelta = dt.timedelta(hours=1),
        purpose: x509.ObjectIdentifier = ExtendedKeyUsageOID.SERVER_AUTH,
    ) -> bytes:
        """Return a certificate for `names` (host names and addresses) and its key, in PEM."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "server")])
        signed = (
            _certificate(subject, self._name, key.public_key(), self._key.public_key(), begins, ends)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(signs=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
            .add_extension(x509.SubjectAlternativeName([_general(n) for n in names]), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return signed.public_bytes(serialization.Encoding.PEM) + private

    def server(self, names: Sequence[str] = ("127.0.0.1",), **about: Any) -> ssl.SSLContext:
        """Return the server side's context, with a pair of these names; `about` as for `pair`."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        with tempfile.NamedTemporaryFile() as file:  # ssl takes a server's key from a file only
            file.write(self.pair(names, **about))
            file.flush()
            context.load_cert_chain(file.name)
        return context


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    issuer_key: ec.EllipticCurvePublicKey,
    begins: dt.timedelta = dt.timedelta(hours=-1),
    ends: dt.timedelta = dt.timedelta(hours=1),
) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
    )


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
