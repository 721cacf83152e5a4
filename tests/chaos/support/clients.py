"""The API server and OpenBao as the load and the checks talk to them: kept-alive connections, no process per call."""

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from lab import control, rest
from lab.cluster import Lab

Body = dict[str, Any]

ELILE = "/apis/elile.io/v1alpha1"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"

# A frozen server answers nothing for longer: whoever asks it then must not be the one that waits.
TIMEOUT = 3.0


class UncertainError(Exception):
    """No answer, or one that says "not now": what was asked for may have happened, or may happen yet."""


@contextmanager
def certain() -> Iterator[None]:
    """Turn every failure of a server, as opposed to a refusal by it, into UncertainError."""
    try:
        yield
    except rest.UnreachableError as e:
        raise UncertainError(str(e)) from None
    except rest.RefusedError as e:
        # 307: an OpenBao that has just been started is a standby of its own for a moment.
        if e.status >= 500 or e.status in (307, 429):
            raise UncertainError(str(e)) from None
        raise
    except ValueError as e:  # an answer that was cut off
        raise UncertainError(str(e)) from None


class Api:
    """The API server, as its administrator; for one thread."""

    def __init__(self, lab: Lab, timeout: float = TIMEOUT) -> None:
        self._client = control.client(lab.layout, lab.layout.api_url_on_bridge, as_admin=True, timeout=timeout)
        self._client.headers["User-Agent"] = "chaos"

    def _ask(self, method: str, path: str, body: object = None, kind: str = "application/json") -> Any:
        with certain():
            return self._client.request(method, path, body, {"Content-Type": kind})

    def get(self, path: str) -> Body | None:
        """Return one object, None if there is none."""
        try:
            found: Body = self._ask("GET", path)
        except rest.RefusedError as e:
            if e.status == 404:
                return None
            raise
        return found

    def list(self, path: str) -> list[Body]:
        """Return the objects of a collection."""
        found: list[Body] = self._ask("GET", path)["items"]
        return found

    def apply(self, path: str, body: Body) -> Body:
        """Server-side apply, all fields of `body` and no others."""
        done: Body = self._ask("PATCH", f"{path}?fieldManager=chaos&force=true", body, APPLY)
        return done

    def merge(self, path: str, body: Body) -> None:
        """Merge into an object; one that is not there is nobody's fault."""
        self._unless_gone("PATCH", path, body, MERGE)

    def delete(self, path: str) -> None:
        """Delete an object, if it is there."""
        self._unless_gone("DELETE", path)

    def _unless_gone(self, method: str, path: str, body: object = None, kind: str = "application/json") -> None:
        try:
            self._ask(method, path, body, kind)
        except rest.RefusedError as e:
            if e.status not in (404, 409):
                raise


def elilesecrets(namespace: str, name: str = "") -> str:
    """Path of an ElileSecret, or of all of a namespace."""
    return f"{ELILE}/namespaces/{namespace}/elilesecrets" + (f"/{name}" if name else "")


def secrets(namespace: str, name: str = "") -> str:
    """Path of a Secret, or of all of a namespace."""
    return f"/api/v1/namespaces/{namespace}/secrets" + (f"/{name}" if name else "")


def decoded(body: Body) -> dict[str, str]:
    """Return the data of a Secret as text."""
    return {key: base64.b64decode(value or "").decode() for key, value in (body.get("data") or {}).items()}


@dataclass(frozen=True, slots=True)
class KvEntry:
    """An entry of the KV engine as it is: `values` None where the current version is deleted."""

    version: int
    values: dict[str, str] | None


class Bao:
    """OpenBao's KV engine at `secret/`, as root; for one thread."""

    def __init__(self, lab: Lab, address: str | None = None, token: str | None = None) -> None:
        self._client = control.client(lab.layout, address or lab.layout.bao_url, timeout=TIMEOUT)
        self._client.headers["X-Vault-Token"] = token or lab.root_token

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        with certain():
            return self._client.request(method, f"/v1/secret/{path}", body)

    def put(self, path: str, values: dict[str, str], *, after: int | None = None) -> int:
        """Write a version and return its number; `after`: only if that is the current one (RefusedError)."""
        options = {} if after is None else {"options": {"cas": after}}
        done = self._ask("POST", f"data/{quote(path)}", {"data": values, **options})
        return int(done["data"]["version"])

    def get(self, path: str) -> KvEntry | None:
        """Return the entry, None if nothing was ever written there."""
        try:
            found = self._ask("GET", f"data/{quote(path)}")["data"]
        except rest.RefusedError as e:
            if e.status != 404:
                raise
            # A deleted version answers 404 with its metadata, a path that never was with none.
            return self._deleted(path)
        return KvEntry(int(found["metadata"]["version"]), found["data"])

    def _deleted(self, path: str) -> KvEntry | None:
        try:
            found = self._ask("GET", f"metadata/{quote(path)}")["data"]
        except rest.RefusedError as e:
            if e.status != 404:
                raise
            return None
        return KvEntry(int(found["current_version"]), None)

    def delete(self, path: str) -> None:
        """Delete the current version, which can be undone."""
        self._ask("DELETE", f"data/{quote(path)}")

    def undelete(self, path: str, version: int) -> None:
        """Undo the deletion of a version."""
        self._ask("POST", f"undelete/{quote(path)}", {"versions": [version]})


def text(body: object) -> str:
    """A body for a message: short, and in one order."""
    return json.dumps(body, sort_keys=True)[:300]
