"""Redis as a target: two real servers over TLS, and peers that are none."""

import contextlib
import importlib
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import redis

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretBackendMissingError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsMalformedResponseError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation import steps
from elile.secrets.rotation.drivers.redis import MOST, RedisNode, RedisReplyError, RedisTls, redis_session
from elile.secrets.rotation.egress import Dialer, EgressRefusedError, EgressRule
from elile.secrets.rotation.engine import Engine, Parts
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import Phase, Strategy, Value
from elile.secrets.rotation.journal_memory import MemoryJournal
from elile.secrets.rotation.policy import Policy, Request
from elile.secrets.rotation.ports import AccountTarget, Fence
from elile.secrets.rotation.steps import Applied, Locked, Login, Restored, Stage
from elile.secrets.rotation.targets.admin import AdminEntry
from elile.secrets.rotation.targets.fields import CredentialFields
from elile.secrets.rotation.targets.redis import RedisTarget
from elile.secrets.rotation.verify.hooks import Hook
from elile.secrets.rotation.verify.outcome import Outcome, Verification
from elile.secrets.rotation.verify.redis import RedisAccount, RedisCheck, verify_redis
from lab.errors import LabError
from lab.pki import create_authority
from lab.redis import ADMIN, Redis
from tests.fakes.http import ScriptedServer, closed_port
from tests.fakes.rotation import NOW, OWNER
from tests.services.redis_servers import Servers, redis_servers

__all__ = ["redis_servers"]

HERE = Dialer(None)
FENCE = Fence("journal-1", 7)
OLD, NEW = "canary-old-6c1f", "canary-new-91ab"
ALLOWED = ("~*", "&*", "+@all", "-@admin", "-@dangerous", "+acl|whoami")


def value(secret: str = OLD, user: str = "app", **more: str) -> Value:
    return Redacted({"username": user, "password": secret, "note": "kept", **more})


def admin_entry(*, username: str, password: str, nodes: Any, users: Sequence[str], **more: Any) -> AdminEntry:
    return AdminEntry(
        username=username, password=SecretStr(password), nodes=tuple(nodes), allowed_users=frozenset(users), **more
    )


def hashed(secret: str) -> str:
    return sha256(secret.encode()).hexdigest()


@pytest.fixture
def servers(redis_servers: Servers) -> Servers:
    """Both servers with the user that is rotated, as an administrator would have made it."""
    for node in redis_servers.nodes:
        node.start()
    # Each has an administrator with a password of its own, and an entry is for all nodes.
    redis_servers.run("ACL", "SETUSER", ADMIN, f">{redis_servers.nodes[0].password}")
    redis_servers.run("ACL", "SETUSER", "app", "reset", "on", f">{OLD}", *ALLOWED)
    redis_servers.run("ACL", "SETUSER", "other", "reset", "on", f">{OLD}", *ALLOWED)
    redis_servers.run("ACL", "SAVE")
    return redis_servers


def target(servers: Servers, **settings: Any) -> RedisTarget:
    nodes = settings.pop("nodes", [(node.host, node.port) for node in servers.nodes])
    admin = settings.pop("admin", None) or admin_entry(
        username=ADMIN, password=servers.nodes[0].password, nodes=nodes, users=["app", "ghost", "default"]
    )
    return RedisTarget(
        **{
            "nodes": nodes,
            "user": "app",
            "admin": admin,
            "generator": password(),
            "dialer": HERE,
            "tls": RedisTls(ca_pem=servers.ca_pem),
            "timeout": 5.0,
            **settings,
        }
    )


def passwords(node: Redis, user: str = "app") -> set[str]:
    lines = node.run("ACL", "GETUSER", user).splitlines()
    return set(lines[lines.index("passwords") + 1 : lines.index("commands")]) - {""}


def client(servers: Servers, secret: str, number: int = 0) -> "redis.Redis[bytes]":
    node = servers.nodes[number]
    return redis.Redis(
        host=node.host,
        port=node.port,
        username="app",
        password=secret,
        ssl=True,
        ssl_ca_data=servers.ca_pem,
        single_connection_client=True,
        retry=None,
    )


# ── from one password to the next ────────────────────────────────────────────────────────────────────────────────────


def test_it_is_a_target_with_accounts(servers: Servers) -> None:
    made = target(servers)
    assert isinstance(made, AccountTarget)
    assert made.strategy is Strategy.DUAL_PASSWORD


