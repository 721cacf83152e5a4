"""Rotations under faults: rounds of runs, in each of which one part is killed, frozen or restarted at some moment.

Whatever happens, each run ends as it was asked for or goes back, each value that is live logs in, no run is done twice
(the versions of the live path are counted), and the journal of what is over holds no value.
"""

import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.chaos.support.parts import Fault, Part, Parts
from tests.e2e.support.cluster import eventually
from tests.e2e.support.databases import Pair, Rotated
from tests.e2e.support.rotating import Rotating
from tests.e2e.support.tenant import Tenant, pod_manifest

CLIENT = Path(__file__).parents[1] / "e2e" / "support" / "client.py"
# Five times what a dead leader, the way back into a run, and the run itself take.
OVER_WITHIN = 240.0
FALSE = {"name": "no", "postgresql": {"assertion": "SELECT false"}}
# What becomes of a run, and how many versions of the live path it writes.
ENDS = {"Succeeded": 1, "RolledBack": 2, "Aborted": 0}
FAULTS = (
    (Part.OPERATOR, Fault.KILL, 0.0),
    (Part.OPERATOR, Fault.KILL, 0.0),
    (Part.OPENBAO, Fault.KILL, 0.0),
    (Part.OPERATOR, Fault.RESTART, 0.0),
    (Part.API_SERVER, Fault.KILL, 0.0),
    (Part.OPERATOR, Fault.FREEZE, 20.0),
)


@dataclass
class Team:
    """One tenant with its pair of users. `wrong` is the stage in which its hook fails, none for a run that succeeds."""

    rotating: Rotating
    pair: Pair
    wrong: str | None
    runs: list[str] = field(default_factory=list)

    @property
    def namespace(self) -> str:
        return self.rotating.namespace


@dataclass
class Report:
    """What was done, and what was found."""

    seed: int
    runs: int = 0
    results: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    moments: Counter[str] = field(default_factory=Counter)  # phase and intent of the journals when a fault came
    violations: list[str] = field(default_factory=list)
    logins: int = 0
    failed: int = 0
    seconds: float = 0.0

    def lines(self) -> list[str]:
        """The report, as it is printed and kept."""
        return [
            f"rotations under faults, seed {self.seed}: {self.runs} runs, {sum(self.faults.values())} faults, "
            f"{self.seconds:.0f} s, violations: {len(self.violations)}",
            f"  results: {_counted(self.results)}",
            f"  faults: {_counted(self.faults)}",
            f"  journals when a fault came: {_counted(self.moments)}",
            f"  logins of client pods: {self.logins}, failed: {self.failed}",
            *(f"  VIOLATION {line}" for line in self.violations),
        ]


def _counted(found: Counter[str]) -> str:
    return ", ".join(f"{name} {n}" for name, n in sorted(found.items()))


def teams_of(database: Rotated, new_tenant: Callable[[], Tenant], count: int) -> list[Team]:
    """Make tenants; of eight, two have a hook that fails: before the value is live, and after."""
    made = []
    for i in range(count):
        rotating = Rotating(new_tenant())
        wrong = {5: "Pending", 6: "AfterPromote"}.get(i % 8)
        team = Team(rotating, database.pair(rotating.namespace.replace("-", "_")), wrong)
        prepare(team, database)
        made.append(team)
    return made


def prepare(team: Team, database: Rotated) -> None:
    rotating, users = team.rotating, team.pair.users
    folder = rotating.namespace
    rotating.tenant.put("db", username=users[0], password=team.pair.password)
    rotating.cluster.put(f"{folder}/admin", **database.admin_entry(*users))
    rotating.tenant.want("db", consumers={"proof": {"elapsed": "1s"}})
    rotating.tenant.wait("db", "Synced")
    hooks: list[dict[str, Any]] = [{"name": "login", "postgresql": {}}]
    if team.wrong:
        hooks.append({**FALSE, "stage": team.wrong})
    rotating.schedule(
        "db",
        "db",
        fields={"username": "username", "value": "password"},
        apply=database.target(team.pair, f"{folder}/admin"),
        gracePeriod="2s",
        verify=hooks,
    )


