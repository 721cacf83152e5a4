"""How an entry is read, by the engine that keeps it."""

import hmac
import json
import secrets
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from elile.secrets.answers import KVValue
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.vault import VaultClient
from elile_operator.decide.access import Engine

__all__ = ["Fetched", "Marks", "fetcher"]

# A value, and the seconds that it lasts if the server says so. Without versions its number is 0.
Fetched = tuple[KVValue, float | None]

# What counts down: with it no two answers would be the same.
_TIME_TO_LIVE = "ttl"


class Readable(Protocol):
    """What is read, and how."""

    @property
    def mount(self) -> str: ...
    @property
    def path(self) -> str: ...
    @property
    def namespace(self) -> str | None: ...
    @property
    def engine(self) -> Engine: ...


def fetcher(entry: Readable, version: int | None, on_behalf_of: str) -> Callable[[VaultClient, SecretStr], Fetched]:
    """Return the blocking call that reads an entry."""

    def kv2(client: VaultClient, token: SecretStr) -> Fetched:
        value = client.within(entry.namespace).kv2_read(
            token, mount=entry.mount, path=entry.path, version=version, on_behalf_of=on_behalf_of
        )
        return value, None

    def kv1(client: VaultClient, token: SecretStr) -> Fetched:
        data = client.within(entry.namespace).kv1_read(
            token, mount=entry.mount, path=entry.path, on_behalf_of=on_behalf_of
        )
        return KVValue(0, data), None

    def path(client: VaultClient, token: SecretStr) -> Fetched:
        within = client.within(entry.namespace)
        answer = dict(within.ask(token, entry.path, on_behalf_of=on_behalf_of).data.reveal())
        lasts = answer.pop(_TIME_TO_LIVE, None)
        seconds = float(lasts) if isinstance(lasts, int | float) and not isinstance(lasts, bool) else None
        return KVValue(0, Redacted(answer)), seconds

    return {Engine.KV2: kv2, Engine.KV1: kv1, Engine.PATH: path}[entry.engine]


class Marks:
    """Tells values apart without keeping them: under a key that only this process has, and has for itself."""

    def __init__(self, key: bytes | None = None) -> None:
        self._key = key or secrets.token_bytes(32)

    def mark(self, data: Redacted[Mapping[str, Any]]) -> bytes:
        """Return the same bytes for the same value, whatever the order of its keys."""
        text = json.dumps(data.reveal(), sort_keys=True, separators=(",", ":"))
        return hmac.digest(self._key, text.encode("utf-8", "surrogatepass"), "sha256")
