"""The API server and OpenBao over connections that stay open.

What a test asks for again and again goes this way: a process for each question would take the machine from what is
tested.
"""

import base64
import json
import ssl
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import yaml

from elile_operator.kube import resources
from elile_operator.kube.resources import Resource
from lab import rest
from lab.errors import LabError

# As `kubectl get` takes them.
KINDS = {r.kind.lower(): r for r in vars(resources).values() if isinstance(r, Resource)} | {
    "sa": resources.SERVICE_ACCOUNTS,
    "quota": Resource("", "v1", "resourcequotas", "ResourceQuota"),
    "clusterrole": Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False),
}
TIMEOUT = 30.0


class CommandError(AssertionError):
    """A server, kubectl or bao said no, or what has to be there is not; `status` where HTTP has one, else 0."""

    def __init__(self, text: str, status: int = 0) -> None:
        super().__init__(text)
        self.status = status


class Rest:
    """One server, for any number of threads."""

    def __init__(self, base: str, trust: ssl.SSLContext, headers: Mapping[str, str] | None = None) -> None:
        self._base = base
        self._trust = trust
        self._headers = dict(headers or {})
        self._own = threading.local()
        self._clients: list[rest.Client] = []

    def close(self) -> None:
        """Close the connections of all threads."""
        for client in self._clients:
            client.close()

    @classmethod
    def of_kubeconfig(cls, path: Path) -> Self:
        """An API server, as the client whose certificate the file holds."""
        config = yaml.safe_load(path.read_text())
        (context,) = (c["context"] for c in config["contexts"] if c["name"] == config["current-context"])
        (cluster,) = (c["cluster"] for c in config["clusters"] if c["name"] == context["cluster"])
        (user,) = (u["user"] for u in config["users"] if u["name"] == context["user"])
        trust = ssl.create_default_context(cadata=_inline(cluster["certificate-authority-data"]).decode())
        with tempfile.NamedTemporaryFile() as pair:  # ssl reads certificates of clients from files alone
            pair.write(_inline(user["client-certificate-data"]) + b"\n" + _inline(user["client-key-data"]))
            pair.flush()
            trust.load_cert_chain(pair.name)
        return cls(cluster["server"], trust)

    @classmethod
    def of_bao(cls, address: str, ca_pem: str, token: str) -> Self:
        return cls(address, ssl.create_default_context(cadata=ca_pem), {"X-Vault-Token": token})

    def get(self, path: str) -> dict[str, Any] | None:
        """Return what is there; None for nothing."""
        with _unless_gone():
            found: dict[str, Any] = self._client.get(path)
            return found
        return None

    def text(self, path: str) -> str:
        """Return what is there as it came, empty for nothing."""
        with _unless_gone():
            return self._client.text(path)
        return ""

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        """Raises CommandError, as `apply` does."""
        with _refusals():
            self._client.request("POST", path, body)

    def apply(self, path: str, body: Mapping[str, Any]) -> None:
        """Apply an object of an API server as `kubectl apply --server-side --force-conflicts` does."""
        with _refusals():
            query = "fieldManager=kubectl&force=true&fieldValidation=Strict"
            self._client.request("PATCH", f"{path}?{query}", body, {"Content-Type": "application/apply-patch+yaml"})

    def delete(self, path: str) -> None:
        """Delete what may be there."""
        with _unless_gone():
            self._client.request("DELETE", path)

    @property
    def _client(self) -> rest.Client:
        if not hasattr(self._own, "client"):
            self._own.client = rest.Client(self._base, self._trust, self._headers, TIMEOUT)
            self._clients.append(self._own.client)
        client: rest.Client = self._own.client
        return client


@contextmanager
def _refusals() -> Iterator[None]:
    """Say what the server said, in its words."""
    try:
        yield
    except rest.RefusedError as e:
        raise CommandError(_message(e.answer) or str(e), e.status) from None
    except LabError as e:
        raise CommandError(str(e)) from None


@contextmanager
def _unless_gone() -> Iterator[None]:
    """The same, but that there is nothing is nobody's fault."""
    try:
        with _refusals():
            yield
    except CommandError as e:
        if e.status != HTTPStatus.NOT_FOUND:
            raise


def _message(answer: str) -> str:
    try:
        return str(json.loads(answer)["message"])
    except (ValueError, KeyError, TypeError):
        return ""


def _inline(text: str) -> bytes:
    return base64.b64decode(text)
