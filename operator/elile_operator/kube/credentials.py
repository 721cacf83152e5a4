"""How the operator proves who it is to the API server: a kubeconfig outside a cluster, a mounted token inside."""

import asyncio
import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from kubernetes.aio import client, config

from elile.secrets.redact import SecretStr

__all__ = [
    "SERVICE_ACCOUNT_FOLDER",
    "CredentialSource",
    "Credentials",
    "CredentialsError",
    "KubeconfigCredentials",
    "ServiceAccountCredentials",
]

# Where kubelet mounts the token, the CA certificate and the namespace of a pod.
SERVICE_ACCOUNT_FOLDER = Path("/var/run/secrets/kubernetes.io/serviceaccount")
# Projected tokens live an hour and are rewritten at 80 %; looking every minute is always early enough.
TOKEN_LIFE = dt.timedelta(minutes=1)
# Exec plugins may take a second; their tokens live fifteen minutes at the least.
KUBECONFIG_LIFE = dt.timedelta(minutes=10)


class CredentialsError(Exception):
    """No usable credentials; the message names the file or variable and the remedy."""

    @property
    def safe_text(self) -> str:
        return str(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """One way to reach the API server, good until `expires` (aware UTC)."""

    server: str
    expires: dt.datetime
    ca_file: str | None = None
    certificate_file: str | None = None
    key_file: str | None = None
    tls_server_name: str | None = None
    token: SecretStr | None = None


class CredentialSource(Protocol):
    """Where credentials come from, again and again: tokens are rotated under a running process."""

    async def load(self) -> Credentials:
        """Read them now. Raises CredentialsError."""
        ...


class KubeconfigCredentials:
    """A kubeconfig file, as kubectl reads it (client certificates, tokens, exec plugins)."""

    def __init__(self, path: Path, context: str | None = None) -> None:
        self._path = path
        self._context = context

    async def load(self) -> Credentials:
        found = client.Configuration()
        try:
            await config.load_kube_config(
                str(self._path), context=self._context, client_configuration=found, persist_config=False
            )
        except Exception as e:  # a file of another shape ends in whatever the loader trips over
            raise self._unusable(type(e).__name__) from None
        if not found.host:
            raise self._unusable("its cluster has no server")
        bearer = str(found.api_key.get("BearerToken") or "")
        return Credentials(
            server=str(found.host),
            expires=dt.datetime.now(dt.UTC) + KUBECONFIG_LIFE,
            ca_file=found.ssl_ca_cert,
            certificate_file=found.cert_file,
            key_file=found.key_file,
            tls_server_name=found.tls_server_name,
            token=SecretStr(bearer.split(" ", 1)[-1]) if bearer else None,
        )

    def _unusable(self, why: str) -> CredentialsError:
        return CredentialsError(
            f"kubeconfig {self._path} cannot be used ({why}); "
            "name another file with --kubeconfig, or its context with --context"
        )


class ServiceAccountCredentials:
    """The files kubelet mounts into a pod, and the two variables that name the API server."""

    def __init__(self, folder: Path = SERVICE_ACCOUNT_FOLDER, environ: Mapping[str, str] = os.environ) -> None:
        self._folder = folder
        self._environ = environ

    async def load(self) -> Credentials:
        host, port = self._environ.get("KUBERNETES_SERVICE_HOST"), self._environ.get("KUBERNETES_SERVICE_PORT")
        if not host or not port:
            raise CredentialsError(
                "KUBERNETES_SERVICE_HOST or KUBERNETES_SERVICE_PORT is not set: this is no pod; name a --kubeconfig"
            )
        token_file = self._folder / "token"
        try:
            token = (await asyncio.to_thread(token_file.read_text)).strip()
        except OSError as e:
            raise CredentialsError(
                f"the ServiceAccount token {token_file} cannot be read ({type(e).__name__}); "
                "mount it (automountServiceAccountToken) or name a --kubeconfig"
            ) from None
        if not token:
            raise CredentialsError(f"the ServiceAccount token {token_file} is empty")
        return Credentials(
            server=f"https://{f'[{host}]' if ':' in host else host}:{port}",
            expires=dt.datetime.now(dt.UTC) + TOKEN_LIFE,
            ca_file=str(self._folder / "ca.crt"),
            token=SecretStr(token),
        )

    @staticmethod
    def present(folder: Path = SERVICE_ACCOUNT_FOLDER) -> bool:
        """Tell whether this process runs in a pod with a mounted ServiceAccount."""
        return (folder / "token").exists()
