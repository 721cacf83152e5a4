"""The key is made once, by whoever comes first; a Secret that is no key is named and never replaced."""

import base64
from typing import Any

import pytest

from elile_operator.decide.fingerprint import FingerprintKey
from elile_operator.delivery.fingerprint_key import KEY_SECRET, FingerprintKeyError, load_fingerprint_key
from elile_operator.kube.errors import KubeError, KubeForbiddenError, KubeNotFoundError, KubeUnavailableError
from elile_operator.kube.resources import SECRETS
from tests.fakes.api import MemoryKube, secret
from tests.fakes.clock import FakeClock

OWN = "elile-system"


def encoded(value: bytes) -> str:
    return base64.b64encode(value).decode()


def stored(**data: str) -> dict[str, Any]:
    return secret(KEY_SECRET, OWN, **data)


GOOD = {"id": encoded(b"k1"), "key": encoded(b"x" * 32)}


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube(FakeClock())


async def load(kube: MemoryKube) -> FingerprintKey:
    return await load_fingerprint_key(kube, OWN, random=lambda size: bytes(range(size)))  # type: ignore[arg-type]


async def test_a_key_that_is_there_is_taken(kube: MemoryKube) -> None:
    kube.put(SECRETS, stored(**GOOD))
    key = await load(kube)
    assert (key.key_id, key.secret.reveal()) == ("k1", b"x" * 32)
    assert kube.writes == []


async def test_the_first_one_makes_it(kube: MemoryKube, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    key = await load(kube)
    assert (key.key_id, key.secret.reveal()) == ("00010203", bytes(range(32)))
    (write,) = kube.writes
    assert (write.verb, write.namespace, write.name, write.manager) == ("create", OWN, KEY_SECRET, "elile")
    assert write.body == {
        **stored(id=encoded(b"00010203"), key=encoded(bytes(range(32)))),
        "type": "Opaque",
    }
    (record,) = caplog.records
    assert record.__dict__["fields"] == {"namespace": OWN, "secret": KEY_SECRET}
    assert (await load(kube)).secret.reveal() == key.secret.reveal(), "and the next one takes it"
    assert len(kube.writes) == 1


async def test_of_two_at_once_both_have_the_same(kube: MemoryKube, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    class Slow(MemoryKube):
        """Another replica makes the key between our look and our write."""

        async def create(self, resource: Any, namespace: str | None, body: Any, *, manager: str) -> Any:
            self.put(SECRETS, stored(**GOOD))
            return await super().create(resource, namespace, body, manager=manager)

    key = await load(Slow(FakeClock()))
    assert (key.key_id, key.secret.reveal()) == ("k1", b"x" * 32)
    assert caplog.records == [], "it made none"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param({}, id="empty"),
        pytest.param({"key": GOOD["key"]}, id="no id"),
        pytest.param({"id": GOOD["id"]}, id="no key"),
        pytest.param({**GOOD, "id": ""}, id="empty id"),
        pytest.param({**GOOD, "id": encoded(b"a:b")}, id="odd id"),
        pytest.param({**GOOD, "id": encoded(b"\xff")}, id="id that is no text"),
        pytest.param({**GOOD, "key": encoded(b"x" * 31)}, id="short key"),
        pytest.param({**GOOD, "key": "a"}, id="no base64"),
    ],
)
async def test_a_secret_that_is_no_key_is_named(kube: MemoryKube, data: dict[str, str]) -> None:
    kube.put(SECRETS, stored(**data))
    with pytest.raises(FingerprintKeyError) as raised:
        await load(kube)
    text = (
        "Secret elile-system/elile-fingerprint-key holds no fingerprint key (id, and key of 32 bytes); delete it, "
        "and a new one is made: no Secret is rewritten for that"
    )
    assert (str(raised.value), raised.value.safe_text) == (text, text)
    assert kube.writes == []


async def test_a_secret_without_data_is_no_key(kube: MemoryKube) -> None:
    body = stored()
    del body["data"]
    kube.put(SECRETS, body)
    with pytest.raises(FingerprintKeyError):
        await load(kube)


@pytest.mark.parametrize(
    ("verb", "status", "error"),
    [
        ("get", 403, KubeForbiddenError),
        ("get", 0, KubeUnavailableError),
        ("create", 403, KubeForbiddenError),
        ("create", 404, KubeNotFoundError),  # no such namespace
        ("create", 500, KubeUnavailableError),
    ],
)
async def test_what_the_api_server_does_not_allow_comes_out(
    kube: MemoryKube, verb: str, status: int, error: type[KubeError]
) -> None:
    kube.fail(verb, SECRETS, status)
    with pytest.raises(error):
        await load(kube)
