"""One login per identity, however many use it: made once, renewed in time, made anew when it is refused, revoked."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from elile.secrets.answers import KVMetadata
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsRoleNotFoundError,
    SecretsUnavailableError,
)
from elile.secrets.redact import SecretStr
from elile_operator.api.auth import AuthMethod
from elile_operator.api.vaultserver import VaultServer
from elile_operator.engine import Result, WorkQueue
from elile_operator.kube.errors import KubeUnavailableError
from elile_operator.sources import servers as servers_module
from elile_operator.sources.identity import Identity, IdentityError
from elile_operator.sources.logins import Logins, NoLinkError
from elile_operator.sources.servers import Servers
from tests.fakes.api import vault_server
from tests.fakes.clock import FakeClock
from tests.fakes.vault import Call, FakeLink, FakeTokens, FakeVault, Seen

WHO = Identity("default", "elile", "shop", "default")
TTL = 3600.0
RENEW_AFTER = 2400.0  # two thirds


class Stage:
    """Logins of one server in memory, and all that tests turn about them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = FakeClock(monotonic=0.0)
        self.vault = FakeVault(self.clock)
        self.vault.write("db", password="p1")
        self.tokens = FakeTokens()
        self.seen = Seen()
        self.used = True
        monkeypatch.setattr(servers_module, "Link", lambda server, **_: FakeLink(server, self.vault))
        self.servers = Servers(clock=self.clock, observer=self.seen)
        self.servers.link(VaultServer.from_body(vault_server()))
        self.renewals: WorkQueue[Identity] = WorkQueue(clock=self.clock, rand=lambda: 1.0)
        self.logins = Logins(
            servers=self.servers,
            tokens=self.tokens,
            clock=self.clock,
            renewals=self.renewals,
            in_use=lambda _: self.used,
            observer=self.seen,
        )

    async def read(self, path: str = "db", identity: Identity = WHO, on_behalf_of: str = "shop/db") -> KVMetadata:
        return await self.logins.call(
            identity,
            "metadata",
            lambda client, token: client.kv2_metadata(token, mount="secret", path=path),
            on_behalf_of=on_behalf_of,
        )

    async def many(self, number: int, path: str = "db") -> list[Any]:
        """So many readers at once; errors are among the answers."""
        return await asyncio.gather(*(self.read(path) for _ in range(number)), return_exceptions=True)

    def calls(self, *operations: str) -> list[str]:
        return [call.operation for call in self.vault.calls if call.operation in (operations or (call.operation,))]

    def grant(self, **changes: Any) -> None:
        """Have the server answer logins and renewals otherwise from now on."""
        self.vault.grants = replace(self.vault.grants, **changes)


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


# ── logging in ───────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_hundred_readers_at_once_log_in_once(stage: Stage) -> None:
    answers = await stage.many(100)
    assert [a.current for a in answers] == [1] * 100
    assert (stage.vault.count("login"), stage.vault.count("metadata"), len(stage.logins)) == (1, 100, 1)
    assert stage.seen.logins == ["ok"]


