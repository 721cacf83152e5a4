"""Calls to the API server: JSON in, JSON out, a deadline on each, errors of the closed set."""

import asyncio
import datetime as dt
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from typing import Any, Protocol
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio import client

from elile.secrets.redact import SecretStr
from elile_operator.kube.credentials import Credentials, CredentialsError, CredentialSource
from elile_operator.kube.errors import KubeError, KubeUnavailableError, from_status
from elile_operator.kube.resources import SERVICE_ACCOUNTS, Resource

__all__ = ["Json", "KubeClient", "KubeObserver"]

Json = dict[str, Any]

APPLY = "application/apply-patch+yaml"
JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
PAGE = 500
SILENCE = 70.0


class KubeObserver(Protocol):
    """Told of every finished call, for metrics: `outcome` is a status or `no_answer`."""

    def kube_request(self, *, verb: str, resource: str, outcome: str, seconds: float) -> None: ...


class KubeClient:
    """One connection pool to one API server; reloads its credentials when they expire.

    `timeout` in seconds bounds each call as a whole. Nothing is retried here: the queue does that, with backoff.
    `connections` limits calls at one time, 0 does not. `fence` is called right before each call that changes something,
    and may refuse it by never returning: a process that was frozen may not be the leader any more when it goes on.
    """

    def __init__(
        self,
        source: CredentialSource,
        *,
        timeout: float = 10.0,
        connections: int = 32,
        observer: KubeObserver,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        self._source = source
        self._timeout = timeout
        self._connections = connections
        self._observer = observer
        self._fence = fence
        self._credentials: Credentials | None = None
        self._refused = False  # the credentials were not taken
        self._api: client.ApiClient | None = None
        self._lock = asyncio.Lock()

    async def close(self) -> None:
        """Close the connections; a later call opens them again."""
        api, self._api, self._credentials = self._api, None, None
        if api is not None:
            await api.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json:
        """Return one object. Raises KubeNotFoundError and the other errors of the set, as all calls here."""
        return await self._call("GET", "get", resource, resource.path(namespace, name))

    async def list_page(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        token: str = "",
        label_selector: str | None = None,
        limit: int = PAGE,
    ) -> tuple[list[Json], str, str]:
        """Return the items of one page, the token of the next page, and the list's version; None: all namespaces."""
        query = {"limit": str(limit)}
        if token:
            query["continue"] = token
        if label_selector:
            query["labelSelector"] = label_selector
        page = await self._call("GET", "list", resource, resource.path(namespace), query=query)
        meta = page["metadata"]
        return page.get("items") or [], meta.get("continue") or "", meta.get("resourceVersion") or ""

    async def watch(
        self, resource: Resource, *, namespace: str | None, version: str, label_selector: str | None, seconds: int
    ) -> AsyncIterator[tuple[str, Json]]:
        """Yield (type, object) of what happens after `version`, for at most `seconds`; bookmarks included.

        Raises KubeGoneError when the version is too old, KubeUnavailableError when the stream breaks or falls silent.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
            **({"labelSelector": label_selector} if label_selector else {}),
        }
        path = resource.path(namespace)
        call = f"WATCH {path}"
        # A bookmark comes every minute: a stream that says nothing for longer is dead, whatever TCP believes.
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=self._timeout, sock_read=SILENCE)
        answer = await self._send("GET", f"{path}?{urlencode(query)}", body=None, content_type="", timeout=timeout)
        try:
            if answer.status >= 400:
                raise self._refusal(call, answer, await answer.read())
            async for line in answer.response.content:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    status = event.get("object") or {}
                    raise from_status(call, int(status.get("code") or 0) or 500, str(status.get("reason", "")))
                yield event["type"], event["object"]
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError):
            raise KubeUnavailableError(call) from None
        finally:
            answer.response.close()

    async def replace(self, resource: Resource, namespace: str | None, name: str, *, body: Json, manager: str) -> Json:
        """Replace an object as of the resourceVersion in its body. Raises KubeConflictError when it changed since."""
        path, query = resource.path(namespace, name), {"fieldManager": manager}
        return await self._call("PUT", "update", resource, path, query=query, body=body)

    async def create(self, resource: Resource, namespace: str | None, body: Json, *, manager: str) -> Json:
        """Create an object. Raises KubeExistsError when there is one of that name."""
        query = {"fieldManager": manager}
        return await self._call("POST", "create", resource, resource.path(namespace), query=query, body=body)

    async def apply(
        self, resource: Resource, namespace: str | None, name: str, *, body: Json, manager: str, status: bool = False
    ) -> Json:
        """Server-side apply as `manager`; takes the fields it names over from other managers.

        A `metadata.resourceVersion` or `uid` in the body is a precondition (KubeConflictError).
        """
        path = resource.path(namespace, name, "status" if status else None)
        query = {"fieldManager": manager, "force": "true"}
        return await self._call("PATCH", "apply", resource, path, query=query, body=body, content_type=APPLY)

    async def json_patch(
        self, resource: Resource, namespace: str | None, name: str, *, operations: list[Json], manager: str
    ) -> Json:
        """Apply JSON-patch operations; a failed `test` is a KubeInvalidError."""
        path, query = resource.path(namespace, name), {"fieldManager": manager}
        return await self._call("PATCH", "patch", resource, path, query=query, body=operations, content_type=JSON_PATCH)

    async def merge_patch(
        self, resource: Resource, namespace: str | None, name: str, *, body: Json, manager: str, subresource: str
    ) -> Json:
        """Merge into a subresource of an object."""
        path, query = resource.path(namespace, name, subresource), {"fieldManager": manager}
        return await self._call("PATCH", "patch", resource, path, query=query, body=body, content_type=MERGE_PATCH)

    async def delete(
        self,
        resource: Resource,
        namespace: str | None,
        name: str,
        *,
        preconditions: Json,
        propagation: str | None = None,
    ) -> None:
        """Delete exactly the object that the preconditions (`uid`, `resourceVersion`) name.

        `propagation` says what becomes of what it owns; None: the kind's default, which leaves the pods of a Job.
        """
        body = {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": preconditions}
        if propagation is not None:
            body["propagationPolicy"] = propagation
        await self._call("DELETE", "delete", resource, resource.path(namespace, name), body=body)

    async def request_token(
        self, namespace: str, service_account: str, *, audience: str, seconds: int
    ) -> tuple[SecretStr, dt.datetime]:
        """Return a token of a ServiceAccount for one audience, and when it expires. The server's minimum is 600 s."""
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"audiences": [audience], "expirationSeconds": seconds},
        }
        path = SERVICE_ACCOUNTS.path(namespace, service_account, "token")
        status = (await self._call("POST", "token", SERVICE_ACCOUNTS, path, body=body))["status"]
        return SecretStr(status["token"]), dt.datetime.fromisoformat(status["expirationTimestamp"])

    async def raw(self, path: str) -> Json:
        """GET a path outside the resources, such as `/version` or the discovery of a group."""
        return await self._request("GET", path, body=None, content_type="application/json")

    async def _call(
        self,
        method: str,
        verb: str,
        resource: Resource,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Json:
        target = f"{path}?{urlencode(query)}" if query else path
        outcome, began = "no_answer", time.monotonic()
        try:
            answer = await self._request(method, target, body=body, content_type=content_type)
            outcome = "ok"
            return answer
        except KubeError as e:
            outcome = str(e.status or "no_answer")
            raise
        finally:
            self._observer.kube_request(
                verb=verb, resource=resource.plural, outcome=outcome, seconds=time.monotonic() - began
            )

    async def _request(self, method: str, target: str, *, body: Any, content_type: str) -> Json:
        call = f"{method} {target.partition('?')[0]}"
        try:
            # Set twice: aiohttp's own timer does not cover waiting for a free connection.
            async with asyncio.timeout(self._timeout):
                answer = await self._send(
                    method, target, body=body, content_type=content_type, timeout=aiohttp.ClientTimeout(self._timeout)
                )
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise KubeUnavailableError(call) from None
        if answer.status >= 400:
            raise self._refusal(call, answer, raw)
        parsed = _parsed(raw)
        if parsed is None:
            raise KubeUnavailableError(call, status=answer.status, reason="Malformed")
        return parsed

    async def _send(
        self, method: str, target: str, *, body: Any, content_type: str, timeout: aiohttp.ClientTimeout
    ) -> Any:
        """Send one request and return the answer as soon as its head is there."""
        api, credentials = await self._connection()
        headers = {"Accept": "application/json", "User-Agent": "elile-operator"}
        if content_type:
            headers["Content-Type"] = content_type
        if credentials.token:
            headers["Authorization"] = f"Bearer {credentials.token.reveal()}"
        if method != "GET":
            self._fence()
        try:
            return await api.rest_client.request(
                method, credentials.server + target, headers=headers, body=body, _request_timeout=timeout
            )
        except (aiohttp.ClientError, TimeoutError, OSError):
            raise KubeUnavailableError(f"{method} {target.partition('?')[0]}") from None

    def _refusal(self, call: str, answer: Any, raw: bytes) -> KubeError:
        if answer.status == 401:
            # A rotated token: the next call reads the file again instead of waiting for the expiry.
            self._refused = True
        after = answer.headers.get("Retry-After", "")
        seconds = float(after) if after.isdigit() else None
        return from_status(call, answer.status, str((_parsed(raw) or {}).get("reason", "")), seconds)

    async def _connection(self) -> tuple[client.ApiClient, Credentials]:
        async with self._lock:
            known = self._credentials
            good = known is not None and known.expires > dt.datetime.now(dt.UTC) and not self._refused
            if self._api is not None and known is not None and good:
                return self._api, known
            try:
                fresh = await self._source.load()
            except CredentialsError:
                if self._api is None or known is None:
                    raise
                return self._api, known  # the file is being replaced: the old token is good for a while
            if self._api is None or known is None or _transport(fresh) != _transport(known):
                if self._api is not None:
                    with suppress(aiohttp.ClientError):
                        await self._api.close()
                self._api = self._open(fresh)
            self._credentials, self._refused = fresh, False
            return self._api, fresh

    def _open(self, credentials: Credentials) -> client.ApiClient:
        try:
            return client.ApiClient(self._configuration(credentials))
        except OSError as e:  # of ssl, which reads the files
            names = (credentials.ca_file, credentials.certificate_file, credentials.key_file)
            files = ", ".join(name for name in names if name)
            raise CredentialsError(f"the certificates in {files} cannot be used ({type(e).__name__})") from None

    def _configuration(self, credentials: Credentials) -> client.Configuration:
        found = client.Configuration(host=credentials.server)
        found.ssl_ca_cert = credentials.ca_file
        found.cert_file, found.key_file = credentials.certificate_file, credentials.key_file
        found.tls_server_name = credentials.tls_server_name
        found.connection_pool_maxsize = self._connections
        # trust_env costs a hop to a thread per request, and would send tokens through a proxy of the environment.
        found.client_session_kwargs = {"trust_env": False}
        return found


def _parsed(raw: bytes) -> Json | None:
    """Return the object in a body; None for anything else, such as a proxy's page."""
    try:
        parsed = json.loads(raw)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _transport(credentials: Credentials) -> tuple[str | None, ...]:
    """What needs new connections when it changes; a rotated token does not."""
    c = credentials
    return c.server, c.ca_file, c.certificate_file, c.key_file, c.tls_server_name
