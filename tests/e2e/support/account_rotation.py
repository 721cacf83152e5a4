"""What the rotation of an account has to do, whatever the server, under a pod that logs in all the time."""

import pytest

from tests.e2e.support.accounts import Accounts
from tests.e2e.support.cluster import eventually
from tests.e2e.support.programs import PROOF, Program, run_program
from tests.e2e.support.rotating import Rotating


class AccountRotation:
    """The server and the tenant come from the fixtures `accounts` and `rotating` of whoever inherits."""

    @pytest.fixture
    def delivered(self, rotating: Rotating, accounts: Accounts) -> None:
        """The account is there, and its login is delivered; nothing is rotated yet."""
        tenant, name = rotating.tenant, account(rotating)
        tenant.put("db", **accounts.make(name))
        rotating.cluster.put(f"{tenant.namespace}/admin", **accounts.admin_entry(name))
        tenant.want("db", consumers={"proof": PROOF})
        tenant.wait("db", "Synced")

    @pytest.fixture
    def client(self, rotating: Rotating, accounts: Accounts, delivered: None) -> Program:
        """A pod that logs in with what is delivered."""
        tenant = rotating.tenant
        client = run_program(
            tenant, "client", "db", "logins", accounts.kind, accounts.host, str(accounts.port), accounts.ca_pem
        )
        client.wait("the client logs in", "uses", 1)
        return client

    def test_a_value_is_rotated(self, rotating: Rotating, accounts: Accounts, client: Program) -> None:
        schedule(rotating, accounts, verify=[login(accounts), {"name": "old", "negative": {}}])
        before = rotating.live("db")
        rotating.ask("first", "db")
        status = rotating.wait_result("first", "Succeeded")
        after = rotating.live("db")
        assert after["version"] == before["version"] + 1
        assert (accounts.logs_in(after), accounts.logs_in(before)) == (True, False)
        assert {each["result"] for each in status["verification"]} == {"Passed"}
        rotating.ask("second", "db")
        rotating.wait_result("second", "Succeeded")
        assert (accounts.logs_in(rotating.live("db")), accounts.logs_in(after)) == (True, False)
        client.fares_well(3)
        journal = rotating.journal("db")
        assert journal is not None
        assert (journal["phase"], journal["pending"], journal["previous"]) == ("Done", None, None)

    def test_a_value_that_fails_its_verification_is_shown_to_nobody(
        self, rotating: Rotating, accounts: Accounts, client: Program
    ) -> None:
        schedule(rotating, accounts, verify=[login(accounts), {"name": "orders", accounts.kind: accounts.assertion}])
        before = rotating.live("db")
        rotating.ask("first", "db")
        status = rotating.wait_result("first", "Aborted", "VerificationFailed")
        judged = {each["name"]: each["result"] for each in status["verification"]}
        assert judged == {"target": "Passed", "login": "Passed", "orders": "Failed"}, status
        assert status["message"].startswith("a verification failed: orders: "), status
        assert rotating.live("db") == before
        assert accounts.logs_in(before)
        client.fares_well(1)

    def test_a_value_that_fails_when_it_is_used_is_rolled_back(
        self, rotating: Rotating, accounts: Accounts, client: Program
    ) -> None:
        used = {"name": "orders", "stage": "AfterPromote", accounts.kind: accounts.assertion}
        schedule(rotating, accounts, verify=[login(accounts), used])
        before = rotating.live("db")
        rotating.ask("first", "db")
        rotating.wait_result("first", "RolledBack", "VerificationFailed")
        after = rotating.live("db")
        assert after == {**before, "version": before["version"] + 2}
        assert accounts.logs_in(after)
        client.fares_well(2)

    def test_a_person_rolls_back_within_the_grace_period(
        self, rotating: Rotating, accounts: Accounts, client: Program
    ) -> None:
        schedule(rotating, accounts, gracePeriod="10m")
        before = rotating.live("db")
        rotating.ask("first", "db")
        rotating.wait_phase("first", "Grace")
        fresh = rotating.live("db")
        assert (accounts.logs_in(before), accounts.logs_in(fresh)) == (True, True)
        rotating.ask("back", "db", "RollBack")
        rotating.wait_result("back", "Succeeded")
        rotating.wait_result("first", "RolledBack")
        after = rotating.live("db")
        assert after == {**before, "version": before["version"] + 2}
        assert (accounts.logs_in(after), accounts.logs_in(fresh)) == (True, False)
        client.fares_well(2)

    def test_a_password_that_somebody_changed(self, rotating: Rotating, accounts: Accounts, delivered: None) -> None:
        schedule(rotating, accounts, drift={"interval": "2s"})
        before = rotating.live("db")
        eventually("it is looked at", lambda: rotating.schedule_status("db").get("lastDriftTime"))
        accounts.set_password(before["username"], "somebody-elses")
        told = rotating.tenant.wait("db", "DriftDetected", "RotationHealthy")
        assert told["message"].startswith("RotationSchedule 'db': the value that is live no longer works"), told
        assert rotating.schedule_status("db")["phase"] == "Idle"
        accounts.set_password(before["username"], before["password"])
        assert rotating.tenant.wait("db", "RotationScheduled", "RotationHealthy")["status"] == "True"
        assert rotating.live("db") == before
        assert rotating.journal("db") is None


def account(rotating: Rotating) -> str:
    return rotating.namespace.replace("-", "_")


def login(accounts: Accounts) -> dict[str, object]:
    return {"name": "login", accounts.kind: {}}


def schedule(rotating: Rotating, accounts: Accounts, **spec: object) -> None:
    """Have the account rotated that the fixture `client` uses."""
    rotating.schedule(
        "db",
        "db",
        **{
            "fields": {"username": "username", "value": "password"},
            "apply": accounts.target(account(rotating), f"{rotating.namespace}/admin"),
            "verify": [login(accounts)],
            "gracePeriod": "2s",
            **spec,
        },
    )
