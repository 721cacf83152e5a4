"""Leases and certificates of one object: taken once, renewed in time, replaced when that ends, revoked when asked."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from elile.secrets.answers import EngineAnswer
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretNotFoundError,
    SecretsMalformedResponseError,
    SecretsUnavailableError,
)
from elile.secrets.redact import Redacted
from elile_operator.api.vaultserver import VaultServer
from elile_operator.decide.access import SourceIssue
from elile_operator.engine import WorkQueue
from elile_operator.sources import servers as servers_module
from elile_operator.sources.holdings import Holdings
from elile_operator.sources.logins import Logins, NoLinkError
from elile_operator.sources.servers import Servers
from tests.fakes.api import vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import FakeLink, FakeTokens, FakeVault, Seen

WHO = {"server": "default", "role": "elile", "namespace": "shop", "service_account": "default"}
CREDS = "database/creds/shop"
LEASE = SourceIssue(name="dyn", **WHO, path=CREDS, parameters=(("ttl", "1h"),), write=False, renew_at=0.5)
WEB = SourceIssue(name="web", **WHO, path="pki/issue/web", parameters=(), write=True, mount="pki", renew_at=0.5)
AWAY = SecretsUnavailableError("answered 500")


def lease(seconds: float = 100.0, *, renewable: bool = True) -> Callable[[int], EngineAnswer]:
    return lambda number: EngineAnswer(Redacted({"username": f"u{number}"}), f"{CREDS}/{number}", seconds, renewable)


def certificate(clock: FakeClock, seconds: float = 100.0) -> Callable[[int], EngineAnswer]:
    def answer(number: int) -> EngineAnswer:
        end = clock.now().timestamp() + seconds
        data = {"certificate": f"LEAF{number}", "issuing_ca": "CA", "ca_chain": ["CA"], "private_key": f"KEY{number}"}
        return EngineAnswer(Redacted({**data, "serial_number": f"0{number}", "expiration": end}))

    return answer


class Stage:
    """What one server gives to one reader."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.vault = FakeVault(self.clock)
        self.vault.engines = {CREDS: lease(), "pki/issue/web": certificate(self.clock)}
        self.seen = Seen()
        monkeypatch.setattr(servers_module, "Link", lambda server, **_: FakeLink(server, self.vault))
        self.servers = Servers(clock=self.clock, observer=self.seen)
        self.servers.link(VaultServer.from_body(vault_server()))
        self.logins = Logins(
            servers=self.servers,
            tokens=FakeTokens(),
            clock=self.clock,
            renewals=WorkQueue(clock=self.clock, rand=lambda: 1.0),
            in_use=lambda _: True,
            observer=self.seen,
        )
        self.holdings: Holdings[str] = Holdings(
            servers=self.servers, logins=self.logins, clock=self.clock, rand=lambda: 0.0, observer=self.seen
        )

    async def hold(self, issue: SourceIssue = LEASE, **more: Any) -> dict[str, Any]:
        held = await self.holdings.hold("r", issue, on_behalf_of="shop/db", **more)
        return dict(held.data.reveal())

    def looks(self) -> float:
        """When the one source is to be looked after."""
        (at,) = self.holdings.looks("r").values()
        return at

    def calls(self) -> list[str]:
        """Operations since the last time this was asked."""
        made = [call.operation for call in self.vault.calls]
        self.vault.calls.clear()
        return made


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


# ── leases ───────────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_lease_is_taken_once_with_a_token_of_its_own(stage: Stage) -> None:
    assert await stage.hold() == {"username": "u1"}
    assert stage.calls() == ["login", "ask"]
    assert stage.vault.asked == [(CREDS, {"ttl": "1h"}, False)]
    assert await stage.hold() == {"username": "u1"}
    assert stage.calls() == []
    assert stage.holdings.held("r", LEASE)
    assert not stage.holdings.held("r", replace(LEASE, path="database/creds/other"))
    assert not stage.holdings.held("somebody", LEASE)
    assert len(stage.logins) == 0, "the token of a lease is shared with nobody"
    assert len(stage.holdings) == 1
    assert stage.looks() == 50.0
    assert [due.second for due in stage.holdings.dues("r").values()] == [50]


async def test_what_says_no_lease_is_none_and_its_token_goes(stage: Stage) -> None:
    stage.vault.engines[CREDS] = lambda _: EngineAnswer(Redacted({"username": "static"}))
    with pytest.raises(SecretsMalformedResponseError, match="gives no lease: read it with `read` or `kv`"):
        await stage.hold()
    assert stage.vault.live == []


async def test_a_lease_is_renewed_with_its_token(stage: Stage) -> None:
    for number in range(1, 21):
        await stage.hold()
        await stage.clock.advance(50.0)
        assert await stage.hold() == {"username": "u1"}
        assert stage.vault.count("renew-lease") == number
    assert stage.vault.count("ask") == 1
    assert stage.vault.count("renew") == 20
    assert stage.seen.holdings == ["lease taken", *["lease renewed"] * 20]