async def test_the_next_reader_uses_the_same_login(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    await stage.read()
    assert stage.calls() == ["login", "metadata", "metadata"]


async def test_a_login_says_who_it_is_for(stage: Stage) -> None:
    stage.servers.link(
        VaultServer.from_body(vault_server(auth={"kubernetes": {"audience": "vault", "mount": "clusters/one"}}))
    )
    await stage.read(on_behalf_of="shop/orders")
    assert stage.tokens.audiences == ["vault"]
    assert stage.vault.calls[0] == Call("login", "elile", "jwt of uid-account", "shop/orders")


async def test_a_login_by_jwt_is_made_where_the_identity_says_and_lives_there(stage: Stage) -> None:
    stage.servers.link(VaultServer.from_body(vault_server(auth={"jwt": {"audience": "many"}})))
    identity = replace(WHO, method=AuthMethod.JWT, login_namespace="team-a")
    await stage.read(identity=identity)
    await stage.clock.advance(RENEW_AFTER)
    key = stage.renewals.get_nowait()
    assert key == identity
    await stage.logins.reconcile(key)
    await stage.logins.close()
    assert stage.tokens.audiences == ["many", "many"]
    assert [(c.operation, c.token, c.namespace) for c in stage.vault.calls] == [
        ("login", "checked", "team-a"),
        ("metadata", "token-1", None),
        ("renew", "token-1", "team-a"),
        ("revoke", "token-1", "team-a"),
    ]


async def test_identities_log_in_apart(stage: Stage) -> None:
    stage.tokens.accounts["shop", "other"] = "uid-other"
    await stage.read()
    await stage.read(identity=replace(WHO, service_account="other"))
    assert [c.token for c in stage.vault.calls if c.operation == "login"] == ["jwt of uid-account", "jwt of uid-other"]
    assert len(stage.vault.live) == 2


@pytest.mark.parametrize(
    ("prepare", "error", "text"),
    [
        pytest.param(
            lambda stage: stage.tokens.accounts.clear(),
            IdentityError,
            "the ServiceAccount does not exist",
            id="no account",
        ),
        pytest.param(
            lambda stage: setattr(stage.tokens, "failure", KubeUnavailableError("POST token")),
            KubeUnavailableError,
            "POST token: no answer",
            id="API server away",
        ),
        pytest.param(
            lambda stage: stage.vault.roles.clear(),
            SecretsRoleNotFoundError,
            "auth/kubernetes/login: the auth method knows no such role",
            id="no role",
        ),
        pytest.param(
            lambda stage: setattr(stage.vault, "down", SecretsUnavailableError("no answer in time")),
            SecretsUnavailableError,
            "no answer in time",
            id="server away",
        ),
    ],
)
async def test_a_failed_login_reaches_all_who_wait_and_is_tried_again(
    stage: Stage, prepare: Callable[[Stage], None], error: type[Exception], text: str
) -> None:
    prepare(stage)
    answers = await stage.many(10)
    assert {(type(a), str(a)) for a in answers} == {(error, text)}
    assert (stage.seen.logins, len(stage.logins), stage.clock.timers) == ([error.__name__], 0, 0)
    await stage.many(2)
    assert len(stage.seen.logins) == 2


async def test_without_its_server_nobody_logs_in(stage: Stage) -> None:
    stage.servers.forget("default")
    with pytest.raises(NoLinkError) as raised:
        await stage.read()
    assert (str(raised.value), raised.value.retryable) == ("VaultServer 'default' is gone", True)
    assert stage.seen.logins == []


async def test_a_changed_server_is_logged_in_to_anew(stage: Stage) -> None:
    await stage.read()
    stage.servers.link(VaultServer.from_body(vault_server(address="https://other.test:8200")))
    await stage.read()
    assert stage.calls("login") == ["login", "login"]
    assert stage.vault.calls[-1].token == "token-2"


# ── refusals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("age", [0.0, 29.9])
async def test_what_a_young_login_is_refused_is_refused(stage: Stage, age: float) -> None:
    await stage.read()
    stage.vault.denied.add(("metadata", "secret/metadata/db"))
    await stage.clock.advance(age)
    with pytest.raises(SecretAccessDeniedError) as raised:
        await stage.read()
    assert str(raised.value) == "secret/metadata/db: permission denied"
    assert stage.calls() == ["login", "metadata", "metadata"]
    assert stage.vault.live == ["token-1"]


async def test_what_an_old_login_is_refused_is_asked_once_more_with_a_fresh_one(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(30.0)
    stage.vault.end_tokens()
    assert (await stage.read()).current == 1
    # The old one is revoked first: those who still use it are refused and join the fresh one.
    assert stage.calls() == ["login", "metadata", "metadata", "revoke", "login", "metadata"]
    assert stage.vault.live == ["token-2"]


async def test_a_path_that_is_forbidden_costs_one_login_in_half_a_minute(stage: Stage) -> None:
    stage.vault.denied.add(("metadata", "secret/metadata/db"))
    for _ in range(12):
        with pytest.raises(SecretAccessDeniedError):
            await stage.read()
        await stage.clock.advance(10.0)
    # At 0 s, then with the refusals at 30, 60 and 90 s; each refused twice at those.
    assert (stage.vault.count("login"), stage.vault.count("metadata")) == (4, 15)
    assert stage.vault.revoked == ["token-1", "token-2", "token-3"]


async def test_a_hundred_refused_at_once_log_in_once(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(60.0)
    stage.vault.end_tokens()
    answers = await stage.many(100)
    assert [a.current for a in answers] == [1] * 100
    assert stage.vault.count("login") == 2
    assert (stage.vault.count("revoke"), stage.vault.live) == (1, ["token-2"])


async def test_who_is_refused_after_the_others_takes_the_fresh_login(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(60.0)
    stage.vault.end_tokens()
    stage.vault.hold("metadata")
    late = asyncio.create_task(stage.read(), name="late")
    await stage.clock.settle()
    first = asyncio.create_task(stage.logins.call(WHO, "state", _needs_token), name="first")
    assert await first == "token-2"
    stage.vault.release("metadata")
    assert (await late).current == 1
    assert stage.vault.count("login") == 2


def _needs_token(client: Any, token: SecretStr) -> str:
    client.kv2_metadata(token, mount="secret", path="db")
    return token.reveal()


async def test_the_error_of_a_retry_is_final(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(60.0)
    stage.vault.end_tokens()
    stage.vault.denied.add(("metadata", "secret/metadata/db"))
    with pytest.raises(SecretAccessDeniedError):
        await stage.read()
    assert stage.vault.count("login") == 2


async def test_other_errors_cause_no_login(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(60.0)
    stage.vault.failing["metadata"] = SecretsUnavailableError("answered 500")
    with pytest.raises(SecretsUnavailableError):
        await stage.read()
    assert stage.vault.count("login") == 1


# ── renewals ─────────────────────────────────────────────────────────────────────────────────────────────────────────


async def renew(stage: Stage) -> Result:
    """Have the renewal done that is due now."""
    key = stage.renewals.get_nowait()
    assert key == WHO, "no renewal is due"
    result = await stage.logins.reconcile(key)
    stage.renewals.done(key)
    return result


async def test_a_login_is_renewed_after_two_thirds_of_its_time(stage: Stage) -> None:
    await stage.read()
    assert stage.renewals.due(WHO) == RENEW_AFTER
    await stage.clock.advance(RENEW_AFTER)
    assert await renew(stage) == Result.after(timedelta(seconds=RENEW_AFTER))
    await stage.clock.advance(TTL - 1)
    await stage.read()
    assert stage.calls("login", "renew", "revoke") == ["login", "renew"]


async def test_a_token_without_an_end_is_looked_at_every_hour(stage: Stage) -> None:
    stage.grant(ttl=0.0)
    await stage.read()
    assert stage.renewals.due(WHO) == 3600.0


@pytest.mark.parametrize(
    ("grant", "kept"),
    [
        pytest.param({"ttl": TTL / 2}, True, id="half of the time is enough"),
        pytest.param({"ttl": TTL / 2 - 1}, False, id="near its maximum age"),
        pytest.param({"renewable": False}, False, id="no longer renewable"),
    ],
)
async def test_a_grant_that_shrinks_is_the_last(stage: Stage, grant: dict[str, Any], kept: bool) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    stage.grant(**grant)
    result = await renew(stage)
    if kept:
        assert result == Result.after(timedelta(seconds=TTL / 2 * 2 / 3))
        assert stage.vault.revoked == []
    else:
        assert (result, stage.vault.revoked, len(stage.logins)) == (Result.absent(), ["token-1"], 0)
    await stage.read()
    assert stage.vault.count("login") == (1 if kept else 2)


@pytest.mark.parametrize(
    "prepare",
    [
        pytest.param(lambda stage: setattr(stage, "used", False), id="nobody uses it"),
        pytest.param(
            lambda stage: stage.tokens.accounts.update({("shop", "default"): "uid-2"}), id="account made anew"
        ),
        pytest.param(lambda stage: stage.tokens.accounts.clear(), id="account gone"),
    ],
)
async def test_a_login_whose_owner_is_gone_is_revoked(stage: Stage, prepare: Callable[[Stage], None]) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    prepare(stage)
    assert await renew(stage) == Result.absent()
    assert (stage.vault.revoked, len(stage.logins)) == (["token-1"], 0)


async def test_the_new_account_of_the_same_name_logs_in_for_itself(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    stage.tokens.accounts["shop", "default"] = "uid-2"
    await renew(stage)
    await stage.read()
    assert stage.vault.calls[-2] == Call("login", "elile", "jwt of uid-2", "shop/db")
    assert stage.vault.live == ["token-2"]


@pytest.mark.parametrize(
    ("prepare", "result", "sessions"),
    [
        pytest.param(
            lambda stage: setattr(stage.vault, "down", SecretsUnavailableError("answered 500")),
            Result.retry(),
            1,
            id="server away",
        ),
        pytest.param(
            lambda stage: setattr(stage.tokens, "failure", KubeUnavailableError("POST token")),
            Result.retry(),
            1,
            id="API server away",
        ),
        pytest.param(lambda stage: stage.vault.end_tokens(), Result.absent(), 0, id="token ended"),
    ],
)
async def test_a_renewal_that_fails(
    stage: Stage, prepare: Callable[[Stage], None], result: Result, sessions: int
) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    prepare(stage)
    assert await renew(stage) == result
    assert (len(stage.logins), stage.vault.count("revoke")) == (sessions, 0)


async def test_a_login_of_a_server_that_changed_is_not_renewed(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    stage.servers.link(VaultServer.from_body(vault_server(address="https://other.test:8200")))
    assert await renew(stage) == Result.absent()
    assert (len(stage.logins), stage.vault.count("renew")) == (0, 0)


async def test_the_renewal_of_nothing(stage: Stage) -> None:
    assert await stage.logins.reconcile(WHO) == Result.absent()
    assert stage.tokens.audiences == []


async def test_who_logs_in_during_the_last_renewal_keeps_the_new_login(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    stage.grant(renewable=False)
    stage.vault.hold("revoke")
    last = asyncio.create_task(renew(stage), name="renewal")
    await stage.clock.settle()
    await stage.read()
    stage.vault.release("revoke")
    assert await last == Result.absent()
    assert (stage.vault.live, len(stage.logins)) == (["token-2"], 1)
    assert stage.renewals.due(WHO) == RENEW_AFTER + RENEW_AFTER


async def test_a_renewal_that_is_refused_leaves_a_newer_login_alone(stage: Stage) -> None:
    await stage.read()
    await stage.clock.advance(RENEW_AFTER)
    stage.vault.end_tokens()
    stage.vault.hold("renew")
    renewing = asyncio.create_task(renew(stage), name="renewal")
    await stage.clock.settle()
    await stage.read()
    stage.vault.release("renew")
    assert await renewing == Result.absent()
    assert (stage.vault.live, len(stage.logins)) == (["token-2"], 1)
    await stage.read()
    assert stage.vault.count("login") == 2


# ── the end ──────────────────────────────────────────────────────────────────────────────────────────────────────────


async def log_in_three(stage: Stage) -> None:
    for name in ("a", "b", "c"):
        stage.tokens.accounts["shop", name] = f"uid-{name}"
        await stage.read(identity=replace(WHO, service_account=name))
    assert len(stage.vault.live) == 3


async def test_close_revokes_all(stage: Stage) -> None:
    await log_in_three(stage)
    await stage.logins.close()
    assert sorted(stage.vault.revoked) == ["token-1", "token-2", "token-3"]
    assert (stage.vault.live, len(stage.logins)) == ([], 0)


async def test_close_survives_a_dead_server(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    await log_in_three(stage)
    stage.vault.down = SecretsUnavailableError("no answer in time")
    await stage.logins.close()
    assert len(stage.logins) == 0
    lines = [(r.message, getattr(r, "fields", None)) for r in caplog.records]
    assert lines == [("a login could not be revoked, it ends with its time", {"error": "SecretsUnavailableError"})] * 3


async def test_close_revokes_all_at_once_since_any_server_may_be_slow(stage: Stage) -> None:
    await log_in_three(stage)
    stage.vault.hold("revoke")
    closing = asyncio.create_task(stage.logins.close(), name="closing")
    await stage.clock.settle()
    assert stage.vault.waiting == 3
    stage.vault.release("revoke")
    await closing


async def test_close_survives_a_closed_link(stage: Stage) -> None:
    await stage.read()
    stage.servers.close()
    await stage.logins.close()
    assert len(stage.logins) == 0


async def test_close_ends_a_login_under_way(stage: Stage) -> None:
    stage.vault.hold("login")
    reader = asyncio.create_task(stage.read(), name="reader")
    await stage.clock.settle()
    await stage.logins.close()
    with pytest.raises(asyncio.CancelledError):
        await reader
    assert (stage.vault.count("login"), len(stage.logins)) == (0, 0)
