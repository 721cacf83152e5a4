"""One Event for each thing that happened; that one is lost is only logged."""

from itertools import count
from typing import Any

import pytest

from elile_operator.api.model import ObjectMeta
from elile_operator.kube.events import EventWriter
from elile_operator.kube.resources import ELILE_SECRETS, EVENTS, VAULT_SERVERS
from tests.fakes.api import MemoryKube
from tests.fakes.clock import FakeClock

DB = ObjectMeta(name="db", namespace="shop", uid="uid-db", generation=3)


@pytest.fixture
def kube() -> MemoryKube:
    return MemoryKube(FakeClock())


@pytest.fixture
def events(kube: MemoryKube) -> EventWriter:
    numbers = count(1)
    return EventWriter(
        kube,  # type: ignore[arg-type]
        instance="elile-1",
        now=FakeClock().now,
        unique=lambda: f"u{next(numbers)}",
    )


def bodies(kube: MemoryKube) -> list[dict[str, Any]]:
    return [write.body for write in kube.written("create", EVENTS)]


async def test_what_an_event_holds(kube: MemoryKube, events: EventWriter) -> None:
    await events.tell(ELILE_SECRETS, DB, reason="Synced", note="revision 1: Secret db holds 1 key", warning=False)
    (write,) = kube.writes
    assert (write.namespace, write.name, write.manager) == ("shop", "db.u1", "elile")
    assert write.body == {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"namespace": "shop", "name": "db.u1"},
        "eventTime": "2030-01-01T00:00:00.000000Z",
        "type": "Normal",
        "reason": "Synced",
        "action": "Reconcile",
        "note": "revision 1: Secret db holds 1 key",
        "reportingController": "elile.io/operator",
        "reportingInstance": "elile-1",
        "regarding": {
            "apiVersion": "elile.io/v1alpha1",
            "kind": "ElileSecret",
            "namespace": "shop",
            "name": "db",
            "uid": "uid-db",
        },
    }


async def test_an_event_about_an_object_without_a_namespace(kube: MemoryKube, events: EventWriter) -> None:
    meta = ObjectMeta(name="default", uid="uid-server")
    await events.tell(VAULT_SERVERS, meta, reason="VaultSealed", note="it is sealed", warning=True)
    (body,) = bodies(kube)
    assert (kube.writes[0].namespace, body["metadata"]["namespace"]) == ("default", "default")
    assert (body["type"], body["regarding"]["namespace"]) == ("Warning", None)


async def test_no_two_events_have_one_name(kube: MemoryKube, events: EventWriter) -> None:
    for _ in range(3):
        await events.tell(ELILE_SECRETS, DB, reason="Synced", note="n", warning=False)
    assert [body["metadata"]["name"] for body in bodies(kube)] == ["db.u1", "db.u2", "db.u3"]


@pytest.mark.parametrize(
    ("note", "written"),
    [
        pytest.param("a" * 1024, "a" * 1024, id="as long as may be"),
        pytest.param("a" * 1025, "a" * 1021 + "…", id="too long"),
        pytest.param("é" * 512, "é" * 512, id="bytes count, as many as may be"),
        pytest.param("é" * 513, "é" * 510 + "…", id="bytes count, too many"),
    ],
)
async def test_a_note_fits_what_the_api_server_takes(
    kube: MemoryKube, events: EventWriter, note: str, written: str
) -> None:
    await events.tell(ELILE_SECRETS, DB, reason="Synced", note=note, warning=False)
    (body,) = bodies(kube)
    assert body["note"] == written
    assert len(body["note"].encode()) <= 1024


@pytest.mark.parametrize("status", [0, 403, 404, 409, 422, 500])
async def test_an_event_that_is_lost_is_logged(
    kube: MemoryKube, events: EventWriter, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    kube.fail("create", EVENTS, status)
    await events.tell(ELILE_SECRETS, DB, reason="Synced", note="n", warning=False)
    (record,) = caplog.records
    assert (record.levelname, record.message) == ("WARNING", "event lost")
    assert record.__dict__["fields"] == {
        "kind": "ElileSecret",
        "namespace": "shop",
        "name": "db",
        "reason": "Synced",
        "error": f"create events: {status or 'no answer'} Scripted",
    }
