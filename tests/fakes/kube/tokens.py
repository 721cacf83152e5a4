"""Tokens of ServiceAccounts: made by TokenRequest, judged by TokenReview, as an OpenBao asks for it."""

import base64
import json
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.fakes.kube.errors import StatusError
from tests.fakes.kube.storage import Record

__all__ = ["Tokens"]

ISSUER = "https://kubernetes.default.svc.cluster.local"
SHORTEST = 600


class Tokens:
    """Signs tokens, and knows the ones it made."""

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._claims: dict[str, dict[str, Any]] = {}

    def request(self, account: Record, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a TokenRequest for a ServiceAccount."""
        spec = body.get("spec") or {}
        seconds = spec.get("expirationSeconds") or 3600
        if seconds < SHORTEST:
            why = "spec.expirationSeconds: Invalid value: may not specify a duration less than 10 minutes"
            raise StatusError(422, "Invalid", f'TokenRequest.authentication.k8s.io "" is invalid: {why}')
        token, ends = self.mint(account, spec.get("audiences") or [ISSUER], seconds)
        expires = datetime.fromtimestamp(ends, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        return {
            "kind": "TokenRequest",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {"namespace": account.key.namespace, "name": account.key.name},
            "spec": {"audiences": spec.get("audiences"), "expirationSeconds": seconds, "boundObjectRef": None},
            "status": {"token": token, "expirationTimestamp": expires},
        }

    def mint(self, account: Record, audiences: list[str], seconds: int) -> tuple[str, int]:
        """Return a token and the second of its end."""
        now, (namespace, name) = int(time.time()), account.key
        claims = {
            "aud": audiences,
            "exp": now + seconds,
            "iat": now,
            "nbf": now,
            "iss": ISSUER,
            "jti": str(uuid.uuid4()),
            "sub": f"system:serviceaccount:{namespace}:{name}",
            "kubernetes.io": {
                "namespace": namespace,
                "serviceaccount": {"name": name, "uid": account.body["metadata"]["uid"]},
            },
        }
        signed = f"{_encode({'alg': 'ES256', 'kid': 'fake'})}.{_encode(claims)}"
        r, s = decode_dss_signature(self._key.sign(signed.encode(), ec.ECDSA(hashes.SHA256())))
        token = f"{signed}.{_base64(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
        self._claims[token] = claims
        return token, claims["exp"]

    def review(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """Answer a TokenReview. The ServiceAccount is not looked up again: nobody here outlives its token."""
        spec = body.get("spec") or {}
        claims = self._claims.get(spec.get("token", ""))
        asked = spec.get("audiences") or (claims or {}).get("aud", [])
        heard = [audience for audience in asked if audience in (claims or {}).get("aud", [])]
        if claims is None or claims["exp"] <= time.time() or not heard:
            status: dict[str, Any] = {"authenticated": False, "error": "[invalid bearer token, unknown token]"}
        else:
            account = claims["kubernetes.io"]
            groups = ["system:serviceaccounts", f"system:serviceaccounts:{account['namespace']}"]
            user = {"username": claims["sub"], "uid": account["serviceaccount"]["uid"]}
            user["groups"] = [*groups, "system:authenticated"]
            status = {"authenticated": True, "user": user, "audiences": heard}
        return {
            "kind": "TokenReview",
            "apiVersion": "authentication.k8s.io/v1",
            "metadata": {},
            "spec": spec,
            "status": status,
        }


def _encode(value: Mapping[str, Any]) -> str:
    return _base64(json.dumps(value, separators=(",", ":")).encode())


def _base64(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
