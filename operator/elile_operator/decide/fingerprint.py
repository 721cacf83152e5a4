"""A keyed fingerprint of a Secret's content: equal contents are found without keeping or showing them."""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from elile.secrets.redact import SecretBytes

__all__ = ["FingerprintKey", "Stamp"]


@dataclass(frozen=True, slots=True)
class Stamp:
    """A fingerprint as an annotation holds it: `<key id>:<HMAC-SHA256 in hex>`."""

    key_id: str
    digest: str

    def __str__(self) -> str:
        return f"{self.key_id}:{self.digest}"

    @classmethod
    def parse(cls, text: str | None) -> "Stamp | None":
        """Read an annotation; None when it is absent or is not one of ours."""
        key_id, colon, digest = (text or "").partition(":")
        return cls(key_id, digest) if colon and key_id and digest else None


@dataclass(frozen=True, slots=True)
class FingerprintKey:
    """The installation's own key; without it a fingerprint tells nothing about a value, not even a guessed one."""

    key_id: str
    secret: SecretBytes

    def stamp(self, data: Mapping[str, bytes | SecretBytes]) -> Stamp:
        """Fingerprint names and values. Every part is preceded by its length, so that no two contents read alike."""
        mac = hmac.new(self.secret.reveal(), digestmod=hashlib.sha256)
        for name in sorted(data):
            value = data[name]
            for part in (name.encode(), value.reveal() if isinstance(value, SecretBytes) else value):
                mac.update(len(part).to_bytes(8, "big"))
                mac.update(part)
        return Stamp(self.key_id, mac.hexdigest())
