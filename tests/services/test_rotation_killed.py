"""A process that rotates is killed with SIGKILL at each of its effects; another one goes on, and nothing is lost.

Meanwhile clients read the live path, and log in with it a moment later, all the time. A login that came too late is
told apart from one that was refused: the old value works for the grace after a client has read it, and not for ever. A
value that is taken back has no grace: it works until every client is seen with what is live again.
"""

import multiprocessing
import multiprocessing.context
import random
import signal
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import psycopg
import pymysql
import pytest
import redis

from elile.secrets.rotation.journal import TERMINAL, Strategy
from elile.secrets.rotation.journal_kv import PREFIX
from elile.secrets.rotation.moves import MAX_PROBES
from lab.mariadb import MariaDB
from lab.postgresql import PostgreSQL
from lab.redis import Redis
from tests.services.redis_servers import redis_servers
from tests.services.servers import Secured
from tests.support.openbao import Bao, running
from tests.support.rotation_process import AFTER, BEFORE, GRACE, WITHIN, Job
from tests.support.rotation_targets import rotate

__all__ = ["redis_servers"]

SEED = 20261124
SAMPLE, FULL = 20, 300
WHEN = (BEFORE, AFTER, WITHIN)
USER = "killed"
Forks: TypeAlias = multiprocessing.context.ForkServerContext
VERDICTS = {"ok": "Done", "fails": "Aborted", "spoilt": "RolledBack"}
CLIENTS = 2
HESITATION = GRACE.total_seconds() / 5  # seconds between what a client reads and its login
PATIENCE = 120.0


class Subject(Protocol):
    """A server with accounts, seen from outside: without the drivers of the rotation."""

    name: str
    strategy: Strategy
    spec: dict[str, Any]  # what the process makes its target of
    first: dict[str, str]  # the live entry at the beginning

    def logs_in(self, entry: Mapping[str, str]) -> bool:
        """Log in as an application does; False when refused."""

    def active(self) -> list[str]:
        """Names of the accounts that anybody can log in with, once for each password."""


@dataclass
class Clients:
    """Applications that read the live path and log in a moment later, in threads. `folder`: what each was seen with."""

    bao: Bao
    path: str
    subject: Subject
    folder: Path
    logins: int = 0
    late: int = 0
    refused: list[tuple[float, int]] = field(default_factory=list)
    longest: float = 0.0
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run, args=(number,)) for number in range(CLIENTS)]
        for number in range(CLIENTS):
            self._tell(number, 0)

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _tell(self, number: int, version: int) -> None:
        # At once: half a number would be a smaller one.
        being_written = self.folder.with_name(f"{self.folder.name}-{number}")
        being_written.write_text(f"{version}")
        being_written.replace(self.folder / f"{number}")

    def _run(self, number: int) -> None:
        rng = random.Random(number)  # noqa: S311 - of how long it hesitates
        down_since: float | None = None
        try:
            while not self._stop.wait(0.01):
                began = time.monotonic()
                read = self.bao.call("GET", f"secret/data/{self.path}")["data"]
                time.sleep(rng.random() * HESITATION)
                works = self.subject.logs_in(read["data"])
                ended = time.monotonic()
                self._tell(number, read["metadata"]["version"])
                with self._lock:
                    self.logins += 1
                    if works:
                        self.longest = max(self.longest, ended - (down_since if down_since is not None else ended))
                        down_since = None
                    elif ended - began > GRACE.total_seconds():
                        self.late += 1
                    else:
                        down_since = began if down_since is None else down_since
                        self.refused.append((ended, read["metadata"]["version"]))
        except BaseException as error:
            self.errors.append(error)


@pytest.fixture(scope="module")
def bao(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bao]:
    with running(tmp_path_factory.mktemp("bao")) as server:
        yield server


@pytest.fixture(scope="module")
def processes() -> Forks:
    context = multiprocessing.get_context("forkserver")
    # Each process begins as a fork of one that has everything loaded already.
    context.set_forkserver_preload(["tests.support.rotation_targets"])
    return context