def test_a_whole_rotation(servers: Servers) -> None:
    it = target(servers, commands=[("GET", "orders:1")])
    old = value()
    assert (it.preflight(old), it.probe(old)) == ("", Login.WORKS)
    new = it.generate(old, 0).pending
    assert new is not None
    assert {**new.reveal(), "password": OLD} == old.reveal()
    assert len(new.reveal()["password"]) == 32
    assert it.probe(new) is Login.REFUSED
    assert it.apply(new, fence=FENCE) is Applied.ACCEPTED
    assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.WORKS)
    assert it.verify(new, timeout=5).outcome is Outcome.PASSED
    assert it.lock(old, new, fence=FENCE, end_sessions=False) is Locked.DONE
    assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.REFUSED)
    assert it.verify(old, timeout=5).outcome is Outcome.FAILED


def test_the_way_back(servers: Servers) -> None:
    it = target(servers)
    it.apply(value(NEW), fence=FENCE)
    it.lock(value(), value(NEW), fence=FENCE, end_sessions=False)
    assert it.restore(value(), fence=FENCE) is Restored.ACCEPTED
    assert it.lock(value(NEW), value(), fence=FENCE, end_sessions=False) is Locked.DONE
    assert (it.probe(value()), it.probe(value(NEW))) == (Login.WORKS, Login.REFUSED)


def test_each_change_twice_is_as_once(servers: Servers) -> None:
    it = target(servers)
    for _ in range(2):
        assert it.apply(value(NEW), fence=FENCE) is Applied.ACCEPTED
        assert [passwords(node) for node in servers.nodes] == [{hashed(OLD), hashed(NEW)}] * 2
    for _ in range(2):
        assert it.lock(value(), value(NEW), fence=FENCE, end_sessions=True) is Locked.DONE
        assert [passwords(node) for node in servers.nodes] == [{hashed(NEW)}] * 2
    for _ in range(2):
        assert it.restore(value(), fence=FENCE) is Restored.ACCEPTED
        assert [passwords(node) for node in servers.nodes] == [{hashed(OLD), hashed(NEW)}] * 2


def test_a_change_that_reached_one_node_only_is_finished(servers: Servers) -> None:
    it = target(servers)
    servers.nodes[0].run("ACL", "SETUSER", "app", f">{NEW}")
    assert it.probe(value(NEW)) is Login.REFUSED
    assert it.apply(value(NEW), fence=FENCE) is Applied.ACCEPTED
    servers.nodes[1].run("ACL", "SETUSER", "app", f"<{OLD}")
    assert it.probe(value()) is Login.REFUSED
    assert it.lock(value(), value(NEW), fence=FENCE, end_sessions=False) is Locked.DONE
    assert [passwords(node) for node in servers.nodes] == [{hashed(NEW)}] * 2


def test_what_was_changed_survives_a_restart(servers: Servers) -> None:
    it = target(servers)
    it.apply(value(NEW), fence=FENCE)
    it.lock(value(), value(NEW), fence=FENCE, end_sessions=False)
    for node in servers.nodes:
        node.stop()
        node.start()
        assert OLD not in node.acl.read_text()
    assert (it.probe(value(NEW)), it.probe(value())) == (Login.WORKS, Login.REFUSED)


def test_a_password_that_is_still_needed_is_not_locked(servers: Servers) -> None:
    it = target(servers)
    assert it.lock(value(), value(note="other"), fence=FENCE, end_sessions=True) is Locked.IN_USE
    assert it.probe(value()) is Login.WORKS


def test_sessions_end_where_they_are_to_and_nowhere_else(servers: Servers) -> None:
    it = target(servers)
    it.apply(value(NEW), fence=FENCE)
    with contextlib.ExitStack() as stack:
        open_ones = [stack.enter_context(client(servers, OLD, number)) for number in range(2)]
        assert all(one.set("k", "v") for one in open_ones)
        it.lock(value(), value(NEW), fence=FENCE, end_sessions=False)
        assert all(one.set("k", "v") for one in open_ones)
        it.lock(value(), value(NEW), fence=FENCE, end_sessions=True)
        for one in open_ones:
            with pytest.raises(redis.ConnectionError):
                one.set("k", "v")


def test_a_user_that_takes_any_password_cannot_be_locked_out(servers: Servers) -> None:
    servers.nodes[1].run("ACL", "SETUSER", "app", "nopass")
    assert target(servers).lock(value(), value(NEW), fence=FENCE, end_sessions=False) is Locked.STILL_WORKS


@dataclass
class Live:
    """A live path, and readers who have what is there at once."""

    versions: list[Value]

    def preflight(self) -> str:
        return ""

    def read(self) -> steps.Live:
        return steps.Live(len(self.versions), self.versions[-1])

    def write(self, value: Value, *, cas: int) -> steps.Written:
        if cas != len(self.versions):
            return steps.Written(None)
        self.versions.append(value)
        return steps.Written(len(self.versions))

    def deliver(self, value: Value, live_version: int) -> steps.Delivered:
        return steps.Delivered.DONE

    def proofs(self, value: Value, live_version: int) -> steps.Proofs:
        return steps.Proofs.PROVED


