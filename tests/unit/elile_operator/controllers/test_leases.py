"""A lease of an ElileSecret from the first delivery to the last revocation, with everything that can come between."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.answers import EngineAnswer
from elile.secrets.errors import SecretAccessDeniedError, SecretsUnavailableError
from elile.secrets.redact import Redacted
from elile_operator.api.meta import ConditionStatus
from elile_operator.api.reasons import Reason
from elile_operator.controllers import lasting as lasting_module
from elile_operator.engine import Result
from elile_operator.kube.resources import ELILE_SECRETS, SECRETS
from tests.fakes.api import secret
from tests.unit.elile_operator.controllers.secret_stage import SecretStage
from tests.unit.elile_operator.controllers.stage import DB

CREDS = "database/creds/shop"
LEASED = [{"name": "dyn", "lease": {"path": CREDS}}]
AWAY = SecretsUnavailableError("answered 500")


class Stage(SecretStage):
    """Objects that take a lease of 100 s, due after 67."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(monkeypatch)
        self.serve()
        self.vault.engines[CREDS] = lambda number: EngineAnswer(
            Redacted({"username": f"u{number}", "password": f"p{number}"}), f"{CREDS}/{number}", 100.0, True
        )
        self.began = self.clock.now()

    def after(self, seconds: float) -> str:
        return f"{self.began + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}"

    def user(self) -> str:
        return self.data()["username"]

    def new_process(self) -> None:
        """The operator starts anew: it knows what the API server and Vault tell, and holds nothing."""
        self.holdings = self.new_holdings()
        self.controller = self.new_controller()

    async def delivered(self, **spec: Any) -> None:
        await super().delivered(**{"sources": LEASED, **spec})
        assert self.user() == "u1"


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


async def test_the_first_one(stage: Stage) -> None:
    stage.want(sources=LEASED)
    assert await stage.look() == Result.after(timedelta(seconds=67))
    assert stage.data() == {"username": "u1", "password": "p1"}
    assert stage.status()["sources"] == [{"name": "dyn", "path": CREDS, "leaseExpires": stage.after(100)}]
    assert stage.status()["nextRefreshTime"] == stage.after(67)
    assert stage.vault.calls[-1].on_behalf_of == "shop/db"


async def test_while_it_is_not_due_nothing_is_asked(stage: Stage) -> None:
    await stage.delivered()
    await stage.clock.advance(60.0)
    stage.vault.calls.clear()
    assert await stage.look() == Result.after(timedelta(seconds=7))
    assert stage.vault.calls == []
    assert stage.kube.writes == []


async def test_a_renewal_changes_the_status_and_nothing_else(stage: Stage) -> None:
    await stage.delivered()
    await stage.clock.advance(67.0)
    assert await stage.look() == Result.after(timedelta(seconds=67))
    assert stage.written == []
    assert stage.status()["sources"] == [{"name": "dyn", "path": CREDS, "leaseExpires": stage.after(167)}]
    assert stage.status()["nextRefreshTime"] == stage.after(134)
    assert stage.events.told == []


