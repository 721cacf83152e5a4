"""What entries and Secrets have to look like, and what is said of those that do not."""

import base64
from typing import Any

import pytest

from elile.secrets.redact import SecretBytes
from elile.secrets.types import SHAPES
from elile_operator.api.elilesecret import SecretType
from elile_operator.api.sources import Shape
from elile_operator.decide.shapes import KUBERNETES_TYPES, REQUIRED_KEYS, shape_problem, type_problem

CANARY = "canary-77d0"


def data(*keys: str, **values: bytes) -> dict[str, SecretBytes]:
    return {key: SecretBytes(values.get(key, CANARY.encode())) for key in keys}


def test_every_type_has_a_name_of_kubernetes_and_its_keys() -> None:
    assert set(KUBERNETES_TYPES) == set(REQUIRED_KEYS) == set(SecretType)
    assert "kubernetes.io/service-account-token" not in KUBERNETES_TYPES.values()
    assert {shape.value for shape in Shape} == set(SHAPES)


@pytest.mark.parametrize(
    ("wanted", "keys", "said"),
    [
        (SecretType.OPAQUE, (), ""),
        (SecretType.TLS, ("tls.crt", "tls.key", "ca.crt"), ""),
        (SecretType.TLS, ("tls.crt", "key"), "spec.type TLS needs the key tls.key, which nothing gives"),
        (SecretType.BASIC_AUTH, ("username",), ""),
        (SecretType.BASIC_AUTH, ("password",), ""),
        (SecretType.BASIC_AUTH, ("user",), "spec.type BasicAuth needs the key username"),
        (SecretType.SSH_AUTH, ("ssh-privatekey",), ""),
        (SecretType.SSH_AUTH, ("id_ed25519",), "there are: 'id_ed25519'"),
        (SecretType.DOCKER_CONFIG_JSON, (), "there are: no keys"),
        (SecretType.DOCKER_CONFIG_JSON, (".dockerconfigjson",), "needs a JSON object"),
    ],
)
def test_a_type_needs_its_keys(wanted: SecretType, keys: tuple[str, ...], said: str) -> None:
    problem = type_problem(wanted, data(*keys))
    assert said in problem
    assert bool(said) == bool(problem)
    assert CANARY not in problem


@pytest.mark.parametrize(("text", "fits"), [(b'{"auths": {}}', True), (b"[]", False), (b"[" * 10_000, False)])
def test_a_docker_config_is_a_json_object(text: bytes, fits: bool) -> None:
    problem = type_problem(SecretType.DOCKER_CONFIG_JSON, {".dockerconfigjson": SecretBytes(text)})
    assert (problem == "") == fits


@pytest.mark.parametrize(
    ("wanted", "entry", "said"),
    [
        (Shape.DATABASE, {"host": "db", "username": "u", "password": CANARY}, ""),
        (Shape.DATABASE, {"host": "db", "username": "u", "password": CANARY, "port": CANARY}, "port"),
        (Shape.DATABASE, {"username": "u", "password": CANARY}, "host"),
        (Shape.AI_PROVIDER, {"api_key": CANARY}, ""),
        (Shape.AI_PROVIDER, {"token": 5}, "api_key"),
        (Shape.PROVIDER_API_KEY, {"api_key": CANARY}, ""),
        (Shape.PROVIDER_API_KEY, {"kee": CANARY}, "api_key"),
        (Shape.ENCRYPTION_KEYS, {"key": base64.b64encode(b"k" * 32).decode()}, ""),
        (Shape.ENCRYPTION_KEYS, {"primary": "2", "keys": {"1": {"material": CANARY}}}, "primary"),
    ],
)
def test_an_entry_of_another_shape_is_told_by_its_fields(wanted: Shape, entry: dict[str, Any], said: str) -> None:
    problem = shape_problem(wanted, entry, path="elile/ai/anthropic")
    assert said in problem
    assert bool(said) == bool(problem)
    assert CANARY not in problem


def test_whose_key_it_is_is_read_from_the_path_where_the_entry_does_not_say() -> None:
    """Azure's clients need the address of the resource, the others have one of their own."""
    assert shape_problem(Shape.AI_PROVIDER, {"api_key": CANARY}, path="elile/ai/openai") == ""
    assert "base_url" in shape_problem(Shape.AI_PROVIDER, {"api_key": CANARY}, path="elile/ai/azure-openai")
    said = {"api_key": CANARY, "provider": "openai"}
    assert shape_problem(Shape.AI_PROVIDER, said, path="elile/ai/azure-openai") == ""