async def test_a_renewal_of_another_share_is_the_same_lease(stage: Stage) -> None:
    await stage.hold()
    await stage.hold(replace(LEASE, renew_at=0.9))
    assert stage.vault.count("ask") == 1


async def test_a_lease_that_is_cut_short_is_replaced_while_it_lasts(stage: Stage) -> None:
    await stage.hold()
    stage.vault.longest = 60.0
    await stage.clock.advance(50.0)
    assert await stage.hold() == {"username": "u2"}
    assert len(stage.vault.leases) == 2, "the first one is in use until everybody has the second"
    assert stage.holdings.told("r") == ["dyn"]
    assert stage.holdings.told("r") == []
    assert await stage.holdings.settle("r") == ["dyn"]
    assert stage.vault.leases == [f"{CREDS}/2"]
    assert await stage.holdings.settle("r") == []
    assert stage.seen.holdings == ["lease taken", "lease replaced", "lease revoked"]


async def test_what_was_replaced_and_has_ended_is_not_revoked(stage: Stage) -> None:
    await stage.hold()
    stage.vault.longest = 60.0
    await stage.clock.advance(50.0)
    await stage.hold()
    await stage.clock.advance(60.0)
    assert await stage.holdings.settle("r") == []


async def test_a_token_that_is_cut_short_counts_as_its_lease(stage: Stage) -> None:
    stage.vault.grants = replace(stage.vault.grants, ttl=80.0)
    await stage.hold()
    assert stage.looks() == 40.0, "the lease ends with its token"
    stage.vault.grants = replace(stage.vault.grants, ttl=60.0)
    await stage.clock.advance(40.0)
    assert await stage.hold() == {"username": "u2"}


async def test_a_token_without_an_end(stage: Stage) -> None:
    stage.vault.grants = replace(stage.vault.grants, ttl=0.0)
    await stage.hold()
    assert stage.looks() == 50.0
    await stage.clock.advance(50.0)
    assert await stage.hold() == {"username": "u1"}
    assert stage.looks() == 100.0


@pytest.mark.parametrize("token", [True, False])
async def test_what_cannot_be_renewed_is_replaced_when_it_is_due(stage: Stage, token: bool) -> None:
    stage.vault.grants = replace(stage.vault.grants, renewable=token)
    stage.vault.engines[CREDS] = lease(renewable=not token)
    await stage.hold()
    await stage.clock.advance(50.0)
    assert await stage.hold() == {"username": "u2"}
    assert stage.vault.count("renew-lease") == 0


async def test_a_lease_that_somebody_revoked_is_replaced(stage: Stage) -> None:
    await stage.hold()
    stage.vault.end_tokens()
    await stage.clock.advance(50.0)
    assert await stage.hold() == {"username": "u2"}


async def test_what_cannot_be_renewed_just_now_is_tried_again_and_told(stage: Stage) -> None:
    await stage.hold()
    stage.vault.failing["renew"] = AWAY
    await stage.clock.advance(50.0)
    for _ in range(3):
        with pytest.raises(SecretsUnavailableError):
            await stage.hold()
    assert stage.vault.count("renew") == 1, "the others were told what the first one was"
    assert stage.looks() == 51.0
    with pytest.raises(SecretsUnavailableError):
        await stage.hold(at_once=True)
    assert stage.looks() == 52.0
    del stage.vault.failing["renew"]
    await stage.clock.advance(2.0)
    assert await stage.hold() == {"username": "u1"}
    assert stage.looks() == 102.0


async def test_after_its_end_there_is_another_one(stage: Stage) -> None:
    await stage.hold()
    await stage.clock.advance(100.0)
    assert await stage.hold() == {"username": "u2"}
    assert stage.vault.count("renew-lease") == 0


async def test_a_refusal_is_not_asked_for_again_and_again(stage: Stage) -> None:
    stage.vault.denied.add(("ask", CREDS))
    for _ in range(3):
        with pytest.raises(SecretAccessDeniedError):
            await stage.hold()
    assert stage.calls() == ["login", "ask", "revoke"]
    assert stage.looks() == 1.0
    await stage.clock.advance(1.0)
    with pytest.raises(SecretAccessDeniedError):
        await stage.hold()
    assert stage.looks() == 3.0
    # Another request is another matter.
    stage.vault.engines["database/creds/other"] = lease()
    assert await stage.hold(replace(LEASE, path="database/creds/other")) == {"username": "u1"}
    assert stage.looks() == 51.0


async def test_another_request_takes_another_lease(stage: Stage) -> None:
    await stage.hold()
    stage.vault.engines["database/creds/other"] = lease()
    assert await stage.hold(replace(LEASE, path="database/creds/other")) == {"username": "u2"}
    await stage.holdings.settle("r")
    assert stage.vault.leases == [f"{CREDS}/2"]


