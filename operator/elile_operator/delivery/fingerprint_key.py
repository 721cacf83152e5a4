"""The installation's fingerprint key: a Secret in the operator's namespace, made once by whoever comes first."""

import base64
import logging
from collections.abc import Callable

from elile.secrets.redact import SecretBytes
from elile_operator.api.meta import FieldManager
from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.kube.client import Json, KubeClient
from elile_operator.kube.errors import KubeExistsError, KubeNotFoundError
from elile_operator.kube.resources import SECRETS

__all__ = ["KEY_SECRET", "FingerprintKeyError", "load_fingerprint_key"]

log = logging.getLogger(__name__)

KEY_SECRET = "elile-fingerprint-key"  # noqa: S105 - the name of a Secret
KEY_BYTES = 32


class FingerprintKeyError(Exception):
    """The Secret with the key is there but holds none; the message says how to mend it."""

    @property
    def safe_text(self) -> str:
        return str(self)


async def load_fingerprint_key(kube: KubeClient, namespace: str, *, random: Callable[[int], bytes]) -> FingerprintKey:
    """Return the key, making it if there is none. `random` gives that many unpredictable bytes.

    Raises KubeError when the API server does not allow it, FingerprintKeyError when the Secret is not a key.
    """
    try:
        return _read(await kube.get(SECRETS, namespace, KEY_SECRET), namespace)
    except KubeNotFoundError:
        pass
    body = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": KEY_SECRET, "namespace": namespace},
        "type": "Opaque",
        "data": {
            "id": base64.b64encode(random(4).hex().encode()).decode(),
            "key": base64.b64encode(random(KEY_BYTES)).decode(),
        },
    }
    try:
        made = await kube.create(SECRETS, namespace, body, manager=FieldManager.SECRETS)
    except KubeExistsError:  # another replica was faster: its key is the key
        made = await kube.get(SECRETS, namespace, KEY_SECRET)
    else:
        log.info("fingerprint key made", extra={"fields": {"namespace": namespace, "secret": KEY_SECRET}})
    return _read(made, namespace)


def _read(body: Json, namespace: str) -> FingerprintKey:
    data = body.get("data") or {}
    try:
        key_id, key = base64.b64decode(data["id"]).decode(), base64.b64decode(data["key"])
    except (KeyError, ValueError):
        key_id, key = "", b""
    if not key_id.isalnum() or len(key) < KEY_BYTES:
        raise FingerprintKeyError(
            f"Secret {namespace}/{KEY_SECRET} holds no fingerprint key (id, and key of {KEY_BYTES} bytes); delete it, "
            "and a new one is made: no Secret is rewritten for that"
        )
    return FingerprintKey(key_id, SecretBytes(key))
