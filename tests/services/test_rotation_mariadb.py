"""MariaDB as a target: a real server over TLS, and peers that are none."""

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pymysql
import pytest

from elile.secrets.errors import (
    SecretAccessDeniedError,
    SecretsAuthenticationError,
    SecretsConfigurationError,
    SecretsTLSError,
    SecretsUnavailableError,
)
from elile.secrets.redact import Redacted, SecretStr
from elile.secrets.rotation.drivers.mariadb import (
    MOST_BYTES,
    MariaDBEndpoint,
    MariaDBStatementError,
    mariadb_session,
    native_hash,
)
from elile.secrets.rotation.egress import Dialer, EgressRefusedError, EgressRule
from elile.secrets.rotation.generators import password
from elile.secrets.rotation.journal import Strategy, Value
from elile.secrets.rotation.ports import AccountTarget, Fence, SessionSource
from elile.secrets.rotation.steps import Applied, Locked, Login, Restored
from elile.secrets.rotation.targets.admin import AdminEntry, TargetNotAllowedError
from elile.secrets.rotation.targets.mariadb import MariaDBTarget
from elile.secrets.rotation.verify.mariadb import MariaDBCheck, verify_mariadb
from elile.secrets.rotation.verify.outcome import Outcome
from lab.mariadb import MariaDB
from tests.fakes.http import Authority, closed_port
from tests.services.servers import Secured, peer

HERE = Dialer(None)
FENCE = Fence("journal-1", 7)
STEWARD = "canary-steward-77"
OLD, NEW = "canary-old-6c1f", "canary-new-91ab"

# As an administrator would make it: two accounts with the same privileges, and a steward that may change them.
MADE = """
SET GLOBAL read_only = OFF;
SET GLOBAL strict_password_validation = ON;
DROP DATABASE IF EXISTS shop;
DROP USER IF EXISTS app_a, app_b, steward, app_a@'127.0.0.1', odd@'%';
CREATE DATABASE shop;
CREATE TABLE shop.orders (id int) ENGINE=InnoDB;
INSERT INTO shop.orders VALUES (7);
CREATE USER app_a IDENTIFIED VIA mysql_native_password USING '<hash>';
CREATE USER app_b ACCOUNT LOCK;
GRANT SELECT, INSERT ON shop.* TO app_a, app_b;
CREATE USER steward IDENTIFIED BY '<steward>';
GRANT CREATE USER, CONNECTION ADMIN, PROCESS ON *.* TO steward;
GRANT SELECT (Host, User) ON mysql.global_priv TO steward;
"""


def value(user: str = "app_a", secret: str = OLD) -> Value:
    return Redacted({"username": user, "password": secret, "host": "db.example"})


@pytest.fixture
def server(mariadb: Secured[MariaDB]) -> MariaDB:
    """The server, made anew."""
    it = mariadb.server
    it.sql(MADE.replace("<steward>", STEWARD).replace("<hash>", native_hash(SecretStr(OLD))))
    return it


@pytest.fixture
def endpoint(mariadb: Secured[MariaDB]) -> MariaDBEndpoint:
    return MariaDBEndpoint(host=mariadb.server.host, port=mariadb.server.port, database="shop", ca_pem=mariadb.ca_pem)


def admin_at(endpoint: MariaDBEndpoint, **more: Any) -> AdminEntry:
    return AdminEntry(
        **{
            "username": "steward",
            "password": SecretStr(STEWARD),
            "host": endpoint.host,
            "port": endpoint.port,
            "database": endpoint.database or None,
            "allowed_users": frozenset({"app_a", "app_b"}),
            "where": "secret/admin/db",
            **more,
        }
    )