def rotated(it: RedisTarget, live: Live, *, lost: Stage | None = None) -> Phase | None:
    """Have the engine rotate to the end; `lost` is a stage whose hooks fail."""
    hooks = (
        [] if lost is None else [Hook(name="no", check=lambda _: Verification.failed("no"), stages=frozenset([lost]))]
    )
    journal = MemoryJournal()
    parts = Parts(
        path="db", journal_id="j", journal=journal, live=live, target=it, consumers=live, hooks=hooks, negative=True
    )
    now = [NOW]

    def clock() -> datetime:
        now[0] += timedelta(minutes=1)
        return now[0]

    policy = Policy(
        owner=OWNER, strategy=it.strategy, request=Request("id", "by hand"), grace=timedelta(0), retry=timedelta(0)
    )
    end = Engine(parts, now=clock, sleep=lambda _: None).run(lambda: policy)
    assert isinstance(end, steps.Finished), end
    assert not any("canary" in str(version) for version in journal.readable("db"))
    return end.phase


def test_the_engine_rotates_it_to_the_end(servers: Servers) -> None:
    it, live = target(servers), Live([value()])
    assert rotated(it, live) is Phase.DONE
    old, new = live.versions
    assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.REFUSED)
    assert [len(passwords(node)) for node in servers.nodes] == [1, 1]


@pytest.mark.parametrize(
    ("stage", "phase", "versions"),
    [(Stage.PENDING, Phase.ABORTED, 1), (Stage.AFTER_PROMOTE, Phase.ROLLED_BACK, 3)],
)
def test_the_engine_takes_back_what_a_hook_refuses(servers: Servers, stage: Stage, phase: Phase, versions: int) -> None:
    it, live = target(servers), Live([value()])
    assert rotated(it, live, lost=stage) is phase
    assert len(live.versions) == versions
    assert live.versions[-1] == value()
    assert [passwords(node) for node in servers.nodes] == [{hashed(OLD)}] * 2


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Recording(socket.socket):
    """A socket that keeps what goes out."""

    sent: list[bytes]

    def sendall(self, data: Any, flags: int = 0) -> None:  # type: ignore[override]
        self.sent.append(bytes(data))
        super().sendall(data, flags)


class Listening(Dialer):
    """Keeps what is sent over the connections it makes."""

    def __init__(self) -> None:
        super().__init__(None)
        self.sent: list[bytes] = []

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        plain = super().connect(host, port, timeout=timeout)
        made = Recording(fileno=plain.detach())
        made.settimeout(timeout)
        made.sent = self.sent
        return made


@pytest.fixture(scope="module")
def plain(redis_servers: Servers) -> Iterator[Redis]:
    """A server without TLS, whose users are in its configuration."""
    with Redis(redis_servers.folder / "plain", acl_file=False) as server:
        yield server


@pytest.fixture
def one_plain(plain: Redis, redis_servers: Servers) -> Servers:
    plain.run("ACL", "SETUSER", "app", "reset", "on", f">{OLD}", *ALLOWED)
    return replace(redis_servers, nodes=(plain,))


def test_changes_are_sent_as_hashes_and_no_command_but_ours_is_sent(one_plain: Servers) -> None:
    dialer = Listening()
    it = target(one_plain, dialer=dialer, tls=RedisTls(allow_plain=True), allow_unsaved=True)
    it.apply(value(NEW), fence=FENCE)
    it.lock(value(), value(NEW), fence=FENCE, end_sessions=True)
    sent = b"".join(dialer.sent)
    assert hashed(NEW).encode() in sent
    assert not any(secret.encode() in sent for secret in (OLD, NEW))
    assert [name for name in (b"SETINFO", b"HELLO", b"SELECT", b"PING") if name in sent] == []
    assert it.probe(value(NEW)) is Login.WORKS
    assert b"".join(dialer.sent).count(NEW.encode()) == 1, "a login is the one thing that needs it"


def test_without_tls_only_where_it_is_allowed_expressly(one_plain: Servers) -> None:
    with pytest.raises(SecretsUnavailableError, match="hangs up on TLS"):
        target(one_plain, timeout=0.5).preflight(value())
    assert target(one_plain, timeout=0.5).probe(value()) is Login.UNREACHABLE


