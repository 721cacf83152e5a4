"""One login: renewed in time, made anew when the server no longer takes it, and never in a storm."""

import os
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elile.secrets.answers import Login, TokenState
from elile.secrets.chain import ChainBackend
from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsUnavailableError,
)
from elile.secrets.managed import BackendSecretsManager
from elile.secrets.memory import MemoryBackend
from elile.secrets.redact import SecretStr
from elile.secrets.transport import VaultEndpoint
from elile.secrets.vault import VaultClient
from elile.secrets.vault_backend import KV2Backend
from elile.secrets.vault_session import AppRoleAuth, KubernetesAuth, TokenAuth, VaultAuth, VaultSession
from tests.support.openbao import ROOT, Bao, running


class Client:
    """A server that knows which tokens hold, and counts what it was asked."""

    def __init__(self) -> None:
        self.now = 0.0
        self.valid: set[str] = set()
        self.calls: Counter[str] = Counter()
        self.ttl = 60.0
        self.granted = 60.0  # by a renewal
        self.away = False
        self.forbidden: set[str] = set()
        self.closed = False

    def login(self) -> Login:
        self.calls["login"] += 1
        name = f"token-{self.calls['login']}"
        self.valid.add(name)
        return Login(token=SecretStr(name), ttl=self.ttl, renewable=True)

    def renew(self, token: SecretStr) -> Login:
        self.calls["renew"] += 1
        if self.away:
            raise SecretsUnavailableError("no answer in time")
        self._check(token)
        return Login(token=token, ttl=self.granted, renewable=True)

    def look_up(self, token: SecretStr) -> TokenState:
        self._check(token)
        return TokenState(self.ttl, renewable=True)

    def is_valid(self, token: SecretStr) -> bool:
        self.calls["lookup"] += 1
        return token.reveal() in self.valid

    def revoke(self, token: SecretStr) -> None:
        self.calls["revoke"] += 1
        self._check(token)
        self.valid.discard(token.reveal())

    def close(self) -> None:
        self.closed = True

    def after_fork(self) -> None:
        self.calls["after_fork"] += 1

    def read(self, token: SecretStr, path: str) -> str:
        self.calls["read"] += 1
        self._check(token)
        if path in self.forbidden:
            raise SecretAccessDeniedError("permission denied", path=path)
        return token.reveal()

    def _check(self, token: SecretStr) -> None:
        if token.reveal() not in self.valid:
            raise SecretAccessDeniedError("permission denied")


class Auth:
    """A login that always works."""

    def login(self, client: VaultClient) -> Login:
        return client.login()  # type: ignore[attr-defined,no-any-return] # the double above


@pytest.fixture
def client() -> Client:
    return Client()


def session_of(client: Client, auth: VaultAuth | None = None) -> VaultSession:
    return VaultSession(client, auth or Auth(), clock=lambda: client.now, rand=lambda: 1.0)  # type: ignore[arg-type]


def read(session: VaultSession, path: str = "a") -> str:
    return session.call(path, lambda client, token: client.read(token, path))  # type: ignore[attr-defined,no-any-return]


def test_one_login_serves_many_calls(client: Client) -> None:
    session = session_of(client)
    assert {read(session) for _ in range(5)} == {"token-1"}
    assert client.calls["login"] == 1


def test_one_of_many_threads_logs_in(client: Client) -> None:
    session, barrier = session_of(client), threading.Barrier(16)

    def late() -> str:
        barrier.wait()
        return read(session)

    with ThreadPoolExecutor(16) as pool:
        assert {f.result() for f in [pool.submit(late) for _ in range(16)]} == {"token-1"}
    assert client.calls["login"] == 1


