"""Rotation of PostgreSQL users by objects, under a pod that logs in all the time."""

import pytest

from tests.e2e.support.asked import FAILS, Asked
from tests.e2e.support.cluster import eventually
from tests.e2e.support.pairs import RotatedPair

pytestmark = pytest.mark.lab

FALSE = [{"name": "login", "postgresql": {}}, {"name": "wrong", "postgresql": {"assertion": "SELECT false"}}]
LOGIN = {"name": "login", "postgresql": {}}


def test_a_pair_of_users_is_rotated(rotated: RotatedPair) -> None:
    rotated.schedule()
    client = rotated.client()
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    status = rotated.rotating.wait_result("first", "Succeeded", "Retired")
    after = rotated.live()
    assert after["version"] == before["version"] + 1
    assert after["username"] != before["username"]
    assert rotated.works(after)
    assert not rotated.works(before)
    assert (status["fromVersion"], status["toVersion"]) == (1, 2)
    assert status["consumers"]["summary"] == "1/1"
    rotated.wiped("Done")
    client.fares_well()
    assert client.told()["users"] == 2
    rotated.rotating.cluster.kubectl(
        *("-n", rotated.tenant.namespace, "wait", "--for=condition=Complete", "rotation/first", "--timeout=10s")
    )
    rotated.has_events("RotationStarted", "Applied", "VerificationPassed", "Promoted", "ConsumersCurrent", "Retired")


def test_the_next_rotation_takes_the_first_user_again(rotated: RotatedPair) -> None:
    rotated.schedule(gracePeriod="1s")
    client = rotated.client()
    before = rotated.live()
    for name in ("first", "second"):
        rotated.rotating.ask(name, "db")
        rotated.rotating.wait_result(name, "Succeeded")
    after = rotated.live()
    assert (after["version"], after["username"]) == (3, before["username"])
    assert after["password"] != before["password"]
    client.fares_well()


def test_a_single_user_is_rotated(rotated: RotatedPair) -> None:
    rotated.schedule(single=True)
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_result("first", "Succeeded")
    after = rotated.live()
    assert (after["version"], after["username"]) == (2, before["username"])
    assert rotated.works(after)
    assert not rotated.works(before)
    rotated.wiped("Done")


@pytest.mark.parametrize("single", [False, True], ids=["DualUser", "SingleUser"])
def test_a_value_that_is_not_verified_is_never_live(rotated: RotatedPair, single: bool) -> None:
    rotated.schedule(single=single, verify=FALSE)
    client = rotated.client()
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    status = rotated.rotating.wait_result("first", "Aborted", "VerificationFailed")
    assert rotated.live() == before
    assert rotated.works(before)
    assert "toVersion" not in status
    assert [(v["name"], v["result"]) for v in status["verification"] if v["stage"] == "Pending"] == [
        ("target", "Passed"),
        ("login", "Passed"),
        ("wrong", "Failed"),
    ]
    rotated.wiped("Aborted")
    if not single:
        assert not rotated.database.may_log_in(rotated.pair.users[1]), "the pending user is locked"
        client.fares_well()
    assert rotated.rotating.condition("rotation", "first", "Failed")["status"] == "True"
    rotated.has_events("VerificationFailed")


@pytest.mark.parametrize("single", [False, True], ids=["DualUser", "SingleUser"])
def test_a_value_that_fails_after_it_is_live_is_taken_back(rotated: RotatedPair, asked: Asked, single: bool) -> None:
    path = rotated.tenant.namespace
    rotated.schedule(single=single, verify=[LOGIN, asked.hook(path, "AfterPromote")])
    client = rotated.client()
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Promoted")
    promoted = rotated.live()
    assert promoted["version"] == 2
    rotated.delivered(promoted)
    asked.answer(path, FAILS)
    rotated.rotating.wait_result("first", "RolledBack", "VerificationFailed")
    after = rotated.live()
    assert (after["username"], after["password"], after["version"]) == (before["username"], before["password"], 3)
    assert rotated.works(before)
    assert not rotated.works(promoted)
    rotated.delivered(before)
    rotated.wiped("RolledBack")
    if not single:
        client.fares_well()
    eventually("it is told", lambda: rotated.rotating.schedule_status("db").get("lastResult") == "RolledBack")
