"""What people ask of a rotation: taking it back, ending it, looking first, and asking for the same thing twice."""

from typing import Any

import pytest

from tests.e2e.support.asked import FAILS, PASSES, Asked
from tests.e2e.support.cluster import eventually
from tests.e2e.support.pairs import RotatedPair

pytestmark = pytest.mark.lab

LOGIN = {"name": "login", "postgresql": {}}
LONG = "10m"


def in_grace(rotated: RotatedPair) -> dict[str, Any]:
    """A run whose grace period does not end; answers what was live before."""
    before = rotated.live()
    rotated.schedule(gracePeriod=LONG)
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Grace")
    return before


def test_the_previous_value_is_live_again_within_the_grace_period(rotated: RotatedPair) -> None:
    client = rotated.client()
    before = in_grace(rotated)
    promoted = rotated.live()
    until = eventually("its end is told", lambda: rotated.rotating.schedule_status("db").get("previousValidUntil"))
    eventually(
        "the reader tells it",
        lambda: rotated.tenant.elile("db")["status"]["rotations"][0].get("previousValidUntil") == until,
    )
    rotated.rotating.ask("back", "db", "RollBack")
    status = rotated.rotating.wait_result("back", "Succeeded", "RolledBack")
    assert (status["fromVersion"], status["toVersion"]) == (1, 3)
    rotated.rotating.wait_result("first", "RolledBack")
    after = rotated.live()
    assert (after["password"], after["version"]) == (before["password"], 3)
    assert rotated.works(before)
    assert not rotated.works(promoted)
    rotated.wiped("RolledBack")
    rotated.delivered(before)
    client.fares_well()
    rotated.has_events("RolledBack")


def test_what_is_retired_does_not_come_back(rotated: RotatedPair) -> None:
    rotated.schedule(gracePeriod="1s")
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_result("first", "Succeeded")
    after = rotated.live()
    rotated.rotating.ask("back", "db", "RollBack")
    status = rotated.rotating.wait_result("back", "Aborted", "PreviousRetired")
    assert status["message"] == (
        "the previous value is retired, so there is nothing to take back; to replace the value that is live, make a "
        "Rotation with action Rotate"
    )
    rotated.rotating.ask("end", "db", "Abort")
    status = rotated.rotating.wait_result("end", "Aborted", "Aborted")
    assert status["message"] == "no rotation is under way that could be aborted"
    assert rotated.live() == after


def test_a_person_ends_a_run_before_its_value_is_live(rotated: RotatedPair, asked: Asked) -> None:
    path = rotated.tenant.namespace
    client = rotated.client()
    before = rotated.live()
    rotated.schedule(verify=[LOGIN, asked.hook(path, "Pending")])
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Applied")
    rotated.rotating.ask("end", "db", "Abort")
    rotated.rotating.wait_result("end", "Succeeded", "Aborted")
    rotated.rotating.wait_result("first", "Aborted", "Aborted")
    asked.answer(path, PASSES)
    assert rotated.live() == before
    assert not rotated.database.may_log_in(rotated.pair.users[1])
    rotated.wiped("Aborted")
    client.fares_well()


def test_a_person_ends_a_run_while_one_of_its_hooks_takes_its_time(rotated: RotatedPair, asked: Asked) -> None:
    path = rotated.tenant.namespace
    before = rotated.live()
    rotated.schedule(verify=[LOGIN, asked.hook(path, "Pending", answer=PASSES, initialDelay="10s")])
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Applied")
    rotated.rotating.ask("end", "db", "Abort")
    rotated.rotating.wait_result("first", "Aborted", "Aborted")
    assert rotated.live() == before, "the hook passed, and nobody wanted the value any more"


def test_a_dry_run_tells_whether_a_rotation_could_begin(rotated: RotatedPair, asked: Asked) -> None:
    path = rotated.tenant.namespace
    rotated.schedule(verify=[LOGIN, asked.hook(path, "Preflight", answer=PASSES)])
    before = rotated.live()
    rotated.rotating.ask("good", "db", "DryRun")
    status = rotated.rotating.wait_result("good", "Succeeded", "VerificationPassed")
    assert status["message"].startswith("a rotation could begin; looked at: ")
    asked.answer(path, FAILS)
    rotated.rotating.ask("bad", "db", "DryRun")
    status = rotated.rotating.wait_result("bad", "Aborted", "PreflightFailed")
    assert status["message"].startswith("a rotation could not begin: ")
    assert "asked: " in status["message"]
    assert rotated.live() == before
    assert rotated.rotating.journal("db") is None
    assert not rotated.database.may_log_in(rotated.pair.users[1])


def test_a_dry_run_tells_what_is_missing_at_the_target(rotated: RotatedPair) -> None:
    second = rotated.pair.users[1]
    rotated.schedule()
    rotated.database.server.sql(f"ALTER ROLE {second} RESET role")
    rotated.rotating.ask("dry", "db", "DryRun")
    status = rotated.rotating.wait_result("dry", "Aborted")
    assert f"'{second}' does not act as '{rotated.pair.name}_owner' when it logs in: ALTER ROLE" in status["message"]


def test_the_same_name_again_is_no_second_rotation(rotated: RotatedPair) -> None:
    rotated.schedule(gracePeriod="1s")
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_result("first", "Succeeded")
    after, journal = rotated.live(), rotated.rotating.journal_version("db")
    rotated.rotating.delete("rotation", "first")
    eventually("it is gone", lambda: rotated.rotating.status("first") == {})
    rotated.rotating.ask("first", "db")
    status = rotated.rotating.wait_result("first", "AlreadyDone", "AlreadyDone")
    assert status["message"].startswith("AlreadyDone: a Rotation of this name ended as Done at ")
    assert rotated.rotating.condition("rotation", "first", "Complete")["status"] == "True"
    assert (rotated.live(), rotated.rotating.journal_version("db")) == (after, journal)


def test_a_rotation_waits_for_the_one_before_it(rotated: RotatedPair) -> None:
    in_grace(rotated)
    rotated.rotating.ask("second", "db")
    eventually("it waits", lambda: rotated.rotating.status("second").get("reason") == "RotationScheduled")
    assert rotated.rotating.status("second")["message"] == "it waits for Rotation 'first', which goes first"
    rotated.schedule(gracePeriod="1s")
    rotated.rotating.ask("finish", "db", "Retire")
    rotated.rotating.wait_result("finish", "Succeeded")
    rotated.rotating.wait_result("second", "Succeeded")
    assert rotated.live()["version"] == 3


def test_a_second_schedule_of_the_same_value_keeps_off(rotated: RotatedPair) -> None:
    in_grace(rotated)
    rotated.rotating.schedule("other", "db", **rotated.spec())
    rotated.rotating.ask("theirs", "other")
    status = rotated.rotating.wait_result("theirs", "Aborted", "ManagedElsewhere")
    name = rotated.tenant.namespace
    assert status["message"] == (
        f"the journal secret/elile-journal/{name}/db belongs to '{name}/db': delete one of the two, or release it there"
    )
    assert rotated.rotating.status("first")["phase"] == "Grace"
    rotated.rotating.ask("back", "other", "RollBack")
    rotated.rotating.wait_result("back", "Aborted", "ManagedElsewhere")
    assert rotated.rotating.status("first")["phase"] == "Grace"
