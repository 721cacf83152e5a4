"""A status is written to the object it was decided for, and to no other of its name."""

import pytest

from elile_operator.api.elilesecret import ElileSecret, ElileSecretStatus
from elile_operator.api.meta import FieldManager
from elile_operator.controllers.status import apply_status
from elile_operator.kube.errors import KubeConflictError, KubeForbiddenError, KubeNotFoundError
from elile_operator.kube.resources import ELILE_SECRETS
from tests.fakes.api import MemoryKube, elile_secret
from tests.fakes.clock import FakeClock

STATUS = ElileSecretStatus(revision=3, keys=("a",))


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube(FakeClock())


async def tell(kube: MemoryKube, target: ElileSecret) -> dict[str, object]:
    return await apply_status(
        kube,  # type: ignore[arg-type]
        ELILE_SECRETS,
        target,
        STATUS,
        manager=FieldManager.ELILESECRET_STATUS,
    )


async def test_what_is_written(kube: MemoryKube) -> None:
    target = ElileSecret.from_body(kube.put(ELILE_SECRETS, elile_secret()))
    written = await tell(kube, target)
    (write,) = kube.writes
    assert (write.verb, write.namespace, write.name, write.manager) == ("status", "shop", "db", "elile-secret")
    assert write.body == {
        "apiVersion": "elile.io/v1alpha1",
        "kind": "ElileSecret",
        "metadata": {"name": "db", "resourceVersion": target.metadata.resource_version},
        "status": {"revision": 3, "keys": ["a"]},
    }
    assert written == kube.find(ELILE_SECRETS, "shop", "db")


async def test_an_object_that_was_touched_meanwhile_is_told_all_the_same(kube: MemoryKube) -> None:
    body = kube.put(ELILE_SECRETS, elile_secret())
    target = ElileSecret.from_body(body)
    touched = kube.put(ELILE_SECRETS, {**body, "spec": {**body["spec"], "deletionPolicy": "Retain"}})
    written = await tell(kube, target)
    versions = [write.body["metadata"]["resourceVersion"] for write in kube.writes]
    assert versions == [body["metadata"]["resourceVersion"], touched["metadata"]["resourceVersion"]]
    assert written["status"] == {"revision": 3, "keys": ["a"]}


async def test_an_object_made_anew_is_not_told_about_its_predecessor(kube: MemoryKube) -> None:
    target = ElileSecret.from_body(kube.put(ELILE_SECRETS, elile_secret()))
    again = kube.put(ELILE_SECRETS, elile_secret(uid="uid-2"))
    with pytest.raises(KubeNotFoundError):
        await tell(kube, target)
    assert kube.find(ELILE_SECRETS, "shop", "db") == again


async def test_an_object_that_is_gone_is_not_made(kube: MemoryKube) -> None:
    target = ElileSecret.from_body(kube.put(ELILE_SECRETS, elile_secret()))
    kube.remove(ELILE_SECRETS, "shop", "db")
    with pytest.raises(KubeNotFoundError):
        await tell(kube, target)
    assert kube.find(ELILE_SECRETS, "shop", "db") is None


async def test_an_object_that_keeps_changing_is_a_conflict(kube: MemoryKube) -> None:
    target = ElileSecret.from_body(kube.put(ELILE_SECRETS, elile_secret()))
    kube.fail("status", ELILE_SECRETS, 409, 409)
    with pytest.raises(KubeConflictError):
        await tell(kube, target)
    assert len(kube.writes) == 2


async def test_other_errors_come_out_as_they_are(kube: MemoryKube) -> None:
    target = ElileSecret.from_body(kube.put(ELILE_SECRETS, elile_secret()))
    kube.fail("status", ELILE_SECRETS, 403)
    with pytest.raises(KubeForbiddenError):
        await tell(kube, target)
