"""PostgreSQL as a target: a real server over TLS, and peers that are none."""

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretConflictError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.drivers.postgresql import (
    PostgreSQLEndpoint,
    PostgreSQLStatementError,
    postgresql_session,
    scram_verifier,
)
from elile.secrets.rotation.egress import Dialer, EgressRefusedError, EgressRule
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import AccountTarget, Fence, SessionSource
from elile.secrets.rotation.steps import Applied, Locked, Login, Restored
from elile.secrets.rotation.targets.admin import AdminEntry, TargetNotAllowedError
from elile.secrets.rotation.targets.postgresql import PostgreSQLTarget, lock_key
from elile.secrets.rotation.verify.outcome import Outcome
from elile.secrets.rotation.verify.postgresql import PostgreSQLCheck, verify_postgresql
from lab.postgresql import PostgreSQL
from tests.fakes.http import Authority, closed_port
from tests.services.servers import Secured, peer

HERE = Dialer(None)
JOURNAL = "journal-1"
STEWARD = "canary-steward-77"
OLD, NEW = "canary-old-6c1f", "canary-new-91ab"


def fence(epoch: int, journal: str = JOURNAL) -> Fence:
    return Fence(journal, epoch)


def value(user: str = "app_a", secret: str = OLD) -> Value:
    return Redacted({"username": user, "password": secret, "host": "db.example"})


# As an administrator would make it: two logins, their owner, and a steward that may change them.
MADE = """
SET default_transaction_read_only TO off;
SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename IN ('app_a', 'app_b', 'steward');
ALTER DATABASE postgres RESET ALL;
DROP TABLE IF EXISTS orders;
REVOKE CONNECT ON DATABASE postgres FROM PUBLIC;
DO $$ DECLARE r text; BEGIN
  FOR r IN SELECT rolname FROM pg_roles WHERE rolname IN ('app_a', 'app_b', 'app_owner', 'spare_owner', 'steward') LOOP
    EXECUTE format('DROP OWNED BY %I; DROP ROLE %I', r, r);
  END LOOP;
END $$;
CREATE ROLE steward LOGIN CREATEROLE PASSWORD '<steward>';
CREATE ROLE app_a LOGIN PASSWORD '<verifier>';
CREATE ROLE app_b;
CREATE ROLE app_owner;
GRANT app_owner TO app_a, app_b;
GRANT CONNECT ON DATABASE postgres TO steward, app_a, app_b;
GRANT pg_signal_backend TO steward;
ALTER ROLE app_a SET role TO app_owner;
ALTER ROLE app_b SET role TO app_owner;
CREATE TABLE orders (id int);
ALTER TABLE orders OWNER TO app_owner;
INSERT INTO orders VALUES (7);
"""


@pytest.fixture
def server(postgresql_tls: Secured[PostgreSQL]) -> PostgreSQL:
    """The server, made anew."""
    it = postgresql_tls.server
    it.sql(MADE.replace("<steward>", STEWARD).replace("<verifier>", scram_verifier(SecretStr(OLD))))
    return it


@pytest.fixture
def endpoint(postgresql_tls: Secured[PostgreSQL]) -> PostgreSQLEndpoint:
    it = postgresql_tls
    return PostgreSQLEndpoint(host=it.server.host, port=it.server.port, database="postgres", ca_pem=it.ca_pem)


def admin_at(endpoint: PostgreSQLEndpoint, **more: Any) -> AdminEntry:
    return AdminEntry(
        **{
            "username": "steward",
            "password": SecretStr(STEWARD),
            "host": endpoint.host,
            "port": endpoint.port,
            "database": endpoint.database,
            "allowed_users": frozenset({"app_a", "app_b"}),
            "where": "secret/admin/db",
            **more,
        }
    )


def target(endpoint: PostgreSQLEndpoint, **settings: Any) -> PostgreSQLTarget:
    return PostgreSQLTarget(
        **{
            "endpoint": endpoint,
            "admin": admin_at(endpoint),
            "users": ["app_a", "app_b"],
            "generator": password(),
            "dialer": HERE,
            "timeout": 5.0,
            **settings,
        }
    )


def comment(server: PostgreSQL, role: str) -> str:
    return server.sql(f"SELECT shobj_description('{role}'::regrole, 'pg_authid')")[0][0]


@contextlib.contextmanager
def session(server: PostgreSQL, user: str, secret: str) -> Iterator["psycopg.Connection[Any]"]:
    with psycopg.connect(
        host=server.host, port=server.port, user=user, password=secret, dbname="postgres", autocommit=True
    ) as connection:
        yield connection


# ── from one login to the next ───────────────────────────────────────────────────────────────────────────────────────


def test_it_is_a_target_with_accounts(endpoint: PostgreSQLEndpoint) -> None:
    made = target(endpoint)
    assert isinstance(made, AccountTarget)
    assert made.strategy is Strategy.DUAL_USER


