"""The finalizer is put on and taken off by the version that was seen, and no other finalizer is touched."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from elile_operator.api.elilesecret import ElileSecret
from elile_operator.api.meta import FINALIZER
from elile_operator.controllers import finalizer
from elile_operator.kube.client import Json
from elile_operator.kube.errors import KubeConflictError, KubeNotFoundError
from elile_operator.kube.resources import ELILE_SECRETS
from tests.fakes.api import MemoryKube, elile_secret
from tests.fakes.clock import FakeClock

NOW = datetime(2030, 1, 1, 12, tzinfo=UTC)
GOING = "2030-01-01T12:00:00Z"


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube(FakeClock())


def have(kube: MemoryKube, *finalizers: str, **meta: Any) -> ElileSecret:
    body = elile_secret()
    body["metadata"] |= {"finalizers": list(finalizers), **meta} if finalizers else meta
    return ElileSecret.from_body(kube.put(ELILE_SECRETS, body))


def finalizers(kube: MemoryKube) -> Any:
    return (kube.find(ELILE_SECRETS, "shop", "db") or {"metadata": {}})["metadata"].get("finalizers")


async def hold(kube: MemoryKube, target: ElileSecret) -> Json | None:
    return await finalizer.hold(kube, ELILE_SECRETS, target)  # type: ignore[arg-type]


async def let_go(kube: MemoryKube, target: ElileSecret) -> Json | None:
    return await finalizer.let_go(kube, ELILE_SECRETS, target)  # type: ignore[arg-type]


@pytest.mark.parametrize("others", [(), ("a.io/x",), ("a.io/x", "b.io/y")])
async def test_it_is_put_on_beside_others(kube: MemoryKube, others: tuple[str, ...]) -> None:
    target = have(kube, *others)
    written = await hold(kube, target)
    assert written == kube.find(ELILE_SECRETS, "shop", "db")
    assert finalizers(kube) == [*others, FINALIZER]
    (patch,) = kube.writes
    version = {"op": "test", "path": "/metadata/resourceVersion", "value": target.metadata.resource_version}
    assert (patch.verb, patch.body[0], patch.manager) == ("patch", version, "elile-finalizer")


@pytest.mark.parametrize("present", [(FINALIZER,), ("a.io/x", FINALIZER, "b.io/y")])
async def test_it_alone_is_taken_off(kube: MemoryKube, present: tuple[str, ...]) -> None:
    written = await let_go(kube, have(kube, *present))
    assert written == kube.find(ELILE_SECRETS, "shop", "db")
    assert finalizers(kube) == [each for each in present if each != FINALIZER]


async def test_what_is_so_already_costs_nothing(kube: MemoryKube) -> None:
    assert await hold(kube, have(kube, FINALIZER)) is None
    assert await let_go(kube, have(kube)) is None
    assert (kube.writes, kube.reads) == ([], [])


async def test_what_became_so_meanwhile_is_not_patched(kube: MemoryKube) -> None:
    target = have(kube)
    have(kube, FINALIZER)
    assert (await hold(kube, target) or {})["metadata"]["finalizers"] == [FINALIZER]
    assert kube.writes == []


async def test_a_change_in_between_is_a_conflict(kube: MemoryKube) -> None:
    kube.fail("patch", ELILE_SECRETS, 422, 422)  # how a failed test is answered
    with pytest.raises(KubeConflictError):
        await hold(kube, have(kube))
    with pytest.raises(KubeConflictError):
        await let_go(kube, have(kube, FINALIZER))


@pytest.mark.parametrize("change", [{"uid": "another"}, {"deletionTimestamp": GOING}], ids=["made anew", "going"])
async def test_an_object_that_is_another_one_or_goes_is_not_held(kube: MemoryKube, change: dict[str, str]) -> None:
    target = have(kube)
    have(kube, **change)
    with pytest.raises(KubeConflictError):
        await hold(kube, target)
    assert kube.writes == []


async def test_an_object_that_is_gone(kube: MemoryKube) -> None:
    target = have(kube, FINALIZER)
    kube.remove(ELILE_SECRETS, "shop", "db")
    assert await let_go(kube, target) is None
    with pytest.raises(KubeNotFoundError):
        await hold(kube, target.model_copy(update={"metadata": have(kube).metadata.model_copy(update={"name": "x"})}))


@pytest.mark.parametrize(
    ("since", "after", "late"),
    [
        (None, timedelta(hours=1), False),
        (GOING, timedelta(minutes=2, seconds=-1), False),
        (GOING, timedelta(minutes=2), True),
    ],
)
def test_it_holds_for_two_minutes(kube: MemoryKube, since: str | None, after: timedelta, late: bool) -> None:
    target = have(kube, FINALIZER, **({"deletionTimestamp": since} if since else {}))
    assert finalizer.overdue(target, NOW + after) is late