def run(processes: Forks, job: Job) -> tuple[list[str], str, str] | None:
    """Return what the process told, None when it was killed."""
    ours, theirs = processes.Pipe(duplex=False)
    process = processes.Process(target=rotate, args=(job, theirs))
    process.start()
    theirs.close()
    told: tuple[list[str], str, str] | None = None
    try:
        if ours.poll(PATIENCE):
            told = ours.recv()
    except EOFError:
        assert job.kill is not None
    finally:
        ours.close()
        process.join(10)
    # A death within an effect may come a moment later, when all was done and told.
    late = job.kill is not None and job.kill[1] == WITHIN
    expected = {0, -signal.SIGKILL} if told is not None and late else {0} if told is not None else {-signal.SIGKILL}
    assert process.exitcode in expected
    return told


@dataclass
class Campaign:
    """Rotations of one live path, one after the other, each with deaths on its way."""

    bao: Bao
    processes: Forks
    subject: Subject
    rng: random.Random
    folder: Path
    deaths: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rotations: int = 0

    def __post_init__(self) -> None:
        self.path = f"team/{self.subject.name}-{self.rng.randrange(10**9)}"
        self.bao.write(self.path, self.subject.first)
        self.clients = Clients(self.bao, self.path, self.subject, self.folder)

    def job(self, verdict: str) -> Job:
        self.rotations += 1
        return Job(
            address=self.bao.address,
            path=self.path,
            readers=str(self.folder),
            spec=self.subject.spec,
            occurrence=f"{self.rotations}",
            verdict=verdict,
        )

    def measure(self) -> dict[str, list[str]]:
        """Rotate undisturbed, and return the names of the effects, in their order."""
        found = {}
        for verdict in VERDICTS:
            told = run(self.processes, self.job(verdict))
            assert told is not None
            found[verdict] = told[0]
            self.check(verdict)
        return found

    def kill(self, times: int) -> None:
        """Have that many processes die, at effects of every name in turn."""
        effects = self.measure()
        places = self.places(effects)
        while self.deaths.total() < times:
            verdict, number, when = next(places)
            job = self.job(verdict)
            before = self.deaths.total()
            self.die(job, effects[verdict][number], number, when)
            while self.rng.random() < 1 / 4 and self.deaths.total() < times:
                # Once more, wherever the next process is by then.
                self.die(job, "again", self.rng.randrange(8), self.rng.choice(WHEN))
            assert run(self.processes, job) is not None
            self.check(verdict, deaths=self.deaths.total() - before)

    def places(self, effects: Mapping[str, list[str]]) -> Iterator[tuple[str, int, str]]:
        """Draw where to die, without end: each kind of effect comes equally often, whatever how often it is made."""
        kinds: dict[tuple[str, str], list[tuple[str, int, str]]] = {}
        for verdict, names in effects.items():
            for number, name in enumerate(names):
                kinds.setdefault((verdict, name), []).extend((verdict, number, when) for when in WHEN)
        while True:
            for kind in self.rng.sample(sorted(kinds), len(kinds)):
                yield self.rng.choice(kinds[kind])

    def die(self, job: Job, name: str, number: int, when: str) -> None:
        killed = run(self.processes, replace(job, kill=(number, when), pause=self.rng.random() * 0.008))
        if killed is None:
            self.deaths[f"{name} {when}" if name != "again" else name] += 1

    def check(self, verdict: str, *, deaths: int = 0) -> None:
        """The rotation has ended as it should, once, with the one account that is live, and no value is left.

        A probe is counted before it is sent. So one whose process died at each of three probes is taken back, since a
        fourth wrong password might lock the account.
        """
        assert not self.clients.errors, self.clients.errors
        where = f"secret/data/{PREFIX}/{self.path}"
        journal = self.bao.call("GET", where)["data"]
        entry = journal["data"]
        assert entry["phase"] in TERMINAL, entry["phase"]
        assert (entry["wiped"], entry["pending"], entry["previous"]) == (True, None, None)
        occurrences = [past[1] for past in entry["history"]]
        assert len(occurrences) == len(set(occurrences))
        assert occurrences[-1] == f"{self.rotations}"
        spent = deaths >= MAX_PROBES and (entry["phase"], entry["reason"]) == ("Aborted", "ProbesExhausted")
        assert spent or entry["phase"] == VERDICTS[verdict], (verdict, entry["phase"], entry["reason"])
        versions = self.bao.call("GET", f"secret/metadata/{PREFIX}/{self.path}")["data"]["versions"]
        readable = [n for n, v in versions.items() if not v["destroyed"]]
        last = journal["metadata"]["version"]
        assert all(int(number) >= last - 1 for number in readable), readable
        live = self.bao.call("GET", f"secret/data/{self.path}")["data"]["data"]
        assert self.subject.logs_in(live)
        assert self.subject.active() == [live["username"]]
        self.ends[f"{entry['phase']} after {deaths} deaths" if spent else entry["phase"]] += 1