def test_a_whole_rotation_and_the_next_one(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint, assertion="SELECT count(*) = 1 FROM orders")
    old, epoch = value(), itertools.count(1)
    for user in ("app_b", "app_a"):
        assert (it.preflight(old), it.probe(old)) == ("", Login.WORKS)
        new = it.generate(old, 0).pending
        assert new is not None
        revealed = new.reveal()
        assert (revealed["username"], revealed["host"], len(revealed["password"])) == (user, "db.example", 32)
        assert it.probe(new) is Login.REFUSED
        assert it.apply(new, fence=fence(next(epoch))) is Applied.ACCEPTED
        assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.WORKS)
        found = it.verify(new, timeout=5)
        assert found.outcome is Outcome.PASSED, found
        assert it.lock(old, new, fence=fence(next(epoch)), end_sessions=False) is Locked.DONE
        assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.REFUSED)
        old = new


def test_each_change_twice_is_as_once_and_the_last_one_counts(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint)
    new = value("app_b", NEW)
    for _ in range(2):
        assert it.apply(new, fence=fence(3)) is Applied.ACCEPTED
    for _ in range(2):
        assert it.lock(value(), new, fence=fence(4), end_sessions=True) is Locked.DONE
    assert it.probe(value()) is Login.REFUSED
    for _ in range(2):
        assert it.restore(value(), fence=fence(5)) is Restored.ACCEPTED
    assert (it.probe(value()), it.probe(new)) == (Login.WORKS, Login.WORKS)


def test_what_is_in_use_is_not_locked(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint)
    assert it.lock(value(), value(secret=NEW), fence=fence(1), end_sessions=True) is Locked.IN_USE
    assert it.probe(value()) is Login.WORKS


