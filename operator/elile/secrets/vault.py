"""HashiCorp Vault and OpenBao over hvac: the one place that imports it, and where its errors stop."""

import copy
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import hvac.adapters
import hvac.api
import hvac.api.auth_methods
import hvac.api.secrets_engines
import hvac.exceptions
import hvac.utils
import urllib3.exceptions

from elile.secrets.answers import (
    EngineAnswer,
    Flavor,
    KVMetadata,
    KVValue,
    KVVersionState,
    Login,
    ServerState,
    TokenState,
)
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretDeletedError,
    SecretMountNotFoundError,
    SecretNamespaceNotFoundError,
    SecretNotFoundError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsRateLimitedError,
    SecretsRoleNotFoundError,
    SecretsSealedError,
    SecretsUnavailableError,
    SecretVersionNotFoundError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.transport import Answer, Connections, VaultEndpoint, from_transport

__all__ = ["OBJECT_HEADER", "VaultClient"]

OBJECT_HEADER = "X-Elile-Object"


class VaultClient:
    """Blocking calls to one server, safe to share between threads.

    Environment settings (proxies, netrc, key logs) are ignored and redirects are not followed: a token is sent to
    the configured address and nowhere else. Every method raises errors of `elile.secrets.errors` only.
    `on_behalf_of` is sent as a header, so that the server's audit log can tell which object caused a call.
    """

    def __init__(self, endpoint: VaultEndpoint) -> None:
        self.endpoint = endpoint
        self._session = Connections(endpoint)
        self._object = ""

    def speaking_for(self, name: str) -> "VaultClient":
        """Return the same client, which names this object in every call that names none itself."""
        other = copy.copy(self)
        other._object = name
        return other

    def within(self, namespace: str | None) -> "VaultClient":
        """Return the same client, over the same connections, for calls in another namespace; None is the root one."""
        if namespace == self.endpoint.namespace:
            return self
        other = copy.copy(self)
        other.endpoint = replace(self.endpoint, namespace=namespace)
        return other

    def close(self) -> None:
        """Close the pooled connections."""
        self._session.close()

    def after_fork(self) -> None:
        """In the child: use none of the parent's connections. They are left as they are, and not closed in its name."""
        self._session = Connections(self.endpoint)

    def state(self) -> ServerState:
        """Ask whether the server is there, initialised and unsealed. Needs no token."""
        with _converted("sys/seal-status"):
            body = _mapping(hvac.api.SystemBackend(self._adapter()).read_seal_status())
            return ServerState(
                flavor=Flavor.OPENBAO if "commit_date" in body else Flavor.VAULT,
                version=str(body["version"]),
                initialized=bool(body["initialized"]),
                sealed=bool(body["sealed"]),
                cluster_id=str(body.get("cluster_id") or ""),
            )

    def login_kubernetes(self, *, mount: str, role: str, jwt: SecretStr, on_behalf_of: str = "") -> Login:
        """Exchange a ServiceAccount token for a token of the server's.

        Raises SecretsRoleNotFoundError, SecretMountNotFoundError or SecretsAuthenticationError when refused.
        """
        path = f"auth/{mount}/login"
        with _converted(path, login=True):
            method = hvac.api.auth_methods.Kubernetes(self._adapter(on_behalf_of=on_behalf_of))
            return _login(method.login(role, jwt.reveal(), use_token=False, mount_point=mount))

    def login_jwt(self, *, mount: str, role: str, jwt: SecretStr, on_behalf_of: str = "") -> Login:
        """Exchange a token whose signature the server checks itself for a token of the server's.

        Raises as `login_kubernetes` does.
        """
        path = f"auth/{mount}/login"
        with _converted(path, login=True):
            method = hvac.api.auth_methods.JWT(self._adapter(on_behalf_of=on_behalf_of))
            return _login(method.jwt_login(role, jwt.reveal(), use_token=False, path=mount))

    def login_approle(self, *, mount: str, role_id: str, secret_id: SecretStr) -> Login:
        """Exchange an AppRole for a token of the server's.

        Raises SecretMountNotFoundError or SecretsAuthenticationError when refused.
        """
        path = f"auth/{mount}/login"
        with _converted(path, login=True):
            method = hvac.api.auth_methods.AppRole(self._adapter())
            return _login(method.login(role_id, secret_id.reveal(), use_token=False, mount_point=mount))

    def look_up(self, token: SecretStr) -> TokenState:
        """Ask a token how long it lasts. Raises SecretAccessDeniedError for one that is not valid (any more)."""
        with _converted("auth/token/lookup-self"):
            data = _mapping(_mapping(hvac.api.auth_methods.Token(self._adapter(token)).lookup_self())["data"])
            seconds = float(data["ttl"])
            return TokenState(seconds if data.get("expire_time") else None, bool(data.get("renewable")))

    def renew(self, token: SecretStr) -> Login:
        """Renew a token; near its maximum age the granted seconds shrink."""
        with _converted("auth/token/renew-self"):
            return _login(hvac.api.auth_methods.Token(self._adapter(token)).renew_self())

    def revoke(self, token: SecretStr) -> None:
        """Revoke a token and what hangs from it."""
        with _converted("auth/token/revoke-self"):
            hvac.api.auth_methods.Token(self._adapter(token)).revoke_self()

    def is_valid(self, token: SecretStr) -> bool:
        """Tell an expired token from a forbidden path: both answer 403 (needs the `default` policy's lookup-self)."""
        try:
            with _converted("auth/token/lookup-self"):
                hvac.api.auth_methods.Token(self._adapter(token)).lookup_self()
        except SecretAccessDeniedError:
            return False
        return True

    def capabilities(self, token: SecretStr, paths: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Ask what a token may do at each path: names such as read, create, update; `root` is all of them.

        Needs no more than the `default` policy.
        """
        with _converted("sys/capabilities-self"):
            body = hvac.api.SystemBackend(self._adapter(token)).get_capabilities(list(paths))
            return {path: frozenset(map(str, _mapping(body)[path])) for path in paths}

    def kv2_metadata(self, token: SecretStr, *, mount: str, path: str, on_behalf_of: str = "") -> KVMetadata:
        """Read which versions exist. Raises SecretNotFoundError, SecretMountNotFoundError, SecretAccessDeniedError."""
        with _converted(f"{mount}/metadata/{path}"):
            body = self._kv2(token, on_behalf_of).read_secret_metadata(path, mount_point=mount)
            return _metadata(_mapping(body)["data"])

    def kv2_list(
        self, token: SecretStr, *, mount: str, folder: str, on_behalf_of: str = ""
    ) -> Mapping[str, KVMetadata]:
        """Read which versions exist of each entry of a folder, by its name in it; "" is the root of the mount.

        Only OpenBao has this. Folders within are left out. Raises as `kv2_metadata` does, and
        SecretsMalformedResponseError for an answer that is too large.
        """
        path = f"{mount}/detailed-metadata/{folder}" if folder else f"{mount}/detailed-metadata"
        with _converted(path):
            body = self._adapter(token, on_behalf_of=on_behalf_of).list(hvac.utils.format_url("/v1/{path}", path=path))
            found = _mapping(_mapping(_mapping(body)["data"])["key_info"])
            return {str(name): _metadata(info) for name, info in found.items() if not name.endswith("/")}

    def kv2_read(
        self, token: SecretStr, *, mount: str, path: str, version: int | None = None, on_behalf_of: str = ""
    ) -> KVValue:
        """Read one version, the current one when `version` is None. A deleted version never falls back to an older.

        Raises SecretNotFoundError, SecretVersionNotFoundError, SecretDeletedError, SecretMountNotFoundError,
        SecretAccessDeniedError.
        """
        with _converted(f"{mount}/data/{path}", version=version):
            body = self._kv2(token, on_behalf_of).read_secret_version(
                path, version=version, mount_point=mount, raise_on_deleted_version=True
            )
            data = _mapping(_mapping(body)["data"])
            metadata = _mapping(data["metadata"])
            created = _time(metadata.get("created_time"))
            custom = {str(k): str(v) for k, v in (metadata.get("custom_metadata") or {}).items()}
            return KVValue(int(metadata["version"]), Redacted(_mapping(data["data"])), created, custom)

    def kv2_write(
        self,
        token: SecretStr,
        *,
        mount: str,
        path: str,
        data: Mapping[str, Any],
        cas: int | None,
        on_behalf_of: str = "",
    ) -> int:
        """Write the next version and return its number. `cas` is the version that must be current, 0 for none.

        Raises SecretConflictError, SecretMountNotFoundError, SecretAccessDeniedError.
        """
        with _converted(f"{mount}/data/{path}"):
            body = self._kv2(token, on_behalf_of).create_or_update_secret(path, dict(data), cas=cas, mount_point=mount)
            return int(_mapping(_mapping(body)["data"])["version"])

    def kv2_destroy(self, token: SecretStr, *, mount: str, path: str, versions: Sequence[int]) -> None:
        """Destroy versions for ever; those that are gone already, or never were, are no error. Takes no cas."""
        with _converted(f"{mount}/destroy/{path}"):
            self._kv2(token, "").destroy_secret_versions(path, list(versions), mount_point=mount)

    def kv2_remove(self, token: SecretStr, *, mount: str, path: str) -> None:
        """Remove an entry with all its versions; none there is no error."""
        with _converted(f"{mount}/metadata/{path}"):
            self._kv2(token, "").delete_metadata_and_all_versions(path, mount_point=mount)

    def kv1_read(
        self, token: SecretStr, *, mount: str, path: str, on_behalf_of: str = ""
    ) -> Redacted[Mapping[str, Any]]:
        """Read an entry of version 1 of the engine, which has no versions. Raises as `kv2_read` does."""
        with _converted(f"{mount}/{path}"):
            adapter = self._adapter(token, on_behalf_of=on_behalf_of)
            body = hvac.api.secrets_engines.KvV1(adapter).read_secret(path, mount_point=mount)
            return Redacted(_mapping(_mapping(body)["data"]))

    def kv1_write(self, token: SecretStr, *, mount: str, path: str, data: Mapping[str, Any]) -> None:
        """Replace an entry of version 1 of the engine."""
        with _converted(f"{mount}/{path}"):
            method = hvac.api.secrets_engines.KvV1(self._adapter(token))
            method.create_or_update_secret(path, dict(data), method="POST", mount_point=mount)

    def ask(
        self,
        token: SecretStr,
        path: str,
        *,
        parameters: Mapping[str, Any] | None = None,
        write: bool = False,
        on_behalf_of: str = "",
    ) -> EngineAnswer:
        """Ask a secrets engine at a path that begins with its mount; `write` sends the parameters in a body, by POST.

        Raises SecretNotFoundError where there is no such role or path, SecretsConfigurationError for what the engine
        refuses to do, SecretMountNotFoundError, SecretAccessDeniedError.
        """
        adapter = self._adapter(token, on_behalf_of=on_behalf_of)
        with _converted(path, engine=True):
            url, given = f"/v1/{path}", dict(parameters or {})
            body = _mapping(adapter.post(url, json=given) if write else adapter.get(url, params=given))
            return EngineAnswer(
                data=Redacted(_mapping(body["data"])),
                lease_id=str(body.get("lease_id") or ""),
                seconds=float(body.get("lease_duration") or 0),
                renewable=bool(body.get("renewable")),
            )

    def renew_lease(self, token: SecretStr, lease_id: str, *, seconds: int, on_behalf_of: str = "") -> float:
        """Ask for more time for a lease, and return the seconds that it has from now on: near its end they shrink.

        Raises SecretNotFoundError for one that has ended, SecretAccessDeniedError. Needs no more than the `default`
        policy.
        """
        with _converted("sys/leases/renew", engine=True):
            backend = hvac.api.SystemBackend(self._adapter(token, on_behalf_of=on_behalf_of))
            return float(_mapping(backend.renew_lease(lease_id, increment=seconds))["lease_duration"])

    def revoke_certificate(self, token: SecretStr, *, mount: str, serial: str, on_behalf_of: str = "") -> None:
        """Have a PKI engine revoke a certificate that it issued. Raises SecretAccessDeniedError."""
        with _converted(f"{mount}/revoke", engine=True):
            self._adapter(token, on_behalf_of=on_behalf_of).post(f"/v1/{mount}/revoke", json={"serial_number": serial})

    def _kv2(self, token: SecretStr, on_behalf_of: str) -> Any:
        return hvac.api.secrets_engines.KvV2(self._adapter(token, on_behalf_of=on_behalf_of))

    def _adapter(self, token: SecretStr | None = None, *, on_behalf_of: str = "") -> "_Adapter":
        return _Adapter(
            base_uri=self.endpoint.address,
            token=token.reveal() if token else None,
            timeout=self.endpoint.timeout,
            session=self._session,
            namespace=self.endpoint.namespace,
            allow_redirects=False,
            on_behalf_of=on_behalf_of or self._object,
        )


class _Adapter(hvac.adapters.JSONAdapter):  # type: ignore[misc] # hvac ships no types
    """hvac's adapter with the object's header, and with errors of our own made where the whole answer is at hand."""

    def __init__(self, *, on_behalf_of: str, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.on_behalf_of = on_behalf_of

    def request(self, method: str, url: str, headers: Mapping[str, str] | None = None, **kwargs: Any) -> Any:
        sent = {**(headers or {}), **({OBJECT_HEADER: self.on_behalf_of} if self.on_behalf_of else {})}
        answer = super().request(method, url, headers=sent, **kwargs)
        # hvac hands back the bare response for a redirect, and for a body that is not JSON.
        if isinstance(answer, Answer) and answer.status_code != 204:
            if answer.status_code in (301, 302, 303, 307, 308):
                raise SecretsUnavailableError("the server redirects elsewhere; name the active node in spec.address")
            raise SecretsMalformedResponseError(f"answered {answer.status_code} with a body that is not JSON")
        return answer

    def _raise_for_error(self, _method: str, _url: str, response: Answer) -> None:
        raise _RefusedError(response)


class _RefusedError(Exception):
    """A status of 400 or more, on its way to `_converted`, which knows what was asked."""

    def __init__(self, response: Answer) -> None:
        super().__init__(response.status_code)
        self.status = response.status_code
        self.retry_after = _seconds(response.headers.get("Retry-After"))
        try:
            body = response.json()
        except ValueError:
            body = None
        self.body: Mapping[str, Any] | None = body if isinstance(body, dict) else None
        errors = self.body.get("errors") if self.body else None
        self.errors = [str(e) for e in errors] if isinstance(errors, list) else []

    def says(self, text: str) -> bool:
        return any(text in e for e in self.errors)


@contextmanager
def _converted(path: str, *, version: int | None = None, login: bool = False, engine: bool = False) -> Iterator[None]:
    """Let nothing out but our own errors; the server's text may hold a path or a value, so it stays behind."""
    if any(part in ("", ".", "..") for part in path.split("/")):
        # A path is a part of a URL: this one would be another entry, or another API, by the time the server reads it.
        raise SecretsConfigurationError("a path has no empty parts, no '.' and no '..'; correct it", path=path)
    try:
        yield
    except SecretsError as e:
        e.path = e.path or path
        raise
    except _RefusedError as refused:
        if engine and (error := _from_engine(refused, path)) is not None:
            raise error from None
        raise _from_status(refused, path, version, login) from None
    except urllib3.exceptions.HTTPError as e:
        raise from_transport(e, path) from None
    except hvac.exceptions.VaultError as e:
        raise SecretsUnavailableError(f"hvac gave up: {type(e).__name__}", path=path) from None
    # The last two: JSON nested too deeply to be read, and a number too large for what it counts.
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError, OverflowError) as e:
        raise SecretsMalformedResponseError(
            f"the answer has not the shape the API promises ({type(e).__name__})", path=path
        ) from None


