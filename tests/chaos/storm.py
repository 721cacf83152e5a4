"""The storm: faults on every part while values, specs and Secrets change, and after each the question what is there.

One seed decides which parts are hit, how, when, and what the load does; how the processes interleave is the machine's
affair. A round is one or more faults at once, then calm: the load pauses, and everything must become exactly what the
last specs and the last values say.
"""

import random
import statistics
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tests.chaos.support.clients import Api, Bao, UncertainError
from tests.chaos.support.expect import differences
from tests.chaos.support.history import History, Version
from tests.chaos.support.load import EDITED, FOREIGN, Load, Team
from tests.chaos.support.parts import Fault, Part, Parts

# Five times what the slowest way back takes: a Lease runs out in 15 s, and the next leader reads everything.
CALM_WITHIN = 100.0
# An operator that is killed is back when its Lease is over: those are fewer, and meanwhile others are hit, or 200 kills
# would take an hour.
MEANWHILE = 4
KILLED = (
    *(Part.API_SERVER, Part.OPENBAO, Part.ETCD, Part.OPERATOR),
    *(Part.API_SERVER, Part.OPENBAO, Part.ETCD, Part.API_SERVER),
)


@dataclass(frozen=True, slots=True)
class Hit:
    """One fault: `at` seconds after its round began; a freeze lasts `seconds`."""

    part: Part
    fault: Fault
    at: float = 0.0
    seconds: float = 0.0

    def __str__(self) -> str:
        lasts = f" for {self.seconds:.0f} s" if self.fault is Fault.FREEZE else ""
        return f"{self.part} {self.fault}{lasts} at {self.at:.1f} s"


@dataclass(frozen=True, slots=True)
class Counts:
    """How much is to be done in all."""

    kills: int
    freezes: int
    restarts: int
    longest_freeze: float = 20.0


def plan(seed: int, counts: Counts) -> Iterator[list[Hit]]:
    """Yield the rounds; every part has its share of every fault."""
    rand = random.Random(seed)  # noqa: S311
    hits = [
        *(Hit(KILLED[i % len(KILLED)], Fault.KILL) for i in range(counts.kills)),
        *_shares(rand, Fault.FREEZE, counts.freezes, counts.longest_freeze),
        *_shares(rand, Fault.RESTART, counts.restarts),
    ]
    rand.shuffle(hits)
    others = [h for h in hits if h.part is not Part.OPERATOR]
    rounds = []
    for hit in [h for h in hits if h.part is Part.OPERATOR]:
        beside = [others.pop() for _ in range(min(rand.randint(1, MEANWHILE), len(others)))]
        rounds.append([hit, *(_later(rand, h, 12.0) for h in beside)])
    while others:
        many = min(rand.choice((1, 1, 2, 3)), len(others))
        rounds.append([_later(rand, others.pop(), 2.0) for _ in range(many)])
    rand.shuffle(rounds)
    yield from rounds


def _shares(rand: random.Random, fault: Fault, count: int, longest: float = 0.0) -> Iterator[Hit]:
    parts = list(Part)
    for i in range(count):
        yield Hit(parts[i % len(parts)], fault, seconds=rand.uniform(min(5.0, longest), longest))


def _later(rand: random.Random, hit: Hit, within: float) -> Hit:
    return Hit(hit.part, hit.fault, rand.uniform(0, within), hit.seconds)


@dataclass
class Report:
    """What was done, what was found, how long it took."""

    seed: int
    hits: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    calm: dict[str, list[float]] = field(default_factory=dict)  # seconds from "all runs again" to "all is right"
    rounds: int = 0
    seconds: float = 0.0

    @property
    def kills(self) -> int:
        return sum(n for what, n in self.hits.items() if what.endswith(f" {Fault.KILL}"))

    def recovery(self) -> list[str]:
        """One line for each kind of round, and one for all."""
        everything = [s for found in self.calm.values() for s in found]
        lines = [f"  {what:34} {_spread(found)}" for what, found in sorted(self.calm.items())]
        return [*lines, f"  {'all rounds':34} {_spread(everything)}"]


def _spread(values: list[float]) -> str:
    ordered = sorted(values)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return f"n {len(ordered):3}  p50 {statistics.median(ordered):5.2f} s  p99 {p99:5.2f} s  max {ordered[-1]:5.2f} s"


