"""The API server and OpenBao over connections that stay open.

What a test asks for again and again goes this way: a process for each question would take the machine from what is
tested.
"""

import base64
import ssl
import tempfile
from collections.abc import Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import httpx
import yaml

from elile_operator.kube import resources
from elile_operator.kube.resources import Resource

# As `kubectl get` takes them.
KINDS = {r.kind.lower(): r for r in vars(resources).values() if isinstance(r, Resource)} | {
    "sa": resources.SERVICE_ACCOUNTS,
    "quota": Resource("", "v1", "resourcequotas", "ResourceQuota"),
    "clusterrole": Resource("rbac.authorization.k8s.io", "v1", "clusterroles", "ClusterRole", namespaced=False),
}
TIMEOUT = 30.0


class RestError(AssertionError):
    """No answer, or one that says no."""


class Rest:
    """One server. `call` may be used by several threads."""

    def __init__(self, base: str, trust: ssl.SSLContext, headers: Mapping[str, str] | None = None) -> None:
        # The environment's proxies and certificates lead elsewhere.
        self._client = httpx.Client(base_url=base, verify=trust, headers=headers, timeout=TIMEOUT, trust_env=False)

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

    def get(self, path: str, **query: str) -> dict[str, Any] | None:
        """Return what is there; None for nothing."""
        answer = self._call("GET", path, query)
        found: dict[str, Any] | None = None if answer is None else answer.json()
        return found

    def text(self, path: str, **query: str) -> str:
        """Return what is there as it came, empty for nothing."""
        answer = self._call("GET", path, query)
        return "" if answer is None else answer.text

    def post(self, path: str, body: Mapping[str, Any]) -> None:
        if self._call("POST", path, {}, body) is None:
            raise RestError(f"POST {path}: not found")

    def _call(
        self, method: str, path: str, query: Mapping[str, str], body: Mapping[str, Any] | None = None
    ) -> httpx.Response | None:
        try:
            answer = self._client.request(method, path, params=query, json=body)
        except httpx.TransportError as e:
            raise RestError(f"{method} {path}: {type(e).__name__}: {e}") from None
        if answer.status_code == HTTPStatus.NOT_FOUND:
            return None
        if answer.is_error:
            raise RestError(f"{method} {path}: {answer.status_code} {answer.text.strip()}")
        return answer


def _inline(text: str) -> bytes:
    return base64.b64decode(text)