def target(endpoint: MariaDBEndpoint, **settings: Any) -> MariaDBTarget:
    return MariaDBTarget(
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


@contextlib.contextmanager
def session(server: MariaDB, user: str, secret: str) -> Iterator["pymysql.connections.Connection[Any]"]:
    connection = pymysql.connect(host=server.host, port=server.port, user=user, password=secret, ssl_disabled=True)
    try:
        yield connection
    finally:
        with contextlib.suppress(pymysql.err.Error):
            connection.close()


# ── from one account to the next ─────────────────────────────────────────────────────────────────────────────────────


def test_it_is_a_target_with_accounts(endpoint: MariaDBEndpoint) -> None:
    made = target(endpoint)
    assert isinstance(made, AccountTarget)
    assert made.strategy is Strategy.DUAL_USER


def test_a_whole_rotation_and_the_next_one(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    it = target(endpoint, assertion="SELECT COUNT(*) = 1 FROM orders")
    old, epoch = value(), itertools.count(1)
    for user in ("app_b", "app_a"):
        assert (it.preflight(old), it.probe(old)) == ("", Login.WORKS)
        new = it.generate(old, 0).pending
        assert new is not None
        revealed = new.reveal()
        assert (revealed["username"], revealed["host"], len(revealed["password"])) == (user, "db.example", 32)
        assert it.probe(new) is Login.REFUSED
        assert it.apply(new, fence=Fence("journal-1", next(epoch))) is Applied.ACCEPTED
        assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.WORKS)
        found = it.verify(new, timeout=5)
        assert found.outcome is Outcome.PASSED, found
        assert it.lock(old, new, fence=Fence("journal-1", next(epoch)), end_sessions=False) is Locked.DONE
        assert (it.probe(new), it.probe(old)) == (Login.WORKS, Login.REFUSED)
        old = new


def test_each_change_twice_is_as_once_and_the_last_one_counts(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    it = target(endpoint)
    new = value("app_b", NEW)
    for _ in range(2):
        assert it.apply(new, fence=FENCE) is Applied.ACCEPTED
    for _ in range(2):
        assert it.lock(value(), new, fence=FENCE, end_sessions=True) is Locked.DONE
    assert it.probe(value()) is Login.REFUSED
    for _ in range(2):
        assert it.restore(value(), fence=FENCE) is Restored.ACCEPTED
    assert (it.probe(value()), it.probe(new)) == (Login.WORKS, Login.WORKS)


def test_what_is_locked_has_no_password_either(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    assert target(endpoint).lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=False) is Locked.DONE
    server.sql("ALTER USER app_a ACCOUNT UNLOCK")
    assert target(endpoint).probe(value()) is Login.REFUSED


def test_what_is_in_use_is_not_locked(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    it = target(endpoint)
    assert it.lock(value(), value(secret=NEW), fence=FENCE, end_sessions=True) is Locked.IN_USE
    assert it.probe(value()) is Login.WORKS


def test_one_account_whose_password_changes(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    single = {"users": ["app_a"], "strategy": Strategy.SINGLE_USER}
    with pytest.raises(SecretsConfigurationError, match="accept the downtime expressly"):
        target(endpoint, **single)
    it = target(endpoint, accept_downtime=True, **single)
    new = it.generate(value(), 0).pending
    assert new is not None
    assert it.preflight(value()) == ""
    assert it.apply(new, fence=FENCE) is Applied.ACCEPTED
    assert (it.probe(value()), it.probe(new)) == (Login.REFUSED, Login.WORKS)
    assert it.verify(new, timeout=5).outcome is Outcome.PASSED
    assert it.restore(value(), fence=FENCE) is Restored.ACCEPTED
    assert (it.probe(value()), it.probe(new)) == (Login.WORKS, Login.REFUSED)
    assert it.lock(new, value(), fence=FENCE, end_sessions=False) is Locked.IN_USE


def test_sessions_stay_or_end_as_it_is_asked(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    it = target(endpoint)
    with session(server, "app_a", OLD) as first, session(server, "app_a", OLD) as second:
        assert it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=False) is Locked.DONE
        assert first.query("SELECT 1") == 1
        assert it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=True) is Locked.DONE
        for one in (first, second):
            with pytest.raises(pymysql.err.OperationalError):
                one.query("SELECT 1")


def test_the_sessions_of_an_account_are_counted(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    it = target(endpoint)
    assert isinstance(it, SessionSource)
    server.sql("REVOKE CONNECTION ADMIN ON *.* FROM steward")

    def counted(wanted: int) -> int | None:
        deadline = time.monotonic() + 10
        while (found := it.sessions(value())) != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    assert it.probe(value()) is Login.WORKS
    assert counted(0) == 0
    with session(server, "app_a", OLD):
        with session(server, "app_a", OLD):
            assert (counted(2), it.sessions(value("app_b", NEW))) == (2, 0)
        assert counted(1) == 1
        assert it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=False) is Locked.DONE
        assert it.sessions(value()) == 1  # a lock keeps others out, and ends none that is in
    assert counted(0) == 0


def test_who_may_not_see_sessions_is_told_so_and_counts_none(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    it = target(endpoint)
    server.sql("REVOKE PROCESS ON *.* FROM steward")
    with session(server, "app_a", OLD), pytest.raises(SecretAccessDeniedError, match=r"GRANT PROCESS ON \*\.\* TO it"):
        it.sessions(value())
    server.sql("GRANT ALL PRIVILEGES ON *.* TO steward")
    with session(server, "app_a", OLD):
        assert it.sessions(value()) == 1
    server.sql("REVOKE ALL PRIVILEGES, GRANT OPTION FROM steward; GRANT ALL PRIVILEGES ON shop.* TO steward")
    with pytest.raises(SecretAccessDeniedError, match="steward"):
        it.sessions(value())


def test_who_may_not_end_sessions_is_told_so_and_the_account_is_locked(
    server: MariaDB, endpoint: MariaDBEndpoint
) -> None:
    server.sql("REVOKE CONNECTION ADMIN ON *.* FROM steward")
    it = target(endpoint)
    with session(server, "app_a", OLD), pytest.raises(SecretAccessDeniedError, match="CONNECTION ADMIN, PROCESS"):
        it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=True)
    assert it.probe(value()) is Login.REFUSED


def test_an_account_that_is_gone_cannot_be_set_and_is_locked_enough(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    server.sql("DROP USER app_b")
    it = target(endpoint)
    assert it.apply(value("app_b", NEW), fence=FENCE) is Applied.REJECTED
    assert it.restore(value("app_b", NEW), fence=FENCE) is Restored.REFUSED
    assert it.lock(value("app_b", NEW), value(), fence=FENCE, end_sessions=True) is Locked.DONE


def test_a_server_that_judges_passwords_takes_no_hashes(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    server.sql("INSTALL SONAME 'simple_password_check'")
    try:
        it = target(endpoint)
        assert "judges passwords by simple_password_check and so takes no hashes" in it.preflight(value())
        assert it.apply(value("app_b", NEW), fence=FENCE) is Applied.REJECTED
        server.sql("SET GLOBAL strict_password_validation = OFF")
        assert it.preflight(value()) == ""
        assert it.apply(value("app_b", NEW), fence=FENCE) is Applied.ACCEPTED
    finally:
        server.sql("UNINSTALL SONAME 'simple_password_check'")


def test_a_replica_is_not_told_a_password(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    server.sql("SET GLOBAL read_only = ON")
    it = target(endpoint)
    assert it.preflight(value()).endswith("is read-only, as replicas are: name the server that takes changes")
    with pytest.raises(SecretsUnavailableError, match="read-only"):
        it.apply(value("app_b", NEW), fence=FENCE)
    with pytest.raises(SecretsUnavailableError, match="read-only"):
        it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=False)


# ── what a login comes to ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sql", "code"),
    [
        ("ALTER USER app_a IDENTIFIED BY 'other'", 1045),
        ("ALTER USER app_a ACCOUNT LOCK", 4151),
        ("ALTER USER app_a IDENTIFIED VIA unix_socket", 1698),
        ("ALTER USER app_a PASSWORD EXPIRE", 1820),
        ("DROP USER app_a", 1698),
        ("ALTER USER app_a REQUIRE X509", 1045),
    ],
)
def test_what_is_refused(server: MariaDB, endpoint: MariaDBEndpoint, sql: str, code: int) -> None:
    server.sql(sql)
    it = target(endpoint)
    assert it.probe(value()) is Login.REFUSED
    found = it.verify(value(), timeout=5)
    assert found.outcome is Outcome.FAILED
    assert f"refuses the password, or the account is not there or is locked ({code})" in found.detail


def test_an_expired_password_is_refused_where_the_server_hangs_up_on_it(
    server: MariaDB, endpoint: MariaDBEndpoint
) -> None:
    server.sql("ALTER USER app_a PASSWORD EXPIRE; SET GLOBAL disconnect_on_expired_password = ON")
    try:
        assert target(endpoint).probe(value()) is Login.REFUSED
    finally:
        server.sql("SET GLOBAL disconnect_on_expired_password = OFF")


@pytest.mark.parametrize(
    ("sql", "outcome"),
    [
        ("ALTER USER app_a WITH MAX_CONNECTIONS_PER_HOUR 1", Outcome.INCONCLUSIVE),  # 1226
        ("REVOKE ALL PRIVILEGES, GRANT OPTION FROM app_a", Outcome.FAILED),  # 1044: not into the database
        ("DROP DATABASE shop", Outcome.INCONCLUSIVE),  # 1049
    ],
)
def test_what_says_nothing_about_the_password(
    server: MariaDB, endpoint: MariaDBEndpoint, sql: str, outcome: Outcome
) -> None:
    server.sql(f"{sql}; FLUSH USER_RESOURCES")
    it = target(endpoint)
    with mariadb_session(replace(endpoint, database=""), "app_a", SecretStr(OLD), HERE, timeout=5):
        pass
    assert it.probe(value()) is Login.UNREACHABLE
    assert it.verify(value(), timeout=5).outcome is outcome


def test_too_many_connections_are_not_a_wrong_password(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    server.sql("SET GLOBAL max_connections = 10")
    try:
        with contextlib.ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(session(server, "app_a", OLD))
            # The administrator's CONNECTION ADMIN has one more.
            assert target(endpoint).probe(value()) is Login.UNREACHABLE
    finally:
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with contextlib.suppress(Exception):
                server.sql("SET GLOBAL max_connections = 151")
                break


def test_nobody_answers(endpoint: MariaDBEndpoint) -> None:
    it = target(replace(endpoint, port=closed_port()))
    assert it.probe(value()) is Login.UNREACHABLE
    assert it.apply(value("app_b", NEW), fence=FENCE) is Applied.UNREACHABLE
    assert it.restore(value("app_b", NEW), fence=FENCE) is Restored.UNREACHABLE
    assert it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=True) is Locked.UNREACHABLE
    assert it.sessions(value()) is None
    assert it.verify(value(), timeout=5).outcome is Outcome.INCONCLUSIVE
    with pytest.raises(SecretsUnavailableError):
        it.preflight(value())


def test_an_answer_that_is_lost_is_not_told_as_a_result(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    held = threading.Event()

    def hold() -> None:
        held.set()
        server.sql("LOCK TABLES mysql.global_priv WRITE; SELECT SLEEP(3)")

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait()
    deadline = time.monotonic() + 5
    while "SLEEP" not in str(server.sql("SHOW PROCESSLIST")) and time.monotonic() < deadline:
        time.sleep(0.02)
    try:
        began = time.monotonic()
        with pytest.raises(SecretsUnavailableError, match="does not answer in time"):
            target(endpoint, timeout=0.7).apply(value("app_b", NEW), fence=FENCE)
        assert time.monotonic() - began < 3
    finally:
        thread.join(20)


# ── peers that are none ──────────────────────────────────────────────────────────────────────────────────────────────

AUTHORITY = Authority()
SSL = 1 << 11
BASE = (1 << 9) | (1 << 15) | (1 << 19)  # protocol 4.1, a salt of 20 bytes, names of plug-ins


def at_peer(port: int, **more: Any) -> MariaDBEndpoint:
    return MariaDBEndpoint(**{"host": "127.0.0.1", "port": port, "ca_pem": AUTHORITY.pem, **more})


def packet(number: int, payload: bytes) -> bytes:
    return struct.pack("<I", len(payload))[:3] + bytes([number]) + payload


def greeting(flags: int = BASE | SSL) -> bytes:
    low, high = flags & 0xFFFF, flags >> 16
    start = b"\x0a5.5.5-10.11.0-MariaDB\0" + struct.pack("<I", 1) + b"12345678\0"
    more = struct.pack("<HBHHB", low, 45, 2, high, 21) + b"\0" * 10 + b"123456789012\0" + b"mysql_native_password\0"
    return packet(0, start + more)


def refusal(number: int, code: int) -> bytes:
    return packet(number, b"\xff" + struct.pack("<H", code) + b"#HY000" + f"no {OLD}".encode())


def speaks(*answers: bytes, every: float = 0.0) -> Callable[[socket.socket], None]:
    """A peer that has TLS, hears a login and says this."""

    def script(sock: socket.socket) -> None:
        sock.sendall(greeting())
        sock.recv(36)
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
        *((refusal(3, code), SecretsAuthenticationError, Login.REFUSED) for code in (1045, 1698, 1862, 4151)),
        *((refusal(3, code), SecretsUnavailableError, Login.UNREACHABLE) for code in (1040, 1053, 1129, 1130, 9999)),
        (refusal(3, 1044), SecretAccessDeniedError, Login.UNREACHABLE),
        (packet(9, b""), SecretsUnavailableError, Login.UNREACHABLE),
        (packet(3, b""), SecretsUnavailableError, Login.UNREACHABLE),
        (packet(3, b"\xfeno_such_plugin\0salt"), SecretsUnavailableError, Login.UNREACHABLE),
        (packet(3, b"\x00"), SecretsUnavailableError, Login.UNREACHABLE),
        (packet(3, b"\xfb/etc/passwd"), SecretsUnavailableError, Login.UNREACHABLE),
        (b"", SecretsUnavailableError, Login.UNREACHABLE),
    ],
)
def test_what_a_server_says_to_a_login(answer: bytes, kind: type[Exception], login: Login) -> None:
    with peer(speaks(answer)) as (port, _):
        at = at_peer(port)
        with pytest.raises(kind) as caught, mariadb_session(at, "app_a", SecretStr(OLD), HERE, timeout=1):
            pass
        assert OLD not in str(caught.value)
        assert caught.value.__cause__ is None
        assert target(at, timeout=1.0).probe(value()) is login


@pytest.mark.parametrize(
    ("answer", "every"),
    [(b"", 0.0), (b"x" * 200, 0.05), (greeting()[:4] + b"\x0a" * 200, 0.05)],
)
def test_who_says_nothing_or_too_little_is_not_waited_for(answer: bytes, every: float) -> None:
    def script(sock: socket.socket) -> None:
        for byte in answer:
            sock.sendall(bytes([byte]))
            time.sleep(every)
        sock.recv(1)

    with peer(script) as (port, _):
        began = time.monotonic()
        assert target(at_peer(port), timeout=0.5).probe(value()) is Login.UNREACHABLE
        assert time.monotonic() - began < 3


def test_who_shakes_hands_for_ever_is_not_waited_for() -> None:
    def script(sock: socket.socket) -> None:
        sock.sendall(greeting())
        sock.recv(36)
        for byte in b"\x16\x03\x03\x40\x00" + b"\x02" * 200:
            sock.sendall(bytes([byte]))
            time.sleep(0.05)

    with peer(script) as (port, _):
        began = time.monotonic()
        assert target(at_peer(port), timeout=0.5).probe(value()) is Login.UNREACHABLE
        assert time.monotonic() - began < 3


def test_who_never_stops_talking_is_not_listened_to() -> None:
    sent = []

    def script(sock: socket.socket) -> None:
        for number in itertools.count():
            sock.sendall(b"\xff\xff\xff" + bytes([number % 256]) + b"x" * 0xFFFFFF)
            sent.append(number)

    with peer(script) as (port, _):
        assert target(at_peer(port), timeout=5.0).probe(value()) is Login.UNREACHABLE
    assert len(sent) < 2, f"{MOST_BYTES} bytes are enough"


def test_a_server_that_has_no_tls_is_told_nothing() -> None:
    heard: list[bytes] = []

    def script(sock: socket.socket) -> None:
        sock.sendall(greeting(BASE))
        heard.append(sock.recv(4096))

    with peer(script) as (port, _):
        with (
            pytest.raises(SecretsTLSError, match="does not speak TLS: turn ssl on there"),
            mariadb_session(at_peer(port), "app_a", SecretStr(OLD), HERE, timeout=5),
        ):
            pass
        assert target(at_peer(port)).probe(value()) is Login.UNREACHABLE
    assert heard == [b"", b""]


def test_without_tls_only_where_it_is_allowed_expressly(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    seen: list[list[Any]] = []
    for at in (endpoint, replace(endpoint, allow_plain=True)):
        with mariadb_session(at, "app_a", SecretStr(OLD), HERE, timeout=5) as session:
            seen.append(session.run("SHOW STATUS LIKE 'Ssl_version'"))
    assert seen == [[("Ssl_version", "TLSv1.3")], [("Ssl_version", "")]]


@pytest.mark.parametrize(
    "more",
    [{"ca_pem": Authority("Stranger CA").pem}, {"ca_pem": None}, {"server_name": "db.example"}],
)
def test_whom_we_do_not_trust(server: MariaDB, endpoint: MariaDBEndpoint, more: dict[str, Any]) -> None:
    it = target(replace(endpoint, **more))
    assert it.probe(value()) is Login.UNREACHABLE
    found = it.verify(value(), timeout=5)
    assert found.outcome is Outcome.INCONCLUSIVE
    assert "not trusted, or is for another name" in found.detail
    assert it.apply(value("app_b", NEW), fence=FENCE) is Applied.UNREACHABLE


def test_the_name_of_a_certificate_may_be_given(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    assert target(replace(endpoint, server_name="localhost")).probe(value()) is Login.WORKS


def test_the_authority_of_the_entry_stands_before_that_of_the_schedule(
    server: MariaDB, endpoint: MariaDBEndpoint
) -> None:
    for at in (replace(endpoint, ca_pem=Authority("Stranger CA").pem), replace(endpoint, allow_plain=True)):
        assert target(at, admin=admin_at(endpoint, ca=endpoint.ca_pem)).probe(value()) is Login.WORKS
    stranger = admin_at(endpoint, ca=Authority("Stranger CA").pem)
    assert target(replace(endpoint, allow_plain=True), admin=stranger).probe(value()) is Login.UNREACHABLE


@pytest.mark.parametrize("more", [{"ca_pem": ""}, {"ca_pem": "no PEM"}, {"server_name": ".x"}, {"database": "a\0b"}])
def test_what_cannot_be_connected_to_is_a_mistake(
    server: MariaDB, endpoint: MariaDBEndpoint, more: dict[str, Any]
) -> None:
    at = replace(endpoint, **more)
    with pytest.raises(SecretsConfigurationError, match=r"give PEM|no name that a certificate can be for|zero bytes"):
        target(at, admin=admin_at(at)).probe(value())


def test_an_address_that_is_not_allowed_is_not_spoken_to() -> None:
    with peer(speaks(b"")) as (port, seen):
        it = target(at_peer(port), dialer=Dialer([EgressRule.of(cidr="10.0.0.0/8", ports=[3306])]))
        with pytest.raises(EgressRefusedError):
            it.probe(value())
        assert "egress.allow does not list" in it.preflight(value())
        assert seen == []


# ── verification ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_somebody_elses_login_verifies_nothing(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    check = MariaDBCheck(endpoint=endpoint, user="app_b")
    found = verify_mariadb(check, "app_a", SecretStr(OLD), HERE, timeout=5)
    assert (found.outcome, "another account's" in found.detail) == (Outcome.FAILED, True)
    found = target(endpoint).verify(value("root"), timeout=5)
    assert (found.outcome, "none of users (app_a, app_b)" in found.detail) == (Outcome.FAILED, True)


def test_an_account_with_a_more_special_host_is_another_one(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    server.sql(
        f"CREATE USER app_a@'127.0.0.1' IDENTIFIED VIA mysql_native_password USING '{native_hash(SecretStr(OLD))}';"
        "GRANT SELECT ON shop.* TO app_a@'127.0.0.1'"
    )
    found = target(endpoint).verify(value(), timeout=5)
    assert (found.outcome, "'app_a@%'" in found.detail) == (Outcome.FAILED, True)
    it = target(
        endpoint, account_host="127.0.0.1", users=["app_a"], strategy=Strategy.SINGLE_USER, accept_downtime=True
    )
    assert (it.preflight(value()), it.verify(value(), timeout=5).outcome) == ("", Outcome.PASSED)


@pytest.mark.parametrize(
    ("assertion", "outcome"),
    [
        ("SELECT COUNT(*) = 1 FROM orders WHERE id LIKE '7%'", Outcome.PASSED),
        ("SELECT COUNT(*) = 2 FROM orders", Outcome.FAILED),
        ("SELECT 1 FROM orders WHERE 0", Outcome.FAILED),
        ("SELECT NULL", Outcome.FAILED),
        ("SELECT COUNT(*) > 0 FROM mysql.global_priv", Outcome.FAILED),
        ("WITH o AS (SELECT * FROM orders) SELECT 1 FROM o; ", Outcome.PASSED),
        ("SELECT 1 -- of course", Outcome.PASSED),
        ("SELECT 1 UNION ALL SELECT 1", Outcome.INCONCLUSIVE),
        ("SELECT 1, 1", Outcome.INCONCLUSIVE),
        ("SELECT 1 FROM nothing", Outcome.INCONCLUSIVE),
        ("INSERT INTO orders VALUES (8) RETURNING 1", Outcome.INCONCLUSIVE),
        ("SELECT 1) = 1; COMMIT; INSERT INTO orders VALUES (8); SELECT (1", Outcome.INCONCLUSIVE),
        ("SET PASSWORD = PASSWORD('x')", Outcome.INCONCLUSIVE),
        ("SELECT SLEEP(9) = 0", Outcome.INCONCLUSIVE),
        ("SELECT 1), REPEAT('x', 2000000), (SELECT 1", Outcome.INCONCLUSIVE),
        ("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE orders", Outcome.INCONCLUSIVE),
        ("", Outcome.INCONCLUSIVE),
    ],
)
def test_an_assertion_has_to_be_true_and_writes_nothing(
    server: MariaDB, endpoint: MariaDBEndpoint, assertion: str, outcome: Outcome
) -> None:
    began = time.monotonic()
    found = target(endpoint, assertion=assertion).verify(value(), timeout=1)
    assert found.outcome is outcome, found
    assert time.monotonic() - began < 5
    assert server.sql("SELECT COUNT(*) FROM shop.orders") == [["1"]]


# ── preflight ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("sql", "said"),
    [
        ("DROP USER app_b", "there is no account 'app_b@%'"),
        ("DROP USER app_a, app_b", "there is no account 'app_a@%' and 'app_b@%'"),
        ("REVOKE SELECT (Host, User) ON mysql.global_priv FROM steward", "GRANT SELECT (Host, User) ON mysql.global"),
        ("REVOKE CREATE USER ON *.* FROM steward", "GRANT CREATE USER ON *.* TO it"),
        ("ALTER USER steward IDENTIFIED BY 'other'", "secret/admin/db: 127.0.0.1"),
        ("GRANT ALL PRIVILEGES ON *.* TO steward", ""),
    ],
)
def test_what_is_missing_is_named_with_the_step_to_take(
    server: MariaDB, endpoint: MariaDBEndpoint, sql: str, said: str
) -> None:
    server.sql(sql)
    found = target(endpoint).preflight(value())
    assert said in found
    assert (found == "") is (said == ""), found


def test_a_live_entry_of_somebody_else_is_told_the_step_to_take(endpoint: MariaDBEndpoint) -> None:
    found = target(endpoint).preflight(value("legacy"))
    assert "put the user that is in use into users" in found


def test_who_may_not_change_accounts_is_told_so(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    server.sql("REVOKE CREATE USER ON *.* FROM steward")
    with pytest.raises(SecretAccessDeniedError, match=r"\(1227\)"):
        target(endpoint).apply(value("app_b", NEW), fence=FENCE)
    server.sql("ALTER USER steward IDENTIFIED BY 'other'")
    with pytest.raises(SecretsAuthenticationError):
        target(endpoint).apply(value("app_b", NEW), fence=FENCE)


# ── where the administrator may be used ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "more",
    [{"host": "db.example"}, {"port": 1}, {"database": "other"}, {"allowed_users": frozenset({"app_a"})}],
)
def test_an_entry_for_something_else_is_not_used_for_any_connection(more: dict[str, Any]) -> None:
    with peer(speaks(b"")) as (port, seen):
        at = at_peer(port, database="shop")
        it = target(at, admin=admin_at(at, **more))
        assert "secret/admin/db" in it.preflight(value())
        calls: list[Callable[[], object]] = [
            lambda: it.probe(value()),
            lambda: it.verify(value(), timeout=1),
            lambda: it.apply(value("app_b", NEW), fence=FENCE),
            lambda: it.restore(value("app_b", NEW), fence=FENCE),
            lambda: it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=True),
        ]
        for call in calls:
            with pytest.raises(TargetNotAllowedError):
                call()
        assert seen == []


def test_the_entry_is_read_each_time_so_that_its_own_rotation_is_seen(
    server: MariaDB, endpoint: MariaDBEndpoint
) -> None:
    now = [STEWARD]
    it = target(endpoint, admin=lambda: admin_at(endpoint, password=SecretStr(now[0])))
    assert it.preflight(value()) == ""
    now[0] = "next"
    server.sql("ALTER USER steward IDENTIFIED BY 'next'")
    assert it.apply(value("app_b", NEW), fence=FENCE) is Applied.ACCEPTED


def test_an_entry_that_cannot_be_read_is_told_as_that(endpoint: MariaDBEndpoint) -> None:
    def sealed() -> AdminEntry:
        raise SecretsUnavailableError("the server is sealed", path="secret/admin/db")

    def refused() -> AdminEntry:
        raise SecretsAuthenticationError("the login was refused", path="secret/admin/db")

    assert target(endpoint, admin=sealed).apply(value("app_b", NEW), fence=FENCE) is Applied.UNREACHABLE
    for call in (
        lambda: target(endpoint, admin=sealed).preflight(value()),
        lambda: target(endpoint, admin=sealed).probe(value()),
        lambda: target(endpoint, admin=refused).preflight(value()),
        lambda: target(endpoint, admin=refused).probe(value()),
        lambda: target(endpoint, admin=refused).apply(value("app_b", NEW), fence=FENCE),
    ):
        with pytest.raises((SecretsUnavailableError, SecretsAuthenticationError), match="secret/admin/db"):
            call()


# ── what is sent ─────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_password_is_in_the_log_of_the_server(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    log = server.folder / "general.log"
    begins = log.stat().st_size
    it = target(endpoint)
    it.preflight(value())
    it.apply(value("app_b", NEW), fence=FENCE)
    it.verify(value("app_b", NEW), timeout=5)
    it.lock(value(), value("app_b", NEW), fence=FENCE, end_sessions=True)
    it.restore(value(), fence=FENCE)
    it.probe(value(secret="canary-wrong"))
    said = log.read_bytes()[begins:].decode() + server.log.read_text()
    assert "ALTER USER 'app_b'@'%' IDENTIFIED VIA mysql_native_password" in said, "statements are in the log"
    assert "canary" not in said


@pytest.mark.parametrize("secret", ["plain", "pass word", "äö€", "x" * 200, "a'b\\c$d%s", "\ud800"])
def test_a_hash_is_what_the_server_makes_of_the_password(
    server: MariaDB, endpoint: MariaDBEndpoint, secret: str
) -> None:
    it = target(endpoint)
    assert it.apply(value("app_b", secret), fence=FENCE) is Applied.ACCEPTED
    assert it.probe(value("app_b", secret)) is Login.WORKS
    if secret.isprintable():
        assert server.sql("SELECT PASSWORD('plain')") == [[native_hash(SecretStr("plain"))]]


def test_names_are_quoted(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    odd = "we'ird\\; --"
    server.sql(r"CREATE USER 'we\'ird\\; --'@'%'; GRANT SELECT ON shop.* TO 'we\'ird\\; --'@'%'")
    try:
        it = target(
            endpoint,
            users=[odd],
            strategy=Strategy.SINGLE_USER,
            accept_downtime=True,
            admin=admin_at(endpoint, allowed_users=frozenset({odd})),
        )
        assert it.preflight(value(odd)) == ""
        assert it.apply(value(odd, NEW), fence=FENCE) is Applied.ACCEPTED
        assert it.probe(value(odd, NEW)) is Login.WORKS
    finally:
        server.sql(r"DROP USER 'we\'ird\\; --'@'%'")


def test_a_statement_that_fails_is_told_by_its_code(server: MariaDB, endpoint: MariaDBEndpoint) -> None:
    with mariadb_session(replace(endpoint, database=""), "steward", SecretStr(STEWARD), HERE, timeout=5) as session:
        with pytest.raises(MariaDBStatementError, match=r"\(1064\)") as caught:
            session.run(f"ALTER USER app_a IDENTIFIED BYY '{NEW}'")
        assert NEW not in str(caught.value)
        server.sql("KILL CONNECTION USER steward")
        with pytest.raises(SecretsUnavailableError):
            session.run("SELECT 1")