def test_one_login_whose_password_changes(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    single = {"users": ["app_a"], "strategy": Strategy.SINGLE_USER}
    with pytest.raises(SecretsConfigurationError, match="accept the downtime expressly"):
        target(endpoint, **single)
    it = target(endpoint, accept_downtime=True, **single)
    new = it.generate(value(), 0).pending
    assert new is not None
    assert new.reveal()["username"] == "app_a"
    assert it.preflight(value()) == ""
    assert it.apply(new, fence=fence(1)) is Applied.ACCEPTED
    assert (it.probe(value()), it.probe(new)) == (Login.REFUSED, Login.WORKS)
    assert it.verify(new, timeout=5).outcome is Outcome.PASSED
    assert it.restore(value(), fence=fence(2)) is Restored.ACCEPTED
    assert (it.probe(value()), it.probe(new)) == (Login.WORKS, Login.REFUSED)
    assert it.lock(new, value(), fence=fence(3), end_sessions=False) is Locked.IN_USE


def test_sessions_stay_or_end_as_it_is_asked(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint)
    with session(server, "app_a", OLD) as first, session(server, "app_a", OLD) as second:
        assert it.lock(value(), value("app_b", NEW), fence=fence(1), end_sessions=False) is Locked.DONE
        assert first.execute("SELECT current_user").fetchone() == ("app_owner",)
        assert it.lock(value(), value("app_b", NEW), fence=fence(1), end_sessions=True) is Locked.DONE
        for one in (first, second):
            with pytest.raises(psycopg.OperationalError):
                one.execute("SELECT 1")


def test_who_may_not_end_sessions_is_told_so_and_the_login_is_locked(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint
) -> None:
    server.sql("REVOKE pg_signal_backend FROM steward")
    it = target(endpoint)
    with session(server, "app_a", OLD), pytest.raises(SecretAccessDeniedError, match="pg_signal_backend"):
        it.lock(value(), value("app_b", NEW), fence=fence(1), end_sessions=True)
    assert it.probe(value()) is Login.REFUSED


def test_the_sessions_of_a_login_are_counted_in_all_databases(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint)
    assert isinstance(it, SessionSource)
    server.sql("REVOKE pg_signal_backend FROM steward; GRANT CONNECT ON DATABASE template1 TO app_a")

    def counted(wanted: int, login: Value) -> int | None:
        deadline = time.monotonic() + 10
        while (found := it.sessions(login)) != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    assert it.probe(value()) is Login.WORKS
    assert counted(0, value()) == 0
    with session(server, "app_a", OLD) as one:
        elsewhere = psycopg.connect(
            host=server.host, port=server.port, user="app_a", password=OLD, dbname="template1", autocommit=True
        )
        with elsewhere:
            one.execute("SET application_name TO 'elile'")
            assert (counted(2, value()), it.sessions(value("app_b", NEW))) == (2, 0)
        assert counted(1, value()) == 1
        assert it.lock(value(), value("app_b", NEW), fence=fence(1), end_sessions=False) is Locked.DONE
        assert it.sessions(value()) == 1  # a lock keeps others out, and ends none that is in
    assert counted(0, value()) == 0


def test_a_role_that_is_gone_cannot_be_set_and_is_locked_enough(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint
) -> None:
    server.sql("DROP OWNED BY app_b; DROP ROLE app_b")
    it = target(endpoint)
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.REJECTED
    assert it.restore(value("app_b", NEW), fence=fence(1)) is Restored.REFUSED
    assert it.lock(value("app_b", NEW), value(), fence=fence(1), end_sessions=True) is Locked.DONE
    assert it.probe(value("app_b", NEW)) is Login.REFUSED


def test_a_password_that_a_rule_of_the_server_forbids(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    server.sql("ALTER ROLE steward SET session_preload_libraries TO 'passwordcheck'")
    it = target(endpoint)
    assert it.apply(value("app_b", "app_b"), fence=fence(1)) is Applied.REJECTED
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.ACCEPTED


# ── who may change it, and in which order ────────────────────────────────────────────────────────────────────────────


def test_the_comment_of_the_administrator_stays(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    server.sql(r"""COMMENT ON ROLE app_b IS 'the shop''s \login'""")
    server.sql("ALTER DATABASE postgres SET standard_conforming_strings TO off")
    it = target(endpoint)
    for epoch in (1, 2):
        it.apply(value("app_b", NEW), fence=fence(epoch))
        assert comment(server, "app_b") == rf"the shop's \login [elile {JOURNAL} {epoch}]"
    it.lock(value(), value("app_b", NEW), fence=fence(3), end_sessions=False)
    assert comment(server, "app_a") == f"[elile {JOURNAL} 3]"


def test_what_is_late_changes_nothing(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint)
    it.apply(value("app_b", NEW), fence=fence(5))
    late: list[Callable[[], object]] = [
        lambda: it.apply(value("app_b", OLD), fence=fence(4)),
        lambda: it.restore(value("app_b", OLD), fence=fence(4)),
        lambda: it.lock(value("app_b", OLD), value(), fence=fence(4), end_sessions=True),
    ]
    for call in late:
        with pytest.raises(SecretConflictError, match=r"'app_b' was changed by a later step .*\(5, this is 4\)"):
            call()
    assert it.probe(value("app_b", NEW)) is Login.WORKS
    assert comment(server, "app_b") == f"[elile {JOURNAL} 5]"


def test_two_paths_do_not_rotate_one_role(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint)
    it.apply(value("app_b", NEW), fence=fence(5))
    with pytest.raises(SecretConflictError, match=r"another rotation, of journal journal-1.*out of the"):
        it.apply(value("app_b", OLD), fence=fence(9, "journal-2"))
    assert it.probe(value("app_b", NEW)) is Login.WORKS
    server.sql("COMMENT ON ROLE app_b IS NULL")
    assert it.apply(value("app_b", OLD), fence=fence(9, "journal-2")) is Applied.ACCEPTED


@pytest.mark.parametrize("waits_for", ["the lock", "the role"])
def test_a_change_that_wakes_up_after_a_later_one_changes_nothing(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, waits_for: str
) -> None:
    """With the lock it looks after the later one; from another database it waits for the role alone."""
    it = target(endpoint, timeout=20.0)
    caught: list[BaseException] = []

    def late() -> None:
        try:
            it.apply(value("app_b", OLD), fence=fence(4))
        except SecretsError as e:
            caught.append(e)

    with session(server, "steward", STEWARD) as other:
        other.execute("BEGIN")
        if waits_for == "the lock":
            other.execute("SELECT pg_advisory_xact_lock(%s)", [lock_key("app_b")])
        other.execute(f"ALTER ROLE app_b LOGIN PASSWORD '{scram_verifier(SecretStr(NEW))}'".encode())
        other.execute(f"COMMENT ON ROLE app_b IS '[elile {JOURNAL} 5]'".encode())
        thread = threading.Thread(target=late)
        thread.start()
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        deadline = time.monotonic() + 10
        while server.sql(waiting) == [["0"]] and time.monotonic() < deadline:
            time.sleep(0.02)
        other.execute("COMMIT")
        thread.join(20)
    assert [type(error) for error in caught] == [SecretConflictError]
    assert it.probe(value("app_b", NEW)) is Login.WORKS
    assert comment(server, "app_b") == f"[elile {JOURNAL} 5]"


class Interposed(socket.socket):
    """A socket that has something done before it sends what holds certain words."""

    before: dict[bytes, Callable[[], object]]

    def send(self, data: Any, flags: int = 0) -> int:
        for words in [words for words in self.before if words in bytes(data)]:
            self.before.pop(words)()
        return super().send(data, flags)


class Interposing(Dialer):
    """Connects by such sockets."""

    def __init__(self, before: dict[bytes, Callable[[], object]]) -> None:
        super().__init__(None)
        self._before = before

    def connect(self, host: str, port: int, *, timeout: float) -> socket.socket:
        sock = super().connect(host, port, timeout=timeout)
        made = Interposed(sock.family, sock.type, sock.proto, fileno=sock.detach())
        made.before = self._before
        return made


def test_who_comes_from_another_database_is_noticed_all_the_same(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint
) -> None:
    def later() -> None:
        verifier = scram_verifier(SecretStr(NEW))
        server.sql(
            f"ALTER ROLE app_b LOGIN PASSWORD '{verifier}'; COMMENT ON ROLE app_b IS '[elile {JOURNAL} 5]'",
            database="template1",
        )

    dialer = Interposing({b"ALTER ROLE": later})
    it = target(replace(endpoint, allow_plain=True), dialer=dialer)
    with pytest.raises(SecretConflictError, match="somebody else changes the role 'app_b' just now"):
        it.apply(value("app_b", OLD), fence=fence(4))
    assert it.probe(value("app_b", NEW)) is Login.WORKS
    assert comment(server, "app_b") == f"[elile {JOURNAL} 5]"


def test_a_commit_whose_answer_is_lost_is_no_result(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    end = "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE usename = 'steward'"
    it = target(replace(endpoint, allow_plain=True), dialer=Interposing({b"COMMIT": lambda: server.sql(end)}))
    with pytest.raises(SecretsUnavailableError):
        it.apply(value("app_b", NEW), fence=fence(1))
    assert it.probe(value("app_b", NEW)) is Login.REFUSED
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.ACCEPTED


def test_of_many_at_once_the_latest_stays(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint, timeout=30.0)
    refused: list[int] = []

    def change(epoch: int) -> None:
        try:
            it.apply(value("app_b", f"password-{epoch}"), fence=fence(epoch))
        except SecretConflictError:
            refused.append(epoch)

    threads = [threading.Thread(target=change, args=[epoch]) for epoch in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert 11 not in refused
    assert it.probe(value("app_b", "password-11")) is Login.WORKS
    assert comment(server, "app_b") == f"[elile {JOURNAL} 11]"


def test_an_answer_that_is_lost_is_not_told_as_a_result(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint, timeout=1.0)
    with session(server, "steward", STEWARD) as other:
        other.execute("BEGIN")
        other.execute("ALTER ROLE app_b CONNECTION LIMIT -1")
        began = time.monotonic()
        with pytest.raises(SecretsUnavailableError):
            it.apply(value("app_b", NEW), fence=fence(1))
        assert time.monotonic() - began < 5
        with pytest.raises(SecretsUnavailableError):
            it.lock(value("app_b", NEW), value(), fence=fence(1), end_sessions=True)


# ── what a login comes to ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER ROLE app_a PASSWORD 'other'",
        "ALTER ROLE app_a NOLOGIN",
        "ALTER ROLE app_a PASSWORD NULL",
        "ALTER ROLE app_a VALID UNTIL '2001-01-01'",
        "DROP OWNED BY app_a; DROP ROLE app_a",
    ],
)
def test_what_is_refused(server: PostgreSQL, endpoint: PostgreSQLEndpoint, sql: str) -> None:
    server.sql(sql)
    it = target(endpoint)
    assert it.probe(value()) is Login.REFUSED
    found = it.verify(value(), timeout=5)
    assert found.outcome is Outcome.FAILED
    assert "refuses the password, or the role is not there" in found.detail


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [
        ("ALTER ROLE app_a CONNECTION LIMIT 0", Outcome.INCONCLUSIVE),  # 53300, as with too many of all
        ("REVOKE CONNECT ON DATABASE postgres FROM app_a", Outcome.FAILED),
    ],
)
def test_what_says_nothing_about_the_password(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, sql: str, outcome: Outcome
) -> None:
    server.sql(sql)
    it = target(endpoint)
    assert it.probe(value()) is Login.UNREACHABLE
    assert it.verify(value(), timeout=5).outcome is outcome


def test_a_database_that_is_not_there_is_not_a_wrong_password(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    at = replace(endpoint, database="nowhere")
    it = target(at)
    assert it.probe(value()) is Login.UNREACHABLE
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.UNREACHABLE


@pytest.mark.parametrize(
    ("hba", "plain", "login"),
    [
        ("hostssl all app_a 127.0.0.1/32 scram-sha-256", False, Login.WORKS),
        ("hostssl all app_a 127.0.0.1/32 scram-sha-256", True, Login.UNREACHABLE),  # no entry: 28000 as well
        ("host all app_a 127.0.0.1/32 reject", False, Login.UNREACHABLE),
        ("host all app_a 127.0.0.1/32 password", False, Login.WORKS),
        ("host all app_a 127.0.0.1/32 trust", False, Login.UNREACHABLE),  # nothing is proved
    ],
)
def test_who_is_let_in_by_the_servers_rules(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, hba: str, plain: bool, login: Login
) -> None:
    path = server.folder / "pg_hba.conf"
    before = path.read_text()
    path.write_text(f"local all postgres trust\n{hba}\n")
    try:
        server.sql("SELECT pg_reload_conf(), pg_sleep(0.1)")
        assert target(replace(endpoint, allow_plain=plain)).probe(value()) is login
    finally:
        path.write_text(before)
        server.sql("SELECT pg_reload_conf(), pg_sleep(0.1)")


def test_nobody_answers(endpoint: PostgreSQLEndpoint) -> None:
    it = target(replace(endpoint, port=closed_port()))
    assert it.probe(value()) is Login.UNREACHABLE
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.UNREACHABLE
    assert it.restore(value("app_b", NEW), fence=fence(1)) is Restored.UNREACHABLE
    assert it.lock(value(), value("app_b", NEW), fence=fence(1), end_sessions=True) is Locked.UNREACHABLE
    assert it.sessions(value()) is None
    assert it.verify(value(), timeout=5).outcome is Outcome.INCONCLUSIVE
    with pytest.raises(SecretsUnavailableError):
        it.preflight(value())


# ── peers that are none ──────────────────────────────────────────────────────────────────────────────────────────────

AUTHORITY = Authority()


def at_peer(port: int, **more: Any) -> PostgreSQLEndpoint:
    return PostgreSQLEndpoint(**{"host": "127.0.0.1", "port": port, "ca_pem": AUTHORITY.pem, **more})


def refusal(sqlstate: str, routine: str = "ProcessStartupPacket") -> bytes:
    fields = b"".join(
        code + text.encode() + b"\0"
        for code, text in ((b"S", "FATAL"), (b"V", "FATAL"), (b"C", sqlstate), (b"M", f"no {OLD}"), (b"R", routine))
    )
    return b"E" + struct.pack("!i", len(fields) + 5) + fields + b"\0"


def speaks(*answers: bytes, every: float = 0.0) -> Callable[[socket.socket], None]:
    """A peer that has TLS, hears the first message and says this."""

    def script(sock: socket.socket) -> None:
        sock.recv(8)
        sock.sendall(b"S")
        with AUTHORITY.server().wrap_socket(sock, server_side=True) as secured:
            secured.recv(4096)
            for answer in answers:
                secured.sendall(answer)
                time.sleep(every)
            with contextlib.suppress(OSError):
                while secured.recv(4096):
                    pass

    return script


@pytest.mark.parametrize(
    ("answer", "kind", "login"),
    [
        (refusal("57P03"), SecretsUnavailableError, Login.UNREACHABLE),
        (refusal("53300"), SecretsUnavailableError, Login.UNREACHABLE),
        (refusal("28000", "ClientAuthentication"), SecretsUnavailableError, Login.UNREACHABLE),
        (refusal("28P01"), SecretsAuthenticationError, Login.REFUSED),
        (refusal("28000", "InitializeSessionUserId"), SecretsAuthenticationError, Login.REFUSED),
        (b"?\0\0\0\x04", SecretsUnavailableError, Login.UNREACHABLE),
        (b"R\0\0\0\x05\0", SecretsUnavailableError, Login.UNREACHABLE),
        (b"R\0\0\0\x08\0\0\0\x07", SecretsUnavailableError, Login.UNREACHABLE),  # GSSAPI
        (b"N\x7f\xff\xff\xff" + b"x" * 4096, SecretsUnavailableError, Login.UNREACHABLE),
        (b"N\x80\0\0\0" + b"x" * 4096, SecretsUnavailableError, Login.UNREACHABLE),
        (b"R\0\0\0\x0c\0\0\0\x0bnone", SecretsUnavailableError, Login.UNREACHABLE),
        (b"R\0\0\0\x08\0\0\0\x00Z\0\0\0\x05I", SecretsUnavailableError, Login.UNREACHABLE),
        (b"", SecretsUnavailableError, Login.UNREACHABLE),
    ],
)
def test_what_a_server_says_to_a_login(answer: bytes, kind: type[Exception], login: Login) -> None:
    with peer(speaks(answer)) as (port, _):
        at = at_peer(port)
        with (
            pytest.raises(kind) as caught,
            postgresql_session(at, "app_a", SecretStr(OLD), HERE, timeout=1),
        ):
            pass
        assert OLD not in str(caught.value)
        assert caught.value.__cause__ is None
        assert target(at, timeout=1.0).probe(value()) is login


def test_who_says_a_byte_now_and_then_is_not_waited_for() -> None:
    notice = [bytes([byte]) for byte in b"N\0\0\x7f\xff" + b"x" * 200]
    with peer(speaks(*notice, every=0.05)) as (port, _):
        began = time.monotonic()
        assert target(at_peer(port), timeout=0.5).probe(value()) is Login.UNREACHABLE
        assert time.monotonic() - began < 3


def test_who_shakes_hands_for_ever_is_not_waited_for() -> None:
    def script(sock: socket.socket) -> None:
        sock.recv(8)
        sock.sendall(b"S")
        for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 200:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)

    with peer(script) as (port, _):
        began = time.monotonic()
        assert target(at_peer(port), timeout=0.5).probe(value()) is Login.UNREACHABLE
        assert time.monotonic() - began < 3


@pytest.mark.parametrize("answer", [b"", b"E", b"X"])
def test_who_says_nothing_of_use_before_tls_is_told_nothing(answer: bytes) -> None:
    heard: list[bytes] = []

    def script(sock: socket.socket) -> None:
        heard.append(sock.recv(4096))
        sock.sendall(answer)
        heard.append(sock.recv(4096))

    with peer(script) as (port, _):
        began = time.monotonic()
        assert target(at_peer(port), timeout=0.5).probe(value()) is Login.UNREACHABLE
        assert time.monotonic() - began < 3
    assert heard == [b"\0\0\0\x08\x04\xd2\x16\x2f", b""]


def test_without_tls_nothing_is_sent(postgresql: PostgreSQL) -> None:
    postgresql.sql(f"DROP ROLE IF EXISTS plain; CREATE ROLE plain LOGIN PASSWORD '{OLD}'")
    at = PostgreSQLEndpoint(host=postgresql.host, port=postgresql.port)
    with (
        pytest.raises(SecretsTLSError, match="does not speak TLS: turn ssl on there"),
        postgresql_session(at, "plain", SecretStr(OLD), HERE, timeout=5),
    ):
        pass
    plain = replace(at, allow_plain=True)
    with postgresql_session(plain, "plain", SecretStr(OLD), HERE, timeout=5) as session:
        assert session.run("SELECT session_user") == [["plain"]]


@pytest.mark.parametrize(
    "more",
    [{"ca_pem": Authority("Stranger CA").pem}, {"ca_pem": None}, {"server_name": "db.example"}],
)
def test_whom_we_do_not_trust(server: PostgreSQL, endpoint: PostgreSQLEndpoint, more: dict[str, Any]) -> None:
    it = target(replace(endpoint, **more))
    assert it.probe(value()) is Login.UNREACHABLE
    found = it.verify(value(), timeout=5)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "not trusted, or is for another name" in found.detail
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.UNREACHABLE


def test_the_name_of_a_certificate_may_be_given(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    assert target(replace(endpoint, server_name="localhost")).probe(value()) is Login.WORKS


def test_the_authority_of_the_entry_stands_before_that_of_the_schedule(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint
) -> None:
    ca = endpoint.ca_pem
    for at in (replace(endpoint, ca_pem=Authority("Stranger CA").pem), replace(endpoint, allow_plain=True)):
        entry = admin_at(endpoint, ca=ca)
        assert target(at, admin=entry).probe(value()) is Login.WORKS
    stranger = admin_at(endpoint, ca=Authority("Stranger CA").pem)
    assert target(replace(endpoint, allow_plain=True), admin=stranger).probe(value()) is Login.UNREACHABLE


@pytest.mark.parametrize("more", [{"ca_pem": ""}, {"ca_pem": "no PEM"}, {"server_name": ".x"}])
def test_what_cannot_be_connected_to_is_a_mistake(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, more: dict[str, Any]
) -> None:
    with pytest.raises(SecretsConfigurationError, match=r"give PEM|no name that a certificate can be for"):
        target(replace(endpoint, **more)).probe(value())


def test_an_address_that_is_not_allowed_is_not_spoken_to() -> None:
    with peer(speaks(b"")) as (port, seen):
        it = target(at_peer(port), dialer=Dialer([EgressRule.of(cidr="10.0.0.0/8", ports=[5432])]))
        with pytest.raises(EgressRefusedError):
            it.probe(value())
        assert "egress.allow does not list" in it.preflight(value())
        assert seen == []


# ── verification ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_somebody_elses_login_verifies_nothing(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    check = PostgreSQLCheck(endpoint=endpoint, user="app_b")
    found = verify_postgresql(check, "app_a", SecretStr(OLD), HERE, timeout=5)
    assert (found.outcome, "another one's" in found.detail) == (Outcome.FAILED, True)
    found = target(endpoint).verify(value("postgres"), timeout=5)
    assert (found.outcome, "none of users (app_a, app_b)" in found.detail) == (Outcome.FAILED, True)


@pytest.mark.parametrize(
    ("sql", "owner", "said"),
    [
        ("ALTER ROLE app_a RESET role", None, 'ALTER ROLE "app_a" SET role TO "app_owner"'),
        ("ALTER ROLE app_b RESET role", None, 'ALTER ROLE "app_b" SET role TO <owner>'),
        ("REVOKE app_owner FROM app_a", None, "'app_a' does not act as 'app_owner'"),
        ("SELECT 1", "spare_owner", 'ALTER ROLE "app_b" SET role TO "spare_owner"'),
        ("ALTER ROLE app_a IN DATABASE postgres SET role TO none", None, "'app_a' does not act as 'app_owner'"),
    ],
)
def test_a_login_that_acts_as_another_role_than_the_other(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, sql: str, owner: str | None, said: str
) -> None:
    server.sql(sql)
    found = target(endpoint, owner=owner).verify(value(), timeout=5)
    assert (found.outcome, said in found.detail) == (Outcome.FAILED, True), found


@pytest.mark.parametrize(
    ("assertion", "outcome"),
    [
        ("SELECT count(*) = 1 FROM orders WHERE id::text = '7'", Outcome.PASSED),
        ("SELECT count(*) = 2 FROM orders", Outcome.FAILED),
        ("SELECT true WHERE false", Outcome.FAILED),
        ("SELECT NULL::bool", Outcome.FAILED),
        ("SELECT count(*) > 0 FROM pg_authid", Outcome.FAILED),
        ("WITH o AS (SELECT * FROM orders) SELECT true FROM o; ", Outcome.PASSED),
        ("SELECT true -- of course", Outcome.PASSED),
        ("SELECT true UNION ALL SELECT true", Outcome.INCONCLUSIVE),
        ("SELECT 1", Outcome.INCONCLUSIVE),
        ("SELECT true, true", Outcome.INCONCLUSIVE),
        ("SELECT true FROM nothing", Outcome.INCONCLUSIVE),
        ("INSERT INTO orders VALUES (8) RETURNING true", Outcome.INCONCLUSIVE),
        ("SELECT true); COMMIT; INSERT INTO orders VALUES (8); SELECT (true", Outcome.INCONCLUSIVE),
        ("COMMIT", Outcome.INCONCLUSIVE),
        ("SELECT pg_sleep(9) IS NOT NULL", Outcome.INCONCLUSIVE),
        ("SELECT true), repeat('x', 2000000), (SELECT true", Outcome.INCONCLUSIVE),
        ("COPY orders TO STDOUT", Outcome.INCONCLUSIVE),
        ("", Outcome.INCONCLUSIVE),
    ],
)
def test_an_assertion_has_to_be_true_and_writes_nothing(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, assertion: str, outcome: Outcome
) -> None:
    began = time.monotonic()
    found = target(endpoint, assertion=assertion).verify(value(), timeout=1)
    assert found.outcome is outcome, found
    assert time.monotonic() - began < 5
    assert server.sql("SELECT count(*) FROM orders") == [["1"]]


# ── preflight ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP OWNED BY app_b; DROP ROLE app_b", 'CREATE ROLE "app_b" NOLOGIN; GRANT "app_owner" TO "app_b"; ALTER'),
        ("REVOKE app_owner FROM app_b", 'GRANT "app_owner" TO "app_b"'),
        ("ALTER ROLE app_b RESET role", 'ALTER ROLE "app_b" SET role TO "app_owner"'),
        ("ALTER ROLE app_a RESET role; ALTER ROLE app_b RESET role", 'ALTER ROLE "app_a" SET role TO "app_owner"'),
        ("ALTER ROLE app_owner LOGIN", 'ALTER ROLE "app_owner" NOLOGIN'),
        ("REVOKE app_owner FROM app_a, app_b", 'GRANT "app_owner" TO "app_a"'),
        (
            "REVOKE app_owner FROM app_a, app_b; ALTER ROLE app_a RESET role; ALTER ROLE app_b RESET role",
            "share no role without a login, to which all that they make belongs: CREATE ROLE <owner> NOLOGIN; GRANT",
        ),
        ("ALTER ROLE app_a SUPERUSER", "NOSUPERUSER NOREPLICATION NOBYPASSRLS"),
        ("ALTER ROLE app_b VALID UNTIL '2001-01-01'", "VALID UNTIL 'infinity'"),
        ("REVOKE CONNECT ON DATABASE postgres FROM app_b", 'GRANT CONNECT ON DATABASE "postgres" TO "app_b"'),
        ("ALTER ROLE app_a NOLOGIN", 'ALTER ROLE "app_a" LOGIN'),
        ("ALTER ROLE steward NOCREATEROLE", 'ALTER ROLE "steward" CREATEROLE'),
        ("ALTER ROLE steward PASSWORD 'other'", "secret/admin/db: 127.0.0.1"),
        ("REVOKE CONNECT ON DATABASE postgres FROM steward", "does not permit it (42501)"),
        ("ALTER ROLE steward SUPERUSER NOCREATEROLE", ""),
        ("ALTER DATABASE postgres SET default_transaction_read_only TO on", ""),
        ("ALTER ROLE app_b RESET role; ALTER ROLE app_b IN DATABASE postgres SET role TO app_owner", ""),
    ],
)
def test_what_is_missing_is_named_with_the_sql_for_it(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, sql: str, said: str
) -> None:
    server.sql(sql)
    found = target(endpoint).preflight(value())
    assert said in found
    assert (found == "") is (said == ""), found


def test_several_owners_have_to_be_told_apart(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    server.sql(
        "CREATE ROLE spare_owner; GRANT spare_owner TO app_a, app_b;"
        "ALTER ROLE app_a RESET role; ALTER ROLE app_b RESET role"
    )
    assert (
        target(endpoint)
        .preflight(value())
        .endswith("share the roles 'app_owner', 'spare_owner': name one of them as owner")
    )
    assert 'SET role TO "spare_owner"' in target(endpoint, owner="spare_owner").preflight(value())


def test_a_live_entry_of_somebody_else_is_told_the_step_to_take(endpoint: PostgreSQLEndpoint) -> None:
    found = target(endpoint).preflight(value("legacy"))
    assert "username of the live entry is none of users (app_a, app_b): put the user that is in use into users" in found
    assert "legacy" not in found
    assert "password of the live entry is no text" in target(endpoint).preflight(value(secret=""))


def test_who_may_not_change_roles_is_told_so(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    server.sql("ALTER ROLE steward NOCREATEROLE")
    with pytest.raises(SecretAccessDeniedError, match=r"may not change 'app_b'.*CREATEROLE"):
        target(endpoint).apply(value("app_b", NEW), fence=fence(1))
    server.sql("ALTER ROLE steward PASSWORD 'other'")
    with pytest.raises(SecretsAuthenticationError):
        target(endpoint).apply(value("app_b", NEW), fence=fence(1))


# ── where the administrator may be used ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "more",
    [{"host": "db.example"}, {"port": 1}, {"database": "other"}, {"allowed_users": frozenset({"app_a"})}],
)
def test_an_entry_for_something_else_is_not_used_for_any_connection(more: dict[str, Any]) -> None:
    with peer(speaks(b"")) as (port, seen):
        at = at_peer(port)
        it = target(at, admin=admin_at(at, **more))
        assert "secret/admin/db" in it.preflight(value())
        calls: list[Callable[[], object]] = [
            lambda: it.probe(value()),
            lambda: it.verify(value(), timeout=1),
            lambda: it.apply(value("app_b", NEW), fence=fence(1)),
            lambda: it.restore(value("app_b", NEW), fence=fence(1)),
            lambda: it.lock(value(), value("app_b", NEW), fence=fence(1), end_sessions=True),
        ]
        for call in calls:
            with pytest.raises(TargetNotAllowedError):
                call()
        assert seen == []


def test_the_entry_is_read_each_time_so_that_its_own_rotation_is_seen(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint
) -> None:
    now = [STEWARD]
    it = target(endpoint, admin=lambda: admin_at(endpoint, password=SecretStr(now[0])))
    assert it.preflight(value()) == ""
    now[0] = "next"
    server.sql("ALTER ROLE steward PASSWORD 'next'")
    assert it.apply(value("app_b", NEW), fence=fence(1)) is Applied.ACCEPTED


def test_an_entry_that_cannot_be_read_is_told_as_that(endpoint: PostgreSQLEndpoint) -> None:
    def sealed() -> AdminEntry:
        raise SecretsUnavailableError("the server is sealed", path="secret/admin/db")

    def refused() -> AdminEntry:
        raise SecretsAuthenticationError("the login was refused", path="secret/admin/db")

    assert target(endpoint, admin=sealed).apply(value("app_b", NEW), fence=fence(1)) is Applied.UNREACHABLE
    for call in (
        lambda: target(endpoint, admin=sealed).preflight(value()),
        lambda: target(endpoint, admin=sealed).probe(value()),
        lambda: target(endpoint, admin=refused).preflight(value()),
        lambda: target(endpoint, admin=refused).probe(value()),
        lambda: target(endpoint, admin=refused).apply(value("app_b", NEW), fence=fence(1)),
    ):
        with pytest.raises((SecretsUnavailableError, SecretsAuthenticationError), match="secret/admin/db"):
            call()


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_password_is_in_the_log_of_the_server(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    begins = server.log.stat().st_size
    it = target(endpoint)
    it.preflight(value())
    it.apply(value("app_b", NEW), fence=fence(1))
    it.verify(value("app_b", NEW), timeout=5)
    it.lock(value(), value("app_b", NEW), fence=fence(2), end_sessions=True)
    it.restore(value(), fence=fence(3))
    it.probe(value(secret="canary-wrong"))
    with pytest.raises(SecretConflictError):
        it.apply(value("app_b", OLD), fence=fence(0))
    log = server.log.read_bytes()[begins:].decode()
    assert "SCRAM-SHA-256$4096:" in log, "statements are in the log"
    assert "canary" not in log


@pytest.mark.parametrize(
    "secret", ["plain", "pass word", "I\u00adX", "\u2168 \u00aa", "\u00e4\u00f6\u20ac", "x" * 200, "a'b\\c$d"]
)
def test_a_verifier_is_what_the_server_makes_of_the_password(
    server: PostgreSQL, endpoint: PostgreSQLEndpoint, secret: str
) -> None:
    it = target(endpoint)
    assert it.apply(value("app_b", secret), fence=fence(1)) is Applied.ACCEPTED
    assert it.probe(value("app_b", secret)) is Login.WORKS
    with session(server, "app_b", secret):
        pass


@pytest.mark.parametrize("secret", ["\u0627\u0031", "a\x07", "\ud800"])
def test_a_password_that_cannot_be_one_is_a_mistake_and_is_not_shown(endpoint: PostgreSQLEndpoint, secret: str) -> None:
    with pytest.raises(SecretsConfigurationError, match="SASLprep") as caught:
        target(endpoint).apply(value("app_b", secret), fence=fence(1))
    assert secret not in str(caught.value)


def test_names_are_quoted(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    odd = 'we"ird; DROP ROLE app_a --'
    quoted = '"we""ird; DROP ROLE app_a --"'
    server.sql(f"CREATE ROLE {quoted}; GRANT CONNECT ON DATABASE postgres TO {quoted}")
    try:
        it = target(
            endpoint,
            users=[odd],
            strategy=Strategy.SINGLE_USER,
            accept_downtime=True,
            admin=admin_at(endpoint, allowed_users=frozenset({odd})),
        )
        assert it.apply(value(odd, NEW), fence=fence(1)) is Applied.ACCEPTED
        assert it.probe(value(odd, NEW)) is Login.WORKS
        assert comment(server, quoted) == f"[elile {JOURNAL} 1]"
    finally:
        server.sql(f"DROP OWNED BY {quoted}; DROP ROLE {quoted}")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"users": ["app_a"]}, "users names 2 of them with DualUser"),
        ({"users": ["app_a", "app_a"]}, "users names 2 of them with DualUser"),
        ({"users": ["app_a", "x" * 64]}, "1 to 63 bytes"),
        ({"users": ["app_a", ""]}, "1 to 63 bytes"),
        ({"strategy": Strategy.DUAL_PASSWORD}, "strategy is DualPassword: a database has DualUser and SingleUser"),
    ],
)
def test_users_that_cannot_be_rotated(endpoint: PostgreSQLEndpoint, settings: dict[str, Any], said: str) -> None:
    with pytest.raises(SecretsConfigurationError, match=said):
        target(endpoint, **settings)


def test_an_administrator_that_is_rotated_by_itself_is_refused(endpoint: PostgreSQLEndpoint) -> None:
    it = target(endpoint, admin=admin_at(endpoint, username="app_a"))
    assert "would lock itself out" in it.preflight(value())


def test_a_statement_that_fails_is_told_by_its_code(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    with postgresql_session(endpoint, "steward", SecretStr(STEWARD), HERE, timeout=5) as session:
        with pytest.raises(PostgreSQLStatementError, match=r"\(42601\)") as caught:
            session.run(f"ALTER ROLE app_a PASSWORT '{NEW}'")
        assert NEW not in str(caught.value)
        server.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'steward'")
        with pytest.raises(SecretsUnavailableError):
            session.run("SELECT 1")


def test_tls_is_what_the_server_sees(server: PostgreSQL, endpoint: PostgreSQLEndpoint) -> None:
    with postgresql_session(endpoint, "steward", SecretStr(STEWARD), HERE, timeout=5) as session:
        found = session.run("SELECT ssl, version FROM pg_stat_ssl WHERE pid = pg_backend_pid()")
    assert found == [[True, "TLSv1.3"]]