class Storm:
    """Runs the rounds of one seed on parts that already run."""

    def __init__(self, parts: Parts, teams: list[Team], *, seed: int, say: Callable[[str], None]) -> None:
        self.report = Report(seed)
        self._parts = parts
        self._teams = teams
        self._say = say
        self._load = Load(parts.lab, teams, seed)
        self._api, self._bao = Api(parts.lab, 10), Bao(parts.lab)

    def run(self, rounds: Iterator[list[Hit]], *, within: float) -> Report:
        """Run until the rounds are over, or until `within` seconds are: a storm ends by itself."""
        began = time.monotonic()
        self._load.prepare()
        self._await_calm("before the storm")
        with History(self._parts.lab) as history:
            with self._load as load:
                for number, hits in enumerate(rounds, 1):
                    if time.monotonic() - began > within:
                        self._say(f"the time is over after {self.report.rounds} rounds")
                        break
                    self._round(number, hits, load)
                    if self.report.violations:
                        self._say("what is wrong now would be wrong in all later rounds: the storm ends")
                        break
            # The last versions are on their way here yet.
            time.sleep(1)
        self.report.violations += [f"history lost {gap}" for gap in history.lost]
        self.report.violations += broken_promises(history.versions, self._teams, load.written)
        self.report.violations += self._parts.replicas.unexplained + load.broken
        self.report.seconds = time.monotonic() - began
        self._say(f"load: {load.done}; versions of Secrets seen: {len(history.versions)}")
        self._say(f"exits of operators: {dict(self._parts.replicas.exits)}")
        return self.report

    def _round(self, number: int, hits: list[Hit], load: Load) -> None:
        self._say(f"round {number}: {'; '.join(map(str, hits))}")
        failures: list[str] = []
        by_part = [[h for h in hits if h.part is part] for part in Part]
        threads = [
            threading.Thread(target=self._hit_all, args=(sorted(mine, key=lambda h: h.at), failures), daemon=True)
            for mine in by_part
            if mine
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures
        self._parts.wait_healthy()
        # Time counts from here on, also that which an operator needs to lead again.
        with load.paused():
            seconds = self._await_calm(f"round {number}")
            self._parts.wait_led()
        kinds = {f"{h.part} {h.fault}" for h in hits}
        what = next(iter(kinds)) if len(kinds) == 1 else "several, with operator" if _operator(hits) else "several"
        self.report.calm.setdefault(what, []).append(seconds)
        self.report.hits.update(f"{h.part} {h.fault}" for h in hits)
        self.report.rounds += 1
        self._say(f"  right after {seconds:.2f} s")

    def _hit_all(self, hits: list[Hit], failures: list[str]) -> None:
        began = time.monotonic()
        for hit in hits:
            time.sleep(max(0.0, hit.at - (time.monotonic() - began)))
            try:
                self._parts.hit(hit.part, hit.fault, hit.seconds)
            except Exception as e:
                failures.append(f"{hit}: {type(e).__name__}: {e}")

    def _await_calm(self, when: str) -> float:
        """Return the seconds until all is as it must be; what is not in time is a violation."""
        began = time.monotonic()
        refused = {(team.namespace, FOREIGN): "SecretNotOwned" for team in self._teams}
        while True:
            try:
                found = differences(self._api, self._bao, [t.namespace for t in self._teams], refused=refused)
            except UncertainError as e:
                found = [str(e)]
            took = time.monotonic() - began
            if not found:
                return took
            if took > CALM_WITHIN:
                self.report.violations += [f"{when}: {what}" for what in found]
                for what in found:
                    self._say(f"  wrong: {what}")
                return took
            time.sleep(0.05)


def _operator(hits: list[Hit]) -> bool:
    return any(h.part is Part.OPERATOR for h in hits)


def broken_promises(versions: list[Version], teams: list[Team], written: int) -> list[str]:
    """Look through every version of every Secret: never empty, nothing foreign, nothing torn, never back in time."""
    found = []
    newest: dict[tuple[str, str, str], int] = {}
    ours = {team.namespace: set(team.paths) for team in teams}
    for version in versions:
        if version.namespace not in ours or version.data is None:
            continue
        where = f"Secret {version.namespace}/{version.name} at etcd's revision {version.revision}"
        if version.name == FOREIGN:
            found.append(f"{where} is somebody else's and was written")
            continue
        if not version.data:
            found.append(f"{where} was empty")
        held: dict[str, set[int]] = {}
        for value in version.data.values():
            path, _, number = value.partition("#")
            if value == EDITED:
                continue
            if path not in ours[version.namespace] or not number.isdecimal() or int(number) > written:
                found.append(f"{where} held {value!r}, which was never written for it")
                continue
            held.setdefault(path, set()).add(int(number))
        for path, numbers in held.items():
            if len(numbers) > 1:
                found.append(f"{where} held two versions of {path} at once: {sorted(numbers)}")
            key = (version.namespace, version.name, path)
            if min(numbers) < newest.get(key, 0):
                found.append(f"{where} went back from {path}#{newest[key]} to #{min(numbers)}")
            newest[key] = max(*numbers, newest.get(key, 0))
    return found


def teams_of(namespaces: list[str], seed: int) -> list[Team]:
    """Make the teams whose specs one seed decides."""
    return [Team(namespace, random.Random(f"{seed}-{i}")) for i, namespace in enumerate(namespaces)]  # noqa: S311