def test_an_administrator_for_other_nodes_or_users_is_not_used_for_a_connection(servers: Servers) -> None:
    where = [(node.host, node.port) for node in servers.nodes]
    for nodes, users in ((where[:1], ["app"]), (where, ["else"])):
        entry = admin_entry(username=ADMIN, password=servers.nodes[0].password, nodes=nodes, users=users)
        dialer = Listening()
        it = target(servers, admin=entry, dialer=dialer)
        assert it.preflight(value()) != ""
        calls: list[Callable[[], object]] = [
            lambda it=it: it.probe(value()),
            lambda it=it: it.verify(value(), timeout=5),
            lambda it=it: it.apply(value(NEW), fence=FENCE),
            lambda it=it: it.restore(value(), fence=FENCE),
            lambda it=it: it.lock(value(), value(NEW), fence=FENCE, end_sessions=True),
        ]
        for call in calls:
            with pytest.raises(SecretsConfigurationError):
                call()
        assert dialer.sent == []


# ── preflight ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (("off",), "is off on"),
        (("nopass",), "takes any password on"),
        ((">x", ">y"), "has 3 passwords on"),
        ((">x",), ""),
        (("resetkeys", "~app:*"), ""),
    ],
)
def test_a_user_that_cannot_be_rotated_is_told_beforehand(servers: Servers, rules: Sequence[str], said: str) -> None:
    servers.nodes[1].run("ACL", "SETUSER", "app", *rules)
    found = target(servers).preflight(value())
    assert said in found
    assert bool(found) is bool(said)
    if said:
        assert str(servers.nodes[1].port) in found
    assert not any(digest in found for digest in passwords(servers.nodes[1]))


def test_a_user_that_is_not_there_is_never_made(servers: Servers) -> None:
    it = target(servers, user="ghost")
    ghost, later = value(user="ghost"), value(NEW, user="ghost")
    assert "has no user 'ghost': make it there with ACL SETUSER" in it.preflight(ghost)
    assert it.apply(later, fence=FENCE) is Applied.REJECTED
    assert it.restore(later, fence=FENCE) is Restored.REFUSED
    assert it.lock(ghost, later, fence=FENCE, end_sessions=True) is Locked.DONE
    assert it.probe(ghost) is Login.REFUSED
    assert not any("ghost" in users for users in servers.run("ACL", "USERS"))


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (Redacted({"username": "other", "password": OLD}), "username of the live entry is not 'app'"),
        (Redacted({"password": OLD}), "username of the live entry is not 'app'"),
        (Redacted({"username": "app", "password": ""}), "password of the live entry is no text"),
        (Redacted({"username": "app", "password": 7}), "password of the live entry is no text"),
    ],
)
def test_an_entry_of_somebody_else_or_without_a_password(servers: Servers, entry: Value, said: str) -> None:
    it = target(servers)
    assert said in it.preflight(entry)
    with pytest.raises(SecretsConfigurationError, match=said):
        it.probe(entry)


def test_the_administrator_does_not_rotate_itself(servers: Servers) -> None:
    where = [(node.host, node.port) for node in servers.nodes]
    entry = admin_entry(username="app", password=OLD, nodes=where, users=["app"])
    assert "is the administrator of this rotation" in target(servers, admin=entry).preflight(value())


@pytest.mark.parametrize(
    ("rules", "said"),
    [
        (("-@all", "+acl|whoami"), "does not permit ACL GETUSER to 'steward'"),
        (("-acl|setuser",), "does not permit 'steward' ACL SETUSER: grant it +acl|setuser"),
        (("-acl|save",), "does not permit 'steward' ACL SAVE: grant it +acl|save"),
        (("-client|kill",), "does not permit 'steward' CLIENT KILL: grant it +client|kill"),
        (("-config|get",), "does not tell whether it has an ACL file: grant 'steward' +config|get"),
        (("-acl|dryrun",), ""),
        (("off",), "refuses the administrator 'steward': correct its entry"),
        ((), ""),
    ],
)
def test_an_administrator_that_may_not_is_told_beforehand(servers: Servers, rules: Sequence[str], said: str) -> None:
    servers.run("ACL", "SETUSER", "steward", "reset", "on", ">steward-pw", "+@all", *rules)
    where = [(node.host, node.port) for node in servers.nodes]
    entry = admin_entry(username="steward", password="steward-pw", nodes=where, users=["app"])
    found = target(servers, admin=entry).preflight(value())
    assert said in found
    assert bool(found) is bool(said)


def test_an_administrator_that_may_not_any_more_is_no_answer(servers: Servers) -> None:
    servers.run("ACL", "SETUSER", "steward", "reset", "on", ">steward-pw", "+@all", "-acl|setuser")
    where = [(node.host, node.port) for node in servers.nodes]
    entry = admin_entry(username="steward", password="steward-pw", nodes=where, users=["app"])
    it = target(servers, admin=entry)
    with pytest.raises(SecretAccessDeniedError, match="does not permit ACL SETUSER"):
        it.apply(value(NEW), fence=FENCE)
    servers.run("ACL", "SETUSER", "steward", "off")
    with pytest.raises(SecretsAuthenticationError):
        it.apply(value(NEW), fence=FENCE)


