"""Deletion of each object in every phase of a run: before its value is live it is undone, later both values stay."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.e2e.support.asked import PASSES, Asked
from tests.e2e.support.cluster import ROOT, eventually
from tests.e2e.support.pairs import HTTP, RotatedPair
from tests.e2e.support.rotating import ROTATOR

pytestmark = pytest.mark.lab

LOGIN = {"name": "login", "postgresql": {}}
EARLY = ("Pending", "Applied")
LATE = ("Promoted", "Grace")
NAMES = {"rotation": "first", "rotationschedule": "db", "elilesecret": "db"}
# What the finalizer of an object may take at most, and what a busy machine needs beside it.
DEADLINE, LAG = 120.0, 60.0


@contextmanager
def held(rotated: RotatedPair, asked: Asked, phase: str) -> Iterator[None]:
    """A run that is held in a phase, and goes on afterwards."""
    path = rotated.tenant.namespace
    client = rotated.client()
    spec: dict[str, Any] = {"gracePeriod": "10m" if phase == "Grace" else "1s"}
    if phase == "Applied":
        spec["verify"] = [LOGIN, asked.hook(path, "Pending")]
    if phase == "Promoted":
        rotated.read(HTTP)
        client.keep_silent()
    rotated.schedule(**spec)
    if phase == "Pending":
        with rotated.database.busy(rotated.pair.users[1]):
            rotated.rotating.ask("first", "db")
            eventually("it is about to be applied", lambda: about_to(rotated, "Pending", "Apply"), within=60)
            yield
    else:
        rotated.rotating.ask("first", "db")
        rotated.rotating.wait_phase("first", phase)
        yield
    asked.answer(path, PASSES)
    client.fares_well()


def about_to(rotated: RotatedPair, phase: str, intent: str) -> bool:
    journal = rotated.rotating.journal("db") or {}
    return (journal.get("phase"), journal.get("intent")) == (phase, intent)


def gone(rotated: RotatedPair, kind: str) -> None:
    def there() -> bool:
        return rotated.tenant.cluster.find(kind, NAMES[kind], rotated.tenant.namespace) is not None

    eventually(f"{kind} is gone", lambda: not there(), within=60)


def ended(rotated: RotatedPair, phase: str) -> None:
    """Wait until the journal tells of the end."""

    def over() -> bool:
        journal = rotated.rotating.journal("db") or {}
        return journal.get("phase") == phase and bool(journal.get("wiped"))

    eventually(f"the journal says {phase}", over, within=90)
    rotated.wiped(phase)


@pytest.mark.parametrize("phase", EARLY)
@pytest.mark.parametrize("kind", NAMES)
def test_what_is_deleted_before_the_value_is_live_leaves_nothing(
    rotated: RotatedPair, asked: Asked, kind: str, phase: str
) -> None:
    before = rotated.live()
    with held(rotated, asked, phase):
        rotated.rotating.delete(kind, NAMES[kind])
        if phase == "Pending":
            time.sleep(1)
        else:
            ended(rotated, "Aborted")
    ended(rotated, "Aborted")
    gone(rotated, kind)
    assert rotated.live() == before
    assert rotated.works(before)
    assert not rotated.database.may_log_in(rotated.pair.users[1])
    if kind != "rotation":
        rotated.rotating.wait_result("first", "Aborted")
    schedule = rotated.tenant.cluster.find("rotationschedule", "db", rotated.tenant.namespace)
    assert schedule is None or not schedule["metadata"].get("finalizers")


@pytest.mark.parametrize("phase", LATE)
def test_a_promoted_run_goes_on_without_its_object(rotated: RotatedPair, asked: Asked, phase: str) -> None:
    before = rotated.live()
    with held(rotated, asked, phase):
        rotated.rotating.delete("rotation", "first")
        gone(rotated, "rotation")
        time.sleep(1)
        assert rotated.works(before)
        assert (rotated.rotating.journal("db") or {})["phase"] == phase
        rotated.rotating.ask("finish", "db", "Retire")
        rotated.rotating.wait_result("finish", "Succeeded")
    ended(rotated, "Done")
    assert not rotated.works(before)
    assert rotated.works(rotated.live())


@pytest.mark.parametrize("phase", LATE)
@pytest.mark.parametrize("kind", ["rotationschedule", "elilesecret"])
def test_what_is_deleted_once_the_value_is_live_leaves_both_values(
    rotated: RotatedPair, asked: Asked, kind: str, phase: str
) -> None:
    before = rotated.live()
    with held(rotated, asked, phase):
        rotated.rotating.delete(kind, NAMES[kind])
        gone(rotated, kind)
        status = rotated.rotating.wait_result("first", "Aborted", "JournalOrphaned")
        assert status["message"] == (
            f"both values stay valid; the journal secret/elile-journal/{rotated.tenant.namespace}/db tells of "
            "them, and a RotationSchedule of the same name goes on with it"
        )
        assert rotated.works(before)
        assert rotated.works(rotated.live())
        # A pass that is under way when its only reader goes has nobody to wait for any more.
        phases = {phase, "Grace"} if kind == "elilesecret" else {phase}
        assert (rotated.rotating.journal("db") or {})["phase"] in phases
        rotated.has_events("JournalOrphaned", kind="RotationSchedule", name="db")
        schedule = rotated.tenant.cluster.find("rotationschedule", "db", rotated.tenant.namespace)
        assert schedule is None or not schedule["metadata"].get("finalizers")
        if kind == "rotationschedule":
            rotated.schedule(gracePeriod="10m")
            rotated.rotating.ask("finish", "db", "Retire")
            rotated.rotating.wait_result("finish", "Succeeded")
            ended(rotated, "Done")
            assert not rotated.works(before)


def let_write(rotated: RotatedPair, *capabilities: str) -> str:
    """Let the rotator of this namespace do so much with the live path; answers its role."""
    cluster, name = rotated.tenant.cluster, f"rotator-{rotated.tenant.namespace}"
    auth = json.loads(cluster.bao("auth", "list", "-format=json"))
    policy = (ROOT / "policies" / "vault" / "elile-rotator.hcl").read_text()
    policy = policy.replace("ACCESSOR", auth["kubernetes/"]["accessor"])
    policy = policy.replace('["read", "update"]', json.dumps(capabilities), 1)
    cluster.bao("policy", "write", name, "-", given=policy)
    cluster.bao(
        *("write", f"auth/kubernetes/role/{name}", "audience=elile", f"token_policies={name}", "token_ttl=20m"),
        *(f"bound_service_account_names={ROTATOR}", f"bound_service_account_namespaces={rotated.tenant.namespace}"),
    )
    return name


@pytest.mark.parametrize("kind", NAMES)
def test_what_is_deleted_while_the_value_may_be_live_already_is_taken_back(
    rotated: RotatedPair, asked: Asked, kind: str
) -> None:
    path, before = rotated.tenant.namespace, rotated.live()
    role = let_write(rotated, "read", "update")
    client = rotated.client()
    rotated.schedule(
        vault={"role": role, "serviceAccountName": ROTATOR},
        verify=[LOGIN, asked.hook(path, "Pending")],
        gracePeriod="1s",
    )
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Applied")
    let_write(rotated, "read")
    asked.answer(path, PASSES)
    eventually("the write was announced", lambda: about_to(rotated, "Verified", "WriteLive"), within=60)
    rotated.rotating.delete(kind, NAMES[kind])
    time.sleep(1)
    assert rotated.live() == before
    let_write(rotated, "read", "update")
    ended(rotated, "RolledBack")
    gone(rotated, kind)
    if kind != "rotation":
        rotated.rotating.wait_result("first", "RolledBack", "RolledBack")
    after = rotated.live()
    assert (after["version"], after["password"]) == (3, before["password"])
    assert rotated.works(before)
    assert not rotated.database.may_log_in(rotated.pair.users[1])
    client.fares_well()


def test_a_schedule_that_is_made_again_goes_on_by_itself(rotated: RotatedPair) -> None:
    before = rotated.live()
    rotated.schedule(gracePeriod="20s")
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Grace")
    rotated.rotating.delete("rotationschedule", "db")
    gone(rotated, "rotationschedule")
    assert rotated.works(before)
    rotated.schedule(gracePeriod="20s")
    eventually("it is told", lambda: rotated.rotating.schedule_status("db").get("phase") == "Grace")
    ended(rotated, "Done")
    assert not rotated.works(before)


@pytest.mark.parametrize("phase", ["Applied", "Promoted"])
def test_a_namespace_goes_in_the_middle_of_a_rotation(
    rotated: RotatedPair, asked: Asked, phase: str, figure: list[str]
) -> None:
    before = rotated.live()
    path = rotated.tenant.namespace
    hook = asked.hook(path, "Pending" if phase == "Applied" else "AfterPromote")
    rotated.schedule(verify=[LOGIN, hook])
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", phase)
    began = time.monotonic()
    cluster = rotated.tenant.cluster
    cluster.kubectl("delete", "namespace", path, "--wait=false")
    eventually(
        "the namespace is gone",
        lambda: cluster.find("namespace", path) is None,
        within=DEADLINE + LAG,
    )
    figure.append(f"a namespace deleted in {phase}: gone after {time.monotonic() - began:.0f} s")
    assert rotated.works(before), "whatever could still be done, the old value was not locked"
    assert rotated.works(rotated.live())