def _from_status(refused: _RefusedError, path: str, version: int | None, login: bool) -> SecretsError:
    """Translate a status, in the order of the statuses."""
    status = refused.status
    if status == 429:  # before the body is looked at: proxies throttle too, and answer with a page
        return SecretsRateLimitedError("the server throttles", path=path, retry_after=refused.retry_after)
    if refused.body is None:
        return SecretsMalformedResponseError(f"answered {status} with a body that is not JSON", path=path)
    if refused.says("namespace not found"):
        return SecretNamespaceNotFoundError("the namespace does not exist", path=path)
    if refused.says("no handler for route"):  # 404 by the router, 400 on some versions: no engine there at all
        return SecretMountNotFoundError("nothing is mounted there", path=path)
    # The first by the method kubernetes, the second by jwt.
    if login and (refused.says("invalid role name") or refused.says("could not be found")):
        return SecretsRoleNotFoundError("the auth method knows no such role", path=path)
    # The last one is a 500: a method that was enabled and never told where the API server is.
    if login and (status in (400, 401, 403) or refused.says("could not load backend configuration")):
        return SecretsAuthenticationError("the login was refused", path=path)
    if status == 400 and refused.says("check-and-set parameter did not match"):
        return SecretConflictError("the current version is not the one that was expected", path=path)
    if status in (401, 403):
        return SecretAccessDeniedError("permission denied", path=path)
    if status == 404:
        return _from_not_found(refused.body, path, version)
    if status in (472, 473, 501) or (status == 503 and refused.says("sealed")):
        return SecretsSealedError("sealed, not initialised or standby", path=path)
    if 400 <= status < 500 and status not in (408, 412):
        return SecretsMalformedResponseError(f"refused the request with {status}", path=path)
    return SecretsUnavailableError(f"answered {status}", path=path)