def test_users_that_nobody_saves_are_rotated_only_where_it_is_allowed_expressly(one_plain: Servers) -> None:
    settings = {"tls": RedisTls(allow_plain=True)}
    careful = target(one_plain, **settings)
    assert "has no ACL file, so that a restart brings the old password back: set aclfile" in careful.preflight(value())
    with pytest.raises(SecretsConfigurationError, match="set aclfile in its configuration"):
        careful.apply(value(NEW), fence=FENCE)
    it = target(one_plain, allow_unsaved=True, **settings)
    assert it.preflight(value()) == ""
    assert it.apply(value(NEW), fence=FENCE) is Applied.ACCEPTED


def test_a_file_that_cannot_be_written_is_tried_again_later(servers: Servers) -> None:
    it = target(servers)
    node = servers.nodes[1]
    # A folder in the place of the file: even who writes everywhere cannot rename over it.
    node.acl.unlink()
    node.acl.mkdir()
    try:
        assert it.apply(value(NEW), fence=FENCE) is Applied.UNREACHABLE
    finally:
        node.acl.rmdir()
    assert it.apply(value(NEW), fence=FENCE) is Applied.ACCEPTED
    assert hashed(NEW) in node.acl.read_text()


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"nodes": []}, "has no nodes"), ({"user": "a b"}, "is no name of a Redis user"), ({"user": ""}, "is no name")],
)
def test_a_target_that_cannot_be(servers: Servers, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=said):
        target(servers, **settings)


def test_keys_of_the_entry_may_have_other_names(servers: Servers) -> None:
    it = target(servers, fields=CredentialFields(username="user", value="pw"))
    entry: Value = Redacted({"user": "app", "pw": OLD, "password": "kept"})
    assert (it.preflight(entry), it.probe(entry)) == ("", Login.WORKS)
    made = it.generate(entry, 0).pending
    assert made is not None
    assert (made.reveal()["password"], made.reveal()["pw"] != OLD) == ("kept", True)


# ── verification ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_value_that_works_and_is_another_ones_fails(servers: Servers) -> None:
    assert target(servers).verify(value(user="other"), timeout=5).outcome is Outcome.FAILED
    nodes = [RedisNode(node.host, node.port, RedisTls(ca_pem=servers.ca_pem)) for node in servers.nodes]
    check = RedisCheck(nodes=nodes, user="app")
    found = verify_redis(check, RedisAccount("other", SecretStr(OLD)), HERE, timeout=5)
    assert (found.outcome, "and not as 'app': it is another one's" in found.detail) == (Outcome.FAILED, True)


@pytest.mark.parametrize(
    ("rules", "commands", "outcome", "said"),
    [
        ((), [("GET", "orders:1"), ("SET", "orders:1", "x")], Outcome.PASSED, "let 'app' in"),
        (("-set",), [("SET", "orders:1", "x")], Outcome.FAILED, "does not permit 'app' SET"),
        (("resetkeys", "~app:*"), [("GET", "orders:1")], Outcome.FAILED, "does not permit 'app' GET"),
        (("-acl|whoami",), [], Outcome.FAILED, "grant it +acl|whoami"),
        ((), [("NONSENSE",)], Outcome.INCONCLUSIVE, "NONSENSE"),
        ((), [("GET",)], Outcome.INCONCLUSIVE, "GET"),
    ],
)
def test_what_the_user_has_to_be_allowed(
    servers: Servers, rules: Sequence[str], commands: Any, outcome: Outcome, said: str
) -> None:
    servers.nodes[1].run("ACL", "SETUSER", "app", *rules)
    found = target(servers, commands=commands).verify(value(), timeout=5)
    assert (found.outcome, said in found.detail) == (outcome, True), found
    assert OLD not in found.detail


def test_who_asks_may_be_the_user_itself_or_may_not_ask(servers: Servers) -> None:
    nodes = [RedisNode(node.host, node.port, RedisTls(ca_pem=servers.ca_pem)) for node in servers.nodes]
    account = RedisAccount("app", SecretStr(OLD))
    alone = RedisCheck(nodes=nodes, user="app", commands=[("GET", "k")])
    found = verify_redis(alone, account, HERE, timeout=5)
    assert (found.outcome, "grant +acl|dryrun to who asks" in found.detail) == (Outcome.INCONCLUSIVE, True)
    servers.run("ACL", "SETUSER", "app", "+acl|dryrun")
    assert verify_redis(alone, account, HERE, timeout=5).outcome is Outcome.PASSED
    wrong = replace(alone, asked_by=RedisAccount(ADMIN, SecretStr("wrong")))
    assert verify_redis(wrong, account, HERE, timeout=5).outcome is Outcome.INCONCLUSIVE