class Clients:
    """Pods of some of the teams that log in ten times a second by their mounted files."""

    def __init__(self, teams: list[Team], database: Rotated) -> None:
        self._teams = teams
        lab = teams[0].rotating.cluster.lab
        assert lab is not None
        for team in teams:
            body = pod_manifest(team.namespace, "client", "db")
            body["spec"]["containers"][0] |= {
                "image": lab.client_image(echo=lambda _: None),
                "command": ["python", "-c", CLIENT.read_text(), database.host, str(database.port)],
            }
            team.rotating.cluster.apply(body)
        for team in teams:
            eventually(f"the client of {team.namespace} logs in", lambda t=team: self.told(t).get("logins"), within=90)

    @staticmethod
    def told(team: Team) -> dict[str, Any]:
        """Return what a client said last."""
        try:
            line = team.rotating.cluster.last_line("client", team.namespace)
        except AssertionError:
            return {}
        told: dict[str, Any] = json.loads(line) if line else {}
        return told

    def add_up(self, report: Report) -> None:
        """Add what all of them have seen."""
        for team in self._teams:
            told = self.told(team)
            report.logins += told.get("logins", 0)
            report.failed += told.get("failed", 0)
            report.violations += [f"{team.namespace}: login failed at {line}" for line in told.get("failures", [])]


class Rounds:
    """Runs the rounds of one seed."""

    def __init__(self, parts: Parts, teams: list[Team], database: Rotated, *, seed: int, say: Callable[[str], None]):
        self._parts = parts
        self._teams = teams
        self._database = database
        self._say = say
        self._rand = random.Random(seed)  # noqa: S311 - it chooses moments
        self.report = Report(seed)

    def run(self, count: int) -> Report:
        """Run so many rounds; each begins when the last is over."""
        began = time.monotonic()
        for number in range(count):
            self._round(number)
        for team in self._teams:
            self._check(team)
        self.report.seconds = time.monotonic() - began
        return self.report

    def _round(self, number: int) -> None:
        part, fault, seconds = FAULTS[number % len(FAULTS)]
        for team in self._teams:
            team.runs.append(team.rotating.ask(f"r{number}", "db"))
        delay = self._rand.uniform(0.0, 6.0)
        time.sleep(delay)
        for team in self._teams:
            journal = team.rotating.journal("db") or {}
            self.report.moments[f"{journal.get('phase')}/{journal.get('intent') or '-'}"] += 1
        self._parts.hit(part, fault, seconds)
        self._parts.wait_healthy()
        self.report.faults[f"{part} {fault}"] += 1
        results = Counter(self._end(team, f"r{number}") for team in self._teams)
        self.report.runs += len(self._teams)
        self.report.results += results
        self._say(f"round {number}: {part} {fault} after {delay:.1f} s: {_counted(results)}")
        self._parts.wait_led()

    def _end(self, team: Team, name: str) -> str:
        wanted = {"Pending": "Aborted", "AfterPromote": "RolledBack", None: "Succeeded"}[team.wrong]
        try:
            status = eventually(
                f"Rotation {name} of {team.namespace} is over",
                lambda: (s := team.rotating.status(name)).get("result") and s,
                within=OVER_WITHIN,
                every=0.5,
            )
        except AssertionError:
            self.report.violations.append(f"{team.namespace}/{name} does not end: {team.rotating.status(name)}")
            return "never"
        result = str(status["result"])
        if result != wanted:
            # A window closed, or a target that was away for too long, may end a run; nothing here does either.
            text = f"{team.namespace}/{name} is {result}, not {wanted}: {status.get('reason')}: {status.get('message')}"
            self.report.violations.append(text)
        return result

    def _check(self, team: Team) -> None:
        """Compare what is there with what the runs say that they did."""
        where, say = team.namespace, self.report.violations.append
        results = [team.rotating.status(name).get("result") for name in team.runs]
        live = team.rotating.live("db")
        wanted = 1 + sum(ENDS.get(str(result), 0) for result in results)
        if live["version"] != wanted:
            say(f"{where}: version {live['version']} is live, and {results} make {wanted}")
        if not self._database.logs_in(live["username"], live["password"]):
            say(f"{where}: what is live does not log in")
        journal = team.rotating.journal("db") or {}
        if any(journal.get(name) is not None for name in ("pending", "previous", "distributed")):
            say(f"{where}: the journal holds values in phase {journal.get('phase')}")
        ids = [past[0] for past in journal.get("history", [])]
        if len(ids) != len(set(ids)) or len(ids) != min(len(team.runs), 50):
            say(
                f"{where}: the journal tells of {len(ids)} runs, {len(set(ids))} of them different, of {len(team.runs)}"
            )