def campaign(subject: Subject, bao: Bao, processes: Forks, folder: Path, times: int, seed: int) -> None:
    """Kill and resume, and print what came of it."""
    made = Campaign(bao, processes, subject, random.Random(seed), folder)  # noqa: S311 - repeatable
    began = time.monotonic()
    with made.clients as clients:
        made.kill(times)
    print(  # noqa: T201 - for the log that is kept
        f"\n{subject.name}: {made.deaths.total()} kills, {made.rotations} rotations, {time.monotonic() - began:.0f} s, "
        f"ends {dict(made.ends)}; {clients.logins} logins, {len(clients.refused)} refused, {clients.late} too late, "
        f"longest without one {clients.longest * 1000:.0f} ms\n  killed at {dict(made.deaths)}"
    )
    assert not clients.errors, clients.errors
    assert clients.logins > times
    if subject.strategy is not Strategy.SINGLE_USER:
        assert clients.refused == []


# ── PostgreSQL ───────────────────────────────────────────────────────────────────────────────────────────────────────


class PostgreSQLSubject:
    """Users `<prefix>_a` and `<prefix>_b` that act as one owner, or `<prefix>_a` alone."""

    def __init__(self, secured: Secured[PostgreSQL], strategy: Strategy) -> None:
        self.strategy = strategy
        self.name = f"postgresql-{strategy.lower()}"
        self._server, self._ca = secured.server, secured.ca_pem
        prefix = f"killed_{strategy.lower()}"
        self._users = [f"{prefix}_a", f"{prefix}_b"] if strategy is Strategy.DUAL_USER else [f"{prefix}_a"]
        owner = f"{prefix}_owner"
        self._server.sql(
            f"CREATE ROLE {prefix}_steward LOGIN CREATEROLE PASSWORD 'steward'; CREATE ROLE {owner} NOLOGIN;"
            f"GRANT CONNECT ON DATABASE postgres TO {prefix}_steward, {owner};"
        )
        for user in self._users:
            login = "LOGIN PASSWORD 'first-password'" if user == self._users[0] else "NOLOGIN"
            self._server.sql(f"CREATE ROLE {user} {login}; GRANT CONNECT ON DATABASE postgres TO {user}")
            if strategy is Strategy.DUAL_USER:
                self._server.sql(f"GRANT {owner} TO {user}; ALTER ROLE {user} SET role TO {owner}")
        self.spec = {
            "kind": "postgresql",
            "strategy": strategy.value,
            "port": self._server.port,
            "steward": f"{prefix}_steward",
            "admin": "steward",
            "ca": self._ca,
            "users": self._users,
        }
        self.first = {"username": self._users[0], "password": "first-password"}

    def logs_in(self, entry: Mapping[str, str]) -> bool:
        where = {"host": "127.0.0.1", "port": self._server.port, "dbname": "postgres", "connect_timeout": 10}
        try:
            psycopg.connect(**where, user=entry["username"], password=entry["password"]).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error) or "not permitted to log in" in str(error):
                return False
            raise
        return True

    def active(self) -> list[str]:
        names = ", ".join(f"'{user}'" for user in self._users)
        rows = self._server.sql(
            f"SELECT rolname FROM pg_authid WHERE rolcanlogin AND rolpassword IS NOT NULL AND rolname IN ({names})"  # noqa: S608 - our own names
        )
        return [row[0] for row in rows]