async def test_one_that_is_cut_short_is_replaced_and_told(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.longest = 40.0
    await stage.clock.advance(67.0)
    await stage.look()
    assert stage.user() == "u2"
    assert stage.events.reasons == ["Synced", "LeaseReplaced"]
    assert len(stage.vault.leases) == 2, "nothing proves that nobody uses the first one: it runs out"
    await stage.clock.advance(60.0)
    await stage.look()
    assert len(stage.vault.leases) == 2


async def test_what_was_replaced_is_revoked_once_it_is_proved_that_nobody_uses_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await stage.delivered()
    stage.vault.longest = 40.0
    await stage.clock.advance(67.0)
    await stage.look()
    assert len(stage.vault.leases) == 2
    # As the status says when the declared proof is there.
    proofs = {"ConsumersCurrent": ConditionStatus.TRUE}
    monkeypatch.setattr(lasting_module, "condition", lambda _, type_: proofs.get(type_))
    stage.events.told.clear()
    await stage.look()
    assert stage.vault.leases == [f"{CREDS}/2"]
    assert stage.events.reasons == ["LeaseRevoked"]
    await stage.look()
    assert stage.events.reasons == ["LeaseRevoked"]


async def test_an_edit_of_something_else_takes_no_other_one(stage: Stage) -> None:
    await stage.delivered()
    stage.change(delivery={"secret": {"labels": {"a": "b"}}})
    await stage.look()
    assert stage.user() == "u1"
    assert stage.vault.count("ask") == 0
    stage.change(sources=[{"name": "dyn", "lease": {"path": CREDS, "renewAt": "50%"}, "prefix": "DB_"}])
    await stage.look()
    assert stage.data() == {"DB_username": "u1", "DB_password": "p1"}
    assert stage.vault.count("ask") == 0


async def test_an_edit_of_the_lease_takes_another_one(stage: Stage) -> None:
    await stage.delivered()
    stage.change(sources=[{"name": "dyn", "lease": {"path": CREDS, "parameters": {"ttl": "5m"}}}])
    await stage.look()
    assert stage.vault.asked[-1] == (CREDS, {"ttl": "5m"}, False)
    assert len(stage.vault.leases) == 2


async def test_a_new_process_leaves_what_was_delivered_until_it_is_due(stage: Stage) -> None:
    await stage.delivered()
    await stage.clock.advance(30.0)
    stage.new_process()
    assert await stage.look() == Result.after(timedelta(seconds=37))
    assert (stage.vault.count("ask"), stage.kube.writes) == (0, [])
    await stage.clock.advance(37.0)
    assert await stage.look() == Result.after(timedelta(seconds=67))
    assert stage.user() == stage.data()["username"] != "u1"
    assert len(stage.vault.leases) == 2, "the first one lasts until its end"


async def test_a_new_process_that_needs_the_values_takes_a_lease(stage: Stage) -> None:
    await stage.delivered()
    stage.new_process()
    stage.change(sources=[{**LEASED[0], "prefix": "DB_"}])
    await stage.look()
    assert stage.vault.count("ask") == 1


async def test_what_cannot_be_renewed_is_told_and_stays(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.failing["renew"] = AWAY
    await stage.clock.advance(67.0)
    assert await stage.look() == Result.after(timedelta(seconds=1))
    assert stage.says() == "True Synced", "an outage takes nothing back"
    assert stage.suspected == ["default"]
    del stage.vault.failing["renew"]
    await stage.clock.advance(1.0)
    assert await stage.look() == Result.after(timedelta(seconds=67))
    assert stage.user() == "u1"


async def test_what_cannot_be_replaced_is_told_at_once(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.longest = 40.0
    stage.vault.denied.add(("ask", CREDS))
    await stage.clock.advance(67.0)
    assert await stage.look() == Result.after(timedelta(seconds=1))
    assert stage.says() == "False PermissionDenied"
    assert stage.user() == "u1"
    stage.vault.denied.clear()
    await stage.clock.advance(1.0)
    await stage.look()
    assert stage.says() == "True Synced"
    assert stage.user() == "u2"


async def test_one_that_ended_during_an_outage_is_known_to_be_wrong(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.down = AWAY
    await stage.clock.advance(67.0)
    await stage.look()
    assert stage.says() == "True Synced"
    await stage.clock.advance(33.0)
    await stage.look()
    assert stage.says() == "False LeaseExpired"
    assert stage.condition().message == (
        f"the lease of spec.sources[dyn] ended at {stage.after(100)}, and could not be replaced"
    )
    stage.vault.down = None
    await stage.clock.advance(60.0)
    await stage.look()
    assert stage.says() == "True Synced"
    assert stage.user() != "u1"


async def test_a_refused_one_is_tried_again(stage: Stage) -> None:
    stage.vault.denied.add(("ask", CREDS))
    stage.want(sources=LEASED)
    assert await stage.look() == Result.after(timedelta(seconds=1))
    assert stage.says() == "False PermissionDenied"
    stage.vault.denied.clear()
    await stage.clock.advance(1.0)
    await stage.look()
    assert stage.says() == "True Synced"


def being_deleted(stage: Stage) -> None:
    """Somebody deletes the object: it stays while it has its finalizer."""
    now = f"{stage.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    stage.edit(ELILE_SECRETS, "shop", "db", lambda body: body["metadata"].update(deletionTimestamp=now))


def finalizers(stage: Stage) -> list[str]:
    body = stage.kube.find(ELILE_SECRETS, "shop", "db")
    return list(body["metadata"].get("finalizers", [])) if body else []


async def test_an_object_stays_until_its_lease_is_revoked(stage: Stage) -> None:
    await stage.delivered()
    assert finalizers(stage) == ["elile.io/finalizer"]
    being_deleted(stage)
    assert await stage.look() == Result.absent()
    assert (stage.vault.leases, finalizers(stage)) == ([], [])
    assert not stage.holdings.dues(DB)
    assert stage.events.told == []


async def test_an_object_without_leases_needs_no_finalizer(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.write("db", a="1")
    stage.change(sources=[{"name": "db", "kv": {"path": "db"}}])
    await stage.look()
    assert finalizers(stage) == []


async def test_a_lease_that_cannot_be_revoked_is_tried_again_and_told_in_the_end(stage: Stage) -> None:
    stage.vault.grants = replace(stage.vault.grants, ttl=0.0)
    stage.vault.engines[CREDS] = lambda n: EngineAnswer(Redacted({"username": f"u{n}"}), f"{CREDS}/{n}", 3600.0, True)
    stage.want(sources=LEASED)
    await stage.look()
    stage.vault.failing["revoke"] = AWAY
    stage.events.told.clear()
    being_deleted(stage)
    for _ in range(3):
        assert await stage.look() == Result.after(timedelta(seconds=5))
        assert finalizers(stage) == ["elile.io/finalizer"]
    await stage.clock.advance(120.0)
    assert await stage.look() == Result.absent()
    assert finalizers(stage) == []
    assert stage.events.told == [
        (
            "ElileSecret db",
            "LeaseOrphaned",
            "what spec.sources[dyn] took cannot be revoked here: revoke it in Vault, or it ends with its time",
            True,
        )
    ]


async def test_a_lease_that_was_revoked_at_the_second_try_is_no_orphan(stage: Stage) -> None:
    await stage.delivered()
    stage.vault.failing["revoke"] = AWAY
    being_deleted(stage)
    await stage.look()
    del stage.vault.failing["revoke"]
    assert await stage.look() == Result.absent()
    assert (stage.vault.leases, stage.events.told) == ([], [])


async def test_a_lease_of_an_earlier_process_is_told_and_holds_nobody_up(stage: Stage) -> None:
    await stage.delivered()
    stage.new_process()
    being_deleted(stage)
    assert await stage.look() == Result.absent()
    assert (finalizers(stage), stage.events.reasons) == ([], ["LeaseOrphaned"])


async def test_an_object_that_went_without_being_seen_leaves_no_lease(stage: Stage) -> None:
    await stage.delivered()
    stage.remove(ELILE_SECRETS, "shop", "db")
    assert await stage.look() == Result.absent()
    assert stage.vault.leases == []
    assert not stage.holdings.dues(DB)


async def test_for_a_secret_of_somebody_else_no_lease_is_taken_and_nothing_is_made(stage: Stage) -> None:
    stage.put(SECRETS, secret("db", theirs="eA=="))
    made = {"kv": {"path": "made"}, "keys": {"password": {"hex": {}}}}
    for sources in (LEASED, [{"name": "made", "generate": made}]):
        stage.want(sources=sources)
        await stage.look()
        assert stage.says() == "False SecretNotOwned"
    assert (stage.vault.asked, stage.vault.count("write")) == ([], 0)


async def test_a_source_that_goes_takes_its_keys_along(stage: Stage) -> None:
    stage.vault.write("db", a="1")
    both = [*LEASED, {"name": "db", "kv": {"path": "db"}}]
    await stage.delivered(sources=both)
    stage.change(sources=both[1:])
    await stage.look()
    assert stage.data() == {"a": "1"}
    assert "nextRefreshTime" not in stage.status()


async def test_a_generated_password_that_cannot_be_made_is_refused_first(stage: Stage) -> None:
    weak = {"kv": {"path": "made"}, "keys": {"password": {"password": {"length": 16, "classes": ["digits"]}}}}
    stage.want(sources=[{"name": "made", "generate": weak}])
    await stage.look()
    assert stage.says() == f"False {Reason.SPEC_INVALID}"
    assert stage.vault.calls == []


async def test_no_value_of_a_lease_is_told(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    await stage.delivered()
    stage.vault.longest = 40.0
    stage.vault.failing["revoke"] = SecretAccessDeniedError("no")
    await stage.clock.advance(67.0)
    await stage.look()
    told = repr((stage.status(), stage.events.told, caplog.text, stage.holdings.dues(DB)))
    assert "p1" not in told
    assert "p2" not in told
