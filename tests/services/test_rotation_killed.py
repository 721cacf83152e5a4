"""A process that rotates is killed with SIGKILL at each of its effects; another one goes on, and nothing is lost.

Meanwhile clients read the live path and log in, all the time. What a login cost that came too late is told apart from
one that was refused: the old value works for the grace after a client has read it, and not for ever.
"""

import multiprocessing
import multiprocessing.context
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeAlias

import pytest
import redis

from elile.secrets.rotation.journal import TERMINAL, Strategy
from elile.secrets.rotation.journal_kv import PREFIX
from lab.redis import Redis
from tests.services.redis_servers import Servers, redis_servers
from tests.support.openbao import Bao, running
from tests.support.rotation_process import AFTER, BEFORE, GRACE, WITHIN, Job
from tests.support.rotation_targets import rotate

__all__ = ["redis_servers"]

SEED = 20261124
SAMPLE, FULL = 20, 300
USER = "killed"
Forks: TypeAlias = multiprocessing.context.ForkServerContext
VERDICTS = {"ok": "Done", "fails": "Aborted", "spoilt": "RolledBack"}
CLIENTS = 2
PATIENCE = 120.0


class Subject(Protocol):
    """A server with accounts, seen from outside: without the drivers of the rotation."""

    name: str
    strategy: Strategy

    @property
    def spec(self) -> dict[str, Any]:
        """What the process makes its target of."""

    @property
    def first(self) -> dict[str, str]:
        """The live entry at the beginning."""

    def logs_in(self, entry: Mapping[str, str]) -> bool:
        """Log in as an application does; False when refused."""

    def active(self) -> list[str]:
        """Names of the accounts that anybody can log in with, once for each password."""


@dataclass
class Clients:
    """Applications that read the live path and log in, in threads."""

    bao: Bao
    path: str
    subject: Subject
    logins: int = 0
    late: int = 0
    refused: list[tuple[float, int]] = field(default_factory=list)
    longest: float = 0.0
    errors: list[BaseException] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._run) for _ in range(CLIENTS)]

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(PATIENCE)

    def _run(self) -> None:
        down_since: float | None = None
        try:
            while not self._stop.wait(0.01):
                began = time.monotonic()
                read = self.bao.call("GET", f"secret/data/{self.path}")["data"]
                works = self.subject.logs_in(read["data"])
                ended = time.monotonic()
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
    assert process.exitcode == (0 if told is not None else -signal.SIGKILL)
    return told


@dataclass
class Campaign:
    """Rotations of one live path, one after the other, each with deaths on its way."""

    bao: Bao
    processes: Forks
    subject: Subject
    rng: random.Random
    deaths: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    rotations: int = 0

    def __post_init__(self) -> None:
        self.path = f"team/{self.subject.name}-{self.rng.randrange(10**9)}"
        self.bao.write(self.path, self.subject.first)
        self.clients = Clients(self.bao, self.path, self.subject)

    def job(self, verdict: str) -> Job:
        self.rotations += 1
        return Job(
            address=self.bao.address,
            path=self.path,
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
        """Die that many times, at effects that are drawn without repetition as long as there are others."""
        effects = self.measure()
        places = [
            (verdict, number, when)
            for verdict, names in effects.items()
            for number in range(len(names))
            for when in (BEFORE, AFTER, WITHIN)
        ]
        drawn = [place for _ in range(times // len(places) + 1) for place in self.rng.sample(places, len(places))]
        left = iter(drawn[:times])
        for verdict, number, when in left:
            job = self.job(verdict)
            self.die(job, effects[verdict][number], number, when)
            while self.rng.random() < 1 / 4 and (again := next(left, None)) is not None:
                # Once more, wherever the next process is by then.
                self.die(job, "again", again[1] % 8, again[2])
            assert run(self.processes, job) is not None
            self.check(verdict)

    def die(self, job: Job, name: str, number: int, when: str) -> None:
        killed = run(self.processes, replace(job, kill=(number, when), pause=self.rng.random() * 0.008))
        self.deaths[name if killed is None else "came to the end first"] += 1

    def check(self, verdict: str) -> None:
        """The rotation has ended as it should, once, with the one account that is live, and no value is left."""
        where = f"secret/data/{PREFIX}/{self.path}"
        journal = self.bao.call("GET", where)["data"]
        entry = journal["data"]
        assert entry["phase"] in TERMINAL, entry["phase"]
        assert (entry["wiped"], entry["pending"], entry["previous"]) == (True, None, None)
        occurrences = [past[1] for past in entry["history"]]
        assert len(occurrences) == len(set(occurrences))
        assert occurrences[-1] == f"{self.rotations}"
        assert entry["phase"] == VERDICTS[verdict], (verdict, entry["phase"], entry["reason"])
        versions = self.bao.call("GET", f"secret/metadata/{PREFIX}/{self.path}")["data"]["versions"]
        readable = [n for n, v in versions.items() if not v["destroyed"]]
        last = journal["metadata"]["version"]
        assert all(int(number) >= last - 1 for number in readable), readable
        live = self.bao.call("GET", f"secret/data/{self.path}")["data"]["data"]
        assert self.subject.logs_in(live)
        assert self.subject.active() == [live["username"]]
        self.ends[entry["phase"]] += 1


def campaign(subject: Subject, bao: Bao, processes: Forks, times: int, seed: int) -> None:
    """Kill and resume, and print what came of it."""
    made = Campaign(bao, processes, subject, random.Random(seed))  # noqa: S311 - repeatable
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


# ── Redis ────────────────────────────────────────────────────────────────────────────────────────────────────────────


class RedisSubject:
    """A user of a server that speaks TLS only."""

    name = "redis"
    strategy = Strategy.DUAL_PASSWORD

    def __init__(self, server: Redis, ca: str) -> None:
        self._server = server
        self._ca = ca
        server.run("ACL", "SETUSER", USER, "on", ">first-password", "~*", "+@all", "-@dangerous", "+acl|whoami")

    @property
    def spec(self) -> dict[str, Any]:
        return {
            "kind": "redis",
            "strategy": self.strategy.value,
            "port": self._server.port,
            "admin": self._server.password,
            "ca": self._ca,
            "user": USER,
        }

    @property
    def first(self) -> dict[str, str]:
        return {"username": USER, "password": "first-password"}

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


@pytest.fixture(scope="module")
def redis_subject(redis_servers: Servers) -> RedisSubject:
    return RedisSubject(redis_servers.nodes[0], redis_servers.ca_pem)


def test_redis_survives_kills(redis_subject: RedisSubject, bao: Bao, processes: Forks) -> None:
    campaign(redis_subject, bao, processes, SAMPLE, SEED)


@pytest.mark.chaos
def test_redis_survives_many_kills(redis_subject: RedisSubject, bao: Bao, processes: Forks) -> None:
    campaign(redis_subject, bao, processes, FULL, SEED)
