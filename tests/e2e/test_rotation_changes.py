"""Changes that are not ours: of the live path, of objects, of who runs; none of them rotates anything by itself."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.support.asked import PASSES, Asked
from tests.e2e.support.cluster import Cluster, eventually
from tests.e2e.support.databases import Rotated
from tests.e2e.support.fixtures import SYSTEM, egress_arguments
from tests.e2e.support.operator import Operator
from tests.e2e.support.pairs import RotatedPair
from tests.e2e.support.tenant import Tenant

pytestmark = pytest.mark.lab

LOGIN = {"name": "login", "postgresql": {}}


def theirs(rotated: RotatedPair) -> dict[str, Any]:
    """Write the live path as somebody else; the value is the one that works."""
    value = rotated.live()
    rotated.tenant.put("db", username=value["username"], password=value["password"], note="theirs")
    return rotated.live()


def test_what_somebody_else_writes_during_a_run_stays(rotated: RotatedPair, asked: Asked) -> None:
    path = rotated.tenant.namespace
    rotated.schedule(verify=[LOGIN, asked.hook(path, "Pending")])
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Applied")
    written = theirs(rotated)
    asked.answer(path, PASSES)
    status = rotated.rotating.wait_result("first", "Aborted", "ExternalChange")
    assert status["message"] == "somebody else wrote the live path while the rotation was under way; theirs stays"
    assert rotated.live() == written
    assert rotated.works(written)
    assert not rotated.database.may_log_in(rotated.pair.users[1])
    rotated.wiped("Aborted")
    rotated.has_events("ExternalChange")


def test_what_somebody_else_writes_in_the_grace_period_is_for_a_person(rotated: RotatedPair) -> None:
    before = rotated.live()
    rotated.schedule(gracePeriod="8s")
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Grace")
    written = theirs(rotated)
    rotated.rotating.wait_result("first", "NeedsIntervention")
    assert rotated.works(before), "nothing is removed"
    assert rotated.live() == written
    eventually(
        "the schedule says so",
        lambda: rotated.rotating.condition("rotationschedule", "db", "NeedsIntervention").get("status") == "True",
    )
    told = rotated.tenant.wait("db", "NeedsIntervention", "RotationHealthy")
    assert told["status"] == "False"


def test_what_somebody_else_writes_between_runs_is_flagged(rotated: RotatedPair) -> None:
    rotated.schedule(gracePeriod="1s")
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_result("first", "Succeeded")
    eventually("it counts as ours", lambda: rotated.rotating.schedule_status("db").get("liveVersion") == 2)
    theirs(rotated)

    def flagged() -> bool:
        ready = rotated.rotating.condition("rotationschedule", "db", "Ready")
        return ready.get("reason") == "ExternalChange"

    eventually("it is flagged", flagged)
    assert rotated.rotating.condition("rotationschedule", "db", "Ready")["message"] == (
        "version 3 of the live path was written by somebody else: make a Rotation to replace it, or set "
        "spec.drift.onExternalChange to Adopt"
    )
    rotated.rotating.ask("second", "db")
    rotated.rotating.wait_result("second", "Succeeded")
    eventually("it is over", lambda: not flagged())


def test_what_somebody_else_writes_between_runs_is_adopted_once_it_is_verified(rotated: RotatedPair) -> None:
    rotated.schedule(gracePeriod="1s", drift={"onExternalChange": "Adopt"})
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_result("first", "Succeeded")
    eventually("it counts as ours", lambda: rotated.rotating.schedule_status("db").get("liveVersion") == 2)
    theirs(rotated)
    eventually("it is adopted", lambda: rotated.rotating.schedule_status("db").get("liveVersion") == 3)
    rotated.has_events("ExternalChange", kind="RotationSchedule", name="db")
    assert rotated.rotating.condition("rotationschedule", "db", "Ready")["status"] == "True"


# ── 0 rotations ──────────────────────────────────────────────────────────────────────────────────────────────────────


class Rest:
    """A pair that was rotated once; nothing more may happen to it."""

    def __init__(self, rotated: RotatedPair) -> None:
        self.rotated = rotated
        rotated.schedule(schedule="0 0 1 1 *", gracePeriod="1s")
        rotated.rotating.ask("first", "db")
        rotated.rotating.wait_result("first", "Succeeded")
        eventually("it is at rest", lambda: rotated.rotating.schedule_status("db").get("liveVersion") == 2)
        self._before = self._state()

    def stays(self) -> None:
        """Once everything was looked at again, nothing was rotated."""
        assert self._state() == self._before

    def _state(self) -> tuple[Any, ...]:
        rotated = self.rotated
        found = rotated.tenant.cluster.all("rotation", rotated.tenant.namespace)
        rotations = {r["metadata"]["name"]: r["status"].get("result") for r in found}
        return rotations, rotated.rotating.journal_version("db"), rotated.live()


def test_applying_the_same_again_and_unrelated_fields_rotate_nothing(rotated: RotatedPair) -> None:
    rest = Rest(rotated)
    rotated.schedule(schedule="0 0 1 1 *", gracePeriod="1s")
    rotated.read({"proof": {"elapsed": "1s"}})
    rest.stays()
    rotated.schedule(schedule="0 0 1 1 *", gracePeriod="20s", historyLimit=3)
    generation = rotated.rotating.cluster.get("rotationschedule", "db", rotated.tenant.namespace)["metadata"]
    eventually(
        "it is looked at",
        lambda: rotated.rotating.schedule_status("db")["observedGeneration"] == generation["generation"],
    )
    rest.stays()


def test_a_status_that_is_wiped_rotates_nothing(rotated: RotatedPair) -> None:
    rest = Rest(rotated)
    where = ("-n", rotated.tenant.namespace)
    wipe = ("--subresource=status", "--type=json", "-p", '[{"op": "remove", "path": "/status"}]')
    rotated.rotating.cluster.kubectl(*where, "patch", "rotationschedule", "db", *wipe)
    eventually("the schedule has one again", lambda: rotated.rotating.schedule_status("db").get("phase") == "Idle")
    rotated.rotating.cluster.kubectl(*where, "patch", "rotation", "first", *wipe)
    status = rotated.rotating.wait_result("first", "AlreadyDone", "AlreadyDone")
    assert status["message"].startswith("AlreadyDone: a Rotation of this name ended as Done at ")
    rotated.rotating.cluster.kubectl(*where, "patch", "rotationschedule", "db", *wipe)
    eventually("the schedule has one again", lambda: rotated.rotating.schedule_status("db").get("phase") == "Idle")
    live, journal = rotated.live(), rotated.rotating.journal_version("db")
    assert (live["version"], journal) == (2, rest._before[1])


@pytest.fixture
def both(cluster: Cluster, no_operator: None, tmp_path: Path) -> Iterator[list[Operator]]:
    """The leader, and a standby."""
    arguments = ("--kubeconfig", str(cluster.kubeconfig), "--namespace", SYSTEM, *egress_arguments(cluster))
    operators: list[Operator] = []
    try:
        for name in ("one", "two"):
            operators.append(Operator(tmp_path / name, *arguments))
            operators[-1].wait_ready()
        yield operators
    finally:
        for operator in operators:
            operator.stop()


def test_a_restart_and_another_leader_rotate_nothing_and_go_on_with_what_is_under_way(
    both: list[Operator], new_tenant: Callable[[], Tenant], database: Rotated
) -> None:
    rest = Rest(RotatedPair.make(new_tenant(), database))
    running = RotatedPair.make(new_tenant(), database)
    client = running.client()
    running.schedule(gracePeriod="10m")
    running.rotating.ask("first", "db")
    running.rotating.wait_phase("first", "Grace")
    before = running.live()
    both[0].stop()
    running.rotating.ask("finish", "db", "Retire")
    running.rotating.wait_result("finish", "Succeeded", within=120)
    running.rotating.wait_result("first", "Succeeded")
    rest.stays()
    both[1].stop()
    both[1].start()
    both[1].wait_ready()
    running.rotating.ask("dry", "db", "DryRun")
    running.rotating.wait_result("dry", "Succeeded", within=120)
    rest.stays()
    assert running.live() == before
    client.fares_well()