# ── no usable answer ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_one_node_that_is_down_is_neither_a_refusal_nor_a_success(servers: Servers) -> None:
    it = target(servers)
    servers.nodes[0].stop()
    try:
        assert (it.probe(value()), it.probe(value("wrong"))) == (Login.UNREACHABLE, Login.REFUSED)
        assert it.verify(value(), timeout=5).outcome is Outcome.INCONCLUSIVE
        assert it.verify(value("wrong"), timeout=5).outcome is Outcome.FAILED
        assert it.apply(value(NEW), fence=FENCE) is Applied.UNREACHABLE
        assert it.restore(value(NEW), fence=FENCE) is Restored.UNREACHABLE
        assert it.lock(value(), value(NEW), fence=FENCE, end_sessions=False) is Locked.UNREACHABLE
        with pytest.raises(SecretsUnavailableError):
            it.preflight(value())
        assert passwords(servers.nodes[1]) == {hashed(NEW)}, "the other one was told all the same"
    finally:
        servers.nodes[0].start()
    assert it.apply(value(NEW), fence=FENCE) is Applied.ACCEPTED
    assert it.lock(value(), value(NEW), fence=FENCE, end_sessions=False) is Locked.DONE


@pytest.mark.parametrize("name", ["another authority", "another name"])
def test_a_server_that_is_not_trusted_is_not_told_the_password(servers: Servers, tmp_path: Path, name: str) -> None:
    if name == "another name":
        tls = RedisTls(ca_pem=servers.ca_pem, server_name="redis.example")
    else:
        create_authority(tmp_path, "Stranger")
        tls = RedisTls(ca_pem=(tmp_path / "ca.crt").read_text())
    it = target(servers, tls=tls)
    assert it.probe(value()) is Login.UNREACHABLE
    found = it.verify(value(), timeout=5)
    assert (found.outcome, "is not trusted, or is for another name" in found.detail) == (Outcome.INCONCLUSIVE, True)
    with pytest.raises(SecretsTLSError):
        it.preflight(value())


def test_a_name_of_the_certificate_may_be_given(servers: Servers) -> None:
    tls = RedisTls(ca_pem=servers.ca_pem, server_name="localhost")
    assert target(servers, tls=tls).probe(value()) is Login.WORKS


@pytest.mark.parametrize("tls", [RedisTls(ca_pem="hunter2"), RedisTls(ca_pem="")])
def test_an_authority_that_is_none_is_a_mistake_and_no_outage(servers: Servers, tls: RedisTls) -> None:
    with pytest.raises(SecretsConfigurationError, match="holds no certificates"):
        target(servers, tls=tls).probe(value())
    assert "hunter2" not in target(servers, tls=tls).preflight(value())


def test_the_authority_of_the_administrators_entry_is_the_one_that_counts(servers: Servers, tmp_path: Path) -> None:
    create_authority(tmp_path, "Stranger")
    where = [(node.host, node.port) for node in servers.nodes]
    settings = {"username": ADMIN, "password": servers.nodes[0].password, "nodes": where, "users": ["app"]}
    entry = admin_entry(**settings, ca=servers.ca_pem)
    assert target(servers, admin=entry, tls=RedisTls()).probe(value()) is Login.WORKS
    stranger = admin_entry(**settings, ca=(tmp_path / "ca.crt").read_text())
    assert target(servers, admin=stranger).probe(value()) is Login.UNREACHABLE
    with pytest.raises(SecretsConfigurationError, match="names an authority, and the target does without TLS"):
        target(servers, admin=entry, tls=RedisTls(allow_plain=True))


def test_an_address_that_is_not_on_the_list_is_not_spoken_to(servers: Servers) -> None:
    it = target(servers, dialer=Dialer([EgressRule.of(cidr="10.0.0.0/8", ports=[6379])]))
    assert "egress.allow does not list" in it.preflight(value())
    with pytest.raises(EgressRefusedError):
        it.probe(value())


Peer = Callable[[socket.socket], object]


@contextlib.contextmanager
def peer(talk: Peer) -> Iterator[RedisNode]:
    """Something on loopback that is no Redis; `talk` gets each connection."""

    def at_once(connection: socket.socket) -> bool:
        talk(connection)
        return False

    with ScriptedServer(at_once=at_once) as server:
        yield RedisNode("127.0.0.1", server.port, RedisTls(allow_plain=True))


def answers(*replies: bytes) -> Peer:
    def talk(connection: socket.socket) -> None:
        for reply in replies:
            if not connection.recv(4096):
                return
            connection.sendall(reply)
        connection.recv(4096)

    return talk


def log_in(node: RedisNode, timeout: float = 5.0, then: tuple[str, ...] = ()) -> Any:
    with redis_session(node, "app", SecretStr(OLD), HERE, timeout=timeout) as session:
        return session.run(*then) if then else None