# ── MariaDB ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class MariaDBSubject:
    """Users `<prefix>_a` and `<prefix>_b`, or `<prefix>_a` alone."""

    def __init__(self, secured: Secured[MariaDB], strategy: Strategy) -> None:
        self.strategy = strategy
        self.name = f"mariadb-{strategy.lower()}"
        self._server, self._ca = secured.server, secured.ca_pem
        prefix = f"killed_{strategy.lower()}"
        self._users = [f"{prefix}_a", f"{prefix}_b"] if strategy is Strategy.DUAL_USER else [f"{prefix}_a"]
        self._server.sql(
            f"CREATE USER {prefix}_steward IDENTIFIED BY 'steward'; GRANT CREATE USER, CONNECTION ADMIN ON *.* TO "
            f"{prefix}_steward; GRANT SELECT ON mysql.* TO {prefix}_steward"
        )
        for user in self._users:
            locked = "" if user == self._users[0] else " ACCOUNT LOCK"
            self._server.sql(f"CREATE USER {user} IDENTIFIED BY 'first-password'{locked}")
        self.spec = {
            "kind": "mariadb",
            "strategy": strategy.value,
            "port": self._server.port,
            "steward": f"{prefix}_steward",
            "admin": "steward",
            "ca": self._ca,
            "users": self._users,
        }
        self.first = {"username": self._users[0], "password": "first-password"}

    def logs_in(self, entry: Mapping[str, str]) -> bool:
        context = ssl.create_default_context(cadata=self._ca)
        try:
            pymysql.connect(
                host="127.0.0.1",
                port=self._server.port,
                user=entry["username"],
                password=entry["password"],
                ssl=context,
                connect_timeout=10,
            ).close()
        except pymysql.OperationalError as error:
            if error.args[0] in (1045, 4151):  # wrong password, account locked
                return False
            raise
        return True

    def active(self) -> list[str]:
        names = ", ".join(f"'{user}'" for user in self._users)
        rows = self._server.sql(
            "SELECT User FROM mysql.global_priv WHERE JSON_VALUE(Priv, '$.account_locked') IS NOT TRUE "  # noqa: S608 - our own names
            f"AND User IN ({names})"
        )
        return [row[0] for row in rows]


# ── Redis ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RedisSubject:
    """A user of a server that speaks TLS only."""

    name = "redis"
    strategy = Strategy.DUAL_PASSWORD

    def __init__(self, server: Redis, ca: str) -> None:
        self._server = server
        self._ca = ca
        server.run("ACL", "SETUSER", USER, "on", ">first-password", "~*", "+@all", "-@dangerous", "+acl|whoami")

        self.spec = {
            "kind": "redis",
            "strategy": self.strategy.value,
            "port": server.port,
            "admin": server.password,
            "ca": ca,
            "user": USER,
        }
        self.first = {"username": USER, "password": "first-password"}

    def logs_in(self, entry: Mapping[str, str]) -> bool:
        client = redis.Redis(
            host=self._server.host,
            port=self._server.port,
            username=entry["username"],
            password=entry["password"],
            ssl=True,
            ssl_ca_data=self._ca,
        )
        try:
            return bool(client.ping())
        except redis.AuthenticationError:
            return False
        finally:
            client.close()

    def active(self) -> list[str]:
        told = self._server.run("ACL", "GETUSER", USER).splitlines()
        passwords = told[told.index("passwords") + 1 : told.index("commands")]
        return [USER] * len([line for line in passwords if line.strip()])


# ── all of them ──────────────────────────────────────────────────────────────────────────────────────────────────────

SUBJECTS: dict[str, Callable[[pytest.FixtureRequest], Subject]] = {
    "postgresql": lambda request: PostgreSQLSubject(request.getfixturevalue("postgresql_tls"), Strategy.DUAL_USER),
    "postgresql alone": lambda request: PostgreSQLSubject(
        request.getfixturevalue("postgresql_tls"), Strategy.SINGLE_USER
    ),
    "mariadb": lambda request: MariaDBSubject(request.getfixturevalue("mariadb"), Strategy.DUAL_USER),
    "mariadb alone": lambda request: MariaDBSubject(request.getfixturevalue("mariadb"), Strategy.SINGLE_USER),
    "redis": lambda request: RedisSubject(
        request.getfixturevalue("redis_servers").nodes[0], request.getfixturevalue("redis_servers").ca_pem
    ),
}


@pytest.mark.parametrize("name", SUBJECTS)
def test_nothing_is_lost_where_a_process_is_killed(
    name: str, request: pytest.FixtureRequest, bao: Bao, processes: Forks, tmp_path: Path
) -> None:
    times = SAMPLE // 2 if name.endswith("alone") else SAMPLE  # the two of a server are one target
    campaign(SUBJECTS[name](request), bao, processes, tmp_path, times, SEED + list(SUBJECTS).index(name))


@pytest.mark.chaos
@pytest.mark.parametrize("name", SUBJECTS)
def test_nothing_is_lost_where_processes_are_killed_again_and_again(
    name: str, request: pytest.FixtureRequest, bao: Bao, processes: Forks, tmp_path: Path
) -> None:
    campaign(SUBJECTS[name](request), bao, processes, tmp_path, FULL, SEED + list(SUBJECTS).index(name))
