"""A password that leaked is replaced at once, whatever is under way; what stands in the way of a rotation is told."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from tests.e2e.support.asked import Asked
from tests.e2e.support.cluster import eventually
from tests.e2e.support.pairs import RotatedPair
from tests.e2e.support.rotating import ROTATOR

pytestmark = pytest.mark.lab

LOGIN = {"name": "login", "postgresql": {}}


def is_open(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def scheduled(rotated: RotatedPair) -> str:
    """Return the name of the run that the schedule has made, once it is in its grace period."""

    def grace() -> str | None:
        found = rotated.rotating.schedule_status("db")
        return str(found["active"]) if found.get("phase") == "Grace" else None

    return eventually("a scheduled run is in Grace", grace, within=150)


def once(within: timedelta) -> str:
    """Return a schedule that fires once, in the first minute after that time."""
    at = datetime.now(UTC) + within + timedelta(minutes=1)
    return f"{at.minute} {at.hour} {at.day} {at.month} *"


def test_a_leaked_password_is_dead_within_seconds(rotated: RotatedPair, figure: list[str]) -> None:
    rotated.schedule(schedule=once(timedelta(seconds=5)), gracePeriod="10m")
    first = rotated.live()
    run = scheduled(rotated)
    leaked = rotated.live()
    with rotated.database.session(first) as oldest, rotated.database.session(leaked) as open_:
        oldest.autocommit = open_.autocommit = True
        began = time.monotonic()
        rotated.rotating.ask("leaked", "db", retire="Now", compromised=True, reason="it was in a log")
        eventually("the first is dead", lambda: not rotated.works(first))
        eventually("the leaked one is dead", lambda: not rotated.works(leaked))
        eventually("no session of it is left", lambda: not is_open(open_))
        dead = time.monotonic() - began
        assert not is_open(oldest)
    status = rotated.rotating.wait_result("leaked", "Succeeded", "Retired")
    figure.append(f"emergency: the leaked password was dead and its sessions gone after {dead:.1f} s")
    assert dead < 30
    assert status["trigger"] == "Manual"
    superseded = rotated.rotating.wait_result(run, "Succeeded", "Superseded")
    assert superseded["message"] == "a Rotation of a compromised value took over"
    assert superseded["trigger"] == "Schedule"
    after = rotated.live()
    assert (after["version"], rotated.works(after)) == (3, True)
    rotated.delivered(after)
    rotated.rotating.ask("back", "db", "RollBack")
    rotated.rotating.wait_result("back", "Aborted", "ValueCompromised")
    assert rotated.live() == after


def test_an_emergency_ends_a_run_whose_value_is_not_live_yet(rotated: RotatedPair, asked: Asked) -> None:
    path = rotated.tenant.namespace
    leaked = rotated.live()
    rotated.schedule(verify=[LOGIN, asked.hook(path, "Pending")])
    rotated.rotating.ask("first", "db")
    rotated.rotating.wait_phase("first", "Applied")
    rotated.rotating.ask("leaked", "db", retire="Now", compromised=True)
    rotated.rotating.wait_result("first", "Aborted", "Superseded")
    asked.answer(path, 200)
    rotated.rotating.wait_result("leaked", "Succeeded")
    assert not rotated.works(leaked)
    assert rotated.works(rotated.live())


def test_a_compromised_value_does_not_come_back_while_it_is_replaced(rotated: RotatedPair, asked: Asked) -> None:
    path = rotated.tenant.namespace
    leaked = rotated.live()
    rotated.schedule(verify=[LOGIN, asked.hook(path, "AfterPromote")])
    rotated.rotating.ask("leaked", "db", compromised=True)
    rotated.rotating.wait_phase("leaked", "Promoted")
    rotated.rotating.ask("back", "db", "RollBack")
    status = rotated.rotating.wait_result("back", "Aborted", "ValueCompromised")
    assert status["message"] == (
        "Rotation 'leaked' replaces a value that is compromised, which must not come back; make another Rotation, if "
        "the new value is wrong"
    )
    asked.answer(path, 200)
    rotated.rotating.wait_result("leaked", "Succeeded")
    assert not rotated.works(leaked)


def refused(rotated: RotatedPair, reason: str, **spec: Any) -> str:
    """Have a rotation refused; answers the message. Nothing was done."""
    before = rotated.live()
    rotated.schedule(**spec)
    rotated.rotating.ask("first", "db")
    status = rotated.rotating.wait_result("first", "Aborted", reason, within=90)
    assert rotated.live() == before
    assert not rotated.database.may_log_in(rotated.pair.users[1])
    rotated.has_events(reason)
    return str(status["message"])


def test_an_administrator_is_used_where_his_entry_says_and_nowhere_else(rotated: RotatedPair) -> None:
    where = f"{rotated.tenant.namespace}/admin"
    entry = rotated.database.admin_entry(*rotated.pair.users) | {"host": "elsewhere.example"}
    rotated.tenant.cluster.put(where, **entry)
    host, port = rotated.database.host, rotated.database.port
    assert refused(rotated, "TargetNotAllowed") == (
        f"secret/{where} is not for {host}:{port}: name it there, or correct the target"
    )


def test_an_address_that_is_not_allowed_is_not_dialled(rotated: RotatedPair) -> None:
    where = f"{rotated.tenant.namespace}/admin"
    rotated.tenant.cluster.put(where, **rotated.database.admin_entry(*rotated.pair.users) | {"port": 5432})
    target = rotated.spec()["apply"]
    target["postgresql"]["port"] = 5432
    host = rotated.database.host
    assert refused(rotated, "PreflightFailed", apply=target) == (
        f"the preflight failed: {host}:5432 leads to {host}, which egress.allow does not list; add "
        f"{{cidr: {host}/32, ports: [5432]}}"
    )


def test_a_rotator_without_rights_is_told_which_and_waited_for(rotated: RotatedPair) -> None:
    name, before = rotated.tenant.namespace, rotated.live()
    rotated.schedule(vault={"role": "elile", "serviceAccountName": ROTATOR})
    rotated.rotating.ask("first", "db")
    eventually("it is told", lambda: rotated.rotating.status("first").get("reason") == "PermissionDenied")
    assert rotated.rotating.status("first")["message"] == (
        f"secret/{name}/db cannot be rotated by ServiceAccount {name}/{ROTATOR} with role 'elile': "
        f"secret/data/elile-journal/{name}/db: permission denied; correct spec.vault, or what Vault's role and policy "
        "allow it"
    )
    rotated.has_events("PermissionDenied")
    assert rotated.live() == before
    rotated.schedule()
    rotated.rotating.wait_result("first", "Succeeded")


def test_a_rotator_that_does_not_exist_is_told(rotated: RotatedPair) -> None:
    before = rotated.live()
    rotated.schedule(vault={"role": ROTATOR, "serviceAccountName": "nobody"})
    rotated.rotating.ask("first", "db")
    eventually("it is told", lambda: rotated.rotating.status("first").get("reason") == "ServiceAccountNotFound")
    assert rotated.rotating.status("first")["message"] == (
        f"ServiceAccount {rotated.tenant.namespace}/nobody does not exist; create it, or correct "
        "spec.vault.serviceAccountName"
    )
    assert rotated.live() == before


def test_an_entry_of_the_administrator_that_is_not_there_is_named(rotated: RotatedPair) -> None:
    target, path = rotated.spec()["apply"], f"{rotated.tenant.namespace}/nowhere"
    target["postgresql"]["admin"] = {"path": path}
    assert refused(rotated, "PathNotFound", apply=target) == (
        f"the administrator's entry secret/{path} does not exist: write it, or correct spec.apply.postgresql.admin"
    )