def test_it_is_renewed_at_two_thirds_of_what_was_granted(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.now = 39.9
    read(session)
    assert client.calls["renew"] == 0
    client.now = 40.0
    read(session)
    assert (client.calls["renew"], client.calls["login"]) == (1, 1)


def test_a_login_takes_the_place_of_a_lease_that_shrinks(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.now, client.granted = 40.0, 29.0
    assert read(session) == "token-2"


def test_a_token_whose_time_is_over_is_not_tried(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.now = 61.0
    assert read(session) == "token-2"
    assert (client.calls["renew"], client.calls["lookup"]) == (0, 0)


def test_an_outage_of_renewals_is_nobodys_business_while_the_token_lasts(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.now, client.away = 45.0, True
    assert read(session) == read(session) == "token-1"
    assert client.calls["renew"] == 1
    client.now, client.away = 51.0, False
    read(session)
    assert client.calls["renew"] == 2


def test_a_token_that_was_revoked_is_replaced_within_the_call(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.valid.clear()
    assert read(session) == "token-2"
    assert client.calls == {"login": 2, "lookup": 1, "read": 3}


def test_a_forbidden_path_causes_one_look_and_no_login(client: Client) -> None:
    session = session_of(client)
    client.forbidden.add("b")
    for _ in range(20):
        with pytest.raises(SecretAccessDeniedError):
            read(session, "b")
    assert (client.calls["lookup"], client.calls["login"]) == (1, 1)
    client.now = 31.0  # after half a minute it is looked at again
    with pytest.raises(SecretAccessDeniedError):
        read(session, "b")
    assert client.calls["lookup"] == 2


def test_a_refusal_that_stays_after_a_login_is_the_answer(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.forbidden.add("b")
    client.valid.clear()
    with pytest.raises(SecretAccessDeniedError):
        read(session, "b")
    assert client.calls["login"] == 2


def test_our_own_token_is_revoked_at_the_end(client: Client) -> None:
    session = session_of(client)
    read(session)
    session.close()
    assert (client.valid, client.closed) == (set(), True)


def test_a_token_that_cannot_be_revoked_is_left(client: Client) -> None:
    session = session_of(client)
    read(session)
    client.valid.clear()
    session.close()
    assert client.closed


def test_somebody_elses_token_is_not_revoked(client: Client) -> None:
    client.valid.add("given")
    session = session_of(client, TokenAuth(SecretStr("given")))
    assert read(session) == "given"
    session.close()
    assert (client.calls["revoke"], client.valid) == (0, {"given"})


def test_somebody_elses_token_is_renewed_to_its_end_and_then_said_to_be_over(client: Client) -> None:
    client.valid.add("given")
    session = session_of(client, TokenAuth(SecretStr("given")))
    read(session)
    client.now, client.granted = 40.0, 5.0
    assert read(session) == "given"
    client.valid.clear()
    client.now = 50.0
    with pytest.raises(SecretsAuthenticationError, match="not valid, or not any more; configure another one"):
        read(session)


def test_a_child_has_a_login_of_its_own(client: Client) -> None:
    session = session_of(client)
    read(session)
    session.after_fork()
    assert read(session) == "token-2"


def test_no_token_to_log_in_with(tmp_path: Path) -> None:
    auth = KubernetesAuth("app", jwt_path=tmp_path / "token")
    with pytest.raises(SecretsConfigurationError, match=r"token cannot be read \(No such file"):
        auth.login(VaultClient(VaultEndpoint(address="http://127.0.0.1:1")))


# ── on a real server ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        rule = 'path "secret/data/open" { capabilities = ["read"] }'
        server.call("PUT", "sys/policies/acl/open", {"policy": rule})
        server.call("POST", "sys/auth/approle", {"type": "approle"})
        role = {"token_policies": ["open"], "token_ttl": "2s", "token_max_ttl": "5s"}
        server.call("POST", "auth/approle/role/app", role)
        server.write("open", {"k": "v"})
        yield server


def app_role(bao: Bao) -> AppRoleAuth:
    role_id = bao.call("GET", "auth/approle/role/app/role-id")["data"]["role_id"]
    secret_id = bao.call("POST", "auth/approle/role/app/secret-id", {})["data"]["secret_id"]
    return AppRoleAuth(role_id, SecretStr(secret_id))


def test_reads_go_on_past_the_maximum_age_of_a_token(bao: Bao) -> None:
    session = VaultSession(VaultClient(VaultEndpoint(address=bao.address)), app_role(bao))
    backend = KV2Backend(session)
    tokens = set()
    ends = time.monotonic() + 12
    while time.monotonic() < ends:
        assert backend.read("open").data.reveal() == {"k": "v"}
        assert session._held is not None
        tokens.add(session._held.token.reveal())
        time.sleep(0.1)
    # A token lives for five seconds at most; renewals carry it there, and a login each on.
    assert 3 <= len(tokens) <= 6
    backend.close()


def test_a_token_that_somebody_revokes_and_a_path_that_is_forbidden(bao: Bao) -> None:
    session = VaultSession(VaultClient(VaultEndpoint(address=bao.address)), app_role(bao))
    backend = KV2Backend(session)
    backend.check()
    assert session._held is not None
    first = session._held.token
    bao.call("POST", "auth/token/revoke", {"token": first.reveal()})
    assert backend.read("open").data.reveal() == {"k": "v"}
    assert session._held.token != first
    with pytest.raises(SecretAccessDeniedError):
        backend.read("closed")
    backend.close()
    with pytest.raises(AssertionError, match="403"):
        bao.call("POST", "auth/token/lookup", {"token": first.reveal()})


def test_an_app_role_that_is_wrong(bao: Bao) -> None:
    auth = AppRoleAuth("nobody", SecretStr("nothing"))
    session = VaultSession(VaultClient(VaultEndpoint(address=bao.address)), auth)
    with pytest.raises(SecretsAuthenticationError, match="auth/approle/login: the login was refused"):
        KV2Backend(session).read("open")
    session.close()


def test_a_root_token_has_no_end(bao: Bao) -> None:
    session = VaultSession(VaultClient(VaultEndpoint(address=bao.address)), TokenAuth(ROOT))
    assert KV2Backend(session).read("open").data.reveal() == {"k": "v"}
    assert session._held is not None
    assert session._held.ends == float("inf")
    session.close()


def test_a_child_process_has_a_login_and_connections_of_its_own(bao: Bao) -> None:
    """Two processes on one TLS or HTTP stream read each other's answers, and the child would end the parent's token."""
    session = VaultSession(VaultClient(VaultEndpoint(address=bao.address)), app_role(bao))
    manager = BackendSecretsManager(ChainBackend(MemoryBackend(), KV2Backend(session)))
    assert manager.get_secret_blocking("open")["k"].reveal() == "v"
    assert session._held is not None
    parents, connections = session._held.token, session.client._session
    child = os.fork()
    if child == 0:
        try:
            assert manager.get_secret_blocking("open", max_age=0)["k"].reveal() == "v"
            assert session._held is not None
            assert session._held.token != parents
            assert session.client._session is not connections
            manager.close_blocking()
        except BaseException:
            os._exit(1)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert session.client.is_valid(parents), "the child has revoked its own"
    assert manager.get_secret_blocking("open", max_age=0)["k"].reveal() == "v"
    assert session._held.token == parents
    manager.close_blocking()
