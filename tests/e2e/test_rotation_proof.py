"""Rotation waits for those who read the value: proofs that come, come late, and never come."""

import time

import pytest

from tests.e2e.support.asked import Asked
from tests.e2e.support.clients import Client
from tests.e2e.support.cluster import eventually
from tests.e2e.support.pairs import HTTP, RotatedPair

pytestmark = pytest.mark.lab

SHORT = "3s"


def unproved(rotated: RotatedPair, on_timeout: str) -> Client:
    """A client that answers no request for proof, a run that waits for it, and the time for that almost up."""
    rotated.read(HTTP)
    client = rotated.client()
    client.keep_silent()
    rotated.schedule(promote={"timeout": SHORT, "onTimeout": on_timeout})
    rotated.rotating.ask("first", "db")
    return client


def both_work(rotated: RotatedPair, before: dict[str, object]) -> None:
    assert rotated.works(before)
    assert rotated.works(rotated.live())


def not_ready(rotated: RotatedPair) -> dict[str, str] | None:
    ready = rotated.rotating.condition("rotationschedule", "db", "Ready")
    return ready if ready.get("status") == "False" else None


def wait_held(rotated: RotatedPair) -> None:
    """Wait until the run waits, for longer than the proof may take, and says for whom."""
    rotated.rotating.wait_phase("first", "Promoted")
    why = f"a rotation of secret/{rotated.tenant.namespace}/db waits for this object: its consumers are not proved to "
    why += "use the new value"
    eventually("it is told", lambda: rotated.tenant.condition("db", "RotationHealthy")["message"] == why)
    told = rotated.tenant.condition("db", "RotationHealthy")
    assert (told["status"], told["reason"]) == ("False", "AwaitingConsumers")
    eventually("its column shows it", lambda: rotated.tenant.elile("db")["status"]["rotation"] == "Promoted")
    time.sleep(5)
    status = rotated.rotating.status("first")
    assert (status["phase"], status["reason"]) == ("Promoted", "AwaitingConsumers")
    assert status["message"] == "ElileSecret 'db': its consumers are not proved to use the new value"
    current = rotated.rotating.condition("rotation", "first", "ConsumersCurrent")
    assert (current["status"], current["reason"]) == ("False", "AwaitingConsumers")


def test_a_proof_that_never_comes_holds_the_old_value_until_a_person_retires_it(rotated: RotatedPair) -> None:
    before = rotated.live()
    client = unproved(rotated, "Hold")
    wait_held(rotated)
    both_work(rotated, before)
    rotated.rotating.ask("finish", "db", "Retire")
    rotated.rotating.wait_result("finish", "Succeeded", "Retired")
    rotated.rotating.wait_result("first", "Succeeded", "Retired")
    assert not rotated.works(before)
    eventually("nobody waits", lambda: rotated.tenant.condition("db", "RotationHealthy")["status"] == "True")
    client.fares_well()


def test_a_proof_that_comes_late_ends_the_wait(rotated: RotatedPair) -> None:
    before = rotated.live()
    client = unproved(rotated, "Hold")
    wait_held(rotated)
    both_work(rotated, before)
    client.speak()
    rotated.rotating.wait_result("first", "Succeeded", "Retired")
    assert not rotated.works(before)
    client.fares_well()


def test_without_a_proof_the_old_value_is_live_again(rotated: RotatedPair) -> None:
    before = rotated.live()
    client = unproved(rotated, "Revert")
    rotated.rotating.wait_phase("first", "Promoted")
    promoted = rotated.live()
    rotated.rotating.wait_phase("first", "Reverting")
    eventually("the old one is live again", lambda: rotated.live()["password"] == before["password"])
    rotated.delivered(before)
    # Who has not proved the one has not proved the other: the rejected value ends when they have.
    assert rotated.works(promoted)
    client.speak()
    rotated.rotating.wait_result("first", "RolledBack", "ProofTimeout")
    assert rotated.works(before)
    assert not rotated.works(promoted)
    client.fares_well()


def test_without_a_proof_the_rotation_goes_on_if_it_is_told_to(rotated: RotatedPair) -> None:
    before = rotated.live()
    client = unproved(rotated, "Proceed")
    rotated.rotating.wait_phase("first", "Promoted")
    began = time.monotonic()
    rotated.rotating.wait_result("first", "Succeeded")
    assert time.monotonic() - began >= 1
    assert not rotated.works(before)
    client.fares_well()


def test_readers_that_declare_nothing_are_refused(rotated: RotatedPair) -> None:
    rotated.read(None)
    rotated.schedule()
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    status = rotated.rotating.wait_result("first", "Aborted", "ProofUndeclared")
    assert status["message"] == (
        "ElileSecret 'db' says nothing of how its consumers prove that they use a new value: "
        "declare spec.consumers.proof there, or say in spec.promote.undeclared how long to wait for them"
    )
    assert rotated.live() == before
    assert rotated.rotating.journal("db") is None, "nothing was begun"
    ready = eventually("the schedule says so", lambda: not_ready(rotated))
    assert ready["reason"] == "ProofUndeclared"


def test_readers_that_declare_nothing_are_waited_for(rotated: RotatedPair) -> None:
    rotated.read(None)
    client = rotated.client()
    rotated.schedule(promote={"undeclared": "5s"})
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Promoted")
    rotated.delivered(rotated.live())
    began = time.monotonic()
    rotated.rotating.wait_result("first", "Succeeded")
    assert time.monotonic() - began >= 4, "they were given five seconds, and the grace period of two"
    assert not rotated.works(before)
    client.fares_well()


def test_the_old_value_lives_while_somebody_is_logged_in_with_it(rotated: RotatedPair) -> None:
    rotated.read(None)
    client = rotated.client()
    rotated.schedule(promote={"sessionsQuiet": "2s"}, gracePeriod="1s")
    before = rotated.live()
    with rotated.database.session(before):
        rotated.rotating.ask("first", "db")
        rotated.rotating.wait_phase("first", "Promoted")
        rotated.delivered(rotated.live())
        time.sleep(12)  # longer than a look, a pause, and the quiet that is asked for
        assert rotated.rotating.status("first")["phase"] == "Promoted"
        assert rotated.works(before)
    rotated.rotating.wait_result("first", "Succeeded")
    assert not rotated.works(before)
    client.fares_well()


@pytest.mark.parametrize("stage", ["AfterPromote", "BeforeRetire"])
def test_a_check_that_comes_to_no_result_is_asked_again(rotated: RotatedPair, asked: Asked, stage: str) -> None:
    path = rotated.tenant.namespace
    rotated.schedule(verify=[{"name": "login", "postgresql": {}}, asked.hook(path, stage)], gracePeriod="1s")
    before = rotated.live()
    rotated.rotating.ask("first", "db")
    asked.wait_asked(path)
    phase = "Promoted" if stage == "AfterPromote" else "Grace"
    status = rotated.rotating.wait_phase("first", phase)
    assert rotated.works(before)
    eventually("it says so", lambda: rotated.rotating.status("first")["reason"] == "VerificationInconclusive")
    asked.answer(path, 200)
    status = rotated.rotating.wait_result("first", "Succeeded")
    assert {(v["name"], v["stage"]): v["result"] for v in status["verification"]}["asked", stage] == "Passed"
    assert not rotated.works(before)