def _from_engine(refused: _RefusedError, path: str) -> SecretsError | None:
    """What an engine means with a 400: there is nothing of that name, or what was asked for is not allowed."""
    if refused.status != 400 or refused.body is None or refused.says("no handler for route"):
        return None
    if refused.says("unknown role") or refused.says("unknown static role") or refused.says("lease not found"):
        return SecretNotFoundError("there is nothing of that name", path=path)
    return SecretsConfigurationError("the engine refuses what was asked for", path=path)


def _from_not_found(body: Mapping[str, Any], path: str, version: int | None) -> SecretsError:
    """A 404 with metadata is a deleted version; with empty errors it is a missing path or version."""
    data = body.get("data")
    metadata = data.get("metadata") if isinstance(data, dict) else None
    if isinstance(metadata, dict):
        destroyed = bool(metadata.get("destroyed"))
        try:
            found, deleted_at = int(metadata["version"]), _time(metadata.get("deletion_time"))
        except (KeyError, TypeError, ValueError, OverflowError):
            return SecretsMalformedResponseError("answered 404 with metadata of no version", path=path)
        return SecretDeletedError(
            f"version {found} is {'destroyed' if destroyed else 'deleted'}",
            path=path,
            version=found,
            deleted_at=deleted_at,
            destroyed=destroyed,
        )
    if version is not None:
        return SecretVersionNotFoundError(f"version {version} does not exist", path=path)
    # Also in front of a missing path may stand a proxy, whose 404 says nothing about the path.
    return SecretNotFoundError("nothing is stored there", path=path, confirmed=body.get("errors") == [])


def _login(body: Any) -> Login:
    auth = _mapping(_mapping(body)["auth"])
    return Login(
        token=SecretStr(str(auth["client_token"])), ttl=float(auth["lease_duration"]), renewable=bool(auth["renewable"])
    )


def _metadata(value: Any) -> KVMetadata:
    data = _mapping(value)
    versions = {
        int(number): KVVersionState(
            _in_the_past(v["deletion_time"]), bool(v["destroyed"]), _time(v.get("created_time"))
        )
        for number, v in _mapping(data["versions"]).items()
    }
    return KVMetadata(int(data["current_version"]), versions, int(data.get("max_versions") or 0))


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("not an object")
    return value


def _time(text: Any) -> datetime | None:
    if not isinstance(text, str) or not text:
        return None
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _in_the_past(text: Any) -> bool:
    """A deletion time may lie ahead (`delete_version_after`); the version is readable until then."""
    moment = _time(text)
    return moment is not None and moment.timestamp() <= time.time()


def _seconds(text: str | None) -> float | None:
    return float(text) if text and text.isdecimal() else None
