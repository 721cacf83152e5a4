"""The keys with which the API server signs tokens, as a vault wants them that checks tokens itself."""

import base64
import json

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.e2e.support.cluster import Cluster


def signing_keys(cluster: Cluster) -> list[str]:
    """Return the public keys in PEM."""
    found = json.loads(cluster.kubectl("get", "--raw", "/openid/v1/jwks"))["keys"]
    numbers = [RSAPublicNumbers(_number(key["e"]), _number(key["n"])) for key in found]
    pem = [n.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo) for n in numbers]
    return [key.decode() for key in pem]


def _number(text: str) -> int:
    return int.from_bytes(base64.urlsafe_b64decode(text + "=="), "big")