@pytest.mark.parametrize(
    ("reply", "error", "said"),
    [
        (b"-WRONGPASS invalid username-password pair or user is disabled.\r\n", SecretsAuthenticationError, "refuses"),
        (b"-NOAUTH Authentication required.\r\n", SecretsAuthenticationError, "refuses"),
        (b"-NOPERM this user has no permissions\r\n", SecretAccessDeniedError, "does not permit AUTH"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", SecretsUnavailableError, "is starting up"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", SecretsUnavailableError, "without its cluster or its primary"),
        (b"-CLUSTERDOWN The cluster is down\r\n", SecretsUnavailableError, "without its cluster or its primary"),
        (b"-TRYAGAIN later\r\n", SecretsUnavailableError, "is busy"),
        (b"-ERR max number of clients reached\r\n", SecretsUnavailableError, "ends the connection"),
        (b"-DENIED Redis is running in protected mode\r\n", SecretsUnavailableError, "is in protected mode"),
        (b"-ERR unknown command 'AUTH'\r\n", RedisReplyError, "does not carry out AUTH"),
        (b"-ERR wrong number of arguments for 'auth' command\r\n", RedisReplyError, "does not carry out AUTH"),
        (b"HTTP/1.1 400 Bad Request\r\n", SecretsMalformedResponseError, "answers what Redis does not"),
        (b":canary-7\r\n", SecretsMalformedResponseError, "answers what Redis does not"),
        (b"*1\r\n" * 100_000, SecretsMalformedResponseError, "answers what Redis does not"),
        (b"$9999999999\r\n" + b"x" * MOST, SecretsMalformedResponseError, "answers with more than 1048576 bytes"),
        (b"", SecretsUnavailableError, "does not answer in time|ends the connection"),
    ],
)
def test_what_an_answer_to_a_login_means(reply: bytes, error: type[SecretsError], said: str) -> None:
    with peer(answers(reply)) as node, pytest.raises(error, match=said) as caught:
        log_in(node, timeout=1.0)
    assert type(caught.value) is error
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    assert not any(text in str(caught.value) for text in (OLD, "canary"))


def test_nobody_listens() -> None:
    node = RedisNode("127.0.0.1", closed_port(), RedisTls(allow_plain=True))
    with pytest.raises(SecretsUnavailableError, match="does not answer"):
        log_in(node)


@pytest.mark.parametrize("tls", [RedisTls(), RedisTls(allow_plain=True)])
def test_who_accepts_and_says_nothing_is_given_up_in_time(tls: RedisTls) -> None:
    stop, began = threading.Event(), time.monotonic()
    with peer(lambda connection: connection.recv(1) and stop.wait(30)) as node:
        try:
            with pytest.raises(SecretsUnavailableError):
                log_in(replace(node, tls=tls), timeout=0.3)
        finally:
            stop.set()
    assert time.monotonic() - began < 3