async def test_a_source_that_is_wanted_no_more(stage: Stage) -> None:
    await stage.hold()
    await stage.hold(WEB)
    stage.holdings.keep("r", frozenset({"web"}))
    assert not stage.holdings.held("r", LEASE)
    assert len(stage.vault.leases) == 1, "somebody may still use it"
    await stage.holdings.settle("r")
    assert stage.vault.leases == []
    assert stage.holdings.held("r", WEB)


async def test_a_failure_of_a_source_that_is_wanted_no_more_is_forgotten(stage: Stage) -> None:
    stage.vault.denied.add(("ask", CREDS))
    with pytest.raises(SecretAccessDeniedError):
        await stage.hold()
    stage.holdings.keep("r", frozenset())
    assert stage.holdings.looks("r") == {}


async def test_nothing_is_held_for_those_who_never_asked(stage: Stage) -> None:
    stage.holdings.keep("r", frozenset())
    await stage.holdings.settle("r")
    assert await stage.holdings.release("r") == []
    assert (stage.holdings.looks("r"), stage.holdings.dues("r"), stage.holdings.told("r")) == ({}, {}, [])


async def test_a_reader_that_is_gone_leaves_nothing(stage: Stage) -> None:
    await stage.hold()
    stage.vault.longest = 60.0
    await stage.clock.advance(50.0)
    await stage.hold()
    await stage.hold(WEB)
    assert await stage.holdings.release("r") == []
    assert stage.vault.leases == []
    assert stage.vault.calls[-1].operation == "revoke-certificate"
    assert len(stage.holdings) == 0


async def test_what_cannot_be_revoked_is_named(stage: Stage) -> None:
    await stage.hold()
    await stage.hold(WEB)
    stage.vault.failing |= {"revoke": AWAY, "revoke-certificate": SecretAccessDeniedError("no")}
    assert await stage.holdings.release("r") == ["dyn", "web"]


async def test_what_could_not_be_revoked_is_tried_again(stage: Stage) -> None:
    await stage.hold()
    await stage.hold(WEB)
    stage.vault.failing["revoke"] = AWAY
    assert await stage.holdings.release("r") == ["dyn"]
    assert stage.holdings.taken("r") == {"dyn", "web"}
    del stage.vault.failing["revoke"]
    assert await stage.holdings.release("r") == []
    assert stage.vault.leases == []
    stage.holdings.forget("r")
    assert stage.holdings.taken("r") == frozenset()


async def test_what_has_ended_is_not_revoked(stage: Stage) -> None:
    await stage.hold()
    await stage.clock.advance(100.0)
    stage.calls()
    assert await stage.holdings.release("r") == []
    assert stage.calls() == []


async def test_what_was_revoked_before_is_no_failure(stage: Stage) -> None:
    await stage.hold()
    stage.vault.end_tokens()
    assert await stage.holdings.release("r") == []


async def test_without_its_server_nothing_is_to_be_had(stage: Stage) -> None:
    await stage.hold()
    stage.servers.forget("default")
    await stage.clock.advance(50.0)
    with pytest.raises(NoLinkError):
        await stage.hold()
    with pytest.raises(NoLinkError):
        await stage.hold(replace(LEASE, path="database/creds/other"))
    assert await stage.holdings.release("r") == ["dyn"]


# ── certificates ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_certificate_is_issued_and_replaced_when_it_is_due(stage: Stage) -> None:
    assert await stage.hold(WEB) == {"tls.crt": "LEAF1\nCA\n", "tls.key": "KEY1\n", "ca.crt": "CA\n"}
    assert stage.looks() == 50.0
    await stage.clock.advance(50.0)
    assert (await stage.hold(WEB))["tls.key"] == "KEY2\n"
    assert "revoke-certificate" not in stage.calls()
    await stage.holdings.settle("r")
    assert [call.path for call in stage.vault.calls if call.operation == "revoke-certificate"] == ["01"]
    assert stage.seen.holdings == ["certificate taken", "certificate replaced", "certificate revoked"]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"certificate": "LEAF", "issuing_ca": "CA", "serial_number": "1", "expiration": 5}, id="no key"),
        pytest.param(
            {"certificate": "L", "issuing_ca": "C", "private_key": "K", "serial_number": "1", "expiration": "soon"},
            id="no time",
        ),
    ],
)
async def test_an_answer_that_is_no_certificate(stage: Stage, answer: dict[str, Any]) -> None:
    stage.vault.engines["pki/issue/web"] = lambda _: EngineAnswer(Redacted(answer))
    with pytest.raises(SecretsMalformedResponseError, match="no certificate with its key"):
        await stage.hold(WEB)


async def test_a_role_that_is_not_there(stage: Stage) -> None:
    stage.vault.engines.clear()
    with pytest.raises(SecretNotFoundError):
        await stage.hold(WEB)
