"""Every version of every Secret that ever was, from etcd itself.

A watch of the API server misses what happens around its own death: after a restart it cannot go on from an old version.
etcd keeps each revision, so a watch there goes on exactly where it was cut, whoever was killed.
"""

import base64
import http.client
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from lab import rest
from lab.cluster import Lab
from lab.pki import ca, pair

PREFIX = "/registry/secrets/"
# Kubernetes' protobuf: magic, then Unknown{raw = 2}; Secret{metadata = 1, data = 2}; map entries{key = 1, value = 2}.
MAGIC = b"k8s\x00"
SILENCE = 5.0  # seconds; a frozen etcd must not hold the thread for ever


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a Secret; `data` None when it was deleted."""

    revision: int
    namespace: str
    name: str
    data: dict[str, str] | None


@dataclass
class History:
    """Follows etcd in a thread of its own, from now until `stop`."""

    lab: Lab
    versions: list[Version] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)  # revisions that etcd had already compacted away
    _stopping: threading.Event = field(default_factory=threading.Event)
    _next: int = 0

    def __enter__(self) -> "History":
        self._next = self._now() + 1
        self._thread = threading.Thread(target=self._run, name="chaos-history", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join(2 * SILENCE)

    def of(self, namespace: str, name: str) -> list[Version]:
        """Return the versions of one Secret, oldest first."""
        return [v for v in list(self.versions) if (v.namespace, v.name) == (namespace, name)]

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._follow()
            except (OSError, http.client.HTTPException, ValueError):
                self._stopping.wait(0.1)

    def _follow(self) -> None:
        connection = self._connect()
        try:
            what = {"key": _b64(PREFIX), "range_end": _b64(PREFIX[:-1] + "0"), "start_revision": self._next}
            connection.request("POST", "/v3/watch", json.dumps({"create_request": what}))
            with connection.getresponse() as answer:
                while not self._stopping.is_set() and (line := answer.readline()):
                    self._take(json.loads(line)["result"])
        finally:
            connection.close()

    def _take(self, result: dict[str, Any]) -> None:
        if compacted := int(result.get("compact_revision", 0)):
            self.lost.append(f"{self._next}–{compacted}")
            self._next = compacted
        for event in result.get("events", []):
            revision = int(event["kv"]["mod_revision"])
            namespace, _, name = base64.b64decode(event["kv"]["key"]).decode().removeprefix(PREFIX).partition("/")
            deleted = event.get("type") == "DELETE"
            data = None if deleted else secret_data(base64.b64decode(event["kv"]["value"]))
            self.versions.append(Version(revision, namespace, name, data))
            self._next = revision + 1

    def _now(self) -> int:
        connection = self._connect()
        connection.request("POST", "/v3/kv/range", json.dumps({"key": _b64(PREFIX)}))
        revision = int(json.loads(connection.getresponse().read())["header"]["revision"])
        connection.close()
        return revision

    def _connect(self) -> http.client.HTTPSConnection:
        layout = self.lab.layout
        own = pair(layout.pki, "etcd")
        context = rest.tls(ca(layout.pki), own.certificate, own.key)
        return http.client.HTTPSConnection("127.0.0.1", layout.port("etcd"), context=context, timeout=SILENCE)


def secret_data(stored: bytes) -> dict[str, str]:
    """Return the data of a Secret as etcd holds it."""
    assert stored.startswith(MAGIC), "a Secret is stored as protobuf"
    raw = next(value for number, value in _fields(stored[len(MAGIC) :]) if number == 2)
    data = {}
    for number, value in _fields(raw):
        if number == 2:
            entry = dict(_fields(value))
            data[entry.get(1, b"").decode()] = entry.get(2, b"").decode()
    return data


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the fields of a message that are strings, bytes or messages."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        size, at = _varint(message, at)
        if tag & 7 == 0:  # a number; `size` was its value
            continue
        assert tag & 7 == 2, f"wire type {tag & 7} in a Secret"
        yield tag >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value, shift, at = value | (byte & 0x7F) << shift, shift + 7, at + 1
        if byte < 0x80:
            return value, at


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