def test_who_sends_a_byte_now_and_then_is_given_up_in_time() -> None:
    stop = threading.Event()

    def dribble(connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while not stop.wait(0.05):
                connection.sendall(b"+")

    began = time.monotonic()
    with peer(dribble) as node:
        try:
            with pytest.raises(SecretsUnavailableError):
                log_in(node, timeout=0.5)
        finally:
            stop.set()
    assert time.monotonic() - began < 3


def test_a_connection_that_ended_is_not_made_again() -> None:
    connections = []

    def talk(connection: socket.socket) -> None:
        connections.append(connection)
        answers(b"+OK\r\n", b"-LOADING later\r\n")(connection)

    with peer(talk) as node, redis_session(node, "app", SecretStr(OLD), HERE, timeout=5) as session:
        for _ in range(2):
            with pytest.raises(SecretsUnavailableError):
                session.run("ACL", "WHOAMI")
    assert len(connections) == 1


def test_a_peer_that_takes_any_password_and_is_somebody_else(servers: Servers) -> None:
    with peer(answers(b"+OK\r\n", b"$5\r\nother\r\n")) as node:
        check = RedisCheck(nodes=[node], user="app")
        found = verify_redis(check, RedisAccount("app", SecretStr(OLD)), HERE, timeout=5)
    assert (found.outcome, "it is another one's" in found.detail) == (Outcome.FAILED, True)


def test_an_answer_about_a_user_in_another_shape(servers: Servers) -> None:
    for reply in (b"+OK\r\n", b"*1\r\n$5\r\nflags\r\n", b"*2\r\n$5\r\nflags\r\n:1\r\n"):
        with peer(answers(b"+OK\r\n", reply)) as node:
            it = target(replace(servers, nodes=servers.nodes[:1]), nodes=[(node.host, node.port)], tls=node.tls)
            with pytest.raises(SecretsMalformedResponseError, match="ACL GETUSER is answered in another shape"):
                it.preflight(value())


def user(*digests: str) -> bytes:
    """An answer to ACL GETUSER."""
    held = b"".join(b"$64\r\n%b\r\n" % digest.encode() for digest in digests)
    return b"*4\r\n$5\r\nflags\r\n*1\r\n$2\r\non\r\n$9\r\npasswords\r\n*%d\r\n%b" % (len(digests), held)


@pytest.mark.parametrize(
    ("then", "locked"), [([user(hashed(NEW)), b"+OK\r\n"], Locked.DONE), ([user(hashed(OLD))], None)]
)
def test_a_lock_that_somebody_else_was_faster_with(servers: Servers, then: list[bytes], locked: Locked | None) -> None:
    refused = b"-ERR Error in ACL SETUSER modifier '!%b': no such password\r\n" % hashed(OLD).encode()
    with peer(answers(b"+OK\r\n", user(hashed(OLD), hashed(NEW)), refused, *then)) as node:
        it = target(servers, nodes=[(node.host, node.port)], tls=node.tls)
        if locked is not None:
            assert it.lock(value(), value(NEW), fence=FENCE, end_sessions=False) is locked
            return
        with pytest.raises(RedisReplyError) as caught:
            it.lock(value(), value(NEW), fence=FENCE, end_sessions=False)
        assert hashed(OLD) not in str(caught.value)


@pytest.mark.parametrize("allow_unsaved", [False, True])
def test_an_administrator_that_may_not_save(servers: Servers, allow_unsaved: bool) -> None:
    servers.run("ACL", "SETUSER", "steward", "reset", "on", ">steward-pw", "+@all", "-acl|save")
    where = [(node.host, node.port) for node in servers.nodes]
    entry = admin_entry(username="steward", password="steward-pw", nodes=where, users=["app"])
    it = target(servers, admin=entry, allow_unsaved=allow_unsaved)
    if allow_unsaved:
        assert it.preflight(value()) == ""
        assert it.apply(value(NEW), fence=FENCE) is Applied.ACCEPTED
        return
    with pytest.raises(SecretAccessDeniedError, match="does not permit ACL SAVE"):
        it.apply(value(NEW), fence=FENCE)


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (b"-ERR Unknown subcommand or wrong number of arguments for 'DRYRUN'. Try ACL HELP.\r\n", "has no ACL DRYRUN"),
        (b"-LOADING later\r\n", "is starting up"),
    ],
)
def test_a_server_that_cannot_tell_what_is_allowed(reply: bytes, said: str) -> None:
    with peer(answers(b"+OK\r\n", b"$3\r\napp\r\n", reply)) as node:
        check = RedisCheck(nodes=[node], user="app", commands=[("GET", "k")])
        found = verify_redis(check, RedisAccount("app", SecretStr(OLD)), HERE, timeout=5)
    assert (found.outcome, said in found.detail) == (Outcome.INCONCLUSIVE, True)


def test_who_answers_tls_with_something_else_is_not_trusted() -> None:
    with peer(answers(b"HTTP/1.1 400 Bad Request\r\n\r\n")) as node:
        with pytest.raises(SecretsTLSError, match="does not speak TLS, or none that we do"):
            log_in(replace(node, tls=RedisTls()))
        with pytest.raises(SecretsConfigurationError, match="is no name that a certificate can be for"):
            log_in(replace(node, tls=RedisTls(server_name=".example")))


def test_half_a_surrogate_pair_is_a_password_like_another(servers: Servers) -> None:
    assert target(servers).probe(value("\ud800")) is Login.REFUSED


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    name = RedisNode.__module__
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "redis", None)
    with pytest.raises(SecretBackendMissingError, match=r"install elile\[rotation\]"):
        importlib.import_module(name)


# ── the lab's server ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_labs_server_keeps_its_users_and_tells_failures_without_the_command(servers: Servers) -> None:
    node = servers.nodes[0]
    node.start()  # does nothing where it is up
    with pytest.raises(LabError, match="the server answers ERR") as caught:
        node.run("ACL", "SETUSER", "app", f"<{NEW}")
    assert NEW not in str(caught.value)
    with pytest.raises(SecretsAuthenticationError):
        log_in_as_default(servers)
    node.stop()
    assert not node.is_up()
    node.stop()
    with pytest.raises(LabError):
        node.run("PING")
    node.start()
    assert "app" in node.run("ACL", "USERS").splitlines()


def log_in_as_default(servers: Servers) -> None:
    node = servers.nodes[0]
    where = RedisNode(node.host, node.port, RedisTls(ca_pem=servers.ca_pem))
    with redis_session(where, "default", SecretStr(""), HERE, timeout=5):
        pass
